//! `udap.md` §2.6 over sockets, from the side that succeeds: what is answered, what is kept, and how a registration
//! is changed, cancelled and made anew. What must be refused stands in the tables of bad input.

use serde_json::{Value, json};
use ward_core::{EventKind, Purpose, TenantId};
use ward_store::Registration;

use crate::bad_input::{generous, world};
use crate::harness::{Answer, ISS, ORGANIZATION, SCOPE, World};
use crate::pki::{Leaf, Member};
use crate::rows::{form, jwt};

async fn register(world: &World, member: &Member, claims: Value) -> (Answer, String) {
    let words = world.words(ISS, "");
    let statement = jwt(&World::good_row(), &words, claims, member, member);
    let body = json!({ "udap": "1", "software_statement": statement }).to_string();
    (world.post(&world.register, "application/json", &body, &[]).await, statement)
}

async fn ask(world: &World, member: &Member, client: &str, scope: &str) -> Answer {
    let words = world.words(ISS, client);
    let assertion = jwt(&World::good_row(), &words, world.assertion_claims(client), member, member);
    let mut fields = World::token_form(&assertion);
    for (name, value) in &mut fields {
        if name == "scope" {
            scope.clone_into(value);
        }
    }
    world.post(&world.token, "application/x-www-form-urlencoded", &form(&fields), &[]).await
}

async fn kept(world: &World) -> Vec<Registration> {
    let tenant = TenantId::default_tenant();
    world.house.repositories.registrations.list(&tenant, None, 100).await.unwrap()
}

fn id(answer: &Answer) -> String {
    answer.json()["client_id"].as_str().unwrap_or_else(|| panic!("{}", answer.json())).to_owned()
}

/// REG-01, REG-03, REG-21, REG-22, REG-23, REG-24, REG-25, REG-29, PKI-15: the answer to a new registration, member by
/// member, and the certificate that is kept with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_is_answered_as_it_is_assigned_and_kept() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let member = world.pki.client(ISS);
    let mut claims = world.statement_claims(ISS);
    claims["scope"] = json!("system/Patient.cruds patient/Claim.rs nonsense system/Observation.rs");
    claims["jwks"] = json!({ "keys": [] });
    claims["unknown"] = json!("ignored");
    let words = world.words(ISS, "");
    let statement = jwt(&World::good_row(), &words, claims.clone(), &member, &member);
    // REG-03: what stands beside the statement is nobody's word.
    let body = json!({
        "udap": "1", "software_statement": statement, "certifications": [],
        "client_name": "Evil", "scope": "system/*.cruds", "redirect_uris": ["https://evil.example"],
        "jwks": { "keys": [] },
    });
    let answer = world.post(&world.register, "application/json", &body.to_string(), &[]).await;
    assert_eq!(answer.status, 201, "REG-01, REG-22");
    assert_eq!(answer.header("content-type"), Some("application/json"), "REG-22");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let mut registered = answer.json();
    let members = registered.as_object_mut().unwrap();
    assert!(members.remove("client_id").is_some_and(|it| it.is_string()), "REG-22");
    assert_eq!(members.remove("software_statement"), Some(json!(statement)), "REG-22: unchanged");
    // REG-23, REG-25, REG-29: exactly these are left: no JWT claim, nothing empty, no secret, no key.
    assert_eq!(
        registered,
        json!({
            "client_name": "Partner", "contacts": ["mailto:ops@partner.example"],
            "grant_types": ["client_credentials"], "token_endpoint_auth_method": "private_key_jwt",
            "scope": "system/Observation.rs system/Patient.rs",
        }),
        "REG-21, REG-24: what was granted of it"
    );
    let kept = kept(&world).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].certificate, member.chain[0], "PKI-15");
    assert_eq!(kept[0].statement, statement);
    assert_eq!(kept[0].scopes, "system/Observation.rs system/Patient.rs", "REG-24: as answered");
}

/// MOD-01, MOD-04, MOD-05, MOD-07, MOD-08, MOD-09, MOD-10, REG-27: changed by a renewed certificate, narrowed, cancelled,
/// registered anew; with what becomes of tokens at the door.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_is_changed_cancelled_and_made_anew() {
    let (mut world, _upstream, roster, _) = world(generous()).await;
    let (first, renewed) = (world.pki.client(ISS), world.pki.client(ISS));
    let path = format!("{}/Patient/{}", world.path(&world.base), roster[0]);
    let (answer, _) = register(&world, &first, world.statement_claims(ISS)).await;
    assert_eq!(answer.status, 201);
    let client = id(&answer);
    let token = world.access_token(&first, &client).await;
    assert_eq!(world.get(&path, &token).await.status, 200);

    // MOD-09: the same again changes nothing.
    let (answer, _) = register(&world, &first, world.statement_claims(ISS)).await;
    assert_eq!((answer.status, id(&answer)), (200, client.clone()), "MOD-09");
    assert_eq!(world.get(&path, &token).await.status, 200, "MOD-09");

    // MOD-01, MOD-04, MOD-05: by a renewed certificate; all that was said before is replaced.
    let mut claims = world.statement_claims(ISS);
    claims["client_name"] = json!("Renamed");
    claims["contacts"] = json!(["mailto:new@partner.example"]);
    let (answer, statement) = register(&world, &renewed, claims).await;
    assert_eq!((answer.status, id(&answer)), (200, client.clone()), "MOD-04, MOD-05");
    let changed = answer.json();
    assert_eq!(changed["client_name"], "Renamed", "MOD-01");
    assert_eq!(changed["contacts"], json!(["mailto:new@partner.example"]), "MOD-01: not merged");
    let all = kept(&world).await;
    assert_eq!(all.len(), 1, "REG-27: one registration for one URI");
    assert_eq!((&all[0].certificate, &all[0].statement), (&renewed.chain[0], &statement), "MOD-01");
    assert_eq!(ask(&world, &first, &client, SCOPE).await.status, 200, "both certificates serve");

    // MOD-10: narrowed; a token of more than is left ends.
    let mut claims = world.statement_claims(ISS);
    claims["scope"] = json!("system/Observation.rs");
    let (answer, _) = register(&world, &renewed, claims).await;
    assert_eq!((answer.status, id(&answer)), (200, client.clone()));
    assert_eq!(world.get(&path, &token).await.status, 401, "MOD-10");
    let asked = ask(&world, &renewed, &client, SCOPE).await;
    assert_eq!(asked.json()["scope"], "system/Observation.rs", "MOD-10");
    let narrow = asked.json()["access_token"].as_str().unwrap().to_owned();
    let search = format!("{}/Observation?patient={}", world.path(&world.base), roster[0]);
    assert_eq!(world.get(&search, &narrow).await.status, 200);

    // MOD-07: cancelled; the answer says so, tokens end, no token comes any more.
    let cancel = |world: &World| {
        let mut claims = world.statement_claims(ISS);
        claims["grant_types"] = json!([]);
        claims
    };
    let (answer, _) = register(&world, &renewed, cancel(&world)).await;
    assert_eq!((answer.status, id(&answer)), (200, client.clone()), "MOD-07");
    assert_eq!(answer.json()["grant_types"], json!([]), "MOD-07");
    assert_eq!(world.get(&search, &narrow).await.status, 401, "MOD-07");
    let invalid = Some("invalid_client".to_owned());
    assert_eq!(ask(&world, &renewed, &client, SCOPE).await.error(), invalid, "MOD-07");
    let (answer, _) = register(&world, &renewed, cancel(&world)).await;
    let want = (400, Some("invalid_client_metadata".to_owned()));
    assert_eq!((answer.status, answer.error()), want, "MOD-08");

    // Anew: another id, and the old one stays dead (MOD-06).
    let (answer, _) = register(&world, &first, world.statement_claims(ISS)).await;
    assert_eq!(answer.status, 201);
    assert_ne!(id(&answer), client, "MOD-06");
    assert_eq!(ask(&world, &first, &client, SCOPE).await.error(), invalid, "MOD-06");
}

/// REG-28: other schemes than https name clients where a community's prefixes admit them.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_be_named_by_another_scheme() {
    let (mut world, _upstream, ..) = world(generous()).await;
    for uri in ["did:web:partner.example", "urn:oid:2.16.840.1.113883.3.7204.9"] {
        let member = world.pki.issue(&Leaf::client(uri));
        let (answer, _) = register(&world, &member, world.statement_claims(uri)).await;
        assert_eq!(answer.status, 201, "REG-28: {uri}");
        let client = id(&answer);
        let mut claims = world.assertion_claims(&client);
        claims["extensions"]["hl7-b2b"]["organization_id"] = json!("https://other.example/org");
        let words = world.words(uri, &client);
        let assertion = jwt(&World::good_row(), &words, claims, &member, &member);
        let body = form(&World::token_form(&assertion));
        let kind = "application/x-www-form-urlencoded";
        assert_eq!(world.post(&world.token, kind, &body, &[]).await.status, 200, "REG-28: {uri}");
    }
}

/// RSV-07: purpose, client and community of a token stand in the record of each read, and by its grant what else was
/// asserted.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_asserted_stands_in_the_record_of_each_read() {
    let (mut world, _upstream, roster, _) = world(generous()).await;
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    let token = world.access_token(&member, &client).await;
    let path = format!("{}/Patient/{}", world.path(&world.base), roster[0]);
    assert_eq!(world.get(&path, &token).await.status, 200);
    let reader = world.house.log.reader().unwrap();
    let (mut issued, mut read) = (None, None);
    for index in 0..reader.size() {
        let event = reader.event(index).await.unwrap().event;
        match event.kind {
            EventKind::Token => issued = Some(event),
            EventKind::Access => read = Some(event),
            _ => {}
        }
    }
    let (issued, read) = (issued.expect("a token event"), read.expect("an event of the read"));
    assert_eq!(issued.body.detail["organization"], ORGANIZATION, "RSV-07");
    assert_eq!(read.purposes, [Purpose::Treatment], "RSV-07");
    assert_eq!(read.actor.client.map(|it| it.to_string()), Some(client), "RSV-07");
    assert_eq!(read.actor.community, issued.actor.community, "RSV-07");
    assert!(read.actor.grant.is_some() && read.actor.grant == issued.actor.grant, "RSV-07");
}

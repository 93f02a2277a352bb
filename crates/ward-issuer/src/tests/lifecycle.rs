//! Replay, modification, cancellation, races, restarts and revocation over time.

use ward_core::{ClientId, Clock as _, CorrelationId, IncidentId};
use ward_policy::Subject;

use super::pki::{OTHER_URI, SECOND_URI};
use super::*;
use crate::Act;

type Of = fn(&Principal) -> Subject;

const STATEMENT: &str = "invalid_software_statement";
const METADATA: &str = "invalid_client_metadata";
const SCOPE: &str = "system/Patient.rs";
const WIDE: &str = "system/Observation.rs system/Patient.rs";

fn with(mut claims: Map<String, Value>, changes: &[(&str, Value)]) -> Map<String, Value> {
    for (name, value) in changes {
        claims.insert((*name).into(), value.clone());
    }
    claims
}

async fn registrations(world: &World) -> Vec<ward_store::Registration> {
    let tenant = TenantId::default_tenant();
    world.issuer.deps.repositories.registrations.list(&tenant, None, 1000).await.unwrap()
}

#[tokio::test]
async fn fifty_times_the_same_statement_at_once_makes_one_registration() {
    let world = World::new();
    let body = envelope(&sign(&PKI.client, &statement(CLIENT_URI))).to_string();
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let (issuer, body) = (world.issuer.clone(), body.clone());
        tasks.push(tokio::spawn(async move {
            Answer::of(issuer.respond(post(REGISTER, "application/json", body), ME).await)
        }));
    }
    let mut made = 0;
    for task in tasks {
        let answer = task.await.unwrap();
        if answer.status == 201 {
            made += 1;
        } else {
            answer.refuses("R37", 400, STATEMENT);
        }
    }
    assert_eq!(made, 1);
    assert_eq!(registrations(&world).await.len(), 1);
}

/// REG-27.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_different_statements_at_once_make_one_registration() {
    let world = World::new();
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let issuer = world.issuer.clone();
        let body = envelope(&sign(&PKI.client, &statement(CLIENT_URI))).to_string();
        tasks.push(tokio::spawn(async move {
            Answer::of(issuer.respond(post(REGISTER, "application/json", body), ME).await)
        }));
    }
    let mut ids = std::collections::BTreeSet::new();
    let mut made = 0;
    for task in tasks {
        let answer = task.await.unwrap();
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        made += u32::from(answer.status == 201);
        ids.insert(answer.text("client_id"));
    }
    assert_eq!((made, ids.len()), (1, 1), "MOD-05, MOD-09");
    assert_eq!(registrations(&world).await.len(), 1);
}

#[tokio::test]
async fn a_jti_serves_once_until_its_jwt_has_ended_also_after_a_restart() {
    let world = World::new();
    let claims = statement(CLIENT_URI);
    let first = world.statement(&PKI.client, &claims).await;
    assert_eq!(first.status, 201);
    world.statement(&PKI.client, &claims).await.refuses("R37", 400, STATEMENT);
    let client = first.text("client_id");
    let asserted = assertion(&client);
    assert_eq!(world.asserted(&PKI.client, &asserted, SCOPE).await.status, 200);
    let world = world.restart();
    world.statement(&PKI.client, &claims).await.refuses("R37 after restart", 400, STATEMENT);
    let answer = world.asserted(&PKI.client, &asserted, SCOPE).await;
    answer.refuses("T18 after restart", 400, "invalid_client");
    // Even within the skew after `exp` it is the same JWT.
    world.clock.advance(Duration::from_mins(6));
    world.statement(&PKI.client, &claims).await.refuses("R37 in the skew", 400, STATEMENT);
    // R38: after that a JWT with the same jti is a new one.
    world.clock.advance(Duration::from_secs(2));
    let (iat, exp) = (json!(START + 362), json!(START + 662));
    let claims = with(claims, &[("iat", iat.clone()), ("exp", exp.clone())]);
    assert_eq!(world.statement(&PKI.client, &claims).await.status, 200, "R38");
    let asserted = with(asserted, &[("iat", iat), ("exp", exp)]);
    assert_eq!(world.asserted(&PKI.client, &asserted, SCOPE).await.status, 200, "R38");
}

/// R37 and T18 come before whatever else is wrong, and a JWT that was refused is used up.
#[tokio::test]
async fn a_refused_jwt_is_used_up_and_a_replay_is_told_first() {
    let world = World::new();
    let metadata = "invalid_client_metadata";
    for (field, value, error) in
        [("scope", json!("system/Nothing.rs"), metadata), ("grant_types", json!([]), metadata)]
    {
        let claims = with(statement(CLIENT_URI), &[(field, value)]);
        let first = world.statement(&PKI.client, &claims).await;
        assert_eq!((first.status, first.text("error").as_str()), (400, error), "{field}");
        world.statement(&PKI.client, &claims).await.refuses(field, 400, STATEMENT);
        let again = with(statement(CLIENT_URI), &[("jti", claims["jti"].clone())]);
        world.statement(&PKI.client, &again).await.refuses("R37, all right", 400, STATEMENT);
    }
    assert_eq!(registrations(&world).await, []);
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let asserted = assertion(&client);
    let answer = world.asserted(&PKI.client, &asserted, "system/Nothing.rs").await;
    answer.refuses("T31", 400, "invalid_scope");
    for scope in ["system/Nothing.rs", SCOPE] {
        let answer = world.asserted(&PKI.client, &asserted, scope).await;
        answer.refuses("T18", 400, "invalid_client");
    }
}

#[tokio::test]
async fn only_its_owner_burns_a_jti() {
    let world = World::new();
    // R39: the same jti of another issuer, in the same and in another community.
    let claims = statement(CLIENT_URI);
    let jti = claims["jti"].clone();
    let other = with(statement(OTHER_URI), &[("jti", jti.clone())]);
    assert_eq!(world.statement(&PKI.other, &other).await.status, 201, "R39");
    assert_eq!(world.statement(&PKI.client_b, &claims).await.status, 201, "R39 community B");
    // R40: forgeries first, by a bad signature, by a stranger, and by a member for another's URI.
    let payload = Value::Object(claims.clone()).to_string();
    let forged = sign_raw(&PKI.other, &jws_header(&PKI.client, Alg::Es256), &payload);
    world.register(&envelope(&forged)).await.refuses("R40 forged", 400, STATEMENT);
    let stranger = PKI.stranger.issue(&pki::Leaf::default());
    let answer = world.statement(&stranger, &claims).await;
    answer.refuses("R40 stranger", 400, "unapproved_software_statement");
    world.statement(&PKI.other, &claims).await.refuses("R40 member", 400, STATEMENT);
    assert_eq!(world.statement(&PKI.client, &claims).await.status, 201, "R40: the real one");
    // The same at the token endpoint.
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let asserted = assertion(&client);
    for member in [&PKI.other, &PKI.client_b, &stranger] {
        let answer = world.asserted(member, &asserted, SCOPE).await;
        answer.refuses("JWT-08", 400, "invalid_client");
    }
    assert_eq!(world.asserted(&PKI.client, &asserted, SCOPE).await.status, 200, "JWT-08");
}

#[tokio::test]
async fn a_modification_replaces_everything_and_keeps_the_id() {
    let world = World::new();
    let client = world.registered(&PKI.client, CLIENT_URI, WIDE).await;
    let wide = world.issued(&PKI.client, &client, WIDE).await;
    // MOD-09: nothing changed, nothing ends.
    assert_eq!(world.registered(&PKI.client, CLIENT_URI, WIDE).await, client);
    assert!(world.resolve(&wide).await.is_ok());
    // MOD-04, MOD-05: by a renewed certificate, wider.
    let all = "system/Encounter.rs system/Observation.rs system/Patient.rs";
    let changed =
        with(statement(CLIENT_URI), &[("client_name", json!("Renamed")), ("scope", json!(all))]);
    let answer = world.statement(&PKI.renewed, &changed).await;
    assert_eq!((answer.status, answer.text("client_id")), (200, client.clone()));
    assert_eq!(answer.text("client_name"), "Renamed", "MOD-01");
    assert!(world.resolve(&wide).await.is_ok(), "widening ends nothing");
    // MOD-10: narrower; tokens of the wider scope die at once.
    assert_eq!(world.registered(&PKI.client, CLIENT_URI, SCOPE).await, client);
    assert_eq!(world.resolve(&wide).await, Err(ResolveError::Invalid), "MOD-10");
    let token = world.issued(&PKI.client, &client, WIDE).await;
    assert_eq!(world.resolve(&token).await.unwrap().scopes.to_string(), SCOPE);
    // MOD-03: a revoked certificate modifies nothing.
    world.paths.revoked.lock().unwrap().push(PKI.renewed.serial);
    let answer = world.statement(&PKI.renewed, &statement(CLIENT_URI)).await;
    answer.refuses("MOD-03", 400, "unapproved_software_statement");
    assert!(world.resolve(&token).await.is_ok());
    // MOD-11.
    let narrowed = world.events().await.into_iter().rfind(|e| e.action == "modified").unwrap();
    assert_eq!(narrowed.body.detail["scope_before"], all);
    assert_eq!(narrowed.body.detail["scope"], SCOPE);
    assert!(narrowed.body.detail.contains_key("thumbprint_before"));
}

#[tokio::test]
async fn communities_and_uris_are_apart() {
    let world = World::new();
    let a = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let before = registrations(&world).await;
    // P22, MOD-02, COM-06.
    let answer = world.statement(&PKI.client_b, &statement(CLIENT_URI)).await;
    assert_eq!(answer.status, 201, "P22");
    let b = answer.text("client_id");
    assert_ne!(a, b);
    // P23.
    let answer = world.statement(&PKI.client, &statement(SECOND_URI)).await;
    assert_eq!(answer.status, 201, "P23");
    let after = registrations(&world).await;
    assert_eq!(after.len(), 3);
    assert!(after.contains(&before[0]), "MOD-02: the first is untouched");
    // T15 both ways.
    for (member, client) in [(&PKI.client, &b), (&PKI.client_b, &a)] {
        let answer = world.asserted(member, &assertion(client), SCOPE).await;
        answer.refuses("T15", 400, "invalid_client");
    }
    // P21: cancelled in B, alive in A.
    let cancel = with(statement(CLIENT_URI), &[("grant_types", json!([]))]);
    assert_eq!(world.statement(&PKI.client_b, &cancel).await.status, 200);
    let again = with(statement(CLIENT_URI), &[("grant_types", json!([]))]);
    world.statement(&PKI.client_b, &again).await.refuses("P21, MOD-08", 400, METADATA);
    world.issued(&PKI.client, &a, SCOPE).await;
}

#[tokio::test]
async fn a_cancellation_ends_everything_and_a_new_registration_begins_anew() {
    let world = World::new();
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let token = world.issued(&PKI.client, &client, SCOPE).await;
    let cancel = with(statement(CLIENT_URI), &[("grant_types", json!([]))]);
    let answer = world.statement(&PKI.client, &cancel).await;
    assert_eq!(answer.status, 200, "MOD-07: {answer:?}");
    assert_eq!(answer.text("client_id"), client);
    assert_eq!(answer.body["grant_types"], json!([]), "MOD-07");
    assert_eq!(world.resolve(&token).await, Err(ResolveError::Invalid), "MOD-07");
    let answer = world.asserted(&PKI.client, &assertion(&client), SCOPE).await;
    answer.refuses("P24", 400, "invalid_client");
    let answer = world.statement(&PKI.client, &statement(CLIENT_URI)).await;
    assert_eq!(answer.status, 201);
    let renewed = answer.text("client_id");
    assert_ne!(renewed, client);
    let answer = world.asserted(&PKI.client, &assertion(&client), SCOPE).await;
    answer.refuses("P24 old id", 400, "invalid_client");
    world.issued(&PKI.client, &renewed, SCOPE).await;
    assert_eq!(world.resolve(&token).await, Err(ResolveError::Invalid));
}

fn act(world: &World) -> Act {
    Act {
        operator: "ward-respond".into(),
        reason: "a test".into(),
        incident: Some(IncidentId::new(&*world.clock, &SystemRng)),
        correlation: CorrelationId::new(&*world.clock, &SystemRng),
    }
}

#[tokio::test]
async fn a_revocation_holds_at_the_next_request_and_after_a_restart() {
    let world = World::new();
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let other = world.registered(&PKI.other, OTHER_URI, SCOPE).await;
    let bystander = world.issued(&PKI.other, &other, SCOPE).await;
    let rows: [(&str, Of); 3] = [
        ("token", |p| Subject::Token(p.token)),
        ("grant", |p| Subject::Grant(p.grant)),
        ("client", |p| Subject::Client(p.client)),
    ];
    let mut dead = Vec::new();
    for (what, subject) in rows {
        let token = world.issued(&PKI.client, &client, SCOPE).await;
        let principal = world.resolve(&token).await.unwrap();
        world.issuer.revoke(subject(&principal), &act(&world)).await.unwrap();
        assert_eq!(world.resolve(&token).await, Err(ResolveError::Invalid), "{what}");
        assert!(world.resolve(&bystander).await.is_ok(), "{what}");
        dead.push(token);
        let event = world.events().await.pop().unwrap();
        assert_eq!(event.kind, ward_core::EventKind::Revocation);
        assert_eq!(event.actor.operator.as_deref(), Some("ward-respond"));
        assert!(event.incident.is_some());
    }
    // A revoked client gets nothing more under its old id.
    let answer = world.asserted(&PKI.client, &assertion(&client), SCOPE).await;
    answer.refuses("revoked client", 400, "invalid_client");
    // A revoked certificate neither registers nor gets tokens.
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let token = world.issued(&PKI.client, &client, SCOPE).await;
    let thumbprint = PKI.client.identity.leaf().thumbprint();
    world.issuer.revoke(Subject::Certificate(thumbprint), &act(&world)).await.unwrap();
    assert_eq!(world.resolve(&token).await, Err(ResolveError::Invalid), "certificate");
    dead.push(token);
    let world = world.restart();
    for token in &dead {
        assert_eq!(world.resolve(token).await, Err(ResolveError::Invalid), "after restart");
    }
    assert!(world.resolve(&bystander).await.is_ok(), "old tokens open after a restart");
    let answer = world.asserted(&PKI.client, &assertion(&client), SCOPE).await;
    answer.refuses("X47 by operator", 400, "invalid_client");
    let answer = world.statement(&PKI.client, &statement(CLIENT_URI)).await;
    answer.refuses("X10 by operator", 400, "unapproved_software_statement");
    world.issued(&PKI.renewed, &client, SCOPE).await;
    // An issuing CA, and a whole community.
    let other = world.registered(&PKI.other, OTHER_URI, SCOPE).await;
    let token = world.issued(&PKI.other, &other, SCOPE).await;
    assert!(world.resolve(&token).await.is_ok());
    let authority = Subject::Certificate(PKI.a.intermediate.thumbprint());
    world.issuer.revoke(authority, &act(&world)).await.unwrap();
    assert_eq!(world.resolve(&token).await, Err(ResolveError::Invalid), "issuing CA");
    let client = world.registered(&PKI.client_b, CLIENT_URI, SCOPE).await;
    let token = world.issued(&PKI.client_b, &client, SCOPE).await;
    world.issuer.revoke(Subject::Community(PKI.b.uri()), &act(&world)).await.unwrap();
    assert_eq!(world.resolve(&token).await, Err(ResolveError::Invalid), "community");
}

#[tokio::test]
async fn what_is_not_there_cannot_be_revoked() {
    let world = World::new();
    let grant = Subject::Grant(ward_core::GrantId::new(&*world.clock, &SystemRng));
    assert!(world.issuer.revoke(grant, &act(&world)).await.is_err());
    let client = Subject::Client(ClientId::new(&*world.clock, &SystemRng));
    assert!(world.issuer.revoke(client, &act(&world)).await.is_err());
    let slip = Subject::Certificate(Thumbprint([7; 32]));
    assert!(world.issuer.revoke(slip, &act(&world)).await.is_err());
    assert!(world.clock.now().as_seconds() == START && world.events().await.is_empty());
}

/// What a modification has read before an operator revokes the client must not bring it back.
#[tokio::test]
async fn a_modification_in_flight_does_not_undo_a_revocation() {
    let world = World::new();
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let id = ClientId::parse(&client).unwrap();
    let before = registrations(&world).await.pop().unwrap();
    world.issuer.revoke(Subject::Client(id), &act(&world)).await.unwrap();
    let tenant = TenantId::default_tenant();
    let kind = ward_core::EventKind::Registration;
    let correlation = act(&world).correlation;
    let event = Event::new(kind, "modified", tenant, world.clock.now(), correlation);
    let expected = ward_store::Expected::Unchanged(Box::new(before.clone()));
    let repositories = &world.issuer.deps.repositories;
    let put = repositories.registrations.put(before, expected, event).await;
    assert!(matches!(put, Err(ward_store::StoreError::Conflict)));
    let answer = world.asserted(&PKI.client, &assertion(&client), SCOPE).await;
    answer.refuses("P24 revoked", 400, "invalid_client");
}

/// The same through the front door, in a race.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_revoked_client_id_never_comes_back_from_a_race() {
    for round in 0..20_u64 {
        let world = World::new();
        let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
        let id = ClientId::parse(&client).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let issuer = world.issuer.clone();
            let body = envelope(&sign(&PKI.client, &statement(CLIENT_URI))).to_string();
            tasks.spawn(async move {
                issuer.respond(post(REGISTER, "application/json", body), ME).await.status()
            });
        }
        tokio::time::sleep(Duration::from_micros(500 * (round % 10))).await;
        // Nor can a client that keeps changing itself keep the revocation from happening.
        world.issuer.revoke(Subject::Client(id), &act(&world)).await.unwrap();
        while tasks.join_next().await.is_some() {}
        let status = world.asserted(&PKI.client, &assertion(&client), SCOPE).await.status;
        assert_eq!(status, 400, "round {round}");
    }
}

/// T16: ending one grant stops nobody who takes a new one for each read.
#[tokio::test]
async fn a_held_client_gets_no_token_under_any_id_until_it_is_released() {
    let world = World::new();
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let id = ClientId::parse(&client).unwrap();
    let other = world.registered(&PKI.other, OTHER_URI, SCOPE).await;
    let bystander = world.issued(&PKI.other, &other, SCOPE).await;
    let first = world.issued(&PKI.client, &client, SCOPE).await;
    let second = world.issued(&PKI.client, &client, SCOPE).await;
    let grant = world.resolve(&first).await.unwrap().grant;
    // Before it is contained, it becomes somebody else by its client id.
    let cancel = with(statement(CLIENT_URI), &[("grant_types", json!([]))]);
    assert_eq!(world.statement(&PKI.client, &cancel).await.status, 200);
    let anew = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    assert_ne!(anew, client);
    let third = world.issued(&PKI.client, &anew, SCOPE).await;
    world.issuer.hold(id, Some(grant), &act(&world)).await.unwrap();
    let held = world.events().await.pop().unwrap();
    assert_eq!((held.action.as_ref(), held.actor.grant), ("held", Some(grant)));
    assert!(held.incident.is_some());
    for token in [&first, &second, &third] {
        assert_eq!(world.resolve(token).await, Err(ResolveError::Invalid));
    }
    let world = world.restart();
    assert!(world.resolve(&bystander).await.is_ok());
    // Neither a renewed certificate nor a new registration helps; every attempt is recorded.
    for member in [&PKI.client, &PKI.renewed] {
        let anew = world.registered(member, CLIENT_URI, SCOPE).await;
        let answer = world.asserted(member, &assertion(&anew), SCOPE).await;
        answer.refuses("HOLD", 400, "unauthorized_client");
        assert_eq!(world.events().await.pop().unwrap().rule.as_deref(), Some("HOLD"));
    }
    world.issued(&PKI.other, &other, SCOPE).await;
    // By the id that it had, or by the one that it has.
    world.issuer.release(id, &act(&world)).await.unwrap();
    assert_eq!(world.events().await.pop().unwrap().action, "released");
    assert!(world.issuer.release(id, &act(&world)).await.is_err(), "no hold");
    world.issued(&PKI.client, &anew, SCOPE).await;
    assert_eq!(world.resolve(&third).await, Err(ResolveError::Invalid), "what ended stays so");
    let id = ClientId::parse(&anew).unwrap();
    world.issuer.hold(id, None, &act(&world)).await.unwrap();
    world.issuer.hold(id, None, &act(&world)).await.unwrap();
    world.issuer.release(id, &act(&world)).await.unwrap();
    world.issued(&PKI.client, &anew, SCOPE).await;
    let nobody = ClientId::new(&*world.clock, &SystemRng);
    assert!(world.issuer.hold(nobody, Some(grant), &act(&world)).await.is_err());
}

/// While the store cannot take the hold, because its disk is full, the tokens are refused all the same.
#[tokio::test]
async fn a_client_is_stopped_before_the_store_knows() {
    let world = World::new();
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let id = ClientId::parse(&client).unwrap();
    let token = world.issued(&PKI.client, &client, SCOPE).await;
    assert!(world.resolve(&token).await.is_ok());
    world.issuer.stop(id);
    assert_eq!(world.resolve(&token).await, Err(ResolveError::Invalid));
    // Once it is kept, the store says so, and a release is a release.
    world.issuer.hold(id, None, &act(&world)).await.unwrap();
    assert!(!world.issuer.is_stopped(id));
    assert_eq!(world.resolve(&token).await, Err(ResolveError::Invalid));
    world.issuer.release(id, &act(&world)).await.unwrap();
    let token = world.issued(&PKI.client, &client, SCOPE).await;
    assert!(world.resolve(&token).await.is_ok());
}

/// A token request that is under way when the hold comes ends with nothing that lives.
#[tokio::test]
async fn a_hold_reaches_token_requests_in_flight() {
    for _ in 0..20 {
        let world = World::new();
        let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
        let id = ClientId::parse(&client).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let form = token_form(&sign(&PKI.client, &assertion(&client)), SCOPE)
                .iter()
                .map(|(k, v)| format!("{k}={}", encode(v)))
                .collect::<Vec<_>>()
                .join("&");
            let issuer = world.issuer.clone();
            tasks.spawn(async move {
                let request = post(TOKEN, "application/x-www-form-urlencoded", form);
                Answer::of(issuer.respond(request, ME).await).text("access_token")
            });
        }
        world.issuer.hold(id, None, &act(&world)).await.unwrap();
        for token in tasks.join_all().await {
            assert!(token.is_empty() || world.resolve(&token).await.is_err());
        }
    }
}

#[tokio::test]
async fn revoking_an_anchor_ends_everything_below_it() {
    let world = World::new();
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let token = world.issued(&PKI.client, &client, SCOPE).await;
    let elsewhere = world.registered(&PKI.client_b, CLIENT_URI, SCOPE).await;
    let anchor = Subject::Certificate(PKI.a.root.thumbprint());
    world.issuer.revoke(anchor, &act(&world)).await.unwrap();
    assert_eq!(world.resolve(&token).await, Err(ResolveError::Invalid));
    let answer = world.asserted(&PKI.client, &assertion(&client), SCOPE).await;
    answer.refuses("X47 anchor", 400, "invalid_client");
    let answer = world.statement(&PKI.other, &statement(OTHER_URI)).await;
    answer.refuses("X10 anchor", 400, "unapproved_software_statement");
    world.issued(&PKI.client_b, &elsewhere, SCOPE).await;
}

/// Amendments, PKI-04: whatever a later list says, and after a restart.
#[tokio::test]
async fn a_certificate_once_seen_revoked_never_passes() {
    let world = World::new();
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let other = world.registered(&PKI.other, OTHER_URI, SCOPE).await;
    let token = world.issued(&PKI.client, &client, SCOPE).await;
    world.paths.revoked.lock().unwrap().extend([PKI.client.serial, PKI.other.serial]);
    for _ in 0..2 {
        let answer = world.asserted(&PKI.client, &assertion(&client), SCOPE).await;
        answer.refuses("X10", 400, "invalid_client");
        let answer = world.statement(&PKI.other, &statement(OTHER_URI)).await;
        answer.refuses("X10", 400, "unapproved_software_statement");
    }
    assert_eq!(world.resolve(&token).await, Err(ResolveError::Invalid), "its grants end too");
    let kept: Vec<Event> =
        world.events().await.into_iter().filter(|event| event.action == "revoked").collect();
    assert_eq!(kept.len(), 2, "each once");
    assert_eq!(kept[0].actor.operator.as_deref(), Some("ward-issuer"));
    let world = world.restart();
    world.paths.revoked.lock().unwrap().clear();
    let answer = world.asserted(&PKI.client, &assertion(&client), SCOPE).await;
    answer.refuses("X47 seen before", 400, "invalid_client");
    let answer = world.asserted(&PKI.other, &assertion(&other), SCOPE).await;
    answer.refuses("X47 seen before", 400, "invalid_client");
    world.issued(&PKI.renewed, &client, SCOPE).await;
}

//! Communities of different profiles and rules (COM-03, DSC-09..DSC-11), for the rows of `token.jsonl` that name some, and
//! what cannot be a row: metadata, what the answer to a missing consent says, what is kept of what was asserted.
//!
//! The TEF rows rest on third-party sources: **unverified**.

mod tefca;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use ward_admin::{Command, Operator, Role};
use ward_core::{ClientUri, CommunityUri, EventKind, OrganizationUri, Purpose};
use ward_trust::context::tefca::BASIC_CERTIFICATION;
use ward_trust::context::{ConsentDemand, UserObject};
use ward_trust::{Community, Profile};

pub use tefca::{Vouching, members, register};

use self::tefca::{CSP, HCID};
use crate::bad_certificates::serve;
use crate::bad_input::{generous, world};
use crate::harness::{Answer, ISS, World, parse};
use crate::pki::{COMMUNITY, Member, Pki};
use crate::place::{Place, Serving, replaced, sandbox};
use crate::rows::{Words, form, jwt};

const POLICY: &str = "urn:oid:1.2.3";

/// The rules by the names that rows use.
fn change(community: &mut Community, rules: &str, vouching: &Vouching) {
    let context = &mut community.context;
    match rules {
        "npi" => context.subject_id_systems = vec!["urn:oid:2.16.840.1.113883.4.6".into()],
        "roles" => {
            context.subject_roles =
                vec!["http://nucc.org/provider-taxonomy#".into(), "urn:x:roles#clerk".into()];
        }
        "policies" => context.consent_policies = vec![POLICY.into()],
        "consent" => {
            let form = Some("https://hospital.example/consent".into());
            context.consent = Some(ConsentDemand { policies: vec![POLICY.into()], form });
        }
        "bare" => {
            context.bare_purposes = true;
            community.purposes.push(Purpose::SystemDevelopment);
        }
        "one-purpose" => community.max_purposes = Some(1),
        "strict" => context.refuse_unknown = true,
        "stu1" => community.profile = Profile::Stu1,
        "user" => context.user = UserObject::Supported,
        "user-required" => context.user = UserObject::Required,
        "tefca" | "tefca-alone" => {
            community.profile = Profile::Tefca;
            community.purposes = Purpose::ALL.to_vec();
            if rules == "tefca" {
                context.identity_providers = vec![vouching.provider()];
            }
        }
        other => panic!("unknown rules {other}"),
    }
}

/// From now on the community has these rules; `None`: the usual ones.
pub async fn follow(world: &World, rules: Option<&str>, vouching: &Vouching) {
    serve(world, |all| {
        if let Some(rules) = rules {
            change(&mut all[0].community, rules, vouching);
        }
    })
    .await;
}

async fn document(world: &World) -> Value {
    let path = world.path(&world.base) + "/.well-known/udap?community=" + COMMUNITY;
    let answer = world.send("GET", &path, &[], None).await;
    assert_eq!(answer.status, 200);
    answer.json()
}

/// COM-03, DSC-09, DSC-10, DSC-11: what a community knows and demands stands in its metadata, and only that is refused.
#[tokio::test(flavor = "multi_thread")]
async fn each_community_tells_what_it_knows_and_demands() {
    let (world, _upstream, ..) = world(generous()).await;
    let vouching = Vouching::new(&world);
    for (rules, supported, required) in [
        (None, json!(["hl7-b2b"]), json!(["hl7-b2b"])),
        (Some("stu1"), json!(["hl7-b2b"]), json!(["hl7-b2b"])),
        (Some("user"), json!(["hl7-b2b", "hl7-b2b-user"]), json!(["hl7-b2b"])),
        (
            Some("user-required"),
            json!(["hl7-b2b", "hl7-b2b-user"]),
            json!(["hl7-b2b", "hl7-b2b-user"]),
        ),
        (Some("tefca"), json!(["hl7-b2b", "tefca_ias"]), json!(["hl7-b2b"])),
    ] {
        follow(&world, rules, &vouching).await;
        let document = document(&world).await;
        assert_eq!(document["udap_authorization_extensions_supported"], supported, "{rules:?}");
        assert_eq!(document["udap_authorization_extensions_required"], required, "{rules:?}");
    }
}

async fn ask(
    world: &World,
    words: &Words,
    member: &Member,
    extensions: Value,
    scope: bool,
) -> Answer {
    let mut claims = world.assertion_claims(&words.client);
    claims["extensions"] = extensions;
    let assertion = jwt(&World::good_row(), words, claims, member, member);
    let mut fields = World::token_form(&assertion);
    fields.retain(|(name, _)| scope || name != "scope");
    world.post(&world.token, "application/x-www-form-urlencoded", &form(&fields), &[]).await
}

fn b2b(purpose: &str) -> Value {
    json!({
        "version": "1", "organization_id": crate::harness::ORGANIZATION,
        "purpose_of_use": [purpose],
    })
}

/// REG-19, B2B-12, T30: as the Inferno kit registers and asks a community of stu1: no scope in either, a bare purpose; the
/// answers say what was granted (REG-21, TOK-19). Nothing else is lenient.
#[tokio::test(flavor = "multi_thread")]
async fn stu1_needs_no_scope_and_says_what_it_grants() {
    let (mut world, _upstream, ..) = world(generous()).await;
    serve(&world, |all| {
        let community = &mut all[0].community;
        community.profile = Profile::Stu1;
        community.purposes = vec![Purpose::SystemDevelopment];
        community.context.bare_purposes = true;
    })
    .await;
    let member = world.pki.client(ISS);
    let words = world.words(ISS, "");
    let mut claims = world.statement_claims(ISS);
    claims.as_object_mut().unwrap().remove("scope");
    let statement = jwt(&World::good_row(), &words, claims, &member, &member);
    let body = json!({ "udap": "1", "software_statement": statement, "certifications": [] });
    let answer = world.post(&world.register, "application/json", &body.to_string(), &[]).await;
    assert_eq!(answer.status, 201);
    let scope = answer.json()["scope"].as_str().unwrap().to_owned();
    assert!(scope.contains("system/*.rs"), "REG-21: {scope}");
    let client = answer.json()["client_id"].as_str().unwrap().to_owned();
    let words = world.words(ISS, &client);
    let answer = ask(&world, &words, &member, json!({ "hl7-b2b": b2b("SYSDEV") }), false).await;
    assert_eq!((answer.status, answer.json()["scope"].as_str()), (200, Some(scope.as_str())));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    // The same client under stu2: the registration stands, the request lacks its scope.
    serve(&world, |all| {
        all[0].community.purposes = vec![Purpose::SystemDevelopment];
        all[0].community.context.bare_purposes = true;
    })
    .await;
    let answer = ask(&world, &words, &member, json!({ "hl7-b2b": b2b("SYSDEV") }), false).await;
    assert_eq!((answer.status, answer.error().as_deref()), (400, Some("invalid_scope")), "T30");
}

/// TEF-08 (unverified): who asserts no consent where one is demanded is told which, and where the form is.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_consent_is_answered_with_what_would_do() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    follow(&world, Some("consent"), &Vouching::new(&world)).await;
    let words = world.words(ISS, &client);
    let purpose = "urn:oid:2.16.840.1.113883.5.8#TREAT";
    let answer = ask(&world, &words, &member, json!({ "hl7-b2b": b2b(purpose) }), true).await;
    assert_eq!((answer.status, answer.error().as_deref()), (400, Some("invalid_grant")));
    let demand = json!({
        "consent_required": [POLICY], "consent_form": "https://hospital.example/consent",
    });
    assert_eq!(answer.json()["extensions"], json!({ "hl7-b2b": demand }));
    // Any other refusal says nothing of it.
    let answer = ask(&world, &words, &member, json!({}), true).await;
    assert_eq!(answer.json().as_object().unwrap().len(), 2);
}

/// B2B-16: what was asserted is in the log, with the decision that was made on it; of persons and consents a digest only, and
/// nobody's name (USR-05).
#[tokio::test(flavor = "multi_thread")]
async fn what_was_asserted_is_kept_without_persons() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    follow(&world, Some("user-required"), &Vouching::new(&world)).await;
    let words = world.words(ISS, &client);
    let purpose = "urn:oid:2.16.840.1.113883.5.8#TREAT";
    let reference = "https://hospital.example/fhir/Consent/chalmers-1";
    let mut about = b2b(purpose);
    about["subject_name"] = json!("Unmistakable Physician");
    about["subject_id"] = json!("urn:oid:2.16.840.1.113883.4.6#1234567893");
    about["subject_role"] = json!("http://nucc.org/provider-taxonomy#207RX0202X");
    about["consent_policy"] = json!([POLICY]);
    about["consent_reference"] = json!([reference]);
    let person = json!({
        "resourceType": "Person", "birthDate": "1974-12-25",
        "name": [{ "family": "Unmistakable", "given": ["Peter"] }],
        "telecom": [
            { "system": "phone", "value": "555 0100" },
            { "system": "email", "value": "unmistakable@example.org" },
        ],
    });
    let user = json!({ "version": "1", "purpose_of_use": [purpose], "user_person": person });
    let extensions = json!({ "hl7-b2b": about, "hl7-b2b-user": user });
    let answer = ask(&world, &words, &member, extensions.clone(), true).await;
    assert_eq!(answer.status, 200);
    // And a refusal: the organisation of another.
    let refused = answer_to_another(&world, &words, &member, extensions).await;
    assert_eq!(refused.error().as_deref(), Some("invalid_grant"));
    let reader = world.house.log.reader().unwrap();
    let mut seen = vec![];
    for index in 0..reader.size() {
        let event = reader.event(index).await.unwrap().event;
        let text = format!("{event:?}");
        assert!(!text.contains("nmistakable") && !text.contains("1974-12-25"), "{text}");
        assert!(!text.contains("chalmers"), "{text}");
        if event.kind == EventKind::Token && event.body.detail.contains_key("subject_id") {
            seen.push(event);
        }
    }
    let actions: Vec<&str> = seen.iter().map(|event| event.action.as_ref()).collect();
    assert_eq!(actions, ["issued", "refused"]);
    for event in &seen {
        let kept = |name: &str| event.body.detail.get(name).map(String::as_str);
        assert_eq!(event.purposes, [Purpose::Treatment]);
        assert_eq!(kept("subject_id"), Some("urn:oid:2.16.840.1.113883.4.6#1234567893"));
        assert_eq!(kept("subject_role"), Some("http://nucc.org/provider-taxonomy#207RX0202X"));
        assert_eq!(kept("consent_policy"), Some(POLICY));
        assert_eq!(kept("consent_reference_sha256").map(str::len), Some(64));
        assert_eq!(kept("user_person_sha256").map(str::len), Some(64));
    }
    assert_eq!(seen[1].rule.as_deref(), Some("B09"));
}

/// The same extensions, for an organisation that only another client speaks for.
async fn answer_to_another(
    world: &World,
    words: &Words,
    member: &Member,
    mut extensions: Value,
) -> Answer {
    let organization = "https://other.example/org";
    let officer = Operator { name: "test-officer".into(), role: Role::SecurityOfficer };
    let import = Command::ImportRoster {
        organization: OrganizationUri::parse(organization).unwrap(),
        members: vec![(
            CommunityUri::parse(COMMUNITY).unwrap(),
            ClientUri::parse("https://other.example/app").unwrap(),
        )],
        rows: vec![],
    };
    world.house.admin.execute(&officer, import).await.unwrap();
    extensions["hl7-b2b"]["organization_id"] = json!(organization);
    ask(world, words, member, extensions, true).await
}

/// B2B-17: a token is good for the purpose for which it was asked, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_its_own_purpose_only() {
    let (mut world, _upstream, roster, _) = world(generous()).await;
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    follow(&world, Some("one-purpose"), &Vouching::new(&world)).await;
    let words = world.words(ISS, &client);
    let path = format!("{}/Patient/{}", world.path(&world.base), roster[0]);
    // The roster says treatment.
    for (purpose, status) in [("TREAT", 200), ("HPAYMT", 404)] {
        let uri = format!("urn:oid:2.16.840.1.113883.5.8#{purpose}");
        let answer = ask(&world, &words, &member, json!({ "hl7-b2b": b2b(&uri) }), true).await;
        assert_eq!(answer.status, 200);
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(world.get(&path, &token).await.status, status, "B2B-17: {purpose}");
    }
}

/// What a running Ward says of itself.
async fn metadata_of(place: &Place) -> Value {
    let (_, mut stream) = place.connect().await;
    let request = format!(
        "GET /default/fhir/.well-known/udap HTTP/1.1\r\nhost: localhost:{}\r\nconnection: close\r\n\r\n",
        place.port
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    parse(&received).json()
}

/// COM-03: the file says what a community knows and demands, and a reload changes it; who serves TEFCA is told that its rules are
/// unverified, by `ward check` and at the start.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_says_it_and_a_reload_changes_it() {
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = Place::init(&upstream.base_url);
    place.join(&mut pki);
    std::fs::write(place.path("w/csp.json"), Vouching::at(0).keys().to_string()).unwrap();
    let tables = format!(
        "[[community.certification]]\nuri = \"{BASIC_CERTIFICATION}\"\nrequired = true\n\n\
         [[community.identity_provider]]\nissuer = \"{CSP}\"\njwks = \"csp.json\"\naudiences = [\"{HCID}\"]\n\n[scopes]"
    );
    place.edit(|text| {
        let text = replaced(&text, "#profile = \"stu2\"", "profile = \"tefca\"");
        replaced(&text, "[scopes]", &tables)
    });
    let (fits, report) = place.check();
    assert!(fits && report.to_string().contains("unverified"), "{report}");
    let serving = Serving::start(&place).await;
    assert!(serving.said().contains("unverified"), "{}", serving.said());
    let said = metadata_of(&place).await;
    let (extensions, certifications) =
        ("udap_authorization_extensions_supported", "udap_certifications_required");
    assert_eq!(said[extensions], json!(["hl7-b2b", "tefca_ias"]));
    assert_eq!(said[certifications], json!([BASIC_CERTIFICATION]));
    place.edit(|text| {
        let text = replaced(&text, "profile = \"tefca\"", "profile = \"stu2\"");
        let text = replaced(&text, "#hl7_b2b_user = \"off\"", "hl7_b2b_user = \"required\"");
        replaced(&text, &tables, "[scopes]")
    });
    serving.signal("-HUP");
    let mut turns = 0;
    loop {
        let said = metadata_of(&place).await;
        if said[extensions] == json!(["hl7-b2b", "hl7-b2b-user"]) {
            assert_eq!(said["udap_authorization_extensions_required"], said[extensions]);
            assert_eq!(said[certifications], json!([]));
            break;
        }
        turns += 1;
        assert!(turns < 240, "{said}: {}", serving.said());
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

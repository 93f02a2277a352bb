//! Communities of different profiles and rules (COM-03, DSC-09..DSC-11), for the rows of `token.jsonl` that name some, and
//! what cannot be a row: metadata, what the answer to a missing consent says, what is kept of what was asserted.
//!
//! The TEF rows rest on third-party sources: **unverified**.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use ward_admin::{Command, Operator, Role};
use ward_core::{ClientUri, CommunityUri, EventKind, Limits, OrganizationUri, Purpose};
use ward_fhir::ScopeSet;
use ward_issuer::{CertificationRule, Certifiers};
use ward_trust::certification::Tefca;
use ward_trust::context::tefca::BASIC_CERTIFICATION;
use ward_trust::context::{ConsentDemand, IdentityProvider, Keys, UserObject};
use ward_trust::{Certification, Community, Profile};

use crate::bad_certificates::serve;
use crate::bad_input::{generous, world};
use crate::harness::{Answer, ISS, World};
use crate::pki::{COMMUNITY, Leaf, Member, Pki};
use crate::rows::{Words, form, jwt};

const CSP: &str = "https://csp.example";
const HCID: &str = "urn:oid:2.16.840.1.113883.3.7204.9";
const POLICY: &str = "urn:oid:1.2.3";
const TREAT: &str = "https://tefca.example/app#T-TREAT";
const IAS: &str = "https://tefca.example/app#T-IAS";

/// Members whose certificates carry an exchange purpose (TEF-04).
pub fn members(pki: &mut Pki) -> [(&'static str, Member); 2] {
    [("treat", TREAT), ("ias", IAS)].map(|(name, uri)| (name, pki.issue(&Leaf::client(uri))))
}

/// Their registrations: client ids by name.
pub async fn register(
    world: &World,
    members: &HashMap<&'static str, Member>,
) -> HashMap<&'static str, String> {
    let mut clients = HashMap::new();
    for (name, uri) in [("treat", TREAT), ("ias", IAS)] {
        clients.insert(name, world.register_client(&members[name], uri).await);
    }
    clients
}

/// A credential service provider, and tokens in which it vouches for somebody.
pub struct Vouching {
    key: RsaKeyPair,
    stranger: RsaKeyPair,
    now: i64,
}

impl Vouching {
    pub fn new(world: &World) -> Self {
        let key = || RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        Self { key: key(), stranger: key(), now: world.system.clock.now().as_seconds() }
    }

    fn provider(&self) -> IdentityProvider {
        // RSAPublicKey is a SEQUENCE of two INTEGERs (RFC 8017 §A.1.1): here of 257 octets, the first 0, and of 3.
        let der = self.key.public_key().as_ref();
        let end = der.len() - 5;
        let (n, e) = (&der[end - 256..end], &der[end + 2..]);
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let set = json!({ "keys": [{ "kty": "RSA", "kid": "k1", "n": text(n), "e": text(e) }] });
        IdentityProvider {
            issuer: CSP.into(),
            keys: Keys::parse(set.to_string().as_bytes(), &Limits::default()).unwrap(),
            audiences: vec![HCID.into()],
            max_age: Duration::from_hours(1),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "aws-lc-rs takes its own randomness")]
    fn token(key: &RsaKeyPair, alg: &str, claims: &Value) -> String {
        let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({ "alg": alg, "kid": "k1", "typ": "JWT" });
        let input = format!("{}.{}", text(&header), text(claims));
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature)
            .unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn claims(&self) -> Value {
        json!({
            "iss": CSP, "aud": HCID, "sub": "s", "jti": "one",
            "iat": self.now - 60, "exp": self.now + 7200,
            "given_name": "Peter", "family_name": "Chalmers", "birthdate": "1974-12-25",
            "email": "jim@example.org",
            "address": {
                "street_address": "534 Erewhon St", "locality": "PleasantVille", "region": "VT",
                "postal_code": "05401", "country": "US",
            },
        })
    }

    /// The table with the tokens that its rows name.
    pub fn fill(&self, table: &str) -> String {
        let with = |name: &str, value: Value| {
            let mut claims = self.claims();
            claims[name] = value;
            Self::token(&self.key, "RS256", &claims)
        };
        let tokens = [
            ("good", Self::token(&self.key, "RS256", &self.claims())),
            ("forged", Self::token(&self.stranger, "RS256", &self.claims())),
            ("algorithm", Self::token(&self.key, "ES256", &self.claims())),
            ("issuer", with("iss", json!("https://other.example"))),
            ("audience", with("aud", json!("urn:oid:1.2.3"))),
            ("old", with("iat", json!(self.now - 4000))),
            ("ended", with("exp", json!(self.now - 120))),
            ("nobody", with("birthdate", Value::Null)),
        ];
        tokens.into_iter().fold(table.to_owned(), |text, (name, token)| {
            text.replace(&format!("\"@{name}\""), &format!("\"{token}\""))
        })
    }
}

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

async fn register_with(world: &World, member: &Member, uri: &str, shown: &[String]) -> Answer {
    let words = world.words(uri, "");
    let claims = world.statement_claims(uri);
    let statement = jwt(&World::good_row(), &words, claims, member, member);
    let body = json!({ "udap": "1", "software_statement": statement, "certifications": shown });
    world.post(&world.register, "application/json", &body.to_string(), &[]).await
}

fn basic_rule() -> CertificationRule {
    CertificationRule {
        uri: BASIC_CERTIFICATION.into(),
        required: true,
        certifiers: Certifiers::Declared,
        unlocks: ScopeSet::default(),
    }
}

/// The basic certification for one purpose, of a home community.
fn basic(world: &World, member: &Member, uri: &str, purpose: &str, home: &str) -> Vec<String> {
    let now = world.system.clock.now();
    let uri = ClientUri::parse(uri).unwrap();
    let one = Certification {
        tefca: Some(Tefca {
            exchange_purpose: purpose.to_owned(),
            home_community_id: home.to_owned(),
        }),
        ..Certification::declared(uri, "TEFCA Basic App Certification", BASIC_CERTIFICATION)
    };
    let one = one.lasting(format!("c-{purpose}-{home}"), now, now.plus(Duration::from_hours(24)));
    vec![one.sign(&member.identity, now, &Limits::default()).unwrap()]
}

/// TEF-02, TEF-03, TEF-04 (unverified): who registers in a community of tefca has a URI that carries an exchange purpose, and
/// shows the basic certification for that purpose; the metadata say so.
#[tokio::test(flavor = "multi_thread")]
async fn tefca_registers_for_one_certified_purpose() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let plain = world.pki.client(ISS);
    let unknown = world.pki.client("https://tefca.example/app#T-HCO-QM");
    let treat = world.pki.client(TREAT);
    serve(&world, |all| {
        all[0].community.profile = Profile::Tefca;
        all[0].certifications = vec![basic_rule()];
    })
    .await;
    let document = document(&world).await;
    assert_eq!(document["udap_certifications_supported"], json!([BASIC_CERTIFICATION]), "TEF-02");
    assert_eq!(document["udap_certifications_required"], json!([BASIC_CERTIFICATION]), "TEF-02");
    let shown =
        |member: &Member, uri: &str, purpose: &str| basic(&world, member, uri, purpose, HCID);
    let refused = |answer: &Answer, error: &str, what: &str| {
        assert_eq!((answer.status, answer.error().as_deref()), (400, Some(error)), "{what}");
    };
    for (member, uri) in [(&plain, ISS), (&unknown, "https://tefca.example/app#T-HCO-QM")] {
        let shown = shown(member, uri, "T-TREAT");
        let answer = register_with(&world, member, uri, &shown).await;
        refused(&answer, "invalid_software_statement", "TEF-04");
    }
    let answer = register_with(&world, &treat, TREAT, &[]).await;
    refused(&answer, "invalid_client_metadata", "TEF-02");
    let other = shown(&treat, TREAT, "T-PYMNT");
    let answer = register_with(&world, &treat, TREAT, &other).await;
    refused(&answer, "invalid_certification", "TEF-03");
    let right = shown(&treat, TREAT, "T-TREAT");
    let answer = register_with(&world, &treat, TREAT, &right).await;
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.json()["certifications"], json!(right));
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

/// B33, TEF-09 (unverified): what vouches for an individual is made for the home community that shows it; a provider of
/// individual access cannot use what was made for another.
#[tokio::test(flavor = "multi_thread")]
async fn what_vouches_for_an_individual_is_for_the_provider_that_shows_it() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let vouching = Vouching::new(&world);
    let member = world.pki.client(IAS);
    serve(&world, |all| {
        change(&mut all[0].community, "tefca", &vouching);
        all[0].certifications = vec![basic_rule()];
    })
    .await;
    let row = include_str!("../data/token.jsonl")
        .lines()
        .find(|line| line.contains("individual access with all that it needs"))
        .unwrap();
    let row: Value = serde_json::from_str(&vouching.fill(row)).unwrap();
    for (home, status) in [(HCID, 200), ("urn:oid:1.2.3", 400), (HCID, 200)] {
        let shown = basic(&world, &member, IAS, "T-IAS", home);
        let answer = register_with(&world, &member, IAS, &shown).await;
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        let words = world.words(IAS, answer.json()["client_id"].as_str().unwrap());
        let answer = ask(&world, &words, &member, row["claims"]["extensions"].clone(), true).await;
        assert_eq!(answer.status, status, "{home}: {answer:?}");
    }
}

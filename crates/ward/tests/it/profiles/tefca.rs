//! TEFCA over sockets: members whose certificates carry an exchange purpose, what vouches for individuals, and what a
//! community of that profile wants of a registration.
//!
//! **Unverified**: the TEF rows rest on third-party sources.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use ward_core::{ClientUri, Limits};
use ward_fhir::ScopeSet;
use ward_issuer::{CertificationRule, Certifiers};
use ward_trust::certification::Tefca;
use ward_trust::context::tefca::BASIC_CERTIFICATION;
use ward_trust::context::{IdentityProvider, Keys};
use ward_trust::{Certification, Profile};

use super::{ask, change, document};
use crate::bad_certificates::serve;
use crate::bad_input::{generous, world};
use crate::harness::{Answer, ISS, World};
use crate::pki::{Leaf, Member, Pki};
use crate::rows::jwt;

pub const CSP: &str = "https://csp.example";
pub const HCID: &str = "urn:oid:2.16.840.1.113883.3.7204.9";
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
        Self::at(world.system.clock.now().as_seconds())
    }

    pub fn at(now: i64) -> Self {
        let key = || RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        Self { key: key(), stranger: key(), now }
    }

    /// The key as a JWK Set.
    pub fn keys(&self) -> Value {
        // RSAPublicKey is a SEQUENCE of two INTEGERs (RFC 8017 §A.1.1): here of 257 octets, the first 0, and of 3.
        let der = self.key.public_key().as_ref();
        let end = der.len() - 5;
        let (n, e) = (&der[end - 256..end], &der[end + 2..]);
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "keys": [{ "kty": "RSA", "kid": "k1", "n": text(n), "e": text(e) }] })
    }

    pub fn provider(&self) -> IdentityProvider {
        IdentityProvider {
            issuer: CSP.into(),
            keys: Keys::parse(self.keys().to_string().as_bytes(), &Limits::default()).unwrap(),
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
    let row = include_str!("../../data/token.jsonl")
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

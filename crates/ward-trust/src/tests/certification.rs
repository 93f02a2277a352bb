//! Rows C02..C15 of udap.md §7.4, each with wire code and rule, and what must be accepted.

use serde_json::{Map, Value, json};
use ward_core::{ClientUri, Limits, Timestamp};

use super::pki::{CLIENT, DAY, Leaf, NOW, World, now, p256, rsa, uri};
use crate::certification::{Applicant, TEFCA_BASIC_APP, Tefca};
use crate::{Alg, Certification, CertificationError, Jws, SigningIdentity};

const ENDPOINT: &str = "https://as.example/t1/oauth/register";
const CERTIFIER: &str = "https://certifier.example/";
const GOLD: &str = "https://certifier.example/programmes/gold";

/// Rule, what is wrong, who signs, what it is made from, and the members that are changed.
type Row<'a> =
    (&'static str, &'static str, &'a SigningIdentity, Certification, Vec<(&'static str, Value)>);

fn name(text: &str) -> ClientUri {
    ClientUri::parse(text).unwrap()
}

fn certifier(world: &World) -> SigningIdentity {
    world
        .issuing
        .leaf_with(p256(), |params| params.subject_alt_names = vec![uri(CERTIFIER)])
        .identity(&[])
}

fn gold() -> Certification {
    Certification::of_client(name(CERTIFIER), name(CLIENT), "Gold", GOLD, "The Certifier").lasting(
        "c-1",
        now(),
        Timestamp::from_seconds(NOW + 200 * DAY),
    )
}

fn declared() -> Certification {
    Certification::declared(name(CLIENT), "Privacy", "https://abcd.example/criteria/privacy")
        .lasting("c-2", now(), Timestamp::from_seconds(NOW + 200 * DAY))
}

/// The parameters of the statement that comes with it.
fn statement() -> Value {
    json!({
        "client_name": "Client", "grant_types": ["client_credentials"],
        "contacts": ["mailto:a@client.example"], "scope": "system/Patient.rs",
        "token_endpoint_auth_method": "private_key_jwt", "software_id": "one",
    })
}

fn held_against(
    claims: &Value,
    signer: &SigningIdentity,
    applicant: &Leaf,
    statement: &Value,
) -> Result<Certification, CertificationError> {
    let limits = Limits::default();
    let header = json!({"alg": "ES256", "x5c": signer.x5c()}).to_string();
    let token = signer.sign_raw(Alg::Es256, header.as_bytes(), claims.to_string().as_bytes());
    let jws = Jws::parse(&token.unwrap(), &limits)?.verify(&Alg::ALL)?;
    Certification::uris_of(&jws)?;
    let Value::Object(statement) = statement else { panic!("an object") };
    let applicant =
        Applicant { uri: &name(CLIENT), certificate: &applicant.certificate, claims: statement };
    Certification::validate(&jws, &applicant, ENDPOINT, now(), &limits)
}

/// Members set, or removed with the word `REMOVE`.
fn edit(base: &Certification, changes: &[(&str, Value)]) -> Value {
    let mut claims = base.claims();
    for (name, value) in changes {
        if value == "REMOVE" {
            claims.as_object_mut().unwrap().remove(*name);
        } else {
            claims[*name] = value.clone();
        }
    }
    claims
}

/// CRT-15: what the builder makes is read back as it was.
#[test]
fn what_is_signed_is_read_back() {
    let world = World::new();
    let certifier = certifier(&world);
    let full = Certification {
        audiences: vec![ENDPOINT.to_owned(), "https://other.example/register".to_owned()],
        status_endpoint: Some("https://certifier.example/status".to_owned()),
        endorsement: true,
        scope: Some("system/*.rs".to_owned()),
        parameters: Map::from_iter([("software_id".to_owned(), json!("one"))]),
        extensions: Map::from_iter([("example".to_owned(), json!({"a": 1}))]),
        ..gold()
    };
    let tefca = Certification {
        uris: vec![TEFCA_BASIC_APP.to_owned()],
        tefca: Some(Tefca {
            exchange_purpose: "T-TREAT".to_owned(),
            home_community_id: "urn:oid:1.2.3".to_owned(),
        }),
        ..gold()
    };
    for one in [gold(), full, tefca] {
        let token = one.sign(&certifier, now(), &Limits::default()).unwrap();
        let jws = Jws::parse(&token, &Limits::default()).unwrap().verify(&Alg::ALL).unwrap();
        assert_eq!(Certification::uris_of(&jws).unwrap(), one.uris);
        let Value::Object(statement) = statement() else { panic!("an object") };
        let applicant = Applicant {
            uri: &name(CLIENT),
            certificate: &world.leaf.certificate,
            claims: &statement,
        };
        let read =
            Certification::validate(&jws, &applicant, ENDPOINT, now(), &Limits::default()).unwrap();
        assert_eq!(read, one);
        assert!(!read.is_declared());
    }
    let own = declared().sign(&world.leaf.identity(&[]), now(), &Limits::default()).unwrap();
    let jws = Jws::parse(&own, &Limits::default()).unwrap();
    assert_eq!(*jws.claims(), *declared().claims().as_object().unwrap());
    // CRT-05, CRT-06: nobody can sign what no server would take.
    for bad in [
        Certification { iss: name("https://another.example/"), ..gold() },
        gold().lasting("c-1", now(), Timestamp::from_seconds(NOW + 366 * DAY)),
        Certification { issuer: None, ..gold() },
        Certification { uris: vec![], ..gold() },
        Certification { status_endpoint: Some("http://certifier.example/".to_owned()), ..gold() },
    ] {
        bad.sign(&certifier, now(), &Limits::default()).unwrap_err();
    }
}

#[test]
fn honest_certifications_are_read() {
    let world = World::new();
    let (third, own) = (certifier(&world), world.leaf.identity(&[]));
    for (row, signer, base, changes) in [
        ("CRT-05 without aud", &third, gold(), vec![]),
        ("CRT-05 aud", &third, gold(), vec![("aud", json!(ENDPOINT))]),
        ("CRT-05 aud among others", &third, gold(), vec![("aud", json!(["https://x/", ENDPOINT]))]),
        (
            "CRT-04 several URIs",
            &third,
            gold(),
            vec![("certification_uris", json!([GOLD, "urn:x"]))],
        ),
        (
            "CRT-08 subset",
            &third,
            gold(),
            vec![("contacts", json!(["mailto:a@client.example", "mailto:b@client.example"]))],
        ),
        ("CRT-08 equal", &third, gold(), vec![("software_id", json!("one"))]),
        ("CRT-15 without grant_types", &third, gold(), vec![("grant_types", json!("REMOVE"))]),
        (
            "CRT-12 status",
            &third,
            gold(),
            vec![("certification_status_endpoint", json!("https://certifier.example/status"))],
        ),
        ("CRT-13 declared", &own, declared(), vec![]),
        (
            "unknown members",
            &third,
            gold(),
            vec![("certification_logo", json!("x")), ("x", json!(1))],
        ),
        ("scope is the server's", &third, gold(), vec![("scope", json!("system/Observation.rs"))]),
    ] {
        let claims = edit(&base, &changes);
        if let Err(error) = held_against(&claims, signer, &world.leaf, &statement()) {
            panic!("{row}: {error} ({})", error.fault().rule);
        }
    }
}

#[test]
fn rows_c02_to_c15() {
    let world = World::new();
    let (third, own) = (certifier(&world), world.leaf.identity(&[]));
    let invalid = "invalid_certification";
    let other = "https://client.example/other";
    let cases: Vec<Row<'_>> = vec![
        ("C04", "another client", &third, gold(), vec![("sub", json!(other))]),
        ("C04", "missing", &third, gold(), vec![("sub", json!("REMOVE"))]),
        ("CRT-05", "iss not in the SAN", &third, gold(), vec![("iss", json!(other))]),
        ("CRT-05", "iss missing", &third, gold(), vec![("iss", json!("REMOVE"))]),
        ("CRT-05", "jti missing", &third, gold(), vec![("jti", json!("REMOVE"))]),
        (
            "C05",
            "another server",
            &third,
            gold(),
            vec![("aud", json!("https://x.example/register"))],
        ),
        ("C05", "slash", &third, gold(), vec![("aud", json!(format!("{ENDPOINT}/")))]),
        ("C05", "number", &third, gold(), vec![("aud", json!(1))]),
        ("C05", "empty", &third, gold(), vec![("aud", json!([]))]),
        (
            "C06",
            "expired",
            &third,
            gold(),
            vec![("iat", json!(NOW - DAY)), ("exp", json!(NOW - 61))],
        ),
        ("C06", "iat in the future", &third, gold(), vec![("iat", json!(NOW + 61))]),
        ("C06", "exp missing", &third, gold(), vec![("exp", json!("REMOVE"))]),
        (
            "C06",
            "three years and a second",
            &third,
            gold(),
            vec![("iat", json!(NOW - 1096 * DAY + 200 * DAY)), ("exp", json!(NOW + 200 * DAY + 1))],
        ),
        (
            "C06",
            "outlives the certificate",
            &third,
            gold(),
            vec![("exp", json!(NOW + 365 * DAY + 1))],
        ),
        ("C07", "grant type", &third, gold(), vec![("grant_types", json!(["authorization_code"]))]),
        ("C07", "name", &third, gold(), vec![("client_name", json!("Another"))]),
        ("C07", "contacts", &third, gold(), vec![("contacts", json!(["mailto:b@client.example"]))]),
        ("C07", "software", &third, gold(), vec![("software_version", json!("2"))]),
        ("C07", "another's key", &third, gold(), vec![("jwks", json!({"keys": []}))]),
        (
            "C08",
            "wildcard in a component",
            &third,
            gold(),
            vec![
                ("redirect_uris", json!(["https://client.example/a*"])),
                ("grant_types", json!("REMOVE")),
            ],
        ),
        (
            "CRT-09",
            "redirect with client credentials",
            &third,
            gold(),
            vec![("redirect_uris", json!(["https://client.example/cb"]))],
        ),
        (
            "C12",
            "declared, with an issuer",
            &own,
            declared(),
            vec![("certification_issuer", json!("Me"))],
        ),
        (
            "C12",
            "declared, with a status",
            &own,
            declared(),
            vec![("certification_status_endpoint", json!("https://client.example/s"))],
        ),
        (
            "CRT-13",
            "third party without issuer",
            &third,
            gold(),
            vec![("certification_issuer", json!("REMOVE"))],
        ),
        (
            "C13",
            "jwks_uri",
            &third,
            gold(),
            vec![("jwks_uri", json!("https://client.example/jwks"))],
        ),
        (
            "C14",
            "two purposes",
            &third,
            gold(),
            vec![
                ("certification_uris", json!([TEFCA_BASIC_APP])),
                ("exchange_purposes", json!(["T-TREAT", "T-PYMNT"])),
                ("home_community_id", json!("urn:oid:1")),
            ],
        ),
        (
            "C14",
            "none",
            &third,
            gold(),
            vec![
                ("certification_uris", json!([TEFCA_BASIC_APP])),
                ("home_community_id", json!("urn:oid:1")),
            ],
        ),
        ("C15", "no name", &third, gold(), vec![("certification_name", json!("REMOVE"))]),
        ("CRT-15", "URIs a string", &third, gold(), vec![("certification_uris", json!(GOLD))]),
        ("CRT-15", "name empty", &third, gold(), vec![("certification_name", json!(""))]),
        (
            "CRT-15",
            "grant type unknown",
            &third,
            gold(),
            vec![("grant_types", json!(["implicit"]))],
        ),
        ("CRT-15", "response types", &third, gold(), vec![("response_types", json!(["code"]))]),
        ("CRT-15", "extensions an array", &third, gold(), vec![("extensions", json!([]))]),
        ("CRT-08", "addresses", &third, gold(), vec![("ip_allowed", json!(["10.0.0.0/8"]))]),
    ];
    for (rule, row, signer, base, changes) in cases {
        let claims = edit(&base, &changes);
        let error = held_against(&claims, signer, &world.leaf, &statement()).unwrap_err();
        assert_eq!((error.code(), error.fault().rule), (invalid, rule), "{rule} {row}");
    }
    let status =
        edit(&gold(), &[("certification_status_endpoint", json!("http://certifier.example/"))]);
    let error = held_against(&status, &third, &world.leaf, &statement()).unwrap_err();
    assert_eq!((error.code(), error.fault().rule), ("unapproved_certification", "C09"));
    // C02, C15: faults of the JWS, and a statement in its place.
    let error = CertificationError::from(crate::JoseError::Signature);
    assert_eq!((error.code(), error.fault().rule), (invalid, "C02"));
    let mut software = statement();
    for (name, value) in [("iss", json!(CLIENT)), ("sub", json!(CLIENT)), ("jti", json!("x"))] {
        software[name] = value;
    }
    let error = held_against(&software, &own, &world.leaf, &statement()).unwrap_err();
    assert_eq!((error.code(), error.fault().rule), (invalid, "C15"));
    let error = CertificationError::from(crate::PathError::Revoked);
    assert_eq!((error.code(), error.fault().rule), ("unapproved_certification", "X10"));
}

/// CRT-14: locked to a key, of each kind; another key of the same client does not do.
#[test]
fn a_certification_can_be_locked_to_a_key() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let world = World::new();
    let third = certifier(&world);
    let (elliptic, rsa) = (world.issuing.leaf(), world.issuing.leaf_with(rsa(0), |_| {}));
    let bits = elliptic.certificate.key_bits();
    let text = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
    let elliptic_jwk =
        json!({"kty": "EC", "crv": "P-256", "x": text(&bits[1..33]), "y": text(&bits[33..])});
    // SEQUENCE { INTEGER modulus of 257 octets with its sign, INTEGER 65537 }
    let rsa_bits = rsa.certificate.key_bits();
    let rsa_jwk = json!({"kty": "RSA", "n": text(&rsa_bits[9..265]), "e": "AQAB"});
    for (jwk, fits, does_not) in [(&elliptic_jwk, &elliptic, &rsa), (&rsa_jwk, &rsa, &elliptic)] {
        let claims = edit(&gold(), &[("jwks", json!({"keys": [jwk]}))]);
        let read = held_against(&claims, &third, fits, &statement()).unwrap();
        assert!(
            read.allows_key_of(&fits.certificate) && !read.allows_key_of(&does_not.certificate)
        );
        let error = held_against(&claims, &third, does_not, &statement()).unwrap_err();
        assert_eq!(error.fault().rule, "C07");
    }
}

/// C07, C08 with redirect URIs, which only the code flow has.
#[test]
fn redirect_uris_keep_to_the_pattern() {
    let world = World::new();
    let third = certifier(&world);
    let code = |uri: &str| {
        let mut claims = statement();
        claims["grant_types"] = json!(["authorization_code"]);
        claims["redirect_uris"] = json!([uri]);
        claims
    };
    let certified = edit(
        &gold(),
        &[
            ("grant_types", json!(["authorization_code", "refresh_token"])),
            ("response_types", json!(["code"])),
            ("redirect_uris", json!(["https://client.example/r/*", "https://client.example/%2A"])),
        ],
    );
    let held = |uri: &str| held_against(&certified, &third, &world.leaf, &code(uri));
    held("https://client.example/r/one").unwrap();
    held("https://client.example/%2A").unwrap();
    for outside in ["https://client.example/r/one/two", "https://client.example/one"] {
        assert_eq!(held(outside).unwrap_err().fault().rule, "C07", "{outside}");
    }
}

/// CRT-12: the request of CE §8. What tells two certifications apart does not hang on the signature.
#[test]
fn its_status_is_asked_for_by_jti_and_exp() {
    let jti = "C0hlwc7r+3/t0qoK1G4G/B0hsyE7xR4PGiRfWQBZXY7e";
    let exp = Timestamp::from_seconds(1_562_961_473);
    let at = |endpoint: &str| Certification {
        status_endpoint: Some(endpoint.to_owned()),
        ..gold().lasting(jti, now(), exp)
    };
    assert_eq!(
        at("https://identityprovider.example.org/status").status_url().unwrap(),
        "https://identityprovider.example.org/status\
         ?jti=C0hlwc7r%2B3%2Ft0qoK1G4G%2FB0hsyE7xR4PGiRfWQBZXY7e&exp=1562961473"
    );
    assert!(at("https://a.example/?x=1").status_url().unwrap().contains("?x=1&jti="));
    assert_eq!(gold().status_url(), None);
    assert_eq!(at("https://a.example/").id(), Certification::id_of(CERTIFIER, jti, exp));
    for other in [
        gold().lasting("c-2", now(), gold().exp),
        gold().lasting("c-1", now(), exp),
        Certification { iss: name("https://another.example/"), ..gold() },
    ] {
        assert_ne!(other.id(), gold().id());
    }
}

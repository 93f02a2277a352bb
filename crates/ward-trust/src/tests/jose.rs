//! Rows R07..R24 of udap.md §7.1, each with the exact error, and properties of the parser.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};
use ward_core::{Limits, Secret};

use super::pki::{World, ec_spki, p384, rsa, rsa_spki};
use crate::{Alg, Certificate, JoseError, Jws, SigningIdentity};

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn check(compact: &str) -> Result<(), JoseError> {
    Jws::parse(compact, &Limits::default())?.verify(&Alg::ALL).map(|_| ())
}

struct Fixture {
    world: World,
    identity: SigningIdentity,
}

impl Fixture {
    fn new() -> Self {
        let world = World::new();
        let identity = world.leaf.identity(&[&world.issuing]);
        Self { world, identity }
    }

    fn header(&self) -> Value {
        json!({"alg": "ES256", "x5c": self.identity.x5c()})
    }

    fn signed(&self, header: &Value, payload: &str) -> String {
        let header = header.to_string();
        self.identity.sign_raw(Alg::Es256, header.as_bytes(), payload.as_bytes()).unwrap()
    }

    /// Signed under a header with one member changed.
    fn with(&self, name: &str, value: Value) -> String {
        let mut header = self.header();
        header[name] = value;
        self.signed(&header, "{}")
    }

    fn without(&self, name: &str) -> String {
        let mut header = self.header();
        header.as_object_mut().unwrap().remove(name);
        self.signed(&header, "{}")
    }
}

#[test]
fn each_algorithm_signs_and_verifies() {
    for (key, alg, other) in [
        (super::pki::p256(), Alg::Es256, Alg::Rs256),
        (p384(), Alg::Es384, Alg::Es256),
        (rsa(0), Alg::Rs256, Alg::Es256),
        (rsa(0), Alg::Rs384, Alg::Es384),
    ] {
        let world = World::with_key(key);
        let identity = world.leaf.identity(&[&world.issuing]);
        let token = identity.sign(alg, &json!({"iss": "x", "n": 1})).unwrap();
        let jws = Jws::parse(&token, &Limits::default()).unwrap();
        assert_eq!(jws.clone().verify(&[other]).err(), Some(JoseError::Algorithm), "R10 unlisted");
        let jws = jws.verify(&[alg]).unwrap();
        assert_eq!(jws.alg(), alg);
        assert_eq!(jws.claims()["iss"], "x");
        assert_eq!(jws.leaf(), &world.leaf.certificate);
        assert_eq!(jws.extra(), std::slice::from_ref(&world.issuing.certificate));
        assert_eq!(identity.sign(other, &json!({})), Err(JoseError::KeyMismatch));
        assert_eq!(identity.san_uris(), [super::pki::CLIENT]);
    }
}

#[test]
fn rows_r07_to_r24() {
    let f = Fixture::new();
    let good = f.signed(&f.header(), r#"{"iss":"x"}"#);
    assert_eq!(check(&good), Ok(()));
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!() };
    let leaf = &f.world.leaf.certificate;
    let leaf_b64 = STANDARD.encode(leaf.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{leaf_b64}\n-----END CERTIFICATE-----\n");
    let mut trailing = leaf.der().to_vec();
    trailing.push(0);
    let huge = STANDARD.encode(vec![0x30; 16 * 1024 + 1]);
    let unsigned = |alg: &str| {
        let header = json!({"alg": alg, "x5c": f.identity.x5c()}).to_string();
        format!("{}.{payload}.", b64(header))
    };
    let hmac = {
        // R09: keyed with the public key, which everyone knows.
        let header = b64(json!({"alg": "HS256", "x5c": f.identity.x5c()}).to_string());
        let input = format!("{header}.{payload}");
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, leaf.key_bits());
        format!("{input}.{}", b64(aws_lc_rs::hmac::sign(&key, input.as_bytes())))
    };
    let other = f.world.issuing.leaf();
    let by_other = |x5c: Value| {
        let header = json!({"alg": "ES256", "x5c": x5c}).to_string();
        other.identity(&[]).sign_raw(Alg::Es256, header.as_bytes(), b"{}").unwrap()
    };
    let rs = World::with_key(rsa(0));
    let rs = rs.leaf.identity(&[]);
    let mut last = signature.to_owned();
    // 64 octets leave four stray bits in the last character of which none may be set.
    let end = last.pop().unwrap();
    let stray = char::from(end as u8 + 1);
    last.push(stray);
    let der_signature = {
        let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let int = |bytes: &[u8]| super::pki::tlv(2, &[&[0], bytes]);
        b64(super::pki::tlv(0x30, &[&int(&raw[..32]), &int(&raw[32..])]))
    };
    let zero = |from: usize| {
        let mut raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
        raw[from..from + 32].fill(0);
        format!("{header}.{payload}.{}", b64(raw))
    };
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(40), "]".repeat(40));

    let rows: Vec<(&str, String, JoseError)> = vec![
        ("R07 empty", String::new(), JoseError::Segments),
        ("R07 two", format!("{header}.{payload}"), JoseError::Segments),
        ("R07 four", format!("{good}.x"), JoseError::Segments),
        ("R07 JWE", format!("{header}.a.b.c.d"), JoseError::Segments),
        (
            "R07 JSON serialization",
            r#"{"payload":"e30","signatures":[]}"#.into(),
            JoseError::Segments,
        ),
        ("R08 none", unsigned("none"), JoseError::Unsigned),
        ("R08 None", unsigned("None"), JoseError::Unsigned),
        ("R08 nOnE, with signature", f.with("alg", json!("nOnE")), JoseError::Unsigned),
        ("R08 no signature", format!("{header}.{payload}."), JoseError::Unsigned),
        ("R09", hmac, JoseError::Symmetric),
        ("R10 PS256", f.with("alg", json!("PS256")), JoseError::Algorithm),
        ("R10 EdDSA", f.with("alg", json!("EdDSA")), JoseError::Algorithm),
        ("R10 RS512", f.with("alg", json!("RS512")), JoseError::Algorithm),
        ("R10 ES256K", f.with("alg", json!("ES256K")), JoseError::Algorithm),
        ("R10 with space", f.with("alg", json!("ES256 ")), JoseError::Algorithm),
        ("R10 missing", f.without("alg"), JoseError::AlgorithmMissing),
        ("R10 not a string", f.with("alg", json!(["ES256"])), JoseError::AlgorithmMissing),
        ("R11 RS256 with P-256", f.with("alg", json!("RS256")), JoseError::KeyMismatch),
        ("R11 ES384 with P-256", f.with("alg", json!("ES384")), JoseError::KeyMismatch),
        (
            "R11 ES256 with RSA",
            rs.sign_raw(
                Alg::Rs256,
                json!({"alg":"ES256","x5c":rs.x5c()}).to_string().as_bytes(),
                b"{}",
            )
            .unwrap(),
            JoseError::KeyMismatch,
        ),
        (
            "R13 RS384 signed as RS256",
            rs.sign_raw(
                Alg::Rs256,
                json!({"alg":"RS384","x5c":rs.x5c()}).to_string().as_bytes(),
                b"{}",
            )
            .unwrap(),
            JoseError::Signature,
        ),
        ("R12", f.with("alg", json!("es256")), JoseError::AlgorithmCase),
        ("R13 other key", by_other(f.identity.x5c()), JoseError::Signature),
        (
            "R13 signature of another text",
            format!("{header}.{}.{signature}", b64(r#"{"iss":"y"}"#)),
            JoseError::Signature,
        ),
        (
            "R14 payload changed",
            format!("{header}.{}.{signature}", b64(r#"{"iss":"x" }"#)),
            JoseError::Signature,
        ),
        (
            "R15 key of x5c[1]",
            by_other(json!([leaf_b64, STANDARD.encode(other.certificate.der())])),
            JoseError::Signature,
        ),
        (
            "R16 jwk without x5c",
            {
                let header = json!({"alg": "ES256", "jwk": {"kty": "EC"}, "kid": "1", "jku": "https://x/", "x5u": "https://x/"});
                f.signed(&header, "{}")
            },
            JoseError::CertificateMissing,
        ),
        ("R17 missing", f.without("x5c"), JoseError::CertificateMissing),
        ("R17 []", f.with("x5c", json!([])), JoseError::CertificateMissing),
        ("R17 string", f.with("x5c", json!(leaf_b64)), JoseError::CertificateMissing),
        ("R17 number", f.with("x5c", json!([leaf_b64, 1])), JoseError::CertificateMissing),
        ("R17 null", f.with("x5c", Value::Null), JoseError::CertificateMissing),
        ("R17 [null]", f.with("x5c", json!([null])), JoseError::CertificateMissing),
        ("R18 PEM", f.with("x5c", json!([pem])), JoseError::CertificateMalformed),
        (
            "R18 line break",
            f.with("x5c", json!([format!("{}\n{}", &leaf_b64[..64], &leaf_b64[64..])])),
            JoseError::CertificateMalformed,
        ),
        (
            "R18 space",
            f.with("x5c", json!([format!("{leaf_b64} ")])),
            JoseError::CertificateMalformed,
        ),
        (
            "R18 trailing octet",
            f.with("x5c", json!([STANDARD.encode(trailing)])),
            JoseError::CertificateMalformed,
        ),
        ("R18 not a certificate", f.with("x5c", json!(["AAAA"])), JoseError::CertificateMalformed),
        (
            "R18 the second one",
            f.with("x5c", json!([leaf_b64, "AAAA"])),
            JoseError::CertificateMalformed,
        ),
        ("R18 empty", f.with("x5c", json!([""])), JoseError::CertificateMalformed),
        (
            "R19 leaf last",
            f.with("x5c", json!([STANDARD.encode(f.world.issuing.certificate.der()), leaf_b64])),
            JoseError::Signature,
        ),
        ("R20 eleven", f.with("x5c", json!(vec![&leaf_b64; 11])), JoseError::CertificatesExceeded),
        ("R20 large", f.with("x5c", json!([leaf_b64, huge])), JoseError::CertificatesExceeded),
        ("R21 crit", f.with("crit", json!(["exp"])), JoseError::Critical),
        ("R21 crit, empty", f.with("crit", json!([])), JoseError::Critical),
        ("R21 b64", f.with("b64", json!(false)), JoseError::Critical),
        ("JWT-13 dpop", f.with("typ", json!("dpop+jwt")), JoseError::Type),
        ("JWT-13 access token", f.with("typ", json!("application/AT+JWT")), JoseError::Type),
        ("JWT-13 not a string", f.with("typ", json!(1)), JoseError::Type),
        ("R22 DER", format!("{header}.{payload}.{der_signature}"), JoseError::Signature),
        ("R22 r = 0", zero(0), JoseError::Signature),
        ("R22 s = 0", zero(32), JoseError::Signature),
        ("R23 iss twice", f.signed(&f.header(), r#"{"iss":"a","iss":"b"}"#), JoseError::Duplicate),
        (
            "R23 iss twice, escaped",
            f.signed(&f.header(), r#"{"iss":"a","\u0069ss":"b"}"#),
            JoseError::Duplicate,
        ),
        (
            "R23 alg twice",
            {
                let x5c = f.identity.x5c();
                let header = format!(r#"{{"alg":"ES256","x5c":{x5c},"alg":"none"}}"#);
                f.identity.sign_raw(Alg::Es256, header.as_bytes(), b"{}").unwrap()
            },
            JoseError::Duplicate,
        ),
        ("JWT-10 array", f.signed(&f.header(), "[]"), JoseError::Json),
        ("JWT-10 nested JWT", f.signed(&f.header(), &good), JoseError::Json),
        ("JWT-10 byte-order mark", f.signed(&f.header(), "\u{feff}{}"), JoseError::Json),
        ("JWT-10 deep", f.signed(&f.header(), &deep), JoseError::Json),
        ("JWT-10 empty payload", f.signed(&f.header(), ""), JoseError::Json),
        (
            "JWT-10 Latin-1",
            f.identity
                .sign_raw(Alg::Es256, f.header().to_string().as_bytes(), b"{\"a\":\"\xe9\"}")
                .unwrap(),
            JoseError::Json,
        ),
        ("R24 padding", format!("{header}.{payload}.{signature}=="), JoseError::Encoding),
        ("R24 stray bits", format!("{header}.{payload}.{last}"), JoseError::Encoding),
        (
            "R24 standard alphabet",
            format!("{header}.{payload}.{}", "+/".repeat(43)),
            JoseError::Encoding,
        ),
        ("R24 line break", format!("{header}.{payload}.{signature}\n"), JoseError::Encoding),
        ("R24 leading space", format!(" {good}"), JoseError::Encoding),
        (
            "REG-26 too long",
            format!("{header}.{}.{signature}", "A".repeat(70_000)),
            JoseError::TooLong,
        ),
    ];
    for (row, token, want) in rows {
        assert_eq!(check(&token), Err(want), "{row}");
    }
    assert_eq!(check(&f.with("jwk", json!({"kty": "EC"}))), Ok(()), "R16 ignored beside x5c");
    assert_eq!(check(&f.with("typ", json!("JWT"))), Ok(()), "JWT-13");
}

#[test]
fn r18_base64url_entry() {
    // Only a certificate whose base64 has a plus or slash tells the alphabets apart: find one.
    let f = Fixture::new();
    let text = std::iter::repeat_with(|| STANDARD.encode(f.world.issuing.leaf().certificate.der()))
        .find(|text| text.contains(['+', '/']))
        .unwrap();
    let other = text.replace('+', "-").replace('/', "_");
    assert_eq!(check(&f.with("x5c", json!([other]))), Err(JoseError::CertificateMalformed));
}

#[test]
fn a_key_below_the_floor_is_a_matter_of_trust() {
    let f = Fixture::new();
    let spki_of = |spki: Vec<u8>| -> Certificate { f.world.issuing.leaf_for(spki) };
    for (row, certificate) in [
        ("X34", spki_of(rsa_spki(128, &[1, 0, 1]))),
        ("X35", spki_of(rsa_spki(256, &[3]))),
        ("X36", spki_of(ec_spki(&[0x2b, 0x81, 4, 0, 10], 64))),
    ] {
        let token = f.with("x5c", json!([STANDARD.encode(certificate.der())]));
        let error = check(&token).unwrap_err();
        assert_eq!(error, JoseError::WeakKey, "{row}");
        assert_eq!(crate::StatementError::from(error).code(), "unapproved_software_statement");
        assert_eq!(crate::AssertionError::from(error).code(), "invalid_client");
    }
}

#[test]
fn an_identity_is_one_key_and_its_certificate() {
    let world = World::new();
    let stranger = super::pki::p256();
    let chain = [world.leaf.certificate.der().to_vec()];
    let new = |chain: &[Vec<u8>], key: Vec<u8>| {
        SigningIdentity::from_pkcs8(chain, &Secret::new(key)).err()
    };
    assert_eq!(new(&chain, world.leaf.key.serialize_der()), None);
    assert_eq!(new(&chain, stranger.serialize_der()), Some(JoseError::Identity));
    assert_eq!(new(&chain, rsa(0).serialize_der()), Some(JoseError::Identity));
    assert_eq!(new(&chain, vec![1, 2, 3]), Some(JoseError::Identity));
    assert_eq!(new(&[], stranger.serialize_der()), Some(JoseError::CertificateMissing));
    let weak = [world.issuing.leaf_for(rsa_spki(128, &[1, 0, 1])).der().to_vec()];
    assert_eq!(new(&weak, stranger.serialize_der()), Some(JoseError::WeakKey));
}

#[test]
fn no_bit_of_a_signature_can_change_unnoticed() {
    let f = Fixture::new();
    let good = f.signed(&f.header(), "{}");
    for at in good.rfind('.').unwrap()..good.len() {
        for bit in 0..8 {
            assert!(flipped(&good, at, bit).is_none_or(|bad| check(&bad).is_err()), "{at}.{bit}");
        }
    }
}

/// `None`: no longer text, which no caller can send.
fn flipped(text: &str, at: usize, bit: u8) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let at = at % bytes.len();
    bytes[at] ^= 1 << bit;
    String::from_utf8(bytes).ok()
}

/// A token is costly to make in a debug build: one for all cases.
fn token() -> &'static str {
    static TOKEN: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    TOKEN.get_or_init(|| {
        let f = Fixture::new();
        f.signed(&f.header(), r#"{"iss":"x","exp":1}"#)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn any_flipped_bit_is_refused(at in any::<usize>(), bit in 0_u8..8) {
        prop_assert_eq!(check(token()), Ok(()));
        if let Some(bad) = flipped(token(), at, bit) {
            prop_assert!(check(&bad).is_err());
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = check(&text);
    }

    #[test]
    fn arbitrary_segments_never_panic(
        header in r#"\{"alg":"[A-Z0-9]{0,6}","x5c":\[("[A-Za-z0-9+/]{0,40}")?\]\}|.{0,40}"#,
        payload in any::<Vec<u8>>(),
        signature in any::<Vec<u8>>(),
    ) {
        let _ = check(&format!("{}.{}.{}", b64(header), b64(payload), b64(signature)));
    }

    #[test]
    fn altered_certificates_never_panic(at in any::<usize>(), byte in any::<u8>()) {
        let jws = Jws::parse(token(), &Limits::default()).unwrap();
        let mut der = jws.leaf().der().to_vec();
        let at = at % der.len();
        der[at] = byte;
        if let Ok(certificate) = Certificate::from_der(&der) {
            let _ = crate::candidate_paths(&certificate, jws.extra(), &super::pki::community(&[]), super::pki::now());
        }
    }
}

//! The TEF rows (**unverified**: they rest on third-party sources) with B30..B33, each with its rule.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::asn1::UintRef;
use der::{Decode as _, Reader as _};
use serde_json::{Value, json};
use ward_core::{Limits, Purpose};

use super::context::{URI, alone, b2b, edit, parse_as};
use super::pki::{NOW, community};
use crate::context::{IdentityProvider, Keys};
use crate::{Community, ExchangePurpose, Profile};

const TREATMENT: &str = "urn:oid:2.16.840.1.113883.5.8#TREAT";
const CSP: &str = "https://csp.example";
const HCID: &str = "urn:oid:2.16.840.1.113883.3.7204.9";

/// A credential service provider with a key of its own.
struct Provider {
    key: RsaKeyPair,
}

impl Provider {
    fn new() -> Self {
        Self { key: RsaKeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    fn jwks(&self) -> Value {
        let der = self.key.public_key().as_ref();
        let (n, e) = der::SliceReader::new(der)
            .unwrap()
            .sequence(|inner| {
                let n = UintRef::decode(inner)?.as_bytes().to_vec();
                der::Result::Ok((n, UintRef::decode(inner)?.as_bytes().to_vec()))
            })
            .unwrap();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "keys": [{ "kty": "RSA", "kid": "k1", "n": text(&n), "e": text(&e) }] })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a signature of a test; aws-lc-rs takes its own randomness"
    )]
    fn sign(&self, header: &Value, claims: &Value) -> String {
        let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", text(header), text(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature)
            .unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn header() -> Value {
    json!({ "alg": "RS256", "kid": "k1", "typ": "JWT" })
}

fn identity() -> Value {
    json!({
        "iss": CSP, "aud": HCID, "sub": "s", "jti": "one", "iat": NOW - 60, "exp": NOW + 600,
        "given_name": "Ada", "family_name": "Unmistakable", "birthdate": "1974-12-25",
        "email": "ada@example.org",
        "address": {
            "street_address": "1 Way", "locality": "Town", "region": "VT", "postal_code": "05401",
            "country": "US",
        },
    })
}

fn code(one: ExchangePurpose) -> Value {
    json!([one.uri()])
}

fn tefca() -> Community {
    let mut rules = community(&[]);
    rules.profile = Profile::Tefca;
    rules.purposes = Purpose::ALL.to_vec();
    rules
}

fn named(one: ExchangePurpose) -> Value {
    let object = edit(b2b(), "purpose_of_use", &code(one));
    edit(object, "organization_name", &json!("Clinic 1234567893"))
}

#[test]
fn tef_04_to_06_and_b30_one_purpose_that_the_certificate_carries() {
    let rules = tefca();
    assert_eq!(rules.extensions_supported(), ["hl7-b2b", "tefca_ias"]);
    assert_eq!(rules.extensions_required(), ["hl7-b2b"]);
    assert_eq!(ExchangePurpose::ALL.len(), 17);
    for one in ExchangePurpose::ALL {
        let uri = format!("{URI}#{}", one.code());
        assert_eq!(ExchangePurpose::of_uri(&uri), Some(one));
        let read = parse_as(&uri, &rules, &alone(&named(one)));
        if one == ExchangePurpose::IndividualAccess {
            assert_eq!(read.unwrap_err(), "B31");
        } else {
            let read = read.unwrap();
            assert_eq!(read.exchange_purpose, Some(one));
            assert_eq!(read.b2b.purposes, [one.purpose()]);
        }
    }
    let treat = format!("{URI}#T-TREAT");
    let payment = alone(&named(ExchangePurpose::Payment));
    for uri in [URI, &treat, &format!("{URI}#"), &format!("{URI}#T-pymnt"), &format!("{URI}#T-X")] {
        assert_eq!(parse_as(uri, &rules, &payment).unwrap_err(), "B30", "{uri}");
    }
    for (rule, bad) in [
        ("TEF-05", json!([TREATMENT])),
        ("TEF-05", json!(["T-TREAT"])),
        ("TEF-05", json!(["urn:oid:2.16.840.1.113883.3.7204.1.5.2.1#T-HCO-QM"])),
        ("B16", json!([ExchangePurpose::Treatment.uri(), ExchangePurpose::Payment.uri()])),
    ] {
        let object = edit(named(ExchangePurpose::Treatment), "purpose_of_use", &bad);
        assert_eq!(parse_as(&treat, &rules, &alone(&object)).unwrap_err(), rule, "{bad}");
    }
    let mut narrow = tefca();
    narrow.purposes = vec![Purpose::Payment];
    let object = alone(&named(ExchangePurpose::Treatment));
    assert_eq!(parse_as(&treat, &narrow, &object).unwrap_err(), "B14");
    // The codes of TEFCA are nothing elsewhere.
    assert_eq!(parse_as(&treat, &community(&[]), &object).unwrap_err(), "B14");
}

#[test]
fn tef_10_treatment_names_its_provider_by_number() {
    let rules = tefca();
    let treat = format!("{URI}#T-TREAT");
    for (good, name) in [
        (true, json!("Clinic 1234567893")),
        (true, json!("Clinic (NPI:1234567893)")),
        (true, json!("Clinic TIN 12-3456789")),
        (true, json!("Clinic 123456789")),
        (false, json!(null)),
        (false, json!("Clinic")),
        (false, json!("Clinic 1234567890")),
        (false, json!("Clinic 12345678")),
        (false, json!("Clinic 1-2-3-4-5-6-7-8-9")),
    ] {
        let object = edit(named(ExchangePurpose::Treatment), "organization_name", &name);
        let read = parse_as(&treat, &rules, &alone(&object));
        assert_eq!(read.err(), (!good).then_some("TEF-10"), "{name}");
    }
}

/// TEF-07, TEF-09, B31, B32, B33.
#[test]
fn tef_07_tef_09_and_b31_to_b33() {
    let (provider, stranger) = (Provider::new(), Provider::new());
    let mut rules = tefca();
    let uri = format!("{URI}#T-IAS");
    let token = |claims: &Value| provider.sign(&header(), claims);
    let ias = || {
        json!({
            "version": "1",
            "purpose_of_use": "T-IAS",
            "user_information": {
                "resourceType": "RelatedPerson",
                "relationship": [{ "coding": [{ "code": "ONESELF" }] }],
            },
            "patient_information": {
                "resourceType": "Patient",
                "identifier": [{ "system": "urn:x:y", "value": "1" }],
                "name": [{ "family": "Unmistakable" }],
                "gender": "female",
            },
            "consent_policy": ["urn:oid:2.16.840.1.113883.3.7204.1.1.1.1.2.1"],
            "id_token": token(&identity()),
        })
    };
    let asked = |rules: &Community, name: &str, object: &Value| {
        let extensions =
            json!({ "hl7-b2b": named(ExchangePurpose::IndividualAccess), name: object });
        parse_as(&uri, rules, &extensions)
    };
    // Nobody is configured to vouch: fail closed, however good the token looks.
    assert_eq!(asked(&rules, "tefca_ias", &ias()).unwrap_err(), "B33");
    let jwks = provider.jwks().to_string();
    rules.context.identity_providers = vec![IdentityProvider {
        issuer: CSP.into(),
        keys: Keys::parse(jwks.as_bytes(), &Limits::default()).unwrap(),
        audiences: vec![HCID.into()],
        max_age: Duration::from_mins(30),
    }];
    let read = asked(&rules, "tefca_ias", &ias()).unwrap();
    assert_eq!(read.b2b.purposes, [Purpose::PatientRequest]);
    let vouched = read.ias.as_ref().unwrap();
    assert_eq!((vouched.vouched_by.as_str(), vouched.id_token.len()), (CSP, 64));
    assert!(!format!("{read:?}").contains("Unmistakable"));
    // B31, B32: the object under its right name.
    assert_eq!(asked(&rules, "other", &ias()).unwrap_err(), "B31");
    assert_eq!(asked(&rules, "tefca-ias", &ias()).unwrap_err(), "B32");
    assert_eq!(asked(&rules, "tefca_ias", &json!([])).unwrap_err(), "B31");
    let stolen = provider.sign(&header(), &identity());
    let bare = stolen.rsplit_once('.').unwrap().0.to_owned();
    let forged = stranger.sign(&header(), &identity());
    let unsigned = provider.sign(&edit(header(), "alg", &json!("none")), &identity());
    let other_alg = provider.sign(&edit(header(), "alg", &json!("RS384")), &identity());
    let other_key = provider.sign(&edit(header(), "kid", &json!("k2")), &identity());
    let critical = provider.sign(&edit(header(), "crit", &json!(["x"])), &identity());
    for (want, name, bad) in [
        ("TEF-07", "version", json!(1)),
        ("TEF-07", "version", json!(null)),
        ("TEF-07", "purpose_of_use", json!("T-TREAT")),
        ("TEF-07", "user_information", json!(null)),
        ("TEF-07", "user_information", json!({ "resourceType": "Person" })),
        ("TEF-07", "user_information", json!({ "resourceType": "RelatedPerson" })),
        ("TEF-07", "patient_information", json!(null)),
        ("TEF-07", "patient_information", json!({ "resourceType": "Patient" })),
        ("TEF-07", "consent_policy", json!(null)),
        ("B33", "id_token", json!(null)),
        ("B33", "id_token", json!(1)),
        ("B33", "id_token", json!("a.b.c")),
        ("B33", "id_token", json!(bare)),
        ("B33", "id_token", json!(forged)),
        ("B33", "id_token", json!(unsigned)),
        ("B33", "id_token", json!(other_alg)),
        ("B33", "id_token", json!(other_key)),
        ("B33", "id_token", json!(critical)),
    ] {
        let object = edit(ias(), name, &bad);
        assert_eq!(asked(&rules, "tefca_ias", &object).unwrap_err(), want, "{name} {bad}");
    }
    let home = identity()["address"].clone();
    for (name, bad) in [
        ("iss", json!("https://other.example")),
        ("aud", json!("urn:oid:1.2.3")),
        ("aud", json!([HCID])),
        ("aud", json!(null)),
        ("iat", json!(null)),
        ("iat", json!(NOW + 61)),
        ("iat", json!(NOW - 1861)),
        ("exp", json!(NOW - 61)),
        ("exp", json!(null)),
        ("exp", json!("1900000000")),
        ("jti", json!(null)),
        ("given_name", json!(null)),
        ("family_name", json!("")),
        ("birthdate", json!("1974-12")),
        ("email", json!(null)),
        ("address", json!(null)),
        ("address", edit(home.clone(), "region", &json!(null))),
        ("address", edit(home.clone(), "country", &json!(null))),
    ] {
        let object = edit(ias(), "id_token", &json!(token(&edit(identity(), name, &bad))));
        assert_eq!(asked(&rules, "tefca_ias", &object).unwrap_err(), "B33", "{name} {bad}");
    }
    let regional = edit(edit(home, "region", &json!(null)), "regionality", &json!("VT"));
    let mobile = edit(identity(), "email", &json!(null));
    let mobile = edit(mobile, "phone_number", &json!("+1 555 0100"));
    for good in [edit(identity(), "address", &regional), mobile] {
        let object = edit(ias(), "id_token", &json!(token(&good)));
        assert!(asked(&rules, "tefca_ias", &object).is_ok(), "{good}");
    }
}

#[test]
fn key_sets_are_read_strictly() {
    let jwks = Provider::new().jwks();
    let key = jwks["keys"][0].clone();
    let read = |value: &Value| Keys::parse(value.to_string().as_bytes(), &Limits::default());
    assert!(read(&jwks).is_ok());
    // Others beside it are left out.
    let beside = json!({ "keys": [{ "kty": "EC", "kid": "e" }, { "kty": "oct", "k": "" }, key] });
    assert_eq!(format!("{:?}", read(&beside).unwrap()), "[\"k1\"]");
    for (name, bad) in [
        ("kty", json!("EC")),
        ("use", json!("enc")),
        ("alg", json!("RS512")),
        ("kid", json!(null)),
        ("n", json!("AQAB")),
        ("n", json!("A".repeat(344))),
        ("n", json!("===")),
        ("e", json!("")),
        ("e", json!(null)),
    ] {
        let one = json!({ "keys": [edit(key.clone(), name, &bad)] });
        assert!(read(&one).is_err(), "{name} {bad}");
    }
    for bad in [json!({}), json!([]), json!({ "keys": [] }), json!({ "keys": [key, key] })] {
        assert!(read(&bad).is_err(), "{bad}");
    }
    assert!(Keys::parse(b"{\"keys\":[],\"keys\":[]}", &Limits::default()).is_err());
}

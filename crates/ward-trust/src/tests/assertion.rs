//! Rows T11, T16..T19 of udap.md §7.6 and B01..B28 of §7.7, each with wire code and rule.

use serde_json::{Value, json};
use ward_core::{Limits, Purpose};

use super::pki::{NOW, World, community, now};
use crate::{Alg, AssertionError, AuthenticationToken, Hl7B2b, Jws, SigningIdentity};

const ENDPOINT: &str = "https://as.example/t1/oauth/token";
const TREATMENT: &str = "urn:oid:2.16.840.1.113883.5.8#TREAT";
const OPERATIONS: &str = "urn:oid:2.16.840.1.113883.5.8#HOPERAT";

fn good() -> Value {
    json!({
        "iss": "id-1", "sub": "id-1", "aud": ENDPOINT,
        "iat": NOW, "exp": NOW + 300, "jti": "one",
        "extensions": {"hl7-b2b": b2b()},
    })
}

fn b2b() -> Value {
    json!({
        "version": "1",
        "organization_id": "https://hospital.example/org/1",
        "purpose_of_use": [TREATMENT],
    })
}

fn edit(mut base: Value, name: &str, value: &Value) -> Value {
    if value == "REMOVE" {
        base.as_object_mut().unwrap().remove(name);
    } else {
        base[name] = value.clone();
    }
    base
}

fn validate(
    identity: &SigningIdentity,
    claims: &Value,
) -> Result<AuthenticationToken, AssertionError> {
    let limits = Limits::default();
    let token = identity.sign(Alg::Es256, claims).unwrap();
    let jws = Jws::parse(&token, &limits)?.verify(&Alg::ALL)?;
    AuthenticationToken::validate(&jws, ENDPOINT, now(), &limits)
}

#[test]
fn rows_t11_to_t19() {
    let identity = World::new().leaf.identity(&[]);
    let token = validate(&identity, &good()).unwrap();
    assert_eq!((token.client_id.as_str(), token.jti.as_str()), ("id-1", "one"));
    assert_eq!(token.extensions, Some(good()["extensions"].clone()));
    for (rule, wire, name, bad) in [
        ("T11", "invalid_client", "sub", json!("id-2")),
        ("T11", "invalid_client", "sub", json!("REMOVE")),
        ("T11", "invalid_client", "iss", json!("REMOVE")),
        ("T11", "invalid_client", "iss", json!(1)),
        ("T16", "invalid_client", "aud", json!("https://as.example/t1")),
        ("T16", "invalid_client", "aud", json!("https://as.example/t1/oauth/register")),
        ("T16", "invalid_client", "aud", json!("http://as.example/t1/oauth/token")),
        ("T16", "invalid_client", "aud", json!("https://as.example/t2/oauth/token")),
        ("T16", "invalid_client", "aud", json!("REMOVE")),
        ("T17", "invalid_client", "exp", json!(NOW + 301)),
        ("T17", "invalid_client", "exp", json!((NOW + 300).to_string())),
        ("T17", "invalid_client", "exp", json!("REMOVE")),
        ("T17", "invalid_client", "iat", json!("REMOVE")),
        ("T17", "invalid_client", "iat", json!(NOW + 61)),
        ("T17", "invalid_client", "nbf", json!(NOW + 61)),
        ("T18", "invalid_client", "jti", json!("REMOVE")),
        ("B2B-20", "invalid_request", "resources", json!([])),
    ] {
        let error = validate(&identity, &edit(good(), name, &bad)).unwrap_err();
        assert_eq!((error.code(), error.fault().rule), (wire, rule), "{name} {bad}");
    }
    let expired = edit(edit(good(), "iat", &json!(NOW - 200)), "exp", &json!(NOW - 61));
    assert_eq!(validate(&identity, &expired).unwrap_err().fault().rule, "T17");
    // T19: a software statement has another audience.
    let statement = edit(good(), "aud", &json!("https://as.example/t1/oauth/register"));
    assert_eq!(validate(&identity, &statement).unwrap_err().fault().rule, "T16");
    // T09, T34: the JWS itself.
    for error in [crate::JoseError::Signature, crate::JoseError::CertificateMissing] {
        assert_eq!(AssertionError::from(error).code(), "invalid_request");
    }
    // T10: trust.
    assert_eq!(AssertionError::from(crate::PathError::Revoked).code(), "invalid_client");
}

#[test]
fn rows_b01_to_b28() {
    let mut community = community(&[]);
    let rule = |community: &crate::Community, extensions: Option<&Value>| {
        Hl7B2b::parse(extensions, community).map_err(|error| error.0.rule)
    };
    assert_eq!(rule(&community, None), Err("B01"));
    for bad in [json!([]), json!("x"), json!(null)] {
        assert_eq!(rule(&community, Some(&bad)), Err("B02"), "{bad}");
    }
    for bad in
        [json!({}), json!({"hl7-b2b": null}), json!({"hl7-b2b": []}), json!({"HL7-B2B": b2b()})]
    {
        assert_eq!(rule(&community, Some(&bad)), Err("B03"), "{bad}");
    }
    for (want, name, bad) in [
        ("B04", "version", json!(1)),
        ("B04", "version", json!("2")),
        ("B04", "version", json!("REMOVE")),
        ("B05", "organization_id", json!("REMOVE")),
        ("B06", "organization_id", json!("hospital")),
        ("B06", "organization_id", json!(1)),
        ("B06", "organization_id", json!("https://a b/")),
        ("B07", "organization_id", json!("ftp://hospital.example/")),
        ("B07", "organization_id", json!("http://hospital.example/")),
        ("B10", "purpose_of_use", json!("REMOVE")),
        ("B11", "purpose_of_use", json!([])),
        ("B12", "purpose_of_use", json!(TREATMENT)),
        ("B13", "purpose_of_use", json!([TREATMENT, 1])),
        ("B14", "purpose_of_use", json!([OPERATIONS])),
        ("B14", "purpose_of_use", json!([TREATMENT, "urn:oid:2.16.840.1.113883.5.8#FRAUD"])),
        ("B14", "purpose_of_use", json!(["urn:oid:2.16.840.1.113883.5.8#treat"])),
        ("B15", "purpose_of_use", json!(["TREAT"])),
        ("B16", "purpose_of_use", json!(vec![TREATMENT; 21])),
        ("B2B-04", "subject_name", json!(1)),
        ("B2B-04", "subject_name", json!(null)),
        ("B2B-04", "subject_name", json!("a\nb")),
        ("B2B-05", "subject_id", json!([])),
        ("B19", "subject_id", json!("urn:oid:2.16.840.1.113883.4.6#1234567890")),
        ("B19", "subject_id", json!("urn:oid:2.16.840.1.113883.4.6#123456789")),
        ("B19", "subject_id", json!("urn:oid:2.16.840.1.113883.4.6#12345678x3")),
        ("B2B-06", "subject_role", json!({})),
        ("B2B-07", "organization_name", json!(1)),
        ("B2B-10", "consent_policy", json!("https://policy.example/")),
        ("B2B-10", "consent_policy", json!(["policy"])),
        ("B2B-10", "consent_policy", json!([])),
        ("B21", "consent_reference", json!(["https://hospital.example/fhir/Consent/1"])),
    ] {
        let extensions = json!({"hl7-b2b": edit(b2b(), name, &bad)});
        assert_eq!(rule(&community, Some(&extensions)), Err(want), "{name} {bad}");
    }
    for bad in [
        json!(["Consent/1"]),
        json!(["file:///etc/passwd"]),
        json!("https://a/"),
        json!([]),
        json!(["urn:x:y"]),
    ] {
        let with_policy = edit(b2b(), "consent_policy", &json!(["https://policy.example/"]));
        let extensions = json!({"hl7-b2b": edit(with_policy, "consent_reference", &bad)});
        assert_eq!(rule(&community, Some(&extensions)), Err("B22"), "{bad}");
    }
    community.purposes = vec![Purpose::Treatment, Purpose::Operations];
    community.max_purposes = Some(1);
    let two = json!({"hl7-b2b": edit(b2b(), "purpose_of_use", &json!([TREATMENT, OPERATIONS]))});
    assert_eq!(rule(&community, Some(&two)), Err("B16"));
    community.max_purposes = None;
    assert_eq!(
        rule(&community, Some(&two)).unwrap().purposes,
        [Purpose::Treatment, Purpose::Operations]
    );
    community.purposes.clear();
    assert_eq!(rule(&community, Some(&json!({"hl7-b2b": b2b()}))), Err("B14"));
}

#[test]
fn honest_objects_are_read_and_written_back() {
    let community = community(&[]);
    let full = json!({"hl7-b2b": {
        "version": "1",
        "subject_name": "Dr. Ada B\u{e4}r",
        "subject_id": "urn:oid:2.16.840.1.113883.4.6#1234567893",
        "subject_role": "urn:oid:2.16.840.1.113883.6.101#207R00000X",
        "organization_id": "urn:oid:1.2.3",
        "organization_name": "Hospital",
        "purpose_of_use": [TREATMENT],
        "consent_policy": ["urn:oid:1.2.4"],
        "consent_reference": ["https://hospital.example/fhir/Consent/1"],
    }});
    assert_eq!(Hl7B2b::parse(Some(&full), &community).unwrap().to_extensions(), full);
    let minimal = json!({"hl7-b2b": b2b()});
    let read = Hl7B2b::parse(Some(&minimal), &community).unwrap();
    assert_eq!(read.to_extensions(), minimal);
    for (row, name, value) in [
        ("B17 as amended", "subject_id", json!("urn:oid:2.16.840.1.113883.4.6#1234567893")),
        ("B18 another naming system", "subject_id", json!("https://id.example/17")),
        ("B27", "unheard_of", json!({"a": 1})),
        ("a purpose twice is one", "purpose_of_use", json!([TREATMENT, TREATMENT])),
    ] {
        let extensions = json!({"hl7-b2b": edit(b2b(), name, &value), "tefca_ias": {}});
        let read = Hl7B2b::parse(Some(&extensions), &community);
        assert_eq!(read.unwrap().purposes, [Purpose::Treatment], "{row}");
    }
}

#[test]
fn persons_do_not_reach_diagnostics() {
    let world = World::new();
    let identity = world.leaf.identity(&[]);
    let object = edit(b2b(), "subject_name", &json!("Ada Unmistakable"));
    let claims = edit(good(), "extensions", &json!({"hl7-b2b": object}));
    let token = validate(&identity, &claims).unwrap();
    let read = Hl7B2b::parse(token.extensions.as_ref(), &community(&[])).unwrap();
    let compact = identity.sign(Alg::Es256, &claims).unwrap();
    let jws = Jws::parse(&compact, &Limits::default()).unwrap();
    assert_eq!(read.subject_name.as_deref(), Some("Ada Unmistakable"));
    for text in
        [format!("{token:?}"), format!("{read:?}"), format!("{jws:?}"), format!("{identity:?}")]
    {
        assert!(!text.contains("Ada"), "{text}");
    }
}

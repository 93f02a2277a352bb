//! What members may assert by the rules of their community: B15, B18, B20, B26, B27, TEF-08 and the USR rows with B34, each
//! with its rule.

use serde_json::{Value, json};
use ward_core::{Limits, Purpose};

use super::pki::{community, now};
use crate::context::{ConsentDemand, UserObject};
use crate::{Community, Context};

const TREATMENT: &str = "urn:oid:2.16.840.1.113883.5.8#TREAT";
const PAYMENT: &str = "urn:oid:2.16.840.1.113883.5.8#HPAYMT";
pub(super) const URI: &str = "https://partner.example/app";

pub(super) fn b2b() -> Value {
    json!({
        "version": "1",
        "organization_id": "https://hospital.example/org/1",
        "purpose_of_use": [TREATMENT],
    })
}

/// The object with one member changed; null removes.
pub(super) fn edit(mut base: Value, name: &str, value: &Value) -> Value {
    if value.is_null() {
        base.as_object_mut().unwrap().remove(name);
    } else {
        base[name] = value.clone();
    }
    base
}

pub(super) fn parse_as(
    uri: &str,
    community: &Community,
    extensions: &Value,
) -> Result<Context, &'static str> {
    Context::parse(Some(extensions), community, uri, now(), &Limits::default())
        .map_err(|error| error.0.rule)
}

fn parse(community: &Community, extensions: &Value) -> Result<Context, &'static str> {
    parse_as(URI, community, extensions)
}

pub(super) fn alone(b2b: &Value) -> Value {
    json!({ "hl7-b2b": b2b })
}

#[test]
fn value_sets_are_the_communitys_to_constrain() {
    let mut rules = community(&[]);
    rules.context.subject_id_systems = vec!["urn:oid:2.16.840.1.113883.4.6".into()];
    rules.context.subject_roles =
        vec!["http://nucc.org/provider-taxonomy#".into(), "urn:x:roles#clerk".into()];
    rules.context.consent_policies = vec!["urn:oid:1.2.3".into()];
    let free = community(&[]);
    for (rule, name, bad) in [
        ("B18", "subject_id", "urn:oid:1.2.3.4#5"),
        ("B18", "subject_id", "urn:oid:2.16.840.1.113883.4.6"),
        ("B18", "subject_id", "urn:oid:2.16.840.1.113883.4.60#1"),
        ("B20", "subject_role", "urn:x:roles#chief"),
        ("B20", "subject_role", "urn:x:roles#clerks"),
        ("B20", "subject_role", "207R00000X"),
        ("B20", "subject_role", "http://nucc.org/provider-taxonomy#207R00000"),
        ("B20", "subject_role", "http://nucc.org/provider-taxonomy#207r00000X"),
        ("B20", "subject_role", "http://nucc.org/provider-taxonomy#"),
    ] {
        let object = alone(&edit(b2b(), name, &json!(bad)));
        assert_eq!(parse(&rules, &object).unwrap_err(), rule, "{bad}");
        assert!(parse(&free, &object).is_ok(), "{bad}: without a set it is recorded");
    }
    // B19 holds without any set.
    let npi = alone(&edit(b2b(), "subject_id", &json!("urn:oid:2.16.840.1.113883.4.6#1234567890")));
    assert_eq!(parse(&free, &npi).unwrap_err(), "B19");
    for (name, good) in [
        ("subject_id", json!("urn:oid:2.16.840.1.113883.4.6#1234567893")),
        ("subject_role", json!("http://nucc.org/provider-taxonomy#207RX0202X")),
        ("subject_role", json!("urn:x:roles#clerk")),
        ("consent_policy", json!(["urn:oid:1.2.3"])),
    ] {
        assert!(parse(&rules, &alone(&edit(b2b(), name, &good))).is_ok(), "{good}");
    }
    for bad in [json!(["urn:oid:1.2.4"]), json!(["urn:oid:1.2.3", "urn:oid:1.2.4"])] {
        let object = alone(&edit(b2b(), "consent_policy", &bad));
        assert_eq!(parse(&rules, &object).unwrap_err(), "B26", "{bad}");
        assert!(parse(&free, &object).is_ok());
    }
}

#[test]
fn a_consent_can_be_demanded() {
    let mut rules = community(&[]);
    let policies = vec!["urn:oid:1.2.3".to_owned(), "urn:oid:1.2.4".to_owned()];
    rules.context.consent = Some(ConsentDemand { policies, form: None });
    for (lacking, value) in [(true, json!(null)), (true, json!(["urn:oid:1.2.5"]))]
        .into_iter()
        .chain([(false, json!(["urn:oid:1.2.4"])), (false, json!(["urn:x:y", "urn:oid:1.2.3"]))])
    {
        let read = parse(&rules, &alone(&edit(b2b(), "consent_policy", &value)));
        assert_eq!(read.err(), lacking.then_some("TEF-08"), "{value}");
    }
}

#[test]
fn bare_codes_and_unknown_objects_as_the_community_says() {
    let mut rules = community(&[]);
    rules.purposes.push(Purpose::SystemDevelopment);
    let bare = alone(&edit(b2b(), "purpose_of_use", &json!(["SYSDEV"])));
    assert_eq!(parse(&rules, &bare).unwrap_err(), "B15");
    rules.context.bare_purposes = true;
    assert_eq!(parse(&rules, &bare).unwrap().b2b.purposes, [Purpose::SystemDevelopment]);
    for bad in ["HRESCH", "treat", "FRAUD", ""] {
        let object = alone(&edit(b2b(), "purpose_of_use", &json!([bad])));
        assert_eq!(parse(&rules, &object).unwrap_err(), "B14", "{bad}");
    }
    let more = json!({ "hl7-b2b": b2b(), "other": {} });
    assert!(parse(&rules, &more).is_ok(), "B27");
    rules.context.refuse_unknown = true;
    assert_eq!(parse(&rules, &more).unwrap_err(), "B27");
    assert!(parse(&rules, &alone(&b2b())).is_ok());
}

fn person() -> Value {
    json!({
        "resourceType": "Person",
        "name": [{ "family": "Unmistakable", "given": ["Ada"] }],
        "telecom": [
            { "system": "phone", "value": "555 0100" },
            { "system": "email", "value": "ada@example.org" },
        ],
        "birthDate": "1974-12-25",
        "address": [
            { "line": ["1 Way"], "city": "Town", "state": "VT", "postalCode": "05401" },
        ],
    })
}

fn user() -> Value {
    json!({ "version": "1", "purpose_of_use": [TREATMENT], "user_person": person() })
}

#[test]
fn usr_01_the_object_is_known_checked_or_required() {
    let mut rules = community(&[]);
    let with = |user: &Value| json!({ "hl7-b2b": b2b(), "hl7-b2b-user": user });
    assert_eq!(rules.extensions_supported(), ["hl7-b2b"]);
    assert_eq!(parse(&rules, &with(&json!(1))).unwrap().user, None, "B27: not known");
    rules.context.user = UserObject::Supported;
    assert_eq!(rules.extensions_supported(), ["hl7-b2b", "hl7-b2b-user"]);
    assert_eq!(rules.extensions_required(), ["hl7-b2b"]);
    assert!(parse(&rules, &alone(&b2b())).unwrap().user.is_none());
    assert_eq!(parse(&rules, &with(&json!(1))).unwrap_err(), "B34");
    rules.context.user = UserObject::Required;
    assert_eq!(rules.extensions_required(), ["hl7-b2b", "hl7-b2b-user"]);
    assert_eq!(parse(&rules, &alone(&b2b())).unwrap_err(), "USR-01");
    let context = parse(&rules, &with(&user())).unwrap();
    let read = context.user.as_ref().unwrap();
    assert_eq!(read.purposes, [Purpose::Treatment]);
    assert_eq!(read.person.len(), 32);
    assert!(!format!("{context:?}").contains("Unmistakable"));
}

/// USR-02, USR-03, USR-04, USR-05, USR-06, B34.
#[test]
fn usr_02_to_06_and_b34() {
    let mut rules = community(&[]);
    rules.purposes.push(Purpose::Payment);
    rules.context.user = UserObject::Required;
    rules.context.consent_policies = vec!["urn:oid:1.2.3".into()];
    let rule = |user: &Value| {
        parse(&rules, &json!({ "hl7-b2b": b2b(), "hl7-b2b-user": user })).err().unwrap_or("good")
    };
    let reference = json!(["https://a.example/Consent/1"]);
    for (want, name, bad) in [
        ("USR-02", "version", json!(null)),
        ("USR-02", "version", json!(1)),
        ("USR-02", "version", json!("2")),
        ("B10", "purpose_of_use", json!(null)),
        ("B11", "purpose_of_use", json!([])),
        ("B12", "purpose_of_use", json!(TREATMENT)),
        ("USR-03", "purpose_of_use", json!([PAYMENT])),
        ("USR-03", "purpose_of_use", json!([TREATMENT, PAYMENT])),
        ("B21", "consent_reference", reference.clone()),
        ("B26", "consent_policy", json!(["urn:oid:1.2.4"])),
        ("good", "consent_policy", json!(["urn:oid:1.2.3"])),
        ("B34", "user_person", json!(null)),
        ("B34", "user_person", json!("Person/1")),
        ("B34", "user_person", json!([person()])),
        ("B34", "user_person", edit(person(), "resourceType", &json!("Patient"))),
        ("B34", "user_person", edit(person(), "resourceType", &json!(null))),
    ] {
        assert_eq!(rule(&edit(user(), name, &bad)), want, "{name} {bad}");
    }
    let phone = json!({ "system": "phone", "value": "1" });
    let mail = json!({ "system": "email", "value": "a@b" });
    let home = &person()["address"][0];
    for (want, name, value) in [
        ("good", "name", json!(null)),
        ("good", "address", json!(null)),
        ("good", "birthDate", json!("1974")),
        ("good", "birthDate", json!("1974-02")),
        ("good", "telecom", json!([phone, { "system": "fax" }, mail])),
        ("B34", "birthDate", json!(null)),
        ("B34", "birthDate", json!("74-12-25")),
        ("B34", "birthDate", json!("1974-13-25")),
        ("B34", "birthDate", json!("1974-12-25T00:00:00Z")),
        ("B34", "birthDate", json!(19_741_225)),
        ("B34", "telecom", json!(null)),
        ("B34", "telecom", json!([phone])),
        ("B34", "telecom", json!([mail])),
        ("B34", "telecom", json!([mail, { "system": "phone" }])),
        ("B34", "telecom", json!({ "system": "phone" })),
        ("B34", "name", json!([])),
        ("B34", "name", json!([{ "family": "X" }])),
        ("B34", "name", json!([{ "given": ["X"] }])),
        ("B34", "name", json!([{ "family": "X", "given": "Y" }])),
        ("B34", "name", json!([{ "family": "X", "given": ["Y"] }, { "text": "Z" }])),
        ("B34", "address", json!([edit(home.clone(), "line", &json!(null))])),
        ("B34", "address", json!([edit(home.clone(), "line", &json!([]))])),
        ("B34", "address", json!([edit(home.clone(), "city", &json!(null))])),
        ("B34", "address", json!([edit(home.clone(), "state", &json!(null))])),
        ("B34", "address", json!([edit(home.clone(), "postalCode", &json!(" "))])),
        ("good", "photo", json!({ "data": "x".repeat(60 * 1024) })),
        ("USR-06", "photo", json!({ "data": "x".repeat(64 * 1024) })),
    ] {
        let changed = edit(person(), name, &value);
        let label = value.to_string().chars().take(60).collect::<String>();
        assert_eq!(rule(&edit(user(), "user_person", &changed)), want, "{name} {label}");
    }
}

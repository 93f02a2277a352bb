//! The rules as tables, one line a case.

use super::*;
use crate::{Denial, DenialCode, Grant, Plan, Subject, Verdict, judge, notice, plan, policy_hash};
use ward_core::{Thumbprint, Timestamp};

/// The plan in short: its name, and what goes upstream or which rule denies.
fn short(plan: &Plan) -> (&'static str, String) {
    match plan {
        Plan::Deny(Denial { rule, .. }) => ("deny", (*rule).to_owned()),
        Plan::PreRead(permit) => ("read", permit.request().upstream_target()),
        Plan::Forward(permit) => ("forward", permit.part(0).unwrap().upstream_target()),
        Plan::Rewrite(permit) => ("rewrite", permit.part(0).unwrap().upstream_target()),
        Plan::Nothing(_) => ("nothing", String::new()),
    }
}

/// Percent-encoding is the grammar's business; the table is easier to read without it.
fn plain(target: &str) -> String {
    target.replace("%2F", "/").replace("%2C", ",")
}

#[test]
fn searches_are_narrowed_to_the_roster() {
    let asks = principal("system/*.rs");
    let known = facts(["a", "b"]);
    let limits = Limits::default();
    for (target, want, sent) in [
        // One membership parameter, no patient named: the roster is written in.
        ("/Encounter", "rewrite", "Encounter?patient=Patient/a,Patient/b"),
        (
            "/Encounter?status=finished",
            "rewrite",
            "Encounter?status=finished&patient=Patient/a,Patient/b",
        ),
        ("/Patient", "rewrite", "Patient?_id=a,b"),
        ("/Patient?family=x", "rewrite", "Patient?family=x&_id=a,b"),
        // D1: two membership parameters are never ANDed.
        ("/Observation", "forward", "Observation"),
        ("/Observation?code=1", "forward", "Observation?code=1"),
        // D2, D3, D4: only patients of the roster stay.
        ("/Observation?subject=Patient/z", "nothing", ""),
        ("/Observation?patient=Patient/a", "forward", "Observation?patient=Patient/a"),
        ("/Observation?subject=Patient/a,Patient/z", "rewrite", "Observation?subject=Patient/a"),
        ("/Observation?subject:Patient=a", "forward", "Observation?subject=Patient/a"),
        ("/Observation?patient=a", "forward", "Observation?patient=Patient/a"),
        (
            "/Observation?subject=https://ward.example/default/fhir/Patient/a",
            "forward",
            "Observation?subject=Patient/a",
        ),
        ("/Patient?_id=a,z", "rewrite", "Patient?_id=a"),
        ("/Patient?_id=z", "nothing", ""),
        // D5: what is about something else goes; staff who take part stay.
        (
            "/Observation?subject=Patient/a,Group/7,Device/3",
            "rewrite",
            "Observation?subject=Patient/a",
        ),
        ("/Observation?subject=Group/7", "nothing", ""),
        (
            "/Observation?performer=Practitioner/7",
            "forward",
            "Observation?performer=Practitioner/7",
        ),
        (
            "/Observation?performer=Practitioner/7,Patient/z",
            "rewrite",
            "Observation?performer=Practitioner/7",
        ),
        ("/Observation?performer=Patient/z", "nothing", ""),
        // D6: repeated criteria are ANDed.
        ("/Observation?patient=Patient/a&patient=Patient/z", "nothing", ""),
        // One patient among other alternatives narrows nothing; the roster is still written in.
        (
            "/Appointment?actor=Practitioner/7,Patient/a",
            "rewrite",
            "Appointment?actor=Practitioner/7,Patient/a&actor=Patient/a,Patient/b",
        ),
        ("/Appointment?actor=Patient/a,Patient/z", "rewrite", "Appointment?actor=Patient/a"),
        // C17.
        ("/Provenance?target=Observation/9", "deny", "C17"),
        ("/AuditEvent?entity=Patient/a", "deny", "C17"),
        ("/List/7", "deny", "C17"),
        ("/List?subject=Patient/a", "deny", "C17"),
        // D7, D10.
        ("/Observation?subject:missing=true", "deny", "D7"),
        ("/Observation?patient:missing=false", "deny", "D7"),
        ("/Patient?_id:missing=false", "deny", "D7"),
        ("/Observation?_security=http://x|R", "deny", "D10"),
        ("/Practitioner?_security=R", "deny", "D10"),
        // The directory is everybody's; other types are nobody's.
        ("/Practitioner?family=x", "forward", "Practitioner?family=x"),
        ("/Practitioner/1", "read", "Practitioner/1"),
        ("/ValueSet", "deny", "TYPE"),
        ("/Binary/1", "deny", "TYPE"),
        ("/Observation/9", "read", "Observation/9"),
        ("/Patient/z", "read", "Patient/z"),
        ("/Observation/9/_history/2", "read", "Observation/9/_history/2"),
        ("/metadata", "deny", "C21"),
    ] {
        let plan = plan(&asks, &parse(target), &known, &limits);
        let (kind, detail) = short(&plan);
        assert_eq!((kind, plain(&detail)), (want, sent.to_owned()), "{target}");
    }
}

#[test]
fn scopes_are_by_exact_type_and_letter() {
    let known = facts(["a"]);
    for (scopes, target, denied) in [
        ("system/Observation.rs", "/Observation/9", false),
        ("system/Observation.s", "/Observation/9", true),
        ("system/Observation.s", "/Observation/9/_history/1", true),
        ("system/Observation.r", "/Observation", true),
        ("system/Observation.rs", "/Condition", true),
        ("system/Observation.rs", "/Patient/a", true),
        ("system/*.r", "/Patient/a", false),
        ("", "/Patient/a", true),
    ] {
        let plan = plan(&principal(scopes), &parse(target), &known, &Limits::default());
        let scope = matches!(
            plan,
            Plan::Deny(Denial { code: DenialCode::InsufficientScope, status: 403, .. })
        );
        assert_eq!(scope, denied, "{scopes} {target}");
    }
}

#[test]
fn an_unknown_roster_is_never_yes_and_an_empty_one_is_nobody() {
    let asks = principal("system/*.rs");
    let limits = Limits::default();
    for target in ["/Patient/a", "/Observation", "/Encounter?patient=a"] {
        let plan = plan(&asks, &parse(target), &Facts::default(), &limits);
        assert_eq!(short(&plan), ("deny", "ROSTER".to_owned()), "{target}");
    }
    let read = plan(&asks, &parse("/Practitioner/1"), &Facts::default(), &limits);
    assert!(matches!(read, Plan::PreRead(_)));
    let search = plan(&asks, &parse("/Observation"), &facts([]), &limits);
    assert!(matches!(search, Plan::Nothing(_)));
}

#[test]
fn long_rosters_are_asked_for_in_parts() {
    let ids: Vec<String> = (0..7).map(|n| format!("p{n}")).collect();
    let known = facts(ids.iter().map(String::as_str));
    let limits = Limits { narrow_ids: 3, ..Limits::default() };
    let parts = |target: &str, limits: &Limits| -> Vec<String> {
        let plan = plan(&principal("system/*.rs"), &parse(target), &known, limits);
        let (Plan::Forward(permit) | Plan::Rewrite(permit)) = plan else { panic!("{plan:?}") };
        let parts: Vec<String> = (0..permit.parts())
            .map(|index| plain(&permit.part(index).unwrap().upstream_target()))
            .collect();
        assert!(permit.part(permit.parts()).is_none());
        parts
    };
    assert_eq!(
        parts("/Encounter?status=finished", &limits),
        [
            "Encounter?status=finished&patient=Patient/p0,Patient/p1,Patient/p2",
            "Encounter?status=finished&patient=Patient/p3,Patient/p4,Patient/p5",
            "Encounter?status=finished&patient=Patient/p6",
        ]
    );
    assert_eq!(parts("/Patient", &limits).last().unwrap(), "Patient?_id=p6");
    assert_eq!(parts("/Encounter?patient=p1", &limits), ["Encounter?patient=Patient/p1"]);
    // D1: never two of them. An order would not survive the parts.
    assert_eq!(parts("/Observation", &limits), ["Observation"]);
    assert_eq!(parts("/Encounter?_sort=date", &limits), ["Encounter?_sort=date"]);
    let none = Limits { narrow_ids: 0, ..Limits::default() };
    assert_eq!(parts("/Encounter", &none), ["Encounter"]);
}

#[test]
fn a_record_leaves_only_if_all_its_patients_are_attributed() {
    let asks = principal("system/*.rs");
    let known = facts(["a", "b"]);
    for (target, json, want) in [
        ("/Patient/a", r#"{"resourceType":"Patient","id":"a"}"#, Verdict::Keep),
        ("/Patient/a", r#"{"resourceType":"Patient","id":"b"}"#, Verdict::Drop("ID")),
        ("/Patient/z", r#"{"resourceType":"Patient","id":"z"}"#, Verdict::Drop("ROSTER")),
        // C12: a link is no membership.
        (
            "/Patient/z",
            r#"{"resourceType":"Patient","id":"z","link":[{"other":{"reference":"Patient/a"},"type":"seealso"}]}"#,
            Verdict::Drop("ROSTER"),
        ),
        (
            "/Observation/1",
            r#"{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/a"}}"#,
            Verdict::Keep,
        ),
        (
            "/Observation/1",
            r#"{"resourceType":"Condition","id":"1","subject":{"reference":"Patient/a"}}"#,
            Verdict::Drop("TYPE"),
        ),
        (
            "/Observation/1",
            r#"{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/a"},"performer":[{"reference":"Patient/z"}]}"#,
            Verdict::Drop("ROSTER"),
        ),
        ("/Observation/1", r#"{"resourceType":"Observation","id":"1"}"#, Verdict::Drop("ROSTER")),
        // F3: whoever speaks of an outside patient stays.
        (
            "/Observation/1",
            r#"{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/a"},"focus":[{"reference":"Patient/z"}]}"#,
            Verdict::Drop("F3"),
        ),
        (
            "/Observation/1",
            r#"{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/a"},"focus":[{"reference":"Patient/b"}]}"#,
            Verdict::Keep,
        ),
        (
            "/Observation/1",
            r#"{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/a","extension":[{"url":"u","valueReference":{"reference":"Patient/z"}}]}}"#,
            Verdict::Drop("F3"),
        ),
        (
            "/Practitioner/7",
            r#"{"resourceType":"Practitioner","id":"7","extension":[{"url":"u","valueReference":{"reference":"Patient/z"}}]}"#,
            Verdict::Drop("F3"),
        ),
        (
            "/Patient/a",
            r#"{"resourceType":"Patient","id":"a","link":[{"other":{"reference":"Patient/z"},"type":"replaces"}]}"#,
            Verdict::Drop("C12"),
        ),
        (
            "/Patient/a",
            r#"{"resourceType":"Patient","id":"a","link":[{"other":{"reference":"Patient/b"},"type":"replaces"}]}"#,
            Verdict::Keep,
        ),
        // Only a clinician is known by a number.
        (
            "/Observation/1",
            r#"{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/a"},"performer":[{"identifier":{"system":"http://hl7.org/fhir/sid/us-npi","value":"1"}}]}"#,
            Verdict::Keep,
        ),
        // RS-06: `focus` is no membership.
        (
            "/Observation/1",
            r#"{"resourceType":"Observation","id":"1","focus":[{"reference":"Patient/a"}]}"#,
            Verdict::Drop("ROSTER"),
        ),
        // C9.
        (
            "/Observation/1",
            r#"{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/a"},
                "contained":[{"resourceType":"Condition","id":"c","subject":{"reference":"Patient/z"}}]}"#,
            Verdict::Drop("C9"),
        ),
        ("/Practitioner/7", r#"{"resourceType":"Practitioner","id":"7"}"#, Verdict::Keep),
    ] {
        let plan = plan(&asks, &parse(target), &known, &Limits::default());
        let Plan::PreRead(permit) = plan else { panic!("{target}: {plan:?}") };
        assert_eq!(judge(permit.residual(), &view(json)), want, "{target} {json}");
    }
}

#[test]
fn a_version_needs_leave_for_the_current_one_too() {
    let asks = principal("system/*.rs");
    let of = |target| {
        let plan = plan(&asks, &parse(target), &facts(["a"]), &Limits::default());
        let Plan::PreRead(permit) = plan else { panic!("{plan:?}") };
        permit.current().map(|permit| permit.request().upstream_target())
    };
    assert_eq!(of("/Observation/9/_history/2"), Some("Observation/9".to_owned()));
    assert_eq!(of("/Observation/9"), None);
}

#[test]
fn facts_policy_and_notice_are_constant_and_tell_cases_apart() {
    assert_eq!(facts(["a", "b"]).digest(), facts(["b", "a"]).digest());
    let digests: BTreeSet<String> =
        [Facts::default(), facts([]), facts(["a"]), facts(["a", "b"]), facts(["ab"])]
            .iter()
            .map(Facts::digest)
            .collect();
    assert_eq!(digests.len(), 5);
    assert_eq!(policy_hash(), policy_hash());
    let mut asks = principal("system/*.rs");
    assert!(notice(&asks).is_some());
    asks.purposes = vec![Purpose::Payment];
    assert!(notice(&asks).is_none());
}

#[test]
fn subjects_and_grants_survive_storage() {
    for text in [
        "grant:02020202-0202-0202-0202-020202020202",
        "token:02020202-0202-0202-0202-020202020202",
        "client:02020202-0202-0202-0202-020202020202",
        &format!("certificate:{}", "0a".repeat(32)),
        &format!("certification:{}", "0b".repeat(32)),
        "community:urn:oid:1.2.3",
    ] {
        assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
    }
    for bad in
        ["", "grant", "grant:", "grant:x", "Grant:02020202-0202-0202-0202-020202020202", "x:y"]
    {
        assert!(bad.parse::<Subject>().is_err(), "{bad}");
    }
    let asks = principal("system/Patient.r system/Observation.rs");
    let grant = Grant {
        id: asks.grant,
        tenant: asks.tenant,
        client: asks.client,
        client_uri: asks.client_uri,
        community: asks.community,
        organization: asks.organization,
        purposes: asks.purposes,
        scopes: asks.scopes,
        certificate: Thumbprint([7; 32]),
        issued: Timestamp::from_seconds(1),
        expires: Timestamp::from_seconds(2),
        hangs_on: vec![(Subject::Client(asks.client), 3)],
    };
    let json = serde_json::to_string(&grant).unwrap();
    assert_eq!(serde_json::from_str::<Grant>(&json).unwrap(), grant);
    assert!(
        serde_json::from_str::<Grant>(&json.replace("system/Patient.r", "root/Patient.r")).is_err()
    );
}

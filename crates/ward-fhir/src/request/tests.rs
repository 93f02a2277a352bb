//! The grammar by table and by property.

use proptest::prelude::*;
use ward_core::{FhirVersion, Limits};

use super::*;

const BASE: &str = "https://gw.example/default/fhir";

fn get<'a>(path: &'a str, query: &'a str) -> RawRequest<'a> {
    let query = (!query.is_empty()).then_some(query);
    RawRequest { base: BASE, method: "GET", path, query, ..RawRequest::default() }
}

fn parse(raw: &RawRequest<'_>) -> Result<FhirRequest, Refusal> {
    FhirRequest::parse(FhirVersion::R4, raw, &Limits::default())
}

fn search(query: &str) -> Search {
    match parse(&get("/Observation", query)) {
        Ok(FhirRequest { interaction: Interaction::Search(search), .. }) => search,
        other => panic!("{query}: {other:?}"),
    }
}

fn refused(raw: &RawRequest<'_>) -> (u16, &'static str) {
    match parse(raw) {
        Err(refusal) => (refusal.status, refusal.rule),
        Ok(request) => panic!("{raw:?} gave {request:?}"),
    }
}

#[test]
fn paths_have_one_reading() {
    for (path, want) in [
        ("/metadata", "metadata"),
        ("/metadata/", "metadata"),
        ("/Patient/B", "Patient/B"),
        ("/Patient/B/", "Patient/B"),
        ("/%50atient/%42", "Patient/B"),
        ("/Patient/a-1.b", "Patient/a-1.b"),
        ("/Observation/9/_history/2", "Observation/9/_history/2"),
        ("/Observation/9/%5fhistory/2", "Observation/9/_history/2"),
        ("/Observation", "Observation"),
        ("/Observation/", "Observation"),
    ] {
        assert_eq!(parse(&get(path, "")).unwrap().upstream_target(), want, "{path}");
    }
}

#[test]
fn paths_that_could_be_read_in_two_ways_are_refused() {
    for (path, want) in [
        ("/Patient%2FB", (400, "A1")),
        ("/Patient%2fB", (400, "A1")),
        ("/Patient/%5CB", (400, "A1")),
        ("/Patient/B%00", (400, "A1")),
        ("/Patient/me/../B", (400, "A2")),
        ("/Patient/%2e%2e/B", (400, "A2")),
        ("/Patient/.%2E/B", (400, "A2")),
        ("/./Patient", (400, "A2")),
        ("/Patient/..;/B", (400, "A4")),
        ("/Patient%252FB", (400, "A3")),
        ("/Patient/%25", (400, "A3")),
        ("/Patient;x=y/B;jsessionid=1", (400, "A4")),
        ("/Patient%3Bx/B", (400, "A4")),
        ("//Patient//B/", (400, "A5")),
        ("/Patient//B", (400, "A5")),
        ("/Patient/B//", (400, "A5")),
        ("//", (400, "A5")),
        ("Patient/B", (400, "A5")),
        ("/patient/B", (404, "A6")),
        ("/PATIENT", (404, "A6")),
        ("/Foo/1", (404, "A6")),
        ("/actuator", (404, "A6")),
        ("/Parameters", (404, "A6")),
        ("/Patient/%C0%AF", (400, "A7")),
        ("/Patient/%c0%80", (400, "A7")),
        ("/Patient/%u0041", (400, "A7")),
        ("/Patient/%4", (400, "A7")),
        ("/Patient/%zz", (400, "A7")),
        ("/Patient/%+1", (400, "A7")),
        ("/Patient/B\u{1}", (400, "A7")),
        ("/Patient/B%0a", (400, "A7")),
        ("/Patient/B%7f", (400, "A7")),
        ("/Patient/B#frag", (400, "A7")),
        ("/Patient/B%23frag", (400, "A7")),
        ("/Patient/B%3f", (400, "A7")),
        ("/Patient\\B", (400, "A7")),
        ("/Patient/\u{e9}", (400, "A7")),
        ("/Patient/a b", (400, "A7")),
        ("/Patient/a%20b", (400, "A7")),
        ("/Patient/a_b", (400, "A7")),
        ("/Patient/%7Efoo", (400, "A7")),
    ] {
        assert_eq!(refused(&get(path, "")), want, "{path}");
    }
    let long = format!("/Patient/{}", "x".repeat(65));
    assert_eq!(refused(&get(&long, "")), (400, "A7"));
}

#[test]
fn interactions_that_are_not_offered_are_refused_plainly() {
    for (method, path, want) in [
        ("GET", "", (403, "D25")),
        ("GET", "/", (403, "D25")),
        ("POST", "/_search", (403, "D25")),
        ("POST", "", (403, "H1")),
        ("GET", "/_history", (403, "C6")),
        ("GET", "/Patient/_history", (403, "C6")),
        ("GET", "/Patient/1/_history", (403, "C6")),
        ("GET", "/$versions", (403, "G18")),
        ("GET", "/%24export", (403, "G18")),
        ("POST", "/Patient/$match", (403, "G18")),
        ("GET", "/Patient/1/$everything", (403, "G18")),
        ("GET", "/Patient/1/%24everything", (403, "G18")),
        ("GET", "/Patient/1/Observation", (403, "D27")),
        ("GET", "/Encounter/1/*", (403, "D27")),
        ("GET", "/Patient/1/foo", (404, "A5")),
        ("GET", "/Patient/1/_history/2/3", (404, "A5")),
        ("GET", "/foo/_history", (404, "A6")),
        ("POST", "/Observation", (405, "A16")),
        ("PUT", "/Observation/9", (405, "A16")),
        ("PATCH", "/Observation/9", (405, "A16")),
        ("DELETE", "/Observation/9", (405, "A16")),
        ("DELETE", "/Observation", (405, "A16")),
        ("POST", "/Observation/9", (405, "A16")),
        ("GET", "/Observation/_search", (405, "A16")),
        ("POST", "/metadata", (405, "A16")),
        ("TRACE", "/Observation/9", (405, "A16")),
        ("OPTIONS", "/Observation", (405, "A16")),
        ("PROPFIND", "/Observation", (405, "A16")),
        ("get", "/Observation", (405, "A16")),
        ("", "/Observation", (405, "A16")),
        ("PUT", "/observation/9", (404, "A6")),
    ] {
        let raw = RawRequest { method, ..get(path, "") };
        assert_eq!(refused(&raw), want, "{method} {path}");
    }
    let allow = |method, path| parse(&RawRequest { method, ..get(path, "") }).unwrap_err().allow;
    assert_eq!(allow("PUT", "/Observation/9"), Some("GET, HEAD"));
    assert_eq!(allow("GET", "/Observation/_search"), Some("POST"));
    let head = RawRequest { method: "HEAD", ..get("/Patient/B", "") };
    assert_eq!(parse(&head), parse(&get("/Patient/B", "")));
}

#[test]
fn malformed_comes_before_all_else() {
    let raw = RawRequest { method: "POST", ..get("/Observation/9", "_method=DELETE") };
    assert_eq!(refused(&raw), (400, "A14"));
    let raw = RawRequest { accept: Some("text/html"), ..get("/Foo", "access_token=x") };
    assert_eq!(refused(&raw), (400, "A23"));
    let raw = RawRequest { body: b"{}", ..get("/Observation", "code=1") };
    assert_eq!(refused(&raw), (400, "A17"));
    let raw = RawRequest { body: b"{}", ..get("/Patient/1", "") };
    assert_eq!(refused(&raw), (400, "A17"));
    let long = "x".repeat(9000);
    assert_eq!(refused(&get("/Observation", &long)), (414, "LIMIT"));
}

#[test]
fn only_json_is_spoken() {
    fn with(accept: &str, query: &str) -> Result<FhirRequest, Refusal> {
        parse(&RawRequest { accept: Some(accept), ..get("/Patient/1", query) })
    }
    for accept in [
        "",
        "*/*",
        "application/*",
        "application/fhir+json",
        "Application/FHIR+JSON; charset=UTF-8",
        "application/fhir+json;fhirVersion=4.0",
        "application/json;q=0.1, application/fhir+xml",
        "text/html, */*;q=0.8",
        "application/fhir+json;q=0, application/json",
    ] {
        assert!(with(accept, "").is_ok(), "{accept}");
    }
    for accept in [
        "application/fhir+xml",
        "text/html",
        "application/fhir+ndjson",
        "application/fhir+json;q=0",
        "application/json;q=0, application/fhir+json;q=0, */*",
        "application/fhir+json;q=x",
        "application/fhir+json;fhirVersion=5.0",
        "application/fhir+json;charset=utf-16",
        "image/*",
    ] {
        let refusal = with(accept, "").unwrap_err();
        assert_eq!((refusal.status, refusal.rule), (406, "B1"), "{accept}");
    }
    for format in ["json", "application/json", "application/fhir%2Bjson", "application/fhir+json"] {
        // `_format` wins over `Accept`.
        assert!(with("application/fhir+xml", &format!("_format={format}")).is_ok(), "{format}");
    }
    for query in
        ["_format=xml", "_format=html/json", "_format=ttl", "_format=", "_format=json&_format=xml"]
    {
        assert_eq!(refused(&get("/Patient/1", query)), (406, "B3"), "{query}");
        assert_eq!(refused(&get("/Patient", query)), (406, "B3"), "{query}");
    }
}

#[test]
fn searches_by_post_take_forms_only() {
    let post = |content_type, body| RawRequest {
        method: "POST",
        content_type,
        body,
        ..get("/Observation/_search", "code=1")
    };
    let urlencoded = "application/x-www-form-urlencoded";
    let form = Some(urlencoded);
    let combined = parse(&post(form, b"status=final&code=2")).unwrap();
    // D28: one place, combined by AND, in order.
    assert_eq!(combined.upstream_target(), "Observation?code=1&status=final&code=2");
    for content_type in ["Application/X-WWW-Form-URLEncoded; charset=UTF-8", urlencoded] {
        assert!(parse(&post(Some(content_type), b"status=final")).is_ok(), "{content_type}");
    }
    assert!(parse(&post(None, b"")).is_ok());
    for content_type in [
        "application/json",
        "application/fhir+json",
        "application/fhir+xml",
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/x-www-form-urlencoded; charset=utf-16",
        "application/x-www-form-urlencoded, text/plain",
        "",
    ] {
        assert_eq!(refused(&post(Some(content_type), b"a=b")), (415, "B10"), "{content_type}");
    }
    assert_eq!(refused(&post(None, b"a=b")), (415, "B10"));
    assert_eq!(refused(&post(form, b"\xff=1")), (400, "A7"));
    assert_eq!(refused(&post(form, b"access_token=x")), (400, "A23"));
    assert_eq!(refused(&post(form, b"_method=DELETE")), (400, "A14"));
    let large = vec![b'a'; 70_000];
    assert_eq!(refused(&post(form, &large)), (413, "B8"));
    let split = RawRequest { query: None, ..post(form, b"_count=5&_count=6") };
    assert_eq!(refused(&split), (400, "D30"));
}

#[test]
fn what_joins_or_reveals_is_refused_by_name_even_under_lenient_handling() {
    for (query, rule) in [
        ("_text=x", "D15"),
        ("_content=x", "D15"),
        ("_filter=code+eq+x", "D16"),
        ("_query=everything", "D17"),
        ("_list=42", "D18"),
        ("_in=Group/5", "D19"),
        ("_has:Observation:patient:code=X", "D20"),
        ("_has%3AObservation%3Apatient%3Acode=X", "D20"),
        ("_has:Observation:patient:_has:AuditEvent:entity:agent=x", "D20"),
        ("subject.name=x", "D22"),
        ("subject:Patient.birthdate=2000", "D22"),
        ("encounter.participant.identifier=x", "D22"),
        ("_contained=true", "D24"),
        ("_containedType=contained", "D24"),
        ("_type=Patient", "D25"),
        ("_include=Observation:subject", "F1"),
        ("_include:iterate=Observation:subject", "F1"),
        ("_include%3Aiterate=*", "F1"),
        ("_revinclude=Provenance:target", "F2"),
        ("_elements=code", "C7"),
        ("_summary=true", "C7"),
        ("_summary=text", "C7"),
        ("subject:identifier=s|1", "D8"),
        ("code:in=vs", "D11"),
        ("code:text=x", "D11"),
        ("code:above=x", "D11"),
        ("code:below=x", "D11"),
        ("code:not-in=x", "D11"),
        ("code:=x", "D11"),
        ("identifier:of-type=s|MR|1", "D34"),
        ("_id:not=1", "D11"),
        ("subject:patient=1", "D11"),
        ("subject:Practitioner=1", "D11"),
        ("status:exact=x", "D11"),
        ("code-value-quantity=l$gt5", "D13"),
        ("_cursor:missing=true", "D30"),
    ] {
        let raw = RawRequest { prefer: Some("handling=lenient"), ..get("/Observation", query) };
        let refusal = parse(&raw).unwrap_err();
        assert_eq!((refusal.status, refusal.rule), (400, rule), "{query}");
        assert_eq!(
            refusal.issue.code(),
            if rule == "D30" { refusal.issue.code() } else { "not-supported" }
        );
        let name = query.split(['=', ':', '%', '.']).next().unwrap();
        assert!(refusal.text.contains(name), "{query}: {}", refusal.text);
    }
}

#[test]
fn unknown_names_are_dropped_and_named_or_refused_under_strict_handling() {
    let query = "code=1&PATIENT=x&patient%5B%5D=y&PATIENT=z&_ID=1&foo.bar=1&_getpages=u&_offset=3";
    let lenient = search(query);
    assert_eq!(lenient.dropped, ["PATIENT", "patient??", "_ID", "foo.bar", "_getpages", "_offset"]);
    assert_eq!(lenient.self_query(), "code=1");
    for prefer in [
        "handling=strict",
        "respond-async, Handling = \"strict\"",
        "return=minimal; handling=strict",
        "handling=lenient, handling=strict",
    ] {
        let raw = RawRequest { prefer: Some(prefer), ..get("/Observation", "foo=1") };
        assert_eq!(refused(&raw), (400, "D30"), "{prefer}");
    }
    let raw = RawRequest { prefer: Some("handling=strict"), ..get("/Patient/1", "foo=1") };
    assert_eq!(refused(&raw), (400, "D30"));
    assert!(parse(&get("/Patient/1", "foo=1&_pretty=true&_summary=false")).is_ok());
    assert_eq!(refused(&get("/Patient/1", "_elements=id")), (400, "C7"));
    // `;` separates nothing (D29): it stays in the value.
    assert_eq!(search("code=1;patient=Patient/B").self_query(), "code=1%3Bpatient%3DPatient%2FB");
    assert_eq!(refused(&get("/Observation", "patient%00=x")), (400, "D29"));
    assert_eq!(refused(&get("/Observation", "code=a%0d%0ab")), (400, "D29"));
    assert_eq!(refused(&get("/Observation", "code=%ff")), (400, "A7"));
    assert_eq!(refused(&get("/Observation", "code=%")), (400, "A7"));
    assert_eq!(refused(&get("/Observation", "code=\u{e9}")), (400, "A7"));
}

#[test]
fn references_have_one_spelling() {
    for query in [
        "subject=B",
        "subject=Patient/B",
        "subject:Patient=B",
        "subject:Patient=Patient/B",
        "subject%3APatient=B",
        "subject=https://gw.example/default/fhir/Patient/B",
        "subject=https%3A%2F%2FGW.example%3A443%2Fdefault%2Ffhir%2FPatient%2FB",
        "subject=Patient/B/_history/1",
    ] {
        assert_eq!(search(query).self_query(), "subject=Patient%2FB", "{query}");
    }
    assert_eq!(search("patient=B").criteria[0].values, ["Patient/B"]);
    assert_eq!(search("encounter=7").criteria[0].values, ["Encounter/7"]);
    assert_eq!(
        search("subject=Patient/me,Group/7,Device/3").criteria[0].values,
        ["Patient/me", "Group/7", "Device/3"]
    );
    for (query, rule) in [
        ("subject=https://other.example/fhir/Patient/B", "D4"),
        ("subject=http://gw.example/default/fhir/Patient/B", "D4"),
        // Which of six types a bare performer is, nobody can say.
        ("performer=7", "D4"),
        ("subject=patient/B", "D30"),
        ("subject=Patient/", "D30"),
        ("subject=Patient/B/x", "D30"),
        ("subject=Practitioner/1", "D30"),
        ("subject:Patient=Group/1", "D30"),
        ("subject=urn:uuid:1", "D30"),
        ("subject=%23p", "D30"),
        ("subject=Patient?identifier=1", "D30"),
        ("subject=Patient/a\\,b", "D30"),
        ("patient=Practitioner/1", "D30"),
        ("subject=,Patient/B", "D30"),
        ("subject=", "D30"),
        ("subject", "D30"),
    ] {
        assert_eq!(refused(&get("/Observation", query)), (400, rule), "{query}");
    }
    let canonical = get("/QuestionnaireResponse", "questionnaire=http://x.example/Questionnaire/1");
    assert!(parse(&canonical).is_ok());
}

#[test]
fn values_have_the_form_of_their_kind() {
    for (path, query, good) in [
        ("/Observation", "date=2020", true),
        ("/Observation", "date=ge2020-02-29", true),
        ("/Observation", "date=lt2020-01-01T10:00", true),
        ("/Observation", "date=2020-01-01T10:00:00.123Z", true),
        ("/Observation", "date=2020-01-01T10:00:00%2B01:00", true),
        ("/Observation", "date=2020-01-01T10:00:00+01:00", false),
        ("/Observation", "date=2021-02-29", false),
        ("/Observation", "date=2020-13", false),
        ("/Observation", "date=20200101", false),
        ("/Observation", "date=xx2020", false),
        ("/Observation", "date=2020-01T10:00", false),
        ("/Observation", "date=today", false),
        ("/Observation", "date=gegt2020", false),
        ("/RiskAssessment", "probability=gt0.8", true),
        ("/RiskAssessment", "probability=1e-3", true),
        ("/RiskAssessment", "probability=.5", false),
        ("/RiskAssessment", "probability=5.", false),
        ("/RiskAssessment", "probability=NaN", false),
        ("/Observation", "value-quantity=5.4", true),
        ("/Observation", "value-quantity=le5.4|http://unitsofmeasure.org|mg", true),
        ("/Observation", "value-quantity=5.4||mg", true),
        ("/Observation", "value-quantity=5.4|mg", false),
        ("/Observation", "value-quantity=5.4|s|", false),
        ("/Observation", "value-quantity=|s|mg", false),
        ("/Observation", "code=1234-5", true),
        ("/Observation", "code=http://loinc.org|1234-5,http://loinc.org|", true),
        ("/Observation", "code=|1234-5", true),
        ("/Observation", "code=a%5C%7Cb", true),
        ("/Observation", "code=|", false),
        ("/Observation", "code=a|b|c", false),
        ("/Observation", "code=a%5Cb", false),
        ("/Observation", "code=a%5C", false),
        ("/Observation", "code=%20", false),
        ("/Observation", "code:not=x", true),
        ("/Observation", "code:missing=true", true),
        ("/Observation", "code:missing=yes", false),
        ("/Observation", "code:missing=true,false", false),
        ("/Observation", "subject:missing=true", true),
        ("/Observation", "_id=1,2", true),
        ("/Observation", "_id=a_b", false),
        ("/Observation", "_id=s|1", false),
        ("/Observation", "_security=s|R", true),
        ("/Observation", "_tag=x&_profile=http://p&_source=urn:x&_lastUpdated=gt2020", true),
        ("/Patient", "name=Jo%C3%ABl", true),
        ("/Patient", "name:exact=A%5C,B", true),
        ("/Patient", "name:contains=x", true),
        ("/ValueSet", "url=http://a b", false),
        ("/ValueSet", "url=http://a", true),
        ("/Location", "near=1|2|3|km", false),
        ("/Observation", "_count=5", true),
        ("/Observation", "_count=99999999999999999999", true),
        ("/Observation", "_count=-1", false),
        ("/Observation", "_count=+1", false),
        ("/Observation", "_count=", false),
        ("/Observation", "_total=accurate", true),
        ("/Observation", "_total=yes", false),
        ("/Observation", "_sort=-date,code", true),
        ("/Observation", "_sort=foo", false),
        ("/Observation", "_sort=", false),
        ("/Observation", "_sort=date,-date", false),
        ("/Observation", "_sort=date&_sort=code", false),
        ("/Observation", "_sort=_security", false),
        ("/Observation", "_sort=code-value-quantity", false),
        ("/Observation", "_cursor=abc.DEF-_~", true),
        ("/Observation", "_cursor=a%20b", false),
        ("/Observation", "_cursor=", false),
        ("/Observation", "_pretty=true", true),
        ("/Observation", "_pretty=1", false),
    ] {
        let answer = parse(&get(path, query));
        assert_eq!(answer.is_ok(), good, "{path}?{query}: {answer:?}");
        if let Err(refusal) = answer {
            assert_eq!(refusal.status, 400, "{query}");
        }
    }
}

#[test]
fn repeated_parameters_are_all_kept() {
    let both = search("patient=Patient/me&patient=Patient/B");
    assert_eq!(both.criteria.len(), 2);
    assert_eq!(both.self_query(), "patient=Patient%2Fme&patient=Patient%2FB");
    let many = vec!["code=1"; 33].join("&");
    assert_eq!(refused(&get("/Observation", &many)), (400, "LIMIT"));
    let values = format!("code={}", vec!["1"; 101].join(","));
    assert_eq!(refused(&get("/Observation", &values)), (400, "LIMIT"));
}

#[test]
fn counts_of_nothing_ask_for_the_number() {
    for query in ["_count=0", "_summary=count", "_count=0&_summary=count"] {
        let search = search(query);
        assert!(search.summary_count && search.count.is_none(), "{query}");
        assert_eq!(search.self_query(), "_summary=count");
    }
    let shaped = search("_cursor=x&_total=none&_sort=-date&_count=3&code=1&_pretty=true");
    assert_eq!(shaped.self_query(), "code=1&_count=3&_sort=-date&_total=none");
    assert_eq!(shaped.cursor.as_deref(), Some("x"));
}

#[test]
fn refusals_do_not_repeat_values() {
    for query in ["birthdate=SECRET", "link=SECRET!", "_count=SECRET", "_sort=SECRET"] {
        let refusal = parse(&get("/Patient", query)).unwrap_err();
        assert!(!refusal.to_string().contains("SECRET"), "{refusal}");
    }
    let raw = RawRequest { prefer: Some("handling=strict"), ..get("/Patient", "a%3Cb%3E=1") };
    assert!(parse(&raw).unwrap_err().text.contains("a?b?"));
}

/// Pieces of queries, good and bad.
fn piece() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "code",
        "subject",
        "patient",
        "subject:Patient",
        "date",
        "value-quantity",
        "status:not",
        "code:missing",
        "performer",
        "_id",
        "_lastUpdated",
        "_tag",
        "_count",
        "_sort",
        "_total",
        "_summary",
        "_cursor",
        "foo",
        "value-string:contains",
        "value-string",
        "derived-from",
    ]);
    let values = prop_oneof![
        prop::sample::select(vec![
            "B",
            "Patient/B",
            "Patient/B,Group/7",
            "https://gw.example/default/fhir/Patient/B",
            "Patient/B/_history/2",
            "ge2020-01-01",
            "2020",
            "5.4|s|mg",
            "s|c",
            "true",
            "0",
            "7",
            "-date,code",
            "accurate",
            "count",
            "a\\,b,c\\|d",
            "a\\\\,b",
            "none",
            "Observation/1",
        ])
        .prop_map(str::to_owned),
        "[ -~é]{0,12}",
    ];
    (names, values, any::<bool>()).prop_map(|(name, value, shout)| {
        let mut out = String::new();
        // Two spellings of the same bytes: only what must be encoded, or everything.
        for (text, separator) in [(name, "="), (value.as_str(), "")] {
            for byte in text.bytes() {
                if shout || !byte.is_ascii_graphic() || b"%&+#=".contains(&byte) {
                    use std::fmt::Write as _;
                    write!(out, "%{byte:02x}").unwrap();
                } else {
                    out.push(char::from(byte));
                }
            }
            out.push_str(separator);
        }
        out
    })
}

fn respelled(target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut out = path.to_owned();
    for (at, piece) in query.split('&').filter(|piece| !piece.is_empty()).enumerate() {
        out.push(if at == 0 { '?' } else { '&' });
        for letter in piece.chars() {
            match letter {
                'a'..='z' => {
                    use std::fmt::Write as _;
                    write!(out, "%{:02x}", letter as u32).unwrap();
                }
                other => out.push(other),
            }
        }
    }
    out
}

fn parse_target(target: &str) -> Result<FhirRequest, Refusal> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = format!("/{path}");
    parse(&get(&path, query))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_requests_never_panic(
        method in "[A-Z]{0,8}", path in ".{0,60}", query in ".{0,120}", accept in ".{0,30}",
        prefer in ".{0,30}", content_type in ".{0,40}",
        body in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        for method in [method.as_str(), "GET", "POST"] {
            for path in [path.as_str(), "/Observation", "/Observation/_search"] {
                let _ = parse(&RawRequest {
                    base: BASE, method, path, query: Some(&query), accept: Some(&accept),
                    prefer: Some(&prefer), content_type: Some(&content_type), body: &body,
                });
            }
        }
    }

    #[test]
    fn path_soup_never_panics_and_what_is_accepted_is_canonical(
        path in "(/|Patient|B|\\.|;|%2[ef5F]|%[0-9a-z]{2}|_history|\\$x|_search|\\\\){0,8}",
    ) {
        if let Ok(request) = parse(&get(&path, "")) {
            let again = parse_target(&request.upstream_target()).unwrap();
            prop_assert_eq!(again, request);
        }
    }

    #[test]
    fn what_is_written_reads_as_what_was_meant(pieces in prop::collection::vec(piece(), 0..5)) {
        let query = pieces.join("&");
        if let Ok(mut request) = parse(&get("/Observation", &query)) {
            if let Interaction::Search(search) = &mut request.interaction {
                search.cursor = None;
                search.dropped.clear();
            }
            let target = request.upstream_target();
            prop_assert!(target.is_ascii());
            prop_assert_eq!(&parse_target(&target).unwrap(), &request);
            prop_assert_eq!(&parse_target(&respelled(&target)).unwrap(), &request);
        }
    }

    /// D28: it does not matter what stands in the URL and what in the form.
    #[test]
    fn get_and_post_are_one_search(pieces in prop::collection::vec(piece(), 0..5), at in 0_usize..6) {
        let (url, form) = pieces.split_at(at.min(pieces.len()));
        let (url, form, whole) = (url.join("&"), form.join("&"), pieces.join("&"));
        let post = RawRequest {
            method: "POST",
            content_type: Some("application/x-www-form-urlencoded"),
            body: form.as_bytes(),
            ..get("/Observation/_search", &url)
        };
        prop_assert_eq!(parse(&post), parse(&get("/Observation", &whole)));
    }

    #[test]
    fn a_criterion_made_from_any_text_survives_the_wire(text in "\\PC{1,20}") {
        let escaped = text.replace('\\', "\\\\").replace(',', "\\,");
        let mut query = "value-string:exact=".to_owned();
        encode::encode(&mut query, &escaped);
        if text.trim().is_empty() {
            return Ok(());
        }
        let search = search(&query);
        prop_assert_eq!(&search.criteria[0].values, &[escaped]);
        prop_assert_eq!(search.self_query(), query);
    }
}

//! `udap.md` §7.1–7.3: each row with its id, the exact status and code, and that nothing was written.

use std::collections::BTreeSet;

use super::pki::{OTHER_URI, RSA_URI, SECOND_URI};
use super::*;

const STATEMENT: &str = "invalid_software_statement";
const METADATA: &str = "invalid_client_metadata";
const REDIRECT: &str = "invalid_redirect_uri";

type Claims = Map<String, Value>;
type Change = Box<dyn Fn(&mut Claims)>;

pub(super) async fn nothing_registered(world: &World, id: &str) {
    let tenant = TenantId::default_tenant();
    let registrations = &world.issuer.deps.repositories.registrations;
    assert!(registrations.list(&tenant, None, 10).await.unwrap().is_empty(), "{id}");
}

fn set(name: &'static str, value: Value) -> Change {
    Box::new(move |claims| {
        claims.insert(name.into(), value.clone());
    })
}

fn without(name: &'static str) -> Change {
    Box::new(move |claims| {
        claims.remove(name);
    })
}

fn code_flow(change: impl Fn(&mut Claims) + 'static) -> Change {
    Box::new(move |claims| {
        claims.insert("grant_types".into(), json!(["authorization_code"]));
        claims.insert("response_types".into(), json!(["code"]));
        claims.insert("redirect_uris".into(), json!(["https://partner.test/callback"]));
        claims.insert("logo_uri".into(), json!("https://partner.test/logo.png"));
        change(claims);
    })
}

#[tokio::test]
async fn statements_with_bad_claims_or_parameters_are_refused() {
    let iso = |uri: &'static str| -> Change {
        Box::new(move |claims| {
            claims.insert("iss".into(), json!(uri));
            claims.insert("sub".into(), json!(uri));
        })
    };
    let span = |iat: i64, exp: i64| -> Change {
        Box::new(move |claims| {
            claims.insert("iat".into(), json!(START + iat));
            claims.insert("exp".into(), json!(START + exp));
        })
    };
    let redirect = |uris: Value| {
        code_flow(move |claims| {
            claims.insert("redirect_uris".into(), uris.clone());
        })
    };
    let rows: Vec<(&str, Change, &str)> = vec![
        ("R25 missing", without("iss"), STATEMENT),
        ("R25 number", set("iss", json!(1)), STATEMENT),
        ("R25 array", set("iss", json!([CLIENT_URI])), STATEMENT),
        ("R26", iso("invalid_iss"), STATEMENT),
        ("R26 of another member", iso(OTHER_URI), STATEMENT),
        ("R27 slash", iso("https://partner.test/app/"), STATEMENT),
        ("R27 case", iso("https://PARTNER.test/app"), STATEMENT),
        ("R27 port", iso("https://partner.test:443/app"), STATEMENT),
        ("R27 percent", iso("https://partner.test/%61pp"), STATEMENT),
        ("R29 missing", without("sub"), STATEMENT),
        ("R29 differs", set("sub", json!(SECOND_URI)), STATEMENT),
        ("R30 missing", without("aud"), STATEMENT),
        ("R30 token endpoint", set("aud", json!(TOKEN)), STATEMENT),
        ("R30 FHIR base", set("aud", json!(SERVER_URI)), STATEMENT),
        ("R30 http", set("aud", json!(REGISTER.replace("https", "http"))), STATEMENT),
        ("R30 query", set("aud", json!(format!("{REGISTER}?a"))), STATEMENT),
        ("R30 slash", set("aud", json!(format!("{REGISTER}/"))), STATEMENT),
        ("R30 array without ours", set("aud", json!(["https://x.test/register"])), STATEMENT),
        ("R30 empty array", set("aud", json!([])), STATEMENT),
        ("R42 other AS", set("aud", json!("https://as2.test/oauth/register")), STATEMENT),
        ("R31 missing", without("exp"), STATEMENT),
        ("R31 string", set("exp", json!("1800000300")), STATEMENT),
        ("R31 float", set("exp", json!(1_800_000_300.5)), STATEMENT),
        ("R31 negative", set("exp", json!(-1)), STATEMENT),
        ("R31 milliseconds", set("exp", json!(1_800_000_300_000_i64)), STATEMENT),
        ("R31 2^63", set("exp", json!(9_223_372_036_854_775_808_u64)), STATEMENT),
        ("R32", span(-400, -100), STATEMENT),
        ("R33 301 s", span(0, 301), STATEMENT),
        ("R33 a year", span(0, 365 * 86_400), STATEMENT),
        ("R34 missing", without("iat"), STATEMENT),
        ("R34 future", span(61, 300), STATEMENT),
        ("R34 after exp", span(40, 30), STATEMENT),
        ("R35", set("nbf", json!(START + 120)), STATEMENT),
        ("R36 missing", without("jti"), STATEMENT),
        ("R36 number", set("jti", json!(7)), STATEMENT),
        ("R36 empty", set("jti", json!("")), STATEMENT),
        ("R36 long", set("jti", json!("j".repeat(257))), STATEMENT),
        ("P02 missing", without("client_name"), METADATA),
        ("P02 empty", set("client_name", json!("")), METADATA),
        ("P02 10 kB", set("client_name", json!("n".repeat(10_000))), METADATA),
        ("P02 control", set("client_name", json!("a\u{0}b")), METADATA),
        ("P02 bidi", set("client_name", json!("a\u{202e}b")), METADATA),
        ("P03", without("grant_types"), METADATA),
        ("P04", set("grant_types", json!(["authorization_code", "client_credentials"])), METADATA),
        ("P05 alone", set("grant_types", json!(["refresh_token"])), METADATA),
        (
            "P05 with CC",
            set("grant_types", json!(["client_credentials", "refresh_token"])),
            METADATA,
        ),
        ("P06 implicit", set("grant_types", json!(["implicit"])), METADATA),
        ("P06 password", set("grant_types", json!(["password"])), METADATA),
        (
            "P06 jwt-bearer",
            set("grant_types", json!(["urn:ietf:params:oauth:grant-type:jwt-bearer"])),
            METADATA,
        ),
        (
            "P06 duplicate",
            set("grant_types", json!(["client_credentials", "client_credentials"])),
            METADATA,
        ),
        ("P06 string", set("grant_types", json!("client_credentials")), METADATA),
        ("P07 missing", code_flow(|c| drop(c.remove("redirect_uris"))), REDIRECT),
        ("P07 empty", redirect(json!([])), REDIRECT),
        ("P08 http", redirect(json!(["http://partner.test/cb"])), REDIRECT),
        ("P08 scheme", redirect(json!(["myapp://cb"])), REDIRECT),
        ("P08 javascript", redirect(json!(["javascript:alert(1)"])), REDIRECT),
        ("P08 relative", redirect(json!(["/cb"])), REDIRECT),
        ("P08 fragment", redirect(json!(["https://partner.test/cb#x"])), REDIRECT),
        ("P08 userinfo", redirect(json!(["https://a@partner.test/cb"])), REDIRECT),
        ("P08 wildcard", redirect(json!(["https://partner.test/*"])), REDIRECT),
        ("P08 localhost", redirect(json!(["https://localhost/cb"])), REDIRECT),
        ("P08 many", redirect(json!(vec!["https://partner.test/cb"; 21])), REDIRECT),
        ("P09", set("redirect_uris", json!(["https://partner.test/cb"])), METADATA),
        ("P10 with CC", set("response_types", json!(["code"])), METADATA),
        ("P10 missing", code_flow(|c| drop(c.remove("response_types"))), METADATA),
        (
            "P10 token",
            code_flow(|c| drop(c.insert("response_types".into(), json!(["token"])))),
            METADATA,
        ),
        ("P11 missing", without("contacts"), METADATA),
        ("P11 empty", set("contacts", json!([])), METADATA),
        ("P11 https", set("contacts", json!(["https://partner.test"])), METADATA),
        ("P11 no address", set("contacts", json!(["mailto:"])), METADATA),
        ("P11 plain", set("contacts", json!(["ops@partner.test"])), METADATA),
        ("P12 missing", code_flow(|c| drop(c.remove("logo_uri"))), METADATA),
        ("P12 svg", set("logo_uri", json!("https://partner.test/logo.svg")), METADATA),
        ("P12 data", set("logo_uri", json!("data:image/png;base64,AA")), METADATA),
        ("P12 http", set("logo_uri", json!("http://partner.test/logo.png")), METADATA),
        ("P14 missing", without("token_endpoint_auth_method"), METADATA),
        ("P14 none", set("token_endpoint_auth_method", json!("none")), METADATA),
        ("P14 basic", set("token_endpoint_auth_method", json!("client_secret_basic")), METADATA),
        ("P15 missing", without("scope"), METADATA),
        ("P15 array", set("scope", json!(["system/Patient.rs"])), METADATA),
        ("P15 empty", set("scope", json!("")), METADATA),
        ("P15 tab", set("scope", json!("system/Patient.r\tsystem/Encounter.r")), METADATA),
        ("P16", set("scope", json!("system/*.rs")), METADATA),
        ("P16 with others", set("scope", json!("system/Patient.rs system/*.cruds")), METADATA),
        ("P17 none supported", set("scope", json!("system/Claim.rs nonsense")), METADATA),
        ("P17 wrong letters", set("scope", json!("system/Patient.d")), METADATA),
        ("P19 patient", set("scope", json!("patient/*.rs openid launch")), METADATA),
        ("P20", set("grant_types", json!([])), METADATA),
        ("REG-12 code flow is not served", code_flow(|_| {}), METADATA),
    ];
    let world = World::new();
    for (id, change, code) in &rows {
        let mut claims = statement(CLIENT_URI);
        change(&mut claims);
        let answer = world.statement(&PKI.client, &claims).await;
        answer.refuses(id, 400, code);
    }
    let mut claims = statement(CLIENT_URI);
    rows.last().unwrap().1(&mut claims);
    let code_flow = world.statement(&PKI.client, &claims).await;
    assert!(code_flow.text("error_description").contains("client_credentials"));
    nothing_registered(&world, "after all rows").await;
    // A member who is refused is remembered, each time, with the rule (REG-14 of the log).
    let events = world.events().await;
    assert_eq!(events.len(), rows.len() + 1);
    assert!(events.iter().all(|event| event.action == "refused" && event.rule.is_some()));
    assert_eq!(events[0].rule.as_deref(), Some("R25"));
}

#[tokio::test]
async fn envelopes_that_are_not_strict_are_refused() {
    let world = World::new();
    let good = sign(&PKI.client, &statement(CLIENT_URI));
    let text = |body: String| post(REGISTER, "application/json", body);
    let deep = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let rows = [
        ("R01 text", text("nonsense".into()), 400, METADATA),
        ("R01 array", text("[]".into()), 400, METADATA),
        ("R01 empty", text(String::new()), 400, METADATA),
        ("R01 trailing", text(format!("{} x", envelope(&good))), 400, METADATA),
        ("R01 BOM", text(format!("\u{feff}{}", envelope(&good))), 400, METADATA),
        ("R01 deep", text(deep), 400, METADATA),
        ("R01 unclosed", text("[".repeat(10_000)), 400, METADATA),
        (
            "R02 form",
            post(REGISTER, "application/x-www-form-urlencoded", "udap=1"),
            415,
            "invalid_request",
        ),
        ("R02 text", post(REGISTER, "text/plain", "{}"), 415, "invalid_request"),
        ("R03", text(" ".repeat(64 * 1024 + 1)), 413, "invalid_request"),
        (
            "R04",
            text(format!(
                r#"{{"software_statement":"{good}","software_statement":"{good}","udap":"1"}}"#
            )),
            400,
            METADATA,
        ),
        ("R05", text(json!({ "software_statement": good }).to_string()), 400, METADATA),
        (
            "R06 2",
            text(json!({ "software_statement": good, "udap": "2" }).to_string()),
            400,
            METADATA,
        ),
        (
            "R06 number",
            text(json!({ "software_statement": good, "udap": 1 }).to_string()),
            400,
            METADATA,
        ),
        (
            "R06 true",
            text(json!({ "software_statement": good, "udap": true }).to_string()),
            400,
            METADATA,
        ),
        ("R07 missing", text(json!({ "udap": "1" }).to_string()), 400, STATEMENT),
        (
            "R07 number",
            text(json!({ "udap": "1", "software_statement": 1 }).to_string()),
            400,
            STATEMENT,
        ),
        ("R07 two segments", text(envelope("a.b").to_string()), 400, STATEMENT),
        ("R07 four segments", text(envelope(&format!("{good}.x")).to_string()), 400, STATEMENT),
        ("R07 JWE", text(envelope("e30.a.b.c.d").to_string()), 400, STATEMENT),
        (
            "REG-02 certifications",
            text(
                json!({ "software_statement": good, "udap": "1", "certifications": "x" })
                    .to_string(),
            ),
            400,
            METADATA,
        ),
    ];
    for (id, request, status, code) in rows {
        world.send(request).await.refuses(id, status, code);
    }
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"] {
        let request = Request::builder().method(method).uri("/default/oauth/register");
        let answer = world.send(request.body(Bytes::new()).unwrap()).await;
        answer.refuses("REG-01", 405, "invalid_request");
        assert_eq!(answer.header("allow"), "POST");
    }
    nothing_registered(&world, "after all rows").await;
    assert!(world.events().await.is_empty(), "junk leaves no trace in the log");
    // The good statement was not burnt by any of it.
    assert_eq!(world.register(&envelope(&good)).await.status, 201);
}

/// SMT-03.
#[tokio::test]
async fn a_registration_is_answered_with_what_was_assigned() {
    let world = World::new();
    let mut claims = statement(CLIENT_URI);
    claims.insert("scope".into(), json!("system/Patient.rs system/Claim.rs system/Encounter.read"));
    claims
        .insert("logo_uri".into(), json!("http://169.254.169.254/logo".replace("http:", "https:")));
    claims.insert("aud".into(), json!(["https://other.test/register", REGISTER]));
    claims.insert("jwks".into(), json!({ "keys": [] }));
    let compact = sign(&PKI.client, &claims);
    let mut body = envelope(&compact);
    body["client_name"] = json!("evil");
    body["redirect_uris"] = json!(["https://evil.test"]);
    body["scope"] = json!("system/*.cruds");
    let answer = world.register(&body).await;
    assert_eq!(answer.status, 201, "REG-22, P01, P13, P18: {answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.text("software_statement"), compact, "REG-22: byte for byte");
    assert_eq!(answer.text("client_name"), "Partner", "REG-03");
    assert_eq!(answer.text("scope"), "system/Encounter.rs system/Patient.rs", "P18");
    assert_eq!(answer.body["grant_types"], json!(["client_credentials"]));
    assert_eq!(answer.text("token_endpoint_auth_method"), "private_key_jwt");
    let names: BTreeSet<&str> =
        answer.body.as_object().unwrap().keys().map(String::as_str).collect();
    for absent in [
        "iss",
        "sub",
        "aud",
        "exp",
        "iat",
        "jti",
        "client_secret",
        "registration_access_token",
        "jwks",
        "redirect_uris",
    ] {
        assert!(!names.contains(absent), "REG-23, REG-25: {absent}");
    }
    assert!(answer.body.as_object().unwrap().values().all(|v| !v.is_null() && *v != json!("")));
    let events = world.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].action, "registered");
    assert_eq!(events[0].actor.client.unwrap().to_string(), answer.text("client_id"));
    assert_eq!(events[0].actor.community, Some(PKI.a.uri()));
}

#[tokio::test]
async fn every_algorithm_that_is_published_registers() {
    let world = World::new();
    for alg in [Alg::Rs256, Alg::Rs384] {
        let claims = Value::Object(statement(RSA_URI));
        let compact = PKI.rsa.identity.sign(alg, &claims).unwrap();
        let answer = world.register(&envelope(&compact)).await;
        assert!([200, 201].contains(&answer.status), "{alg:?} {answer:?}");
    }
    assert_eq!(world.statement(&PKI.client, &statement(CLIENT_URI)).await.status, 201, "ES256");
}

/// REG-26.
#[tokio::test]
async fn a_flood_is_slowed_before_any_signature_is_checked() {
    let limits = Limits { registrations_per_minute: 3, ..Limits::default() };
    let world = World::with(SCOPES, limits);
    for _ in 0..3 {
        assert_eq!(world.register(&json!({})).await.status, 400);
    }
    let answer = world.statement(&PKI.client, &statement(CLIENT_URI)).await;
    answer.refuses("P25", 429, "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), "60");
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(world.statement(&PKI.client, &statement(CLIENT_URI)).await.status, 201);
}

#[test]
fn altered_statements_and_junk_are_refused() {
    use proptest::test_runner::{Config, TestRunner};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = World::new();
    let good = sign(&PKI.client, &statement(CLIENT_URI));
    let mut runner = TestRunner::new(Config::with_cases(128));
    runner
        .run(&(0..good.len(), "[A-Za-z0-9_.-]"), |(at, to)| {
            let altered = format!("{}{to}{}", &good[..at], &good[at + 1..]);
            if altered != good {
                let answer = runtime.block_on(world.register(&envelope(&altered)));
                proptest::prop_assert_eq!(answer.status, 400, "{:?}", answer);
            }
            Ok(())
        })
        .unwrap();
    runner
        .run(&proptest::collection::vec(proptest::num::u8::ANY, 0..300), |body| {
            for (url, media) in
                [(REGISTER, "application/json"), (TOKEN, "application/x-www-form-urlencoded")]
            {
                let answer = runtime.block_on(world.send(post(url, media, body.clone())));
                proptest::prop_assert_eq!(answer.status, 400);
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(runtime.block_on(world.register(&envelope(&good))).status, 201);
}

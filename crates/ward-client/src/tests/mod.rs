//! The client against a scripted server: what is believed, what is sent, and what is not.

mod lists;
mod membership;
mod world;

use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value, json};
use std::time::Duration;
use ward_core::{ClientUri, OrganizationUri, Purpose};
use ward_trust::Jws;

use crate::checks::{self, Verdict};
use crate::{ClientError, Origin, Registered, RegistrationGrant, Standing};
use world::*;

type Change = fn(&mut crate::RegistrationRequest);
type Spoil = Box<dyn Fn() -> Response<Bytes> + Send + Sync>;

fn ok(body: &Value) -> Response<Bytes> {
    respond(200, body)
}

fn claim(name: &'static str, value: Value) -> Spoil {
    Box::new(move || {
        let mut claims = claims();
        claims.insert(name.into(), value.clone());
        ok(&document(&metadata(), &claims))
    })
}

fn without(name: &'static str) -> Spoil {
    Box::new(move || {
        let mut claims = claims();
        claims.remove(name);
        ok(&document(&metadata(), &claims))
    })
}

fn plain(name: &'static str, value: Value) -> Spoil {
    Box::new(move || {
        let mut body = document(&metadata(), &claims());
        body[name] = value.clone();
        ok(&body)
    })
}

fn status(status: u16) -> Spoil {
    Box::new(move || respond(status, &json!({})))
}

#[tokio::test]
async fn metadata_that_fail_a_check_are_refused_and_nothing_else_is_sent() {
    let by = |sign: fn() -> String| plain("signed_metadata", json!(sign()));
    let rows: Vec<(&str, Spoil, Option<&str>)> = vec![
        (
            "M01",
            by(|| {
                let header = json!({ "alg": "RS256", "x5c": PKI.server.x5c() }).to_string();
                let payload = Value::Object(claims()).to_string();
                PKI.elsewhere
                    .sign_raw(PKI.elsewhere.alg(), header.as_bytes(), payload.as_bytes())
                    .unwrap()
            }),
            Some("M01"),
        ),
        ("M02 ES256", by(|| signed(&PKI.server_ec, &claims())), Some("M02")),
        ("M03 slash", claim("iss", json!(format!("{BASE}/"))), Some("M03")),
        ("M03 case", claim("iss", json!(BASE.replace("server", "Server"))), Some("M03")),
        ("M03 port", claim("iss", json!(BASE.replace(".test", ".test:443"))), Some("M03")),
        ("M04", by(|| signed(&PKI.elsewhere, &claims())), Some("M04")),
        ("M05", claim("sub", json!("https://x.test")), Some("M05")),
        (
            "M06",
            Box::new(|| {
                let mut claims = claims();
                claims.insert("iat".into(), json!(START - 7200));
                claims.insert("exp".into(), json!(START - 3600));
                ok(&document(&metadata(), &claims))
            }),
            Some("M06"),
        ),
        ("M07", claim("exp", json!(START + 367 * 86_400)), Some("M07")),
        ("SMD-05 exp", without("exp"), Some("SMD-05")),
        ("SMD-06 jti", without("jti"), Some("SMD-06")),
        ("M08", plain("token_endpoint", json!("https://evil.test/token")), Some("M08")),
        (
            "M08 registration",
            plain("registration_endpoint", json!("https://evil.test/r")),
            Some("M08"),
        ),
        ("M09", without("token_endpoint"), Some("M09")),
        (
            "M09 authorization",
            plain("authorization_endpoint", json!("https://x.test/a")),
            Some("M09"),
        ),
        ("M10 untrusted", by(|| signed(&PKI.foreign, &claims())), Some("M10")),
        ("M11", plain("signed_metadata", Value::Null), Some("M11")),
        ("M12", plain("udap_versions_supported", json!(["2"])), Some("M12")),
        (
            "M13",
            plain("token_endpoint_auth_methods_supported", json!(["client_secret_basic"])),
            Some("M13"),
        ),
        ("M14", status(302), Some("M14")),
        ("M14 permanent", status(308), Some("M14")),
        (
            "M15",
            Box::new(|| {
                let mut claims = claims();
                claims.insert("token_endpoint".into(), json!("http://server.test/oauth/token"));
                let mut metadata = metadata();
                metadata.token_endpoint = "http://server.test/oauth/token".into();
                ok(&document(&metadata, &claims))
            }),
            Some("M15"),
        ),
        ("M17", Box::new(|| Response::new(Bytes::from(vec![b' '; 300 * 1024]))), Some("M17")),
        ("M18 404, CLI-01", status(404), Some("CLI-01")),
        ("M18 204, CLI-03", status(204), Some("CLI-03")),
        ("500", status(500), None),
        (
            "M19",
            Box::new(|| {
                let text = document(&metadata(), &claims()).to_string();
                Response::new(Bytes::from(text.replacen('{', r#"{"token_endpoint":"x","#, 1)))
            }),
            Some("M19"),
        ),
        ("DSC-02 list", Box::new(|| respond(200, &json!([]))), Some("DSC-02")),
        ("DSC-02 empty", Box::new(|| Response::new(Bytes::new())), Some("DSC-02")),
    ];
    for (id, spoil, rule) in rows {
        let world = World::new();
        world.answers(move |_| spoil());
        let error = world.client.discover(BASE).await.err().unwrap_or_else(|| panic!("{id}"));
        assert_eq!(error.rule(), rule, "{id}: {error}");
        assert_eq!(world.seen().len(), 1, "{id}: CLI-06, nothing follows");
        // What `--explain` prints: exactly this check failed, all before it passed, none after it was made.
        let verdicts = checks::verdicts(checks::DISCOVERY, Some(&error));
        let at = verdicts.iter().position(|(_, verdict)| *verdict == Verdict::Failed).unwrap();
        assert!(verdicts[at].0.rules.contains(&rule.unwrap_or(checks::EXCHANGE)), "{id}");
        assert!(verdicts[..at].iter().all(|(_, verdict)| *verdict == Verdict::Passed), "{id}");
        assert!(verdicts[at + 1..].iter().all(|(_, v)| *v == Verdict::NotReached), "{id}");
    }
    // M10: revoked, and no list to be had.
    for revoked in [Some(vec![10]), None] {
        let world = World::new();
        world.answers(|_| ok(&document(&metadata(), &claims())));
        *world.lists.revoked.lock().unwrap() = revoked;
        assert_eq!(world.client.discover(BASE).await.unwrap_err().rule(), Some("M10"));
    }
}

#[tokio::test]
async fn discovery_asks_for_the_community_and_believes_the_signed_part() {
    let world = World::new();
    let found = world.discovered().await;
    assert_eq!((found.token_endpoint.as_str(), found.base_url.as_str()), (TOKEN, BASE));
    world.client.discover(BASE).await.unwrap();
    let seen = world.seen();
    let url = format!("{BASE}/.well-known/udap?community=urn%3Atest%3Acommunity%3Aa%2Fb");
    assert_eq!(seen[0].uri().to_string(), url, "CLI-02");
    for bad in ["http://server.test/fhir", "https://a@server.test/fhir", "https://s.test/?x", "x"] {
        let error = world.client.discover(bad).await.unwrap_err();
        assert_eq!(error.origin(), Origin::Us, "{bad}");
    }
    assert_eq!(world.seen().len(), 1, "nothing was sent");
}

fn payload(compact: &str) -> Map<String, Value> {
    let jws = Jws::parse(compact, &ward_core::Limits::default()).unwrap();
    assert_eq!(jws.leaf().thumbprint(), PKI.client.leaf().thumbprint(), "leaf first");
    jws.claims().clone()
}

#[tokio::test]
async fn a_registration_says_everything_in_its_statement() {
    let world = World::new();
    let server = world.discovered().await;
    world.answers(|_| {
        respond(
            201,
            &json!({ "client_id": "c1", "grant_types": ["client_credentials"], "scope": "system/Patient.rs" }),
        )
    });
    let registered = world.client.register(&server, &request()).await.unwrap();
    assert_eq!((registered.client_id.as_str(), registered.standing), ("c1", Standing::New));
    let again = world.client.register(&server, &request()).await.unwrap();
    assert!(again.warnings.is_empty());
    let seen = world.seen();
    let mut jtis = std::collections::BTreeSet::new();
    for sent in &seen {
        assert_eq!(sent.uri().to_string(), REGISTER);
        assert!(!sent.headers().contains_key("authorization"));
        let body: Map<String, Value> = serde_json::from_slice(sent.body()).unwrap();
        let names: Vec<&str> = body.keys().map(String::as_str).collect();
        assert_eq!(names, ["certifications", "software_statement", "udap"], "CLI-12");
        let claims = payload(body["software_statement"].as_str().unwrap());
        assert_eq!(claims["iss"], CLIENT_URI, "CLI-10");
        assert_eq!((&claims["sub"], claims["aud"].as_str()), (&claims["iss"], Some(REGISTER)));
        let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert!((1..=300).contains(&life), "CLI-10");
        assert_eq!(claims["token_endpoint_auth_method"], "private_key_jwt");
        assert!(jtis.insert(claims["jti"].to_string()), "CLI-10: a new jti each time");
    }
}

fn by_code(redirects: &[&str]) -> RegistrationGrant {
    let redirect_uris = redirects.iter().map(|uri| (*uri).to_owned()).collect();
    RegistrationGrant::AuthorizationCode { redirect_uris, refresh: true }
}

#[tokio::test]
async fn what_a_server_must_refuse_is_not_sent() {
    let world = World::new();
    let server = world.discovered().await;
    let rows: [(&str, Change); 16] = [
        ("REG-06", |r| r.uri = ClientUri::parse("https://other.test").unwrap()),
        ("REG-11", |r| r.client_name.clear()),
        ("REG-11", |r| r.client_name.push('\n')),
        ("REG-15", |r| r.contacts.clear()),
        ("REG-15", |r| r.contacts = vec!["ops@partner.test".into()]),
        ("REG-15", |r| r.contacts = vec!["mailto:".into()]),
        ("REG-16", |r| r.logo_uri = Some("http://partner.test/logo.png".into())),
        ("REG-19", |r| r.scope.clear()),
        ("REG-13", |r| r.grant = by_code(&[])),
        ("REG-13", |r| r.grant = by_code(&["http://partner.test/back"])),
        ("REG-16", |r| r.grant = by_code(&["https://partner.test/back"])),
        // What only the rules of a server of ours know.
        ("P11", |r| r.contacts = vec!["mailto:ops@partner.test".into(); 30]),
        ("P08", |r| {
            r.grant = by_code(&["https://partner.test/back#here"]);
            r.logo_uri = Some("https://partner.test/logo.png".into());
        }),
        ("P02", |r| r.client_name = "x".repeat(300)),
        ("CLI-04", |r| {
            r.grant = by_code(&["https://partner.test/back"]);
            r.logo_uri = Some("https://partner.test/logo.png".into());
        }),
        ("CLI-13", |r| r.scope = "system/*.cruds".into()),
    ];
    for (rule, change) in rows {
        let mut request = request();
        change(&mut request);
        let error = world.client.register(&server, &request).await.unwrap_err();
        assert_eq!(error.rule(), Some(rule), "{error}");
        let verdicts = checks::verdicts(checks::REGISTRATION, Some(&error));
        let failed = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Failed).count();
        assert_eq!(failed, 1, "{rule}");
    }
    world.clock.advance(Duration::from_hours(24));
    let error = world.client.register(&server, &request()).await.unwrap_err();
    assert_eq!(error.rule(), Some("SMD-05"), "CLI-07: the metadata have ended");
    assert!(world.seen().is_empty(), "CLI-11");
}

#[tokio::test]
async fn registration_answers_are_checked() {
    let good = json!({ "client_id": "c", "grant_types": ["client_credentials"], "scope": "system/Patient.rs" });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let rows = [
        (200, with("client_id", json!("")), "M21"),
        (201, with("client_id", json!(7)), "M21"),
        (201, json!([]), "REG-22"),
        (302, json!({}), "M14"),
    ];
    for (status, body, rule) in rows {
        let world = World::new();
        let server = world.discovered().await;
        world.answers(move |_| respond(status, &body));
        let error = world.client.register(&server, &request()).await.unwrap_err();
        assert_eq!(error.rule(), Some(rule), "{error}");
    }
    let world = World::new();
    let server = world.discovered().await;
    let wider = with("scope", json!("system/Patient.rs system/Observation.rs"));
    world.answers(move |_| respond(200, &wider));
    let registered = world.client.register(&server, &request()).await.unwrap();
    assert_eq!((registered.standing, registered.warnings.len()), (Standing::Modified, 1), "M22");
    let mut cancel = request();
    cancel.grant = RegistrationGrant::Cancel;
    let error = world.client.register(&server, &cancel).await.unwrap_err();
    assert_eq!(error.rule(), Some("CLI-17"), "not cancelled though asked");
    world.answers(|_| respond(200, &json!({ "client_id": "c", "grant_types": [] })));
    let registered = world.client.register(&server, &cancel).await.unwrap();
    assert_eq!(registered.standing, Standing::Cancelled, "CLI-17");
}

#[tokio::test]
async fn an_unapproved_certificate_is_not_sent_again() {
    let world = World::new();
    let server = world.discovered().await;
    world.answers(|_| respond(400, &json!({ "error": "unapproved_software_statement" })));
    let error = world.client.register(&server, &request()).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 400, .. }), "{error}");
    assert_eq!(world.client.register(&server, &request()).await, Err(ClientError::Unapproved));
    assert_eq!(world.seen().len(), 1, "CLI-18");
}

fn registered() -> Registered {
    Registered {
        registration_endpoint: REGISTER.into(),
        uri: ClientUri::parse(CLIENT_URI).unwrap(),
        client_id: "client-1".into(),
        scope: "system/Patient.rs".into(),
        standing: Standing::New,
        certifications: Vec::new(),
        warnings: Vec::new(),
    }
}

/// A server that issues `t1`, `t2`, ….
fn issues(world: &World, life: u64) {
    let count = std::sync::atomic::AtomicU64::new(0);
    world.answers(move |_| {
        let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        ok(&json!({ "access_token": format!("t{n}"), "token_type": "bearer", "expires_in": life }))
    });
}

#[tokio::test]
async fn a_token_is_asked_for_by_the_book() {
    let world = World::new();
    let server = world.discovered().await;
    issues(&world, 300);
    let token =
        world.client.token(&server, &registered(), "system/Patient.rs", &b2b()).await.unwrap();
    assert_eq!((token.expose(), token.scope()), ("t1", "system/Patient.rs"));
    let sent = &world.seen()[0];
    assert_eq!(sent.uri().to_string(), TOKEN);
    assert!(!sent.headers().contains_key("authorization"), "CLI-20");
    let body = String::from_utf8(sent.body().to_vec()).unwrap();
    for (name, value) in [
        ("grant_type", "client_credentials"),
        ("udap", "1"),
        ("scope", "system%2FPatient.rs"),
        (
            "client_assertion_type",
            "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer",
        ),
    ] {
        assert!(body.split('&').any(|pair| pair == format!("{name}={value}")), "CLI-21: {body}");
    }
    assert!(!body.contains("client_secret"), "CLI-20");
    let compact = body.split('&').find_map(|pair| pair.strip_prefix("client_assertion=")).unwrap();
    let claims = payload(compact);
    assert_eq!(
        (&claims["iss"], &claims["sub"]),
        (&json!("client-1"), &json!("client-1")),
        "CLI-19"
    );
    assert_eq!(claims["aud"], TOKEN, "CLI-19");
    assert_eq!(claims["extensions"]["hl7-b2b"]["organization_id"], "urn:oid:1.2.3", "CLI-22");
}

#[tokio::test]
async fn tokens_are_kept_by_the_whole_context_until_they_end() {
    let world = World::new();
    let server = world.discovered().await;
    issues(&world, 300);
    let scope = "system/Patient.rs";
    let get = async |b2b: &crate::Hl7B2b, scope: &str| {
        let token = world.client.token(&server, &registered(), scope, b2b).await.unwrap();
        token.expose().to_owned()
    };
    assert_eq!(get(&b2b(), scope).await, "t1");
    assert_eq!(get(&b2b(), scope).await, "t1", "kept");
    let mut other = b2b();
    other.subject_name = Some("Dr A".into());
    assert_eq!(get(&other, scope).await, "t2", "CLI-24: another requestor");
    assert_eq!(get(&b2b(), "system/Observation.rs").await, "t3", "another scope");
    other.organization_id = OrganizationUri::parse("urn:oid:1.2.4").unwrap();
    assert_eq!(get(&other, scope).await, "t4", "CLI-24: another organisation");
    world.clock.advance(Duration::from_secs(289));
    assert_eq!(get(&b2b(), scope).await, "t1");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(get(&b2b(), scope).await, "t5", "nearly over");
}

#[tokio::test]
async fn many_who_want_the_same_token_ask_once() {
    let world = World::new();
    let server = world.discovered().await;
    issues(&world, 300);
    let (r, person) = (registered(), {
        let mut b2b = b2b();
        b2b.subject_name = Some("Dr A".into());
        b2b
    });
    let (a, b) = (b2b(), person);
    let get = |b2b| world.client.token(&server, &r, "s", b2b);
    let got = tokio::join!(get(&a), get(&b), get(&a), get(&b), get(&a));
    for token in [got.0, got.1, got.2, got.3, got.4] {
        token.unwrap();
    }
    assert_eq!(world.seen().len(), 2, "CLI-24: one for each context");
    // A failure is nobody else's: the next asks again.
    world.clock.advance(Duration::from_secs(400));
    world.answers(|_| respond(503, &json!({})));
    let failed = tokio::join!(get(&a), get(&a));
    assert!(failed.0.is_err() && failed.1.is_err());
    assert_eq!(world.seen().len(), 4);
}

#[tokio::test]
async fn a_server_that_was_revoked_since_is_sent_nothing() {
    let world = World::new();
    let server = world.discovered().await;
    issues(&world, 300);
    world.client.token(&server, &registered(), "s", &b2b()).await.unwrap();
    let sent = world.seen().len();
    // Serial 10 is the server's; then no list can be had at all.
    for revoked in [Some(vec![10]), None] {
        *world.lists.revoked.lock().unwrap() = revoked;
        let mut other = b2b();
        other.subject_name = Some("Dr A".into());
        let error = world.client.token(&server, &registered(), "s", &other).await.err().unwrap();
        assert_eq!(error.rule(), Some("M10"), "CLI-09: {error}");
        let error = world.client.register(&server, &request()).await.unwrap_err();
        assert_eq!(error.rule(), Some("M10"), "CLI-09: {error}");
    }
    assert_eq!(world.seen().len(), sent, "CLI-06");
}

#[tokio::test]
async fn a_token_kept_from_an_earlier_run_is_used_for_its_context_only() {
    let world = World::new();
    let server = world.discovered().await;
    issues(&world, 300);
    let (r, scope) = (registered(), "system/Patient.rs");
    let soon = ward_core::Timestamp::from_seconds(START + 300);
    let kept =
        |base: &str| crate::Token::kept(base, ward_core::Secret::new("old".into()), scope, soon);
    let elsewhere = kept("https://other.test/fhir").unwrap();
    let refused = world.client.keep(&server, &r, scope, &b2b(), elsewhere);
    assert_eq!(refused, Err(ClientError::OtherBase), "CLI-24");
    world.client.keep(&server, &r, scope, &b2b(), kept(BASE).unwrap()).unwrap();
    let token = world.client.token(&server, &r, scope, &b2b()).await.unwrap();
    assert_eq!((token.expose(), world.seen().len()), ("old", 0));
    let mut person = b2b();
    person.subject_name = Some("Dr A".into());
    let token = world.client.token(&server, &r, scope, &person).await.unwrap();
    assert_eq!(token.expose(), "t1", "CLI-24: another requestor");

    // The name of a context tells contexts apart, and nothing of what is in them.
    let name =
        |scope: &str, b2b: &crate::Hl7B2b| world.client.context_name(&server, &r, scope, b2b);
    assert_eq!(name(scope, &person), name(scope, &person));
    assert_ne!(name(scope, &person), name(scope, &b2b()));
    assert_ne!(name(scope, &person), name("system/Observation.rs", &person));
    assert!(!name(scope, &person).contains("Dr") && name(scope, &person).len() == 64);
}

#[tokio::test]
async fn objects_beside_hl7_b2b_are_sent_where_they_are_required() {
    let world = World::new();
    world.answers(|_| {
        let mut wanted = metadata();
        wanted.extensions_supported.push("other".into());
        wanted.extensions_required.push("other".into());
        ok(&document(&wanted, &claims()))
    });
    let server = world.client.discover(BASE).await.unwrap();
    issues(&world, 300);
    let error = world.client.token(&server, &registered(), "s", &b2b()).await.err().unwrap();
    assert_eq!(error.rule(), Some("CLI-22"));
    let asserted = |value: i32| crate::Asserted::from(&b2b()).with("other", json!({ "a": value }));
    let get = async |asserted: crate::Asserted| {
        let token = world.client.token(&server, &registered(), "s", asserted).await.unwrap();
        token.expose().to_owned()
    };
    assert_eq!(get(asserted(1)).await, "t1");
    assert_eq!(get(asserted(1)).await, "t1", "kept");
    assert_eq!(get(asserted(2)).await, "t2", "CLI-24: all of it counts");
    assert_eq!(get(asserted(2).with("hl7-b2b", json!({}))).await, "t2", "not this way");
    let body = String::from_utf8(world.seen().pop().unwrap().body().to_vec()).unwrap();
    let compact = body.split('&').find_map(|pair| pair.strip_prefix("client_assertion=")).unwrap();
    let sent = &payload(compact)["extensions"];
    assert_eq!((&sent["other"]["a"], &sent["hl7-b2b"]["version"]), (&json!(2), &json!("1")));
    let shown = format!("{:?}", crate::Asserted::from(&b2b()).with("other", json!("Dr A")));
    assert!(!shown.contains("Dr A"), "what it says of persons is not shown");
}

#[tokio::test]
async fn a_tefca_client_says_the_purpose_of_its_certificate() {
    let world = World::tefca();
    let server = world.discovered().await;
    issues(&world, 300);
    let of = |uri: &str| Registered { uri: ClientUri::parse(uri).unwrap(), ..registered() };
    let mut named = b2b();
    named.organization_name = Some("Clinic 12-3456789".into());
    let at = |code: &str| of(&format!("{CLIENT_URI}#{code}"));
    world.client.token(&server, &at("T-TREAT"), "s", &named).await.unwrap();
    let body = String::from_utf8(world.seen().pop().unwrap().body().to_vec()).unwrap();
    let compact = body.split('&').find_map(|pair| pair.strip_prefix("client_assertion=")).unwrap();
    let sent = payload(compact)["extensions"]["hl7-b2b"]["purpose_of_use"].clone();
    assert_eq!(sent, json!(["urn:oid:2.16.840.1.113883.3.7204.1.5.2.1#T-TREAT"]), "TEF-05");
    let before = world.seen().len();
    let mut patient = named.clone();
    patient.purposes = vec![Purpose::PatientRequest];
    for (registered, b2b, rule) in [
        // TEF-04: another purpose than the certificate's; TEF-10: no number in the name; B31: no tefca_ias.
        (at("T-PYMNT"), &named, "TEF-05"),
        (of(CLIENT_URI), &named, "TEF-05"),
        (at("T-TREAT"), &b2b(), "TEF-10"),
        (at("T-IAS"), &patient, "B31"),
    ] {
        let error = world.client.token(&server, &registered, "s", b2b).await.err().unwrap();
        assert_eq!(error.rule(), Some(rule), "{error}");
    }
    assert_eq!(world.seen().len(), before, "CLI-22");
}

#[tokio::test]
async fn contexts_that_the_community_does_not_allow_are_not_sent() {
    let world = World::new();
    let server = world.discovered().await;
    let mut purpose = b2b();
    purpose.purposes = vec![Purpose::Payment];
    let mut none = b2b();
    none.purposes.clear();
    let mut organization = b2b();
    organization.organization_id = OrganizationUri::parse("ftp://x.test").unwrap();
    for (b2b, rule) in [(purpose, "B2B-09"), (none, "B2B-09"), (organization, "B2B-08")] {
        let error = world.client.token(&server, &registered(), "s", &b2b).await.err().unwrap();
        assert_eq!(error.rule(), Some(rule), "CLI-22");
    }
    let mut cancelled = registered();
    cancelled.standing = Standing::Cancelled;
    let error = world.client.token(&server, &cancelled, "s", &b2b()).await.err().unwrap();
    assert_eq!(error.rule(), Some("CLI-17"));
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn token_answers_are_checked() {
    let rows = [
        (200, json!({ "access_token": "t", "token_type": "mac" }), "M24"),
        (200, json!({ "access_token": "t" }), "M24"),
        (200, json!({ "access_token": "", "token_type": "Bearer" }), "TOK-17"),
        (200, json!({ "access_token": "a\r\nb", "token_type": "Bearer" }), "TOK-17"),
        (200, json!({ "access_token": 1, "token_type": "Bearer" }), "TOK-17"),
        (200, json!("t"), "TOK-17"),
        (307, json!({}), "M14"),
    ];
    for (status, body, rule) in rows {
        let world = World::new();
        let server = world.discovered().await;
        let text = body.to_string();
        world.answers(move |_| respond(status, &body));
        let error = world.client.token(&server, &registered(), "s", &b2b()).await.err().unwrap();
        assert_eq!(error.rule(), Some(rule), "{text}");
    }
}

#[tokio::test]
async fn a_token_stays_at_its_base_and_is_forgotten_when_refused() {
    let world = World::new();
    let server = world.discovered().await;
    issues(&world, 300);
    let token = world.client.token(&server, &registered(), "s", &b2b()).await.unwrap();
    let before = world.seen().len();
    for (base, path) in [
        ("https://evil.test/fhir", "/Patient"),
        ("https://server.test/fhir/", "/Patient"),
        (BASE, ".evil.test/Patient"),
        (BASE, "@evil.test/Patient"),
        (BASE, "/a b"),
    ] {
        assert!(world.client.get(base, path, &token).await.is_err(), "{base} {path}");
    }
    assert_eq!(world.seen().len(), before, "CLI-24: the token did not leave");
    world.answers(|_| respond(401, &json!({})));
    let answer = world.client.get(BASE, "/Patient/1", &token).await.unwrap();
    assert_eq!(answer.status(), 401);
    let sent = world.seen().pop().unwrap();
    assert_eq!(sent.uri().to_string(), format!("{BASE}/Patient/1"));
    assert_eq!(sent.headers()["authorization"], "Bearer t1");
    assert!(sent.headers()["authorization"].is_sensitive());
    issues(&world, 300);
    world.client.token(&server, &registered(), "s", &b2b()).await.unwrap();
    assert_eq!(world.seen().len(), before + 2, "a refused token is not used again");
}

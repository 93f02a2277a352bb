//! `udap.md` §2.1–2.4 over sockets: what a partner reads before it says anything, byte for byte, and that it is
//! true: what is listed is taken, what is required is demanded, and the signature is this server's own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyUsagePurpose;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use ward::house::Turned;
use ward_core::{Clock as _, CommunityUri, Limits, ManualClock, SystemClock};
use ward_issuer::ServedCommunity;
use ward_trust::{Alg, Certificate, Community, Jws, Verified};

use crate::bad_input::{generous, world, world_at};
use crate::harness::{Answer, ISS, SCOPE, World};
use crate::pki::{Key, Leaf, Member};
use crate::rows::{form, jwt};

const SECOND: &str = "https://second.example/trust";

fn place(world: &World) -> String {
    format!("{}/.well-known/udap", world.path(&world.base))
}

async fn get(world: &World, target: &str) -> Answer {
    world.send("GET", target, &[], None).await
}

/// The signed part, verified with the first certificate of its own `x5c`.
fn signed(answer: &Answer) -> Verified {
    let compact = answer.json()["signed_metadata"].as_str().unwrap().to_owned();
    Jws::parse(&compact, &Limits::default()).unwrap().verify(&[Alg::Rs256]).unwrap()
}

fn claim<'a>(signed: &'a Verified, name: &str) -> &'a Value {
    signed.claims().get(name).unwrap_or(&Value::Null)
}

/// Serves these communities from now on, as a reload does.
async fn serve(world: &World, edit: impl FnOnce(&mut Vec<ServedCommunity>)) {
    let config = world.config();
    let mut communities = config.communities;
    edit(&mut communities);
    let tls = world.house.tls.current();
    let turned = Turned { action: "reloaded", operator: None, changed: &[] };
    world.house.knobs.turn(communities, tls, config.ceilings, turned).await.unwrap();
}

/// A certificate of this server.
fn server(world: &mut World, days: (i64, i64)) -> Member {
    let base = world.base.clone();
    world.pki.issue(&Leaf { key: Key::Rsa, days, ..Leaf::client(&base) })
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

fn is_subset(document: &Value, kind: &str) -> bool {
    let list = |what: &str| texts(&document[format!("udap_{kind}_{what}")]);
    list("required").iter().all(|one| list("supported").contains(one))
}

/// DSC-01, DSC-02, DSC-05, DSC-06, DSC-07, DSC-08, DSC-09, DSC-10, DSC-12, DSC-13, DSC-14, DSC-16, DSC-17, DSC-18,
/// DSC-20, DSC-22, DSC-23, DSC-24: every member, and nothing that is not said.
#[tokio::test(flavor = "multi_thread")]
async fn every_member_of_the_document() {
    let (world, _upstream, ..) = world(generous()).await;
    let answer = get(&world, &place(&world)).await;
    assert_eq!(answer.status, 200, "DSC-01");
    assert_eq!(answer.header("content-type"), Some("application/json"), "DSC-02");
    let bogus = world.get(&place(&world), "bogus").await;
    assert_eq!((bogus.status, &bogus.body), (200, &answer.body), "DSC-01: whoever asks");
    // DSC-02: a strict reader takes it: no name twice.
    let document = ward_core::json::parse(&answer.body, 8).expect("DSC-02");
    assert!(document.is_object() && !has_null(&document), "DSC-02");
    for (id, name, want) in [
        ("DSC-05", "udap_versions_supported", json!(["1"])),
        ("DSC-14", "grant_types_supported", json!(["client_credentials"])),
        ("DSC-17", "token_endpoint", json!(world.token)),
        ("DSC-18, DSC-23", "token_endpoint_auth_methods_supported", json!(["private_key_jwt"])),
        ("DSC-20", "registration_endpoint", json!(world.register)),
    ] {
        assert_eq!(document[name], want, "{id}: {name}");
    }
    assert!(world.token.starts_with("https://") && world.register.starts_with("https://"));
    let profiles = texts(&document["udap_profiles_supported"]);
    for (id, name) in [("DSC-06", "udap_dcr"), ("DSC-06", "udap_authn"), ("DSC-07", "udap_authz")] {
        assert!(profiles.contains(&name), "{id}: {name}");
    }
    assert!(!profiles.contains(&"udap_to"), "DSC-08: Tiered OAuth is not served");
    assert_eq!(document.get("authorization_endpoint"), None, "DSC-16: no code flow");
    assert!(texts(&document["udap_authorization_extensions_supported"]).contains(&"hl7-b2b"));
    assert!(is_subset(&document, "authorization_extensions"), "DSC-10");
    assert!(is_subset(&document, "certifications"), "DSC-13");
    // DSC-12, DSC-24: what is not supported is an empty list, and not left out.
    assert_eq!(document["udap_certifications_supported"], json!([]), "DSC-12, DSC-24");
    // DSC-23: nothing of other flows, and of no other algorithm.
    let known = ["RS256", "RS384", "ES256", "ES384"];
    for name in [
        "token_endpoint_auth_signing_alg_values_supported",
        "registration_endpoint_jwt_signing_alg_values_supported",
    ] {
        let listed = texts(&document[name]);
        assert!(listed.contains(&"RS256"), "DSC-19, DSC-21");
        assert!(listed.iter().all(|alg| known.contains(alg)), "DSC-23: {listed:?}");
    }
    assert_eq!(
        document["signed_metadata"].as_str().map(|jws| jws.split('.').count()),
        Some(3),
        "DSC-22"
    );
}

/// SMD-01, SMD-02, SMD-03, SMD-04, SMD-05, SMD-07, SMD-08, SMD-09: the signed part, its chain, and that both parts
/// say the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_signed_part_proves_itself() {
    let (world, _upstream, ..) = world(generous()).await;
    let answer = get(&world, &place(&world)).await;
    let document = answer.json();
    let signed = signed(&answer);
    assert_eq!(signed.header()["alg"], "RS256", "SMD-01");
    // SMD-02, SMD-09: the leaf and everything below the root, each base64 (not base64url) of DER.
    let x5c: Vec<Vec<u8>> = texts(&signed.header()["x5c"])
        .into_iter()
        .map(|entry| STANDARD.decode(entry).expect("SMD-02"))
        .collect();
    let identity = &world.config().communities[0].identity;
    let chain: Vec<Vec<u8>> = identity.chain().iter().map(|one| one.der().to_vec()).collect();
    assert_eq!(x5c, chain, "SMD-02: leaf first");
    let chain: Vec<Certificate> =
        x5c.iter().map(|der| Certificate::from_der(der).unwrap()).collect();
    let root = Certificate::from_der(&world.pki.root_der()).unwrap();
    for (below, above) in chain.iter().zip(chain.iter().skip(1).chain([&root])) {
        assert_eq!(below.issuer_der(), above.subject_der(), "SMD-09: up to the root");
    }
    assert!(chain.iter().all(|one| one.thumbprint() != root.thumbprint()), "SMD-09: and not it");
    assert_eq!(claim(&signed, "iss"), &json!(world.base), "SMD-03");
    assert!(chain[0].san_uris().contains(&world.base), "SMD-03: and in the certificate");
    assert_eq!(claim(&signed, "sub"), claim(&signed, "iss"), "SMD-04");
    let (iat, exp) = (claim(&signed, "iat").as_i64(), claim(&signed, "exp").as_i64());
    let life = exp.expect("SMD-05") - iat.expect("SMD-05");
    assert!(life > 0 && life <= 365 * 86_400, "SMD-05: {life}");
    for name in ["token_endpoint", "registration_endpoint", "authorization_endpoint"] {
        let absent = name == "authorization_endpoint";
        assert_eq!(signed.claims().contains_key(name), !absent, "SMD-07: {name}");
        assert_eq!(signed.claims().get(name), document.get(name), "SMD-08: {name}");
    }
}

/// SMD-06, SMD-10: the signed part is kept, made anew under another `jti` long before it ends, never served when it
/// has ended, never longer than its certificate, and a renewed certificate signs at once.
/// JWT-06.
#[tokio::test(flavor = "multi_thread")]
async fn the_signed_part_is_renewed_in_time() {
    let clock = Arc::new(ManualClock::at_unix_seconds(SystemClock.now().as_seconds()));
    let (mut world, _upstream, ..) = world_at(generous(), clock.clone()).await;
    let place = place(&world);
    let first = get(&world, &place).await;
    assert_eq!(get(&world, &place).await.body, first.body, "SMD-06: the copy keeps its jti");
    let mut ids = BTreeSet::new();
    for day in 0..25 {
        let answer = get(&world, &place).await;
        assert_eq!(answer.status, 200, "day {day}");
        let signed = signed(&answer);
        let now = clock.now().as_seconds();
        let exp = claim(&signed, "exp").as_i64().unwrap();
        assert!(exp > now, "SMD-10: not ended, day {day}");
        assert!(exp <= signed.leaf().not_after().as_seconds(), "SMD-10: within the certificate");
        assert!(exp - now <= 31 * 86_400, "SMD-10: days, not a year");
        ids.insert(claim(&signed, "jti").as_str().unwrap().to_owned());
        clock.advance(Duration::from_hours(24));
    }
    assert!(ids.len() >= 3, "SMD-06: a new one has a new jti: {ids:?}");
    // A certificate that ends sooner than the usual life; it signs from the next request on.
    let short = server(&mut world, (-1, 27));
    serve(&world, |all| all[0].identity = short.identity.clone()).await;
    let renewed = signed(&get(&world, &place).await);
    assert_eq!(renewed.leaf().thumbprint(), short.identity.leaf().thumbprint(), "SMD-10");
    let end = short.identity.leaf().not_after().as_seconds();
    assert_eq!(claim(&renewed, "exp").as_i64(), Some(end), "SMD-10: with the certificate");
    // When it has ended nothing is served rather than something that is over.
    clock.advance(Duration::from_hours(3 * 24));
    let answer = get(&world, &place).await;
    assert_eq!((answer.status, answer.json().get("signed_metadata")), (503, None), "SMD-10");
}

/// COM-01, COM-02, COM-04, COM-05: each community has the signature that was made for it; of an unknown one nothing
/// is said.
#[tokio::test(flavor = "multi_thread")]
async fn each_community_has_its_own_signature() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let second = world.pki.another_root("Second community", |_| {});
    let anchor = Certificate::from_der(&second.der).unwrap();
    let own = server(&mut world, (-1, 30)).identity;
    let (first, other) = (world.config().communities[0].identity.clone(), own.clone());
    serve(&world, |all| {
        let community = Community::new(CommunityUri::parse(SECOND).unwrap(), vec![anchor]);
        all.push(ServedCommunity::new(community, own));
    })
    .await;
    let place = place(&world);
    let signer = |answer: &Answer| signed(answer).leaf().thumbprint();
    let default = get(&world, &place).await;
    assert_eq!(signer(&default), first.leaf().thumbprint());
    for (id, query, want) in [
        ("COM-01", "community=https://community.example/trust", &first),
        ("COM-02", "community=https://second.example/trust", &other),
        ("COM-05", "community=https%3A%2F%2Fsecond.example%2Ftrust", &other),
        ("COM-05", "other=1&community=https%3a//second.example/trust", &other),
    ] {
        let answer = get(&world, &format!("{place}?{query}")).await;
        assert_eq!(answer.status, 200, "{id}: {query}");
        assert_eq!(signer(&answer), want.leaf().thumbprint(), "{id}: {query}");
        assert_eq!(claim(&signed(&answer), "iss"), &json!(world.base), "{id}: {query}");
    }
    for unknown in [
        "https://third.example/trust",
        "https://SECOND.example/trust",
        "https://second.example",
        "https://second.example/trust/",
    ] {
        let answer = get(&world, &format!("{place}?community={unknown}")).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0), "COM-04, COM-05: {unknown}");
    }
    for bad in [format!("community={SECOND}&community={SECOND}"), "community=%zz".to_owned()] {
        let answer = get(&world, &format!("{place}?{bad}")).await;
        let want = (400, Some("invalid_request".to_owned()));
        assert_eq!((answer.status, answer.error()), want, "COM-05: {bad}");
    }
}

/// DSC-03, DSC-04: another base has no metadata, and never those of this one.
#[tokio::test(flavor = "multi_thread")]
async fn another_base_has_no_metadata() {
    let (world, _upstream, ..) = world(generous()).await;
    for path in [
        "/.well-known/udap",
        "/fhir/.well-known/udap",
        "/other/fhir/.well-known/udap",
        "/default/.well-known/udap",
        "/default/oauth/.well-known/udap",
        "/default/fhir/.well-known/udap/",
        "/default/fhir/.well-known/UDAP",
        "/DEFAULT/fhir/.well-known/udap",
    ] {
        let answer = get(&world, path).await;
        assert_eq!(answer.status, 404, "DSC-03, DSC-04: {path}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("signed_metadata"), "{path}");
    }
}

/// DSC-27: who asks under another name is told the same addresses, or nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_public_address_is_the_configured_one() {
    let (world, _upstream, ..) = world(generous()).await;
    let place = place(&world);
    let honest = get(&world, &place).await;
    let rows: [&[(&str, &str)]; 6] = [
        &[("host", "evil.example")],
        &[("x-forwarded-host", "evil.example"), ("x-forwarded-proto", "http")],
        &[("forwarded", "host=evil.example;proto=http")],
        &[("x-original-host", "evil.example"), ("x-forwarded-port", "1")],
        &[("x-forwarded-prefix", "/evil.example")],
        &[("x-original-url", "https://evil.example/"), ("x-rewrite-url", "/evil.example")],
    ];
    for headers in rows {
        let answer = world.send("GET", &place, headers, None).await;
        assert_eq!((answer.status, &answer.body), (200, &honest.body), "DSC-27: {headers:?}");
    }
    let absolute = format!("https://evil.example{place}");
    let answer = world.send("GET", &absolute, &[("host", "evil.example")], None).await;
    let same = answer.status == 200 && answer.body == honest.body;
    assert!(same || (400..500).contains(&answer.status), "DSC-27: {}", answer.status);
    assert!(!String::from_utf8_lossy(&answer.body).contains("evil.example"), "DSC-27");
}

/// DSC-28: validators, a short life in caches, any origin, and reading only.
#[tokio::test(flavor = "multi_thread")]
async fn caches_browsers_and_methods() {
    let (world, _upstream, ..) = world(generous()).await;
    let place = place(&world);
    let whole = get(&world, &place).await;
    let etag = whole.header("etag").expect("DSC-28").to_owned();
    assert_eq!(whole.header("access-control-allow-origin"), Some("*"), "DSC-28");
    let cached = whole.header("cache-control").unwrap();
    let age: u64 = cached.split("max-age=").nth(1).unwrap().parse().unwrap();
    assert!((1..=3600).contains(&age), "DSC-28: {cached}");
    let head = world.send("HEAD", &place, &[], None).await;
    assert_eq!((head.status, head.body.len()), (200, 0), "DSC-28");
    assert_eq!(head.header("etag"), Some(etag.as_str()), "DSC-28");
    let length = whole.body.len().to_string();
    assert_eq!(head.header("content-length"), Some(length.as_str()), "DSC-28");
    let known = world.send("GET", &place, &[("if-none-match", &etag)], None).await;
    assert_eq!((known.status, known.body.len()), (304, 0), "DSC-28");
    let other = world.send("GET", &place, &[("if-none-match", "\"other\"")], None).await;
    assert_eq!((other.status, &other.body), (200, &whole.body), "DSC-28");
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let answer = world.send(method, &place, &[], Some(b"")).await;
        assert_eq!(answer.status, 405, "DSC-28: {method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"), "DSC-28: {method}");
    }
}

/// DSC-29: in clear text nothing is answered that could be taken for metadata.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_in_clear_text() {
    let (world, _upstream, ..) = world(generous()).await;
    let mut socket = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
    let request = format!("GET {} HTTP/1.1\r\nhost: localhost\r\n\r\n", place(&world));
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_mins(2), socket.read_to_end(&mut answer)).await;
    let _ = read.expect("DSC-29: the connection ends");
    let text = String::from_utf8_lossy(&answer);
    assert!(!text.contains("200 OK") && !text.contains("signed_metadata"), "DSC-29: {text}");
}

async fn register(world: &World, statement: &str) -> Answer {
    let body = json!({ "udap": "1", "software_statement": statement }).to_string();
    world.post(&world.register, "application/json", &body, &[]).await
}

async fn ask(world: &World, assertion: &str, scope: &str) -> Answer {
    let mut fields = World::token_form(assertion);
    for (name, value) in &mut fields {
        if name == "scope" {
            scope.clone_into(value);
        }
    }
    let body = form(&fields);
    world.post(&world.token, "application/x-www-form-urlencoded", &body, &[]).await
}

/// DSC-19, DSC-21, JWT-02: every algorithm that is listed is taken at both endpoints, and RS256, RS384, ES256 and
/// ES384 are listed (SMT-02: what SMART and UDAP ask for).
#[tokio::test(flavor = "multi_thread")]
async fn every_listed_algorithm_is_taken() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let document = get(&world, &place(&world)).await.json();
    let listed = |name: &str| -> BTreeSet<String> {
        texts(&document[name]).into_iter().map(ToOwned::to_owned).collect()
    };
    let at_token = listed("token_endpoint_auth_signing_alg_values_supported");
    let at_register = listed("registration_endpoint_jwt_signing_alg_values_supported");
    assert_eq!(at_token, at_register);
    let mut taken = BTreeSet::new();
    for (alg, key) in [
        (Alg::Rs256, Key::Rsa),
        (Alg::Rs384, Key::Rsa),
        (Alg::Es256, Key::P256),
        (Alg::Es384, Key::P384),
    ] {
        let uri = format!("https://partner.example/{}", alg.name());
        let member = world.pki.issue(&Leaf { key, ..Leaf::client(&uri) });
        let statement = member.identity.sign(alg, &world.statement_claims(&uri)).unwrap();
        let answer = register(&world, &statement).await;
        assert_eq!(answer.status, 201, "DSC-21: {}", alg.name());
        let client = answer.json()["client_id"].as_str().unwrap().to_owned();
        let mut claims = world.assertion_claims(&client);
        claims["extensions"]["hl7-b2b"]["organization_id"] = json!("https://partner.example/own");
        let assertion = member.identity.sign(alg, &claims).unwrap();
        assert_eq!(ask(&world, &assertion, SCOPE).await.status, 200, "DSC-19: {}", alg.name());
        taken.insert(alg.name().to_owned());
    }
    assert_eq!(taken, at_token, "JWT-02: nothing is listed that is not taken");
}

/// DSC-11, B2B-01: the object is listed as required, and a token request without it is refused for that.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_required_is_listed_and_demanded() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let document = get(&world, &place(&world)).await.json();
    assert_eq!(document["udap_authorization_extensions_required"], json!(["hl7-b2b"]), "DSC-11");
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    let words = world.words(ISS, &client);
    let mut claims = world.assertion_claims(&client);
    claims["extensions"] = json!({ "other": { "version": "1" } });
    let without = jwt(&World::good_row(), &words, claims, &member, &member);
    let refused = ask(&world, &without, SCOPE).await;
    assert_eq!(
        (refused.status, refused.error().as_deref()),
        (400, Some("invalid_grant")),
        "DSC-11"
    );
    let claims = world.assertion_claims(&client);
    let with = jwt(&World::good_row(), &words, claims, &member, &member);
    assert_eq!(ask(&world, &with, SCOPE).await.status, 200, "B2B-01");
}

/// DSC-15, TOK-19: whatever is granted, at registration or in a token, is in the list of scopes, wildcards included.
#[tokio::test(flavor = "multi_thread")]
async fn every_scope_that_is_granted_is_listed() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let document = get(&world, &place(&world)).await.json();
    let listed = texts(&document["scopes_supported"]);
    assert!(listed.contains(&"system/*.rs"), "DSC-15: wildcards");
    let count = listed.iter().collect::<BTreeSet<_>>().len();
    assert_eq!(count, listed.len(), "DSC-15: none twice");
    let member = world
        .pki
        .issue(&Leaf { usages: vec![KeyUsagePurpose::DigitalSignature], ..Leaf::client(ISS) });
    let words = world.words(ISS, "");
    for asked in [
        "system/*.rs",
        "system/*.read",
        "system/Patient.r system/Observation.s",
        "system/Patient.read system/Practitioner.rs nonsense",
        "system/Immunization.rs system/Claim.cruds",
    ] {
        let mut claims = world.statement_claims(ISS);
        claims["scope"] = json!(asked);
        let statement = jwt(&World::good_row(), &words, claims, &member, &member);
        let registered = register(&world, &statement).await.json();
        let client = registered["client_id"].as_str().unwrap_or_else(|| panic!("{registered}"));
        let words = world.words(ISS, client);
        let claims = world.assertion_claims(client);
        let assertion = jwt(&World::good_row(), &words, claims, &member, &member);
        let issued = ask(&world, &assertion, asked).await.json();
        for answer in [&registered, &issued] {
            let granted = answer["scope"].as_str().unwrap_or_else(|| panic!("TOK-19: {answer}"));
            for scope in granted.split(' ') {
                assert!(listed.contains(&scope), "DSC-15: {scope} of {asked}");
            }
        }
    }
}

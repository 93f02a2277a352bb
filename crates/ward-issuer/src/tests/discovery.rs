//! `udap.md` §2.1–2.3: the document, its signed part, communities, and configurations that are refused.

use ward_trust::metadata;

use super::*;
use crate::discovery::ALGS;

type Spoil = fn(&mut IssuerConfig);

const PATH: &str = "/default/fhir/.well-known/udap";

async fn get(world: &World, target: &str) -> Answer {
    world.send(Request::get(target).body(Bytes::new()).unwrap()).await
}

fn signed(answer: &Answer) -> Value {
    use base64::Engine as _;
    let compact = answer.text("signed_metadata");
    let payload = compact.split('.').nth(1).unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[tokio::test]
async fn the_document_says_what_the_specification_wants() {
    let world = World::new();
    let mut request = Request::get(PATH).body(Bytes::new()).unwrap();
    request.headers_mut().insert("authorization", "Bearer bogus".parse().unwrap());
    request.headers_mut().insert("host", "evil.test".parse().unwrap());
    let answer = world.send(request).await;
    assert_eq!(answer.status, 200, "DSC-01");
    assert_eq!(answer.header("content-type"), "application/json", "DSC-02");
    assert_eq!(answer.header("access-control-allow-origin"), "*", "DSC-28");
    assert_eq!(answer.header("cache-control"), "public, max-age=300", "DSC-28");
    let body = &answer.body;
    for (id, name, want) in [
        ("DSC-05", "udap_versions_supported", json!(["1"])),
        ("DSC-09", "udap_authorization_extensions_supported", json!(["hl7-b2b"])),
        ("DSC-11", "udap_authorization_extensions_required", json!(["hl7-b2b"])),
        ("DSC-12", "udap_certifications_supported", json!([])),
        ("DSC-14", "grant_types_supported", json!(["client_credentials"])),
        ("DSC-17, DSC-27", "token_endpoint", json!(TOKEN)),
        ("DSC-18", "token_endpoint_auth_methods_supported", json!(["private_key_jwt"])),
        ("DSC-20, DSC-27", "registration_endpoint", json!(REGISTER)),
    ] {
        assert_eq!(body[name], want, "{id}");
    }
    let has = |name: &str, value: &str| body[name].as_array().unwrap().contains(&json!(value));
    for profile in ["udap_dcr", "udap_authn", "udap_authz"] {
        assert!(has("udap_profiles_supported", profile), "DSC-06, DSC-07");
    }
    assert!(!has("udap_profiles_supported", "udap_to"), "DSC-08");
    for name in [
        "token_endpoint_auth_signing_alg_values_supported",
        "registration_endpoint_jwt_signing_alg_values_supported",
    ] {
        assert!(has(name, "RS256"), "DSC-19, DSC-21");
        assert_eq!(body[name].as_array().unwrap().len(), ALGS.len());
    }
    assert!(body.get("authorization_endpoint").is_none(), "DSC-16");
    assert!(body.as_object().unwrap().values().all(|v| !v.is_null()), "DSC-02");
    for granted in ["system/Patient.rs", "system/Patient.r", "system/Encounter.s"] {
        assert!(has("scopes_supported", granted), "DSC-15: {granted}");
    }
    let claims = signed(&answer);
    assert_eq!(claims["iss"], SERVER_URI, "SMD-03");
    assert_eq!(claims["sub"], SERVER_URI, "SMD-04");
    assert_eq!(claims["token_endpoint"], TOKEN, "SMD-07, SMD-08");
    assert_eq!(claims["registration_endpoint"], REGISTER, "SMD-07, SMD-08");
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!((1..=7 * 86_400).contains(&life), "SMD-10");
}

#[tokio::test]
async fn our_own_client_half_believes_it() {
    let world = World::new();
    let answer = get(&world, PATH).await;
    let now = ward_core::Timestamp::from_seconds(START);
    let found = metadata::validate(&answer.octets, SERVER_URI, now, &world.limits).unwrap();
    let lists = PKI.a.lists(&[], 86_400);
    let found = found.prove(&PKI.a.community(), &lists, now).unwrap();
    assert_eq!(found.token_endpoint, TOKEN);
}

#[tokio::test]
async fn communities_have_their_own_signature() {
    let world = World::new();
    let of =
        |name: &str| format!("{PATH}?community={}", encode(&format!("urn:test:community:{name}")));
    let signer = |answer: &Answer| {
        let compact = answer.text("signed_metadata");
        ward_trust::Jws::parse(&compact, &world.limits).unwrap().leaf().thumbprint()
    };
    let (a, b) = (get(&world, &of("a")).await, get(&world, &of("b")).await);
    assert_eq!(signer(&a), PKI.server_a.identity.leaf().thumbprint(), "COM-02");
    assert_eq!(signer(&b), PKI.server_b.identity.leaf().thumbprint(), "COM-02");
    let default = get(&world, PATH).await;
    assert_eq!(default.octets, a.octets, "the first community answers by default");
    let literal = get(&world, &format!("{PATH}?x=1&community=urn:test:community:a")).await;
    assert_eq!(literal.octets, a.octets, "COM-05");
    for unknown in [of("c"), of("A"), format!("{PATH}?community=urn:test:community:a/")] {
        let answer = get(&world, &unknown).await;
        assert_eq!((answer.status, answer.octets.len()), (204, 0), "COM-04: {unknown}");
    }
    for bad in [format!("{}&community=x", of("a")), format!("{PATH}?community=%zz")] {
        get(&world, &bad).await.refuses("COM-05", 400, "invalid_request");
    }
}

#[tokio::test]
async fn methods_validators_and_other_paths() {
    let world = World::new();
    let whole = get(&world, PATH).await;
    let head = world.send(Request::head(PATH).body(Bytes::new()).unwrap()).await;
    assert_eq!((head.status, head.octets.len()), (200, 0), "DSC-28");
    assert_eq!(head.header("etag"), whole.header("etag"));
    assert_eq!(head.header("content-length"), whole.octets.len().to_string());
    for tag in
        [whole.header("etag").to_owned(), format!("\"x\", W/{}", whole.header("etag")), "*".into()]
    {
        let request = Request::get(PATH).header("if-none-match", &tag).body(Bytes::new()).unwrap();
        let answer = world.send(request).await;
        assert_eq!((answer.status, answer.octets.len()), (304, 0), "{tag}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request = Request::builder().method(method).uri(PATH).body(Bytes::new()).unwrap();
        let answer = world.send(request).await;
        answer.refuses("DSC-28", 405, "invalid_request");
        assert_eq!(answer.header("allow"), "GET, HEAD");
    }
    for other in
        ["/other/fhir/.well-known/udap", "/default/fhir/.well-known/udap/", "/", "/default/oauth"]
    {
        get(&world, other).await.refuses("DSC-04", 404, "invalid_request");
    }
}

#[tokio::test]
async fn the_signed_part_is_kept_and_made_anew_before_it_ends() {
    let world = World::new();
    let first = get(&world, PATH).await;
    world.clock.advance(Duration::from_hours(3 * 24));
    assert_eq!(get(&world, PATH).await.octets, first.octets, "SMD-06: a cached copy keeps its jti");
    world.clock.advance(Duration::from_hours(24));
    let second = get(&world, PATH).await;
    assert_ne!(signed(&second)["jti"], signed(&first)["jti"], "SMD-06");
    let exp = |answer: &Answer| signed(answer)["exp"].as_i64().unwrap();
    assert!(exp(&second) > exp(&first), "SMD-10");
    // Years later the certificate itself has ended: nothing that has ended is served.
    world.clock.advance(Duration::from_hours(400 * 24));
    get(&world, PATH).await.refuses("SMD-10", 503, "temporarily_unavailable");
    // A renewed certificate is served without a restart.
    let world = World::new();
    let before = get(&world, PATH).await;
    let renewed =
        PKI.a.issue(&pki::Leaf { uris: &[SERVER_URI], rsa: true, ..pki::Leaf::default() });
    let served = ServedCommunity::new(PKI.a.community(), renewed.identity);
    world.issuer.serve(vec![served]).unwrap();
    assert_ne!(get(&world, PATH).await.octets, before.octets, "SMD-10");
    let gone = format!("{PATH}?community=urn:test:community:b");
    assert_eq!(get(&world, &gone).await.status, 204, "PKI-16");
}

#[tokio::test]
async fn configurations_that_cannot_be_served_are_refused() {
    let world = World::new();
    let rows: Vec<(&str, Spoil, &str)> = vec![
        ("SMD-11 SAN", |c| c.fhir_base.push('x'), "SAN URI"),
        (
            "SMD-11 not RSA",
            |c| {
                let ec = pki::Leaf { uris: &[SERVER_URI], ..pki::Leaf::default() };
                c.communities[0].identity = PKI.a.issue(&ec).identity;
            },
            "RSA",
        ),
        (
            "COM-07 twice",
            |c| {
                let first = c.communities[0].clone();
                c.communities.push(first);
            },
            "twice",
        ),
        (
            "COM-07 selectors",
            |c| {
                let anchors = c.communities[0].community.anchors.clone();
                c.communities[1].community.anchors = anchors;
            },
            "share an anchor",
        ),
        ("no anchor", |c| c.communities[0].community.anchors.clear(), "anchor"),
        (
            "X27 a member's certificate as anchor",
            |c| {
                let member = PKI.a.issue(&pki::Leaf::default()).identity.leaf().clone();
                c.communities[0].community.anchors.push(member);
            },
            "of no use",
        ),
        (
            "COM-07 a prefix that other hosts begin with too",
            |c| c.communities[0].community.uri_prefixes.push("https://clinic.example".into()),
            "must end in",
        ),
        (
            "COM-07 policies alone: one certificate can carry both",
            |c| {
                let anchors = c.communities[0].community.anchors.clone();
                c.communities[1].community.anchors = anchors;
                c.communities[0].community.policies = vec!["1.2.3".into()];
                c.communities[1].community.policies = vec!["1.2.4".into()];
            },
            "share an anchor",
        ),
        ("no community", |c| c.communities.clear(), "community"),
        ("no scope", |c| c.scopes_supported = ScopeSet::parse("").0, "scope"),
        ("DSC-29 http", |c| c.oauth_base = OAUTH.replace("https", "http"), "https"),
        ("slash", |c| c.oauth_base.push('/'), "slash"),
        ("query", |c| c.oauth_base.push_str("?a"), "query"),
    ];
    for (id, spoil, why) in rows {
        let mut config = config(SCOPES, &world.limits);
        spoil(&mut config);
        let error = Issuer::new(config, world.issuer.deps.clone()).err().expect(id).to_string();
        assert!(error.contains(why), "{id}: {error}");
    }
    // Anchors may be shared if something else tells the members apart (amendments §8.5).
    let mut config = config(SCOPES, &world.limits);
    let shared = config.communities[0].community.anchors.clone();
    config.communities[1].community.anchors = shared;
    config.communities[0].community.uri_prefixes = vec!["https://a.example/".into()];
    config.communities[1].community.uri_prefixes = vec!["https://b.example/".into()];
    assert!(Issuer::new(config, world.issuer.deps.clone()).is_ok());
}

#[tokio::test]
async fn a_wildcard_is_listed_with_everything_that_it_can_become() {
    let limits = Limits { registrations_per_minute: 100, ..Limits::default() };
    let world = World::with("system/*.rs", limits);
    let listed = get(&world, PATH).await;
    let listed = listed.body["scopes_supported"].as_array().unwrap();
    for asked in
        ["system/*.rs", "system/*.read", "system/Patient.rs system/Observation.r", "system/*.s"]
    {
        let client = world.registered(&PKI.client, CLIENT_URI, asked).await;
        let answer = world.asserted(&PKI.client, &assertion(&client), asked).await;
        assert_eq!(answer.status, 200, "{asked}: {answer:?}");
        for granted in answer.text("scope").split(' ') {
            assert!(listed.contains(&json!(granted)), "DSC-15: {granted}");
        }
    }
    let mut claims = statement(CLIENT_URI);
    claims.insert("scope".into(), json!("system/*.cruds"));
    world.statement(&PKI.client, &claims).await.refuses("P16", 400, "invalid_client_metadata");
}

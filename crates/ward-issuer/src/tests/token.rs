//! `udap.md` §7.6 and §7.7: each row with its id, the exact status and code.

use rcgen::KeyUsagePurpose;

use super::pki::{Leaf, OTHER_URI};
use super::*;

const SCOPE: &str = "system/Patient.rs";

const C: &str = "invalid_client";
const G: &str = "invalid_grant";

type Claims = Map<String, Value>;
type Pairs = Vec<(String, String)>;
type Change = Box<dyn Fn(&mut Claims)>;

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

fn b2b(name: &'static str, value: Value) -> Change {
    Box::new(move |claims| {
        claims["extensions"]["hl7-b2b"][name] = value.clone();
    })
}

fn b2b_without(name: &'static str) -> Change {
    Box::new(move |claims| {
        claims["extensions"]["hl7-b2b"].as_object_mut().unwrap().remove(name);
    })
}

async fn no_grant(world: &World, client: &str) {
    let tenant = TenantId::default_tenant();
    let client = ward_core::ClientId::parse(client).unwrap();
    let grants = &world.issuer.deps.repositories.grants;
    assert!(grants.live_for_client(&tenant, client).await.unwrap().is_empty());
}

#[tokio::test]
async fn assertions_with_bad_claims_are_refused() {
    let span = |iat: i64, exp: i64| -> Change {
        Box::new(move |claims| {
            claims.insert("iat".into(), json!(START + iat));
            claims.insert("exp".into(), json!(START + exp));
        })
    };
    let both = |id: Value| -> Change {
        Box::new(move |claims| {
            claims.insert("iss".into(), id.clone());
            claims.insert("sub".into(), id.clone());
        })
    };
    let unknown = "0192f0c1-2345-7abc-8def-0123456789ab";
    let rows: Vec<(&str, Change, &str)> = vec![
        ("T11 differ", set("iss", json!(unknown)), C),
        ("T11 sub missing", without("sub"), C),
        ("T11 unknown", both(json!(unknown)), C),
        (
            "T11 upper case",
            Box::new(|c| {
                let id = c["iss"].as_str().unwrap().to_uppercase();
                c.insert("iss".into(), json!(id));
                c.insert("sub".into(), json!(id));
            }),
            C,
        ),
        ("T12", both(json!(CLIENT_URI)), C),
        ("T33", both(json!("unregistered")), C),
        ("T16 issuer", set("aud", json!(OAUTH)), C),
        ("T16 FHIR base", set("aud", json!(SERVER_URI)), C),
        ("T16 registration", set("aud", json!(REGISTER)), C),
        ("T16 http", set("aud", json!(TOKEN.replace("https", "http"))), C),
        ("T16 other tenant", set("aud", json!(TOKEN.replace("default", "other"))), C),
        ("T16 missing", without("aud"), C),
        ("T17 expired", span(-400, -100), C),
        ("T17 301 s", span(0, 301), C),
        ("T17 iat future", span(61, 300), C),
        ("T17 iat missing", without("iat"), C),
        ("T17 exp string", set("exp", json!("1800000300")), C),
        ("T17 nbf", set("nbf", json!(START + 120)), C),
        ("T18 missing", without("jti"), C),
        ("T18 empty", set("jti", json!("")), C),
        ("B2B-20", set("resources", json!(["Patient/1"])), "invalid_request"),
        ("B01", without("extensions"), G),
        ("B02 array", set("extensions", json!([])), G),
        ("B02 string", set("extensions", json!("hl7-b2b")), G),
        ("B03 missing", set("extensions", json!({})), G),
        ("B03 null", set("extensions", json!({ "hl7-b2b": null })), G),
        ("B03 array", set("extensions", json!({ "hl7-b2b": [] })), G),
        ("B04 number", b2b("version", json!(1)), G),
        ("B04 2", b2b("version", json!("2")), G),
        ("B04 missing", b2b_without("version"), G),
        ("B05", b2b_without("organization_id"), G),
        ("B06", b2b("organization_id", json!("1234567893")), G),
        ("B07", b2b("organization_id", json!("ftp://partner.test/org")), G),
        ("B10", b2b_without("purpose_of_use"), G),
        ("B11", b2b("purpose_of_use", json!([])), G),
        ("B12", b2b("purpose_of_use", json!(TREATMENT)), G),
        ("B13", b2b("purpose_of_use", json!([TREATMENT, 1])), G),
        ("B14", b2b("purpose_of_use", json!(["urn:oid:2.16.840.1.113883.5.8#HPAYMT"])), G),
        ("B14 unknown", b2b("purpose_of_use", json!(["urn:oid:2.16.840.1.113883.5.8#X"])), G),
        ("B15", b2b("purpose_of_use", json!(["TREAT"])), G),
        ("B19", b2b("subject_id", json!("urn:oid:2.16.840.1.113883.4.6#1234567890")), G),
        ("B21", b2b("consent_reference", json!(["https://x.test/Consent/1"])), G),
        ("B2B-07", b2b("organization_name", json!(1)), G),
    ];
    let world = World::new();
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    for (id, change, code) in &rows {
        let mut claims = assertion(&client);
        change(&mut claims);
        world.asserted(&PKI.client, &claims, SCOPE).await.refuses(id, 400, code);
    }
    no_grant(&world, &client).await;
    let refused = world.events().await.into_iter().filter(|e| e.action == "refused").count();
    let after_trust = rows.iter().filter(|(_, _, code)| *code == G).count();
    assert_eq!(refused, after_trust, "refused members are remembered, junk is not");
}

#[tokio::test]
async fn malformed_token_requests_are_refused() {
    let world = World::new();
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let fresh = || sign(&PKI.client, &assertion(&client));
    let form = |change: &dyn Fn(&mut Pairs)| {
        let assertion = fresh();
        let mut pairs: Pairs =
            token_form(&assertion, SCOPE).into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        change(&mut pairs);
        let pairs: Vec<String> =
            pairs.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
        post(TOKEN, "application/x-www-form-urlencoded", pairs.join("&"))
    };
    let drop = |name: &'static str| form(&move |pairs| pairs.retain(|(k, _)| k != name));
    let put = |name: &'static str, value: &'static str| {
        form(&move |pairs| {
            pairs.retain(|(k, _)| k != name);
            pairs.push((name.into(), value.into()));
        })
    };
    let again = |name: &'static str| {
        form(&move |pairs| {
            let pair = pairs.iter().find(|(k, _)| k == name).unwrap().clone();
            pairs.push(pair);
        })
    };
    let header = |mut request: Request<Bytes>, value: &'static str| {
        request.headers_mut().insert("authorization", value.parse().unwrap());
        request
    };
    let rows = [
        ("T02 JSON", post(TOKEN, "application/json", "{}"), 400, "invalid_request"),
        ("T03 grant_type", again("grant_type"), 400, "invalid_request"),
        ("T03 assertion", again("client_assertion"), 400, "invalid_request"),
        ("T03 scope", again("scope"), 400, "invalid_request"),
        ("T04", drop("client_assertion"), 400, "invalid_client"),
        ("T04 empty", put("client_assertion", ""), 400, "invalid_client"),
        ("TOK-02 missing", drop("client_assertion_type"), 400, "invalid_client"),
        (
            "T05",
            put("client_assertion_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            400,
            "invalid_client",
        ),
        ("T06 missing", drop("udap"), 400, "invalid_request"),
        ("T06 2", put("udap", "2"), 400, "invalid_request"),
        ("T07 header", header(form(&|_| {}), "Basic dTpw"), 400, "invalid_request"),
        ("T07 bearer", header(form(&|_| {}), "Bearer x"), 400, "invalid_request"),
        ("T07 secret", put("client_secret", "s"), 400, "invalid_request"),
        ("T08", header(drop("client_assertion"), "Basic dTpw"), 401, "invalid_client"),
        ("T13", put("client_id", "another"), 400, "invalid_client"),
        ("T20 missing", drop("grant_type"), 400, "invalid_request"),
        ("T20 unknown", put("grant_type", "password"), 400, "unsupported_grant_type"),
        ("T20 not registered", put("grant_type", "authorization_code"), 400, "unauthorized_client"),
        ("T20 refresh", put("grant_type", "refresh_token"), 400, "unauthorized_client"),
        (
            "T28",
            form(&|pairs| {
                pairs.retain(|(k, _)| k != "client_assertion" && k != "grant_type");
                pairs.push(("grant_type".into(), "refresh_token".into()));
            }),
            400,
            "invalid_client",
        ),
        (
            "T32",
            put("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            400,
            "unsupported_grant_type",
        ),
        ("T30", drop("scope"), 400, "invalid_scope"),
        ("T31 none", put("scope", "system/Encounter.rs"), 400, "invalid_scope"),
        ("T31 unknown", put("scope", "nonsense patient/*.rs"), 400, "invalid_scope"),
        ("TOK-20 wildcard", put("scope", "system/*.rs"), 400, "invalid_scope"),
        (
            "T35 huge",
            put("client_assertion", Box::leak("a".repeat(70_000).into())),
            413,
            "invalid_request",
        ),
        (
            "encoding",
            post(TOKEN, "application/x-www-form-urlencoded", "a=%zz"),
            400,
            "invalid_request",
        ),
    ];
    for (id, request, status, code) in rows {
        let answer = world.send(request).await;
        answer.refuses(id, status, code);
        assert_eq!(answer.header("www-authenticate").is_empty(), status != 401, "{id}");
    }
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"] {
        let request = Request::builder().method(method).uri("/default/oauth/token?grant_type=x");
        let answer = world.send(request.body(Bytes::new()).unwrap()).await;
        answer.refuses("T01", 405, "invalid_request");
        assert_eq!(answer.header("allow"), "POST");
    }
    no_grant(&world, &client).await;
}

#[tokio::test]
async fn assertions_that_are_not_soundly_signed_are_invalid_requests() {
    let world = World::new();
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let payload = Value::Object(assertion(&client)).to_string();
    let header = jws_header(&PKI.client, Alg::Es256);
    let with = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        sign_raw(&PKI.client, &header, &payload)
    };
    let good = sign_raw(&PKI.client, &header, &payload);
    let (input, _) = good.rsplit_once('.').unwrap();
    let x5c = PKI.client.identity.x5c();
    let rows = [
        ("T09 other key", sign_raw(&PKI.other, &header, &payload)),
        ("T09 none", format!("{input}.")),
        ("T09 alg none", with("alg", json!("none"))),
        ("T09 HS256", with("alg", json!("HS256"))),
        ("T09 unlisted", with("alg", json!("PS256"))),
        ("T09 x5c[1]", with("x5c", json!([PKI.other.identity.x5c()[0], x5c[0]]))),
        (
            "T34",
            sign_raw(&PKI.client, &json!({ "alg": "ES256", "jku": "https://evil.test" }), &payload),
        ),
        (
            "B28 duplicate",
            sign_raw(
                &PKI.client,
                &header,
                &payload.replacen(r#""version":"1""#, r#""version":"1","version":"1""#, 1),
            ),
        ),
        (
            "B28 depth",
            sign_raw(
                &PKI.client,
                &header,
                &payload.replacen(
                    '{',
                    &format!(r#"{{"x":{}{},"#, "[".repeat(1000), "]".repeat(1000)),
                    1,
                ),
            ),
        ),
        ("T09 typ", with("typ", json!("dpop+jwt"))),
    ];
    for (id, compact) in rows {
        let answer = world.token(&token_form(&compact, SCOPE)).await;
        answer.refuses(id, 400, "invalid_request");
    }
    // T19: a software statement is no authentication token.
    let statement = sign(&PKI.client, &statement(CLIENT_URI));
    world.token(&token_form(&statement, SCOPE)).await.refuses("T19", 400, "invalid_client");
    no_grant(&world, &client).await;
    assert_eq!(world.token(&token_form(&good, SCOPE)).await.status, 200);
}

/// PKI-17, TOK-08.
#[tokio::test]
async fn certificates_are_judged_anew_at_every_request() {
    let world = World::new();
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let leaf = |not_after: i64, usage| PKI.a.issue(&Leaf { not_after, usage, ..Leaf::default() });
    let stranger = PKI.stranger.issue(&Leaf::default());
    let rows = [
        ("T14", &PKI.other),
        ("T15", &PKI.client_b),
        ("X06", &stranger),
        ("X01", &leaf(-60, KeyUsagePurpose::DigitalSignature)),
        ("X33", &leaf(60, KeyUsagePurpose::KeyEncipherment)),
    ];
    for (id, member) in rows {
        let answer = world.asserted(member, &assertion(&client), SCOPE).await;
        answer.refuses(id, 400, "invalid_client");
    }
    no_grant(&world, &client).await;
    let last = world.events().await.pop().unwrap();
    assert_eq!(last.rule.as_deref(), Some("T14"), "another member's try is remembered");
    assert_eq!(last.actor.client, None, "and not as the victim's act");
    assert_eq!(last.body.detail["claimed_client"], client);
    // MOD-04: a renewed certificate with the same URI serves.
    world.issued(&PKI.renewed, &client, SCOPE).await;
    // X47: revoked after registration.
    world.paths.revoked.lock().unwrap().push(PKI.client.serial);
    let answer = world.asserted(&PKI.client, &assertion(&client), SCOPE).await;
    answer.refuses("X47", 400, "invalid_client");
    world.issued(&PKI.renewed, &client, SCOPE).await;
    // T36: no list, no verdict, no token; and the jti is not burnt by it.
    world.paths.outage.store(true, Ordering::SeqCst);
    let claims = assertion(&client);
    let answer = world.asserted(&PKI.renewed, &claims, SCOPE).await;
    answer.refuses("T36", 503, "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), "5");
    world.paths.outage.store(false, Ordering::SeqCst);
    assert_eq!(world.asserted(&PKI.renewed, &claims, SCOPE).await.status, 200);
}

#[tokio::test]
async fn treatment_goes_on_for_the_grace_of_a_stale_list_and_is_flagged() {
    let world = World::new();
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    world.paths.next_update.store(60, Ordering::SeqCst);
    let shifted = |by: i64| {
        let mut claims = assertion(&client);
        claims.insert("iat".into(), json!(START + by));
        claims.insert("exp".into(), json!(START + by + 300));
        claims
    };
    world.clock.advance(Duration::from_hours(2));
    let answer = world.asserted(&PKI.client, &shifted(7200), SCOPE).await;
    assert_eq!(answer.status, 200, "PKI-04 as amended: {answer:?}");
    let event = world.events().await.pop().unwrap();
    assert_eq!(event.body.detail["revocation_list"], "stale");
    world.clock.advance(Duration::from_hours(23));
    let answer = world.asserted(&PKI.client, &shifted(25 * 3600), SCOPE).await;
    answer.refuses("X15 after the grace", 503, "temporarily_unavailable");
}

/// TOK-27.
#[tokio::test]
async fn a_token_is_answered_and_opens_to_what_was_asserted() {
    let world = World::new();
    let client =
        world.registered(&PKI.client, CLIENT_URI, "system/Patient.rs system/Observation.rs").await;
    let answer = world
        .asserted(&PKI.client, &assertion(&client), "system/Patient.r system/Encounter.rs x")
        .await;
    assert_eq!(answer.status, 200, "T31: {answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store", "TOK-17");
    assert_eq!(answer.header("pragma"), "no-cache", "TOK-17");
    assert_eq!(answer.text("scope"), "system/Patient.r", "TOK-19");
    assert_eq!(answer.text("token_type"), "Bearer");
    assert_eq!(answer.body["expires_in"], 300, "BKS-06");
    assert!(answer.body.get("refresh_token").is_none(), "T29");
    let token = answer.text("access_token");
    assert!(token.len() <= 256 && !token.contains(&client));
    let principal = world.resolve(&token).await.unwrap();
    assert_eq!(principal.client.to_string(), client);
    assert_eq!(principal.organization.as_str(), ORGANIZATION);
    assert_eq!(principal.purposes, [ward_core::Purpose::Treatment]);
    assert_eq!(principal.scopes.to_string(), "system/Patient.r");
    assert_eq!(principal.community, PKI.a.uri());
    let event = world.events().await.pop().unwrap();
    assert_eq!((event.action.as_ref(), event.actor.grant), ("issued", Some(principal.grant)));
    assert_eq!(event.actor.token, Some(principal.token));
    assert_eq!(event.purposes, principal.purposes, "B2B-16");
    assert_eq!(event.body.detail["organization"], ORGANIZATION, "B2B-18");
    // TOK-18: dead to the second.
    world.clock.advance(Duration::from_secs(299));
    assert!(world.resolve(&token).await.is_ok());
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.resolve(&token).await, Err(ResolveError::Invalid));
    assert_eq!(world.resolve("abc").await, Err(ResolveError::Invalid));
}

#[tokio::test]
async fn what_a_token_says_of_itself_only_narrows() {
    use crate::sealed::{Claims, KeyBinding};
    let world = World::new();
    let wide = "system/Observation.rs system/Patient.rs";
    let client = world.registered(&PKI.client, CLIENT_URI, wide).await;
    let principal = world.resolve(&world.issued(&PKI.client, &client, wide).await).await.unwrap();
    let whole = Claims {
        token: principal.token,
        grant: principal.grant,
        expires: ward_core::Timestamp::from_seconds(START + 10),
        binding: KeyBinding::None,
        scope: None,
    };
    let narrow =
        Claims { scope: Some("system/Patient.r system/Encounter.r".into()), ..whole.clone() };
    let token = world.issuer.sealer.seal(&narrow).await.unwrap();
    assert_eq!(world.resolve(&token).await.unwrap().scopes.to_string(), "system/Patient.r");
    // A bound token is not a bearer token.
    for binding in [KeyBinding::Certificate([0; 32]), KeyBinding::Dpop([0; 32])] {
        let token = world.issuer.sealer.seal(&Claims { binding, ..whole.clone() }).await.unwrap();
        assert_eq!(world.resolve(&token).await, Err(ResolveError::Invalid));
    }
    let later = Claims { expires: ward_core::Timestamp::from_seconds(START + 900), ..whole };
    let later = world.issuer.sealer.seal(&later).await.unwrap();
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(world.resolve(&token).await, Err(ResolveError::Invalid), "its own end");
    assert!(world.resolve(&later).await.is_ok());
    world.clock.advance(Duration::from_secs(290));
    assert_eq!(world.resolve(&later).await, Err(ResolveError::Invalid), "the end of its grant");
}

#[tokio::test]
async fn no_token_outlives_its_certificate() {
    let world = World::new();
    let short = PKI.a.issue(&Leaf { not_after: 90, ..Leaf::default() });
    let client = world.registered(&short, CLIENT_URI, SCOPE).await;
    let answer = world.asserted(&short, &assertion(&client), SCOPE).await;
    assert_eq!(answer.body["expires_in"], 90, "{answer:?}");
}

#[tokio::test]
async fn another_tenant_or_place_presents_nothing() {
    let world = World::new();
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let token = world.issued(&PKI.client, &client, SCOPE).await;
    let header = format!("Bearer {token}");
    let tenant = TenantId::parse("other").unwrap();
    let presented = Presented { tenant: &tenant, authorization: Some(&header) };
    assert_eq!(world.issuer.resolve(&presented).await, Err(ResolveError::Invalid));
    let tenant = TenantId::default_tenant();
    let presented = Presented { tenant: &tenant, authorization: None };
    assert_eq!(world.issuer.resolve(&presented).await, Err(ResolveError::Missing));
}

#[tokio::test]
async fn failed_requests_are_slowed_and_good_ones_are_not() {
    let limits = Limits { token_failures_per_minute: 4, ..Limits::default() };
    let world = World::with(SCOPES, limits);
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    for _ in 0..10 {
        world.issued(&PKI.client, &client, SCOPE).await;
    }
    for _ in 0..4 {
        world.token(&[("grant_type", "client_credentials")]).await.refuses(
            "T04",
            400,
            "invalid_client",
        );
    }
    let answer = world.asserted(&PKI.client, &assertion(&client), SCOPE).await;
    answer.refuses("T35", 429, "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), "60");
}

#[tokio::test]
async fn without_the_log_there_is_no_token() {
    let world = World::new();
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    world.sink.full.store(true, Ordering::SeqCst);
    let answer = world.asserted(&PKI.client, &assertion(&client), SCOPE).await;
    answer.refuses("T36, rule 4", 503, "temporarily_unavailable");
    let mut claims = statement(OTHER_URI);
    claims.insert("iss".into(), json!(OTHER_URI));
    let answer = world.statement(&PKI.other, &claims).await;
    answer.refuses("rule 4", 503, "temporarily_unavailable");
}

/// The organisation's roster, and who may speak for it.
async fn import(world: &World, members: Vec<ward_store::Member>) {
    use ward_core::{Clock as _, CorrelationId, EventKind, OrganizationUri, PatientId, Purpose};
    let tenant = TenantId::default_tenant();
    let correlation = CorrelationId::new(&*world.clock, &SystemRng);
    let event =
        Event::new(EventKind::Roster, "imported", tenant.clone(), world.clock.now(), correlation);
    let patient = PatientId::parse("p1").unwrap();
    let rows = vec![ward_store::RosterRow { patient, purposes: vec![Purpose::Treatment] }];
    let organization = OrganizationUri::parse(ORGANIZATION).unwrap();
    let rosters = &world.issuer.deps.repositories.rosters;
    let _ = rosters.import(&tenant, &organization, members, rows, event).await.unwrap();
}

#[tokio::test]
async fn b09_nobody_speaks_for_an_organisation_whose_roster_does_not_name_it() {
    use ward_core::ClientUri;
    let world = World::new();
    let mine = world.registered(&PKI.client, CLIENT_URI, SCOPES).await;
    let evil = world.registered(&PKI.other, OTHER_URI, SCOPES).await;
    // The same URI in another community is another client.
    let twin = world.registered(&PKI.client_b, CLIENT_URI, SCOPES).await;
    let owner = (PKI.a.uri(), ClientUri::parse(CLIENT_URI).unwrap());
    // Without a roster the word is recorded and no more (amendments, B2B-18).
    world.issued(&PKI.other, &evil, SCOPES).await;
    import(&world, vec![owner]).await;
    let token = world.issued(&PKI.client, &mine, SCOPES).await;
    let principal = world.resolve(&token).await.unwrap();
    assert_eq!(principal.client_uri.as_str(), CLIENT_URI);
    for (member, client) in [(&PKI.other, &evil), (&PKI.client_b, &twin)] {
        let answer = world.asserted(member, &assertion(client), SCOPES).await;
        answer.refuses("B09", 400, "invalid_grant");
        let event = world.events().await.pop().unwrap();
        assert_eq!(event.rule.as_deref(), Some("B09"));
        assert_eq!(event.actor.client.unwrap().to_string(), *client);
        assert_eq!(event.body.detail["organization"], ORGANIZATION);
    }
}

/// Each token leaves a grant, a replay key and two events on the disk.
#[tokio::test]
async fn one_member_cannot_fill_the_disk() {
    let limits = Limits { tokens_per_client_per_minute: 5, ..Limits::default() };
    let world = World::with(SCOPES, limits);
    let client = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let other = world.registered(&PKI.other, OTHER_URI, SCOPE).await;
    // Somebody else's certificate with this client's id is not this client's doing.
    for _ in 0..5 {
        let answer = world.asserted(&PKI.other, &assertion(&client), SCOPE).await;
        answer.refuses("T14", 400, C);
    }
    let before = world.events().await.len();
    let answer = world.asserted(&PKI.other, &assertion(&client), SCOPE).await;
    answer.refuses("T35 another's id", 429, "temporarily_unavailable");
    assert_eq!(world.events().await.len(), before, "nothing more is kept");
    for _ in 0..5 {
        world.issued(&PKI.client, &client, SCOPE).await;
    }
    // Neither by a renewed certificate, nor by another client id.
    let mut cancel = statement(CLIENT_URI);
    cancel.insert("grant_types".into(), json!([]));
    assert_eq!(world.statement(&PKI.client, &cancel).await.status, 200);
    let anew = world.registered(&PKI.client, CLIENT_URI, SCOPE).await;
    let before = world.events().await.len();
    for member in [&PKI.client, &PKI.renewed] {
        let answer = world.asserted(member, &assertion(&anew), SCOPE).await;
        answer.refuses("T35", 429, "temporarily_unavailable");
        assert_eq!(answer.header("retry-after"), "60");
    }
    assert_eq!(world.events().await.len(), before, "nothing more is kept");
    world.issued(&PKI.other, &other, SCOPE).await;
    world.clock.advance(Duration::from_mins(1));
    world.issued(&PKI.client, &anew, SCOPE).await;
}

/// Counting after the answer let any number through at once.
#[tokio::test]
async fn requests_at_once_are_counted_before_they_are_looked_at() {
    let limits = Limits { token_failures_per_minute: 20, ..Limits::default() };
    let world = World::with(SCOPES, limits);
    let gate = Arc::new(tokio::sync::Barrier::new(200));
    let mut tasks = tokio::task::JoinSet::new();
    let (admitted, answered) = (Arc::new(AtomicU64::new(0)), gate.clone());
    for _ in 0..200 {
        let (issuer, gate, admitted) = (world.issuer.clone(), gate.clone(), admitted.clone());
        tasks.spawn(async move {
            let (parts, body) =
                post(TOKEN, "application/x-www-form-urlencoded", "grant_type=x").into_parts();
            let waiting = gate.clone();
            let body = async move {
                admitted.fetch_add(1, Ordering::SeqCst);
                waiting.wait().await;
                Ok(body)
            };
            let answer = issuer.answer(&parts, ME, body).await;
            if answer.status().as_u16() == 429 {
                gate.wait().await;
            }
        });
    }
    drop(answered);
    while tasks.join_next().await.is_some() {}
    assert_eq!(admitted.load(Ordering::SeqCst), 20);
}

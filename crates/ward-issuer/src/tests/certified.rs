//! Certifications at registration and at the token endpoint (CRT-01..CRT-16, C01–C15), and after.

use ward_core::{ClientUri, Timestamp};
use ward_policy::Subject;
use ward_trust::Certification;

use super::pki::{Authority, Leaf, OTHER_URI, SECOND_URI};
use super::*;
use crate::{Act, CertificationRule, Certifiers};

const CERTIFIER: &str = "https://certifier.test/";
const GOLD: &str = "https://certifier.test/gold";
const WIDE: &str = "https://certifier.test/wide";
const OWN: &str = "https://criteria.test/privacy";

/// Certifiers have an authority of their own: the community that is not served.
struct Lab {
    world: World,
    certifier: Member,
}

fn uri(text: &str) -> ClientUri {
    ClientUri::parse(text).unwrap()
}

fn certifiers(authority: &Authority) -> Certifiers {
    Certifiers::under(authority.community(), Vec::new())
}

fn rule(uri: &str, required: bool, certifiers: Certifiers, unlocks: &str) -> CertificationRule {
    CertificationRule {
        uri: uri.to_owned(),
        required,
        certifiers,
        unlocks: ScopeSet::parse(unlocks).0,
    }
}

impl Lab {
    fn new(rules: Vec<CertificationRule>) -> Self {
        let world = World::new();
        let certifier = PKI.stranger.issue(&Leaf { uris: &[CERTIFIER], ..Leaf::default() });
        let lab = Self { world, certifier };
        lab.serve(rules);
        lab
    }

    fn serve(&self, rules: Vec<CertificationRule>) {
        let mut communities = config(SCOPES, &self.world.limits).communities;
        communities[0].certifications = rules;
        self.world.issuer.serve(communities).unwrap();
    }

    fn gold() -> Vec<CertificationRule> {
        vec![rule(GOLD, true, certifiers(&PKI.stranger), "")]
    }

    fn wide() -> Vec<CertificationRule> {
        vec![rule(WIDE, false, certifiers(&PKI.stranger), "system/*.rs")]
    }

    fn certification(program: &str) -> Certification {
        let (from, until) = (START, START + 100 * 86_400);
        let at = Timestamp::from_seconds;
        Certification::of_client(uri(CERTIFIER), uri(CLIENT_URI), "Certified", program, "Certifier")
            .lasting(format!("c-{}", JTI.fetch_add(1, Ordering::SeqCst)), at(from), at(until))
    }

    fn signed(&self, certification: &Certification) -> String {
        let Value::Object(claims) = certification.claims() else { unreachable!() };
        sign(&self.certifier, &claims)
    }

    async fn register(&self, scope: &str, certifications: &[&str]) -> Answer {
        self.register_as(&PKI.client, CLIENT_URI, scope, certifications).await
    }

    async fn register_as(
        &self,
        member: &Member,
        client: &str,
        scope: &str,
        certifications: &[&str],
    ) -> Answer {
        let mut claims = statement(client);
        claims.insert("scope".into(), json!(scope));
        let statement = sign(member, &claims);
        let body = json!({
            "software_statement": statement, "certifications": certifications, "udap": "1",
        });
        self.world.register(&body).await
    }
}

/// CRT-01, CRT-02, CRT-10, DSC-12, DSC-13.
#[tokio::test]
async fn a_required_certification_is_shown_or_nobody_registers() {
    let lab = Lab::new(Lab::gold());
    let scope = "system/Patient.rs";
    lab.register(scope, &[]).await.refuses("C01", 400, "invalid_client_metadata");
    let other = lab.signed(&Lab::certification(WIDE));
    lab.register(scope, &[&other]).await.refuses("C01", 400, "invalid_client_metadata");
    let gold = lab.signed(&Lab::certification(GOLD));
    let answer = lab.register(scope, &[&other, &gold]).await;
    assert_eq!(answer.status, 201, "CRT-01, C11: {answer:?}");
    assert_eq!(answer.body["certifications"], json!([gold]), "CRT-10");
    let document =
        lab.world.send(Request::get("/default/fhir/.well-known/udap").body(Bytes::new()).unwrap());
    let document = document.await.body;
    assert_eq!(document["udap_certifications_supported"], json!([GOLD]), "DSC-12");
    assert_eq!(document["udap_certifications_required"], json!([GOLD]), "DSC-13");
    // Another community demands nothing.
    let answer = lab.register_as(&PKI.client_b, CLIENT_URI, scope, &[]).await;
    assert_eq!(answer.status, 201);
    assert!(answer.body.get("certifications").is_none());
    // The event names what was accepted.
    let events = lab.world.events().await;
    let registered = events.iter().find(|event| event.action == "registered").unwrap();
    let named = registered.body.detail.get("certifications").unwrap();
    assert_eq!(named.len(), 64, "one id: {named}");
}

#[tokio::test]
async fn a_certification_unlocks_wider_scopes() {
    let lab = Lab::new(Lab::wide());
    let asked = "system/Patient.rs system/Condition.rs";
    let narrow = lab.register(asked, &[]).await;
    assert_eq!((narrow.status, narrow.text("scope").as_str()), (201, "system/Patient.rs"));
    let client = narrow.text("client_id");
    let wide = lab.signed(&Lab::certification(WIDE));
    let answer = lab.register(asked, &[&wide]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text("scope"), "system/Condition.rs system/Patient.rs");
    let all = lab.world.issued(&PKI.client, &client, asked).await;
    let base = lab.world.issued(&PKI.client, &client, "system/Patient.rs").await;
    // P16: the wildcard is known, and given to those who show it.
    let answer = lab.register_as(&PKI.other, OTHER_URI, "system/*.rs", &[]).await;
    assert_eq!(answer.text("scope").split(' ').count(), 3, "what everybody may: {answer:?}");
    // CRT-16: when it ends, what it unlocked ends with it, and only that.
    *lab.world.paths.stood_by.lock().unwrap() = Some(false);
    let with_status = Certification {
        status_endpoint: Some("https://certifier.test/status".to_owned()),
        ..Lab::certification(WIDE)
    };
    let kept = with_status.id();
    *lab.world.paths.stood_by.lock().unwrap() = Some(true);
    let answer = lab.register(asked, &[&lab.signed(&with_status)]).await;
    assert_eq!(answer.status, 200);
    assert!(lab.world.resolve(&all).await.is_ok(), "nothing shrank");
    let all = lab.world.issued(&PKI.client, &client, asked).await;
    *lab.world.paths.stood_by.lock().unwrap() = None;
    let found = lab.world.issuer.recheck(true).await.unwrap();
    assert_eq!((found.ended, found.unknown), (0, 1), "what cannot be known ends nothing");
    let narrowed = lab.world.asserted(&PKI.client, &assertion(&client), asked).await;
    assert_eq!(
        narrowed.text("scope"),
        "system/Patient.rs",
        "nor is it taken for a yes: {narrowed:?}"
    );
    *lab.world.paths.stood_by.lock().unwrap() = Some(false);
    let found = lab.world.issuer.recheck(true).await.unwrap();
    assert_eq!(found.ended, 1, "{found:?}");
    assert_eq!(lab.world.resolve(&all).await.unwrap_err(), ResolveError::Invalid);
    assert!(lab.world.resolve(&base).await.is_ok());
    let narrowed = lab.world.asserted(&PKI.client, &assertion(&client), asked).await;
    assert_eq!(narrowed.text("scope"), "system/Patient.rs");
    let answer = lab.world.asserted(&PKI.client, &assertion(&client), "system/Condition.rs").await;
    answer.refuses("CRT-16", 400, "invalid_scope");
    // A certifier that says yes again is not believed: what was seen void never counts.
    *lab.world.paths.stood_by.lock().unwrap() = Some(true);
    let narrowed = lab.world.asserted(&PKI.client, &assertion(&client), asked).await;
    assert_eq!(narrowed.text("scope"), "system/Patient.rs");
    let events = lab.world.events().await;
    let subject = Subject::Certification(kept).to_string();
    let revoked = events.iter().filter(|event| {
        event.action == "revoked" && event.body.detail.get("subject") == Some(&subject)
    });
    assert_eq!(revoked.count(), 1, "once in the log");
}

/// CRT-08, C07 as amended.
#[tokio::test]
async fn of_scopes_what_both_name_is_granted() {
    let lab = Lab::new(Lab::gold());
    let scoped = |scope: &str| {
        lab.signed(&Certification { scope: Some(scope.to_owned()), ..Lab::certification(GOLD) })
    };
    let asked = "system/Patient.rs system/Observation.rs";
    let answer = lab.register(asked, &[&scoped("system/Patient.r system/Claim.rs")]).await;
    assert_eq!((answer.status, answer.text("scope").as_str()), (201, "system/Patient.r"));
    let none = lab.register(asked, &[&scoped("system/Claim.rs")]).await;
    none.refuses("C07", 400, "invalid_certification");
}

/// CRT-16: expired, revoked here, or required since.
#[tokio::test]
async fn a_required_certification_that_lapses_stops_tokens_and_ends_grants() {
    let scope = "system/Patient.rs";
    // It expires.
    let lab = Lab::new(Lab::gold());
    let short = Lab::certification(GOLD);
    let end = Timestamp::from_seconds(START + 120);
    let short = short.clone().lasting(short.jti, short.iat, end);
    let client = lab.register(scope, &[&lab.signed(&short)]).await.text("client_id");
    let answer = lab.world.asserted(&PKI.client, &assertion(&client), scope).await;
    assert_eq!(answer.body["expires_in"], json!(120), "no token outlives it");
    let token = answer.text("access_token");
    lab.world.clock.advance(Duration::from_secs(121));
    assert_eq!(lab.world.resolve(&token).await.unwrap_err(), ResolveError::Invalid);
    let answer = lab.world.asserted(&PKI.client, &assertion(&client), scope).await;
    answer.refuses("CRT-16", 400, "unauthorized_client");
    let renewed = lab.signed(&Lab::certification(GOLD));
    assert_eq!(lab.register(scope, &[&renewed]).await.status, 200, "a new one mends it");
    lab.world.issued(&PKI.client, &client, scope).await;
    // It is revoked here.
    let lab = Lab::new(Lab::gold());
    let gold = Lab::certification(GOLD);
    let jwt = lab.signed(&gold);
    let client = lab.register(scope, &[&jwt]).await.text("client_id");
    let token = lab.world.issued(&PKI.client, &client, scope).await;
    let act = Act {
        operator: "alice".into(),
        reason: "audit".into(),
        incident: None,
        correlation: ward_core::CorrelationId::new(&*lab.world.clock, &SystemRng),
    };
    let slip = Subject::Certification(Thumbprint([1; 32]));
    assert!(lab.world.issuer.revoke(slip, &act).await.is_err());
    lab.world.issuer.revoke(Subject::Certification(gold.id()), &act).await.unwrap();
    assert_eq!(lab.world.resolve(&token).await.unwrap_err(), ResolveError::Invalid);
    let answer = lab.world.asserted(&PKI.client, &assertion(&client), scope).await;
    answer.refuses("CRT-16", 400, "unauthorized_client");
    // Signed anew it is the same certification.
    for again in [jwt, lab.signed(&gold)] {
        lab.register(scope, &[&again]).await.refuses("CRT-16", 400, "unapproved_certification");
    }
    // It becomes required after the client registered without.
    let lab = Lab::new(vec![]);
    let client = lab.register(scope, &[]).await.text("client_id");
    lab.world.issued(&PKI.client, &client, scope).await;
    lab.serve(Lab::gold());
    let answer = lab.world.asserted(&PKI.client, &assertion(&client), scope).await;
    answer.refuses("CRT-16", 400, "unauthorized_client");
}

#[tokio::test]
async fn a_certifier_that_is_revoked_takes_its_certifications_along() {
    let scope = "system/Patient.rs";
    let authority = &PKI.b;
    let rules = || vec![rule(GOLD, true, certifiers(authority), "")];
    let lab = Lab::new(rules());
    let member = authority.issue(&Leaf { uris: &[CERTIFIER], ..Leaf::default() });
    let lab = Lab { certifier: member, ..lab };
    let gold = Lab::certification(GOLD);
    let jwt = lab.signed(&gold);
    let client = lab.register(scope, &[&jwt]).await.text("client_id");
    let token = lab.world.issued(&PKI.client, &client, scope).await;
    // Its lists cannot be had: 503, and nobody is refused for that.
    lab.world.paths.outage.store(true, Ordering::SeqCst);
    let answer = lab.register(scope, &[&jwt]).await;
    answer.refuses("T36", 503, "temporarily_unavailable");
    assert_eq!(lab.world.issuer.recheck(false).await.unwrap().ended, 0);
    assert!(lab.world.resolve(&token).await.is_ok());
    lab.world.paths.outage.store(false, Ordering::SeqCst);
    // Also after a restart, when nothing was issued since.
    let Lab { world, certifier } = lab;
    let lab = Lab { world: world.restart(), certifier };
    lab.serve(rules());
    lab.world.issuer.recall().await.unwrap();
    lab.world.paths.revoked.lock().unwrap().push(lab.certifier.serial);
    let found = lab.world.issuer.recheck(false).await.unwrap();
    assert_eq!((found.looked, found.ended), (1, 1));
    assert_eq!(lab.world.resolve(&token).await.unwrap_err(), ResolveError::Invalid);
    let answer = lab.world.asserted(&PKI.client, &assertion(&client), scope).await;
    answer.refuses("CRT-16", 400, "unauthorized_client");
    lab.register(scope, &[&jwt]).await.refuses("CRT-07", 400, "unapproved_certification");
}

/// A certifier whose anchor the configuration gives up takes along what rests on it; one that comes back is believed again.
#[tokio::test]
async fn certifiers_that_are_given_up_are_not_believed() {
    let lab = Lab::new(Lab::wide());
    let asked = "system/Patient.rs system/Condition.rs";
    let wide = lab.signed(&Lab::certification(WIDE));
    let client = lab.register(asked, &[&wide]).await.text("client_id");
    let token = lab.world.issued(&PKI.client, &client, asked).await;
    let base = lab.world.issued(&PKI.client, &client, "system/Patient.rs").await;
    lab.serve(vec![rule(WIDE, false, certifiers(&PKI.b), "system/*.rs")]);
    assert_eq!(lab.world.resolve(&token).await.unwrap_err(), ResolveError::Invalid);
    assert!(lab.world.resolve(&base).await.is_ok());
    let narrowed = lab.world.asserted(&PKI.client, &assertion(&client), asked).await;
    assert_eq!(narrowed.text("scope"), "system/Patient.rs");
    lab.serve(Lab::wide());
    lab.world.issued(&PKI.client, &client, asked).await;
    assert!(lab.world.resolve(&token).await.is_ok(), "nothing was revoked");
}

/// C03: whose word counts. The client's community vouches for clients, not for certifiers.
#[tokio::test]
async fn only_certifiers_certify() {
    let scope = "system/Patient.rs";
    let lab = Lab::new(Lab::gold());
    let member = PKI.a.issue(&Leaf { uris: &[CERTIFIER], ..Leaf::default() });
    let own = Lab { certifier: member, ..lab };
    let by_a_member = own.signed(&Lab::certification(GOLD));
    own.register(scope, &[&by_a_member]).await.refuses("C03", 400, "unapproved_certification");
    let declared = |program: &str| {
        let at = Timestamp::from_seconds;
        let one = Certification::declared(uri(CLIENT_URI), "Own", program).lasting(
            "d-1",
            at(START),
            at(START + 3600),
        );
        let Value::Object(claims) = one.claims() else { unreachable!() };
        sign(&PKI.client, &claims)
    };
    let answer = own.register(scope, &[&declared(GOLD)]).await;
    answer.refuses("CRT-13", 400, "unapproved_certification");
    // CRT-13: what a client may declare of itself, nobody else may.
    let rules = vec![rule(OWN, true, Certifiers::Declared, "")];
    own.serve(rules);
    assert_eq!(own.register(scope, &[&declared(OWN)]).await.status, 201);
    let third = own.signed(&Lab::certification(OWN));
    own.register(scope, &[&third]).await.refuses("C03", 400, "unapproved_certification");
    // Another member's declaration does not do for this one.
    let stolen = own.register_as(&PKI.client, SECOND_URI, scope, &[&declared(OWN)]).await;
    stolen.refuses("C04", 400, "invalid_certification");
    // Under the community's own anchors only those count that are named.
    own.serve(vec![rule(GOLD, true, Certifiers::of_community(&PKI.a.community(), vec![]), "")]);
    own.register(scope, &[&by_a_member]).await.refuses("C03", 400, "unapproved_certification");
    let named = Certifiers::of_community(&PKI.a.community(), vec![CERTIFIER.to_owned()]);
    own.serve(vec![rule(GOLD, true, named, "")]);
    assert_eq!(own.register(scope, &[&by_a_member]).await.status, 200);
    // And a configuration that would believe everybody is refused.
    let mut communities = config(SCOPES, &own.world.limits).communities;
    communities[0].certifications = vec![rule(GOLD, true, certifiers(&PKI.a), "")];
    let error = own.world.issuer.serve(communities).unwrap_err();
    assert!(error.to_string().contains("every member"), "{error}");
    // Nor one where the certifiers' anchor is the authority that issues to members, or stands above the community's own.
    let mut issuing = PKI.a.community();
    issuing.anchors = vec![PKI.a.intermediate.clone()];
    let mut below = PKI.a.community();
    below.anchors = vec![PKI.a.intermediate.clone()];
    let mut known = PKI.a.community();
    known.intermediates = vec![PKI.a.intermediate.clone()];
    for (community, certifiers) in [(known, issuing), (below, PKI.a.community())] {
        let mut communities = config(SCOPES, &own.world.limits).communities;
        communities[0].community = community;
        let certifiers = Certifiers::under(certifiers, Vec::new());
        communities[0].certifications = vec![rule(GOLD, true, certifiers, "")];
        let error = own.world.issuer.serve(communities).unwrap_err();
        assert!(error.to_string().contains("every member"), "{error}");
    }
}

/// MOD-01: a modification without it has what everybody has. Whoever cancels need show nothing.
#[tokio::test]
async fn a_modification_replaces_the_certifications() {
    let lab = Lab::new(Lab::wide());
    let asked = "system/Patient.rs system/Condition.rs";
    let wide = lab.signed(&Lab::certification(WIDE));
    let client = lab.register(asked, &[&wide]).await.text("client_id");
    let token = lab.world.issued(&PKI.client, &client, asked).await;
    let answer = lab.register(asked, &[]).await;
    assert_eq!((answer.status, answer.text("scope").as_str()), (200, "system/Patient.rs"));
    assert!(answer.body.get("certifications").is_none(), "CRT-10");
    assert_eq!(lab.world.resolve(&token).await.unwrap_err(), ResolveError::Invalid, "MOD-10");
    lab.serve(Lab::gold());
    let mut claims = statement(CLIENT_URI);
    claims.insert("grant_types".into(), json!([]));
    let answer = lab.world.statement(&PKI.client, &claims).await;
    assert_eq!((answer.status, &answer.body["grant_types"]), (200, &json!([])), "MOD-07");
}

/// C09, C10: what its certifier says, and how many there may be.
#[tokio::test]
async fn its_status_decides_at_registration() {
    let lab = Lab::new(Lab::gold());
    let scope = "system/Patient.rs";
    let with_status = || {
        lab.signed(&Certification {
            status_endpoint: Some("https://certifier.test/status".to_owned()),
            ..Lab::certification(GOLD)
        })
    };
    for said in [Some(false), None] {
        *lab.world.paths.stood_by.lock().unwrap() = said;
        let answer = lab.register(scope, &[&with_status()]).await;
        answer.refuses("C09", 400, "unapproved_certification");
    }
    *lab.world.paths.stood_by.lock().unwrap() = Some(true);
    let good = with_status();
    let client = lab.register(scope, &[&good]).await.text("client_id");
    // A required one of which nothing can be learnt: neither a yes nor a lapse.
    *lab.world.paths.stood_by.lock().unwrap() = None;
    let answer = lab.world.asserted(&PKI.client, &assertion(&client), scope).await;
    answer.refuses("C09", 503, "temporarily_unavailable");
    let many = vec![good.as_str(); 11];
    lab.register(scope, &many).await.refuses("C10", 400, "invalid_client_metadata");
    *lab.world.paths.stood_by.lock().unwrap() = Some(true);
    let twice = lab.register(scope, &[&good, &good]).await;
    assert_eq!(twice.body["certifications"], json!([good]));
}

/// CRT-16: a certifier who is named no longer, after a reload: what rests on its word ends with the next look, and lives again if it is
/// named again.
#[tokio::test]
async fn a_certifier_who_is_named_no_longer_takes_tokens_along() {
    let asked = "system/Patient.rs system/Condition.rs";
    let named = |name: &str| {
        let certifiers = Certifiers::under(PKI.stranger.community(), vec![name.to_owned()]);
        vec![rule(WIDE, false, certifiers, "system/*.rs")]
    };
    let lab = Lab::new(named(CERTIFIER));
    let wide = lab.signed(&Lab::certification(WIDE));
    let client = lab.register(asked, &[&wide]).await.text("client_id");
    let token = lab.world.issued(&PKI.client, &client, asked).await;
    let plain = lab.world.issued(&PKI.client, &client, "system/Patient.rs").await;
    lab.serve(named("https://another.test/"));
    let issuer = lab.world.issuer.clone();
    assert_eq!(issuer.recheck(false).await.unwrap().ended, 1);
    assert_eq!(lab.world.resolve(&token).await.unwrap_err(), ResolveError::Invalid);
    assert!(lab.world.resolve(&plain).await.is_ok());
    lab.serve(named(CERTIFIER));
    assert_eq!(issuer.recheck(false).await.unwrap().ended, 0);
    assert!(lab.world.resolve(&token).await.is_ok());
}

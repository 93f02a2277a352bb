//! Certifications over sockets (udap.md §7.4, C01–C15; CRT-01..CRT-16): each row of `tests/data/certifications.jsonl` is
//! registered by a client of its own, with the certification that the row describes, and must be answered exactly so.
//! Good rows stand between the bad ones. Then what cannot be a row: what is unlocked, asked, learnt, shown and ended.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use rcgen::{RevokedCertParams, SerialNumber};
use serde_json::{Value, json};
use ward_admin::{Command, Operator, Role};
use ward_core::{BoxFuture, CommunityUri, Limits};
use ward_fhir::ScopeSet;
use ward_issuer::{CertificationRule, Certifiers};
use ward_net::client::Egress;
use ward_net::http::Body;
use ward_net::server::{Handler, Peer, Running, Server};
use ward_net::tls::{TlsReload, TlsVersions, server_config};
use ward_policy::Subject;
use ward_sandbox::Sandbox;
use ward_trust::certification::TEFCA_BASIC_APP;
use ward_trust::signal::{About, Signal};
use ward_trust::{Certificate, Certification, Community};

use crate::bad_certificates::serve;
use crate::bad_input::generous;
use crate::harness::{Answer, ISS, Setup, World};
use crate::pki::authorities::{Authority, By, days};
use crate::pki::{COMMUNITY, Leaf, Member};
use crate::rows::{Row, form, jwt};
use crate::signals::{self, SECOND, certificate, push, signal};

const CERTIFIER: &str = "https://certifier.example/";
const GOLD: &str = "https://certifier.example/gold";
const WIDE: &str = "https://certifier.example/wide";
const OWN: &str = "https://criteria.example/privacy";
/// What everybody may be granted in these tests.
const BASE: &str = "system/Patient.rs";

/// A certifier's status endpoint: the answer is the path, or what was set for all.
#[derive(Default)]
struct Endpoint {
    asked: Mutex<Vec<String>>,
    count: AtomicUsize,
    says: Mutex<Option<&'static str>>,
}

impl Handler for Endpoint {
    fn handle(&self, request: Request<Incoming>, _: Peer) -> BoxFuture<'_, Response<Body>> {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.asked.lock().unwrap().push(request.uri().to_string());
        let said = *self.says.lock().unwrap();
        let path = request.uri().path().to_owned();
        Box::pin(async move {
            let (status, body) = match said.unwrap_or(path.as_str()) {
                "/true" => (StatusCode::OK, r#"{"valid":true}"#),
                "/false" => (StatusCode::OK, r#"{"valid":false}"#),
                "/text" => (StatusCode::OK, r#"{"valid":"true"}"#),
                "/more" => (StatusCode::OK, r#"{"valid":true,"really":false}"#),
                "/moved" => (StatusCode::FOUND, r#"{"valid":true}"#),
                _ => (StatusCode::INTERNAL_SERVER_ERROR, r#"{"valid":true}"#),
            };
            ward_net::http::text(status, body)
        })
    }
}

/// A Ward whose community supports certifications, and those who certify.
struct Lab {
    world: World,
    members: HashMap<&'static str, Member>,
    certifiers: Authority,
    revoked: Member,
    endpoint: Arc<Endpoint>,
    status: String,
    patient: String,
    _endpoint: Running,
    _upstream: ward_sandbox::Running,
}

fn anchor(authority: &Authority) -> Community {
    let uri = CommunityUri::parse(COMMUNITY).unwrap();
    Community::new(uri, vec![Certificate::from_der(&authority.der).unwrap()])
}

impl Lab {
    async fn new(limits: Limits) -> Self {
        let (root, chain, key) = crate::pki::tls();
        let endpoint = Arc::new(Endpoint::default());
        let tls = TlsReload::new(server_config(&chain, &key, TlsVersions::default()).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving =
            Server::start(listener, Some(tls), endpoint.clone(), Arc::new(Limits::default()));
        let sandbox = Sandbox::generate(7, 5);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = sandbox.start(listener).unwrap();
        let mut roster = sandbox.patient_ids();
        roster.sort();
        let patient = roster[0].clone();
        let base = upstream.base_url.clone();
        let setup = Setup { upstream: base, roster, limits, ceiling: 1000 };
        let clock = ward::house::system().clock;
        let mut world = World::raise_as(
            setup,
            clock,
            |_| {},
            move |config| {
                config.scopes = ScopeSet::parse(BASE).0;
                config.outward.lists = Egress::anywhere();
                config.outward.list_roots = vec![root.clone()];
            },
        )
        .await;
        let pki = &mut world.pki;
        let certifiers = pki.another_root("Certifiers", |_| {});
        let strangers = pki.another_root("Strangers", |_| {});
        let by = By::Other(&certifiers);
        let long = |params: &mut rcgen::CertificateParams| params.not_after = days(4000);
        let revoked = pki.client_by(by, CERTIFIER, &[], |_| {});
        let members = HashMap::from([
            ("certifier", pki.client_by(by, CERTIFIER, &[], long)),
            ("certifier-for-a-month", pki.client_by(by, CERTIFIER, &[], |_| {})),
            ("another-certifier", pki.client_by(by, "https://another.example/", &[], long)),
            ("certifier-expired", pki.client_by(by, CERTIFIER, &[], |p| p.not_after = days(-1))),
            ("certifier-revoked", revoked.clone()),
            ("stranger", pki.client_by(By::Other(&strangers), CERTIFIER, &[], long)),
            ("member", pki.client_by(By::Issuing, CERTIFIER, &[], long)),
            ("self-signed", pki.self_signed(&Leaf::client(CERTIFIER))),
            ("client", pki.client(ISS)),
        ]);
        let lab = Self {
            status: format!("https://localhost:{port}"),
            world,
            members,
            certifiers,
            revoked,
            endpoint,
            patient,
            _endpoint: serving.unwrap(),
            _upstream: upstream,
        };
        let serial = lab.revoked.serial;
        lab.revoke(serial);
        lab
    }

    /// From now on the certifiers' list names these two.
    fn revoke(&self, serial: u64) {
        let now = days(0) - Duration::from_secs(5);
        let entry = |serial: u64| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let all = [serial, self.revoked.serial];
        self.world.pki.put_list(&self.certifiers, |list| {
            list.crl_number = SerialNumber::from(serial + 1000);
            list.revoked_certs = all.into_iter().map(entry).collect();
        });
    }

    fn rule(&self, uri: &str, required: bool, unlocks: &str) -> CertificationRule {
        CertificationRule {
            uri: uri.to_owned(),
            required,
            certifiers: Certifiers::under(anchor(&self.certifiers), Vec::new()),
            unlocks: ScopeSet::parse(unlocks).0,
        }
    }

    fn rules(&self, name: &str) -> Vec<CertificationRule> {
        let own = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Certifiers::of_community(&self.world.pki.community(), names)
        };
        match name {
            "gold" => vec![self.rule(GOLD, true, "")],
            "optional" => vec![self.rule(GOLD, false, "")],
            "wide" => vec![self.rule(WIDE, false, "system/*.rs")],
            "named" => vec![CertificationRule {
                certifiers: Certifiers::under(anchor(&self.certifiers), vec![CERTIFIER.to_owned()]),
                ..self.rule(GOLD, true, "")
            }],
            "declared" => {
                vec![CertificationRule {
                    certifiers: Certifiers::Declared,
                    ..self.rule(OWN, true, "")
                }]
            }
            "community" => {
                vec![CertificationRule { certifiers: own(&[]), ..self.rule(GOLD, true, "") }]
            }
            "community-named" => {
                vec![CertificationRule {
                    certifiers: own(&[CERTIFIER]),
                    ..self.rule(GOLD, true, "")
                }]
            }
            "tefca" => vec![self.rule(TEFCA_BASIC_APP, true, "")],
            other => panic!("unknown rules {other}"),
        }
    }

    async fn follow(&self, rules: Vec<CertificationRule>) {
        serve(&self.world, |all| all[0].certifications = rules).await;
    }

    /// Claims of a good certification of a client, by a third party or (`declared`) by itself.
    fn claims(&self, client: &str, uri: &str, declared: bool) -> Value {
        let now = self.world.system.clock.now().as_seconds();
        let mut claims = json!({
            "iss": CERTIFIER, "sub": client, "jti": format!("c/{client}+{}", next()),
            "iat": now, "exp": now + 20 * 86_400, "certification_name": "Certified",
            "certification_issuer": "The Certifier", "certification_uris": [uri],
            "grant_types": ["client_credentials"],
        });
        if declared {
            claims["iss"] = json!(client);
            claims.as_object_mut().unwrap().remove("certification_issuer");
        }
        claims
    }

    /// A certification that is signed as it should be.
    fn certified(&self, claims: Value) -> String {
        let by = &self.members["certifier"];
        jwt(&World::good_row(), &self.world.words(ISS, ""), claims, by, by)
    }

    async fn register(&self, member: &Member, statement: Value, certifications: Value) -> Answer {
        let words = self.world.words(ISS, "");
        let statement = jwt(&World::good_row(), &words, statement, member, member);
        let body = json!({
            "udap": "1", "software_statement": statement, "certifications": certifications,
        });
        let register = &self.world.register;
        self.world.post(register, "application/json", &body.to_string(), &[]).await
    }

    /// A registration of the usual client, for these scopes.
    async fn registered(&self, member: &Member, scope: &str, certifications: &[&str]) -> Value {
        let mut statement = self.world.statement_claims(ISS);
        statement["scope"] = json!(scope);
        let answer = self.register(member, statement, json!(certifications)).await;
        assert!(matches!(answer.status, 200 | 201), "{}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    async fn token(&self, member: &Member, client: &str, scope: &str) -> Answer {
        let claims = self.world.assertion_claims(client);
        let words = self.world.words(ISS, client);
        let assertion = jwt(&World::good_row(), &words, claims, member, member);
        let mut fields = World::token_form(&assertion);
        for (name, value) in &mut fields {
            if name == "scope" {
                scope.clone_into(value);
            }
        }
        let body = form(&fields);
        self.world.post(&self.world.token, "application/x-www-form-urlencoded", &body, &[]).await
    }

    /// Whether the token still opens the door.
    async fn reads(&self, what: &str, token: &str) -> u16 {
        let path = format!("{}/{what}", self.world.path(&self.world.base));
        self.world.get(&path, token).await.status
    }

    async fn until(&self, what: &str, token: &str, status: u16) {
        let waiting = async {
            while self.reads(what, token).await != status {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), waiting).await.expect(what);
    }
}

/// A number that no other certification has.
fn next() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::SeqCst)
}

/// What a row says beside what `rows.rs` knows of the JWT.
fn taken(row: &mut Value, name: &str) -> Option<Value> {
    row.as_object_mut().unwrap().remove(name)
}

/// CRT-01, CRT-03, CRT-04, CRT-08, CRT-09, CRT-10, CRT-11, CRT-14, and C01 to C15 row by row.
#[tokio::test(flavor = "multi_thread")]
async fn certification_table() {
    let mut lab = Lab::new(generous()).await;
    let (mut rows, mut wrong, mut under) = (0, Vec::new(), String::new());
    for line in include_str!("../data/certifications.jsonl").lines() {
        let mut value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let rules =
            taken(&mut value, "rules").map_or("gold".into(), |v| v.as_str().unwrap().to_owned());
        let sends = taken(&mut value, "sends");
        let echoed = taken(&mut value, "echoed");
        let scope = taken(&mut value, "granted");
        let declared = taken(&mut value, "declared").is_some();
        let patch = taken(&mut value, "statement").unwrap_or(json!({}));
        let row: Row = serde_json::from_value(value).unwrap_or_else(|e| panic!("{line}: {e}"));
        rows += 1;
        if rules != under {
            lab.follow(lab.rules(&rules)).await;
            under.clone_from(&rules);
        }
        let client = format!("https://partner.example/app-{rows}");
        let member = lab.world.pki.client(&client);
        let words = lab.world.words(&client, "");
        let mut statement = lab.world.statement_claims(&client);
        words.merge(&mut statement, patch.as_object().unwrap());
        let uri = match rules.as_str() {
            "wide" => WIDE,
            "declared" => OWN,
            "tefca" => TEFCA_BASIC_APP,
            _ => GOLD,
        };
        let find = |name: &Option<String>| match name.as_deref() {
            None if declared => member.clone(),
            None => lab.members["certifier"].clone(),
            Some("self") => member.clone(),
            Some(name) => lab.members.get(name).unwrap_or_else(|| panic!("no {name}")).clone(),
        };
        let shown = find(&row.member);
        let signer = if row.signer.is_some() { find(&row.signer) } else { shown.clone() };
        let mut claims = lab.claims(&client, uri, declared);
        let mut plain = row.clone();
        for (_, value) in &mut plain.claims {
            if let Some(path) = value.as_str().and_then(|text| text.strip_prefix("@status")) {
                *value = json!(format!("{}{path}", lab.status));
            }
        }
        claims["jti"] = json!(format!("row-{rows}"));
        let certification = jwt(&plain, &words, claims, &shown, &signer);
        let good = lab.certified(lab.claims(&client, uri, false));
        let certifications = match sends.as_ref().and_then(Value::as_str) {
            None if sends.is_none() => json!([certification]),
            Some("nothing") => json!([]),
            Some("good-too") => json!([certification, good]),
            Some("twice") => json!([certification, certification]),
            Some("hundreds") => json!(vec![certification.as_str(); 1000]),
            Some("text") => json!(certification),
            Some("a-number") => json!([certification, 1]),
            Some("an-object") => json!({ "0": certification }),
            Some("statement") => {
                json!([jwt(&World::good_row(), &words, statement.clone(), &member, &member)])
            }
            Some(other) => json!([other]),
            None => panic!("{line}: sends"),
        };
        let answer = lab.register(&member, statement, certifications).await;
        let mut right = answer.status == row.status && answer.error() == row.error;
        if let Some(echoed) = echoed {
            // CRT-10: those that were accepted, byte for byte, and only those.
            let all = [certification, good];
            let wanted: Vec<_> = echoed
                .as_array()
                .unwrap()
                .iter()
                .map(|at| &all[usize::try_from(at.as_u64().unwrap()).unwrap()])
                .collect();
            let got = answer.json().get("certifications").cloned().unwrap_or(json!([]));
            right &= got == json!(wanted);
        }
        if let Some(scope) = scope {
            right &= answer.json()["scope"] == scope;
        }
        if !right {
            wrong.push(format!(
                "{} ({}): demanded {} {:?}, got {} {}",
                row.id,
                row.what,
                row.status,
                row.error,
                answer.status,
                String::from_utf8_lossy(&answer.body).chars().take(300).collect::<String>(),
            ));
        }
    }
    println!("certifications.jsonl: {rows} rows");
    assert!(rows >= 60, "only {rows} rows");
    assert!(wrong.is_empty(), "certifications.jsonl:\n{}", wrong.join("\n"));
}

/// CRT-12, CRT-16: the certifier is asked by `jti` and `exp`, over TLS; what it does not stand by any more ends by itself,
/// without anybody asking Ward.
#[tokio::test(flavor = "multi_thread")]
async fn what_its_certifier_takes_back_ends_by_itself() {
    let age = Duration::from_millis(200);
    let lab = Lab::new(Limits { certification_status_age: age, ..generous() }).await;
    lab.follow(lab.rules("gold")).await;
    let mut claims = lab.claims(ISS, GOLD, false);
    claims["certification_status_endpoint"] = json!(format!("{}/true?programme=gold", lab.status));
    let (jti, exp) = (claims["jti"].as_str().unwrap().to_owned(), claims["exp"].clone());
    let gold = lab.certified(claims);
    let member = &lab.members["client"];
    let registered = lab.registered(member, BASE, &[&gold]).await;
    let client = registered["client_id"].as_str().unwrap();
    let asked = lab.endpoint.asked.lock().unwrap()[0].clone();
    let escaped = jti.replace('/', "%2F").replace('+', "%2B").replace(':', "%3A");
    assert_eq!(asked, format!("/true?programme=gold&jti={escaped}&exp={exp}"));
    let answer = lab.token(member, client, BASE).await;
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let patient = format!("Patient/{}", lab.patient);
    assert_eq!(lab.reads(&patient, &token).await, 200);
    *lab.endpoint.says.lock().unwrap() = Some("/false");
    lab.until(&patient, &token, 401).await;
    let answer = lab.token(member, client, BASE).await;
    assert_eq!((answer.status, answer.error().as_deref()), (400, Some("unauthorized_client")));
}

/// CRT-07, CRT-16: a list that names the certifier ends what rests on its word, from the moment Ward learns it.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certifier_takes_its_certifications_along() {
    let lab = Lab::new(generous()).await;
    lab.follow(lab.rules("gold")).await;
    let member = &lab.members["client"];
    let gold = lab.certified(lab.claims(ISS, GOLD, false));
    let registered = lab.registered(member, BASE, &[&gold]).await;
    let client = registered["client_id"].as_str().unwrap();
    let answer = lab.token(member, client, BASE).await;
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let patient = format!("Patient/{}", lab.patient);
    assert_eq!(lab.reads(&patient, &token).await, 200);
    lab.revoke(lab.members["certifier"].serial);
    let officer = Operator { name: "test-officer".into(), role: Role::SecurityOfficer };
    lab.world.house.admin.execute(&officer, Command::RefreshLists).await.unwrap();
    assert_eq!(lab.reads(&patient, &token).await, 401, "at the next request");
    let answer = lab.token(member, client, BASE).await;
    assert_eq!((answer.status, answer.error().as_deref()), (400, Some("unauthorized_client")));
    let mut statement = lab.world.statement_claims(ISS);
    statement["scope"] = json!(BASE);
    let answer = lab.register(member, statement, json!([gold])).await;
    assert_eq!((answer.status, answer.error().as_deref()), (400, Some("unapproved_certification")));
}

/// A certification unlocks a wider scope; revoked by an operator it takes that along and nothing else. `ward passport` shows
/// it, what hangs on it and when it ends.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_certification_unlocks_ends_with_it() {
    let lab = Lab::new(generous()).await;
    lab.follow(lab.rules("wide")).await;
    let member = &lab.members["client"];
    let asked = "system/Observation.rs system/Patient.rs";
    let observations = format!("Observation?patient={}", lab.patient);
    let patient = format!("Patient/{}", lab.patient);
    // Before: neither granted nor read.
    let narrow = lab.registered(member, asked, &[]).await;
    assert_eq!(narrow["scope"], BASE);
    let client = narrow["client_id"].as_str().unwrap().to_owned();
    let token = |answer: Answer| answer.json()["access_token"].as_str().unwrap().to_owned();
    let before = token(lab.token(member, &client, asked).await);
    assert_eq!(
        (lab.reads(&patient, &before).await, lab.reads(&observations, &before).await),
        (200, 403)
    );
    // With it.
    let claims = lab.claims(ISS, WIDE, false);
    let id = Certification::id_of(
        CERTIFIER,
        claims["jti"].as_str().unwrap(),
        ward_core::Timestamp::from_seconds(claims["exp"].as_i64().unwrap()),
    );
    let wide = lab.certified(claims);
    let answer = lab.registered(member, asked, &[&wide]).await;
    assert_eq!((&answer["scope"], &answer["certifications"]), (&json!(asked), &json!([wide])));
    assert_eq!(answer["client_id"], client.as_str());
    let after = token(lab.token(member, &client, asked).await);
    assert_eq!(
        (lab.reads(&patient, &after).await, lab.reads(&observations, &after).await),
        (200, 200)
    );
    let plain = token(lab.token(member, &client, BASE).await);
    // Seen.
    let officer = Operator { name: "test-officer".into(), role: Role::SecurityOfficer };
    let ask = async |command: Command| {
        serde_json::to_value(lab.world.house.admin.execute(&officer, command).await.unwrap())
            .unwrap()
    };
    let passport = ask(Command::Passport { entity: Some(ISS.to_owned()) }).await;
    let passport = &passport["passport"];
    let supported = &passport["communities"][0]["certifications"][0];
    assert_eq!((&supported["uri"], &supported["required"]), (&json!(WIDE), &json!(false)));
    assert_eq!(supported["unlocks"], "system/*.rs");
    let shown = &passport["clients"][0]["certifications"][0];
    assert_eq!((&shown["id"], &shown["void"]), (&json!(id.to_string()), &Value::Null));
    assert_eq!((&shown["certifier"], &shown["uris"]), (&json!(CERTIFIER), &json!([WIDE])));
    let soon = ask(Command::Expiring { days: 21 }).await;
    let soon = soon["expiring"]["lapses"].as_array().unwrap().clone();
    assert!(
        soon.iter().any(|one| one["what"] == "certification" && one["client"] == client.as_str()),
        "{soon:?}"
    );
    let later = ask(Command::Expiring { days: 19 }).await;
    let later = later["expiring"]["lapses"].as_array().unwrap().clone();
    assert!(later.iter().all(|one| one["what"] != "certification"), "{later:?}");
    let subject = Subject::Certification(id);
    let hangs = ask(Command::WhatIf { subject: subject.clone() }).await;
    assert_eq!(hangs["what-if"]["live_grants"], 1, "{hangs}");
    // Ended.
    let revoke =
        Command::Revoke { subject: subject.clone(), reason: "audit".into(), incident: None };
    ask(revoke).await;
    assert_eq!(lab.reads(&observations, &after).await, 401, "at the next request");
    assert_eq!(lab.reads(&patient, &plain).await, 200, "what did not rest on it goes on");
    let narrowed = lab.token(member, &client, asked).await;
    assert_eq!((narrowed.status, &narrowed.json()["scope"]), (200, &json!(BASE)));
    let passport = ask(Command::Passport { entity: Some(ISS.to_owned()) }).await;
    assert_eq!(passport["passport"]["clients"][0]["certifications"][0]["void"], "revoked");
    let slip = Subject::Certification(ward_core::Thumbprint([7; 32]));
    let slip = Command::Revoke { subject: slip, reason: "slip".into(), incident: None };
    assert!(lab.world.house.admin.execute(&officer, slip).await.is_err());
}

/// `ward.toml` says it: `ward check` explains what makes no sense, the metadata say what is asked for, and the programme refuses
/// who lacks it (CRT-02, CRT-07).
#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_the_configuration_says_what_counts() {
    let upstream = crate::place::sandbox().await;
    let mut pki = crate::pki::Pki::start().await;
    let place = crate::place::Place::init(&upstream.base_url);
    place.join(&mut pki);
    let certifiers = pki.another_root("Certifiers", |params| params.not_after = days(20));
    let write = |name: &str, ders: &[Vec<u8>]| {
        std::fs::write(place.path(&format!("w/{name}")), crate::place::pem(ders)).unwrap();
    };
    write("certifiers.pem", std::slice::from_ref(&certifiers.der));
    write("both.pem", &[certifiers.der.clone(), pki.root_der()]);
    let before = std::fs::read_to_string(place.toml()).unwrap();
    let with = |lines: &str| {
        let table = format!("\n[[community.certification]]\nuri = \"{GOLD}\"\n{lines}\n");
        std::fs::write(place.toml(), format!("{before}{table}")).unwrap();
        let (good, report) = place.check();
        (good, report.to_string())
    };
    for (lines, said) in [
        ("anchors = \"none.pem\"", "none.pem, which cannot be read"),
        ("anchors = \"both.pem\"", "every member could certify"),
        ("anchors = \"w/tls/certificate.pem\"", "certification[0].anchors"),
        ("unlocks = [\"system/Patient\"]", "which is no system scope"),
        ("declared = true\ncertifiers = [\"https://certifier.example/\"]", "a client's own word"),
    ] {
        let (good, report) = with(lines);
        assert!(!good && report.contains(said), "{lines}: {report}");
    }
    let (good, report) = with("required = true\nanchors = \"certifiers.pem\"");
    assert!(good, "{report}");
    for said in ["without it nobody gets in", "a certifiers' root of", "ends on"] {
        assert!(report.contains(said), "{said}: {report}");
    }
    let mut serving = crate::place::Serving::start(&place).await;
    let partner = place.partner(&mut pki);
    let server = partner.iter().take_while(|word| *word != "--certificate").cloned();
    let server: Vec<String> = server.chain(["--json".to_owned()]).collect();
    let found = crate::place::as_partner(&server, &["client", "discover"], &[]);
    assert!(found.to_string().contains(GOLD), "{found}");
    let more = ["--scope", BASE, "--contact", "mailto:ops@partner.example"];
    let refused = crate::place::as_partner(&partner, &["client", "register"], &more);
    assert_eq!(refused["ok"], json!(false), "{refused}");
    assert!(refused.to_string().contains("certification"), "{refused}");
    serving.signal("-TERM");
    serving.until("Ward is down").await;
}

/// A certification that a community of the certifier's takes back ends at once. Another community of the same server, which certified a
/// namesake of the certifier, ends nothing by it: a certification is known by its certifier's certificate too.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_certification_of_its_own_community_and_of_no_namesake() {
    let mut lab = Lab::new(signals::unhurried()).await;
    let (root, other) = signals::second(&mut lab.world);
    let rules = lab.rules("community-named");
    serve(&lab.world, |all| {
        all[0].certifications = rules;
        all.push(other);
    })
    .await;
    let speaks = lab.world.pki.client(COMMUNITY);
    let second = lab.world.pki.client_by(By::Other(&root), SECOND, &[], |_| {});
    let namesake = lab.world.pki.client_by(By::Other(&root), CERTIFIER, &[], |_| {});
    let (member, certifier) = (&lab.members["client"], &lab.members["member"]);
    let claims = lab.claims(ISS, GOLD, false);
    let about = |signer: &Member| About::Certification {
        issuer: CERTIFIER.to_owned(),
        jti: claims["jti"].as_str().unwrap().to_owned(),
        signed: Some((
            ward_core::Timestamp::from_seconds(claims["exp"].as_i64().unwrap()),
            Box::new(certificate(signer)),
        )),
    };
    let gold =
        jwt(&World::good_row(), &lab.world.words(ISS, ""), claims.clone(), certifier, certifier);
    let client =
        lab.registered(member, BASE, &[&gold]).await["client_id"].as_str().unwrap().to_owned();
    let token =
        lab.token(member, &client, BASE).await.json()["access_token"].as_str().unwrap().to_owned();
    let patient = format!("Patient/{}", lab.patient);
    assert_eq!(lab.reads(&patient, &token).await, 200);
    for (jti, signer) in [("namesake", &namesake), ("not-its-own", certifier)] {
        let said = Signal { issuer: SECOND.to_owned(), ..signal(&lab.world, jti, about(signer)) };
        let answer = push(&lab.world, &said.sign(&second.identity).unwrap()).await;
        assert_eq!(answer.status, 202, "{jti}");
        assert_eq!(lab.reads(&patient, &token).await, 200, "{jti}");
        assert_eq!(lab.token(member, &client, BASE).await.status, 200, "{jti}");
    }
    let said = signal(&lab.world, "its-own", about(certifier));
    assert_eq!(push(&lab.world, &said.sign(&speaks.identity).unwrap()).await.status, 202);
    assert_eq!(lab.reads(&patient, &token).await, 401, "at the next request");
    let refused = lab.token(member, &client, BASE).await;
    assert_eq!((refused.status, refused.error().as_deref()), (400, Some("unauthorized_client")));
    let mut statement = lab.world.statement_claims(ISS);
    statement["scope"] = json!(BASE);
    let answer = lab.register(member, statement, json!([gold])).await;
    assert_eq!((answer.status, answer.error().as_deref()), (400, Some("unapproved_certification")));
}

/// Whoever has the key of a certifier whose certificate was revoked ends nothing with it that another certificate signed, though he gives
/// his own the same `jti` and `exp`.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_key_of_a_revoked_certifier_ends_nothing_of_the_next() {
    let mut lab = Lab::new(generous()).await;
    lab.follow(lab.rules("gold")).await;
    let other = "https://attacker.example/app";
    let attacker = lab.world.pki.client(other);
    let member = &lab.members["client"];
    let claims = lab.claims(ISS, GOLD, false);
    let gold = lab.certified(claims.clone());
    let client = lab.registered(member, BASE, &[&gold]).await["client_id"].clone();
    let client = client.as_str().unwrap();
    let token = lab.token(member, client, BASE).await.json()["access_token"].clone();
    let token = token.as_str().unwrap();
    let mut forged = claims;
    forged["sub"] = json!(other);
    let stolen = &lab.revoked;
    let forged = jwt(&World::good_row(), &lab.world.words(other, ""), forged, stolen, stolen);
    let statement = lab.world.statement_claims(other);
    let answer = lab.register(&attacker, statement, json!([forged])).await;
    assert_eq!((answer.status, answer.error().as_deref()), (400, Some("unapproved_certification")));
    assert_eq!(lab.reads(&format!("Patient/{}", lab.patient), token).await, 200);
    assert_eq!(lab.token(member, client, BASE).await.status, 200);
}

//! The bad-input tables of `udap.md` §7.1–7.3, 7.6, 7.7 and `enforcement.md` §2.A–2.D, row by row.
//!
//! `tests/data/*.jsonl` demand the exact status and error code. Good rows stand between the bad ones, so that a
//! server that refuses everything does not pass.

use std::collections::HashMap;
use std::sync::Arc;

use rcgen::KeyUsagePurpose;
use serde_json::{Value, json};
use ward_admin::{Command, Operator, Role};
use ward_core::{ClientUri, Clock, CommunityUri, Limits, OrganizationUri};
use ward_sandbox::Sandbox;

use crate::harness::{Answer, ISS, SCOPE, Setup, World};
use crate::pki::{COMMUNITY, Key, Leaf, Member};
use crate::profiles;
use crate::reasons::Reasons;
use crate::rows::{Row, form, jwt, table};

/// A Ward before a small generated hospital; the first patients are in the roster.
pub async fn world(limits: Limits) -> (World, ward_sandbox::Running, Vec<String>, Vec<String>) {
    world_at(limits, ward::house::system().clock).await
}

/// The same, by a clock of the test's own: nothing that lasts a minute ends sooner on a busy machine.
pub async fn world_at(
    limits: Limits,
    clock: Arc<dyn Clock>,
) -> (World, ward_sandbox::Running, Vec<String>, Vec<String>) {
    let sandbox = Sandbox::generate(7, 20);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = sandbox.start(listener).unwrap();
    let mut ids = sandbox.patient_ids();
    ids.sort();
    let strangers = ids.split_off(10);
    let setup =
        Setup { upstream: upstream.base_url.clone(), roster: ids.clone(), limits, ceiling: 1000 };
    (World::raise_with(setup, clock, |_| {}).await, upstream, ids, strangers)
}

/// Members by the names that rows use.
fn members(world: &mut World) -> HashMap<&'static str, Member> {
    let pki = &mut world.pki;
    let leaf = || Leaf::client(ISS);
    let elsewhere = || Leaf::client("https://elsewhere.example/app");
    let mut members = HashMap::from([
        ("good", pki.issue(&leaf())),
        ("other", pki.issue(&Leaf::client("https://other.example/app"))),
        ("stranger", pki.issue(&Leaf::client("https://stranger.example/app"))),
        ("rsa", pki.issue(&Leaf { key: Key::Rsa, ..leaf() })),
        ("expired", pki.issue(&Leaf { days: (-20, -1), ..leaf() })),
        ("future", pki.issue(&Leaf { days: (2, 20), ..leaf() })),
        ("self-signed", pki.self_signed(&leaf())),
        ("impostor", pki.impostor(&leaf())),
        ("revoked", pki.issue(&leaf())),
        ("no-cdp", pki.issue(&Leaf { crl: false, ..leaf() })),
        ("issued-by-leaf", pki.issued_by_leaf(ISS)),
        (
            "key-encipherment",
            pki.issue(&Leaf { usages: vec![KeyUsagePurpose::KeyEncipherment], ..leaf() }),
        ),
        ("uri-in-cn", pki.issue(&Leaf { common_name: ISS.into(), ..elsewhere() })),
        ("uri-in-dns", pki.issue(&Leaf { dns: vec!["partner.example".into()], ..elsewhere() })),
        ("no-san", pki.issue(&Leaf { uris: vec![], common_name: ISS.into(), ..leaf() })),
        (
            "dns-only",
            pki.issue(&Leaf { uris: vec![], dns: vec!["partner.example".into()], ..leaf() }),
        ),
    ]);
    let revoked = members.remove("revoked").unwrap();
    pki.revoke(&revoked);
    members.insert("revoked", revoked);
    members
}

/// Collects what is not as demanded, so that one run shows every wrong row.
struct Verdict {
    rows: usize,
    wrong: Vec<String>,
    reasons: Reasons,
}

impl Verdict {
    fn of(table: &'static str) -> Self {
        Self { rows: 0, wrong: vec![], reasons: Reasons::new(table) }
    }

    fn check(&mut self, row: &Row, answer: &Answer) {
        self.rows += 1;
        self.reasons.check(&row.id, &row.what, answer);
        let error = answer.error();
        let right = answer.status == row.status
            && (row.error.is_none() || row.error == error)
            && (row.status >= 400 || row.error.is_none());
        if !right {
            self.wrong.push(format!(
                "{} ({}): demanded {} {:?}, got {} {error:?} {}",
                row.id,
                row.what,
                row.status,
                row.error,
                answer.status,
                String::from_utf8_lossy(&answer.body).chars().take(160).collect::<String>(),
            ));
        }
    }

    fn end(self, table: &str, at_least: usize) {
        println!("{table}: {} rows", self.rows);
        assert!(self.rows >= at_least, "{table} has only {} rows", self.rows);
        assert!(self.wrong.is_empty(), "{table}:\n{}", self.wrong.join("\n"));
        self.reasons.end();
    }
}

pub fn generous() -> Limits {
    Limits {
        registrations_per_minute: 100_000,
        token_failures_per_minute: 100_000,
        tokens_per_client_per_minute: 100_000,
        ..Limits::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_table() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let members = members(&mut world);
    let mut verdict = Verdict::of("registration.jsonl");
    for row in table(include_str!("../data/registration.jsonl")) {
        let member = &members[row.member.as_deref().unwrap_or("good")];
        let signer = row.signer.as_deref().map_or(member, |name| &members[name]);
        let words = world.words(ISS, "");
        let statement = jwt(&row, &words, world.statement_claims(ISS), member, signer);
        let mut body = json!({ "udap": "1", "software_statement": statement });
        words.merge(&mut body, &row.body);
        let body = match row.raw_body.as_deref() {
            None => body.to_string(),
            Some("=deep") => "[".repeat(10_000) + &"]".repeat(10_000),
            Some(raw) => raw.to_owned(),
        };
        let method = row.method.as_deref().unwrap_or("POST");
        let kind = row.content_type.as_deref().unwrap_or("application/json");
        let mut answer = Answer { status: 0, headers: vec![], body: vec![] };
        for _ in 0..=usize::from(row.again) {
            answer = world
                .send(
                    method,
                    &world.path(&world.register),
                    &[("content-type", kind)],
                    Some(body.as_bytes()),
                )
                .await;
        }
        // A good row registers anew or modifies: both are success (REG-22, MOD-05).
        if row.status == 201 && answer.status == 200 {
            answer.status = 201;
        }
        if row.status == 201 {
            let granted = answer.json();
            assert_eq!(granted["client_name"], "Partner", "{}: only the statement counts", row.id);
            assert!(granted.get("client_secret").is_none(), "REG-25");
        }
        if row.status == 400 {
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{}", row.id);
        }
        verdict.check(&row, &answer);
    }
    verdict.end("registration.jsonl", 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_table() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let mut members = members(&mut world);
    members.extend(profiles::members(&mut world.pki));
    let client = world.register_client(&members["good"], ISS).await;
    let certified = profiles::register(&world, &members).await;
    let vouching = profiles::Vouching::new(&world);
    let mut under = None;
    // Somebody else speaks for this organisation (B09).
    let officer = Operator { name: "test-officer".into(), role: Role::SecurityOfficer };
    let import = Command::ImportRoster {
        organization: OrganizationUri::parse("https://other.example/org").unwrap(),
        members: vec![(
            CommunityUri::parse(COMMUNITY).unwrap(),
            ClientUri::parse("https://other.example/app").unwrap(),
        )],
        rows: vec![],
    };
    world.house.admin.execute(&officer, import).await.unwrap();
    let mut verdict = Verdict::of("token.jsonl");
    for row in table(&vouching.fill(include_str!("../data/token.jsonl"))) {
        if row.rules != under {
            profiles::follow(&world, row.rules.as_deref(), &vouching).await;
            under.clone_from(&row.rules);
        }
        let named = row.member.as_deref().unwrap_or("good");
        let member = &members[named];
        let signer = row.signer.as_deref().map_or(member, |name| &members[name]);
        let client = certified.get(named).unwrap_or(&client);
        let words = world.words(ISS, client);
        let assertion = jwt(&row, &words, world.assertion_claims(client), member, signer);
        let mut fields = World::token_form(&assertion);
        let mut patch = json!({});
        words.merge(&mut patch, &row.form);
        for (name, value) in &row.form {
            fields.retain(|(known, _)| known != name);
            if !value.is_null() {
                fields.push((name.clone(), patch[name].as_str().unwrap().to_owned()));
            }
        }
        if let Some(twice) = &row.twice {
            let again = fields.iter().find(|(name, _)| name == twice).unwrap().clone();
            fields.push(again);
        }
        let body = row.raw_body.clone().unwrap_or_else(|| form(&fields));
        let method = row.method.as_deref().unwrap_or("POST");
        let kind = row.content_type.as_deref().unwrap_or("application/x-www-form-urlencoded");
        let mut headers = vec![("content-type", kind)];
        headers.extend(row.headers.iter().map(|(n, v)| (n.as_str(), v.as_str().unwrap())));
        let mut answer = Answer { status: 0, headers: vec![], body: vec![] };
        for _ in 0..=usize::from(row.again) {
            answer = world
                .send(method, &world.path(&world.token), &headers, Some(body.as_bytes()))
                .await;
        }
        if answer.status == 200 {
            let issued = answer.json();
            assert!(issued.get("refresh_token").is_none(), "T29");
            assert!(issued["expires_in"].as_u64().unwrap() <= 3600, "TOK-18");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "TOK-17");
            assert_eq!(answer.header("pragma"), Some("no-cache"), "TOK-17");
            let asked = SCOPE.split(' ');
            let granted: Vec<&str> = issued["scope"].as_str().unwrap().split(' ').collect();
            assert!(granted.iter().all(|scope| asked.clone().any(|known| known == *scope)), "T31");
        }
        if answer.status == 401 {
            assert!(answer.header("www-authenticate").is_some(), "T08");
        }
        verdict.check(&row, &answer);
    }
    verdict.end("token.jsonl", 60);
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct GatewayRow {
    id: String,
    what: String,
    target: String,
    status: u16,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: serde_json::Map<String, Value>,
    #[serde(default)]
    raw_headers: Option<String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    content_type: Option<String>,
}

/// RSV-08.
#[tokio::test(flavor = "multi_thread")]
async fn gateway_table() {
    let (mut world, upstream, roster, strangers) = world(generous()).await;
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    let token = world.access_token(&member, &client).await;
    let long = |text: &str| match text.strip_prefix("=long:") {
        Some(count) => "x".repeat(count.parse().unwrap()),
        None => text.to_owned(),
    };
    let (mut rows, mut wrong) = (0, vec![]);
    for line in include_str!("../data/gateway.jsonl").lines() {
        let row: GatewayRow = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        rows += 1;
        let target = row
            .target
            .replace("{base}", &world.path(&world.base))
            .replace("{mine}", &roster[0])
            .replace("{other}", &strangers[0])
            .replace("{long}", &"x".repeat(9000));
        let mut headers = vec![("authorization".to_owned(), format!("Bearer {token}"))];
        if let Some(kind) = &row.content_type {
            headers.push(("content-type".to_owned(), kind.clone()));
        }
        for (name, value) in &row.headers {
            headers.retain(|(known, _)| known != name);
            if let Some(value) = value.as_str() {
                headers.push((name.clone(), long(value)));
            }
        }
        let body = row.body.as_deref().map(long);
        let method = row.method.as_deref().unwrap_or("GET");
        let mut answer = Answer { status: 0, headers: vec![], body: vec![] };
        if let Some(raw) = &row.raw_headers {
            let bytes = format!(
                "{method} {target} HTTP/1.1\r\nhost: localhost:{}\r\nauthorization: Bearer {token}\r\ncontent-type: application/x-www-form-urlencoded\r\n{raw}\r\n{}",
                world.port,
                body.unwrap_or_default()
            );
            answer = world.exchange(bytes.as_bytes()).await;
        } else {
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            // A server that refuses early may reset the connection under a large request: once more.
            for _ in 0..3 {
                answer =
                    world.send(method, &target, &headers, body.as_deref().map(str::as_bytes)).await;
                if answer.status != 0 {
                    break;
                }
            }
        }
        if answer.status != row.status {
            wrong.push(format!(
                "{} ({}): demanded {}, got {} {}",
                row.id,
                row.what,
                row.status,
                answer.status,
                String::from_utf8_lossy(&answer.body).chars().take(200).collect::<String>()
            ));
        }
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        // The client's own words may come back in `link.self`.
        let leaked = strangers.iter().any(|id| text.contains(id.as_str()) && !target.contains(id));
        assert!(!leaked, "{}: a stranger's id is in the answer: {text}", row.id);
        assert!(!text.contains(&upstream.base_url), "{}: the upstream's address leaks", row.id);
        assert!(!text.contains("evil.example") || target.contains("evil.example"), "A9: {text}");
        if answer.status == 200 {
            assert_eq!(
                answer.header("cache-control"),
                Some("no-store, private"),
                "A22: {}",
                row.id
            );
            assert_eq!(answer.header("vary"), Some("Authorization"), "A22: {}", row.id);
        }
        assert_eq!(answer.header("upgrade"), None, "A12: {}", row.id);
        assert!(method != "HEAD" || text.is_empty(), "A15: {}", row.id);
    }
    println!("gateway.jsonl: {rows} rows");
    assert!(rows >= 60 && wrong.is_empty(), "gateway.jsonl:\n{}", wrong.join("\n"));
}

/// R38–R40, P25: the controls that need time, another member or a flood.
#[tokio::test(flavor = "multi_thread")]
async fn replay_controls_and_flood() {
    let limits = Limits { registrations_per_minute: 10, ..Limits::default() };
    let (mut world, _upstream, ..) = world(limits).await;
    let (good, other) = (world.pki.client(ISS), world.pki.client("https://other.example/app"));
    let words = world.words(ISS, "");
    let row = World::good_row();
    let send = async |statement: String| {
        let body = json!({ "udap": "1", "software_statement": statement }).to_string();
        world.post(&world.register, "application/json", &body, &[]).await
    };
    // R40: a forged statement with the victim's iss and jti does not burn the jti.
    let claims = world.statement_claims(ISS);
    let forged = jwt(&row, &words, claims.clone(), &good, &other);
    assert_eq!(send(forged).await.error().as_deref(), Some("invalid_software_statement"), "R40");
    let real = jwt(&row, &words, claims.clone(), &good, &good);
    assert_eq!(send(real).await.status, 201, "R40");
    // R39: the same jti from another issuer is another JWT.
    let mut theirs = world.statement_claims("https://other.example/app");
    theirs["jti"] = claims["jti"].clone();
    assert_eq!(send(jwt(&row, &words, theirs, &other, &other)).await.status, 201, "R39");
    // P25: a flood is answered with 429 and Retry-After.
    let mut limited = None;
    for _ in 0..60 {
        let answer = send("x".to_owned()).await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("P25: a flood must meet 429");
    assert!(limited.header("retry-after").is_some(), "P25");
}

/// The same statement 50 times at once: exactly one registration (R37).
#[tokio::test(flavor = "multi_thread")]
async fn a_raced_statement_registers_once() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let good = world.pki.client(ISS);
    let words = world.words(ISS, "");
    let statement = jwt(&World::good_row(), &words, world.statement_claims(ISS), &good, &good);
    let body = json!({ "udap": "1", "software_statement": statement }).to_string();
    let world = Arc::new(world);
    let mut tasks = vec![];
    for _ in 0..50 {
        let (world, body) = (world.clone(), body.clone());
        tasks.push(tokio::spawn(async move {
            world.post(&world.register, "application/json", &body, &[]).await
        }));
    }
    let mut answers = vec![];
    for task in tasks {
        let answer = task.await.unwrap();
        answers.push((answer.status, answer.error()));
    }
    answers.sort_unstable();
    let again = (400, Some("invalid_software_statement".to_owned()));
    assert_eq!(answers[0], (201, None), "R37");
    assert!(answers[1..].iter().all(|answer| *answer == again), "R37: {answers:?}");
    let tenant = ward_core::TenantId::default_tenant();
    let all = world.house.repositories.registrations.list(&tenant, None, 100).await.unwrap();
    assert_eq!(all.len(), 1);
}

/// The same authentication token 50 times at once: one access token (T18).
#[tokio::test(flavor = "multi_thread")]
async fn a_raced_assertion_is_used_once() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let good = world.pki.client(ISS);
    let client = world.register_client(&good, ISS).await;
    let words = world.words(ISS, &client);
    let assertion = jwt(&World::good_row(), &words, world.assertion_claims(&client), &good, &good);
    let body = form(&World::token_form(&assertion));
    let world = Arc::new(world);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (world, body) = (world.clone(), body.clone());
        tasks.spawn(async move {
            world.post(&world.token, "application/x-www-form-urlencoded", &body, &[]).await
        });
    }
    let mut answers: Vec<_> = tasks.join_all().await;
    answers.sort_unstable_by_key(|answer| answer.status);
    assert_eq!(answers[0].status, 200, "T18");
    assert!(answers[0].json()["access_token"].is_string(), "T18");
    for answer in &answers[1..] {
        let error = answer.error();
        assert_eq!((answer.status, error.as_deref()), (400, Some("invalid_client")), "T18");
    }
}

/// What was used is used after a restart too, statement and assertion, and what was not is good (R37, T18).
#[tokio::test(flavor = "multi_thread")]
async fn a_jti_is_used_across_a_restart() {
    let (mut world, _upstream, ..) = world(generous()).await;
    let good = world.pki.client(ISS);
    let row = World::good_row();
    let statement = |world: &World| {
        let words = world.words(ISS, "");
        let statement = jwt(&row, &words, world.statement_claims(ISS), &good, &good);
        json!({ "udap": "1", "software_statement": statement }).to_string()
    };
    let assertion = |world: &World, client: &str| {
        let words = world.words(ISS, client);
        let assertion = jwt(&row, &words, world.assertion_claims(client), &good, &good);
        form(&World::token_form(&assertion))
    };
    let register = async |world: &World, body: &str| {
        let answer = world.post(&world.register, "application/json", body, &[]).await;
        (answer.status, answer.error())
    };
    let ask = async |world: &World, body: &str| {
        let kind = "application/x-www-form-urlencoded";
        let answer = world.post(&world.token, kind, body, &[]).await;
        (answer.status, answer.error())
    };
    let used = statement(&world);
    assert_eq!(register(&world, &used).await, (201, None));
    let client = world.register_client(&good, ISS).await;
    let spent = assertion(&world, &client);
    assert_eq!(ask(&world, &spent).await, (200, None));
    let (fresh, unspent) = (statement(&world), assertion(&world, &client));
    let data = world.house.paths.root().to_owned();
    let world = world.move_to(&data).await;
    let again = (400, Some("invalid_software_statement".to_owned()));
    assert_eq!(register(&world, &used).await, again, "R37");
    assert_eq!(ask(&world, &spent).await, (400, Some("invalid_client".to_owned())), "T18");
    assert_eq!(ask(&world, &unspent).await, (200, None));
    assert_eq!(register(&world, &fresh).await, (200, None));
    assert_eq!(register(&world, &fresh).await, again, "R37");
    assert_eq!(ask(&world, &unspent).await, (400, Some("invalid_client".to_owned())), "T18");
    world.house.close().await;
}

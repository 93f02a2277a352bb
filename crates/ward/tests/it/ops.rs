//! The admin listener tells the truth: alive, ready (log, store, upstream, lists), and what it counts; and
//! the partners' listener speaks HTTP/2 with somebody else's client.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use ward::ops::{self, CATALOGUE, Kind, Running};
use ward_admin::{Command, Operator, Role};
use ward_core::{Clock as _, Limits, ManualClock, SystemClock};

use crate::bad_input::{world, world_at};
use crate::harness::{Answer, ISS, World, parse};

/// The admin listener of a World.
pub async fn admin_listener(world: &World) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    ops::start(listener, None, world.house.ops.clone()).await.unwrap()
}

/// Limits under which every look is a new one.
pub fn limits() -> Limits {
    Limits { probe_age: Duration::ZERO, ..Limits::default() }
}

/// Asks the admin listener.
pub async fn ask(to: SocketAddr, method: &str, path: &str, key: &str, body: &str) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n");
    if !key.is_empty() {
        head += &format!("authorization: Bearer {key}\r\n");
    }
    if method == "POST" {
        head += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    }
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    parse(&received)
}

/// Whether Ward is ready, and which parts are not; each of those says what to do.
async fn ready(to: SocketAddr) -> (u16, BTreeSet<String>) {
    let answer = ask(to, "GET", "/readyz", "", "").await;
    let report = answer.json();
    let parts = report["components"].as_object().unwrap();
    assert_eq!(parts.len(), 6, "{report}");
    let bad: BTreeSet<String> = parts
        .iter()
        .filter(|(_, part)| part["ok"] != Value::Bool(true))
        .map(|(name, part)| {
            assert!(part["do"].is_string() && part["problem"].is_string(), "{name}: {part}");
            name.clone()
        })
        .collect();
    assert_eq!(report["ready"], Value::Bool(bad.is_empty()), "{report}");
    (answer.status, bad)
}

fn parts(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_truthful_part_by_part() {
    let clock = Arc::new(ManualClock::at_unix_seconds(SystemClock.now().as_seconds()));
    let (mut world, upstream, ..) = world_at(limits(), clock.clone()).await;
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    assert_eq!(ask(to, "GET", "/healthz", "", "").await.status, 200);
    assert_eq!(ready(to).await, (200, parts(&[])));

    // Lists that go stale, and come back when somebody looks.
    world.pki.publish_for(Duration::from_mins(20));
    let member = world.pki.client(ISS);
    world.register_client(&member, ISS).await;
    assert_eq!(ready(to).await, (200, parts(&[])));
    clock.advance(Duration::from_mins(21));
    assert_eq!(ready(to).await, (503, parts(&["lists"])));
    world.pki.publish();
    world.house.ops.lists.refresh().await;
    assert_eq!(ready(to).await, (200, parts(&[])));

    // An upstream that goes and comes back.
    let address = upstream.base_url.clone();
    upstream.stop();
    assert_eq!(ready(to).await, (503, parts(&["upstream"])));
    let port = address.split(':').nth(2).unwrap().split('/').next().unwrap();
    let place = format!("127.0.0.1:{port}");
    // The port of a listener that was stopped can be taken for a moment.
    let mut listener = TcpListener::bind(&place).await;
    while listener.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
        listener = TcpListener::bind(&place).await;
    }
    let listener = listener.unwrap();
    let again = ward_sandbox::Sandbox::generate(7, 20).start(listener).unwrap();
    assert_eq!(ready(to).await, (200, parts(&[])));

    // Told to stop; and a log that takes nothing.
    admin.drain();
    assert_eq!(ready(to).await, (503, parts(&["serving"])));
    world.house.log.close().await;
    assert_eq!(ready(to).await, (503, parts(&["log", "serving"])));
    assert_eq!(ask(to, "GET", "/healthz", "", "").await.status, 200, "alive all the same");
    drop(again);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_is_never_plain_on_a_network_and_answers_only_what_it_knows() {
    let (world, _upstream, ..) = world(limits()).await;
    let open = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let error = ops::start(open, None, world.house.ops.clone()).await.err().unwrap();
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
    let admin = admin_listener(&world).await;
    let to = admin.local_addr();
    for (method, path, expected) in [
        ("GET", "/", 404),
        ("POST", "/healthz", 405),
        ("GET", "/default/fhir/metadata", 404),
        ("GET", "/admin/v1/whoami", 405),
        ("POST", "/admin/v1/whoami", 401),
        ("POST", "/admin/v1/../../metrics", 401),
    ] {
        assert_eq!(ask(to, method, path, "", "{}").await.status, expected, "{method} {path}");
    }
    // And nothing of it on the partners' port.
    for path in ["/healthz", "/readyz", "/metrics", "/admin/v1/whoami"] {
        let answer = world.send("GET", path, &[], None).await;
        assert!(answer.status >= 400, "{path}: {}", answer.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_those_of_the_catalogue_and_hold_nobody() {
    let (mut world, _upstream, ours, strangers) = world(limits()).await;
    let admin = admin_listener(&world).await;
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    let token = world.access_token(&member, &client).await;
    let base = world.path(&world.base);
    for id in [&ours[0], &strangers[0]] {
        world.get(&format!("{base}/Patient/{id}"), &token).await;
    }
    world.get(&format!("{base}/Patient/{}", ours[0]), "nonsense").await;
    let officer = Operator { name: "test-officer".into(), role: Role::SecurityOfficer };
    world.house.admin.execute(&officer, Command::RefreshLists).await.unwrap();
    let mut shown = String::new();
    for _ in 0..3000 {
        let answer = ask(admin.local_addr(), "GET", "/metrics", "", "").await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
        shown = String::from_utf8(answer.body).unwrap();
        // The counters follow the log.
        if shown.contains("ward_operator_acts_total{") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for line in [
        "ward_fhir_answers_total{interaction=\"read\",outcome=\"success\",status=\"200\"",
        "ward_fhir_records_total 1",
        "ward_tokens_total{outcome=\"success\",rule=\"\"} 1",
        "ward_registrations_total{",
        "ward_http_requests_total{protocol=\"http/1.1\"}",
        "ward_http_answer_seconds_bucket{le=\"0.001\",class=\"2xx\"}",
        "ward_http_answer_seconds_bucket{le=\"+Inf\",class=\"4xx\"}",
        "ward_ready{component=\"log\"} 1",
        "ward_lists{state=\"fresh\"}",
        "process_resident_memory_bytes",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    assert!(shown.ends_with("# EOF\n"));
    let mut seen = BTreeSet::new();
    for line in shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let metric = CATALOGUE.iter().find(|metric| metric.name == name);
        let metric = metric.unwrap_or_else(|| panic!("{name} is not in the catalogue"));
        let expected = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert_eq!(kind, expected, "{name}");
        assert!(seen.insert(name), "{name} twice");
    }
    for metric in CATALOGUE {
        // A family shows itself with its first event.
        let quiet = matches!(metric.name, "ward_findings" | "ward_incidents");
        assert!(quiet || seen.contains(metric.name), "{} is not shown", metric.name);
    }
    let secrets = [ours[0].as_str(), &strangers[0], &client, &token, ISS, "partner.example"];
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} is in the metrics");
    }
}

#[test]
fn the_catalogue_in_the_documentation_is_the_one_in_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operate/metrics.md");
    let made = ops::catalogue();
    if std::env::var_os("WARD_BLESS").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == made, "refresh it: WARD_BLESS=1 cargo test -p ward --test it catalogue");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_a_record_over_both_protocols() {
    let curl = std::process::Command::new("curl").arg("--version").output();
    if !curl.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains("HTTP2")) {
        println!("SKIPPED: there is no curl here that speaks HTTP/2");
        return;
    }
    let (mut world, _upstream, ours, _) = world(limits()).await;
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    let token = world.access_token(&member, &client).await;
    let pem = base64::engine::general_purpose::STANDARD.encode(&world.tls_root);
    let root = std::env::temp_dir().join(format!("ward-it-curl-{}.pem", std::process::id()));
    let pem = format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n");
    std::fs::write(&root, pem).unwrap();
    let url = format!("{}/Patient/{}", world.base, ours[0]);
    let mut bodies = Vec::new();
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-s", flag, "--cacert"])
            .arg(&root)
            .args(["-H", &format!("Authorization: Bearer {token}")])
            .args(["-w", "\n%{http_version} %{http_code}"])
            .arg(&url);
        let ran = tokio::task::spawn_blocking(move || curl.output()).await.unwrap().unwrap();
        let shown = String::from_utf8(ran.stdout).unwrap();
        let (body, end) = shown.rsplit_once('\n').unwrap();
        assert_eq!(end, format!("{version} 200"), "{shown}");
        bodies.push(body.to_owned());
    }
    assert_eq!(bodies[0], bodies[1], "the protocols answer differently");
    std::fs::remove_file(&root).unwrap();
}

//! From an empty folder to a guarded server: `ward init`, `ward check`, `ward serve`, as a stranger runs them,
//! with a community of the test's own and the sample FHIR server behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use rcgen::KeyPair;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use ward_core::{BoxFuture, Limits};
use ward_net::http::Body;
use ward_net::server::{Handler, Peer, Running, Server};
use ward_sandbox::Sandbox;

use crate::harness::TempDir;
use crate::pki::{COMMUNITY, Key, Leaf, Pki};

fn ward(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ward")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn pem(ders: &[Vec<u8>]) -> String {
    let mut text = String::new();
    for der in ders {
        text += "-----BEGIN CERTIFICATE-----\n";
        for line in STANDARD.encode(der).as_bytes().chunks(64) {
            text += std::str::from_utf8(line).unwrap();
            text += "\n";
        }
        text += "-----END CERTIFICATE-----\n";
    }
    text
}

/// A deployment in a directory of its own.
struct Place {
    dir: TempDir,
    port: u16,
    base: String,
}

impl Place {
    /// `ward init` for this upstream.
    fn init(upstream: &str) -> Self {
        let dir = TempDir::new("serve");
        let port = free_port();
        let origin = format!("https://localhost:{port}");
        let place = Self { base: format!("{origin}/default/fhir"), dir, port };
        let listen = format!("127.0.0.1:{port}");
        let dir = place.path("w");
        let made = ward(&[
            "init",
            dir.to_str().unwrap(),
            "--origin",
            &origin,
            "--upstream",
            upstream,
            "--community",
            COMMUNITY,
            "--listen",
            &listen,
            "--self-signed-tls",
        ]);
        assert!(made.status.success(), "{}", said(&made));
        let admin = format!("address = \"127.0.0.1:{}\"", free_port());
        place.edit(|text| replaced(&text, "#address = \"127.0.0.1:8444\"", &admin));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.0.join(name)
    }

    fn toml(&self) -> PathBuf {
        self.path("w/ward.toml")
    }

    fn config(&self) -> String {
        self.toml().to_str().unwrap().to_owned()
    }

    fn edit(&self, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.toml()).unwrap();
        fs::write(self.toml(), change(text)).unwrap();
    }

    /// What the community sends back, for the key that `ward init` made.
    fn join(&self, pki: &mut Pki) {
        let key = fs::read_to_string(self.path("w/community/key.pem")).unwrap();
        let leaf = Leaf { key: Key::Rsa, ..Leaf::client(&self.base) };
        let chain = pki.certify(&leaf, &KeyPair::from_pem(&key).unwrap());
        fs::write(self.path("w/community/certificate.pem"), pem(&chain)).unwrap();
        fs::write(self.path("w/community/anchors.pem"), pem(&[pki.root_der()])).unwrap();
        let lists = pki.lists_authority();
        self.edit(|text| {
            let line = format!("allow_private = [\"{lists}\"]");
            replaced(&replaced(&text, "#allow_private = []", &line), "\"observe\"", "\"enforce\"")
        });
    }

    fn check(&self) -> (bool, Value) {
        let output = ward(&["check", "--config", &self.config(), "--json"]);
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
        assert_eq!(report["ok"] == true, output.status.success());
        (output.status.success(), report)
    }

    /// The certificate that Ward shows on a new connection, and the connection.
    async fn connect(&self) -> (Vec<u8>, TlsStream<TcpStream>) {
        // Both certificates of a renewal are believed.
        let mut roots = RootCertStore::empty();
        for name in ["w/tls/certificate.pem", "w/tls/old.pem"] {
            if let Ok(der) = CertificateDer::from_pem_file(self.path(name)) {
                roots.add(der).unwrap();
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        (shown, stream)
    }

    async fn discover(&self) -> (u16, Vec<u8>) {
        let (shown, mut stream) = self.connect().await;
        (ask(&mut stream, "/default/fhir/.well-known/udap").await, shown)
    }
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in:\n{text}");
    text.replacen(from, to, 1)
}

/// One request on a connection that stays; the status.
async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> u16 {
    let port = stream.get_ref().0.peer_addr().unwrap().port();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "closed: {}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&received).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
            })
            .unwrap_or(0_usize);
        if body.len() >= length {
            return head.split(' ').nth(1).unwrap().parse().unwrap();
        }
    }
}

/// `ward serve` as a process of its own.
struct Serving {
    child: Child,
    log: PathBuf,
}

impl Serving {
    async fn start(place: &Place) -> Self {
        let log = place.path("stderr");
        let child = Command::new(env!("CARGO_BIN_EXE_ward"))
            .args(["serve", "--config", &place.config()])
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut serving = Self { child, log };
        serving.until("is up").await;
        serving
    }

    /// Waits until it has said this.
    async fn until(&mut self, word: &str) {
        let mut turns = 0;
        while !self.said().contains(word) {
            turns += 1;
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && turns < 1500, "no {word:?} ({ended:?}): {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Forgets what was said.
    fn hush(&self) {
        fs::write(&self.log, "").unwrap();
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn sandbox() -> ward_sandbox::Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Sandbox::generate(7, 12).start(listener).unwrap()
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn from_an_empty_folder_to_a_guarded_server() {
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = Place::init(&upstream.base_url);

    // Keys are their owner's alone, the request names the FHIR base, and nothing is overwritten.
    for name in ["w/vault.key", "w/community/key.pem", "w/tls/key.pem", "w/ward.toml"] {
        assert_eq!(mode_of(&place.path(name)), 0o600, "{name}");
    }
    let request = fs::read_to_string(place.path("w/community/request.pem")).unwrap();
    let body: String = request.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(body).unwrap();
    let base = place.base.as_bytes();
    assert!(der.windows(base.len()).any(|window| window == base), "the request names the base");
    let before = fs::read(place.path("w/vault.key")).unwrap();
    let again = ward(&[
        "init",
        place.path("w").to_str().unwrap(),
        "--origin",
        "https://other.example",
        "--upstream",
        "https://fhir.example/r4",
        "--community",
        COMMUNITY,
    ]);
    assert!(
        !again.status.success() && said(&again).contains("nothing is overwritten"),
        "{}",
        said(&again)
    );
    assert_eq!(fs::read(place.path("w/vault.key")).unwrap(), before);

    // Before the community has answered: both missing files are named at once, with their keys.
    let (good, report) = place.check();
    let report = report.to_string();
    assert!(
        !good
            && report.contains("community[0].anchors")
            && report.contains("community[0].certificate"),
        "{report}"
    );
    let refused = ward(&["serve", "--config", &place.config()]);
    assert!(
        !refused.status.success() && said(&refused).contains("community[0].anchors"),
        "{}",
        said(&refused)
    );

    place.join(&mut pki);
    let (good, report) = place.check();
    let text = serde_json::to_string_pretty(&report).unwrap();
    assert!(good, "{text}");
    for word in [
        "R4",
        "its paging links work",
        "refuses search parameters",
        "valid chain",
        "good until",
        "signs itself",
    ] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    let sentences = ward(&["check", "--config", &place.config()]);
    assert!(said(&sentences).contains("Ward would serve"), "{}", said(&sentences));

    let mut serving = Serving::start(&place).await;
    assert_eq!(place.discover().await.0, 200);
    let banner = serving.said();
    assert_eq!(banner.lines().filter(|line| line.contains("is up")).count(), 1, "{banner}");
    // Without a token nothing of the upstream is seen.
    let (_, mut stream) = place.connect().await;
    assert_eq!(ask(&mut stream, "/default/fhir/Patient").await, 401);
    drop(stream);

    serving.signal("-TERM");
    serving.until("Ward is down").await;
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    let verified = ward(&["log", "verify", "--data", place.path("w/data").to_str().unwrap()]);
    assert!(verified.status.success(), "{}", said(&verified));
}

/// All or nothing: what is wrong, or needs a restart, is named, and the old configuration goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_all_or_nothing_and_drops_no_connection() {
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = Place::init(&upstream.base_url);
    place.join(&mut pki);
    let mut serving = Serving::start(&place).await;
    let (first, mut kept) = place.connect().await;
    assert_eq!(ask(&mut kept, "/default/fhir/metadata").await, 200);
    let good = fs::read_to_string(place.toml()).unwrap();

    // (what is changed, what must be said)
    let cases = [
        ("#tls12 = false", "tls21 = false", "did you mean `tls12`?"),
        ("\"community/anchors.pem\"", "\"community/nothing.pem\"", "community[0].anchors"),
        (
            "\"system/Patient.rs\", ",
            "",
            "only be changed by a restart, so nothing was changed: scopes.supported",
        ),
        ("#page_max = 200", "page_max = 100", "limits.page_max"),
        ("https://community.example/trust", "not a uri", "community[0].uri"),
    ];
    for (from, to, word) in cases {
        let text = replaced(&good, from, to);
        fs::write(place.toml(), text).unwrap();
        serving.hush();
        serving.signal("-HUP");
        serving.until(word).await;
        assert!(serving.said().contains("the old configuration stays"), "{}", serving.said());
        assert_eq!(place.discover().await, (200, first.clone()), "{from}");
    }

    // A good change is taken: another community URI is served from now on.
    fs::write(place.toml(), good.replace(COMMUNITY, "https://community.example/renamed")).unwrap();
    serving.hush();
    serving.signal("-HUP");
    serving.until("is in force").await;
    let (_, mut stream) = place.connect().await;
    let named =
        "/default/fhir/.well-known/udap?community=https%3A%2F%2Fcommunity.example%2Frenamed";
    assert_eq!(ask(&mut stream, named).await, 200);
    assert_eq!(
        ask(
            &mut stream,
            "/default/fhir/.well-known/udap?community=https%3A%2F%2Fcommunity.example%2Ftrust"
        )
        .await,
        204
    );
    fs::write(place.toml(), &good).unwrap();
    serving.signal("-HUP");

    // A renewed certificate is taken up without a signal; the old connection goes on.
    let other = Place::init(&upstream.base_url);
    fs::copy(place.path("w/tls/certificate.pem"), place.path("w/tls/old.pem")).unwrap();
    serving.hush();
    for name in ["certificate.pem", "key.pem"] {
        fs::copy(other.path("w/tls").join(name), place.path("w/tls").join(name)).unwrap();
    }
    serving.until("renewed certificates are in force").await;
    let (second, mut fresh) = place.connect().await;
    assert_ne!(second, first);
    assert_eq!(ask(&mut fresh, "/default/fhir/metadata").await, 200);
    // Idle connections end by the header timeout; this one asked a moment ago or is asked again.
    let mut asked = [0; 1];
    if tokio::time::timeout(Duration::from_millis(50), kept.read(&mut asked)).await.is_err() {
        assert_eq!(ask(&mut kept, "/default/fhir/metadata").await, 200);
    }
    let mut under = fresh;
    // And one that is certainly alive goes on over a further renewal, by signal.
    fs::copy(place.path("w/tls/certificate.pem"), place.path("w/tls/old.pem")).unwrap();
    let third = Place::init(&upstream.base_url);
    for name in ["certificate.pem", "key.pem"] {
        fs::copy(third.path("w/tls").join(name), place.path("w/tls").join(name)).unwrap();
    }
    serving.hush();
    serving.signal("-HUP");
    serving.until("is in force").await;
    assert_eq!(ask(&mut under, "/default/fhir/metadata").await, 200);
    assert_ne!(place.discover().await.1, second);

    // A key that does not fit is refused, and what was there goes on.
    serving.hush();
    fs::copy(place.path("w/community/key.pem"), place.path("w/tls/key.pem")).unwrap();
    serving.until("the old ones stay").await;
    assert_eq!(place.discover().await.0, 200);
}

/// A server with one fault.
struct Scripted {
    metadata: (u16, Value),
    search: (u16, Value),
    strict: bool,
}

impl Handler for Scripted {
    fn handle(&self, request: Request<Incoming>, _: Peer) -> BoxFuture<'_, Response<Body>> {
        let uri = request.uri().to_string();
        let (status, body) = if uri.ends_with("/metadata") {
            self.metadata.clone()
        } else if uri.contains("no-such-parameter") && self.strict {
            (400, json!({ "resourceType": "OperationOutcome" }))
        } else {
            self.search.clone()
        };
        let status = StatusCode::from_u16(status).unwrap();
        let body = ward_net::http::full(body.to_string());
        let answer = ward_net::http::respond(status, "application/fhir+json", body);
        Box::pin(async move { answer })
    }
}

fn statement(version: &str) -> Value {
    json!({ "resourceType": "CapabilityStatement", "fhirVersion": version, "rest": [{ "mode": "server", "resource": [
        { "type": "Patient", "searchParam": [{ "name": "_id" }] },
        { "type": "Observation", "searchParam": [{ "name": "subject" }, { "name": "patient" }] },
        { "type": "Immunization", "searchParam": [{ "name": "date" }] },
    ] }] })
}

fn page(next: &str) -> Value {
    json!({ "resourceType": "Bundle", "type": "searchset", "link": [{ "relation": "next", "url": next }] })
}

async fn scripted(script: impl FnOnce(&str) -> Scripted) -> (String, Running) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/fhir", listener.local_addr().unwrap());
    let handler = Arc::new(script(&base));
    let running = Server::start(listener, None, handler, Arc::new(Limits::default())).unwrap();
    (base, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_is_wrong_with_an_upstream() {
    type Case = (&'static str, fn(&str) -> Scripted, &'static str, &'static str);
    let good = |base: &str| Scripted {
        metadata: (200, statement("4.0.1")),
        search: (200, page(&format!("{base}?_getpages=1"))),
        strict: true,
    };
    let cases: &[Case] = &[
        (
            "R5",
            |b| Scripted {
                metadata: (200, statement("5.0.0")),
                search: (200, page(b)),
                strict: true,
            },
            "error",
            "does not guard yet",
        ),
        (
            "R4B",
            |b| Scripted {
                metadata: (200, statement("4.3.0")),
                search: (200, page(b)),
                strict: true,
            },
            "error",
            "R4B",
        ),
        (
            "lenient",
            |b| Scripted {
                metadata: (200, statement("4.0.1")),
                search: (200, page(&format!("{b}?p=2"))),
                strict: false,
            },
            "warning",
            "Ward judges every record",
        ),
        (
            "paging astray",
            |_| Scripted {
                metadata: (200, statement("4.0.1")),
                search: (200, page("http://fhir.internal/baseR4?p=2")),
                strict: true,
            },
            "error",
            "http://fhir.internal/baseR4",
        ),
        (
            "one page",
            |_| Scripted {
                metadata: (200, statement("4.0.1")),
                search: (200, json!({ "resourceType": "Bundle" })),
                strict: true,
            },
            "note",
            "fewer than two patients",
        ),
        (
            "closed",
            |_| Scripted { metadata: (401, json!({})), search: (401, json!({})), strict: true },
            "error",
            "upstream.authorization_file",
        ),
        (
            "elsewhere",
            |_| Scripted { metadata: (404, json!({})), search: (404, json!({})), strict: true },
            "error",
            "the part before /metadata",
        ),
        (
            "no FHIR",
            |_| Scripted {
                metadata: (200, json!({ "hello": "world" })),
                search: (200, json!({})),
                strict: true,
            },
            "error",
            "no CapabilityStatement",
        ),
        ("wide", good, "warning", "Immunization by patient"),
    ];
    for (name, script, level, word) in cases {
        let (base, _server) = scripted(script).await;
        let place = Place::init(&base);
        let (_, report) = place.check();
        let findings = report["findings"].as_array().unwrap();
        let hit = findings.iter().find(|finding| finding.to_string().contains(word));
        let hit = hit.unwrap_or_else(|| panic!("{name}: no {word:?} in {report:#}"));
        assert_eq!(
            (&hit["level"], &hit["about"]),
            (&json!(level), &json!("upstream")),
            "{name}: {hit}"
        );
        assert!(
            *level == "note" || hit["mend"].as_str().is_some_and(|mend| !mend.is_empty()),
            "{name}: {hit}"
        );
    }
    // Nobody there, and nobody that may be called.
    let place = Place::init(&format!("http://127.0.0.1:{}/fhir", free_port()));
    assert!(place.check().1.to_string().contains("start it, and check host"));
    place.edit(|text| replaced(&text, "allow_private = true", "allow_private = false"));
    assert!(place.check().1.to_string().contains("set upstream.allow_private = true"));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_is_wrong_with_a_community() {
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = Place::init(&upstream.base_url);
    place.join(&mut pki);
    let key = fs::read_to_string(place.path("w/community/key.pem")).unwrap();
    let certify = |pki: &mut Pki, leaf: Leaf| {
        let chain = pki.certify(&leaf, &KeyPair::from_pem(&key).unwrap());
        fs::write(place.path("w/community/certificate.pem"), pem(&chain)).unwrap();
    };
    let leaf = Leaf { key: Key::Rsa, ..Leaf::client(&place.base) };
    for (leaf, word) in [
        (Leaf { days: (-30, -1), ..leaf.clone() }, "ended on"),
        (Leaf { days: (-30, 5), ..leaf.clone() }, "in 4 days"),
        (
            Leaf { uris: vec!["https://other.example/fhir".into()], ..leaf.clone() },
            "has no SAN URI",
        ),
        (
            Leaf { usages: vec![rcgen::KeyUsagePurpose::KeyEncipherment], ..leaf.clone() },
            "may not sign",
        ),
    ] {
        certify(&mut pki, leaf);
        let (_, report) = place.check();
        assert!(report.to_string().contains(word), "{word}: {report:#}");
    }
    certify(&mut pki, leaf);
    let stranger = Pki::start().await;
    fs::write(place.path("w/community/anchors.pem"), pem(&[stranger.root_der()])).unwrap();
    let (good, report) = place.check();
    assert!(
        !good && report.to_string().contains("partners would refuse this server"),
        "{report:#}"
    );
    fs::write(place.path("w/community/anchors.pem"), pem(&[pki.root_der()])).unwrap();
    place.edit(|text| replaced(&text, &pki.lists_authority(), "127.0.0.1:1"));
    let (good, report) = place.check();
    assert!(!good && report.to_string().contains("this community's allow_private"), "{report:#}");
    // A key that others can read is refused.
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(place.path("w/community/key.pem"), open).unwrap();
    let (good, report) = place.check();
    assert!(!good && report.to_string().contains("chmod 600"), "{report:#}");
}

//! A deployment as a stranger makes one: `ward init` in a directory of its own, a community that answers its
//! request, and `ward serve` as a process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use ward_sandbox::Sandbox;

use crate::harness::TempDir;
use crate::pki::{COMMUNITY, Key, Leaf, Pki};

pub fn ward(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ward")).args(arguments).output().unwrap()
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A port that nobody listens on, and that the system gives to nobody by itself: who is named it binds it later, and the
/// servers and calls of other tests take theirs from the system's own range meanwhile.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 1000).unwrap() * 10;
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::SeqCst)) % 12_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub fn pem(ders: &[Vec<u8>]) -> String {
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
pub struct Place {
    dir: TempDir,
    pub port: u16,
    pub base: String,
}

impl Place {
    /// `ward init` for this upstream, enforcing from the start.
    pub fn init(upstream: &str) -> Self {
        let place = Self::observing(upstream);
        place.edit(|text| replaced(&text, "mode = \"observe\"", "mode = \"enforce\""));
        place
    }

    /// `ward init` for this upstream, as it is: Ward begins with observing.
    pub fn observing(upstream: &str) -> Self {
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

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.0.join(name)
    }

    pub fn toml(&self) -> PathBuf {
        self.path("w/ward.toml")
    }

    pub fn config(&self) -> String {
        self.toml().to_str().unwrap().to_owned()
    }

    /// Lets connections idle for a minute, where a test keeps them over commands that take their time on a busy machine.
    pub fn patient(&self) {
        let minute = "header_timeout = \"1m\"";
        self.edit(|text| replaced(&text, "#header_timeout = \"10s\"", minute));
    }

    pub fn edit(&self, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.toml()).unwrap();
        fs::write(self.toml(), change(text)).unwrap();
    }

    /// What the community sends back, for the key that `ward init` made.
    pub fn join(&self, pki: &mut Pki) {
        let key = fs::read_to_string(self.path("w/community/key.pem")).unwrap();
        let leaf = Leaf { key: Key::Rsa, ..Leaf::client(&self.base) };
        let chain = pki.certify(&leaf, &KeyPair::from_pem(&key).unwrap());
        fs::write(self.path("w/community/certificate.pem"), pem(&chain)).unwrap();
        fs::write(self.path("w/community/anchors.pem"), pem(&[pki.root_der()])).unwrap();
        let lists = pki.lists_authority();
        self.edit(|text| {
            let line = format!("allow_private = [\"{lists}\"]");
            replaced(&text, "#allow_private = []", &line)
        });
    }

    pub fn check(&self) -> (bool, Value) {
        let output = ward(&["check", "--config", &self.config(), "--json"]);
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
        assert_eq!(report["ok"] == true, output.status.success());
        (output.status.success(), report)
    }

    /// What a partner of the community gives `ward client`, its key and certificate included.
    pub fn partner(&self, pki: &mut Pki) -> Vec<String> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let chain = pki.certify(&Leaf::client("https://partner.example/app"), &pair);
        let file = |name: &str, text: &str| {
            let path = self.path(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let certificate = file("partner.pem", &pem(&chain));
        let key = file("partner.key", &pair.serialize_pem());
        let state = self.path("partner.json").to_str().unwrap().to_owned();
        let anchors = self.path("w/community/anchors.pem").to_str().unwrap().to_owned();
        let tls = self.path("w/tls/certificate.pem").to_str().unwrap().to_owned();
        [
            "--base",
            &self.base,
            "--community-uri",
            COMMUNITY,
            "--anchor",
            &anchors,
            "--tls-ca",
            &tls,
            "--allow-private",
            "--certificate",
            &certificate,
            "--key",
            &key,
            "--state",
            &state,
            "--json",
        ]
        .map(ToOwned::to_owned)
        .to_vec()
    }

    /// The certificate that Ward shows on a new connection, and the connection.
    pub async fn connect(&self) -> (Vec<u8>, TlsStream<TcpStream>) {
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

    pub async fn discover(&self) -> (u16, Vec<u8>) {
        let (shown, mut stream) = self.connect().await;
        (ask(&mut stream, "/default/fhir/.well-known/udap").await, shown)
    }
}

/// `ward client …` with what [`Place::partner`] gives; what it says.
pub fn as_partner(partner: &[String], command: &[&str], more: &[&str]) -> Value {
    let common = partner.iter().map(String::as_str);
    let all: Vec<&str> =
        command.iter().copied().chain(common).chain(more.iter().copied()).collect();
    let output = ward(&all);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
}

pub fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in:\n{text}");
    text.replacen(from, to, 1)
}

/// One request on a connection that stays; the status.
pub async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> u16 {
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
pub struct Serving {
    pub child: Child,
    log: PathBuf,
}

impl Serving {
    pub async fn start(place: &Place) -> Self {
        Self::start_with(place, &[]).await
    }

    pub async fn start_with(place: &Place, options: &[&str]) -> Self {
        let log = place.path("stderr");
        let child = Command::new(env!("CARGO_BIN_EXE_ward"))
            .args(["serve", "--config", &place.config()])
            .args(options)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut serving = Self { child, log };
        serving.until("is up").await;
        serving
    }

    /// Waits until it has said this, for two minutes on a busy machine.
    pub async fn until(&mut self, word: &str) {
        let mut turns = 0;
        while !self.said().contains(word) {
            turns += 1;
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && turns < 6000, "no {word:?} ({ended:?}): {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Forgets what was said.
    pub fn hush(&self) {
        fs::write(&self.log, "").unwrap();
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("sh")
                .args(["-c", &format!("kill {name} {pid}")])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub async fn sandbox() -> ward_sandbox::Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Sandbox::generate(7, 12).start(listener).unwrap()
}

pub fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

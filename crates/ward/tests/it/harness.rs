//! A Ward in this process, over real sockets and real TLS, with a trust community and an upstream that a test
//! can bend; and a client that sends exactly the bytes it is told to.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use ward::house::{House, HouseConfig, Outward, System, open_or_make_vault, system};
use ward::paths::Paths;
use ward_admin::{Command, Operator, Role};
use ward_core::{ClientUri, Clock, Limits, OrganizationUri, PatientId, Purpose, TenantId};
use ward_fhir::ScopeSet;
use ward_issuer::ServedCommunity;
use ward_net::client::Egress;
use ward_net::tls::{TlsReload, TlsVersions, server_config};
use ward_policy::Enforcement;
use ward_store::RosterRow;
use ward_watch::{Ceiling, Ceilings};

use crate::pki::{Key, Leaf, Member, Pki};
use crate::rows::{Row, Words, form, jwt};

/// The good client's URI and organisation.
pub const ISS: &str = "https://partner.example/app";
pub const ORGANIZATION: &str = "https://partner.example/org";
pub const SCOPE: &str = "system/Observation.rs system/Patient.rs system/Practitioner.rs";

/// A directory that goes with the test.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("ward-it-{}-{name}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a World is raised with.
pub struct Setup {
    pub upstream: String,
    pub roster: Vec<String>,
    pub limits: Limits,
    pub ceiling: u32,
}

/// A running Ward and everything around it.
pub struct World {
    pub pki: Pki,
    pub house: House,
    pub port: u16,
    pub base: String,
    pub register: String,
    pub token: String,
    pub system: System,
    _dir: TempDir,
    pub tls_root: Vec<u8>,
    next: AtomicU64,
    configured: Box<dyn Fn() -> HouseConfig + Send + Sync>,
}

/// An answer, byte for byte.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn error(&self) -> Option<String> {
        self.json().get("error").and_then(Value::as_str).map(ToOwned::to_owned)
    }
}

impl World {
    pub async fn raise(setup: Setup) -> Self {
        Self::raise_with(setup, system().clock, |_| {}).await
    }

    /// With a clock of its own, and something done to the data directory before Ward sees it.
    pub async fn raise_with(
        setup: Setup,
        clock: Arc<dyn Clock>,
        prepare: impl FnOnce(&Paths),
    ) -> Self {
        Self::raise_as(setup, clock, prepare, |_| {}).await
    }

    /// The same, configured otherwise in one thing.
    pub async fn raise_as(
        setup: Setup,
        clock: Arc<dyn Clock>,
        prepare: impl FnOnce(&Paths),
        edit: impl Fn(&mut HouseConfig) + Send + Sync + 'static,
    ) -> Self {
        let mut pki = Pki::start().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let origin = format!("https://localhost:{port}");
        let tenant = TenantId::default_tenant();
        let base = format!("{origin}/{tenant}/fhir");
        let server = pki.issue(&Leaf { key: Key::Rsa, ..Leaf::client(&base) });
        let (tls_root, tls_chain, tls_key) = crate::pki::tls();
        let dir = TempDir::new("world");
        let paths = Paths::new(&dir.0);
        prepare(&paths);
        let system = System { clock, limits: Arc::new(setup.limits), ..system() };
        let vault = open_or_make_vault(&paths.vault(), &paths.key_file(), &system).unwrap();
        let authority =
            |url: &str| url.split_once("://").unwrap().1.split('/').next().unwrap().to_owned();
        let mut community = pki.community();
        let members = vec![(community.uri.clone(), ClientUri::parse(ISS).unwrap())];
        community.purposes = vec![Purpose::Treatment, Purpose::Payment];
        let tls =
            TlsReload::new(server_config(&tls_chain, &tls_key, TlsVersions::default()).unwrap());
        let (place, upstream, ceiling) = (origin.clone(), setup.upstream.clone(), setup.ceiling);
        let lists = pki.lists_authority();
        let configured = Box::new(move || {
            let mut config = HouseConfig {
            tenant: tenant.clone(),
            origin: place.clone(),
            upstream: upstream.clone(),
            communities: vec![ServedCommunity::new(community.clone(), server.identity.clone())],
            scopes: ScopeSet::parse("system/*.rs system/Immunization.rs system/Observation.rs system/Patient.rs system/Practitioner.rs").0,
            ceilings: Ceilings::uniform(Ceiling {
                patients: ceiling,
                window: Duration::from_mins(1),
            }),
            outward: Outward::plain(Egress::allowing([authority(&upstream), lists.clone()])),
            tls: tls.clone(),
            enforcement: Enforcement::full(),
        };
            edit(&mut config);
            config
        });
        let house = House::open(&paths, vault, configured(), listener, &system).await.unwrap();
        let rows = setup
            .roster
            .iter()
            .map(|id| RosterRow {
                patient: PatientId::parse(id).unwrap(),
                purposes: vec![Purpose::Treatment],
            })
            .collect();
        let officer = Operator { name: "test-officer".into(), role: Role::SecurityOfficer };
        let organization = OrganizationUri::parse(ORGANIZATION).unwrap();
        let import = Command::ImportRoster { organization, members, rows };
        house.admin.execute(&officer, import).await.unwrap();
        Self {
            pki,
            house,
            port,
            register: format!("{origin}/default/oauth/register"),
            token: format!("{origin}/default/oauth/token"),
            base,
            system,
            _dir: dir,
            tls_root,
            next: AtomicU64::new(0),
            configured,
        }
    }

    /// What it was raised with.
    pub fn config(&self) -> HouseConfig {
        (self.configured)()
    }

    /// Ends this Ward and raises one on another data directory, at the same place; the key file comes along.
    pub async fn move_to(self, data: &std::path::Path) -> Self {
        let from = self.house.paths.clone();
        self.house.close().await;
        let paths = Paths::new(data);
        if !paths.key_file().exists() {
            std::fs::copy(from.key_file(), paths.key_file()).unwrap();
        }
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        let vault = open_or_make_vault(&paths.vault(), &paths.key_file(), &self.system).unwrap();
        let house = House::open(&paths, vault, (self.configured)(), listener, &self.system);
        Self { house: house.await.unwrap(), ..self }
    }

    pub fn words(&self, iss: &str, client: &str) -> Words {
        Words {
            now: self.system.clock.now().as_seconds(),
            register: self.register.clone(),
            token: self.token.clone(),
            base: self.base.clone(),
            iss: iss.to_owned(),
            client: client.to_owned(),
        }
    }

    fn jti(&self) -> String {
        format!("jti-{}-{}", self.port, self.next.fetch_add(1, Ordering::SeqCst))
    }

    /// Claims of a good software statement.
    pub fn statement_claims(&self, iss: &str) -> Value {
        let now = self.system.clock.now().as_seconds();
        json!({
            "iss": iss, "sub": iss, "aud": self.register, "iat": now, "exp": now + 280,
            "jti": self.jti(), "client_name": "Partner", "grant_types": ["client_credentials"],
            "contacts": ["mailto:ops@partner.example"], "scope": SCOPE,
            "token_endpoint_auth_method": "private_key_jwt",
        })
    }

    /// Claims of a good authentication token.
    pub fn assertion_claims(&self, client: &str) -> Value {
        let now = self.system.clock.now().as_seconds();
        json!({
            "iss": client, "sub": client, "aud": self.token, "iat": now, "exp": now + 280,
            "jti": self.jti(),
            "extensions": { "hl7-b2b": {
                "version": "1", "organization_id": ORGANIZATION,
                "purpose_of_use": ["urn:oid:2.16.840.1.113883.5.8#TREAT"],
            } },
        })
    }

    pub fn good_row() -> Row {
        serde_json::from_value(json!({ "id": "good", "what": "good", "status": 200 })).unwrap()
    }

    /// Registers a member; its client id.
    pub async fn register_client(&self, member: &Member, iss: &str) -> String {
        let words = self.words(iss, "");
        let statement = jwt(&Self::good_row(), &words, self.statement_claims(iss), member, member);
        let body = json!({ "udap": "1", "software_statement": statement }).to_string();
        let answer = self.post(&self.register, "application/json", &body, &[]).await;
        assert!(matches!(answer.status, 200 | 201), "{}", String::from_utf8_lossy(&answer.body));
        answer.json()["client_id"].as_str().unwrap().to_owned()
    }

    /// The form of a good token request.
    pub fn token_form(assertion: &str) -> Vec<(String, String)> {
        [
            ("grant_type", "client_credentials"),
            ("scope", SCOPE),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion),
            ("udap", "1"),
        ]
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .to_vec()
    }

    /// An access token of a registered member.
    pub async fn access_token(&self, member: &Member, client: &str) -> String {
        let words = self.words(ISS, client);
        let assertion =
            jwt(&Self::good_row(), &words, self.assertion_claims(client), member, member);
        let body = form(&Self::token_form(&assertion));
        let answer = self.post(&self.token, "application/x-www-form-urlencoded", &body, &[]).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    pub fn path(&self, url: &str) -> String {
        url.strip_prefix(&format!("https://localhost:{}", self.port)).unwrap().to_owned()
    }

    pub async fn post(
        &self,
        url: &str,
        content_type: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut all = vec![("content-type", content_type)];
        all.extend_from_slice(headers);
        self.send("POST", &self.path(url), &all, Some(body.as_bytes())).await
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        self.send("GET", path, &[("authorization", &bearer)], None).await
    }

    /// Sends a request with exactly this target and these headers (`host` and `content-length` are added
    /// where they are not given).
    pub async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        let given = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        if !given("host") {
            head += &format!("host: localhost:{}\r\n", self.port);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = body
            && !given("content-length")
            && !given("transfer-encoding")
        {
            head += &format!("content-length: {}\r\n", body.len());
        }
        head += "connection: close\r\n\r\n";
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        self.exchange(&bytes).await
    }

    /// Sends raw bytes on a new TLS connection and reads one answer.
    pub async fn exchange(&self, bytes: &[u8]) -> Answer {
        let received = tokio::time::timeout(Duration::from_mins(2), async {
            let mut stream = self.connect().await;
            // The server may answer and close before it has read everything.
            let (mut read, mut write) = tokio::io::split(&mut stream);
            let mut received = Vec::new();
            let sending = async {
                let _ = write.write_all(bytes).await;
                let _ = write.flush().await;
            };
            let receiving = async {
                let _ = read.read_to_end(&mut received).await;
            };
            tokio::join!(sending, receiving);
            received
        })
        .await
        .expect("an answer within two minutes");
        parse(&received)
    }

    /// A TLS connection to Ward.
    pub async fn connect(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.tls_root.clone())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
    }
}

/// Parses an HTTP/1.1 answer; a broken or absent one has status 0.
pub fn parse(bytes: &[u8]) -> Answer {
    let broken = Answer { status: 0, headers: vec![], body: bytes.to_vec() };
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return broken;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(n, v)| (n.trim().to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    let rest = &bytes[end + 4..];
    let chunked = headers.iter().any(|(n, v)| n == "transfer-encoding" && v == "chunked");
    let body = if chunked { unchunk(rest) } else { Some(rest.to_vec()) };
    match body {
        Some(body) => Answer { status, headers, body },
        None => Answer { status: 0, headers, body: rest.to_vec() },
    }
}

/// `None` if the last chunk is missing: the answer was broken off.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?, 16).ok()?;
        rest = &rest[line + 2..];
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

//! A UDAP server that answers as a test scripts it, over real TLS, and remembers what it was sent; and a client of a
//! test community with its files, so that `ward client` and the library can be sent against it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use rcgen::{CertificateParams, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use ward_core::{BoxFuture, Limits, Secret};
use ward_net::http::{Body, full, read_body};
use ward_net::server::{Handler, Peer, Running, Server};
use ward_net::tls::{TlsReload, TlsVersions, server_config};

use crate::harness::TempDir;
use crate::pki::{Leaf, Pki};
use crate::place::pem;

/// What the server was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub method: String,
    pub host: String,
    pub path: String,
    pub query: String,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Sent {
    /// In a word: `metadata`, `register`, `token`, or the path.
    pub fn word(&self) -> String {
        match self.path.as_str() {
            "/fhir/.well-known/udap" => "metadata".to_owned(),
            "/oauth/register" => "register".to_owned(),
            "/oauth/token" => "token".to_owned(),
            other => other.to_owned(),
        }
    }

    /// A parameter of a form.
    pub fn form(&self, name: &str) -> Option<String> {
        let text = String::from_utf8(self.body.to_vec()).unwrap();
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(n, _)| *n == name).map(|(_, value)| decoded(value)).next()
    }
}

/// Percent-decoded.
pub fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
            let hex = std::str::from_utf8(&hex).unwrap().to_owned();
            out.push(u8::from_str_radix(&hex, 16).unwrap());
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).unwrap()
}

type Script = Box<dyn Fn(&Sent) -> Response<Body> + Send + Sync>;

struct Inner {
    script: Mutex<Script>,
    seen: Mutex<Vec<Sent>>,
}

impl Handler for Inner {
    fn handle(&self, request: Request<Incoming>, _: Peer) -> BoxFuture<'_, Response<Body>> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = read_body(body, 1 << 20, Duration::from_mins(1)).await.unwrap_or_default();
            let authority = parts.uri.authority().map(|authority| authority.as_str().to_owned());
            let named = parts.headers.get("host").and_then(|host| host.to_str().ok());
            let sent = Sent {
                method: parts.method.to_string(),
                host: authority.or(named.map(ToOwned::to_owned)).unwrap_or_default(),
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                headers: parts.headers,
                body,
            };
            let answer = self.script.lock().unwrap()(&sent);
            self.seen.lock().unwrap().push(sent);
            answer
        })
    }
}

/// The server. Its base is `https://localhost:PORT/fhir`; it answers at 127.0.0.1 by its certificate too.
pub struct Scripted {
    inner: Arc<Inner>,
    _server: Running,
    pub port: u16,
    pub base: String,
    pub tls_root: Vec<u8>,
}

impl Scripted {
    pub async fn start() -> Self {
        let script: Script = Box::new(|_| status(404));
        let inner = Arc::new(Inner { script: Mutex::new(script), seen: Mutex::default() });
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut root = CertificateParams::new(vec![]).unwrap();
        root.distinguished_name.push(rcgen::DnType::CommonName, "Scripted TLS");
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        let tls_root = root.self_signed(&root_key).unwrap().der().to_vec();
        let issuer = Issuer::new(root, root_key);
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let names = ["localhost", "127.0.0.1"].map(ToOwned::to_owned);
        let params = CertificateParams::new(names.to_vec()).unwrap();
        let leaf = params.signed_by(&pair, &issuer).unwrap().der().to_vec();
        let key = Secret::new(pair.serialize_der());
        let tls = TlsReload::new(server_config(&[leaf], &key, TlsVersions::default()).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let handler: Arc<dyn Handler> = inner.clone();
        let server = Server::start(listener, Some(tls), handler, Arc::new(patient())).unwrap();
        let port = server.local_addr().port();
        let base = format!("https://localhost:{port}/fhir");
        Self { inner, _server: server, port, base, tls_root }
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// From now on it answers so, and has seen nothing.
    pub fn script(&self, script: impl Fn(&Sent) -> Response<Body> + Send + Sync + 'static) {
        *self.inner.script.lock().unwrap() = Box::new(script);
        self.inner.seen.lock().unwrap().clear();
    }

    pub fn seen(&self) -> Vec<Sent> {
        self.inner.seen.lock().unwrap().clone()
    }

    /// What it has seen, in words, since it was asked last.
    pub fn words(&self) -> Vec<String> {
        let seen = std::mem::take(&mut *self.inner.seen.lock().unwrap());
        seen.iter().map(Sent::word).collect()
    }

    /// A good metadata document, but for the signature.
    pub fn plain(&self) -> Value {
        json!({
            "udap_versions_supported": ["1"],
            "udap_profiles_supported": ["udap_dcr", "udap_authn", "udap_authz"],
            "udap_authorization_extensions_supported": ["hl7-b2b"],
            "udap_authorization_extensions_required": ["hl7-b2b"],
            "udap_certifications_supported": [],
            "udap_certifications_required": [],
            "grant_types_supported": ["client_credentials"],
            "scopes_supported": ["system/*.rs", "system/Patient.rs", "system/Observation.rs"],
            "token_endpoint": self.url("/oauth/token"),
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["RS256", "ES256", "ES384"],
            "registration_endpoint": self.url("/oauth/register"),
            "registration_endpoint_jwt_signing_alg_values_supported": ["RS256", "ES256", "ES384"],
        })
    }

    /// The claims of good signed metadata.
    pub fn claims(&self, now: i64) -> Value {
        json!({
            "iss": self.base, "sub": self.base, "iat": now, "exp": now + 86_400, "jti": "one",
            "token_endpoint": self.url("/oauth/token"),
            "registration_endpoint": self.url("/oauth/register"),
        })
    }
}

/// Bounds for a machine that is busy with other tests.
pub fn patient() -> Limits {
    let minutes = Duration::from_mins(2);
    Limits {
        connect_timeout: minutes,
        header_timeout: minutes,
        body_timeout: minutes,
        upstream_timeout: minutes,
        crl_timeout: minutes,
        ..Limits::default()
    }
}

pub fn status(code: u16) -> Response<Body> {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

pub fn answer(code: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

/// A client's files: certificate, key, the community's root and the server's TLS root.
pub struct Files {
    dir: TempDir,
    /// What every command of `ward client` needs to know of server and trust.
    pub server: Vec<String>,
    /// And of who one is.
    pub identity: Vec<String>,
}

impl Files {
    pub fn make(pki: &mut Pki, at: &Scripted, community: &str, uri: &str) -> Self {
        Self::at(pki, (&at.base, &at.tls_root), community, uri)
    }

    /// The same for a server at this base, with this TLS root.
    pub fn at(
        pki: &mut Pki,
        (base, tls_root): (&str, &Vec<u8>),
        community: &str,
        uri: &str,
    ) -> Self {
        let made = Self { dir: TempDir::new("client-files"), server: vec![], identity: vec![] };
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let chain = pki.certify(&Leaf::client(uri), &pair);
        let certificate = made.private("certificate.pem", &pem(&chain));
        let key = made.private("key.pem", &pair.serialize_pem());
        let root = made.private("root.pem", &pem(&[pki.root_der()]));
        let tls = made.private("tls.pem", &pem(std::slice::from_ref(tls_root)));
        let state = made.path("state.json").to_str().unwrap().to_owned();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let server = words(&[
            "--base",
            base,
            "--community-uri",
            community,
            "--anchor",
            &root,
            "--tls-ca",
            &tls,
            "--allow-private",
            "--timeout",
            "120",
        ]);
        let identity = words(&["--certificate", &certificate, "--key", &key, "--state", &state]);
        Self { server, identity, ..made }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.0.join(name)
    }

    /// A file that only its owner can use; its path.
    pub fn private(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `ward client COMMAND …` with server and identity.
    pub async fn run(&self, command: &str, more: &[&str]) -> Said {
        let mut arguments = vec!["client".to_owned(), command.to_owned()];
        arguments.extend(self.server.iter().cloned());
        if !matches!(command, "discover" | "verify") {
            arguments.extend(self.identity.iter().cloned());
        }
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        run(arguments).await
    }
}

/// Any command of the program, without holding up the servers of this test.
pub async fn run(arguments: Vec<String>) -> Said {
    let output = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_ward")).args(&arguments).output().unwrap()
    });
    Said(output.await.unwrap())
}

/// What a command said.
#[derive(Debug)]
pub struct Said(Output);

impl Said {
    pub fn code(&self) -> i32 {
        self.0.status.code().unwrap_or(-1)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
            + &String::from_utf8_lossy(&self.0.stderr)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.0.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

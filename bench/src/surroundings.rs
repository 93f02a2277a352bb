//! The others: a trust community with its lists, a partner with keys, and the JWTs that it signs.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use ward::house::{open_or_make_vault, system};
use ward_community::{
    Authority, CertificateRequest, KeySpec, ListServer, Operator, OperatorConfig, OperatorDeps,
    tls_identity,
};
use ward_core::{
    BoxFuture, CommunityUri, Event, EventSink, OutboxSeq, Receipt, Rng as _, SinkError, SystemRng,
    TenantId,
};
use ward_net::server::{Running, Server};
use ward_trust::{Community, SigningIdentity};

use crate::Error;
use crate::load::{Target, post};

pub const COMMUNITY: &str = "https://community.example/udap/bench";
pub const ORGANIZATION: &str = "https://partner.example/organization";
pub const SCOPES: &str = "system/Observation.rs system/Patient.rs";

/// The partner's applications.
pub const CLIENTS: [&str; 3] = ["bench", "bench-es256", "bench-rs256"];

/// The URI of one of them.
pub fn client_uri(name: &str) -> String {
    format!("https://partner.example/apps/{name}")
}

/// The community's events are not what is measured.
struct Nowhere;

impl EventSink for Nowhere {
    fn record(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Receipt, SinkError>> {
        let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        Box::pin(async move { Ok(Receipt { first: 0, count }) })
    }

    fn settle(&self, _: OutboxSeq) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }
}

pub struct Surroundings {
    operator: Arc<Operator>,
    _lists: Running,
    pub lists_url: String,
    pub anchors: Vec<Vec<u8>>,
    /// Signs Ward's metadata.
    pub identity: (Vec<Vec<u8>>, Vec<u8>),
    /// Of both servers.
    pub tls: (Vec<Vec<u8>>, Vec<u8>),
    pub tls_authority: Vec<u8>,
}

/// An application of the partner.
pub struct Client {
    pub uri: String,
    pub identity: SigningIdentity,
    /// For which organisation it asks.
    pub organization: String,
}

impl Surroundings {
    pub async fn raise(dir: &Path, ward_port: u16) -> Result<Self, Error> {
        std::fs::create_dir_all(dir)?;
        let system = system();
        let vault = open_or_make_vault(&dir.join("vault"), &dir.join("vault.key"), &system)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let lists_url = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
        let config = OperatorConfig {
            tenant: TenantId::default_tenant(),
            uri: CommunityUri::parse(COMMUNITY)?,
            name: "Bench Community".to_owned(),
            base_url: lists_url.clone(),
            ca_key: KeySpec::P256,
        };
        let deps = OperatorDeps {
            vault: vault.clone(),
            sink: Arc::new(Nowhere),
            clock: system.clock.clone(),
            rng: system.rng.clone(),
            operator: "bench".into(),
        };
        let operator = Operator::open_or_create(dir.join("ca"), config, deps).await?;
        let handler = Arc::new(ListServer::new(operator.clone()));
        let lists = Server::start(listener, None, handler, system.limits.clone())?;
        let base = format!("https://localhost:{ward_port}/default/fhir");
        let server = operator.issue(&CertificateRequest::server("Bench Hospital", base)).await?;
        let localhost = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let tls = tls_identity(
            &dir.join("tls"),
            &vault,
            &["localhost"],
            &localhost,
            &*system.clock,
            &*system.rng,
        )?;
        let anchors = operator.trust().anchors.iter().map(|one| one.der().to_vec()).collect();
        let _ = operator.certificate(Authority::Root);
        Ok(Self {
            operator,
            _lists: lists,
            lists_url,
            anchors,
            identity: (server.chain, server.key.expose().clone()),
            tls: (tls.chain, tls.key.expose().clone()),
            tls_authority: tls.ca,
        })
    }

    pub async fn client(&self, name: &str, key: KeySpec) -> Result<Client, Error> {
        let uri = client_uri(name);
        let request =
            CertificateRequest { key, ..CertificateRequest::client("Partner", uri.as_str()) };
        let identity = self.operator.issue(&request).await?.identity()?;
        Ok(Client { uri, identity, organization: ORGANIZATION.to_owned() })
    }

    /// The certificate and key by which a server at this port signs its metadata.
    pub async fn server(&self, port: u16) -> Result<(Vec<Vec<u8>>, Vec<u8>), Error> {
        let base = format!("https://localhost:{port}/default/fhir");
        let name = format!("Bench Hospital {port}");
        let issued = self.operator.issue(&CertificateRequest::server(name, base)).await?;
        Ok((issued.chain, issued.key.expose().clone()))
    }

    /// Whom members of the community believe.
    pub fn trust(&self) -> Community {
        self.operator.trust()
    }
}

fn now() -> i64 {
    system().clock.now().as_seconds()
}

fn jti() -> String {
    format!("{:016x}{:016x}", SystemRng.next_u64(), SystemRng.next_u64())
}

impl Client {
    fn sign(&self, claims: &Value) -> Result<String, Error> {
        Ok(self.identity.sign(self.identity.alg(), claims)?)
    }

    /// A registration request; each is good once.
    pub fn registration(&self, port: u16) -> Result<Vec<u8>, Error> {
        self.statement(port, &["client_credentials"])
    }

    /// A request that ends the registration.
    pub fn cancellation(&self, port: u16) -> Result<Vec<u8>, Error> {
        self.statement(port, &[])
    }

    fn statement(&self, port: u16, grants: &[&str]) -> Result<Vec<u8>, Error> {
        let now = now();
        let statement = self.sign(&json!({
            "iss": self.uri, "sub": self.uri, "aud": format!("https://localhost:{port}/default/oauth/register"),
            "iat": now, "exp": now + 280, "jti": jti(), "client_name": "Partner",
            "grant_types": grants, "contacts": ["mailto:ops@partner.example"],
            "scope": SCOPES, "token_endpoint_auth_method": "private_key_jwt",
        }))?;
        let body = json!({"udap": "1", "software_statement": statement}).to_string();
        Ok(post(port, "/default/oauth/register", "application/json", &body))
    }

    /// A token request; each is good once.
    pub fn token_request(&self, port: u16, client: &str) -> Result<Vec<u8>, Error> {
        let now = now();
        let assertion = self.sign(&json!({
            "iss": client, "sub": client, "aud": format!("https://localhost:{port}/default/oauth/token"),
            "iat": now, "exp": now + 280, "jti": jti(),
            "extensions": {"hl7-b2b": {"version": "1", "organization_id": self.organization,
                "purpose_of_use": ["urn:oid:2.16.840.1.113883.5.8#TREAT"]}},
        }))?;
        let scope = SCOPES.replace('/', "%2F").replace(' ', "+");
        let body = format!(
            "grant_type=client_credentials&scope={scope}&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion={assertion}&udap=1"
        );
        Ok(post(port, "/default/oauth/token", "application/x-www-form-urlencoded", &body))
    }

    /// Registers; the client id.
    pub async fn register(&self, target: &Target) -> Result<String, Error> {
        let answer = target.once(&self.registration(target.port)?).await?;
        word(&answer.json()?, "client_id")
    }

    /// An access token.
    pub async fn token(&self, target: &Target, client: &str) -> Result<String, Error> {
        let answer = target.once(&self.token_request(target.port, client)?).await?;
        word(&answer.json()?, "access_token")
    }
}

fn word(answer: &Value, name: &str) -> Result<String, Error> {
    answer
        .get(name)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| format!("no {name} in {answer}").into())
}

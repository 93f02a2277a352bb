//! The issuer as callers see it, over in-process requests: a real store in a temporary directory, real
//! certificates and lists, a clock moved by hand, and a sink that drains the outbox.

mod certified;
mod discovery;
mod interop;
mod lifecycle;
mod pki;
mod registration;
mod signatures;
mod statements;
mod token;
mod wire;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use serde_json::{Map, Value, json};
use ward_core::{
    BoxFuture, Event, EventSink, Limits, ManualClock, Outbox, OutboxSeq, Receipt, SinkError,
    SystemRng, TenantId, Thumbprint,
};
use ward_fhir::ScopeSet;
use ward_net::status::StatusError;
use ward_policy::{Presented, Principal, Resolve, ResolveError};
use ward_store::Store;
use ward_store::vault::{FileVault, Unlock, create_key_file};
use ward_trust::{Alg, Certificate, Chain, Community, PathError, validate_within};

use crate::config::{Paths, Statuses};
use crate::{Issuer, IssuerConfig, IssuerDeps, ServedCommunity};
use pki::{CLIENT_URI, Member, PKI, SERVER_URI, START};

const OAUTH: &str = "https://ward.test/default/oauth";
const REGISTER: &str = "https://ward.test/default/oauth/register";
const TOKEN: &str = "https://ward.test/default/oauth/token";
const SCOPES: &str = "system/Patient.rs system/Observation.rs system/Encounter.rs";
const ORGANIZATION: &str = "urn:oid:2.16.840.1.113883.4.6.1234567893";
const TREATMENT: &str = "urn:oid:2.16.840.1.113883.5.8#TREAT";

/// Paths by lists that tests hand out.
struct TestPaths {
    clock: Arc<ManualClock>,
    revoked: Mutex<Vec<u64>>,
    outage: AtomicBool,
    next_update: AtomicU64,
    /// What certifiers say; `None`: they are out of reach.
    stood_by: Mutex<Option<bool>>,
}

impl Statuses for TestPaths {
    fn is_valid<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<bool, StatusError>> {
        self.ask(url)
    }

    fn ask<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool, StatusError>> {
        let said = *self.stood_by.lock().unwrap();
        Box::pin(async move { said.ok_or(StatusError::Status(503)) })
    }
}

impl Paths for TestPaths {
    fn path<'a>(
        &'a self,
        leaf: &'a Certificate,
        extra: &'a [Certificate],
        community: &'a Community,
        grace: Duration,
    ) -> BoxFuture<'a, Result<Chain, PathError>> {
        Box::pin(async move {
            use ward_core::Clock as _;
            let mut lists = Vec::new();
            if !self.outage.load(Ordering::SeqCst) {
                let next = i64::try_from(self.next_update.load(Ordering::SeqCst)).unwrap();
                let revoked = self.revoked.lock().unwrap().clone();
                lists.extend(PKI.a.lists(&revoked, next));
                lists.extend(PKI.b.lists(&revoked, next));
                lists.extend(PKI.stranger.lists(&[], next));
            }
            validate_within(leaf, extra, community, &lists, self.clock.now(), grace)
        })
    }

    fn is_listed(&self, certificate: Thumbprint) -> bool {
        let revoked = self.revoked.lock().unwrap();
        let listed = |member: &Member| {
            let leaf = member.identity.leaf();
            leaf.thumbprint() == certificate && revoked.contains(&member.serial)
        };
        [&PKI.client, &PKI.renewed, &PKI.other, &PKI.client_b].into_iter().any(listed)
    }
}

/// Drains the outbox and keeps everything.
struct TestSink {
    outbox: Arc<dyn Outbox>,
    state: tokio::sync::Mutex<(OutboxSeq, Vec<Event>)>,
    full: AtomicBool,
}

impl EventSink for TestSink {
    fn record(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Receipt, SinkError>> {
        Box::pin(async move {
            if self.full.load(Ordering::SeqCst) {
                return Err(SinkError::Unwritable("disk full".into()));
            }
            let mut state = self.state.lock().await;
            let first = state.1.len() as u64;
            let count = u32::try_from(events.len()).unwrap();
            state.1.extend(events);
            Ok(Receipt { first, count })
        })
    }

    fn settle(&self, seq: OutboxSeq) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async move {
            if self.full.load(Ordering::SeqCst) {
                return Err(SinkError::Unwritable("disk full".into()));
            }
            let mut state = self.state.lock().await;
            while state.0 < seq {
                let after = state.0;
                let rows = self.outbox.pending(after, 100).await.map_err(SinkError::Outbox)?;
                assert!(!rows.is_empty(), "settled an event that is not in the outbox");
                for row in rows {
                    state.0 = row.seq;
                    state.1.push(row.event);
                }
                self.outbox.drained(state.0).await.map_err(SinkError::Outbox)?;
            }
            Ok(())
        })
    }
}

/// A directory that goes away with its test.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct World {
    dir: Directory,
    clock: Arc<ManualClock>,
    sink: Arc<TestSink>,
    paths: Arc<TestPaths>,
    issuer: Arc<Issuer>,
    limits: Arc<Limits>,
    scopes: &'static str,
}

static DIRECTORIES: AtomicU64 = AtomicU64::new(0);
const ME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn build(
    dir: &std::path::Path,
    clock: &Arc<ManualClock>,
    paths: &Arc<TestPaths>,
    limits: &Arc<Limits>,
    scopes: &str,
) -> (Arc<TestSink>, Arc<Issuer>) {
    let unlock = Unlock::KeyFile(dir.join("root.key"));
    let rng = Arc::new(SystemRng);
    let vault = FileVault::open(&dir.join("vault"), &unlock, rng.clone()).unwrap();
    let store =
        Store::open(&dir.join("store"), vault.clone(), clock.clone(), rng.clone(), limits).unwrap();
    let sink = Arc::new(TestSink {
        outbox: store.clone(),
        state: tokio::sync::Mutex::new((OutboxSeq(0), Vec::new())),
        full: AtomicBool::new(false),
    });
    let config = config(scopes, limits);
    let deps = IssuerDeps {
        repositories: store.repositories(),
        sink: sink.clone(),
        vault,
        paths: paths.clone(),
        statuses: paths.clone(),
        clock: clock.clone(),
        rng,
    };
    (sink, Arc::new(Issuer::new(config, deps).unwrap()))
}

fn config(scopes: &str, limits: &Arc<Limits>) -> IssuerConfig {
    IssuerConfig {
        tenant: TenantId::default_tenant(),
        fhir_base: SERVER_URI.into(),
        oauth_base: OAUTH.into(),
        scopes_supported: ScopeSet::parse(scopes).0,
        communities: vec![
            ServedCommunity::new(PKI.a.community(), PKI.server_a.identity.clone()),
            ServedCommunity::new(PKI.b.community(), PKI.server_b.identity.clone()),
        ],
        limits: limits.clone(),
    }
}

impl World {
    fn new() -> Self {
        let limits = Limits {
            registrations_per_minute: 10_000,
            token_failures_per_minute: 10_000,
            tokens_per_client_per_minute: 10_000,
            ..Limits::default()
        };
        Self::with(SCOPES, limits)
    }

    fn with(scopes: &'static str, limits: Limits) -> Self {
        let n = DIRECTORIES.fetch_add(1, Ordering::SeqCst);
        let dir = std::env::temp_dir().join(format!("ward-issuer-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        create_key_file(&dir.join("root.key"), &SystemRng).unwrap();
        let clock = Arc::new(ManualClock::at_unix_seconds(START));
        let paths = Arc::new(TestPaths {
            clock: clock.clone(),
            revoked: Mutex::default(),
            outage: AtomicBool::new(false),
            next_update: AtomicU64::new(30 * 86_400),
            stood_by: Mutex::new(Some(true)),
        });
        let limits = Arc::new(limits);
        let (sink, issuer) = build(&dir, &clock, &paths, &limits, scopes);
        Self { dir: Directory(dir), clock, sink, paths, issuer, limits, scopes }
    }

    /// The process ends and starts again on the same directory.
    fn restart(self) -> Self {
        let Self { dir, clock, sink, paths, issuer, limits, scopes } = self;
        drop((sink, issuer));
        let (sink, issuer) = build(&dir.0, &clock, &paths, &limits, scopes);
        Self { dir, clock, sink, paths, issuer, limits, scopes }
    }

    async fn send(&self, request: Request<Bytes>) -> Answer {
        Answer::of(self.issuer.respond(request, ME).await)
    }

    async fn register(&self, body: &Value) -> Answer {
        self.send(post(REGISTER, "application/json", body.to_string())).await
    }

    async fn statement(&self, member: &Member, claims: &Map<String, Value>) -> Answer {
        self.register(&envelope(&sign(member, claims))).await
    }

    /// A registration that must succeed; its client id.
    async fn registered(&self, member: &Member, uri: &str, scope: &str) -> String {
        let mut claims = statement(uri);
        claims.insert("scope".into(), json!(scope));
        let answer = self.statement(member, &claims).await;
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        answer.text("client_id")
    }

    async fn token(&self, form: &[(&str, &str)]) -> Answer {
        let pairs: Vec<String> = form.iter().map(|(k, v)| format!("{k}={}", encode(v))).collect();
        self.send(post(TOKEN, "application/x-www-form-urlencoded", pairs.join("&"))).await
    }

    async fn asserted(&self, member: &Member, claims: &Map<String, Value>, scope: &str) -> Answer {
        self.token(&token_form(&sign(member, claims), scope)).await
    }

    /// A token that must be issued.
    async fn issued(&self, member: &Member, client: &str, scope: &str) -> String {
        let answer = self.asserted(member, &assertion(client), scope).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text("access_token")
    }

    async fn resolve(&self, token: &str) -> Result<Principal, ResolveError> {
        let header = format!("Bearer {token}");
        let tenant = TenantId::default_tenant();
        let presented = Presented { tenant: &tenant, authorization: Some(&header) };
        self.issuer.resolve(&presented).await
    }

    async fn events(&self) -> Vec<Event> {
        self.sink.state.lock().await.1.clone()
    }
}

#[derive(Debug, Clone)]
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Value,
    octets: Bytes,
}

impl Answer {
    fn of(response: Response<Bytes>) -> Self {
        let (head, octets) = response.into_parts();
        let body = serde_json::from_slice(&octets).unwrap_or(Value::Null);
        Self { status: head.status.as_u16(), headers: head.headers, body, octets }
    }

    fn text(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_default().to_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The exact refusal, and what every refusal has in common.
    fn refuses(&self, id: &str, status: u16, code: &str) {
        assert_eq!((self.status, self.text("error").as_str()), (status, code), "{id}: {self:?}");
        assert_eq!(self.header("cache-control"), "no-store", "{id}");
        assert_eq!(self.header("content-type"), "application/json", "{id}");
        assert!(!self.header("x-correlation-id").is_empty(), "{id}");
        assert!(self.text("error_description").len() < 80, "{id}");
        assert!(self.body.get("access_token").is_none() && self.body.get("client_id").is_none());
        assert_eq!(self.body.as_object().unwrap().len(), 2, "{id}: nothing else is said");
    }
}

fn post(url: &str, media: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    let path = url.strip_prefix("https://ward.test").unwrap();
    Request::post(path).header(header::CONTENT_TYPE, media).body(body.into()).unwrap()
}

fn encode(text: &str) -> String {
    let octets: Vec<String> = text.bytes().map(|b| format!("%{b:02X}")).collect();
    octets.concat()
}

fn envelope(statement: &str) -> Value {
    json!({ "software_statement": statement, "certifications": [], "udap": "1" })
}

fn sign(member: &Member, claims: &Map<String, Value>) -> String {
    let identity = &member.identity;
    identity.sign(identity.alg(), &Value::Object(claims.clone())).unwrap()
}

/// A JWS with this header and payload, as they stand.
fn sign_raw(member: &Member, header: &Value, payload: &str) -> String {
    let identity = &member.identity;
    identity.sign_raw(identity.alg(), header.to_string().as_bytes(), payload.as_bytes()).unwrap()
}

fn jws_header(member: &Member, alg: Alg) -> Value {
    json!({ "alg": alg.name(), "x5c": member.identity.x5c() })
}

static JTI: AtomicU64 = AtomicU64::new(0);

fn registered_claims(iss: &str, aud: &str) -> Map<String, Value> {
    let Value::Object(claims) = json!({
        "iss": iss,
        "sub": iss,
        "aud": aud,
        "iat": START,
        "exp": START + 300,
        "jti": format!("jti-{}", JTI.fetch_add(1, Ordering::SeqCst)),
    }) else {
        unreachable!()
    };
    claims
}

/// The claims of a good software statement.
fn statement(uri: &str) -> Map<String, Value> {
    let mut claims = registered_claims(uri, REGISTER);
    let Value::Object(parameters) = json!({
        "client_name": "Partner",
        "contacts": ["mailto:ops@partner.test", "https://partner.test/contact"],
        "grant_types": ["client_credentials"],
        "scope": "system/Patient.rs system/Observation.rs",
        "token_endpoint_auth_method": "private_key_jwt",
    }) else {
        unreachable!()
    };
    claims.extend(parameters);
    claims
}

/// The claims of a good authentication token.
fn assertion(client: &str) -> Map<String, Value> {
    let mut claims = registered_claims(client, TOKEN);
    let b2b = json!({
        "version": "1",
        "organization_id": ORGANIZATION,
        "organization_name": "Partner Clinic",
        "purpose_of_use": [TREATMENT],
    });
    claims.insert("extensions".into(), json!({ "hl7-b2b": b2b }));
    claims
}

fn token_form<'a>(assertion: &'a str, scope: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion),
        ("udap", "1"),
        ("scope", scope),
    ]
}

//! Doubles of the rooms around the gateway, and how to ask it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use ward_core::*;
use ward_fhir::ScopeSet;
use ward_gateway::{Gateway, GatewayConfig, GatewayDeps};
use ward_net::{Egress, HttpClient, Peer};
use ward_policy::{Presented, Principal, Resolve, ResolveError, Roster};
use ward_store::{Binding, Member, RosterRow, Rosters, StoreError};

pub(crate) use crate::upstream::*;

pub(crate) const PUBLIC: &str = "https://ward.example/default/fhir";

// ---- the doubles ----------------------------------------------------------------------------

/// Tokens by name.
#[derive(Default)]
pub(crate) struct Tokens(pub(crate) Mutex<BTreeMap<String, Principal>>);

impl Resolve for Tokens {
    fn resolve<'a>(
        &'a self,
        presented: &'a Presented<'a>,
    ) -> BoxFuture<'a, Result<Principal, ResolveError>> {
        Box::pin(async move {
            let header = presented.authorization.ok_or(ResolveError::Missing)?;
            let token = header.strip_prefix("Bearer ").ok_or(ResolveError::Malformed)?;
            if token == "busy" {
                return Err(ResolveError::Unavailable);
            }
            self.0.lock().unwrap().get(token).cloned().ok_or(ResolveError::Invalid)
        })
    }
}

/// One roster for everybody.
pub(crate) struct OneRoster(pub(crate) Mutex<Option<Roster>>);

impl Rosters for OneRoster {
    fn import<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a OrganizationUri,
        _: Vec<Member>,
        _: Vec<RosterRow>,
        _: Event,
    ) -> BoxFuture<'a, Result<OutboxSeq, StoreError>> {
        Box::pin(async { Ok(OutboxSeq(1)) })
    }

    fn binding<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a OrganizationUri,
        _: (&'a CommunityUri, &'a ClientUri),
    ) -> BoxFuture<'a, Result<Binding, StoreError>> {
        Box::pin(async { Ok(Binding::Bound) })
    }

    fn roster<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a OrganizationUri,
        _: (&'a CommunityUri, &'a ClientUri),
        _: &'a [Purpose],
    ) -> BoxFuture<'a, Result<Roster, StoreError>> {
        Box::pin(async {
            self.0.lock().unwrap().clone().ok_or(StoreError::Unavailable("down".into()))
        })
    }
}

/// A log in memory that can fail from some event on, or wait.
pub(crate) struct Ledger {
    pub(crate) events: Mutex<Vec<Event>>,
    /// How many more events it takes before it fails.
    pub(crate) room: AtomicUsize,
    /// Held for writing while the log must not return.
    pub(crate) gate: tokio::sync::RwLock<()>,
}

impl EventSink for Ledger {
    fn record(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Receipt, SinkError>> {
        Box::pin(async move {
            let _open = self.gate.read().await;
            let left =
                self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            left.map_err(|_| SinkError::Unwritable("disk full".into()))?;
            let mut ledger = self.events.lock().unwrap();
            let first = ledger.len() as u64;
            let count = u32::try_from(events.len()).unwrap();
            ledger.extend(events);
            Ok(Receipt { first, count })
        })
    }

    fn settle(&self, _: OutboxSeq) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }
}

struct OneKey;

impl KeyVault for OneKey {
    fn current<'a>(
        &'a self,
        _: &'a TenantId,
        purpose: KeyPurpose,
    ) -> BoxFuture<'a, Result<DataKey, VaultError>> {
        assert_eq!(purpose, KeyPurpose::Cursor);
        Box::pin(async { Ok(DataKey { id: KeyId(1), key: Secret::new([9; 32]) }) })
    }

    fn by_id<'a>(
        &'a self,
        tenant: &'a TenantId,
        purpose: KeyPurpose,
        id: KeyId,
    ) -> BoxFuture<'a, Result<DataKey, VaultError>> {
        if id == KeyId(1) {
            self.current(tenant, purpose)
        } else {
            Box::pin(async { Err(VaultError::Unknown) })
        }
    }

    fn destroy<'a>(
        &'a self,
        _: &'a TenantId,
        _: KeyPurpose,
    ) -> BoxFuture<'a, Result<(), VaultError>> {
        Box::pin(async { Ok(()) })
    }
}

// ---- the door -------------------------------------------------------------------------------

/// A gateway with its doubles.
pub(crate) struct Door {
    pub(crate) gateway: Gateway,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) roster: Arc<OneRoster>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) clock: Arc<ManualClock>,
    /// Request heads that the upstream saw.
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// `None` if the body was broken off.
    pub(crate) body: Option<Bytes>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(self.body.as_ref().unwrap()).unwrap()
    }

    /// Everything but what may differ: `Date` and the correlation id.
    pub(crate) fn comparable(&self) -> (StatusCode, Vec<(String, String)>, Option<Bytes>) {
        let mut headers: Vec<(String, String)> = self
            .headers
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "date" | "x-correlation-id"))
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        headers.sort();
        (self.status, headers, self.body.clone())
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        let bundle = self.json();
        let Some(entries) = bundle["entry"].as_array() else { return Vec::new() };
        let matches = entries.iter().filter(|entry| entry["search"]["mode"] == "match");
        matches.map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
    }

    /// The target of `link[next]`, below the public base.
    pub(crate) fn next(&self) -> Option<String> {
        let bundle = self.json();
        let links = bundle["link"].as_array().unwrap();
        let next = links.iter().find(|link| link["relation"] == "next")?["url"].as_str().unwrap();
        Some(next.strip_prefix(PUBLIC).unwrap().to_owned())
    }
}

pub(crate) fn principal(grant: u8, scopes: &str) -> Principal {
    Principal {
        tenant: TenantId::default_tenant(),
        client: ClientId::from_bytes([1; 16]),
        client_uri: ClientUri::parse("https://client.example/app").unwrap(),
        grant: GrantId::from_bytes([grant; 16]),
        token: TokenId::from_bytes([3; 16]),
        community: CommunityUri::parse("urn:community").unwrap(),
        organization: OrganizationUri::parse("https://org.example").unwrap(),
        purposes: vec![Purpose::Treatment],
        scopes: ScopeSet::parse(scopes).0,
    }
}

pub(crate) fn known<'a>(ids: impl IntoIterator<Item = &'a str>) -> Roster {
    let ids: BTreeSet<PatientId> =
        ids.into_iter().map(|id| PatientId::parse(id).unwrap()).collect();
    Roster::Known(Arc::new(ids))
}

/// The time of a request is a work limit too: where none may be reached, a busy machine must not reach it.
pub(crate) fn limits() -> Limits {
    Limits { upstream_timeout: Duration::from_mins(2), ..Limits::default() }
}

impl Door {
    /// A door before a script; the roster is a and b.
    pub(crate) async fn before(script: Arc<Script>, limits: Limits) -> Self {
        let (base, seen) = upstream(script).await;
        Self::at(&base, seen, limits)
    }

    /// A door before an honest server.
    pub(crate) async fn over(records: Vec<Value>) -> Self {
        Self::before(server(records), limits()).await
    }

    pub(crate) fn at(upstream: &str, seen: Arc<Mutex<Vec<String>>>, limits: Limits) -> Self {
        let authority = upstream.split('/').nth(2).unwrap();
        let limits = Arc::new(limits);
        let tls = ward_net::tls::client_config([]).unwrap();
        let http = HttpClient::new(Egress::allowing([authority]), tls, Arc::clone(&limits));
        let tokens = Arc::new(Tokens::default());
        tokens.0.lock().unwrap().insert("good".into(), principal(2, "system/*.rs"));
        tokens.0.lock().unwrap().insert("other".into(), principal(4, "system/*.rs"));
        tokens.0.lock().unwrap().insert("narrow".into(), principal(5, "system/Patient.r"));
        let roster = Arc::new(OneRoster(Mutex::new(Some(known(["a", "b"])))));
        let ledger = Arc::new(Ledger {
            events: Mutex::default(),
            room: AtomicUsize::new(usize::MAX),
            gate: tokio::sync::RwLock::new(()),
        });
        let clock = Arc::new(ManualClock::at_unix_seconds(1_800_000_000));
        let gateway = Gateway::new(
            GatewayConfig {
                tenant: TenantId::default_tenant(),
                fhir_base: PUBLIC.into(),
                upstream_base: upstream.into(),
                token_endpoint: Some("https://ward.example/default/oauth/token".into()),
                registration_endpoint: None,
            },
            GatewayDeps {
                resolve: tokens.clone(),
                rosters: roster.clone(),
                sink: ledger.clone(),
                vault: Arc::new(OneKey),
                http,
                clock: clock.clone(),
                rng: Arc::new(SeededRng::new(1)),
                limits,
            },
        )
        .unwrap();
        Self { gateway, tokens, roster, ledger, clock, seen }
    }

    /// Asks with a request as it is.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let peer = Peer { addr: ([127, 0, 0, 1], 1).into(), tls: true };
        let (head, body) = self.gateway.handle(request, peer).await.into_parts();
        let body = body.collect().await.ok().map(http_body_util::Collected::to_bytes);
        Answer { status: head.status, headers: head.headers, body }
    }

    /// `GET` with the good token.
    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send(request("GET", target, &[("authorization", "Bearer good")])).await
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.ledger.events.lock().unwrap().clone()
    }
}

/// A request for a target below the public base.
pub(crate) fn request(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(method).uri(format!("/default/fhir{target}"));
    if !headers.iter().any(|(name, _)| *name == "host") {
        builder = builder.header("host", "ward.example");
    }
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::default()).unwrap()
}

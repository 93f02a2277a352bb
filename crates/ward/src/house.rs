//! The wiring of one Ward: which room gets which other, and in which order they wake and go to sleep.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use ward_admin::{Admin, Deps};
use ward_audit::{Log, LogError, LogHistory, LogOptions, RealDisk, origin_of};
use ward_core::crypto::SigningKey;
use ward_core::{
    BoxFuture, Bus, Clock, CorrelationId, Event, EventKind, EventSink, History, KeyVault, Limits,
    NodeId, Rng, Secret, SystemClock, SystemRng, TenantId,
};
use ward_fhir::ScopeSet;
use ward_gateway::{CredentialDial, EnforcementDial, Gateway, GatewayConfig, GatewayDeps};
use ward_issuer::{Issuer, IssuerConfig, IssuerDeps, ServedCommunity, SignalDesk};
use ward_net::client::{Egress, HttpClient};
use ward_net::http::Body;
use ward_net::lists::RevocationLists;
use ward_net::server::{Handler, Peer, Running, Server};
use ward_net::status::CertificationStatus;
use ward_net::tls::TlsReload;
use ward_policy::Enforcement;
use ward_respond::Responder;
use ward_store::bus::LocalBus;
use ward_store::vault::{FileVault, Unlock, create_key_file};
use ward_store::{Repositories, Store, StoreError};
use ward_watch::{CeilingDial, Ceilings, Detector, Watch};

use crate::backup;
use crate::ops::{Machine, OpsDeps};
use crate::paths::Paths;
use crate::signals::{Ear, fetch_lists};

/// Time, randomness and bounds, made once.
#[derive(Clone)]
pub struct System {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// Bounds.
    pub limits: Arc<Limits>,
}

/// The machine's clock and randomness, and the shipped bounds.
pub fn system() -> System {
    System {
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        limits: Arc::new(Limits::default()),
    }
}

/// Opens a vault under a key file that exists.
pub fn open_vault_with_key_file(
    dir: &Path,
    key_file: &Path,
    system: &System,
) -> Result<Arc<FileVault>, StoreError> {
    FileVault::open(dir, &Unlock::KeyFile(key_file.to_path_buf()), system.rng.clone())
}

/// Opens a vault under a key file; makes the key file if it is missing.
pub fn open_or_make_vault(
    dir: &Path,
    key_file: &Path,
    system: &System,
) -> Result<Arc<FileVault>, StoreError> {
    // A new key would not open a vault that is there; opening it says what is missing.
    if !key_file.exists() && !dir.join("vault.json").exists() {
        create_key_file(key_file, &*system.rng)?;
    }
    open_vault_with_key_file(dir, key_file, system)
}

/// What one Ward is made of.
pub struct HouseConfig {
    /// The one tenant.
    pub tenant: TenantId,
    /// Public origin, `https://host:port`.
    pub origin: String,
    /// FHIR base of the server behind Ward.
    pub upstream: String,
    /// Trust communities that it serves.
    pub communities: Vec<ServedCommunity>,
    /// Everything that can be granted.
    pub scopes: ScopeSet,
    /// What detection takes for normal.
    pub ceilings: Ceilings,
    /// How Ward calls out.
    pub outward: Outward,
    /// Certificate and key of the listener.
    pub tls: Arc<TlsReload>,
    /// Whether refusals block.
    pub enforcement: Enforcement,
}

/// How Ward calls out. The upstream and the servers of revocation lists are kept apart: a certificate
/// names the latter, and must not reach the former.
#[derive(Clone)]
pub struct Outward {
    /// Where the gateway may call.
    pub upstream: Egress,
    /// Authorities that the upstream's TLS certificate may come from, DER.
    pub upstream_roots: Vec<Vec<u8>>,
    /// `Authorization` for the upstream.
    pub authorization: Option<HeaderValue>,
    /// Where revocation lists may be fetched.
    pub lists: Egress,
    /// Authorities that TLS certificates of the servers of lists may come from, DER.
    pub list_roots: Vec<Vec<u8>>,
}

impl Outward {
    /// Without TLS, and to the same places for everything.
    pub fn plain(egress: Egress) -> Self {
        Self {
            upstream: egress.clone(),
            upstream_roots: Vec::new(),
            authorization: None,
            lists: egress,
            list_roots: Vec::new(),
        }
    }
}

/// What can be changed while a Ward runs. Cheap to clone.
#[derive(Clone)]
pub struct Knobs {
    issuer: Arc<Issuer>,
    tls: Arc<TlsReload>,
    ceilings: CeilingDial,
    enforcement: EnforcementDial,
    pub(crate) credentials: CredentialDial,
    sink: Arc<dyn EventSink>,
    tenant: TenantId,
    system: System,
}

/// What is turned, for the log.
#[derive(Clone, Copy)]
pub struct Turned<'a> {
    /// The action's word.
    pub action: &'static str,
    /// Who asked for it over the admin listener, if somebody did.
    pub operator: Option<&'a str>,
    /// What changed: keys of the configuration, and files.
    pub changed: &'a [String],
}

impl Knobs {
    /// The communities in force.
    pub fn communities(&self) -> Vec<ward_trust::Community> {
        self.issuer.communities()
    }

    /// Records that a community's trust bundle was refused, and why in a word.
    pub async fn bundle_refused(
        &self,
        community: &ward_core::CommunityUri,
        why: &'static str,
    ) -> Result<(), HouseError> {
        let (clock, rng) = (&*self.system.clock, &*self.system.rng);
        let correlation = CorrelationId::new(clock, rng);
        let tenant = self.tenant.clone();
        let mut event =
            Event::new(EventKind::Community, "bundle-refused", tenant, clock.now(), correlation)
                .with("why", why);
        event.outcome = ward_core::Outcome::Refused;
        event.actor.community = Some(community.clone());
        self.sink.record(vec![event]).await?;
        Ok(())
    }

    /// [`Knobs::turn_all`], with the enforcement in force.
    pub async fn turn(
        &self,
        communities: Vec<ServedCommunity>,
        tls: Arc<rustls::ServerConfig>,
        ceilings: Ceilings,
        turned: Turned<'_>,
    ) -> Result<(), HouseError> {
        let enforcement = (*self.enforcement.now()).clone();
        self.turn_all(communities, tls, ceilings, enforcement, turned).await
    }

    /// Takes all of it from now on, or nothing; recorded in the log, and a switch between observing and
    /// enforcing by an event of its own. Running connections go on.
    pub async fn turn_all(
        &self,
        communities: Vec<ServedCommunity>,
        tls: Arc<rustls::ServerConfig>,
        ceilings: Ceilings,
        enforcement: Enforcement,
        turned: Turned<'_>,
    ) -> Result<(), HouseError> {
        self.issuer.check(&communities)?;
        let correlation = CorrelationId::new(&*self.system.clock, &*self.system.rng);
        // Recorded before it is so: what no log knows of is not in force.
        let mut events = vec![self.turned_event(turned, correlation)];
        if *self.enforcement.now() != enforcement {
            let mut switched = mode_event(&enforcement, &self.tenant, &self.system, correlation);
            switched.actor.operator = turned.operator.map(|name| name.to_owned().into());
            events.push(switched);
        }
        self.sink.record(events).await?;
        self.issuer.serve(communities)?;
        self.tls.replace(tls);
        self.ceilings.turn(ceilings);
        self.enforcement.turn(enforcement);
        Ok(())
    }

    /// What the upstream is shown of Ward from now on; recorded before it is so, without the secret.
    pub(crate) async fn turn_credentials(
        &self,
        authorization: Option<HeaderValue>,
        turned: Turned<'_>,
    ) -> Result<(), HouseError> {
        let correlation = CorrelationId::new(&*self.system.clock, &*self.system.rng);
        self.sink.record(vec![self.turned_event(turned, correlation)]).await?;
        self.credentials.turn(authorization);
        Ok(())
    }

    fn turned_event(&self, turned: Turned<'_>, correlation: CorrelationId) -> Event {
        let (tenant, now) = (self.tenant.clone(), self.system.clock.now());
        let mut event = Event::new(EventKind::Operator, turned.action, tenant, now, correlation);
        event.actor.operator = turned.operator.map(|name| name.to_owned().into());
        let changed = turned.changed.join(", ");
        let end = changed.floor_char_boundary(1000);
        event.with("changed", changed.get(..end).unwrap_or_default())
    }
}

/// Which mode is in force from now on, and what is excepted.
fn mode_event(
    enforcement: &Enforcement,
    tenant: &TenantId,
    system: &System,
    correlation: CorrelationId,
) -> Event {
    let action = if enforcement.is_observing() { "mode-observe" } else { "mode-enforce" };
    let now = system.clock.now();
    let said = enforcement.to_string();
    let end = said.floor_char_boundary(1000);
    Event::new(EventKind::Operator, action, tenant.clone(), now, correlation)
        .with("enforcement", said.get(..end).unwrap_or_default())
}

impl HouseConfig {
    /// Public FHIR base.
    pub fn fhir_base(&self) -> String {
        format!("{}/{}/fhir", self.origin, self.tenant)
    }

    /// Path of the endpoint for signals of communities, beside the FHIR base.
    fn signals_path(&self) -> String {
        let rest = self.origin.split_once("://").map_or("", |(_, rest)| rest);
        let below = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default();
        format!("{}/{}/signals", below.trim_end_matches('/'), self.tenant)
    }

    /// Public base of the token and registration endpoints.
    pub fn oauth_base(&self) -> String {
        format!("{}/{}/oauth", self.origin, self.tenant)
    }
}

/// Why a Ward did not come up.
#[derive(Debug, thiserror::Error)]
pub enum HouseError {
    /// The store did not open.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// The log did not open.
    #[error("log: {0}")]
    Log(#[from] LogError),
    /// The log took no entry.
    #[error("log: {0}")]
    Sink(#[from] ward_core::SinkError),
    /// The issuer refused its configuration.
    #[error("issuer: {0}")]
    Issuer(#[from] ward_issuer::IssuerError),
    /// The gateway refused its configuration.
    #[error("gateway: {0}")]
    Gateway(#[from] ward_gateway::GatewayError),
    /// A key is not usable.
    #[error("keys: {0}")]
    Crypto(#[from] ward_core::crypto::CryptoError),
    /// Detection or response could not read the log back.
    #[error("the log could not be read back: {0}")]
    History(String),
    /// A file or socket could not be used.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The TLS configuration is not usable.
    #[error("TLS: {0}")]
    Tls(#[from] ward_net::tls::TlsError),
}

/// A running Ward.
pub struct House {
    /// The operator's commands.
    pub admin: Arc<Admin>,
    /// The log.
    pub log: Arc<Log>,
    /// News of what became durable.
    pub bus: Arc<dyn Bus>,
    /// Keys.
    pub vault: Arc<FileVault>,
    /// State.
    pub repositories: Repositories,
    /// The store behind it, for backups.
    pub store: Arc<Store>,
    /// Its data directory.
    pub paths: Paths,
    /// What can be changed while it runs.
    pub knobs: Knobs,
    /// What the admin listener looks at; see [`crate::ops::start`].
    pub ops: OpsDeps,
    /// What operators' commands ask of the program itself.
    pub machine: Arc<Machine>,
    /// Certificate and key of the listener.
    pub tls: Arc<TlsReload>,
    server: Running,
    tasks: Vec<JoinHandle<()>>,
}

impl House {
    /// Wakes the rooms from the lowest floor up; serves only when all stand.
    pub async fn open(
        paths: &Paths,
        vault: Arc<FileVault>,
        config: HouseConfig,
        listener: TcpListener,
        system: &System,
    ) -> Result<Self, HouseError> {
        let System { clock, rng, limits } = system.clone();
        let keys: Arc<dyn KeyVault> = vault.clone();
        let store = Store::open(&paths.store(), keys.clone(), clock.clone(), rng.clone(), &limits)?;
        let repositories = store.repositories();

        let bus: Arc<dyn Bus> = Arc::new(LocalBus::new(&limits));
        let log = Log::open(LogOptions {
            disk: Arc::new(RealDisk::new(paths.log())),
            origin: origin_of(node_id(&vault, system)?),
            signing_key: signing_key(&vault, system)?,
            vault: keys.clone(),
            bus: bus.clone(),
            clock: clock.clone(),
            rng: rng.clone(),
            limits: limits.clone(),
        })?;
        let sink: Arc<dyn EventSink> = log.clone();
        let key_path = paths.verifier_key();
        let verifier = format!("{}\n", log.verifier_key());
        // Not written anew when it is there: on a full disk that would only empty it.
        if fs::read_to_string(&key_path).ok().as_ref() != Some(&verifier) {
            fs::write(&key_path, verifier).map_err(|source| HouseError::File {
                path: key_path.display().to_string(),
                source,
            })?;
        }

        let client = |egress: Egress, roots: &[Vec<u8>]| {
            let tls = ward_net::tls::client_config(roots.iter().map(Vec::as_slice))?;
            Ok::<_, HouseError>(HttpClient::new(egress, tls, limits.clone()))
        };
        let (outward, signals_path) = (config.outward.clone(), config.signals_path());
        let http = client(outward.upstream, &outward.upstream_roots)?;
        let lists = client(outward.lists, &outward.list_roots)?;
        let statuses = CertificationStatus::new(lists.clone(), clock.clone(), limits.clone());
        let lists = RevocationLists::new(lists, clock.clone(), limits.clone());
        // Lists and OCSP answers are renewed before anybody waits for them.
        lists.keep_tended();
        let (probes, listed) = (http.clone(), lists.clone());
        let issuer = Arc::new(Issuer::new(
            IssuerConfig {
                tenant: config.tenant.clone(),
                fhir_base: config.fhir_base(),
                oauth_base: config.oauth_base(),
                scopes_supported: config.scopes.clone(),
                communities: config.communities.clone(),
                limits: limits.clone(),
            },
            IssuerDeps {
                repositories: repositories.clone(),
                sink: sink.clone(),
                vault: keys.clone(),
                paths: Arc::new(lists.clone()),
                statuses: Arc::new(statuses),
                clock: clock.clone(),
                rng: rng.clone(),
            },
        )?);
        let gateway = Gateway::new(
            GatewayConfig {
                tenant: config.tenant.clone(),
                fhir_base: config.fhir_base(),
                upstream_base: config.upstream.clone(),
                token_endpoint: Some(issuer.token_endpoint().to_owned()),
                registration_endpoint: Some(issuer.registration_endpoint().to_owned()),
            },
            GatewayDeps {
                resolve: issuer.clone(),
                rosters: repositories.rosters.clone(),
                sink: sink.clone(),
                vault: keys,
                http,
                clock: clock.clone(),
                rng: rng.clone(),
                limits: limits.clone(),
            },
        )?;
        let gateway = Arc::new(gateway);
        let credentials = gateway.credentials();
        credentials.turn(outward.authorization);
        let enforcement = gateway.dial();
        let machine = Arc::new(Machine::new(backup::Source {
            paths: paths.clone(),
            store: store.clone(),
            log: log.clone(),
            tenant: config.tenant.clone(),
            system: system.clone(),
        }));
        let admin = Arc::new(Admin::new(
            config.tenant.clone(),
            Deps {
                store: repositories.clone(),
                sink: sink.clone(),
                issuer: issuer.clone(),
                lists,
                site: machine.clone(),
                limits: limits.clone(),
                clock: clock.clone(),
                rng: rng.clone(),
            },
        ));

        let started = Event::new(
            EventKind::LogStarted,
            "started",
            config.tenant.clone(),
            clock.now(),
            CorrelationId::new(&*clock, &*rng),
        );
        let owed = log.wake(repositories.outbox.clone(), started).await?;
        backup::wake(paths, &log, &config.tenant, system).await?;

        if config.enforcement.is_observing() {
            // Before the first request: the log says under which mode each was answered.
            let correlation = CorrelationId::new(&*clock, &*rng);
            let event = mode_event(&config.enforcement, &config.tenant, system, correlation);
            sink.record(vec![event]).await?;
            enforcement.turn(config.enforcement);
        }
        let history: Arc<dyn History> = Arc::new(LogHistory::new(log.clone()));
        let detector = Detector::new(config.ceilings, limits.watch_clients);
        let knobs = Knobs {
            issuer: issuer.clone(),
            tls: config.tls.clone(),
            ceilings: detector.dial(),
            enforcement: enforcement.clone(),
            credentials,
            sink: sink.clone(),
            tenant: config.tenant.clone(),
            system: system.clone(),
        };
        let watch = Watch::start(
            detector,
            &*bus,
            history.clone(),
            sink.clone(),
            clock.clone(),
            rng.clone(),
        )
        .await
        .map_err(HouseError::History)?;
        let responder = Responder::new(
            repositories.incidents.clone(),
            admin.clone(),
            sink,
            clock.clone(),
            rng.clone(),
        );
        let findings =
            responder.follow(&*bus, history.clone()).await.map_err(HouseError::History)?;
        let mut tasks = vec![tokio::spawn(watch.run()), tokio::spawn(responder.run(findings))];
        tasks.extend(owed);
        // What a list revokes has no grant from then on.
        tasks.push(tokio::spawn(admin.clone().follow_lists()));
        // Nor what a certifier does not stand by any more.
        tasks.push(tokio::spawn(admin.clone().follow_certifications()));

        let signals = Arc::new(SignalDesk::new(issuer.clone(), signals_path));
        let ear = Ear::new(signals.news());
        tasks.push(tokio::spawn(fetch_lists(ear, listed.clone(), issuer.clone())));
        let front = Arc::new(Front { issuer, gateway, signals: signals.clone() });
        let tls = config.tls;
        let server = Server::start(listener, Some(tls.clone()), front, limits)
            .map_err(|source| HouseError::File { path: "listener".to_owned(), source })?;
        let ops = OpsDeps {
            admin: admin.clone(),
            log: log.clone(),
            probe: repositories.probe.clone(),
            lists: listed,
            bundles: Arc::default(),
            signals,
            http: probes,
            upstream: config.upstream,
            enforcement,
            server: server.stats(),
            bus: bus.clone(),
            history,
            system: system.clone(),
        };
        let paths = paths.clone();
        Ok(Self {
            admin,
            log,
            bus,
            vault,
            repositories,
            store,
            paths,
            knobs,
            ops,
            machine,
            tls,
            server,
            tasks,
        })
    }

    /// What a backup of it is made of.
    pub fn backup_source(&self) -> backup::Source {
        backup::Source {
            paths: self.paths.clone(),
            store: self.store.clone(),
            log: self.log.clone(),
            tenant: self.knobs.tenant.clone(),
            system: self.knobs.system.clone(),
        }
    }

    /// The address that Ward listens on.
    pub const fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Drains for at most five seconds, writes the last checkpoint and ends.
    pub async fn close(self) {
        self.close_within(Duration::from_secs(5)).await;
    }

    /// Drains for at most `grace`, writes the last checkpoint and ends.
    pub async fn close_within(self, grace: Duration) {
        self.server.shutdown(grace).await;
        for task in self.tasks {
            task.abort();
        }
        self.log.close().await;
    }
}

/// One listener, two rooms: what the issuer owns by path is its (signals of communities too), the rest is the gateway's.
struct Front {
    issuer: Arc<Issuer>,
    gateway: Arc<Gateway>,
    signals: Arc<SignalDesk>,
}

impl Handler for Front {
    fn handle(&self, request: Request<Incoming>, peer: Peer) -> BoxFuture<'_, Response<Body>> {
        Box::pin(async move {
            if self.issuer.owns(request.uri().path()) {
                self.issuer.handle(request, peer).await
            } else if self.signals.owns(request.uri().path()) {
                self.signals.handle(request, peer).await
            } else {
                self.gateway.handle(request, peer).await
            }
        })
    }
}

/// The seed of the log's signing key; made once.
pub(crate) fn signing_key(vault: &FileVault, system: &System) -> Result<SigningKey, HouseError> {
    let seed = secret(vault, "log/signing-seed", system)?;
    Ok(SigningKey::from_seed(&seed)?)
}

/// The node's id; made once.
pub(crate) fn node_id(vault: &FileVault, system: &System) -> Result<NodeId, HouseError> {
    const NAME: &str = "node-id";
    if let Some(bytes) = vault.get_secret(NAME)?
        && let Ok(bytes) = <[u8; 16]>::try_from(bytes.expose().as_slice())
    {
        return Ok(NodeId::from_bytes(bytes));
    }
    let id = NodeId::new(&*system.clock, &*system.rng);
    vault.put_secret(NAME, &Secret::new(id.as_bytes().to_vec()))?;
    Ok(id)
}

/// 32 secret octets under a name; made once.
pub(crate) fn secret(
    vault: &FileVault,
    name: &str,
    system: &System,
) -> Result<Secret<[u8; 32]>, StoreError> {
    if let Some(bytes) = vault.get_secret(name)?
        && let Ok(bytes) = <[u8; 32]>::try_from(bytes.expose().as_slice())
    {
        return Ok(Secret::new(bytes));
    }
    let mut seed = [0; 32];
    system.rng.fill(&mut seed);
    vault.put_secret(name, &Secret::new(seed.to_vec()))?;
    Ok(Secret::new(seed))
}

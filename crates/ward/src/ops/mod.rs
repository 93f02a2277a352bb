//! The admin listener: is Ward alive, is it ready, what does it count, and the operators' commands.
//!
//! Never for partners: on loopback it is plain HTTP, anywhere else it demands TLS. What it shows holds no
//! PHI and no secret, and its labels come from Ward, never from a caller. It stands on a task of its own
//! and reads the same stream and counters as everybody (rule 7); no room knows of it.

mod api;
mod browser;
mod metrics;
mod ready;
mod site;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use ward_admin::Admin;
use ward_audit::Log;
use ward_core::{BoxFuture, Bus, Follower, History, Limits};
use ward_net::http::{Body, full, json, method_not_allowed, respond, text};
use ward_net::lists::RevocationLists;
use ward_net::server::{Handler, Peer, Server};
use ward_net::{HttpClient, ServerStats, TlsReload};
use ward_store::Probe;

pub use metrics::{CATALOGUE, Kind, Metric, catalogue};
pub use ready::{Component, Report};
pub use site::Machine;

use crate::bundle_pull::Bundles;
use crate::house::System;
use metrics::Metrics;
use ready::Readiness;

/// What the admin listener looks at. Cheap to clone.
#[derive(Clone)]
pub struct OpsDeps {
    /// The operators' commands.
    pub admin: Arc<Admin>,
    /// The log.
    pub log: Arc<Log>,
    /// Whether the store works.
    pub probe: Arc<dyn Probe>,
    /// Revocation lists.
    pub lists: Arc<RevocationLists>,
    /// Trust bundles of communities.
    pub bundles: Arc<Bundles>,
    /// Signals of communities.
    pub signals: Arc<ward_issuer::SignalDesk>,
    /// The client that may call the upstream.
    pub http: HttpClient,
    /// FHIR base of the upstream.
    pub upstream: String,
    /// Whether refusals block.
    pub enforcement: ward_gateway::EnforcementDial,
    /// What the partners' listener counts.
    pub server: Arc<ServerStats>,
    /// News.
    pub bus: Arc<dyn Bus>,
    /// The log, read back.
    pub history: Arc<dyn History>,
    /// Time, randomness, bounds.
    pub system: System,
}

/// Why the admin listener did not come up.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// It would show itself in plain text to a network.
    #[error(
        "{0} is not a loopback address: give the admin listener TLS, or set [admin] address to 127.0.0.1"
    )]
    Plain(SocketAddr),
    /// The socket could not be used.
    #[error("the admin listener: {0}")]
    Socket(#[from] io::Error),
    /// The stream of events could not be taken up.
    #[error("the log could not be read back: {0}")]
    History(String),
}

/// An admin listener that runs. Dropping it ends it.
pub struct Running {
    server: ward_net::Running,
    counting: JoinHandle<()>,
    draining: Arc<AtomicBool>,
}

impl Running {
    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// From now on `/readyz` says no, so that a load balancer sends nothing more. Call it when SIGTERM comes.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Ends it.
    pub async fn close(self) {
        self.counting.abort();
        self.server.shutdown(Duration::from_secs(1)).await;
    }
}

/// Starts the admin listener.
pub async fn start(
    listener: TcpListener,
    tls: Option<Arc<TlsReload>>,
    deps: OpsDeps,
) -> Result<Running, OpsError> {
    let address = listener.local_addr()?;
    if tls.is_none() && !address.ip().is_loopback() {
        return Err(OpsError::Plain(address));
    }
    let metrics = Arc::new(Metrics::new(&deps));
    let now = deps.system.clock.now();
    let mut events =
        Follower::start(&*deps.bus, deps.history.clone(), now).await.map_err(OpsError::History)?;
    let counter = Arc::clone(&metrics);
    let counting = tokio::spawn(async move {
        while let Some(next) = events.next().await {
            match next {
                Ok(recorded) => counter.count(&recorded.event),
                Err(reason) => tracing::error!(%reason, "metrics could not re-read the log"),
            }
        }
    });
    let draining = Arc::<AtomicBool>::default();
    // Few connections, and bodies as large as a roster.
    let limits = Limits {
        connections: deps.system.limits.admin_connections,
        ..(*deps.system.limits).clone()
    };
    let desk = Desk {
        ready: Readiness::new(&deps, Arc::clone(&draining)),
        admin: deps.admin,
        limits: deps.system.limits,
        plain: tls.is_none(),
        metrics,
    };
    let server = Server::start(listener, tls, Arc::new(desk), Arc::new(limits))?;
    Ok(Running { server, counting, draining })
}

/// What answers at the admin listener.
struct Desk {
    ready: Readiness,
    metrics: Arc<Metrics>,
    admin: Arc<Admin>,
    limits: Arc<Limits>,
    /// Without TLS, where a name proves nothing.
    plain: bool,
}

impl Handler for Desk {
    fn handle(&self, request: Request<Incoming>, peer: Peer) -> BoxFuture<'_, Response<Body>> {
        Box::pin(async move {
            if let Some(refused) = browser::refuse(&request, self.plain) {
                return refused;
            }
            let path = request.uri().path().to_owned();
            if let Some(word) = path.strip_prefix(api::PREFIX) {
                return api::answer(&self.admin, &self.limits, word, request, peer).await;
            }
            if !matches!(path.as_str(), "/healthz" | "/readyz" | "/metrics") {
                return text(StatusCode::NOT_FOUND, "see docs/operate\n");
            }
            if request.method() != Method::GET {
                return method_not_allowed("GET");
            }
            match path.as_str() {
                "/healthz" => json(StatusCode::OK, "{\"status\":\"alive\"}\n"),
                "/readyz" => {
                    let report = self.ready.report().await;
                    let status =
                        if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                    json(status, report.to_json())
                }
                _ => {
                    let report = self.ready.report().await;
                    match self.metrics.text(&report) {
                        Ok(shown) => respond(StatusCode::OK, metrics::CONTENT_TYPE, full(shown)),
                        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "not countable\n"),
                    }
                }
            }
        })
    }
}

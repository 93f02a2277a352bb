//! The door: intake, facts, forward, release (house §1).
//!
//! [`Gateway::handle`] walks one request: bytes → `FhirRequest` → principal → facts → plan → upstream →
//! judge → record → release. Answers are built here: headers are our own only, and whatever depends
//! on stored data that the caller may not see looks as if there were none (house rule 5, "The promise").
//! Known limit: references inside a released resource that are absolute to the upstream's base stay
//! as they are, because resources leave byte for byte.

mod capability;
mod credentials;
mod cursor;
mod facts;
mod fault;
mod fill;
mod forward;
mod intake;
mod observe;
mod quiet;
mod read;
mod release;
mod search;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Request, Response, StatusCode};
use ward_core::{
    Clock, CorrelationId, Event, EventKind, EventSink, KeyVault, Limits, ONLY_OBSERVED, Outcome,
    Rng, TenantId, Transfer,
};
use ward_fhir::{FhirRequest, Interaction, ReferenceBases, ResourceType};
use ward_net::http::{Body, empty};
use ward_net::{HttpClient, Peer};
use ward_policy::{Plan, Presented, Principal, Resolve, ResolveError, notice, plan, policy_hash};
use ward_store::Rosters;

pub use credentials::CredentialDial;
pub use fault::Fault;
pub use observe::{EnforcementDial, SHAPE, WOULD_STATUS, WOULD_WITHHOLD, rules};

use facts::{FactSource, Known};
use forward::Upstream;
use intake::{Base, Intake, Understood};
use quiet::Quiet;

/// Why a gateway cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// A base URL is not an absolute http(s) URL without query and user information.
    #[error("{0:?} is not a base URL: it must be http(s)://host[:port]/path")]
    Base(String),
}

/// Where the gateway stands.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The tenant that it serves.
    pub tenant: TenantId,
    /// The public FHIR base, `https://host/tenant/fhir`.
    pub fhir_base: String,
    /// The FHIR base of the server behind it.
    pub upstream_base: String,
    /// The public token endpoint, named in the CapabilityStatement.
    pub token_endpoint: Option<String>,
    /// The public registration endpoint, named in the CapabilityStatement.
    pub registration_endpoint: Option<String>,
}

/// What the gateway works with.
pub struct GatewayDeps {
    /// Turns tokens into principals.
    pub resolve: Arc<dyn Resolve>,
    /// Attribution rosters.
    pub rosters: Arc<dyn Rosters>,
    /// The log.
    pub sink: Arc<dyn EventSink>,
    /// The key of cursors.
    pub vault: Arc<dyn KeyVault>,
    /// The way to the upstream; its egress must allow it.
    pub http: HttpClient,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// Bounds.
    pub limits: Arc<Limits>,
}

/// The door of one FHIR base.
pub struct Gateway {
    tenant: TenantId,
    base: Base,
    bases: ReferenceBases,
    capabilities: Bytes,
    policy: Arc<str>,
    resolve: Arc<dyn Resolve>,
    facts: FactSource,
    upstream: Upstream,
    sink: Arc<dyn EventSink>,
    vault: Arc<dyn KeyVault>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    limits: Arc<Limits>,
    parked: cursor::Parked,
    unreadable: Quiet,
    unrecorded: Quiet,
    dial: EnforcementDial,
    pages: observe::Pages,
}

/// One request of a known principal, on its walk.
pub(crate) struct Exchange<'a> {
    principal: &'a Principal,
    known: &'a Known,
    correlation: CorrelationId,
    request: &'a FhirRequest,
    without_body: bool,
    /// The client is only observed, though this request is answered with every rule enforced.
    observed: bool,
}

const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
const NOTICE: HeaderName = HeaderName::from_static("x-ward-notice");

impl Gateway {
    /// A gateway; refuses base URLs that are none.
    pub fn new(config: GatewayConfig, deps: GatewayDeps) -> Result<Self, GatewayError> {
        let base = Base::parse(&config.fhir_base)?;
        let upstream = Base::parse(&config.upstream_base)?;
        Ok(Self {
            capabilities: capability::statement(&base.url, &config).into(),
            bases: ReferenceBases { public: base.url.clone(), upstream: upstream.url.clone() },
            upstream: Upstream::new(&upstream.url, deps.http, Arc::clone(&deps.limits)),
            tenant: config.tenant,
            base,
            policy: policy_hash().into(),
            resolve: deps.resolve,
            facts: FactSource::new(deps.rosters),
            sink: deps.sink,
            vault: deps.vault,
            clock: deps.clock,
            rng: deps.rng,
            limits: deps.limits,
            parked: cursor::Parked::default(),
            unreadable: Quiet::default(),
            unrecorded: Quiet::default(),
            dial: EnforcementDial::default(),
            pages: observe::Pages::default(),
        })
    }

    /// `Authorization` towards the upstream, to be changed while it runs. It begins with none.
    pub fn credentials(&self) -> CredentialDial {
        self.upstream.authorization.clone()
    }

    /// What is enforced, to be changed while it runs. It begins with everything.
    pub fn dial(&self) -> EnforcementDial {
        self.dial.clone()
    }

    /// Answers one request below the FHIR base. Refusals are answers too.
    pub async fn handle<B>(&self, request: Request<B>, _peer: Peer) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
    {
        let correlation = CorrelationId::new(&*self.clock, &*self.rng);
        let without_body = request.method() == http::Method::HEAD;
        let mut notice = None;
        let enforcement = self.dial.now();
        let answer = if enforcement.is_observing() {
            self.observe(request, &enforcement, correlation, &mut notice).await
        } else {
            self.walk(request, correlation, &mut notice).await.map(Answer::Ours)
        };
        let mut response = match answer {
            Ok(Answer::Theirs(mut response)) => {
                mark(&mut response, correlation);
                return response;
            }
            Ok(Answer::Ours(response)) => response,
            Err(fault) => {
                self.explain(&fault, correlation);
                fault.answer()
            }
        };
        Self::finish(&mut response, correlation, notice);
        if without_body { response.map(|_| empty()) } else { response }
    }

    async fn walk<B>(
        &self,
        request: Request<B>,
        correlation: CorrelationId,
        told: &mut Option<&'static str>,
    ) -> Result<Response<Body>, Fault>
    where
        B: hyper::body::Body<Data = Bytes>,
    {
        match intake::take(request, &self.base, &self.limits).await? {
            Intake::Options => Ok(options()),
            Intake::Understood(understood) => {
                self.served(understood, correlation, told, false).await
            }
        }
    }

    /// Answers a request that is understood, with every rule enforced.
    async fn served(
        &self,
        understood: Understood,
        correlation: CorrelationId,
        told: &mut Option<&'static str>,
        observed: bool,
    ) -> Result<Response<Body>, Fault> {
        let Understood { request, without_body, authorization } = understood;
        // C21: the same for everybody, and without a token, so that clients can find their way.
        if request.interaction == Interaction::Capabilities {
            return Ok(Response::new(ward_net::http::full(self.capabilities.clone())));
        }
        let presented = Presented { tenant: &self.tenant, authorization: authorization.as_deref() };
        let principal = self.resolve.resolve(&presented).await?;
        // RS-02: a principal of another tenant is nobody here, whatever the resolver thought.
        if principal.tenant != self.tenant {
            return Err(ResolveError::Invalid.into());
        }
        *told = notice(&principal);
        let known = self.facts.gather(&principal).await?;
        let exchange = Exchange {
            principal: &principal,
            known: &known,
            correlation,
            request: &request,
            without_body,
            observed,
        };
        let outcome = match plan(&principal, &request, &known.facts, &self.limits) {
            Plan::Deny(denial) => Err(Fault::Denied(denial)),
            Plan::PreRead(permit) => self.read(&exchange, &permit).await,
            Plan::Forward(permit) | Plan::Rewrite(permit) => {
                self.search(&exchange, &permit, false).await
            }
            Plan::Nothing(permit) => self.search(&exchange, &permit, true).await,
        };
        match outcome {
            Err(Fault::Denied(denial)) => {
                self.note_refusal(&exchange, denial.rule, denial.status).await?;
                Err(Fault::Denied(denial))
            }
            // What could not be done was still asked for; a log that fails is told by its own fault.
            Err(fault) if fault.rule().is_none() && !matches!(fault, Fault::Log) => {
                let mut event = self.event(&exchange, "failed");
                event.outcome = Outcome::Failed;
                if let Some(transfer) = &mut event.transfer {
                    transfer.status = fault.status().as_u16();
                }
                release::note(&*self.sink, event).await?;
                Err(fault)
            }
            outcome => outcome,
        }
    }

    /// The template of the events of an exchange.
    fn event(&self, exchange: &Exchange<'_>, action: &'static str) -> Event {
        let (interaction, rtype) = named(&exchange.request.interaction);
        let mut event = Event::new(
            EventKind::Access,
            action,
            self.tenant.clone(),
            self.clock.now(),
            exchange.correlation,
        )
        .with("organization", exchange.principal.organization.as_str());
        event.actor = exchange.principal.actor();
        event.purposes.clone_from(&exchange.principal.purposes);
        event.transfer = Some(Transfer {
            interaction: interaction.into(),
            resource_type: rtype.map_or_else(String::new, |rtype| rtype.name().to_owned()),
            ..Transfer::default()
        });
        event.body.facts = Some(exchange.known.digest.to_string());
        event.body.policy = Some(self.policy.to_string());
        if exchange.observed {
            event = event.with(ONLY_OBSERVED, "yes");
        }
        event
    }

    /// Records that something was asked for and refused.
    async fn note_refusal(
        &self,
        exchange: &Exchange<'_>,
        rule: &'static str,
        status: u16,
    ) -> Result<(), Fault> {
        let mut event = self.event(exchange, "refused").refused(rule);
        if let Some(transfer) = &mut event.transfer {
            transfer.status = status;
        }
        if let Interaction::Read { .. } | Interaction::Vread { .. } = exchange.request.interaction {
            // The id was the caller's own word; it lies in the sealed body.
            event = event.with("reference", exchange.request.upstream_target());
        }
        release::note(&*self.sink, event).await
    }

    /// Tells the operator, without any PHI (rule 11).
    fn explain(&self, fault: &Fault, correlation: CorrelationId) {
        if matches!(fault, Fault::Log) {
            // The log itself says it once; a line a request would fill what is left of the disk.
            if let Some(others) = self.unrecorded.speak(self.clock.now()) {
                tracing::error!(%correlation, others, "nothing is released while the log cannot be written");
            }
        } else if fault.status().is_server_error() && !matches!(fault, Fault::Upgrade) {
            tracing::error!(%correlation, %fault, "a request could not be answered");
        } else if fault.rule().is_none() {
            tracing::debug!(%correlation, status = fault.status().as_u16(), "refused before a principal was known");
        }
    }

    /// Tells the operator that a record cannot be judged, now and then. `why` holds no content.
    fn note_unreadable(&self, why: &str) {
        if let Some(others) = self.unreadable.speak(self.clock.now()) {
            tracing::warn!(why, others, "a record of the upstream cannot be judged and was hidden");
        }
    }

    /// Our own headers, and no others.
    fn finish(
        response: &mut Response<Body>,
        correlation: CorrelationId,
        notice: Option<&'static str>,
    ) {
        let empty = response.status() == StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        if !empty {
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/fhir+json; charset=utf-8"),
            );
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, private"));
        headers.insert(VARY, HeaderValue::from_static("Authorization"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(notice) = notice {
            headers.insert(NOTICE, HeaderValue::from_static(notice));
        }
        mark(response, correlation);
    }
}

/// Whose an answer is.
enum Answer {
    /// Ward's own.
    Ours(Response<Body>),
    /// The upstream's, which passes as it came.
    Theirs(Response<Body>),
}

/// The id by which an answer is found in the log.
fn mark(response: &mut Response<Body>, correlation: CorrelationId) {
    if let Ok(id) = HeaderValue::from_str(&correlation.to_string()) {
        response.headers_mut().insert(CORRELATION, id);
    }
}

/// A16: what may be asked, without asking the upstream.
fn options() -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(fault::METHODS));
    response
}

/// FHIR's name of an interaction, and its type.
fn named(interaction: &Interaction) -> (&'static str, Option<ResourceType>) {
    match interaction {
        Interaction::Capabilities => ("capabilities", None),
        Interaction::Read { rtype, .. } => ("read", Some(*rtype)),
        Interaction::Vread { rtype, .. } => ("vread", Some(*rtype)),
        Interaction::Search(search) => ("search-type", Some(search.rtype)),
    }
}

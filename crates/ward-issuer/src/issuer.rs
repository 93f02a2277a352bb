//! The issuer of one tenant: its three endpoints, and the order in which a request is bounded.
//!
//! Path, method, media type, declared length and rate are judged before a byte of the body is read,
//! the body's bound before anything is parsed, and signatures before anything is looked up (REG-26).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, header};
use ward_core::{ClientId, CommunityUri, CorrelationId, Limits, OutboxSeq, TenantId, Thumbprint};
use ward_fhir::ScopeSet;
use ward_net::http::{Body, BodyError};
use ward_net::server::Peer;
use ward_trust::{Certificate, Community, Metadata, Profile};

use crate::certified::{CertificationRule, Ledger, ceiling};
use crate::config::{IssuerConfig, IssuerDeps, ServedCommunity, check_communities, path_of};
use crate::discovery::{ALGS, Served};
use crate::errors::{Answer, IssuerError, Refusal};
use crate::limiter::{Limiter, Members, Reserved};
use crate::register::TURNS;
use crate::sealed::Sealer;
use crate::statements::Verifiers;
use crate::{scopes, wire};

/// The authorization server of one tenant.
pub struct Issuer {
    pub(crate) tenant: TenantId,
    pub(crate) fhir_base: String,
    pub(crate) registration_endpoint: String,
    pub(crate) token_endpoint: String,
    pub(crate) supported: ScopeSet,
    pub(crate) limits: Arc<Limits>,
    pub(crate) deps: IssuerDeps,
    /// Who verifies software statements, by their issuer (§8.20).
    pub(crate) verifiers: Verifiers,
    pub(crate) sealer: Sealer,
    discovery_path: String,
    registration_path: String,
    token_path: String,
    served: RwLock<Arc<[Arc<Served>]>>,
    /// Clients whose tokens are refused although the store could not be told yet.
    pub(crate) stopped: RwLock<BTreeSet<ClientId>>,
    /// Certifications under which tokens live.
    pub(crate) relied: Ledger,
    /// Those of them that do not count now, by their ids; they may count again.
    pub(crate) void: RwLock<BTreeSet<Thumbprint>>,
    /// Anchors of certifiers that the configuration gave up while this runs.
    pub(crate) given_up: RwLock<BTreeSet<Thumbprint>>,
    /// Requests of strangers, by address.
    pub(crate) registrations: Limiter,
    pub(crate) failures: Limiter,
    /// Requests of members, by certificate.
    pub(crate) registering: Members,
    pub(crate) asking: Members,
    pub(crate) turns: [tokio::sync::Mutex<()>; TURNS],
}

/// A request that is being answered.
#[derive(Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) address: IpAddr,
    pub(crate) correlation: CorrelationId,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Discovery,
    Registration,
    Token,
}

impl Issuer {
    /// An issuer, or why its configuration cannot be served.
    pub fn new(config: IssuerConfig, deps: IssuerDeps) -> Result<Self, IssuerError> {
        let fhir_path = path_of("the FHIR base", &config.fhir_base)?;
        let oauth_path = path_of("the OAuth base", &config.oauth_base)?;
        if config.scopes_supported.is_empty() {
            return Err(IssuerError::Config("at least one scope must be supported".into()));
        }
        let bounds = config.limits.clone();
        let sealer = Sealer::new(
            config.tenant.clone(),
            &config.oauth_base,
            &config.fhir_base,
            deps.vault.clone(),
            &*deps.rng,
        );
        let issuer = Self {
            discovery_path: format!("{fhir_path}/.well-known/udap"),
            registration_path: format!("{oauth_path}/register"),
            token_path: format!("{oauth_path}/token"),
            registration_endpoint: format!("{}/register", config.oauth_base),
            token_endpoint: format!("{}/token", config.oauth_base),
            tenant: config.tenant,
            fhir_base: config.fhir_base,
            supported: config.scopes_supported,
            limits: config.limits,
            deps,
            sealer,
            verifiers: Verifiers::default(),
            served: RwLock::new(Arc::default()),
            stopped: RwLock::default(),
            relied: Ledger::default(),
            void: RwLock::default(),
            given_up: RwLock::default(),
            turns: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            registrations: Limiter::new(bounds.registrations_per_minute, &bounds),
            failures: Limiter::new(bounds.token_failures_per_minute, &bounds),
            registering: Members::new(bounds.registrations_per_minute, &bounds),
            asking: Members::new(bounds.tokens_per_client_per_minute, &bounds),
        };
        issuer.serve(config.communities)?;
        Ok(issuer)
    }

    /// Serves these communities from now on, without a restart (PKI-16, SMD-10). If they are refused,
    /// the earlier ones stay.
    pub fn serve(&self, communities: Vec<ServedCommunity>) -> Result<(), IssuerError> {
        self.check(&communities)?;
        let served: Arc<[_]> = communities
            .into_iter()
            .map(|one| {
                if one.community.profile == Profile::Tefca {
                    let community = one.community.uri.as_str();
                    tracing::warn!(
                        community,
                        "profile tefca: its rules rest on third-party sources and are unverified"
                    );
                }
                let metadata = self.metadata(&one.community, &one.certifications);
                Arc::new(Served::new(one, metadata))
            })
            .collect();
        self.give_up_certifiers(&served);
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = served;
        Ok(())
    }

    /// Why these communities could not be served, if they could not.
    pub fn check(&self, communities: &[ServedCommunity]) -> Result<(), IssuerError> {
        check_communities(&self.fhir_base, communities)?;
        communities.iter().try_for_each(|one| {
            let checked = self.metadata(&one.community, &one.certifications).check();
            checked.map_err(|error| IssuerError::Config(error.to_string()))
        })
    }

    /// The communities that are served now.
    pub fn communities(&self) -> Vec<Community> {
        self.served().iter().map(|one| one.community.clone()).collect()
    }

    /// Its own certificates, by the community in which each signs metadata.
    pub fn certificates(&self) -> Vec<(CommunityUri, Certificate)> {
        let served = self.served();
        served.iter().map(|one| (one.community.uri.clone(), one.identity.leaf().clone())).collect()
    }

    /// The certifications that the community supports.
    pub fn certifications(&self, community: &CommunityUri) -> Vec<CertificationRule> {
        let served = self.served();
        let served = served.iter().find(|one| one.community.uri == *community);
        served.map(|one| one.certifications.clone()).unwrap_or_default()
    }

    pub(crate) fn served(&self) -> Arc<[Arc<Served>]> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is published in a community (DSC-05..23, COM-03). Required is `hl7-b2b`, in every client-credentials
    /// request (§8.9).
    fn metadata(&self, community: &Community, certifications: &[CertificationRule]) -> Metadata {
        let uris = |required: bool| {
            let rules = certifications.iter().filter(|rule| rule.required || !required);
            rules.map(|rule| rule.uri.clone()).collect()
        };
        let unlocked = ceiling(&self.supported, certifications.iter());
        Metadata {
            base_url: self.fhir_base.clone(),
            registration_endpoint: self.registration_endpoint.clone(),
            token_endpoint: self.token_endpoint.clone(),
            authorization_endpoint: None,
            grant_types: vec!["client_credentials".into()],
            scopes: scopes::advertised(&unlocked),
            extensions_supported: words(&community.extensions_supported()),
            extensions_required: words(&community.extensions_required()),
            certifications_supported: uris(false),
            certifications_required: uris(true),
            algs: ALGS.to_vec(),
        }
    }

    /// The registration endpoint, as published.
    pub fn registration_endpoint(&self) -> &str {
        &self.registration_endpoint
    }

    /// The token endpoint, as published.
    pub fn token_endpoint(&self) -> &str {
        &self.token_endpoint
    }

    /// Whether the path is one of this issuer's endpoints.
    pub fn owns(&self, path: &str) -> bool {
        self.endpoint(path).is_some()
    }

    fn endpoint(&self, path: &str) -> Option<Endpoint> {
        [
            (&self.discovery_path, Endpoint::Discovery),
            (&self.registration_path, Endpoint::Registration),
            (&self.token_path, Endpoint::Token),
        ]
        .into_iter()
        .find_map(|(served, endpoint)| (served == path).then_some(endpoint))
    }

    /// Answers a request from the wire.
    pub async fn handle(
        &self,
        request: Request<hyper::body::Incoming>,
        peer: Peer,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let (limit, time) = (self.limits.auth_body_bytes, self.limits.body_timeout);
        let body = ward_net::http::read_body(body, limit, time);
        self.answer(&parts, peer.addr.ip(), body).await.map(ward_net::http::full)
    }

    /// Answers a request that is wholly in memory.
    pub async fn respond(&self, request: Request<Bytes>, address: IpAddr) -> Response<Bytes> {
        let (parts, body) = request.into_parts();
        let limit = self.limits.auth_body_bytes;
        let body = async move {
            if body.len() > limit { Err(BodyError::TooLarge(limit)) } else { Ok(body) }
        };
        self.answer(&parts, address, body).await
    }

    pub(crate) async fn answer(
        &self,
        request: &Parts,
        address: IpAddr,
        body: impl Future<Output = Result<Bytes, BodyError>>,
    ) -> Response<Bytes> {
        let correlation = CorrelationId::new(&*self.deps.clock, &*self.deps.rng);
        let exchange = Exchange { address, correlation };
        let response = match self.dispatch(request, exchange, body).await {
            Ok(response) => response,
            Err(refusal) => {
                let rule = refusal.rule.as_ref();
                tracing::debug!(%correlation, rule, answer = ?refusal.answer, "refused");
                wire::refusal(&refusal)
            }
        };
        wire::finish(response, correlation)
    }

    async fn dispatch(
        &self,
        request: &Parts,
        exchange: Exchange,
        body: impl Future<Output = Result<Bytes, BodyError>>,
    ) -> Result<Response<Bytes>, Refusal> {
        let endpoint =
            self.endpoint(request.uri.path()).ok_or(Refusal::new(Answer::NotFound, "DSC-04"))?;
        let Some(reserved) = self.admit(endpoint, request, exchange)? else {
            return self.discover(request);
        };
        let body = body.await.map_err(|error| match error {
            BodyError::TooLarge(_) => Refusal::new(Answer::TooLarge, "R03"),
            BodyError::Timeout => Refusal::new(Answer::TooSlow, "T35"),
            BodyError::Broken => Refusal::new(Answer::InvalidRequest, "R01"),
        })?;
        if endpoint == Endpoint::Registration {
            return self.register(&body, exchange, reserved).await;
        }
        self.token(request, &body, exchange, reserved).await
    }

    /// What can be refused before the body is read. What is not is counted for its address, until its
    /// sender has proven who it is.
    fn admit(
        &self,
        endpoint: Endpoint,
        request: &Parts,
        exchange: Exchange,
    ) -> Result<Option<Reserved>, Refusal> {
        let now = self.deps.clock.now();
        let media = wire::media_type(&request.headers);
        match endpoint {
            Endpoint::Discovery => {
                if ![Method::GET, Method::HEAD].contains(&request.method) {
                    return Err(Refusal::new(Answer::MethodNotAllowed("GET, HEAD"), "DSC-28"));
                }
                return Ok(None);
            }
            Endpoint::Registration => {
                post_only(request, "REG-01")?;
                if media.as_deref() != Some("application/json") {
                    return Err(Refusal::new(Answer::MediaType, "R02"));
                }
                self.bound(request)?;
                self.registrations.take(exchange.address, now)
            }
            Endpoint::Token => {
                post_only(request, "T01")?;
                if media.as_deref() != Some("application/x-www-form-urlencoded") {
                    return Err(Refusal::new(Answer::InvalidRequest, "T02"));
                }
                self.bound(request)?;
                self.failures.take(exchange.address, now)
            }
        }
        .map(Some)
        .map_err(|seconds| Refusal::new(Answer::TooMany(seconds), "P25"))
    }

    /// A declared length beyond the bound needs no reading.
    fn bound(&self, request: &Parts) -> Result<(), Refusal> {
        let declared = request.headers.get(header::CONTENT_LENGTH);
        let length = declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.limits.auth_body_bytes as u64) {
            return Err(Refusal::new(Answer::TooLarge, "R03"));
        }
        Ok(())
    }

    /// An acknowledged change is in the log (rule 4).
    pub(crate) async fn settle(&self, seq: OutboxSeq) -> Result<(), IssuerError> {
        Ok(self.deps.sink.settle(seq).await?)
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn post_only(request: &Parts, rule: &'static str) -> Result<(), Refusal> {
    if request.method == Method::POST {
        Ok(())
    } else {
        Err(Refusal::new(Answer::MethodNotAllowed("POST"), rule))
    }
}

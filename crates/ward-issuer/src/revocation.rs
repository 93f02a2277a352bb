//! Revocation: one write, whatever hangs on it (house.md §4), in effect at the very next request.
//!
//! `ward-admin` calls these for people and for containment alike. Containment holds the client: it
//! could otherwise take a new token for every read (T16). A certificate or client that was
//! revoked here also gets no new token: the certificate stays revoked, the client's registration is
//! cancelled.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::PoisonError;

use ward_core::{ClientId, CorrelationId, Event, EventKind, GrantId, IncidentId, Thumbprint};
use ward_policy::Subject;
use ward_store::{Expected, Hold, StoreError};
use ward_trust::{Certificate, Verified};

use crate::errors::IssuerError;
use crate::issuer::Issuer;
use crate::trust;

/// Who revokes and why.
#[derive(Debug, Clone)]
pub struct Act {
    /// The operator, or the room that acts by itself.
    pub operator: Cow<'static, str>,
    /// Why, in a few words; kept sealed beside the log's leaf.
    pub reason: String,
    /// The incident that it is part of.
    pub incident: Option<IncidentId>,
    /// The exchange that it belongs to.
    pub correlation: CorrelationId,
}

/// Clients that are refused in memory at once; the oldest id gives way.
const MOST_STOPPED: usize = 10_000;

/// Times that a cancellation is tried anew because the registration changed meanwhile.
const ATTEMPTS: usize = 4;

impl Issuer {
    /// Ends everything that hangs on the subject. Returns when that is in effect and in the log.
    ///
    /// A client's registration is cancelled too, so that it cannot just ask again; it may register
    /// anew unless its certificate is revoked as well. Revoking a community ends its tokens now; to
    /// stop it from getting others, stop serving it.
    pub async fn revoke(&self, subject: Subject, act: &Act) -> Result<(), IssuerError> {
        if let Subject::Client(client) = subject {
            return self.revoke_client(client, act).await;
        }
        let mut event = self.revocation_event("revoked", &subject, act);
        match &subject {
            Subject::Grant(id) => {
                let grant = self.deps.repositories.grants.get(&self.tenant, *id).await?;
                let grant = grant.ok_or(IssuerError::Unknown("grant"))?;
                event.actor.grant = Some(*id);
                event.actor.client = Some(grant.client);
                event.actor.community = Some(grant.community.clone());
            }
            Subject::Token(id) => event.actor.token = Some(*id),
            Subject::Community(uri) => event.actor.community = Some(uri.clone()),
            Subject::Certificate(thumbprint) => {
                if !self.is_known(*thumbprint).await? {
                    return Err(IssuerError::Unknown("certificate"));
                }
            }
            Subject::Certification(id) => {
                if !self.is_known_certification(*id).await? {
                    return Err(IssuerError::Unknown("certification"));
                }
            }
            Subject::Client(_) => {}
        }
        let subjects = [subject];
        let seq = self.deps.repositories.epochs.bump(&self.tenant, &subjects, event).await?;
        self.settle(seq).await
    }

    async fn revoke_client(&self, client: ClientId, act: &Act) -> Result<(), IssuerError> {
        let registrations = &self.deps.repositories.registrations;
        let subject = Subject::Client(client);
        for _ in 0..ATTEMPTS {
            let mut registration = registrations
                .by_client(&self.tenant, client)
                .await?
                .ok_or(IssuerError::Unknown("client"))?;
            let mut event = self
                .revocation_event("revoked", &subject, act)
                .with("client_uri", registration.uri.as_str());
            event.actor.client = Some(client);
            event.actor.community = Some(registration.community.clone());
            registration.cancelled = true;
            registration.grant_types.clear();
            registration.scopes.clear();
            registration.updated = self.deps.clock.now();
            // The store ends the client's tokens in the transaction that cancels it.
            // Whatever the client changed meanwhile: nobody can keep a revocation from happening.
            match registrations.put(registration, Expected::Client(client), event).await {
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
                Ok(seq) => return self.settle(seq).await,
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Puts the client on hold: its grants end, and it gets no token until [`Issuer::release`]. Goes
    /// by the URI of the client, which a new client id does not change; found through the grant, or else
    /// through the registration. Holding a held client succeeds.
    ///
    /// Its tokens are refused from this moment on, also while the store cannot be written: an attack must
    /// not go on because a disk is full. What is only in memory ends with the process; the caller tries
    /// again until this returns `Ok`.
    pub async fn hold(
        &self,
        client: ClientId,
        grant: Option<GrantId>,
        act: &Act,
    ) -> Result<(), IssuerError> {
        self.stop(client);
        let held = self.keep_hold(client, grant, act).await;
        if held.is_ok() {
            // From here on the store says so.
            self.stopped.write().unwrap_or_else(PoisonError::into_inner).remove(&client);
        }
        held
    }

    /// Refuses a client's tokens in memory.
    pub(crate) fn stop(&self, client: ClientId) {
        let mut stopped = self.stopped.write().unwrap_or_else(PoisonError::into_inner);
        if stopped.len() >= MOST_STOPPED {
            stopped.pop_first();
        }
        stopped.insert(client);
    }

    pub(crate) fn is_stopped(&self, client: ClientId) -> bool {
        self.stopped.read().unwrap_or_else(PoisonError::into_inner).contains(&client)
    }

    async fn keep_hold(
        &self,
        client: ClientId,
        grant: Option<GrantId>,
        act: &Act,
    ) -> Result<(), IssuerError> {
        let repositories = &self.deps.repositories;
        let kept = match grant {
            Some(id) => repositories.grants.get(&self.tenant, id).await?,
            None => None,
        };
        let member = match kept.filter(|grant| grant.client == client) {
            Some(grant) => Some((grant.community.clone(), grant.client_uri.clone())),
            None => repositories
                .registrations
                .by_client(&self.tenant, client)
                .await?
                .map(|registration| (registration.community, registration.uri)),
        };
        let (community, uri) = member.ok_or(IssuerError::Unknown("client"))?;
        let mut event = self
            .revocation_event("held", &Subject::Client(client), act)
            .with("client_uri", uri.as_str());
        event.actor.client = Some(client);
        event.actor.grant = grant;
        event.actor.community = Some(community.clone());
        let hold = Hold {
            tenant: self.tenant.clone(),
            community,
            uri,
            client,
            since: self.deps.clock.now(),
            reason: act.reason.clone(),
            incident: act.incident,
        };
        let ended = grant.map(Subject::Grant).into_iter().collect();
        let seq = repositories.holds.put(hold, ended, event).await?;
        self.settle(seq).await
    }

    /// Lets a client that is on hold ask for tokens again. What was ended stays ended.
    pub async fn release(&self, client: ClientId, act: &Act) -> Result<(), IssuerError> {
        const HELD: usize = 1000;
        self.stopped.write().unwrap_or_else(PoisonError::into_inner).remove(&client);
        let repositories = &self.deps.repositories;
        let registered = repositories.registrations.by_client(&self.tenant, client).await?;
        let member = if let Some(registration) = registered {
            Some((registration.community, registration.uri))
        } else {
            // By the client id that it had when it was put on hold.
            let holds = repositories.holds.list(&self.tenant, HELD).await?;
            let hold = holds.into_iter().find(|hold| hold.client == client);
            hold.map(|hold| (hold.community, hold.uri))
        };
        let (community, uri) = member.ok_or(IssuerError::Unknown("hold"))?;
        let mut event = self
            .revocation_event("released", &Subject::Client(client), act)
            .with("client_uri", uri.as_str());
        event.actor.client = Some(client);
        event.actor.community = Some(community.clone());
        match repositories.holds.release(&self.tenant, &community, &uri, event).await {
            Err(StoreError::Conflict) => Err(IssuerError::Unknown("hold")),
            Err(error) => Err(error.into()),
            Ok(seq) => self.settle(seq).await,
        }
    }

    /// Whether something here hangs on the certificate: an anchor or intermediate of a served community,
    /// a registration, or a live grant. A slip in a thumbprint must not look like a revocation.
    async fn is_known(&self, thumbprint: Thumbprint) -> Result<bool, IssuerError> {
        let subject = Subject::Certificate(thumbprint);
        let repositories = &self.deps.repositories;
        let is = |certificate: &Certificate| certificate.thumbprint() == thumbprint;
        let served = self.served();
        let certifiers = served.iter().flat_map(|one| &one.certifications);
        let certifiers = certifiers.filter_map(|rule| rule.certifiers.trust());
        let configured = served.iter().map(|one| &one.community).chain(certifiers);
        if repositories.epochs.current(&self.tenant, &subject) > 0
            || configured.flat_map(|c| c.anchors.iter().chain(&c.intermediates)).any(is)
        {
            return Ok(true);
        }
        self.hangs_on(thumbprint).await
    }

    /// A certificate once seen revoked never passes (amendments, PKI-04), also after a restart and
    /// whatever a later list says: what a list named is revoked here too, once, durably. The refusal
    /// stands whether or not that can be kept.
    pub(crate) async fn remember_revoked(
        &self,
        rule: &'static str,
        jws: &Verified,
        correlation: CorrelationId,
    ) {
        if rule != trust::REVOKED {
            return;
        }
        let served = self.served();
        let issuers = served.iter().flat_map(|one| &one.community.intermediates);
        let path: Vec<&Certificate> =
            std::iter::once(jws.leaf()).chain(jws.extra()).chain(issuers).collect();
        self.remember_listed(&path, correlation).await;
    }

    /// Revokes here those of these certificates that a list names, once each.
    pub(crate) async fn remember_listed(
        &self,
        certificates: &[&Certificate],
        correlation: CorrelationId,
    ) {
        let subjects: BTreeSet<Subject> = certificates
            .iter()
            .map(|certificate| certificate.thumbprint())
            .filter(|thumbprint| self.deps.paths.is_listed(*thumbprint))
            .map(Subject::Certificate)
            .filter(|subject| self.deps.repositories.epochs.current(&self.tenant, subject) == 0)
            .collect();
        for subject in subjects {
            let act = Act {
                operator: "ward-issuer".into(),
                reason: "listed as revoked".to_owned(),
                incident: None,
                correlation,
            };
            let event = self.revocation_event("revoked", &subject, &act);
            let bump = [subject];
            let kept = match self.deps.repositories.epochs.bump(&self.tenant, &bump, event).await {
                Ok(seq) => self.settle(seq).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = kept {
                tracing::error!(%error, "a revoked certificate is refused, but could not be remembered");
            }
        }
    }

    pub(crate) fn revocation_event(
        &self,
        action: &'static str,
        subject: &Subject,
        act: &Act,
    ) -> Event {
        let now = self.deps.clock.now();
        let tenant = self.tenant.clone();
        let mut event = Event::new(EventKind::Revocation, action, tenant, now, act.correlation)
            .with("subject", subject.to_string())
            .with("reason", act.reason.as_str());
        event.actor.operator = Some(act.operator.clone());
        event.incident = act.incident;
        event
    }
}

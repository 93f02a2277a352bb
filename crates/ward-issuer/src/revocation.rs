//! Revocation: one write, whatever hangs on it (house.md §4), in effect at the very next request.
//!
//! `ward-admin` calls these for people and for containment alike. A certificate or client that was
//! revoked here also gets no new token: the certificate stays revoked, the client's registration is
//! cancelled.

use std::borrow::Cow;

use ward_core::{ClientId, CorrelationId, Event, EventKind, IncidentId};
use ward_policy::Subject;
use ward_store::{Expected, StoreError};

use crate::errors::IssuerError;
use crate::issuer::Issuer;

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
            Subject::Certificate(_) | Subject::Client(_) => {}
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

    fn revocation_event(&self, action: &'static str, subject: &Subject, act: &Act) -> Event {
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

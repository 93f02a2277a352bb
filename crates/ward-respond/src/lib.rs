//! What now.
//!
//! Reads findings from the log, contains what they name, and keeps the incident. Containment goes
//! through [`Contain`], which `ward-admin` implements with the very command that a person would use
//! (rule 10). It ends partner and backend grants only; people who treat are never cut off by it
//! (amendments, "Care comes first").

use std::sync::Arc;
use std::time::Duration;

use ward_core::{
    Actor, BoxFuture, Bus, Clock, CorrelationId, Event, EventKind, EventSink, Follower, GrantId,
    History, IncidentId, Recorded, Rng, TenantId,
};
use ward_policy::Subject;
use ward_store::StoreError;
use ward_store::repo::{Incident, IncidentStatus, Incidents};

/// How far back a restart looks for findings that were not answered.
pub const LOOK_BACK: Duration = Duration::from_hours(24);

/// Why containment did not succeed; the text is for the operator and carries no PHI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("containment failed: {0}")]
pub struct ContainError(pub String);

/// Acts against what an incident names.
pub trait Contain: Send + Sync {
    /// Ends a grant and all its tokens; they are refused when this returns. Ending an ended grant
    /// succeeds.
    fn revoke_grant<'a>(
        &'a self,
        tenant: &'a TenantId,
        grant: GrantId,
        incident: IncidentId,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<(), ContainError>>;
}

/// Why an incident could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum RespondError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log refused.
    #[error(transparent)]
    Log(#[from] ward_core::SinkError),
}

/// The running response.
pub struct Responder {
    incidents: Arc<dyn Incidents>,
    contain: Arc<dyn Contain>,
    sink: Arc<dyn EventSink>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl Responder {
    /// A responder that keeps incidents in `incidents` and acts through `contain`.
    pub fn new(
        incidents: Arc<dyn Incidents>,
        contain: Arc<dyn Contain>,
        sink: Arc<dyn EventSink>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self { incidents, contain, sink, clock, rng }
    }

    /// Takes up the stream of findings. Those of the last [`LOOK_BACK`] that have no incident, because
    /// the process died between the two, are answered first.
    pub async fn follow(
        &self,
        bus: &dyn Bus,
        history: Arc<dyn History>,
    ) -> Result<Follower, String> {
        Follower::start(bus, history, self.clock.now().minus(LOOK_BACK)).await
    }

    /// Runs until the bus closes.
    pub async fn run(self, mut log: Follower) {
        while let Some(next) = log.next().await {
            match next {
                Ok(recorded) if recorded.event.kind == EventKind::Finding => {
                    if let Err(error) = self.answer(&recorded).await {
                        tracing::error!(%error, "an incident could not be kept");
                    }
                }
                Ok(_) => {}
                Err(reason) => tracing::error!(%reason, "response could not re-read the log"),
            }
        }
    }

    /// Contains first and keeps the account then. The incident's id is the finding's correlation id,
    /// so that answering twice makes one incident.
    pub async fn answer(&self, finding: &Recorded) -> Result<(), RespondError> {
        let event = &finding.event;
        let id = IncidentId::from_bytes(*event.correlation.as_bytes());
        if self.incidents.get(&event.tenant, id).await?.is_some() {
            return Ok(());
        }
        let summary =
            event.body.detail.get("explanation").cloned().unwrap_or_else(|| "a finding".to_owned());
        let outcome = match event.actor.grant {
            Some(grant) => self
                .contain
                .revoke_grant(&event.tenant, grant, id, &summary)
                .await
                .map(|()| vec![Subject::Grant(grant)]),
            None => Ok(Vec::new()),
        };
        let (status, revoked) = match outcome {
            Ok(revoked) if revoked.is_empty() => (IncidentStatus::Open, revoked),
            Ok(revoked) => (IncidentStatus::Contained, revoked),
            Err(error) => {
                tracing::error!(incident = %id, %error, "act now: `{summary}` is not contained");
                (IncidentStatus::Open, Vec::new())
            }
        };
        let now = self.clock.now();
        let incident = Incident {
            id,
            tenant: event.tenant.clone(),
            opened: now,
            updated: now,
            status,
            rule: event.rule.as_deref().unwrap_or_default().to_owned(),
            summary: summary.clone(),
            client: event.actor.client,
            grant: event.actor.grant,
            revoked,
            evidence: vec![finding.index],
        };
        let mut opened = Event::new(
            EventKind::Incident,
            if status == IncidentStatus::Contained { "contained" } else { "opened" },
            event.tenant.clone(),
            now,
            CorrelationId::new(&*self.clock, &*self.rng),
        )
        .with("summary", summary)
        .with("finding_entry", finding.index.to_string());
        opened.rule.clone_from(&event.rule);
        opened.incident = Some(id);
        opened.actor = Actor { operator: Some("ward-respond".into()), ..event.actor.clone() };
        let seq = match self.incidents.open(incident, opened).await {
            Err(StoreError::Conflict) => return Ok(()),
            other => other?,
        };
        self.sink.settle(seq).await?;
        tracing::warn!(incident = %id, ?status, "incident");
        Ok(())
    }
}

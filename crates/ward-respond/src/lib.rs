//! What now.
//!
//! Reads findings from the log, contains what they name, and keeps the incident. Containment goes
//! through [`Contain`], which `ward-admin` implements with the very command that a person would use
//! (rule 10). The client is held as a whole: one that takes a new token for each read would not notice
//! the end of a grant. It ends partner and backend grants only; people who treat are never cut off by
//! it (amendments, "Care comes first").

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ward_core::{
    Actor, BoxFuture, Bus, ClientId, Clock, CorrelationId, Event, EventKind, EventSink, Follower,
    GrantId, History, IncidentId, Outcome, Recorded, Rng, TenantId,
};
use ward_policy::Subject;
use ward_store::StoreError;
use ward_store::repo::{Incident, IncidentStatus, Incidents};

/// How far back a restart looks for findings that were not answered.
pub const LOOK_BACK: Duration = Duration::from_hours(24);

/// Pauses between attempts: doubling from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Findings that may wait for the store.
const MOST_WAITING: usize = 1000;

/// Why containment did not succeed; the text is for the operator and carries no PHI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("containment failed: {0}")]
pub struct ContainError(pub String);

/// Acts against what an incident names.
pub trait Contain: Send + Sync {
    /// Puts a partner's or backend's client on hold: all its grants end, the one named among them, and
    /// it gets no new token until an operator releases it. In effect when this returns; holding a held
    /// client succeeds.
    fn contain_client<'a>(
        &'a self,
        tenant: &'a TenantId,
        client: ClientId,
        grant: Option<GrantId>,
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
        let since = self.clock.now().minus(LOOK_BACK);
        Follower::start_for(bus, history, since, |kind| kind == EventKind::Finding).await
    }

    /// Runs until the bus closes. A finding that could not be contained, or whose incident could not be
    /// kept, because the store is full or away, is tried again until it is: response does not forget.
    pub async fn run(self, mut log: Follower) {
        let mut waiting: VecDeque<Arc<Recorded>> = VecDeque::new();
        let mut pause = FIRST_PAUSE;
        loop {
            // Polled on, never dropped: a re-read of the log must not be cut in the middle.
            let mut pending = Box::pin(log.next());
            let next = loop {
                if waiting.is_empty() {
                    break pending.as_mut().await;
                }
                tokio::select! {
                    biased;
                    next = pending.as_mut() => break next,
                    () = tokio::time::sleep(pause) => {
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        for _ in 0..waiting.len() {
                            let Some(finding) = waiting.pop_front() else { break };
                            if !self.settled(&finding).await {
                                waiting.push_back(finding);
                            }
                        }
                    }
                }
            };
            drop(pending);
            match next {
                None => return,
                Some(Err(reason)) => {
                    tracing::error!(%reason, "response could not re-read the log");
                    tokio::time::sleep(FIRST_PAUSE).await;
                }
                Some(Ok(recorded)) if recorded.event.kind == EventKind::Finding => {
                    if self.settled(&recorded).await {
                        continue;
                    }
                    pause = FIRST_PAUSE;
                    if waiting.len() < MOST_WAITING {
                        waiting.push_back(recorded);
                    } else {
                        tracing::error!(entry = recorded.index, "act now: too many findings wait");
                    }
                }
                Some(Ok(_)) => {}
            }
        }
    }

    async fn settled(&self, finding: &Recorded) -> bool {
        match self.answer(finding).await {
            Ok(contained) => contained,
            Err(error) => {
                tracing::error!(%error, entry = finding.index, "a finding is not answered yet");
                false
            }
        }
    }

    /// Contains first and keeps the account then. The incident's id is the finding's correlation id,
    /// so that answering twice makes one incident. `false`: it is not contained yet, ask again.
    pub async fn answer(&self, finding: &Recorded) -> Result<bool, RespondError> {
        let event = &finding.event;
        let id = IncidentId::from_bytes(*event.correlation.as_bytes());
        let summary =
            event.body.detail.get("explanation").cloned().unwrap_or_else(|| "a finding".to_owned());
        // Its client was only observed: an incident for people to see, and nobody is held for it, not
        // after a restart or a switch to enforcing either.
        let observed = event.outcome == Outcome::Observed;
        let known = match self.incidents.get(&event.tenant, id).await {
            Ok(known) => known,
            Err(error) if observed => return Err(error.into()),
            Err(error) => {
                // Whether it was answered before is not known: contain all the same.
                self.contain(event, id, &summary).await;
                return Err(error.into());
            }
        };
        if known.as_ref().is_some_and(|incident| incident.status != IncidentStatus::Open) {
            return Ok(true);
        }
        if observed && known.is_some() {
            return Ok(true);
        }
        let revoked = if observed { Vec::new() } else { self.contain(event, id, &summary).await };
        if known.is_some() && revoked.is_empty() {
            return Ok(false);
        }
        let status =
            if revoked.is_empty() { IncidentStatus::Open } else { IncidentStatus::Contained };
        let now = self.clock.now();
        let incident = Incident {
            id,
            tenant: event.tenant.clone(),
            opened: known.as_ref().map_or(now, |incident| incident.opened),
            updated: now,
            status,
            rule: event.rule.as_deref().unwrap_or_default().to_owned(),
            summary: summary.clone(),
            client: event.actor.client,
            grant: event.actor.grant,
            held: !revoked.is_empty(),
            revoked,
            evidence: vec![finding.index],
        };
        let account = self.account(finding, id, status, summary);
        let kept = if known.is_some() {
            self.incidents.update(incident, IncidentStatus::Open, account).await
        } else {
            self.incidents.open(incident, account).await
        };
        let seq = match kept {
            // Somebody else was faster: it is in hand.
            Err(StoreError::Conflict) => return Ok(true),
            other => other?,
        };
        self.sink.settle(seq).await?;
        tracing::warn!(incident = %id, ?status, "incident");
        // With nobody named there is nothing to contain: it is an operator's turn.
        Ok(observed || status == IncidentStatus::Contained || event.actor.client.is_none())
    }

    /// Holds the client that the finding names; what ended with it, nothing if that failed.
    async fn contain(&self, event: &Event, id: IncidentId, summary: &str) -> Vec<Subject> {
        let Some(client) = event.actor.client else { return Vec::new() };
        let grant = event.actor.grant;
        match self.contain.contain_client(&event.tenant, client, grant, id, summary).await {
            Ok(()) => {
                let grant = grant.map(Subject::Grant);
                grant.into_iter().chain([Subject::Client(client)]).collect()
            }
            Err(error) => {
                tracing::error!(incident = %id, %error, "act now: this is not contained yet");
                Vec::new()
            }
        }
    }

    fn account(
        &self,
        finding: &Recorded,
        id: IncidentId,
        status: IncidentStatus,
        summary: String,
    ) -> Event {
        let event = &finding.event;
        let mut account = Event::new(
            EventKind::Incident,
            if status == IncidentStatus::Contained { "contained" } else { "opened" },
            event.tenant.clone(),
            self.clock.now(),
            CorrelationId::new(&*self.clock, &*self.rng),
        )
        .with("summary", summary)
        .with("finding_entry", finding.index.to_string());
        account.rule.clone_from(&event.rule);
        account.outcome = event.outcome;
        account.incident = Some(id);
        account.actor = Actor { operator: Some("ward-respond".into()), ..event.actor.clone() };
        account
    }
}

#[cfg(test)]
mod tests;

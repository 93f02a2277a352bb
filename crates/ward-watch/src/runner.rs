//! The watch on the stream.
//!
//! On start it reads the log back as far as its longest window, so that a restart does not hand a
//! scraper a fresh allowance; a finding that the log already holds is not reported again.

use std::collections::HashSet;
use std::sync::Arc;

use ward_core::{Bus, Clock, EventKind, EventSink, Follower, GrantId, History, Rng};

use crate::{Detector, Finding};

/// The running detection.
pub struct Watch {
    detector: Detector,
    log: Follower,
    known: HashSet<GrantId>,
    sink: Arc<dyn EventSink>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl Watch {
    /// Takes up the stream; an error says why the log could not be read back.
    pub async fn start(
        detector: Detector,
        bus: &dyn Bus,
        history: Arc<dyn History>,
        sink: Arc<dyn EventSink>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Result<Self, String> {
        let since = clock.now().minus(detector.longest_window());
        let log = Follower::start(bus, history, since).await?;
        let known = log
            .past()
            .filter(|recorded| recorded.event.kind == EventKind::Finding)
            .filter_map(|recorded| recorded.event.actor.grant)
            .collect();
        Ok(Self { detector, log, known, sink, clock, rng })
    }

    /// Runs until the bus closes.
    pub async fn run(mut self) {
        while let Some(next) = self.log.next().await {
            match next {
                Ok(recorded) => {
                    if let Some(finding) = self.detector.score(&recorded)
                        && !self.known.remove(&finding.grant)
                    {
                        self.report(&finding).await;
                    }
                }
                Err(reason) => tracing::error!(%reason, "detection could not re-read the log"),
            }
        }
    }

    async fn report(&self, finding: &Finding) {
        tracing::warn!(rule = crate::RULE_DISTINCT_PATIENTS, "{}", finding.explain());
        let event = finding.event(&*self.clock, &*self.rng);
        if let Err(error) = self.sink.record(vec![event]).await {
            // No event, no response: but then the log is shut and no record leaves either (rule 3).
            tracing::error!(%error, "a finding could not be logged");
        }
    }
}

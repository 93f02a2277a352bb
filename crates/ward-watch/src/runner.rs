//! The watch on the stream: woken by the event itself, never by a timer.
//!
//! On start it reads the log back as far as its longest window, so that a restart does not hand a
//! scraper a fresh allowance. When it falls behind the bus it re-reads the log. It can be slow; it
//! cannot miss.

use std::collections::HashSet;
use std::sync::Arc;

use ward_core::{
    BoxFuture, Bus, Clock, EventKind, EventSink, GrantId, Lagged, Message, Recorded, Rng,
    Subscription, Timestamp,
};

use crate::{Detector, Finding};

/// Reads the log back; implemented by the roof over `ward_audit::Reader`.
pub trait History: Send + Sync {
    /// All events logged at or after `since`, in order, bodies opened where their keys still exist.
    fn since(&self, since: Timestamp) -> BoxFuture<'_, Result<Vec<Recorded>, String>>;
}

/// The running detection.
pub struct Watch {
    detector: Detector,
    news: Box<dyn Subscription>,
    history: Arc<dyn History>,
    sink: Arc<dyn EventSink>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    /// Index after the last event taken into account.
    next: u64,
}

impl Watch {
    /// Subscribes first and reads the past then, so that nothing falls between.
    pub async fn start(
        detector: Detector,
        bus: &dyn Bus,
        history: Arc<dyn History>,
        sink: Arc<dyn EventSink>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Result<Self, String> {
        let news = bus.subscribe();
        let mut watch = Self { detector, news, history, sink, clock, rng, next: 0 };
        watch.catch_up().await?;
        Ok(watch)
    }

    /// Runs until the bus closes.
    pub async fn run(mut self) {
        while let Some(news) = self.news.next().await {
            match news {
                Ok(Message::Recorded(recorded)) => {
                    if let Some(finding) = self.take(&recorded) {
                        self.report(&finding).await;
                    }
                }
                Err(Lagged(missed)) => {
                    tracing::warn!(missed, "detection fell behind and re-reads the log");
                    if let Err(reason) = self.catch_up().await {
                        tracing::error!(%reason, "detection could not re-read the log");
                    }
                }
            }
        }
    }

    /// Reads the log back. A finding that the log already holds is not reported again.
    async fn catch_up(&mut self) -> Result<(), String> {
        let since = self.clock.now().minus(self.detector.ceilings().longest_window());
        let past = self.history.since(since).await?;
        let known: HashSet<GrantId> = past
            .iter()
            .filter(|recorded| recorded.event.kind == EventKind::Finding)
            .filter_map(|recorded| recorded.event.actor.grant)
            .collect();
        for recorded in past {
            if let Some(finding) = self.take(&recorded)
                && !known.contains(&finding.grant)
            {
                self.report(&finding).await;
            }
        }
        Ok(())
    }

    fn take(&mut self, recorded: &Recorded) -> Option<Finding> {
        if recorded.index < self.next {
            return None;
        }
        self.next = recorded.index + 1;
        self.detector.score(recorded)
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

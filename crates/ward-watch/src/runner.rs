//! The watch on the stream.
//!
//! On start it reads the log back as far as its longest window, so that a restart does not hand a
//! scraper a fresh allowance; a finding that the log already holds is not reported again.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ward_core::{Bus, Clock, EventKind, EventSink, Follower, GrantId, History, Rng};

use crate::{Detector, Finding};

/// Pauses between attempts to log a finding: doubling from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Findings that may wait for the log.
const MOST_UNREPORTED: usize = 1000;

/// The running detection.
pub struct Watch {
    detector: Detector,
    log: Follower,
    known: HashSet<GrantId>,
    unreported: VecDeque<Finding>,
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
        Ok(Self { detector, log, known, unreported: VecDeque::new(), sink, clock, rng })
    }

    /// Runs until the bus closes. A finding that the log did not take, because its disk is full for a
    /// moment, is tried again until it does: detection does not forget.
    pub async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            // Polled on, never dropped: a re-read of the log must not be cut in the middle.
            let mut pending = Box::pin(self.log.next());
            let next = loop {
                if self.unreported.is_empty() {
                    break pending.as_mut().await;
                }
                tokio::select! {
                    biased;
                    next = pending.as_mut() => break next,
                    () = tokio::time::sleep(pause) => {
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        report(&mut self.unreported, &*self.sink, &*self.clock, &*self.rng).await;
                    }
                }
            };
            drop(pending);
            match next {
                None => return,
                Some(Err(reason)) => {
                    tracing::error!(%reason, "detection could not re-read the log");
                    tokio::time::sleep(FIRST_PAUSE).await;
                }
                Some(Ok(recorded)) => {
                    if let Some(finding) = self.detector.score(&recorded)
                        && !self.known.remove(&finding.grant)
                    {
                        tracing::warn!(
                            rule = crate::RULE_DISTINCT_PATIENTS,
                            "{}",
                            finding.explain()
                        );
                        self.remember(finding);
                        pause = FIRST_PAUSE;
                        report(&mut self.unreported, &*self.sink, &*self.clock, &*self.rng).await;
                    }
                }
            }
        }
    }

    fn remember(&mut self, finding: Finding) {
        if self.unreported.len() < MOST_UNREPORTED {
            self.unreported.push_back(finding);
        } else {
            tracing::error!(
                rule = crate::RULE_DISTINCT_PATIENTS,
                "too many findings wait for the log"
            );
        }
    }
}

/// Logs what waits, oldest first, until the log refuses.
async fn report(
    unreported: &mut VecDeque<Finding>,
    sink: &dyn EventSink,
    clock: &dyn Clock,
    rng: &dyn Rng,
) {
    while let Some(finding) = unreported.front() {
        if let Err(error) = sink.record(vec![finding.event(clock, rng)]).await {
            tracing::error!(%error, "a finding could not be logged yet");
            return;
        }
        unreported.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use ward_core::{
        Batch, BoxFuture, ClientId, CorrelationId, Event, Lagged, ManualClock, Message, OutboxSeq,
        PatientId, Purpose, Receipt, Recorded, Released, SeededRng, SinkError, Subscription,
        TenantId, Timestamp, Transfer, Wants,
    };

    use super::*;
    use crate::{Ceiling, Ceilings};

    /// A log that is full until it is told otherwise.
    struct Sink {
        full: AtomicBool,
        taken: Mutex<Vec<Event>>,
    }

    impl EventSink for Sink {
        fn record(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Receipt, SinkError>> {
            let answer = if self.full.load(Ordering::SeqCst) {
                Err(SinkError::Unwritable("no space".to_owned()))
            } else {
                self.taken.lock().unwrap().extend(events);
                Ok(Receipt { first: 0, count: 1 })
            };
            Box::pin(async move { answer })
        }

        fn settle(&self, _: OutboxSeq) -> BoxFuture<'_, Result<(), SinkError>> {
            unreachable!("findings go straight to the log")
        }
    }

    struct Quiet;

    impl History for Quiet {
        fn first_since(&self, _: Timestamp) -> BoxFuture<'_, Result<u64, String>> {
            Box::pin(async { Ok(0) })
        }

        fn read(&self, from: u64, _: usize, _: Wants) -> BoxFuture<'_, Result<Batch, String>> {
            Box::pin(async move { Ok(Batch { events: vec![], next: from }) })
        }
    }

    struct OneBus(Mutex<Option<tokio::sync::mpsc::Receiver<Message>>>);
    struct One(tokio::sync::mpsc::Receiver<Message>);

    impl Bus for OneBus {
        fn publish(&self, _: Message) {}
        fn subscribe(&self) -> Box<dyn Subscription> {
            Box::new(One(self.0.lock().unwrap().take().unwrap()))
        }
    }

    impl Subscription for One {
        fn next(&mut self) -> BoxFuture<'_, Option<Result<Message, Lagged>>> {
            Box::pin(async { self.0.recv().await.map(Ok) })
        }
    }

    fn access(patient: &str) -> Message {
        let clock = ManualClock::at_unix_seconds(100);
        let correlation = CorrelationId::new(&clock, &SeededRng::new(1));
        let tenant = TenantId::default_tenant();
        let mut event = Event::new(EventKind::Access, "released", tenant, clock.now(), correlation);
        event.actor.client = Some(ClientId::from_bytes([1; 16]));
        event.actor.grant = Some(GrantId::from_bytes([2; 16]));
        event.purposes = vec![Purpose::Treatment];
        event.transfer = Some(Transfer::default());
        event.body.released = vec![Released {
            reference: format!("Patient/{patient}"),
            version: None,
            owners: vec![PatientId::parse(patient).unwrap()],
            labels: vec![],
        }];
        Message::Recorded(Arc::new(Recorded { index: 0, event }))
    }

    #[tokio::test]
    async fn a_finding_waits_for_a_full_log_and_is_not_lost() {
        let (news, receiver) = tokio::sync::mpsc::channel(8);
        let bus = OneBus(Mutex::new(Some(receiver)));
        let sink = Arc::new(Sink { full: AtomicBool::new(true), taken: Mutex::new(vec![]) });
        let window = Duration::from_mins(1);
        let detector = Detector::new(Ceilings::uniform(Ceiling { patients: 0, window }), 10);
        let clock = Arc::new(ManualClock::at_unix_seconds(100));
        let rng = Arc::new(SeededRng::new(2));
        let watch =
            Watch::start(detector, &bus, Arc::new(Quiet), sink.clone(), clock, rng).await.unwrap();
        let running = tokio::spawn(watch.run());
        news.send(access("p1")).await.unwrap();
        tokio::time::sleep(FIRST_PAUSE * 2).await;
        assert!(sink.taken.lock().unwrap().is_empty());
        sink.full.store(false, Ordering::SeqCst);
        for _ in 0..200 {
            if !sink.taken.lock().unwrap().is_empty() {
                break;
            }
            tokio::time::sleep(FIRST_PAUSE).await;
        }
        assert_eq!(sink.taken.lock().unwrap().len(), 1, "logged once there is room");
        drop(news);
        running.await.unwrap();
    }
}

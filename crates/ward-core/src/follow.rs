//! Following the log: every event once, in order, woken by the event itself and never by a timer.
//!
//! A [`Follower`] subscribes to the bus first and reads the past then, so that nothing falls between. When it
//! falls behind the bus it re-reads the log by index from where it was: a reader can be slow; it cannot miss,
//! whatever the clock did. It holds one batch at a time, however long the past is.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::{BoxFuture, Bus, EventKind, Message, Recorded, Subscription, Timestamp};

/// Which kinds of events a reader wants; the bodies of others are not opened.
pub type Wants = fn(EventKind) -> bool;

/// Events of one batch at most.
pub const BATCH: usize = 256;

/// A piece of the log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// The events that were wanted, in order.
    pub events: Vec<Recorded>,
    /// The first index that was not looked at: where to go on. That asked for, if the log ends there.
    pub next: u64,
}

/// Reads the log back. Implemented by `ward_audit`.
pub trait History: Send + Sync {
    /// Where to begin so that no event at or after `since` is missed: entries before this index are all older,
    /// also where the clock was set back.
    fn first_since(&self, since: Timestamp) -> BoxFuture<'_, Result<u64, String>>;

    /// Up to `limit` wanted events from an index on. The implementation may stop earlier; as long as the log goes
    /// on it looks at one entry or more. Events whose body can be opened no more have an empty one.
    fn read(&self, from: u64, limit: usize, wants: Wants) -> BoxFuture<'_, Result<Batch, String>>;
}

/// One reader's place in the log.
pub struct Follower {
    news: Box<dyn Subscription>,
    history: Arc<dyn History>,
    wants: Wants,
    /// Findings of the past, as far as they are kept.
    past: Vec<Recorded>,
    waiting: VecDeque<Arc<Recorded>>,
    /// Index after the last event that was looked at.
    next: u64,
    /// Whether the log must be read on before the bus is listened to.
    behind: bool,
    /// The log is known to hold the entries before this index.
    until: u64,
}

impl Follower {
    /// Starts with the events logged since `since`, of all kinds. Reads the findings among them, see
    /// [`Follower::past`].
    pub async fn start(
        bus: &dyn Bus,
        history: Arc<dyn History>,
        since: Timestamp,
    ) -> Result<Self, String> {
        let mut follower = Self::start_for(bus, history, since, |_| true).await?;
        let mut from = follower.next;
        loop {
            let finding: Wants = |kind| kind == EventKind::Finding;
            let batch = follower.history.read(from, BATCH, finding).await?;
            if batch.next <= from {
                return Ok(follower);
            }
            from = batch.next;
            follower.past.extend(batch.events);
        }
    }

    /// Starts with the events of some kinds logged since `since`.
    pub async fn start_for(
        bus: &dyn Bus,
        history: Arc<dyn History>,
        since: Timestamp,
        wants: Wants,
    ) -> Result<Self, String> {
        let news = bus.subscribe();
        let next = history.first_since(since).await?;
        let (past, waiting) = (Vec::new(), VecDeque::new());
        Ok(Self { news, history, wants, past, waiting, next, behind: true, until: next })
    }

    /// The findings that the log held when this was started, since the time that it was started with. They come
    /// from [`Follower::next`], too.
    pub fn past(&self) -> impl Iterator<Item = &Recorded> {
        self.past.iter()
    }

    /// The next event; `None` once the bus has closed. An error says that the log could not be re-read; calling
    /// again tries again, from the same place. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Arc<Recorded>, String>> {
        loop {
            if let Some(recorded) = self.waiting.pop_front() {
                return Some(Ok(recorded));
            }
            if self.behind {
                if let Err(reason) = self.read_on().await {
                    return Some(Err(reason));
                }
                continue;
            }
            match self.news.next().await? {
                Ok(Message::Recorded(recorded)) if recorded.index < self.next => {}
                Ok(Message::Recorded(recorded)) if recorded.index == self.next => {
                    self.next += 1;
                    if (self.wants)(recorded.event.kind) {
                        return Some(Ok(recorded));
                    }
                }
                // A gap: an index is missing, or the bus says so.
                Ok(Message::Recorded(recorded)) => {
                    self.behind = true;
                    self.until = recorded.index.saturating_add(1);
                }
                Err(_) => self.behind = true,
            }
        }
    }

    /// Reads one batch more of the log, and notes whether that was all.
    async fn read_on(&mut self) -> Result<(), String> {
        let batch = self.history.read(self.next, BATCH, self.wants).await?;
        if batch.next > self.next {
            self.next = batch.next;
            self.waiting.extend(batch.events.into_iter().map(Arc::new));
        } else if self.next < self.until {
            return Err(format!("entry {} is durable, but cannot be read yet", self.next));
        } else {
            self.behind = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::{CorrelationId, Event, Lagged, TenantId};

    fn recorded(index: u64, seconds: i64) -> Recorded {
        let at = Timestamp::from_seconds(seconds);
        let correlation = CorrelationId::from_bytes([0; 16]);
        let tenant = TenantId::default_tenant();
        let kind = if index % 10 == 9 { EventKind::Finding } else { EventKind::Operator };
        Recorded { index, event: Event::new(kind, "x", tenant, at, correlation) }
    }

    /// A log of which `seen` entries are on disk; fails as often as `fails` says.
    #[derive(Default)]
    struct Log {
        times: Vec<i64>,
        seen: AtomicUsize,
        fails: AtomicUsize,
        /// Most events handed out at once.
        most: AtomicUsize,
    }

    impl Log {
        fn new(times: &[i64], seen: usize) -> Arc<Self> {
            let seen = AtomicUsize::new(seen);
            Arc::new(Self { times: times.to_vec(), seen, ..Self::default() })
        }
    }

    impl History for Log {
        fn first_since(&self, since: Timestamp) -> BoxFuture<'_, Result<u64, String>> {
            let seen = self.seen.load(Ordering::SeqCst);
            let late = |at: &i64| Timestamp::from_seconds(*at) >= since;
            let first = self.times[..seen].iter().position(late).unwrap_or(seen);
            Box::pin(async move { Ok(first as u64) })
        }

        fn read(
            &self,
            from: u64,
            limit: usize,
            wants: Wants,
        ) -> BoxFuture<'_, Result<Batch, String>> {
            Box::pin(async move {
                if self.fails.load(Ordering::SeqCst) > 0 {
                    self.fails.fetch_sub(1, Ordering::SeqCst);
                    return Err("io".to_owned());
                }
                let end = (self.seen.load(Ordering::SeqCst) as u64).min(from + limit as u64);
                let at = |index: u64| self.times[usize::try_from(index).unwrap()];
                let events: Vec<_> = (from..end)
                    .map(|index| recorded(index, at(index)))
                    .filter(|recorded| wants(recorded.event.kind))
                    .collect();
                self.most.fetch_max(events.len(), Ordering::SeqCst);
                Ok(Batch { events, next: end.max(from) })
            })
        }
    }

    type News = Result<Message, Lagged>;

    struct Script(Mutex<VecDeque<News>>);

    impl Subscription for Script {
        fn next(&mut self) -> BoxFuture<'_, Option<News>> {
            let next = self.0.get_mut().unwrap().pop_front();
            Box::pin(async move { next })
        }
    }

    struct ScriptedBus(Mutex<Option<Script>>);

    impl ScriptedBus {
        fn new(script: Vec<News>) -> Self {
            Self(Mutex::new(Some(Script(Mutex::new(script.into())))))
        }
    }

    impl Bus for ScriptedBus {
        fn publish(&self, _: Message) {}
        fn subscribe(&self) -> Box<dyn Subscription> {
            Box::new(self.0.lock().unwrap().take().unwrap())
        }
    }

    fn block<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("the doubles never wait"),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "stands beside lags in a script")]
    fn news(index: u64, seconds: i64) -> News {
        Ok(Message::Recorded(Arc::new(recorded(index, seconds))))
    }

    /// What comes from a follower that was started when the log had one entry; re-reads fail `fails` times.
    fn run(times: &[i64], fails: usize, script: Vec<News>) -> (Vec<u64>, usize) {
        let log = Log::new(times, 1);
        let bus = ScriptedBus::new(script);
        let start = Timestamp::from_seconds(0);
        let mut follower = block(Follower::start(&bus, log.clone(), start)).unwrap();
        let (mut seen, mut errors) = (vec![], 0);
        let first = block(follower.next()).unwrap().unwrap();
        seen.push(first.index);
        // The bus holds the script only: as soon as it is empty it is closed.
        assert!(block(follower.read_on()).is_ok());
        log.seen.store(times.len(), Ordering::SeqCst);
        log.fails.store(fails, Ordering::SeqCst);
        while let Some(next) = block(follower.next()) {
            match next {
                Ok(recorded) => seen.push(recorded.index),
                Err(_) => errors += 1,
            }
        }
        (seen, errors)
    }

    #[test]
    fn every_event_comes_once_in_order_whatever_the_bus_the_disk_and_the_clock_do() {
        let lag = |missed| Err(Lagged(missed));
        // The attacker's cases (review 6): times in seconds, failing re-reads, what the bus says.
        let cases: Vec<(&str, Vec<i64>, usize, Vec<News>)> = vec![
            ("overlap, plain next, gap, lag", (0..10).collect(), 0, {
                vec![news(0, 0), news(1, 1), news(5, 5), lag(3), news(9, 9)]
            }),
            ("two failing re-reads after a lag", (100..107).collect(), 2, {
                vec![lag(3), news(4, 104), news(5, 105), news(6, 106)]
            }),
            ("one failing re-read at a gap", (100..105).collect(), 1, {
                vec![news(3, 103), news(4, 104)]
            }),
            (
                "the clock two minutes back, then lag",
                { vec![1000, 1001, 880, 881, 882, 883, 884] },
                0,
                vec![news(1, 1001), news(2, 880), lag(3), news(6, 884)],
            ),
            (
                "one backdated event, from a slow answer",
                { vec![1000, 1001, 1002, 1003, 900, 1004] },
                0,
                vec![news(1, 1001), lag(3), news(5, 1004)],
            ),
            ("the last one backdated", vec![1000, 1001, 1002, 1003, 900], 0, {
                vec![news(1, 1001), lag(2), news(4, 900)]
            }),
        ];
        for (what, times, fails, script) in cases {
            let (seen, errors) = run(&times, fails, script);
            assert_eq!(seen, (0..times.len() as u64).collect::<Vec<_>>(), "{what}");
            assert_eq!(errors, fails, "{what}: each failure is told");
        }
    }

    #[test]
    fn a_gap_that_the_log_does_not_show_yet_is_waited_for() {
        let log = Log::new(&[0, 1, 2], 1);
        let bus = ScriptedBus::new(vec![news(2, 2)]);
        let start = Timestamp::from_seconds(0);
        let mut follower = block(Follower::start(&bus, log.clone(), start)).unwrap();
        assert_eq!(block(follower.next()).unwrap().unwrap().index, 0);
        assert!(block(follower.next()).unwrap().is_err());
        assert!(block(follower.next()).unwrap().is_err());
        log.seen.store(3, Ordering::SeqCst);
        assert_eq!(block(follower.next()).unwrap().unwrap().index, 1);
        assert_eq!(block(follower.next()).unwrap().unwrap().index, 2);
        assert!(block(follower.next()).is_none());
    }

    #[test]
    fn a_long_past_comes_in_batches_and_only_what_is_wanted() {
        let times: Vec<i64> = (0..5000).collect();
        let log = Log::new(&times, times.len());
        let start = Timestamp::from_seconds(40);
        let bus = ScriptedBus::new(vec![news(5000, 1), news(5009, 1)]);
        let finding: Wants = |kind| kind == EventKind::Finding;
        let mut follower = block(Follower::start_for(&bus, log.clone(), start, finding)).unwrap();
        let mut seen = vec![];
        while let Some(Ok(recorded)) = block(follower.next()) {
            assert!(follower.waiting.len() < BATCH);
            seen.push(recorded.index);
        }
        assert_eq!(seen, (49..5000).step_by(10).collect::<Vec<_>>());
        let bus = ScriptedBus::new(vec![]);
        let mut follower = block(Follower::start(&bus, log.clone(), start)).unwrap();
        assert_eq!(follower.past().map(|r| r.index).collect::<Vec<_>>(), seen);
        let mut count = 0;
        while let Some(Ok(_)) = block(follower.next()) {
            count += 1;
        }
        assert_eq!((count, log.most.load(Ordering::SeqCst)), (4960, BATCH));
    }
}

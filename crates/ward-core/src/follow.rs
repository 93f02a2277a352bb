//! Following the log: every event once, in order, woken by the event itself and never by a timer.
//!
//! A [`Follower`] subscribes to the bus first and reads the past then, so that nothing falls between.
//! When it falls behind the bus it re-reads the log from where it was. A reader can be slow; it
//! cannot miss.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::{BoxFuture, Bus, Message, Recorded, Subscription, Timestamp};

/// Reads the log back. Implemented over `ward_audit`.
pub trait History: Send + Sync {
    /// All events logged at or after `since`, in order, with their bodies where those can still be
    /// opened (an empty body otherwise).
    fn since(&self, since: Timestamp) -> BoxFuture<'_, Result<Vec<Recorded>, String>>;
}

/// One reader's place in the log.
pub struct Follower {
    news: Box<dyn Subscription>,
    history: Arc<dyn History>,
    waiting: VecDeque<Arc<Recorded>>,
    /// Index after the last event given out.
    next: u64,
    /// Time of the last event given out, or where the past began.
    reached: Timestamp,
}

/// How far before the last known event a lagging follower re-reads: events of one log can carry
/// times slightly out of order.
const SLACK: Duration = Duration::from_mins(1);

impl Follower {
    /// Starts with the events logged since `since`.
    pub async fn start(
        bus: &dyn Bus,
        history: Arc<dyn History>,
        since: Timestamp,
    ) -> Result<Self, String> {
        let news = bus.subscribe();
        let waiting = history.since(since).await?.into_iter().map(Arc::new).collect();
        Ok(Self { news, history, waiting, next: 0, reached: since })
    }

    /// Events of the past that were not given out yet.
    pub fn past(&self) -> impl Iterator<Item = &Recorded> {
        self.waiting.iter().map(AsRef::as_ref)
    }

    /// The next event; `None` once the bus has closed. An error says that the log could not be
    /// re-read after falling behind; calling again tries again.
    pub async fn next(&mut self) -> Option<Result<Arc<Recorded>, String>> {
        loop {
            while let Some(recorded) = self.waiting.pop_front() {
                if let Some(fresh) = self.fresh(recorded) {
                    return Some(Ok(fresh));
                }
            }
            match self.news.next().await? {
                Ok(Message::Recorded(recorded)) if recorded.index <= self.next => {
                    if let Some(fresh) = self.fresh(recorded) {
                        return Some(Ok(fresh));
                    }
                }
                // A gap: either the bus says so, or an index is missing.
                gap => {
                    let past = self.history.since(self.reached.minus(SLACK)).await;
                    self.waiting.extend(past.iter().flatten().cloned().map(Arc::new));
                    if let Ok(Message::Recorded(recorded)) = gap {
                        self.waiting.push_back(recorded);
                    }
                    if let Err(reason) = past {
                        return Some(Err(reason));
                    }
                }
            }
        }
    }

    fn fresh(&mut self, recorded: Arc<Recorded>) -> Option<Arc<Recorded>> {
        if recorded.index < self.next {
            return None;
        }
        self.next = recorded.index + 1;
        self.reached = self.reached.max(recorded.event.at);
        Some(recorded)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Mutex;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::{CorrelationId, Event, EventKind, Lagged, TenantId};

    fn recorded(index: u64) -> Recorded {
        let at = Timestamp::from_seconds(i64::try_from(index).unwrap());
        let correlation = CorrelationId::from_bytes([0; 16]);
        let tenant = TenantId::default_tenant();
        Recorded { index, event: Event::new(EventKind::Operator, "x", tenant, at, correlation) }
    }

    struct Log(u64);

    impl History for Log {
        fn since(&self, since: Timestamp) -> BoxFuture<'_, Result<Vec<Recorded>, String>> {
            let all = (0..self.0).map(recorded).filter(|r| r.event.at >= since).collect();
            Box::pin(async move { Ok(all) })
        }
    }

    struct Script(Mutex<VecDeque<Result<Message, Lagged>>>);

    impl Subscription for Script {
        fn next(&mut self) -> BoxFuture<'_, Option<Result<Message, Lagged>>> {
            let next = self.0.get_mut().unwrap().pop_front();
            Box::pin(async move { next })
        }
    }

    struct ScriptedBus(Mutex<Option<Script>>);

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

    #[test]
    fn every_event_comes_once_in_order_despite_overlap_gaps_and_lag() {
        let news = |index| Ok(Message::Recorded(Arc::new(recorded(index))));
        // The past holds 0..3; then an overlap (2), a plain next (3), a silent gap (to 7), a lag.
        let script = VecDeque::from([news(2), news(3), news(7), Err(Lagged(4)), news(9)]);
        let bus = ScriptedBus(Mutex::new(Some(Script(Mutex::new(script)))));
        let mut follower =
            block(Follower::start(&bus, Arc::new(Log(3)), Timestamp::from_millis(0))).unwrap();
        follower.history = Arc::new(Log(10));
        let mut seen = vec![];
        while let Some(next) = block(follower.next()) {
            seen.push(next.unwrap().index);
        }
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
    }
}

//! The in-process bus: a bounded ring that every subscriber reads at its own pace.
//!
//! Publishing never blocks. A subscriber that falls behind by more than `Limits::bus_queue` messages
//! is told how many it missed ([`Lagged`]) and re-reads the log from the last entry that it knows.

use tokio::sync::broadcast;
use ward_core::{BoxFuture, Bus, Lagged, Limits, Message, Subscription};

/// Carries news between the rooms of one process.
#[derive(Debug)]
pub struct LocalBus(broadcast::Sender<Message>);

impl LocalBus {
    /// A bus that keeps `limits.bus_queue` messages for its slowest subscriber (rounded up to a
    /// power of two).
    pub fn new(limits: &Limits) -> Self {
        Self(broadcast::Sender::new(limits.bus_queue.clamp(1, 1 << 20)))
    }
}

impl Bus for LocalBus {
    fn publish(&self, message: Message) {
        // An error only says that nobody listens, which is no fault.
        let _ = self.0.send(message);
    }

    fn subscribe(&self) -> Box<dyn Subscription> {
        Box::new(LocalSubscription(self.0.subscribe()))
    }
}

struct LocalSubscription(broadcast::Receiver<Message>);

impl Subscription for LocalSubscription {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Message, Lagged>>> {
        Box::pin(async move {
            match self.0.recv().await {
                Ok(message) => Some(Ok(message)),
                Err(broadcast::error::RecvError::Lagged(missed)) => Some(Err(Lagged(missed))),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ward_core::{
        CorrelationId, Event, EventKind, ManualClock, Recorded, SeededRng, TenantId, Timestamp,
    };

    use super::*;

    fn news(index: u64) -> Message {
        let rng = SeededRng::new(index);
        let clock = ManualClock::at_unix_seconds(1_800_000_000);
        let event = Event::new(
            EventKind::Operator,
            "test",
            TenantId::default_tenant(),
            Timestamp::from_seconds(1_800_000_000),
            CorrelationId::new(&clock, &rng),
        );
        Message::Recorded(Arc::new(Recorded { index, event }))
    }

    fn index(message: &Message) -> u64 {
        let Message::Recorded(recorded) = message;
        recorded.index
    }

    #[tokio::test]
    async fn a_slow_subscriber_is_told_what_it_missed_and_holds_up_nobody() {
        let bus = LocalBus::new(&Limits { bus_queue: 4, ..Limits::default() });
        let mut slow = bus.subscribe();
        let mut quick = bus.subscribe();
        for at in 0..10 {
            bus.publish(news(at));
            assert_eq!(index(&quick.next().await.unwrap().unwrap()), at);
        }
        assert_eq!(slow.next().await.unwrap().unwrap_err(), Lagged(6));
        for at in 6..10 {
            assert_eq!(index(&slow.next().await.unwrap().unwrap()), at);
        }
    }

    #[tokio::test]
    async fn a_subscriber_sees_what_is_published_after_it_came_and_the_end() {
        let bus = LocalBus::new(&Limits::default());
        bus.publish(news(1));
        let mut late = bus.subscribe();
        bus.publish(news(2));
        drop(bus);
        assert_eq!(index(&late.next().await.unwrap().unwrap()), 2);
        assert!(late.next().await.is_none());
    }
}

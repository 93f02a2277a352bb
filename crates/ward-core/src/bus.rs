//! News inside the house. In-process by default; several nodes will share it over a message bus.

use std::sync::Arc;

use crate::{BoxFuture, Recorded};

/// One piece of news.
#[derive(Debug, Clone)]
pub enum Message {
    /// An event became durable in the log.
    Recorded(Arc<Recorded>),
}

/// The subscriber was slower than the bound of the bus: it must re-read the log from the last
/// entry that it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} messages were missed")]
pub struct Lagged(pub u64);

/// One reader's place in the stream.
pub trait Subscription: Send + Sync {
    /// The next message; `None` when the bus has closed.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Message, Lagged>>>;
}

/// Carries news from the room where it happens to the rooms that react.
pub trait Bus: Send + Sync {
    /// Gives the message to every subscriber; never blocks.
    fn publish(&self, message: Message);

    /// A new subscriber, which sees what is published from now on.
    fn subscribe(&self) -> Box<dyn Subscription>;
}

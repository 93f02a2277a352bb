//! The writer.
use crate::{Disk, LogError, Reader};
use std::sync::Arc;
use ward_core::crypto::SigningKey;
use ward_core::{
    BoxFuture, Bus, Clock, Event, EventSink, KeyVault, Limits, NodeId, Outbox, OutboxSeq, Receipt,
    Rng, SinkError,
};

/// The origin of a node's log (house rule 4): `ward/log/<node id>`.
pub fn origin_of(node: NodeId) -> String {
    format!("ward/log/{node}")
}

/// What a log needs.
pub struct LogOptions {
    /// Where it lies.
    pub disk: Arc<dyn Disk>,
    /// Its origin, see [`origin_of`].
    pub origin: String,
    /// Signs checkpoints.
    pub signing_key: SigningKey,
    /// Keys of bodies.
    pub vault: Arc<dyn KeyVault>,
    /// Hears of each event once it is durable, in order.
    pub bus: Arc<dyn Bus>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// Bounds: `log_queue`.
    pub limits: Arc<Limits>,
}

/// The log of this node.
pub struct Log {}

impl Log {
    /// Opens or creates the log: recovers from a crash, refuses what was altered. Blocks.
    pub fn open(_options: LogOptions) -> Result<Arc<Self>, LogError> {
        Err(LogError::Absent)
    }
    /// From now on [`EventSink::settle`] drains this outbox; drains what is pending.
    pub async fn attach_outbox(&self, _outbox: Arc<dyn Outbox>) -> Result<(), SinkError> {
        Ok(())
    }
    /// Signs the tree as it stands; the signed note.
    pub async fn checkpoint(&self) -> Result<String, SinkError> {
        Err(SinkError::Unwritable("starting".into()))
    }
    /// Durable entries.
    pub fn size(&self) -> u64 {
        0
    }
    /// The public key in the form `name+hash+key`.
    pub fn verifier_key(&self) -> String {
        String::new()
    }
    /// Whether the last commit worked; if not, why, for the operator.
    pub fn healthy(&self) -> Result<(), String> {
        Ok(())
    }
    /// Reads what is durable now.
    pub fn reader(&self) -> Result<Reader, LogError> {
        Err(LogError::Absent)
    }
    /// Commits what is queued, signs a last checkpoint and stops.
    pub async fn close(&self) {}
}

impl EventSink for Log {
    fn record(&self, _events: Vec<Event>) -> BoxFuture<'_, Result<Receipt, SinkError>> {
        Box::pin(async { Err(SinkError::Unwritable("starting".into())) })
    }
    fn settle(&self, _seq: OutboxSeq) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async { Err(SinkError::Unwritable("starting".into())) })
    }
}

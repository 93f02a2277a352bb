//! The words all rooms share.
//!
//! Typed identifiers, time and randomness as parameters, secrets, limits, the one crypto module,
//! strict JSON, the event vocabulary, and the traits that higher rooms implement ([`KeyVault`],
//! [`EventSink`], [`Outbox`], [`Bus`]). This room does no I/O and refuses nothing but malformed words.

pub mod bus;
pub mod crypto;
pub mod event;
pub mod follow;
pub mod id;
pub mod json;
pub mod limits;
pub mod purpose;
pub mod rng;
pub mod secret;
pub mod time;
pub mod vault;

pub use bus::{Bus, Lagged, Message, Subscription};
pub use event::{
    Actor, Event, EventBody, EventKind, EventSink, LogMark, ONLY_OBSERVED, Outbox, OutboxRow,
    OutboxSeq, Outcome, Receipt, Recorded, Released, SignedTree, SinkError, Transfer, Window,
    WindowStep,
};
pub use follow::{Batch, Follower, History, Wants};
pub use id::{
    ApprovalId, ClientId, ClientUri, CommunityUri, CorrelationId, FhirVersion, GrantId, IdError,
    IncidentId, NodeId, OperatorId, OperatorName, OrganizationUri, PatientId, TenantId, Thumbprint,
    TokenId,
};
pub use limits::Limits;
pub use purpose::Purpose;
pub use rng::{Rng, SeededRng, SystemRng};
pub use secret::Secret;
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use vault::{DataKey, KeyId, KeyPurpose, KeyVault, VaultError};

/// A boxed future, the shape of every asynchronous trait method of the house.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

//! The event vocabulary (rule 7): one account of what happened, read by detection, incidents,
//! evidence, console and reports alike.
//!
//! An [`Event`] has two parts. Its header becomes the *leaf* of the log: Ward's own ids and counts,
//! no PHI, at most 2 KiB. Its [`EventBody`] (ids of records, owners, labels) lies beside the leaf
//! under a destroyable key; the leaf commits to it by a salted SHA-256 (rule 3).

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    BoxFuture, ClientId, CommunityUri, CorrelationId, GrantId, IncidentId, PatientId, Purpose,
    TenantId, Timestamp, TokenId,
};

/// What kind of thing happened. The names are part of the log format and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EventKind {
    /// The log was started, or the server came back.
    #[serde(rename = "log.started")]
    LogStarted,
    /// Records were released to a caller, or asked for and refused.
    #[serde(rename = "access")]
    Access,
    /// A client was registered, modified or cancelled.
    #[serde(rename = "registration")]
    Registration,
    /// A token was issued or refused.
    #[serde(rename = "token")]
    Token,
    /// A grant, client or certificate was revoked.
    #[serde(rename = "revocation")]
    Revocation,
    /// An attribution roster was imported.
    #[serde(rename = "roster")]
    Roster,
    /// Detection found something; response reads these.
    #[serde(rename = "finding")]
    Finding,
    /// An incident was opened or moved on.
    #[serde(rename = "incident")]
    Incident,
    /// A trust community's operator acted: issued, revoked, published a list.
    #[serde(rename = "community")]
    Community,
    /// Any other act of an operator.
    #[serde(rename = "operator")]
    Operator,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done as asked.
    Success,
    /// Refused by a rule.
    Refused,
    /// Could not be done.
    Failed,
    /// Done as asked although a rule would have refused it, or held back a part: the rule is named, and
    /// was only observed (`mode = "observe"`).
    Observed,
}

/// Who acted, by Ward's own ids. Everything that is not known stays empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The registered client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    /// Its grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// Its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// The community that it came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub community: Option<CommunityUri>,
    /// The operator, or the room of Ward that acted by itself (`ward-respond`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<Cow<'static, str>>,
}

/// Where an event stands in an answer that needs several (rule 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Which step this is.
    pub step: WindowStep,
    /// Counts the events of the answer, from 0.
    pub seq: u32,
}

/// The steps of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowStep {
    /// The whole answer is in this event.
    Whole,
    /// A longer answer begins; nothing has left yet.
    Open,
    /// These records may have left.
    Items,
    /// The answer ended completely.
    Complete,
    /// The answer was broken off; what was committed may have left.
    Aborted,
}

/// What was asked for and how much left, without PHI.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// FHIR interaction: `read`, `vread`, `search-type`.
    pub interaction: Cow<'static, str>,
    /// FHIR resource type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource_type: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// Records covered by this event.
    pub resources: u32,
    /// Distinct patients among their owners.
    pub patients: u32,
    /// Bytes covered by this event (in `complete`/`aborted`: of the whole answer).
    pub bytes: u64,
    /// Place in a longer answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// One event, before it is logged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What kind.
    pub kind: EventKind,
    /// Whose.
    pub tenant: TenantId,
    /// When it happened.
    pub at: Timestamp,
    /// The exchange that it belongs to.
    pub correlation: CorrelationId,
    /// How it ended.
    pub outcome: Outcome,
    /// One short word for what was done within the kind: `issued`, `cancelled`, `opened`.
    pub action: Cow<'static, str>,
    /// Id of the rule that decided (`TOK-12`, `ROSTER`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Cow<'static, str>>,
    /// Who.
    pub actor: Actor,
    /// Why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purposes: Vec<Purpose>,
    /// The incident concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    /// For [`EventKind::Access`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Transfer>,
    /// What may touch on persons; sealed beside the leaf.
    pub body: EventBody,
}

/// The part of an event that is kept under a destroyable key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventBody {
    /// The records that left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub released: Vec<Released>,
    /// SHA-256, hexadecimal, of the facts that the decision used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<String>,
    /// SHA-256, hexadecimal, of the policy in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Further particulars by name: `client_uri`, `organization`, `thumbprint`, `reason`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detail: BTreeMap<Cow<'static, str>, String>,
}

/// The particular of an access that says that its client is only observed: what detection finds in it is
/// told, and nobody is contained for it.
pub const ONLY_OBSERVED: &str = "only_observed";

/// One record that left: identity only, never content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// `Type/id`.
    pub reference: String,
    /// `meta.versionId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The patients whose record it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<PatientId>,
    /// Its security labels, `system|code`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

impl Event {
    /// A new event with empty actor and body.
    pub fn new(
        kind: EventKind,
        action: impl Into<Cow<'static, str>>,
        tenant: TenantId,
        at: Timestamp,
        correlation: CorrelationId,
    ) -> Self {
        Self {
            kind,
            tenant,
            at,
            correlation,
            outcome: Outcome::Success,
            action: action.into(),
            rule: None,
            actor: Actor::default(),
            purposes: Vec::new(),
            incident: None,
            transfer: None,
            body: EventBody::default(),
        }
    }

    /// The same event, refused by a rule.
    #[must_use]
    pub fn refused(mut self, rule: impl Into<Cow<'static, str>>) -> Self {
        self.outcome = Outcome::Refused;
        self.rule = Some(rule.into());
        self
    }

    /// The same event with one more particular in its body.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.body.detail.insert(name.into(), value.into());
        self
    }
}

/// An event that is durable in the log, with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Index of its leaf in this node's log.
    pub index: u64,
    /// The event, body included.
    pub event: Event,
}

/// Proof that events became durable: indexes `first .. first + count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Index of the first of them.
    pub first: u64,
    /// How many.
    pub count: u32,
}

/// Why the log did not take an event. Nothing may be released then (rule 3).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// The log cannot be written: disk full, failed or shut down.
    #[error("the log cannot be written: {0}")]
    Unwritable(String),
    /// The event does not fit into a leaf.
    #[error("the event's header exceeds {0} bytes")]
    TooLarge(usize),
    /// The key for the event's body cannot be had.
    #[error(transparent)]
    Vault(#[from] crate::VaultError),
    /// The outbox of the store cannot be read.
    #[error("the outbox cannot be read: {0}")]
    Outbox(String),
    /// The log lacks what it had when the store last heard of it: deleted, or put back to an earlier state.
    #[error(
        "the log is not the one that belongs to the store, or was put back to an earlier state: {0}; put back the log \
         that belongs to this store, or restore store, log and vault together with `ward restore`"
    )]
    LogBehind(String),
    /// The store does not know state changes that the log has: its next ones would count as logged.
    #[error(
        "the store is older than the log: it knows {store} state changes, the log has {log}; put back the \
         store that belongs to this log, or restore store, log and vault together with `ward restore`"
    )]
    StoreBehind {
        /// Highest place that the store gave.
        store: u64,
        /// Highest place in the log.
        log: u64,
    },
}

/// The tree of a log as a checkpoint signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTree {
    /// Which log: the origin of its checkpoints.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// RFC 6962 root.
    pub root: [u8; 32],
}

/// What a store knows to be in a log, whatever the log itself says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogMark {
    /// Highest place of the outbox that was reported as drained; 0 if none was.
    pub drained: u64,
    /// The largest tree that was reported as signed.
    pub signed: Option<SignedTree>,
}

/// Place of an event in the store's outbox; counts from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
#[must_use = "a state change is not acknowledged before its event is in the log: pass it to `EventSink::settle`"]
pub struct OutboxSeq(pub u64);

/// One event of a state change that waits for the log.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    /// Its place.
    pub seq: OutboxSeq,
    /// The event.
    pub event: Event,
}

/// Where state changes leave their events, in the same transaction (rule 4). Implemented by the store.
pub trait Outbox: Send + Sync {
    /// Up to `limit` rows after `after`, in order.
    fn pending(
        &self,
        after: OutboxSeq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<OutboxRow>, String>>;

    /// Rows up to and including `upto` are in the log and may go; [`Outbox::mark`] remembers it.
    fn drained(&self, upto: OutboxSeq) -> BoxFuture<'_, Result<(), String>>;

    /// This tree is signed and durable; [`Outbox::mark`] remembers the largest of each log.
    fn signed(&self, tree: SignedTree) -> BoxFuture<'_, Result<(), String>>;

    /// What the log of this origin must hold.
    fn mark<'a>(&'a self, origin: &'a str) -> BoxFuture<'a, Result<LogMark, String>>;

    /// The highest place that was ever given; 0 before the first. Places are given without gaps.
    fn highest(&self) -> BoxFuture<'_, Result<OutboxSeq, String>>;
}

/// Where events go. Implemented by `ward-audit`.
pub trait EventSink: Send + Sync {
    /// Makes the events durable, next to each other and in order; resolves after fsync returned.
    fn record(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Receipt, SinkError>>;

    /// Drains the outbox at least up to `seq`; resolves once those events are durable in the log.
    fn settle(&self, seq: OutboxSeq) -> BoxFuture<'_, Result<(), SinkError>>;
}

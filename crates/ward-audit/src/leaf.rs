//! Leaves: the part of an event that stands in the tree.
use serde::{Deserialize, Serialize};
use ward_core::{
    Actor, CorrelationId, EventKind, IncidentId, Outcome, Purpose, TenantId, Timestamp, Transfer,
};

/// One leaf: the header of an event and the commitments to its body. See [`crate::format`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    /// Version of the format, 1.
    pub v: u8,
    /// Origin of the log that it was written to.
    pub node: String,
    /// Its place in the store's outbox, if it came from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbox: Option<u64>,
    /// What kind of event.
    pub kind: EventKind,
    /// Whose.
    pub tenant: TenantId,
    /// When it happened.
    pub at: Timestamp,
    /// The exchange that it belongs to.
    pub correlation: CorrelationId,
    /// How it ended.
    pub outcome: Outcome,
    /// What was done within the kind.
    pub action: String,
    /// Id of the rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Who.
    pub actor: Actor,
    /// Why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purposes: Vec<Purpose>,
    /// The incident concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    /// For accesses: what was asked for and how much left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Transfer>,
    /// SHA-256, hexadecimal, of the opened body: 32 octets of salt, then its JSON.
    pub body: String,
    /// SHA-256, hexadecimal, of the sealed body as it lies in the frame.
    pub sealed: String,
}

//! Leaves and sealed bodies: what of an event stands in the tree, and what lies beside it under a destroyable key
//! (rule 3; byte layout in [`crate::format`]).
//!
//! Refused: headers that do not fit into a leaf, bodies above the bound of a frame.

use serde::{Deserialize, Serialize};
use ward_core::crypto::{derive, hex, open_with_nonce, seal_behind, sha256};
use ward_core::{
    Actor, CorrelationId, DataKey, Event, EventBody, EventKind, IncidentId, KeyId, OutboxSeq,
    Outcome, Purpose, Rng, SinkError, TenantId, Timestamp, Transfer,
};

use crate::format::{MAX_BODY, MAX_LEAF};

/// Octets of salt before the JSON of an opened body.
const SALT: usize = 32;
/// Octets in clear before the ciphertext.
const PREFIX: usize = 24;
/// The key seals one record, so the nonce need not vary.
const NONCE: [u8; 12] = [0; 12];
/// Octets that most leaves stay below.
const LEAF_OCTETS: usize = 1024;

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

impl Leaf {
    /// Reads a leaf of this version.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|leaf| leaf.v == 1)
    }

    /// The event, joined with its body.
    pub fn event(&self, body: EventBody) -> Event {
        Event {
            kind: self.kind,
            tenant: self.tenant.clone(),
            at: self.at,
            correlation: self.correlation,
            outcome: self.outcome,
            action: self.action.clone().into(),
            rule: self.rule.clone().map(Into::into),
            actor: self.actor.clone(),
            purposes: self.purposes.clone(),
            incident: self.incident,
            transfer: self.transfer.clone(),
            body,
        }
    }
}

/// An event as it will lie in a frame.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) leaf: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
    pub(crate) outbox: Option<u64>,
}

fn record_key(
    key: &DataKey,
    record: &[u8],
    origin: &str,
    tenant: &TenantId,
) -> ward_core::Secret<[u8; 32]> {
    derive(&key.key, record, &[b"ward log body v2", origin.as_bytes(), tenant.as_str().as_bytes()])
}

/// A [`Leaf`] that is written from an event: the same members in the same order, `sealed` last and still empty.
#[derive(Serialize)]
struct Header<'a> {
    v: u8,
    node: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outbox: Option<u64>,
    kind: EventKind,
    tenant: &'a TenantId,
    at: Timestamp,
    correlation: CorrelationId,
    outcome: Outcome,
    action: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    actor: &'a Actor,
    #[serde(skip_serializing_if = "<[Purpose]>::is_empty")]
    purposes: &'a [Purpose],
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<IncidentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer: Option<&'a Transfer>,
    body: &'a str,
    sealed: &'a str,
}

/// The end of a header, between which the digest of the sealed body goes.
const OPEN_END: &[u8] = b"\"}";

/// What a body is sealed beside: its key's name, and all of its leaf but `sealed`, which does not exist yet.
fn associated(prefix: &[u8], header: &[u8]) -> [u8; PREFIX + 32] {
    let mut joined = [0; PREFIX + 32];
    for (to, from) in joined.iter_mut().zip(prefix.iter().copied().chain(sha256(&[header]))) {
        *to = from;
    }
    joined
}

/// Seals an event's body under the key of a day and makes its leaf.
pub(crate) fn seal(
    event: &Event,
    outbox: Option<OutboxSeq>,
    origin: &str,
    day: u32,
    key: &DataKey,
    rng: &dyn Rng,
) -> Result<Entry, SinkError> {
    let mut random = [0; 16 + SALT];
    rng.fill(&mut random);
    let (record, salt) = random.split_at(16);
    let mut sealed = Vec::with_capacity(PREFIX + draft_octets(event));
    sealed.extend_from_slice(&day.to_be_bytes());
    sealed.extend_from_slice(&key.id.0.to_be_bytes());
    sealed.extend_from_slice(record);
    sealed.extend_from_slice(salt);
    serde_json::to_writer(&mut sealed, &event.body).map_err(|e| unwritable(&e))?;
    let (prefix, opened) = sealed.split_at_checked(PREFIX).unwrap_or_default();
    let header = Header {
        v: 1,
        node: origin,
        outbox: outbox.map(|seq| seq.0),
        kind: event.kind,
        tenant: &event.tenant,
        at: event.at,
        correlation: event.correlation,
        outcome: event.outcome,
        action: &event.action,
        rule: event.rule.as_deref(),
        actor: &event.actor,
        purposes: &event.purposes,
        incident: event.incident,
        transfer: event.transfer.as_ref(),
        body: &hex(&sha256(&[opened])),
        sealed: "",
    };
    let mut leaf = Vec::with_capacity(LEAF_OCTETS);
    serde_json::to_writer(&mut leaf, &header).map_err(|e| unwritable(&e))?;
    let aad = associated(prefix, &leaf);
    let secret = record_key(key, record, origin, &event.tenant);
    seal_behind(&secret, NONCE, &aad, &mut sealed, PREFIX).map_err(|e| unwritable(&e))?;
    if sealed.len() > MAX_BODY {
        return Err(SinkError::TooLarge(MAX_BODY));
    }
    leaf.truncate(leaf.len().saturating_sub(OPEN_END.len()));
    leaf.extend_from_slice(hex(&sha256(&[&sealed])).as_bytes());
    leaf.extend_from_slice(OPEN_END);
    if leaf.len() > MAX_LEAF {
        return Err(SinkError::TooLarge(MAX_LEAF));
    }
    Ok(Entry { leaf, sealed, outbox: outbox.map(|seq| seq.0) })
}

fn unwritable(error: &dyn std::error::Error) -> SinkError {
    SinkError::Unwritable(format!("the event cannot be encoded: {error}"))
}

/// What is logged of a state change whose event fits into no frame: the change has happened, so it must
/// appear, and must not keep those behind it from the log (rule 4). The body says what was too large.
pub(crate) fn shortened(event: &Event) -> Event {
    let mut short =
        Event::new(event.kind, "too-large", event.tenant.clone(), event.at, event.correlation);
    short.outcome = event.outcome;
    short.incident = event.incident;
    short.actor = Actor { community: None, operator: None, ..event.actor.clone() };
    let digest = serde_json::to_vec(event).map(|json| hex(&sha256(&[&json]))).unwrap_or_default();
    let action: String = event.action.chars().take(200).collect();
    short.with("action", action).with("sha256", digest)
}

/// About how many octets the sealed body of an event has, before it is made.
pub(crate) fn draft_octets(event: &Event) -> usize {
    let released = event.body.released.iter().map(|one| {
        let labels: usize = one.labels.iter().map(|label| label.len() + 4).sum();
        let version = one.version.as_ref().map_or(0, String::len);
        128 + one.reference.len() + version + one.owners.len() * 67 + labels
    });
    let detail = event.body.detail.iter().map(|(name, value)| name.len() + value.len() + 8);
    256 + released.sum::<usize>() + detail.sum::<usize>()
}

/// Which key opens a sealed body.
pub(crate) fn key_of(sealed: &[u8]) -> Option<(u32, KeyId)> {
    let (day, rest) = sealed.split_first_chunk::<4>()?;
    let (id, _) = rest.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*day), KeyId(u32::from_be_bytes(*id))))
}

/// Opens a sealed body; `None` if it does not open or is not the one that the leaf commits to.
pub(crate) fn open(leaf: &Leaf, sealed: &[u8], key: &DataKey) -> Option<EventBody> {
    let (prefix, ciphertext) = sealed.split_at_checked(PREFIX)?;
    let secret = record_key(key, prefix.get(8..)?, &leaf.node, &leaf.tenant);
    let header = serde_json::to_vec(&Leaf { sealed: String::new(), ..leaf.clone() }).ok()?;
    let aad = associated(prefix, &header);
    let opened = open_with_nonce(&secret, NONCE, &aad, ciphertext).ok()?;
    if hex(&sha256(&[&opened])) != leaf.body {
        return None;
    }
    serde_json::from_slice(opened.get(SALT..)?).ok()
}

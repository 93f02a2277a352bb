//! The repositories: what the rooms above ask of the store, whatever keeps it (rule 4 of the house).
//!
//! Every change takes the [`Event`] that tells of it and writes both in one transaction; it returns
//! the event's place in the outbox, and the caller awaits `EventSink::settle` before it answers. A
//! change that returned is durable, and takes effect whether or not its caller still waits. The
//! tenant is part of every key. One test-suite (`suite.rs`) runs against every implementation.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use ward_core::{
    ApprovalId, BoxFuture, ClientId, ClientUri, CommunityUri, Event, GrantId, IncidentId,
    OperatorId, OperatorName, OrganizationUri, Outbox, OutboxSeq, PatientId, Purpose, TenantId,
    Thumbprint, Timestamp,
};
use ward_policy::{Grant, Roster, Subject};

use crate::StoreError;
use crate::hanging::{Hanging, Mark, Reach};

/// What every method returns.
pub type Kept<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A registered client (RFC 7591; IG §3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Whose.
    pub tenant: TenantId,
    /// The `client_id` that was assigned.
    pub client: ClientId,
    /// The community that it came through.
    pub community: CommunityUri,
    /// The client's URI, `iss` of its statement. Unique within tenant and community (REG-14).
    pub uri: ClientUri,
    /// `client_name`.
    pub client_name: String,
    /// `grant_types`; empty once cancelled.
    pub grant_types: Vec<String>,
    /// The scopes that it may ask for, space-separated.
    pub scopes: String,
    /// `contacts`.
    pub contacts: Vec<String>,
    /// Its certificate, DER.
    #[serde(with = "hexadecimal")]
    pub certificate: Vec<u8>,
    /// SHA-256 of the certificate.
    pub thumbprint: Thumbprint,
    /// The software statement as received, compact JWS.
    pub statement: String,
    /// When it was first registered.
    pub registered: Timestamp,
    /// When it was last modified.
    pub updated: Timestamp,
    /// Cancelled by its owner (IG §3.3); kept so that it cannot be mistaken for unknown.
    pub cancelled: bool,
    /// The parameters as assigned, JSON.
    pub json: String,
    /// The certifications that were accepted with it (CE §6.7). A modification replaces them all (MOD-01).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certifications: Vec<Certified>,
}

/// A certification that was accepted with a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// By what it is told from every other: a digest of `iss`, `jti` and `exp`.
    pub id: Thumbprint,
    /// Who certifies: its `iss`, equal to the client's URI if the client declares it of itself.
    pub issuer: ClientUri,
    /// `certification_name`.
    pub name: String,
    /// `certification_uris`.
    pub uris: Vec<String>,
    /// SHA-256 of the certificate that signed it.
    pub signer: Thumbprint,
    /// Its last second.
    pub expires: Timestamp,
    /// As received, compact JWS.
    pub jwt: String,
}

/// Octets as lower-case hexadecimal text.
mod hexadecimal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use ward_core::crypto;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&crypto::hex(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if !rest.is_empty() {
            return Err(D::Error::custom("odd number of digits"));
        }
        pairs
            .iter()
            .map(|pair| {
                let pair = std::str::from_utf8(pair).ok()?;
                crypto::unhex::<1>(pair).map(|[byte]| byte)
            })
            .collect::<Option<_>>()
            .ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}

/// The state that a [`Registrations::put`] builds on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// No registration has this tenant, community and URI.
    Absent,
    /// The registration with this tenant, community and URI is exactly this one. Its id is not enough:
    /// what was decided on a registration that was revoked or changed since must not undo that.
    Unchanged(Box<Registration>),
    /// The registration with this tenant, community and URI has this client id. Good for cancelling
    /// only, which stands above any change that came in between; else [`StoreError::Conflict`].
    Client(ClientId),
}

/// Registered clients.
pub trait Registrations: Send + Sync {
    /// The registration with this client id.
    fn by_client<'a>(
        &'a self,
        tenant: &'a TenantId,
        client: ClientId,
    ) -> Kept<'a, Option<Registration>>;

    /// The registration of this client URI in this community, cancelled or not.
    fn by_uri<'a>(
        &'a self,
        tenant: &'a TenantId,
        community: &'a CommunityUri,
        uri: &'a ClientUri,
    ) -> Kept<'a, Option<Registration>>;

    /// Inserts, or replaces as a whole, if the state is still as expected; else
    /// [`StoreError::Conflict`]. When the registration becomes cancelled, gets another client id or
    /// loses scopes (MOD-10), as compared with the row that is replaced, the epoch of the client that
    /// it was is bumped in the same transaction, so that its tokens end.
    fn put(
        &self,
        registration: Registration,
        expected: Expected,
        event: Event,
    ) -> Kept<'_, OutboxSeq> {
        self.put_marked(registration, expected, None, event)
    }

    /// [`Registrations::put`], with the certificates that it may come to hang on, if they are known (see [`Hanging`]).
    fn put_marked(
        &self,
        registration: Registration,
        expected: Expected,
        reach: Option<Reach>,
        event: Event,
    ) -> Kept<'_, OutboxSeq> {
        self.put_claiming(registration, expected, reach, None, event)
    }

    /// [`Registrations::put_marked`], and the claim of the one-time value that it is made with, in one transaction: both or
    /// neither. [`StoreError::Replayed`] if the value was claimed before.
    fn put_claiming(
        &self,
        registration: Registration,
        expected: Expected,
        reach: Option<Reach>,
        claim: Option<Claim>,
        event: Event,
    ) -> Kept<'_, OutboxSeq>;

    /// Up to `limit` (at most 1000) registrations after `after`, ordered by client id.
    fn list<'a>(
        &'a self,
        tenant: &'a TenantId,
        after: Option<ClientId>,
        limit: usize,
    ) -> Kept<'a, Vec<Registration>>;
}

/// What clients were allowed at their token requests.
pub trait Grants: Send + Sync {
    /// Keeps a new grant. An id that exists is a [`StoreError::Conflict`]. Grants that expired more
    /// than a day ago are removed on the way, a few at a time; the log remembers them.
    fn put<'a>(&'a self, grant: &'a Grant, event: Event) -> Kept<'a, OutboxSeq> {
        self.put_marked(grant, Vec::new(), event)
    }

    /// [`Grants::put`], with the certificates that the grant hangs on by what lists call them (see [`Hanging`]).
    fn put_marked<'a>(
        &'a self,
        grant: &'a Grant,
        marks: Vec<Mark>,
        event: Event,
    ) -> Kept<'a, OutboxSeq> {
        self.put_claiming(grant, marks, None, event)
    }

    /// [`Grants::put_marked`], and the claim of the one-time value that it is given for, in one transaction: both or neither.
    /// [`StoreError::Replayed`] if the value was claimed before.
    fn put_claiming<'a>(
        &'a self,
        grant: &'a Grant,
        marks: Vec<Mark>,
        claim: Option<Claim>,
        event: Event,
    ) -> Kept<'a, OutboxSeq>;

    /// The grant, expired or not. From memory when it was used lately.
    fn get<'a>(&'a self, tenant: &'a TenantId, grant: GrantId) -> Kept<'a, Option<Arc<Grant>>>;

    /// Grants of the client (at most 1000, newest first) that are unexpired and hang on nothing that
    /// was revoked since.
    fn live_for_client<'a>(
        &'a self,
        tenant: &'a TenantId,
        client: ClientId,
    ) -> Kept<'a, Vec<Arc<Grant>>>;
}

/// Epochs: counters of what can be revoked. What was issued at an earlier epoch is dead.
pub trait Epochs: Send + Sync {
    /// The epoch now; 0 if it was never revoked. From memory, without I/O.
    fn current(&self, tenant: &TenantId, subject: &Subject) -> u64;

    /// Revokes: raises each epoch by one. Durable and in effect before it returns.
    fn bump<'a>(
        &'a self,
        tenant: &'a TenantId,
        subjects: &'a [Subject],
        event: Event,
    ) -> Kept<'a, OutboxSeq>;
}

/// A one-time value, and until when it is claimed (for a `jti`: `exp` plus the allowed skew).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Digest of the value and of what it is unique within.
    pub key: [u8; 32],
    /// Until then.
    pub until: Timestamp,
}

/// One-time values: `jti` of statements and authentication tokens (JWT-07, R38).
pub trait Replays: Send + Sync {
    /// Claims a key until `until` (for a `jti`: `exp` plus the allowed skew). `true` if it was free;
    /// of equal claims at the same time exactly one is. `false` too if that time is over already.
    /// Durable before it returns.
    fn claim<'a>(&'a self, tenant: &'a TenantId, key: [u8; 32], until: Timestamp)
    -> Kept<'a, bool>;
}

/// Certificates by which clients were let in, other than those that they registered with (certificates are renewed
/// without registering anew). Public data: no event tells of them but that of the grant.
pub trait Presented: Send + Sync {
    /// Keeps a path, DER, the client's own certificate first, for as long as a grant rests on it and a day longer. At most 8
    /// certificates of 64 KiB.
    fn keep<'a>(
        &'a self,
        tenant: &'a TenantId,
        path: Vec<Vec<u8>>,
        until: Timestamp,
    ) -> Kept<'a, ()>;

    /// The path that begins with this certificate; empty if none is kept.
    fn path<'a>(&'a self, tenant: &'a TenantId, leaf: Thumbprint) -> Kept<'a, Vec<Vec<u8>>>;
}

/// Who may speak for an organisation: a client's URI in its community, both proven by certificate.
pub type Member = (CommunityUri, ClientUri);

/// What the store knows of a client's word that it acts for an organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// No roster of the organisation was ever imported: the word counts for nothing, and sees nothing.
    Unknown,
    /// The organisation's roster names the client.
    Bound,
    /// The organisation's roster names others, and not this client.
    Foreign,
}

/// A patient attributed to an organisation, and for which purposes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterRow {
    /// The patient.
    pub patient: PatientId,
    /// The purposes of the attribution.
    pub purposes: Vec<Purpose>,
}

/// Attribution rosters: which patients an organisation may see.
pub trait Rosters: Send + Sync {
    /// Replaces the organisation's roster as a whole, with the clients that may speak for it: at
    /// least one, at most 1000. `organization_id` is a client's own word, so nobody else is believed
    /// (B09). At most 1,000,000 rows.
    fn import<'a>(
        &'a self,
        tenant: &'a TenantId,
        organization: &'a OrganizationUri,
        members: Vec<Member>,
        rows: Vec<RosterRow>,
        event: Event,
    ) -> Kept<'a, OutboxSeq>;

    /// Whether the client may speak for the organisation.
    fn binding<'a>(
        &'a self,
        tenant: &'a TenantId,
        organization: &'a OrganizationUri,
        member: (&'a CommunityUri, &'a ClientUri),
    ) -> Kept<'a, Binding>;

    /// The patients attributed for *all* of these purposes. `Roster::Unknown` if no roster was ever
    /// imported for the organisation, if it does not name the client, or no purpose is given.
    fn roster<'a>(
        &'a self,
        tenant: &'a TenantId,
        organization: &'a OrganizationUri,
        member: (&'a CommunityUri, &'a ClientUri),
        purposes: &'a [Purpose],
    ) -> Kept<'a, Roster>;
}

/// How far an incident has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentStatus {
    /// Detected; nothing done yet.
    Open,
    /// What it threatens has been stopped.
    Contained,
    /// Looked into and closed by a person.
    Closed,
}

/// Something that was not normal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// Whose.
    pub tenant: TenantId,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it last moved on.
    pub updated: Timestamp,
    /// How far it has come.
    pub status: IncidentStatus,
    /// Id of the rule that saw it.
    pub rule: String,
    /// One line for a person; kept sealed.
    pub summary: String,
    /// The client concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    /// The grant concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// What was revoked because of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<Subject>,
    /// Whether the client was put on hold because of it. [`Holds`] says whether it still is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Indexes, in this node's log, of the events that it rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<u64>,
}

/// A client that gets no tokens until an operator releases it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Whose.
    pub tenant: TenantId,
    /// The community that the client came through.
    pub community: CommunityUri,
    /// Its URI. Its client id would not do: it can have another.
    pub uri: ClientUri,
    /// The client id that it had.
    pub client: ClientId,
    /// Since when.
    pub since: Timestamp,
    /// Why, in a few words.
    pub reason: String,
    /// The incident that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
}

/// Clients on hold.
pub trait Holds: Send + Sync {
    /// Puts a client on hold, or keeps it there for a newer reason. Its grants, those of the client id
    /// that its URI has now, and what `ended` names end in the same transaction.
    fn put(&self, hold: Hold, ended: Vec<Subject>, event: Event) -> Kept<'_, OutboxSeq>;

    /// Ends a hold; [`StoreError::Conflict`] if there is none.
    fn release<'a>(
        &'a self,
        tenant: &'a TenantId,
        community: &'a CommunityUri,
        uri: &'a ClientUri,
        event: Event,
    ) -> Kept<'a, OutboxSeq>;

    /// The hold on the client, if it is on hold.
    fn get<'a>(
        &'a self,
        tenant: &'a TenantId,
        community: &'a CommunityUri,
        uri: &'a ClientUri,
    ) -> Kept<'a, Option<Hold>>;

    /// Up to `limit` (at most 1000) holds.
    fn list<'a>(&'a self, tenant: &'a TenantId, limit: usize) -> Kept<'a, Vec<Hold>>;
}

/// Incidents.
pub trait Incidents: Send + Sync {
    /// Keeps a new incident. An id that exists is a [`StoreError::Conflict`].
    fn open(&self, incident: Incident, event: Event) -> Kept<'_, OutboxSeq>;

    /// Replaces the incident if it still has the status `from`; else [`StoreError::Conflict`].
    fn update(&self, incident: Incident, from: IncidentStatus, event: Event)
    -> Kept<'_, OutboxSeq>;

    /// The incident with this id.
    fn get<'a>(&'a self, tenant: &'a TenantId, incident: IncidentId) -> Kept<'a, Option<Incident>>;

    /// Up to `limit` (at most 1000) incidents, newest first.
    fn list<'a>(&'a self, tenant: &'a TenantId, limit: usize) -> Kept<'a, Vec<Incident>>;
}

/// One operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRecord {
    /// Its id, the part of its key that is no secret.
    pub id: OperatorId,
    /// Whose.
    pub tenant: TenantId,
    /// Its name in the log; unique within the tenant.
    pub name: OperatorName,
    /// What it may do, in the words of `ward-admin`.
    pub role: String,
    /// SHA-256 of its key, hexadecimal. Keys are 256 random bits, so nothing slower is needed.
    pub key_hash: String,
    /// When it was made.
    pub created: Timestamp,
}

/// An act that waits for a second person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// Whose.
    pub tenant: TenantId,
    /// Who asked for it.
    pub requested_by: OperatorId,
    /// That operator's name.
    pub requested_by_name: OperatorName,
    /// When.
    pub requested: Timestamp,
    /// Until when it can be approved.
    pub expires: Timestamp,
    /// The act, as JSON of `ward-admin`.
    pub act: String,
    /// What hung on it when it was asked for, as JSON of `ward-admin`.
    pub what_if: String,
}

/// Operators, the code that makes the first one, and acts that wait for a second person.
pub trait Operators: Send + Sync {
    /// All operators of the tenant, by id; at most 1000.
    fn list<'a>(&'a self, tenant: &'a TenantId) -> Kept<'a, Vec<OperatorRecord>>;

    /// The operator with this id.
    fn get<'a>(
        &'a self,
        tenant: &'a TenantId,
        operator: OperatorId,
    ) -> Kept<'a, Option<OperatorRecord>>;

    /// Keeps a new operator. An id or name that exists is a [`StoreError::Conflict`].
    fn add(&self, operator: OperatorRecord, event: Event) -> Kept<'_, OutboxSeq>;

    /// Removes the operator. One that is not there is a [`StoreError::Conflict`].
    fn remove<'a>(
        &'a self,
        tenant: &'a TenantId,
        operator: OperatorId,
        event: Event,
    ) -> Kept<'a, OutboxSeq>;

    /// Keeps the hash of a bootstrap code in place of an earlier one. [`StoreError::Conflict`] once there
    /// is an operator.
    fn offer<'a>(
        &'a self,
        tenant: &'a TenantId,
        hash: [u8; 32],
        expires: Timestamp,
        event: Event,
    ) -> Kept<'a, OutboxSeq>;

    /// The same although there are operators: for one more, when keys were lost.
    fn offer_one_more<'a>(
        &'a self,
        tenant: &'a TenantId,
        hash: [u8; 32],
        expires: Timestamp,
        event: Event,
    ) -> Kept<'a, OutboxSeq>;

    /// Uses the code: makes the operator for whom it was offered. [`StoreError::Conflict`] if there is no such
    /// code, it expired or it was used.
    fn claim(
        &self,
        hash: [u8; 32],
        now: Timestamp,
        operator: OperatorRecord,
        event: Event,
    ) -> Kept<'_, OutboxSeq>;

    /// Keeps an act that waits for a second person, and forgets those that expired before it was asked for.
    fn propose(&self, approval: Approval, event: Event) -> Kept<'_, OutboxSeq>;

    /// The acts that wait, unexpired at `now`, oldest first; at most 1000.
    fn waiting<'a>(&'a self, tenant: &'a TenantId, now: Timestamp) -> Kept<'a, Vec<Approval>>;

    /// Takes the act out, so that it is done at most once. [`StoreError::Conflict`] if it is not there any
    /// more.
    fn take<'a>(
        &'a self,
        tenant: &'a TenantId,
        approval: ApprovalId,
        event: Event,
    ) -> Kept<'a, OutboxSeq>;
}

/// Whether the store works.
pub trait Probe: Send + Sync {
    /// Writes, durably, what nobody reads. Returns when it is durable.
    fn writable(&self) -> Kept<'_, ()>;
}

/// All repositories of one store, to hand out one by one.
#[derive(Clone)]
pub struct Repositories {
    /// Registered clients.
    pub registrations: Arc<dyn Registrations>,
    /// Grants.
    pub grants: Arc<dyn Grants>,
    /// Epochs.
    pub epochs: Arc<dyn Epochs>,
    /// One-time values.
    pub replays: Arc<dyn Replays>,
    /// Rosters.
    pub rosters: Arc<dyn Rosters>,
    /// Incidents.
    pub incidents: Arc<dyn Incidents>,
    /// Clients on hold.
    pub holds: Arc<dyn Holds>,
    /// Events of state changes that wait for the log.
    pub outbox: Arc<dyn Outbox>,
    /// Operators.
    pub operators: Arc<dyn Operators>,
    /// Whether the store works.
    pub probe: Arc<dyn Probe>,
    /// Renewed certificates.
    pub presented: Arc<dyn Presented>,
    /// What hangs on a certificate.
    pub hanging: Arc<dyn Hanging>,
}

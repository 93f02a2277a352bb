//! What hangs on a certificate: which clients, found without looking at the others.
//!
//! An index, not a verdict: it names every client that hangs on a certificate and may name more, so whoever asks opens the
//! records of those that it names and decides on them. A registration that it does not know yet (from an earlier version, or
//! made under authorities that were changed since) is given out by [`Hanging::unmarked`] until it is marked.

use ward_core::{ClientId, CommunityUri, TenantId, Thumbprint, Timestamp};

use crate::repo::{Kept, Registration};

/// Certificates that one path may go through at most; further ones are not kept.
pub const MARKS: usize = 32;

/// A certificate by what revocation lists call it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// SHA-256 of it.
    pub thumbprint: Thumbprint,
    /// SHA-256 of its issuer's name, DER.
    pub issuer: [u8; 32],
    /// Its serial number, octets; leading zeros do not count.
    pub serial: Vec<u8>,
}

impl Mark {
    /// The serial number as it is compared.
    pub(crate) fn number(&self) -> &[u8] {
        number(&self.serial)
    }
}

/// A serial number without leading zero octets.
pub(crate) fn number(serial: &[u8]) -> &[u8] {
    let first = serial.iter().position(|octet| *octet != 0).unwrap_or(serial.len());
    serial.get(first..).unwrap_or_default()
}

/// The certificates that a registration may come to hang on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Digest of the authorities that they were found with.
    pub under: [u8; 32],
    /// Last second of the client's own certificate.
    pub ends: Timestamp,
    /// The client's own, and every issuer that its path may go through; at most [`MARKS`].
    pub marks: Vec<Mark>,
}

/// A registration that is not marked yet.
#[derive(Debug, Clone)]
pub struct Unmarked {
    /// As it was read.
    pub registration: Registration,
    /// The octets of its row; no two writes of a row have the same.
    pub(crate) row: Vec<u8>,
}

/// Clients by the certificates that they hang on. Lists are ordered by client id and begin after `after`; `limit` is at most
/// 1000.
pub trait Hanging: Send + Sync {
    /// Clients whose registration, cancelled or not, or whose grant of the last day or so hangs on the certificate.
    fn clients<'a>(
        &'a self,
        tenant: &'a TenantId,
        certificate: Thumbprint,
        after: Option<ClientId>,
        limit: usize,
    ) -> Kept<'a, Vec<ClientId>>;

    /// The certificates here that this issuer (SHA-256 of its name, DER) gave these serial numbers.
    fn numbered<'a>(
        &'a self,
        tenant: &'a TenantId,
        issuer: [u8; 32],
        serials: Vec<Vec<u8>>,
    ) -> Kept<'a, Vec<Thumbprint>>;

    /// The certificates here with this serial number, whoever issued them; at most `limit`.
    fn with_serial<'a>(
        &'a self,
        tenant: &'a TenantId,
        serial: Vec<u8>,
        limit: usize,
    ) -> Kept<'a, Vec<Thumbprint>>;

    /// Clients with unexpired grants.
    fn with_grants<'a>(
        &'a self,
        tenant: &'a TenantId,
        after: Option<ClientId>,
        limit: usize,
    ) -> Kept<'a, Vec<ClientId>>;

    /// Clients registered in the community, cancelled or not, by their URIs after `after`: URI and id.
    fn registered_in<'a>(
        &'a self,
        tenant: &'a TenantId,
        community: &'a CommunityUri,
        after: Option<String>,
        limit: usize,
    ) -> Kept<'a, Vec<(String, ClientId)>>;

    /// Registrations, not cancelled, whose own certificate ends before `before`, soonest first, and those of which it is not
    /// known; at most `limit` of each.
    fn ending<'a>(
        &'a self,
        tenant: &'a TenantId,
        before: Timestamp,
        limit: usize,
    ) -> Kept<'a, Vec<Registration>>;

    /// Registrations that were not marked with one of these digests, of which there are at most 1000.
    fn unmarked<'a>(
        &'a self,
        tenant: &'a TenantId,
        digests: Vec<[u8; 32]>,
        limit: usize,
    ) -> Kept<'a, Vec<Unmarked>>;

    /// Marks the registration, unless it was changed since it was read. What it was marked with before stays.
    fn mark(&self, found: Unmarked, reach: Reach) -> Kept<'_, ()>;
}

//! One certificate revocation list (RFC 5280 §5).
use ward_core::Timestamp;
/// Why bytes are not a usable list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Not the DER of exactly one version-2 list with `nextUpdate`.
    #[error("not a revocation list")]
    Malformed,
    /// A delta or indirect list, one for some reasons only, or with an unknown critical extension (X18).
    #[error("a kind of revocation list that is not supported")]
    Unsupported,
}
/// A complete revocation list, indexed by serial number.
#[derive(Debug)]
pub struct Crl {
    this_update: Timestamp,
    next_update: Timestamp,
}
impl Crl {
    /// Parses DER.
    pub fn from_der(_der: &[u8]) -> Result<Self, CrlError> { Err(CrlError::Malformed) }
    /// d
    pub fn this_update(&self) -> Timestamp { self.this_update }
    /// d
    pub fn next_update(&self) -> Timestamp { self.next_update }
    /// Whether the list names the serial number (as [`crate::Certificate::serial`] gives it).
    pub fn is_revoked(&self, _serial: &[u8]) -> bool { false }
    /// DER of the issuer's name.
    pub fn issuer_der(&self) -> &[u8] { &[] }
    /// Whether the list was signed with the key of this certificate.
    pub fn signed_by(&self, _issuer: &crate::Certificate) -> bool { false }
}

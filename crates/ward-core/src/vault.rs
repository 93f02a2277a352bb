//! Keys: each has an owner, a lifetime and a rotation (rule 8). Implemented by `ward-store`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{BoxFuture, Secret, TenantId};

/// What a key is for. The purpose and the tenant are part of what the key is derived from and
/// wrapped under, so that a key can never serve two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyPurpose {
    /// Bodies of log events of one day (days since the epoch). Destroying it makes them unreadable.
    LogBody(u32),
    /// Sealed access tokens.
    Token,
    /// Paging cursors.
    Cursor,
    /// Records at rest: rosters, outbox rows.
    Record,
}

impl fmt::Display for KeyPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LogBody(day) => write!(f, "log-body/{day}"),
            Self::Token => f.write_str("token"),
            Self::Cursor => f.write_str("cursor"),
            Self::Record => f.write_str("record"),
        }
    }
}

/// Names one version of a key; stands in clear beside what the key protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyId(pub u32);

/// A 256-bit data key.
#[derive(Clone)]
pub struct DataKey {
    /// Which version this is.
    pub id: KeyId,
    /// The key. Derive per-record keys from it; never use it directly.
    pub key: Secret<[u8; 32]>,
}

/// Why a key cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// No such key was ever made.
    #[error("no such key")]
    Unknown,
    /// The key was destroyed on purpose; what it protected is gone.
    #[error("the key was destroyed")]
    Destroyed,
    /// The vault cannot be reached or opened now.
    #[error("the key vault is unavailable: {0}")]
    Unavailable(String),
}

/// Where keys come from. Implementations cache, so that the hot path does no I/O.
pub trait KeyVault: Send + Sync {
    /// The current key for a purpose; made, durably, on first use.
    fn current<'a>(
        &'a self,
        tenant: &'a TenantId,
        purpose: KeyPurpose,
    ) -> BoxFuture<'a, Result<DataKey, VaultError>>;

    /// An earlier key by its id.
    fn by_id<'a>(
        &'a self,
        tenant: &'a TenantId,
        purpose: KeyPurpose,
        id: KeyId,
    ) -> BoxFuture<'a, Result<DataKey, VaultError>>;

    /// Destroys all keys of a purpose, for good.
    fn destroy<'a>(
        &'a self,
        tenant: &'a TenantId,
        purpose: KeyPurpose,
    ) -> BoxFuture<'a, Result<(), VaultError>>;
}

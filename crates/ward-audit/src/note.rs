//! Signed checkpoints (C2SP signed-note, tlog-checkpoint).
use crate::{Hash, LogError};

/// The public key of a log, in the form `name+hash+key` that other tools of the C2SP family read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: [u8; 32],
}

impl VerifierKey {
    /// Of an Ed25519 key with a name.
    pub fn new(name: &str, key: [u8; 32]) -> Self {
        Self { name: name.to_owned(), key }
    }
    /// Parses `name+hash+key`.
    pub fn parse(_text: &str) -> Result<Self, LogError> {
        Err(LogError::VerifierKey)
    }
    /// The origin of the log.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What a checkpoint says: the tree had `size` leaves and this root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// RFC 6962 root.
    pub root: Hash,
}

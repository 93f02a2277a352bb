//! Reading a log without the server.
use crate::{ConsistencyProof, Disk, InclusionProof, Leaf, LogError};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use ward_core::{EventBody, KeyVault, Recorded, VaultError};

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The log itself.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The key was destroyed on purpose: the leaf stands, the body is gone.
    #[error("the body's key was destroyed")]
    Destroyed,
    /// The key cannot be had now.
    #[error(transparent)]
    Vault(VaultError),
    /// The reader was opened without a vault.
    #[error("the reader has no keys")]
    NoKeys,
    /// The body does not open, or is not the one that the leaf commits to.
    #[error("the body of entry {0} is not the one its leaf commits to")]
    Altered(u64),
}

/// A log as it stands on disk at the moment of opening.
pub struct Reader {
    size: u64,
}

impl Reader {
    /// Opens the log on a disk; without a vault, bodies stay closed.
    pub fn open(_disk: Arc<dyn Disk>, _vault: Option<Arc<dyn KeyVault>>) -> Result<Self, LogError> {
        Err(LogError::Absent)
    }
    /// Opens the log in a directory.
    pub fn open_dir(_dir: &Path, _vault: Option<Arc<dyn KeyVault>>) -> Result<Self, LogError> {
        Err(LogError::Absent)
    }
    /// Entries in the log.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// The latest signed checkpoint on disk.
    pub fn checkpoint(&self) -> Result<String, LogError> {
        Err(LogError::Absent)
    }
    /// One leaf.
    pub fn leaf(&self, index: u64) -> Result<Leaf, LogError> {
        Err(LogError::NoEntry { index, size: self.size })
    }
    /// The bytes of one leaf as they stand in the tree.
    pub fn leaf_bytes(&self, index: u64) -> Result<Vec<u8>, LogError> {
        Err(LogError::NoEntry { index, size: self.size })
    }
    /// Leaves with their indexes.
    pub fn leaves(
        &self,
        range: Range<u64>,
    ) -> impl Iterator<Item = Result<(u64, Leaf), LogError>> + '_ {
        range.map(move |index| self.leaf(index).map(|leaf| (index, leaf)))
    }
    /// Opens one body.
    pub async fn body(&self, _index: u64) -> Result<EventBody, BodyError> {
        Err(BodyError::NoKeys)
    }
    /// One event in full.
    pub async fn event(&self, _index: u64) -> Result<Recorded, BodyError> {
        Err(BodyError::NoKeys)
    }
    /// Proves that entry `index` is in the tree of `size` leaves.
    pub fn prove_inclusion(&self, index: u64, size: u64) -> Result<InclusionProof, LogError> {
        Err(LogError::NoEntry { index, size })
    }
    /// Proves that the tree of `second` leaves begins with the tree of `first`.
    pub fn prove_consistency(
        &self,
        first: u64,
        _second: u64,
    ) -> Result<ConsistencyProof, LogError> {
        Err(LogError::NoEntry { index: first, size: self.size })
    }
    /// A self-contained C2SP `tlog-proof` of one entry against the latest checkpoint.
    pub fn tlog_proof(&self, index: u64) -> Result<String, LogError> {
        Err(LogError::NoEntry { index, size: self.size })
    }
}

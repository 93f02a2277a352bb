//! RFC 6962 hashing and proofs (RFC 9162 §2.1).

/// SHA-256.
pub type Hash = [u8; 32];

/// RFC 6962 §2.1 hash of a leaf: `SHA-256(0x00 ‖ leaf)`.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    ward_core::crypto::sha256(&[&[0], leaf])
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Wrong number of hashes, or an index beyond the tree.
    #[error("the proof is malformed")]
    Malformed,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Mismatch,
}

/// Proves that a leaf stands at `index` in the tree of `size` leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// Where.
    pub index: u64,
    /// In which tree.
    pub size: u64,
    /// Sibling hashes, from the leaf's up to the root's child.
    pub hashes: Vec<Hash>,
}

/// Proves that the tree of `second` leaves begins with the tree of `first` leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// Leaves of the older tree.
    pub first: u64,
    /// Leaves of the newer tree.
    pub second: u64,
    /// RFC 9162 §2.1.4.1.
    pub hashes: Vec<Hash>,
}

impl InclusionProof {
    /// Verifies it for a leaf hash against a root (RFC 9162 §2.1.3.2).
    pub fn verify(&self, _leaf: &Hash, _root: &Hash) -> Result<(), ProofError> {
        Err(ProofError::Malformed)
    }
}

impl ConsistencyProof {
    /// Verifies it against both roots (RFC 9162 §2.1.4.2).
    pub fn verify(&self, _first_root: &Hash, _second_root: &Hash) -> Result<(), ProofError> {
        Err(ProofError::Malformed)
    }
}

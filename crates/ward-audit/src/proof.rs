//! RFC 6962 §2.1 hashing, and inclusion and consistency proofs (RFC 9162 §2.1.3, §2.1.4), usable by anyone who
//! holds a checkpoint.
//!
//! Refused: proofs with too few or too many hashes, and indexes beyond the tree.

use ward_core::crypto::sha256;

/// A SHA-256 hash of the tree.
pub type Hash = [u8; 32];

/// RFC 6962 §2.1 hash of a leaf: `SHA-256(0x00 ‖ leaf)`.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256(&[&[0], leaf])
}

/// RFC 6962 §2.1 hash of an inner node: `SHA-256(0x01 ‖ left ‖ right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The root of the tree without leaves: `SHA-256("")`.
pub fn empty_root() -> Hash {
    sha256(&[])
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

/// The path of one position from the leaves to the root: its own number and that of the last node of each level.
struct Climb {
    node: u64,
    last: u64,
}

impl Climb {
    fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    /// Whether the next hash of a proof is a left sibling; if so, skips the levels on which the node
    /// has no sibling.
    fn left_sibling(&mut self) -> bool {
        if self.node & 1 == 0 && self.node != self.last {
            return false;
        }
        while self.node & 1 == 0 && self.node != 0 {
            self.up();
        }
        true
    }
}

fn lead_to(got: &Hash, want: &Hash) -> Result<(), ProofError> {
    if got == want { Ok(()) } else { Err(ProofError::Mismatch) }
}

impl InclusionProof {
    /// Verifies it for a leaf hash against a root (RFC 9162 §2.1.3.2).
    pub fn verify(&self, leaf: &Hash, root: &Hash) -> Result<(), ProofError> {
        if self.index >= self.size {
            return Err(ProofError::Malformed);
        }
        let mut climb = Climb { node: self.index, last: self.size - 1 };
        let mut hash = *leaf;
        for sibling in &self.hashes {
            if climb.last == 0 {
                return Err(ProofError::Malformed);
            }
            hash = if climb.left_sibling() {
                node_hash(sibling, &hash)
            } else {
                node_hash(&hash, sibling)
            };
            climb.up();
        }
        if climb.last != 0 {
            return Err(ProofError::Malformed);
        }
        lead_to(&hash, root)
    }
}

impl ConsistencyProof {
    /// Verifies it against both roots (RFC 9162 §2.1.4.2). The empty tree is the beginning of every tree.
    pub fn verify(&self, first_root: &Hash, second_root: &Hash) -> Result<(), ProofError> {
        if self.first > self.second {
            return Err(ProofError::Malformed);
        }
        if self.first == 0 || self.first == self.second {
            if !self.hashes.is_empty() {
                return Err(ProofError::Malformed);
            }
            let older = if self.first == 0 { &empty_root() } else { second_root };
            return lead_to(first_root, older);
        }
        let mut hashes = self.hashes.iter();
        let seed = if self.first.is_power_of_two() { Some(first_root) } else { hashes.next() };
        let (mut older, mut newer) =
            seed.map(|seed| (*seed, *seed)).ok_or(ProofError::Malformed)?;
        let mut climb = Climb { node: self.first - 1, last: self.second - 1 };
        while climb.node & 1 == 1 {
            climb.up();
        }
        for hash in hashes {
            if climb.last == 0 {
                return Err(ProofError::Malformed);
            }
            if climb.left_sibling() {
                older = node_hash(hash, &older);
                newer = node_hash(hash, &newer);
            } else {
                newer = node_hash(&newer, hash);
            }
            climb.up();
        }
        if climb.last != 0 {
            return Err(ProofError::Malformed);
        }
        lead_to(&older, first_root)?;
        lead_to(&newer, second_root)
    }
}

/// Where a prover takes hashes from.
pub(crate) trait Subtrees {
    /// Why a hash cannot be had.
    type Error;
    /// The hash of the perfect subtree number `index` among those of `2^height` leaves.
    fn subtree(&self, height: u32, index: u64) -> Result<Hash, Self::Error>;

    /// MTH(D[from:to]), for the ranges that occur in RFC 6962's recursion.
    fn range(&self, from: u64, to: u64) -> Result<Hash, Self::Error> {
        let leaves = to - from;
        if leaves == 0 {
            return Ok(empty_root());
        }
        if leaves.is_power_of_two() {
            return self.subtree(leaves.trailing_zeros(), from / leaves);
        }
        let middle = from + split(leaves);
        Ok(node_hash(&self.range(from, middle)?, &self.range(middle, to)?))
    }

    /// RFC 6962 §2.1.1, PATH(index, D[0:size]); `index < size`.
    fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, Self::Error> {
        let (mut from, mut to, mut hashes) = (0, size, Vec::new());
        while to - from > 1 {
            let middle = from + split(to - from);
            if index < middle {
                hashes.push(self.range(middle, to)?);
                to = middle;
            } else {
                hashes.push(self.range(from, middle)?);
                from = middle;
            }
        }
        hashes.reverse();
        Ok(hashes)
    }

    /// RFC 6962 §2.1.2, PROOF(first, D[0:second]); `first <= second`.
    fn consistency(&self, first: u64, second: u64) -> Result<Vec<Hash>, Self::Error> {
        let (mut from, mut to, mut whole, mut hashes) = (0, second, true, Vec::new());
        if first == 0 {
            return Ok(hashes);
        }
        while to != first {
            let middle = from + split(to - from);
            if first <= middle {
                hashes.push(self.range(middle, to)?);
                to = middle;
            } else {
                hashes.push(self.range(from, middle)?);
                from = middle;
                whole = false;
            }
        }
        if !whole {
            hashes.push(self.range(from, to)?);
        }
        hashes.reverse();
        Ok(hashes)
    }
}

/// The largest power of two smaller than `leaves`, which is at least 2.
fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use ward_core::crypto::{hex, unhex};

    /// Leaf hashes in memory.
    pub(crate) struct Leaves(pub(crate) Vec<Hash>);

    impl Subtrees for Leaves {
        type Error = ();
        fn subtree(&self, height: u32, index: u64) -> Result<Hash, ()> {
            if height == 0 {
                return self.0.get(usize::try_from(index).unwrap()).copied().ok_or(());
            }
            let left = self.subtree(height - 1, index * 2)?;
            Ok(node_hash(&left, &self.subtree(height - 1, index * 2 + 1)?))
        }
    }

    /// The eight leaves of the certificate-transparency reference tests.
    const REFERENCE: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn reference() -> Leaves {
        Leaves(REFERENCE.iter().map(|leaf| leaf_hash(leaf)).collect())
    }

    #[test]
    fn roots_of_the_reference_tree() {
        let leaves = reference();
        for (size, want) in (1..).zip(ROOTS) {
            assert_eq!(hex(&leaves.range(0, size).unwrap()), want, "size {size}");
        }
        assert_eq!(
            hex(&empty_root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn paths_of_the_reference_tree() {
        let leaves = reference();
        for (index, size, want) in [
            (0, 1, &[][..]),
            (
                0,
                8,
                &[
                    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
                ],
            ),
            (
                5,
                8,
                &[
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
            (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
        ] {
            let got: Vec<_> =
                leaves.inclusion(index, size).unwrap().iter().map(|hash| hex(hash)).collect();
            assert_eq!(got, want, "PATH({index}, {size})");
        }
        for (first, second, want) in [
            (1, 1, &[][..]),
            (
                1,
                8,
                &[
                    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
                ],
            ),
            (
                6,
                8,
                &[
                    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                ],
            ),
            (
                2,
                5,
                &[
                    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                ],
            ),
        ] {
            let got: Vec<_> =
                leaves.consistency(first, second).unwrap().iter().map(|hash| hex(hash)).collect();
            assert_eq!(got, want, "PROOF({first}, {second})");
            let root = |size: u64| unhex(ROOTS[usize::try_from(size).unwrap() - 1]).unwrap();
            let (older, newer) = (root(first), root(second));
            let hashes = want.iter().map(|text| unhex(text).unwrap()).collect();
            assert_eq!(ConsistencyProof { first, second, hashes }.verify(&older, &newer), Ok(()));
        }
    }

    proptest! {
        #[test]
        fn what_is_proved_verifies_and_nothing_else_does(
            size in 1_u64..600, a in 0_u64..600, b in 0_u64..600, flip in 0_usize..64,
        ) {
            let leaves = Leaves((0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect());
            let root = leaves.range(0, size).unwrap();
            let index = a % size;
            let leaf = leaf_hash(&index.to_be_bytes());
            let mut proof =
                InclusionProof { index, size, hashes: leaves.inclusion(index, size).unwrap() };
            prop_assert_eq!(proof.verify(&leaf, &root), Ok(()));
            if size > 1 {
                let wrong = InclusionProof { index: (index + 1) % size, ..proof.clone() };
                prop_assert!(wrong.verify(&leaf, &root).is_err());
                let at = flip % proof.hashes.len();
                proof.hashes[at][flip % 32] ^= 1;
                prop_assert_eq!(proof.verify(&leaf, &root), Err(ProofError::Mismatch));
                proof.hashes.pop();
                prop_assert!(proof.verify(&leaf, &root).is_err());
            }
            let first = b % (size + 1);
            let older = leaves.range(0, first).unwrap();
            let hashes = leaves.consistency(first, size).unwrap();
            let mut proof = ConsistencyProof { first, second: size, hashes };
            prop_assert_eq!(proof.verify(&older, &root), Ok(()));
            let mut other = older;
            other[flip % 32] ^= 1;
            prop_assert!(proof.verify(&other, &root).is_err());
            if !proof.hashes.is_empty() {
                let at = flip % proof.hashes.len();
                proof.hashes[at][flip % 32] ^= 1;
                prop_assert!(proof.verify(&older, &root).is_err());
            }
            proof.hashes.push([0; 32]);
            prop_assert!(proof.verify(&older, &root).is_err());
        }
    }
}

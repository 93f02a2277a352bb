//! The right edge of the Merkle tree: all that is needed to append and to compute the root, at most 255 hashes a
//! level whatever the size (C2SP tlog-tiles).

use crate::proof::{Hash, empty_root, node_hash};

/// Hashes in a full tile.
pub(crate) const TILE: usize = 256;

/// A tile that has just become full.
pub(crate) struct FullTile {
    pub(crate) level: usize,
    pub(crate) index: u64,
    pub(crate) hashes: Vec<Hash>,
}

/// A Merkle tree of which only the right edge is kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    /// For each tile level, the hashes of its partial tile.
    levels: Vec<Vec<Hash>>,
    size: u64,
}

/// The root over a power of two of hashes.
pub(crate) fn perfect_root(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => node_hash(left, right),
                rest => rest.first().copied().unwrap_or_default(),
            })
            .collect();
    }
    row.first().copied().unwrap_or_else(empty_root)
}

impl Tree {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf hash; returns the tiles that it completed, lowest first.
    pub(crate) fn push(&mut self, leaf: Hash) -> Vec<FullTile> {
        self.size += 1;
        let (mut full, mut carry) = (Vec::new(), Some(leaf));
        let mut spans = TILE as u64;
        let mut level = 0;
        while let Some(hash) = carry.take() {
            if self.levels.len() <= level {
                self.levels.push(Vec::with_capacity(TILE));
            }
            let Some(tile) = self.levels.get_mut(level) else { break };
            tile.push(hash);
            if tile.len() == TILE {
                let hashes = std::mem::replace(tile, Vec::with_capacity(TILE));
                carry = Some(perfect_root(&hashes));
                full.push(FullTile { level, index: self.size / spans - 1, hashes });
                spans = spans.saturating_mul(TILE as u64);
                level += 1;
            }
        }
        full
    }

    /// The non-empty partial tiles: level, index, hashes.
    pub(crate) fn partial(&self) -> impl Iterator<Item = (usize, u64, &[Hash])> {
        let mut spans = 1_u64;
        self.levels.iter().enumerate().filter_map(move |(level, hashes)| {
            spans = spans.saturating_mul(TILE as u64);
            (!hashes.is_empty()).then_some((level, self.size / spans, hashes.as_slice()))
        })
    }

    /// RFC 6962 root.
    pub(crate) fn root(&self) -> Hash {
        let mut peaks = Vec::new();
        for level in self.levels.iter().rev() {
            let mut rest = level.as_slice();
            while !rest.is_empty() {
                let (peak, after) = rest.split_at(1 << rest.len().ilog2());
                peaks.push(perfect_root(peak));
                rest = after;
            }
        }
        peaks
            .into_iter()
            .rev()
            .reduce(|right, left| node_hash(&left, &right))
            .unwrap_or_else(empty_root)
    }
}

/// Path of a tile or bundle: `tile/<kind>/<N>`.
pub(crate) fn tile_path(kind: &str, index: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    format!("tile/{kind}/{path}")
}

/// Path of a tile of the tree.
pub(crate) fn hash_tile_path(level: usize, index: u64) -> String {
    tile_path(&level.to_string(), index)
}

/// Path of a bundle of leaves.
pub(crate) fn bundle_path(index: u64) -> String {
    tile_path("entries", index)
}

/// The hashes of a tile as they are written.
pub(crate) fn tile_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.concat()
}

/// The hashes of a tile as they were written; an incomplete one at the end is left out.
pub(crate) fn tile_hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes.chunks_exact(32).filter_map(|chunk| chunk.try_into().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::tests::Leaves;
    use crate::proof::{Subtrees as _, leaf_hash};

    #[test]
    fn the_right_edge_gives_the_same_root_as_the_whole_tree() {
        let hashes: Vec<_> = (0..70_000_u64).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        let leaves = Leaves(hashes.clone());
        let mut tree = Tree::default();
        assert_eq!(tree.root(), empty_root());
        let mut full = [0_u64; 3];
        for hash in hashes {
            for tile in tree.push(hash) {
                assert_eq!(tile.index, full[tile.level]);
                full[tile.level] += 1;
            }
            let size = tree.size();
            if size < 600 || size % 4999 == 0 || size.is_power_of_two() || size == 70_000 {
                assert_eq!(tree.root(), leaves.range(0, size).unwrap(), "size {size}");
            }
        }
        // The example of tlog-tiles: a tree of size 70,000.
        assert_eq!(full, [273, 1, 0]);
        let partial: Vec<_> = tree.partial().map(|(l, n, hashes)| (l, n, hashes.len())).collect();
        assert_eq!(partial, [(0, 273, 112), (1, 1, 17), (2, 0, 1)]);
    }

    #[test]
    fn paths_are_those_of_tlog_tiles() {
        assert_eq!(hash_tile_path(0, 0), "tile/0/000");
        assert_eq!(hash_tile_path(2, 1_234_067), "tile/2/x001/x234/067");
        assert_eq!(bundle_path(1000), "tile/entries/x001/000");
    }
}

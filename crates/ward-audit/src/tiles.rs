//! Writes tiles and entry bundles for other people's tools (C2SP tlog-tiles).
//!
//! They are made from what is already durable, are not synced, and their failure never stops a commit: what
//! could not be written waits, within a bound, or is rebuilt at the next start.

use std::collections::VecDeque;
use std::io;

use crate::disk::Disk;
use crate::proof::leaf_hash;
use crate::tree::{Tree, bundle_path, hash_tile_path, tile_bytes};

const TMP: &str = "tile/tmp";
/// Full tiles that wait to be written; beyond it they are left for the next start.
const MAX_WAITING: usize = 64;

/// The right edge of the tree and of the bundles, and the full tiles that wait to be written.
#[derive(Default)]
pub(crate) struct Tiles {
    pub(crate) tree: Tree,
    bundle: Vec<u8>,
    waiting: VecDeque<(String, Vec<u8>)>,
}

impl Tiles {
    /// Appends a leaf; gives the full tiles (path and content) that it completed to `done`.
    pub(crate) fn push(&mut self, leaf: &[u8], mut done: impl FnMut(String, Vec<u8>)) {
        self.bundle.extend_from_slice(&u16::try_from(leaf.len()).unwrap_or(u16::MAX).to_be_bytes());
        self.bundle.extend_from_slice(leaf);
        for tile in self.tree.push(leaf_hash(leaf)) {
            if tile.level == 0 {
                done(bundle_path(tile.index), std::mem::take(&mut self.bundle));
            }
            done(hash_tile_path(tile.level, tile.index), tile_bytes(&tile.hashes));
        }
    }

    /// Appends a leaf; full tiles wait for [`Tiles::flush`].
    pub(crate) fn append(&mut self, leaf: &[u8]) {
        let mut full = Vec::new();
        self.push(leaf, |path, bytes| full.push((path, bytes)));
        self.waiting.extend(full);
        while self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
        }
    }

    /// The partial tiles of the current size: path of the full tile, width, content.
    pub(crate) fn partial(&self) -> Vec<(String, usize, Vec<u8>)> {
        let mut partial = Vec::new();
        for (level, index, hashes) in self.tree.partial() {
            if level == 0 {
                partial.push((bundle_path(index), hashes.len(), self.bundle.clone()));
            }
            partial.push((hash_tile_path(level, index), hashes.len(), tile_bytes(hashes)));
        }
        partial
    }

    /// Writes what waits, and the partial tiles of the current size.
    pub(crate) fn flush(&mut self, disk: &dyn Disk) -> io::Result<()> {
        while let Some((path, bytes)) = self.waiting.front() {
            write_full(disk, path, bytes)?;
            self.waiting.pop_front();
        }
        for (path, width, bytes) in self.partial() {
            let dir = format!("{path}.p");
            let path = format!("{dir}/{width}");
            if disk.len(&path)? != Some(bytes.len() as u64) {
                disk.create_dir(&dir)?;
                put(disk, &path, &bytes)?;
            }
        }
        Ok(())
    }
}

fn put(disk: &dyn Disk, path: &str, bytes: &[u8]) -> io::Result<()> {
    disk.write(TMP, bytes)?;
    disk.rename(TMP, path)
}

/// Writes a full tile and removes its partial ones.
pub(crate) fn write_full(disk: &dyn Disk, path: &str, bytes: &[u8]) -> io::Result<()> {
    if let Some((dir, _)) = path.rsplit_once('/') {
        disk.create_dir(dir)?;
    }
    put(disk, path, bytes)?;
    clear_partial(disk, path)
}

/// Removes the partial tiles of a tile.
pub(crate) fn clear_partial(disk: &dyn Disk, path: &str) -> io::Result<()> {
    let partial = format!("{path}.p");
    let widths = disk.list(&partial)?;
    for width in &widths {
        disk.remove(&format!("{partial}/{width}"))?;
    }
    if widths.is_empty() { Ok(()) } else { disk.remove(&partial) }
}

impl Tiles {
    /// Replaces partial tiles of the right edge that are wrong.
    pub(crate) fn rebuild_partial(&mut self, disk: &dyn Disk) -> io::Result<()> {
        for (path, _, _) in self.partial() {
            clear_partial(disk, &path)?;
        }
        self.flush(disk)
    }
}

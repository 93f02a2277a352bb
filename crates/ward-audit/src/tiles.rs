//! Writes tiles and entry bundles for other people's tools (C2SP tlog-tiles), and compares those on disk.
//!
//! They are made from what is already durable, are not synced, and their failure never stops a commit: what
//! could not be written waits, within a bound, or is rebuilt at the next start.

use std::collections::VecDeque;
use std::io;

use crate::disk::Disk;
use crate::proof::leaf_hash;
use crate::segments::read;
use crate::tree::{Tree, bundle_path, hash_tile_path, tile_bytes};
use crate::{LogError, disk_error};

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

/// How the tiles on disk compare.
#[derive(Default)]
pub(crate) struct TileState {
    pub(crate) missing: bool,
    pub(crate) altered: Option<String>,
}

impl TileState {
    fn note(&mut self, path: &str, found: &[u8], want: &[u8]) {
        if found != want && self.altered.is_none() {
            self.altered = Some(path.to_owned());
        }
    }

    pub(crate) fn full(
        &mut self,
        disk: &dyn Disk,
        path: &str,
        want: &[u8],
    ) -> Result<(), LogError> {
        match read(disk, path)? {
            Some(found) => self.note(path, &found, want),
            None => self.missing = true,
        }
        self.partial(disk, path, want)
    }

    /// A partial tile is a beginning of the full one.
    pub(crate) fn partial(
        &mut self,
        disk: &dyn Disk,
        path: &str,
        full: &[u8],
    ) -> Result<(), LogError> {
        let dir = format!("{path}.p");
        let bundle = path.starts_with("tile/entries/");
        for name in disk.list(&dir).map_err(disk_error("cannot list", &dir))? {
            let Ok(width) = name.parse::<usize>() else { continue };
            let path = format!("{dir}/{name}");
            // A wider one was written since by a live log.
            let Some(want) = beginning(full, width, bundle) else { continue };
            if let Some(found) = read(disk, &path)? {
                self.note(&path, &found, want);
            }
        }
        Ok(())
    }
}

/// The first `width` hashes of a tile or leaves of a bundle; `None` if it has fewer.
fn beginning(full: &[u8], width: usize, bundle: bool) -> Option<&[u8]> {
    if !bundle {
        return full.get(..width.checked_mul(32)?);
    }
    let mut end = 0;
    for _ in 0..width {
        let length = full.get(end..)?.first_chunk::<2>()?;
        end += 2 + usize::from(u16::from_be_bytes(*length));
    }
    full.get(..end)
}

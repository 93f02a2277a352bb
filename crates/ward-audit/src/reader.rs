//! Reading a log without the server: leaves, bodies (with the keys), proofs.
//!
//! A reader sees the log as it stood when it was opened; a torn write at the end is not part of it. It checks what it
//! hands out against the frame, and bodies against their leaf; the whole log is checked by [`crate::verify()`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ward_core::crypto::{hex, sha256};
use ward_core::{EventBody, KeyPurpose, KeyVault, Recorded, VaultError};

use crate::disk::{Disk, RealDisk};
use crate::format::{CHECKPOINT, Frame, segment_path};
use crate::leaf::{key_of, open};
use crate::note::Checkpoint;
use crate::proof::{ConsistencyProof, Hash, InclusionProof, Subtrees, leaf_hash};
use crate::segments::{altered, frames, list, read};
use crate::tree::{TILE, hash_tile_path, perfect_root, tile_hashes};
use crate::verify::Place;
use crate::{Leaf, LogError};

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

/// One segment in memory.
struct Loaded {
    first: u64,
    bytes: Vec<u8>,
    /// Where each well-formed frame begins.
    starts: Vec<usize>,
}

/// A log as it stood on disk when this was opened.
pub struct Reader {
    disk: Arc<dyn Disk>,
    vault: Option<Arc<dyn KeyVault>>,
    firsts: Vec<u64>,
    size: u64,
    /// The segment read last; at most one is held.
    loaded: Mutex<Option<Arc<Loaded>>>,
}

fn load(disk: &dyn Disk, first: u64) -> Result<Loaded, LogError> {
    let bytes = read(disk, &segment_path(first))?.unwrap_or_default();
    let (mut starts, mut at) = (Vec::new(), crate::format::SEGMENT_HEAD);
    for (index, frame) in (first..).zip(frames(&bytes)) {
        if frame.index != index {
            break;
        }
        starts.push(at);
        at += frame.octets();
    }
    Ok(Loaded { first, bytes, starts })
}

impl Reader {
    /// Opens the log on a disk; without a vault, bodies stay closed. Reads the last segment. Blocks, as all but
    /// waiting for keys does.
    pub fn open(disk: Arc<dyn Disk>, vault: Option<Arc<dyn KeyVault>>) -> Result<Self, LogError> {
        let firsts = list(&*disk)?;
        let last = match firsts.last() {
            Some(first) => Some(load(&*disk, *first)?),
            None if read(&*disk, CHECKPOINT)?.is_none() => return Err(LogError::Absent),
            None => None,
        };
        let size = last.as_ref().map_or(0, |last| last.first + last.starts.len() as u64);
        Ok(Self { disk, vault, firsts, size, loaded: Mutex::new(last.map(Arc::new)) })
    }

    /// Opens the log in a directory.
    pub fn open_dir(dir: &Path, vault: Option<Arc<dyn KeyVault>>) -> Result<Self, LogError> {
        Self::open(Arc::new(RealDisk::new(dir)), vault)
    }

    /// Entries in the log.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The latest signed checkpoint on disk, as it stands there.
    pub fn checkpoint(&self) -> Result<String, LogError> {
        let bytes = read(&*self.disk, CHECKPOINT)?.ok_or(LogError::Absent)?;
        match String::from_utf8(bytes) {
            Ok(note) => Ok(note),
            Err(_) => altered(Place::Checkpoint, "it is not text"),
        }
    }

    /// The segment that should hold an entry.
    fn segment_of(&self, index: u64) -> Result<Arc<Loaded>, LogError> {
        if index >= self.size {
            return Err(LogError::NoEntry { index, size: self.size });
        }
        let at = self.firsts.partition_point(|first| *first <= index).saturating_sub(1);
        let first = self.firsts.get(at).copied().unwrap_or(0);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = loaded.as_ref().filter(|segment| segment.first == first) {
            return Ok(Arc::clone(segment));
        }
        let segment = Arc::new(load(&*self.disk, first)?);
        *loaded = Some(Arc::clone(&segment));
        Ok(segment)
    }

    fn with_frame<T>(&self, index: u64, with: impl FnOnce(Frame<'_>) -> T) -> Result<T, LogError> {
        let segment = self.segment_of(index)?;
        let start = usize::try_from(index.saturating_sub(segment.first))
            .ok()
            .and_then(|at| segment.starts.get(at));
        let frame = start.and_then(|start| Frame::parse(segment.bytes.get(*start..)?).ok());
        match frame {
            Some(frame) => Ok(with(frame)),
            None => altered(Place::Entry(index), "it cannot be read"),
        }
    }

    /// The bytes of one leaf as they stand in the tree.
    pub fn leaf_bytes(&self, index: u64) -> Result<Vec<u8>, LogError> {
        self.with_frame(index, |frame| frame.leaf.to_vec())
    }

    /// One leaf.
    pub fn leaf(&self, index: u64) -> Result<Leaf, LogError> {
        match self.with_frame(index, |frame| Leaf::parse(frame.leaf))? {
            Some(leaf) => Ok(leaf),
            None => altered(Place::Entry(index), "its leaf is not one"),
        }
    }

    /// Leaves with their indexes; what lies beyond the log is left out.
    pub fn leaves(
        &self,
        range: Range<u64>,
    ) -> impl Iterator<Item = Result<(u64, Leaf), LogError>> + '_ {
        (range.start..range.end.min(self.size))
            .map(move |index| self.leaf(index).map(|leaf| (index, leaf)))
    }

    /// Opens one body.
    pub async fn body(&self, index: u64) -> Result<EventBody, BodyError> {
        Ok(self.event(index).await?.event.body)
    }

    /// One event in full, as subscribers of the bus saw it.
    pub async fn event(&self, index: u64) -> Result<Recorded, BodyError> {
        let (leaf, sealed) = self.sealed(index)?;
        Ok(Recorded { index, event: leaf.event(self.unseal(index, &leaf, &sealed).await?) })
    }

    /// One entry as it lies there.
    pub(crate) fn sealed(&self, index: u64) -> Result<(Leaf, Vec<u8>), LogError> {
        Ok((self.leaf(index)?, self.with_frame(index, |frame| frame.sealed.to_vec())?))
    }

    /// Opens the body of an entry.
    pub(crate) async fn unseal(
        &self,
        index: u64,
        leaf: &Leaf,
        sealed: &[u8],
    ) -> Result<EventBody, BodyError> {
        let (day, id) = key_of(sealed)
            .filter(|_| hex(&sha256(&[sealed])) == leaf.sealed)
            .ok_or(BodyError::Altered(index))?;
        let vault = self.vault.as_ref().ok_or(BodyError::NoKeys)?;
        let key = match vault.by_id(&leaf.tenant, KeyPurpose::LogBody(day), id).await {
            Ok(key) => key,
            Err(VaultError::Destroyed) => return Err(BodyError::Destroyed),
            Err(error) => return Err(BodyError::Vault(error)),
        };
        open(leaf, sealed, &key).ok_or(BodyError::Altered(index))
    }

    fn within(&self, index: u64, size: u64) -> Result<(), LogError> {
        if size > self.size || index >= size {
            return Err(LogError::NoEntry { index: index.max(size), size: self.size });
        }
        Ok(())
    }

    /// Proves that entry `index` is in the tree of `size` leaves. Takes hashes from full tiles where they are; whether
    /// those are right shows when the proof is verified against a checkpoint.
    pub fn prove_inclusion(&self, index: u64, size: u64) -> Result<InclusionProof, LogError> {
        self.within(index, size)?;
        let hashes = Hashes::new(self, true).inclusion(index, size)?;
        Ok(InclusionProof { index, size, hashes })
    }

    /// Proves that the tree of `second` leaves begins with the tree of `first` leaves; as [`Reader::prove_inclusion`].
    pub fn prove_consistency(&self, first: u64, second: u64) -> Result<ConsistencyProof, LogError> {
        if first > second || second > self.size {
            return Err(LogError::NoEntry { index: first.max(second), size: self.size });
        }
        let hashes = Hashes::new(self, true).consistency(first, second)?;
        Ok(ConsistencyProof { first, second, hashes })
    }

    /// The root of the tree of the first `size` leaves, from the entries themselves.
    pub fn root(&self, size: u64) -> Result<Hash, LogError> {
        if size > self.size {
            return Err(LogError::NoEntry { index: size, size: self.size });
        }
        Hashes::new(self, false).range(0, size)
    }

    /// Whether the first `size` entries have this root. Takes hashes from tiles, and from the entries themselves if
    /// those do not lead there.
    pub(crate) fn holds(&self, size: u64, root: &Hash) -> Result<bool, LogError> {
        if size > self.size {
            return Ok(false);
        }
        let quick = Hashes::new(self, true).range(0, size);
        Ok(quick.is_ok_and(|found| found == *root) || self.root(size)? == *root)
    }

    /// A self-contained C2SP `tlog-proof` of one entry against the latest checkpoint, checked before it is handed out.
    pub fn tlog_proof(&self, index: u64) -> Result<String, LogError> {
        let note = self.checkpoint()?;
        let Some(said) = Checkpoint::parse_unverified(&note) else {
            return altered(Place::Checkpoint, "it is malformed");
        };
        self.within(index, said.size)?;
        let leaf = leaf_hash(&self.leaf_bytes(index)?);
        for tiles in [true, false] {
            let hashes = Hashes::new(self, tiles).inclusion(index, said.size)?;
            let proof = InclusionProof { index, size: said.size, hashes };
            if proof.verify(&leaf, &said.root).is_ok() {
                let lines: String =
                    proof.hashes.iter().map(|hash| STANDARD.encode(hash) + "\n").collect();
                return Ok(format!("c2sp.org/tlog-proof@v1\nindex {index}\n{lines}\n{note}"));
            }
        }
        altered(
            Place::Entries { first: 0, end: said.size },
            "they are not what the checkpoint covers",
        )
    }
}

/// Hashes of the tree, from tiles or from the entries.
struct Hashes<'a> {
    reader: &'a Reader,
    tiles: bool,
    /// Tiles of one proof.
    known: RefCell<HashMap<(usize, u64), Vec<Hash>>>,
}

impl<'a> Hashes<'a> {
    fn new(reader: &'a Reader, tiles: bool) -> Self {
        Self { reader, tiles, known: RefCell::default() }
    }

    /// The hashes of a tile, as many as the log fills.
    fn tile(&self, level: usize, index: u64) -> Result<Vec<Hash>, LogError> {
        if let Some(hashes) = self.known.borrow().get(&(level, index)) {
            return Ok(hashes.clone());
        }
        let hashes = self.make(level, index)?;
        self.known.borrow_mut().insert((level, index), hashes.clone());
        Ok(hashes)
    }

    fn make(&self, level: usize, index: u64) -> Result<Vec<Hash>, LogError> {
        let width = TILE as u64;
        if self.tiles {
            let found =
                read(&*self.reader.disk, &hash_tile_path(level, index))?.unwrap_or_default();
            if found.len() == TILE * 32 {
                return Ok(tile_hashes(&found));
            }
        }
        let range = index * width..(index + 1) * width;
        let Some(below) = level.checked_sub(1) else {
            let range = range.start..range.end.min(self.reader.size);
            return range
                .map(|at| self.reader.with_frame(at, |frame| leaf_hash(frame.leaf)))
                .collect();
        };
        let mut hashes = Vec::new();
        for child in range {
            let tile = self.tile(below, child)?;
            if tile.len() < TILE {
                break;
            }
            hashes.push(perfect_root(&tile));
        }
        Ok(hashes)
    }
}

impl Subtrees for Hashes<'_> {
    type Error = LogError;

    fn subtree(&self, height: u32, index: u64) -> Result<Hash, LogError> {
        let (level, within) = (height / 8, height % 8);
        let first = index << within;
        let tile = self.tile(level as usize, first / TILE as u64)?;
        let start = usize::try_from(first % TILE as u64).unwrap_or(TILE);
        match tile.get(start..start + (1 << within)) {
            Some(hashes) => Ok(perfect_root(hashes)),
            None => altered(
                Place::Tile(hash_tile_path(level as usize, first / TILE as u64)),
                "it is too short",
            ),
        }
    }
}

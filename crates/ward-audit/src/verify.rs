//! Verification of a log on disk, without the server and without any key but the public one.
//!
//! Everything is compared: frames, leaves, hashes of sealed bodies, tiles, every signed checkpoint of the history, and
//! a checkpoint that was kept elsewhere. Where the tiles still lead to a signed root they name the exact entry;
//! otherwise the place is the range between the last checkpoint that fits and the first that does not.

use std::fmt;

use ward_core::Timestamp;
use ward_core::crypto::{SigningKey, hex, sha256};

use crate::disk::Disk;
use crate::format::{CHECKPOINT, Frame, GAP, HISTORY, MAX_PLACE};
use crate::note::{Checkpoint, VerifierKey};
use crate::proof::{Hash, leaf_hash};
use crate::segments::{Walked, altered, list, read, walk};
use crate::tiles::{TileState, Tiles};
use crate::tree::{TILE, Tree, hash_tile_path, tile_hashes};
use crate::{Leaf, LogError, disk_error};

/// Where a log is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Exactly this entry.
    Entry(u64),
    /// Somewhere in `first .. end`.
    Entries {
        /// The first that may be concerned.
        first: u64,
        /// One past the last.
        end: u64,
    },
    /// The head of the segment that begins with this entry.
    Segment(u64),
    /// This tile or entry bundle.
    Tile(String),
    /// The current checkpoint, or the one kept elsewhere.
    Checkpoint,
    /// This note of the checkpoint history, counted from 0.
    History(u64),
}

/// The log is not the log that was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log is not what was written, at {place}: {what}")]
pub struct Tampered {
    /// Where.
    pub place: Place,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(index) => write!(f, "entry {index}"),
            Self::Entries { first, end } => {
                write!(f, "entries {first} to {}", end.saturating_sub(1))
            }
            Self::Segment(first) => write!(f, "the segment that begins with entry {first}"),
            Self::Tile(path) => write!(f, "{path}"),
            Self::Checkpoint => f.write_str("the checkpoint"),
            Self::History(at) => write!(f, "note {at} of the checkpoint history"),
        }
    }
}

/// What a verified log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Entries.
    pub size: u64,
    /// Root over all of them.
    pub root: Hash,
    /// Entries covered by a signed checkpoint. The others are checked against accidents only.
    pub signed: u64,
    /// Signed checkpoints that were compared.
    pub checkpoints: u64,
    /// Segment files.
    pub segments: u64,
    /// Octets of a torn, never acknowledged write at the end; the next start removes them.
    pub torn_bytes: u64,
    /// Highest place of the store's outbox among the entries; 0 if there is none.
    pub outbox_high: u64,
}

/// Verifies everything; `checkpoint` is a signed note that was kept elsewhere. Reads, never writes. Blocks.
///
/// [`LogError::Tampered`] names the place. [`LogError::Absent`] if there never was a log, as far as can be known.
pub fn verify(
    disk: &dyn Disk,
    verifier_key: &str,
    checkpoint: Option<&str>,
) -> Result<Report, LogError> {
    let key = VerifierKey::parse(verifier_key)?;
    let elsewhere = match checkpoint {
        None => None,
        // Blank lines behind it are what an editor or a shell leaves; they are not part of a note.
        Some(note) => match Checkpoint::verify(&format!("{}\n", note.trim_end()), &key) {
            Some(said) => Some(said),
            None => {
                return altered(
                    Place::Checkpoint,
                    "the one kept elsewhere is not signed by this key",
                );
            }
        },
    };
    let checked = match check(disk, &key, elsewhere.as_ref(), None) {
        Err(LogError::Absent) if elsewhere.as_ref().is_some_and(|said| said.size > 0) => {
            let end = elsewhere.map_or(0, |said| said.size);
            return altered(Place::Entries { first: 0, end }, "the whole log is missing");
        }
        other => other?,
    };
    match checked.altered_tile {
        Some(path) => altered(Place::Tile(path), "it does not agree with the entries"),
        None => Ok(checked.report),
    }
}

/// Entries for which one time is kept.
pub(crate) const TIME_BLOCK: u64 = 1024;

/// What a check found, all that a writer needs to go on.
pub(crate) struct Checked {
    pub(crate) report: Report,
    pub(crate) walked: Walked,
    pub(crate) tiles: Tiles,
    pub(crate) outbox_high: u64,
    /// For each whole block of [`TIME_BLOCK`] entries the latest time up to its end.
    pub(crate) times: Vec<Timestamp>,
    /// Well-formed octets of the history, and all of them.
    pub(crate) history: (u64, u64),
    /// The newest signed note, with its size.
    pub(crate) newest: (u64, String),
    /// Whether the checkpoint file is older than that.
    pub(crate) checkpoint_behind: bool,
    pub(crate) tiles_missing: bool,
    pub(crate) altered_tile: Option<String>,
}

/// The signed notes on disk.
#[derive(Default)]
struct Notes {
    /// What was signed, in order of size, and where that stands.
    said: Vec<(Checkpoint, Place)>,
    newest: Option<(u64, String)>,
    history: (u64, u64),
    current: Option<u64>,
}

fn read_notes(disk: &dyn Disk, key: &VerifierKey) -> Result<Notes, LogError> {
    const UNSIGNED: &str = "it is not signed by the key of this log";
    let mut notes = Notes::default();
    // Read before the history, which a live log writes first.
    let current = read(disk, CHECKPOINT)?;
    let history = read(disk, HISTORY)?.unwrap_or_default();
    notes.history = (0, history.len() as u64);
    let mut rest = history.as_slice();
    let mut high = 0;
    while let Some(end) =
        rest.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1).nth(4)
    {
        let (note, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        let place = Place::History(notes.said.len() as u64);
        let said = std::str::from_utf8(note)
            .ok()
            .and_then(|text| Some((Checkpoint::verify(text, key)?, text)));
        let Some((said, text)) = said else {
            if after.is_empty() && note.contains(&0) {
                break; // a hole in the last write: torn
            }
            return altered(place, UNSIGNED);
        };
        if said.size < high {
            return altered(place, "it is smaller than the one before");
        }
        high = said.size;
        notes.newest = Some((said.size, text.to_owned()));
        notes.said.push((said, place));
        notes.history.0 += end as u64;
        rest = after;
    }
    if let Some(bytes) = current {
        let text = String::from_utf8(bytes).unwrap_or_default();
        let Some(said) = Checkpoint::verify(&text, key) else {
            return altered(Place::Checkpoint, UNSIGNED);
        };
        if notes.newest.as_ref().is_none_or(|(size, _)| said.size > *size) {
            return altered(Place::Checkpoint, "it is not in the checkpoint history");
        }
        notes.current = Some(said.size);
        notes.said.push((said, Place::Checkpoint));
    }
    Ok(notes)
}

/// Checks a whole log. Altered tiles are only noted, since they can be rebuilt. With the log's own key, entries that
/// are not signed yet must be authentic.
pub(crate) fn check(
    disk: &dyn Disk,
    key: &VerifierKey,
    elsewhere: Option<&Checkpoint>,
    own: Option<&SigningKey>,
) -> Result<Checked, LogError> {
    let mut notes = read_notes(disk, key)?;
    let on_disk = notes.said.len() as u64;
    notes.said.extend(elsewhere.map(|said| (said.clone(), Place::Checkpoint)));
    notes.said.sort_by_key(|(said, _)| said.size);
    for pair in notes.said.windows(2) {
        if let [(a, _), (b, place)] = pair
            && a.size == b.size
            && a.root != b.root
        {
            return altered(place.clone(), "another root was signed for the same size");
        }
    }
    let signed = notes.said.last().map_or(0, |(said, _)| said.size);
    let begun = !list(disk)?.is_empty();
    if notes.current.is_none() {
        if begun {
            return altered(Place::Checkpoint, "it is missing");
        }
        if signed == 0 {
            return Err(LogError::Absent);
        }
    }
    let mut pass = Pass::new(disk, &notes.said, own);
    pass.compare()?;
    let walked = walk(disk, signed, &mut |frame| pass.entry(frame, signed))?;
    if walked.size < signed {
        return pass.lost();
    }
    for (path, _, bytes) in pass.tiles.partial() {
        pass.state.partial(disk, &path, &bytes)?;
    }
    let newest = notes.newest.unwrap_or_default();
    Ok(Checked {
        report: Report {
            size: walked.size,
            root: pass.tiles.tree.root(),
            signed,
            checkpoints: on_disk + u64::from(elsewhere.is_some()),
            segments: walked.segments,
            torn_bytes: walked.torn,
            outbox_high: pass.outbox_high,
        },
        outbox_high: pass.outbox_high,
        times: pass.times,
        tiles_missing: pass.state.missing,
        altered_tile: pass.state.altered,
        tiles: pass.tiles,
        walked,
        history: notes.history,
        checkpoint_behind: notes.current.is_none_or(|size| size < newest.0),
        newest,
    })
}

/// One pass over the entries, comparing roots with what was signed.
struct Pass<'a> {
    disk: &'a dyn Disk,
    signed: &'a [(Checkpoint, Place)],
    tiles: Tiles,
    state: TileState,
    outbox_high: u64,
    times: Vec<Timestamp>,
    latest: Timestamp,
    /// The tree at the last checkpoint that fitted, and the leaf hashes after it.
    good: Tree,
    since: Vec<Hash>,
    own: Option<&'a SigningKey>,
}

impl<'a> Pass<'a> {
    fn new(
        disk: &'a dyn Disk,
        signed: &'a [(Checkpoint, Place)],
        own: Option<&'a SigningKey>,
    ) -> Self {
        Self {
            disk,
            signed,
            own,
            tiles: Tiles::default(),
            state: TileState::default(),
            outbox_high: 0,
            times: Vec::new(),
            latest: Timestamp::from_millis(i64::MIN),
            good: Tree::default(),
            since: Vec::new(),
        }
    }

    fn entry(&mut self, frame: &Frame<'_>, signed: u64) -> Result<(), LogError> {
        let Frame { index, leaf: bytes, sealed, .. } = *frame;
        let Some(leaf) = Leaf::parse(bytes) else {
            return altered(Place::Entry(index), "its leaf is not one");
        };
        if hex(&sha256(&[sealed])) != leaf.sealed {
            return altered(Place::Entry(index), "its body is not the one its leaf commits to");
        }
        if index >= signed {
            self.unsigned(frame, &leaf)?;
        }
        self.outbox_high = self.outbox_high.max(leaf.outbox.unwrap_or(0));
        self.latest = self.latest.max(leaf.at);
        if (index + 1).is_multiple_of(TIME_BLOCK) {
            self.times.push(self.latest);
        }
        let mut full = Vec::new();
        self.tiles.push(bytes, |path, want| full.push((path, want)));
        for (path, want) in full {
            self.state.full(self.disk, &path, &want)?;
        }
        self.since.push(leaf_hash(bytes));
        self.compare()
    }

    /// What no checkpoint covers is believed by its tag only, and must fit what stands before it.
    fn unsigned(&self, frame: &Frame<'_>, leaf: &Leaf) -> Result<(), LogError> {
        let refuse = |what| {
            let (segment, keep) = (String::new(), 0);
            Err(LogError::NotAuthentic { entry: frame.index, what, segment, keep })
        };
        if self.own.is_some_and(|own| !frame.authentic(own)) {
            return refuse("it does not carry the tag of this log's key");
        }
        match leaf.outbox {
            Some(place) if place > MAX_PLACE || place <= self.outbox_high => {
                refuse("no store gives out its place in the outbox")
            }
            Some(place) if place != self.outbox_high + 1 && leaf.action != GAP => {
                refuse("state changes are missing before it")
            }
            _ => Ok(()),
        }
    }

    /// Compares with all checkpoints of the current size.
    fn compare(&mut self) -> Result<(), LogError> {
        let size = self.tiles.tree.size();
        let mut root = None;
        while let Some(((said, _), after)) =
            self.signed.split_first().filter(|((s, _), _)| s.size == size)
        {
            if said.root != *root.get_or_insert_with(|| self.tiles.tree.root()) {
                return altered(
                    self.locate(said)?,
                    "it is not what was signed: altered, removed or reordered",
                );
            }
            self.signed = after;
        }
        if root.is_some() {
            self.good = self.tiles.tree.clone();
            self.since.clear();
        }
        Ok(())
    }

    /// The log ended before the next checkpoint.
    fn lost<T>(&self) -> Result<T, LogError> {
        let Some((said, _)) = self.signed.first() else {
            return altered(Place::Checkpoint, "it claims more than the log holds");
        };
        altered(self.locate(said)?, "signed entries are missing: removed or cut back")
    }

    /// Names the first entry that is not what `said` covers, or the range that it lies in.
    fn locate(&self, said: &Checkpoint) -> Result<Place, LogError> {
        let first = self.good.size();
        let range = Place::Entries { first, end: said.size };
        let Some(hashes) = self.leaf_tiles(first, said.size)? else { return Ok(range) };
        let mut tree = self.good.clone();
        for hash in &hashes {
            tree.push(*hash);
        }
        if tree.root() != said.root {
            return Ok(range);
        }
        let differs = hashes.iter().zip(&self.since).position(|(a, b)| a != b);
        Ok(match differs {
            Some(at) => Place::Entry(first + at as u64),
            None => Place::Entries { first: first + self.since.len() as u64, end: said.size },
        })
    }

    /// The leaf hashes `from .. to` as the tiles have them; `None` if they do not have them all.
    fn leaf_tiles(&self, from: u64, to: u64) -> Result<Option<Vec<Hash>>, LogError> {
        let mut hashes = Vec::new();
        let width = TILE as u64;
        for index in from / width..to.div_ceil(width) {
            let path = hash_tile_path(0, index);
            let need = usize::try_from((to - index * width).min(width)).unwrap_or(TILE);
            let mut tile =
                read(self.disk, &path)?.map(|bytes| tile_hashes(&bytes)).unwrap_or_default();
            let dir = format!("{path}.p");
            if tile.len() < need {
                for name in self.disk.list(&dir).map_err(disk_error("cannot list", &dir))? {
                    if name.parse::<usize>().is_ok_and(|width| width >= need) {
                        tile = tile_hashes(
                            &read(self.disk, &format!("{dir}/{name}"))?.unwrap_or_default(),
                        );
                        break;
                    }
                }
            }
            let skip = usize::try_from(from.saturating_sub(index * width)).unwrap_or(TILE);
            let Some(part) = tile.get(skip..need) else { return Ok(None) };
            hashes.extend_from_slice(part);
        }
        Ok(Some(hashes))
    }
}

//! A part of the log from its beginning that agrees with a snapshot of the store, for backups, while the log
//! is being written (rule 4): it ends before the first entry whose state change the snapshot does not know.
//!
//! What comes with it of the checkpoints are those that it covers, so that it is a log by itself: it verifies,
//! and a log can be opened on it. Tiles are left out; the next start rebuilds them.

use ward_core::OutboxSeq;

use crate::disk::Disk;
use crate::format::{HISTORY, MAX_LEAF, SEGMENT_HEAD, segment_head, segment_path};
use crate::note::{Checkpoint, VerifierKey};
use crate::segments::{altered, frames, list, read};
use crate::verify::Place;
use crate::{Leaf, LogError};

/// Lines of one signed note in the history.
const NOTE_LINES: usize = 5;

/// A part of a log from its beginning, by the files that it consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    /// Entries.
    pub size: u64,
    /// Highest place of the outbox among them.
    pub outbox_high: u64,
    /// The segments: path under the log's directory, and how many octets of it.
    pub segments: Vec<(String, u64)>,
    /// The signed checkpoints that it covers, oldest first; the file `checkpoints`.
    pub history: String,
    /// The newest of them; the file `checkpoint`.
    pub checkpoint: String,
    /// Entries that it covers.
    pub signed: u64,
}

/// The longest part of the first `durable` entries in which no entry has an outbox place above `upto`. Reads
/// all segments. Blocks.
pub fn prefix(
    disk: &dyn Disk,
    verifier_key: &str,
    durable: u64,
    upto: OutboxSeq,
) -> Result<Prefix, LogError> {
    let key = VerifierKey::parse(verifier_key)?;
    let (mut size, mut outbox_high, mut segments) = (0_u64, 0_u64, Vec::new());
    let mut ended = false;
    for first in list(disk)? {
        if ended || first > size || size >= durable {
            break;
        }
        let path = segment_path(first);
        let bytes = read(disk, &path)?.unwrap_or_default();
        if !bytes.starts_with(&segment_head(first)) {
            return altered(Place::Segment(first), "the head of the segment is altered");
        }
        let mut octets = SEGMENT_HEAD;
        for frame in frames(&bytes) {
            if frame.index != size || size >= durable {
                break;
            }
            let leaf = Some(frame.leaf).filter(|leaf| leaf.len() <= MAX_LEAF).and_then(Leaf::parse);
            let Some(leaf) = leaf else {
                return altered(Place::Entry(size), "its leaf is not one");
            };
            if leaf.outbox.is_some_and(|place| place > upto.0) {
                ended = true;
                break;
            }
            outbox_high = outbox_high.max(leaf.outbox.unwrap_or(0));
            octets += frame.octets();
            size += 1;
        }
        segments.push((path, octets as u64));
    }
    if !ended && size < durable {
        return altered(Place::Entry(size), "its bytes are altered");
    }
    let (history, checkpoint, signed) = notes(disk, &key, size)?;
    Ok(Prefix { size, outbox_high, segments, history, checkpoint, signed })
}

/// The notes of the history that a log of this size covers, and the newest of them.
fn notes(disk: &dyn Disk, key: &VerifierKey, size: u64) -> Result<(String, String, u64), LogError> {
    let bytes = read(disk, HISTORY)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let (mut history, mut newest, mut signed) = (String::new(), String::new(), 0);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for (at, note) in lines.chunks_exact(NOTE_LINES).enumerate() {
        let note = note.concat();
        let Some(said) = Checkpoint::verify(&note, key) else {
            if at + 1 == lines.len() / NOTE_LINES {
                break; // being written at this moment
            }
            return altered(Place::History(at as u64), "it is not signed by the key of this log");
        };
        if said.size > size {
            break;
        }
        signed = said.size;
        history.push_str(&note);
        newest = note;
    }
    if newest.is_empty() {
        return altered(Place::Checkpoint, "it is missing");
    }
    Ok((history, newest, signed))
}

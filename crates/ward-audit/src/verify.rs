//! Verification of a log on disk, without the server and without keys but the public one.
use crate::{Disk, Hash, LogError};
use std::fmt;

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
    /// The current checkpoint.
    Checkpoint,
    /// This note of the checkpoint history, counted from 0.
    History(u64),
}

/// The log is not the log that was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log was tampered with at {place}: {what}")]
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
            Self::Tile(path) => write!(f, "tile {path}"),
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
    /// Entries covered by a signed checkpoint.
    pub signed: u64,
    /// Signed checkpoints that were compared.
    pub checkpoints: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes of a torn, never acknowledged write at the end; the next start removes them.
    pub torn_bytes: u64,
}

/// Verifies everything: frames, leaves, bodies' hashes, tiles, all signed checkpoints, and (if given) a
/// checkpoint that was kept elsewhere.
pub fn verify(
    _disk: &dyn Disk,
    _verifier_key: &str,
    _checkpoint: Option<&str>,
) -> Result<Report, LogError> {
    Err(LogError::Absent)
}

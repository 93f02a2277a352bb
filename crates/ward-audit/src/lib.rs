//! What happened: the append-only Merkle log of one node (rules 3 and 4 of the house).
//!
//! [`mod@format`] specifies every byte on disk: segments of checksummed frames (the truth), C2SP tiles and
//! checkpoints (for other people's tools). [`Log`] is the writer and the [`ward_core::EventSink`] of the
//! house: an event is acknowledged only after fsync returned. [`Reader`] and [`verify()`] need no server.
//!
//! Refused: to start on a log that is shorter than what was signed or altered anywhere, to acknowledge
//! what is not durable, and to put anything into a leaf that does not fit into 2 KiB.

pub mod disk;
pub mod fhir_view;
pub mod format;
pub mod history;
pub mod leaf;
pub mod log;
pub mod note;
pub mod prefix;
pub mod proof;
mod queue;
pub mod reader;
mod segments;
pub mod testing;
mod tiles;
mod tree;
pub mod verify;
mod writer;

pub use disk::{Disk, RealDisk};
pub use history::LogHistory;
pub use leaf::Leaf;
pub use log::{Log, LogOptions, origin_of};
pub use note::{Checkpoint, VerifierKey};
pub use prefix::{Prefix, prefix};
pub use proof::{ConsistencyProof, Hash, InclusionProof, ProofError, leaf_hash};
pub use queue::LogStats;
pub use reader::{BodyError, Reader};
pub use verify::{Place, Report, Tampered, verify};

/// Why a log cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk refused. Names the file and what was tried.
    #[error("{what}: {source}")]
    Disk {
        /// What was tried, on which file.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The log on disk is not the log that was written. It is left as it is.
    #[error(transparent)]
    Tampered(#[from] Tampered),
    /// An entry that no checkpoint covers was not written by this log. It is left as it is.
    #[error(
        "entry {entry} was not written by this Ward: {what}. Keep a copy of the log's directory as evidence. If \
         what stands behind is not needed, run `truncate -s {keep} {segment}` in that directory, remove segments \
         with higher numbers, and start again; if that says that state changes are missing, restore store, log and \
         vault together with `ward restore`"
    )]
    NotAuthentic {
        /// Its index.
        entry: u64,
        /// What shows it.
        what: &'static str,
        /// The segment that holds it.
        segment: String,
        /// Octets of the segment before it.
        keep: u64,
    },
    /// Another process has the log open.
    #[error("the log is open in another process")]
    Locked,
    /// The origin is not a name that a signed note can carry: 1 to 255 visible ASCII characters but `+`.
    #[error("the origin of the log must be 1 to 255 visible ASCII characters other than '+'")]
    Origin,
    /// The verifier key is not of the form `name+hash+key` of an Ed25519 key.
    #[error("malformed verifier key")]
    VerifierKey,
    /// No entry has this index (the log holds `size`).
    #[error("the log holds {size} entries, there is no entry {index}")]
    NoEntry {
        /// The index asked for.
        index: u64,
        /// Entries in the log.
        size: u64,
    },
    /// The directory holds no log.
    #[error("there is no log here")]
    Absent,
}

/// Gives an I/O error the words that an operator needs.
pub(crate) fn disk_error(doing: &'static str, path: &str) -> impl Fn(std::io::Error) -> LogError {
    let what = format!("{doing} {path}");
    move |source| LogError::Disk { what: what.clone(), source }
}

#[cfg(test)]
mod tests;

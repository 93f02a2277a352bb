//! Walks over the segments in order and tells a torn write from an alteration (the rule in [`crate::format`]).

use crate::disk::Disk;
use crate::format::{
    Frame, FrameFault, OLD_SEGMENT_MAGIC, SEGMENT_HEAD, SEGMENTS, segment_first, segment_head,
    segment_path,
};
use crate::verify::{Place, Tampered};
use crate::{LogError, disk_error};

/// The segment that is written next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Its first entry.
    pub(crate) first: u64,
    /// Its well-formed octets.
    pub(crate) len: u64,
    /// Where the frames of the last commit begin; 0 if there are none, which stands for the head.
    pub(crate) last_commit: u64,
}

/// What a walk found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Walked {
    pub(crate) size: u64,
    pub(crate) segments: u64,
    pub(crate) tail: Option<Tail>,
    /// Octets of a torn write behind the tail.
    pub(crate) torn: u64,
    /// A segment whose creation was torn.
    pub(crate) torn_segment: Option<String>,
}

/// The first entries of the segments on disk, in order.
pub(crate) fn list(disk: &dyn Disk) -> Result<Vec<u64>, LogError> {
    let names = disk.list(SEGMENTS).map_err(disk_error("cannot list", SEGMENTS))?;
    Ok(names.iter().filter_map(|name| segment_first(name)).collect())
}

pub(crate) fn read(disk: &dyn Disk, path: &str) -> Result<Option<Vec<u8>>, LogError> {
    disk.read(path).map_err(disk_error("cannot read", path))
}

pub(crate) fn altered<T>(place: Place, what: &'static str) -> Result<T, LogError> {
    Err(LogError::Tampered(Tampered { place, what }))
}

/// Visits every entry in order. `signed` entries are known to have existed.
pub(crate) fn walk(
    disk: &dyn Disk,
    signed: u64,
    visit: &mut dyn FnMut(&Frame<'_>) -> Result<(), LogError>,
) -> Result<Walked, LogError> {
    let firsts = list(disk)?;
    let mut walked = Walked::default();
    for (at, &first) in firsts.iter().enumerate() {
        let last = at + 1 == firsts.len();
        if first > walked.size {
            return altered(
                Place::Entries { first: walked.size, end: first },
                "entries are missing",
            );
        }
        if first < walked.size {
            return altered(Place::Segment(first), "the segment overlaps the one before");
        }
        let path = segment_path(first);
        let bytes = read(disk, &path)?.unwrap_or_default();
        if !bytes.starts_with(&segment_head(first)) {
            if last && bytes.len() <= SEGMENT_HEAD {
                walked.torn += bytes.len() as u64;
                walked.torn_segment = Some(path);
                break;
            }
            if bytes.starts_with(OLD_SEGMENT_MAGIC) {
                return altered(
                    Place::Segment(first),
                    "it is of a format from before the first release; begin a new data directory",
                );
            }
            return altered(Place::Segment(first), "the head of the segment is altered");
        }
        walked.segments += 1;
        walk_segment(&bytes, first, last, signed, &mut walked, visit)?;
    }
    Ok(walked)
}

fn walk_segment(
    bytes: &[u8],
    first: u64,
    last: bool,
    signed: u64,
    walked: &mut Walked,
    visit: &mut dyn FnMut(&Frame<'_>) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let mut tail = Tail { first, len: SEGMENT_HEAD as u64, last_commit: 0 };
    let mut rest = bytes.split_at_checked(SEGMENT_HEAD).unwrap_or_default().1;
    // Zeros to the end are room written ahead. If they stand for entries, these are missed behind.
    while rest.iter().any(|byte| *byte != 0) {
        let index = walked.size;
        let (what, short) = match Frame::parse(rest) {
            Ok(frame) if frame.index == index && frame.durable <= index => {
                visit(&frame).map_err(|error| locate(error, first, tail.len))?;
                if frame.durable == index {
                    tail.last_commit = tail.len;
                }
                tail.len += frame.octets() as u64;
                walked.size += 1;
                rest = rest.get(frame.octets()..).unwrap_or_default();
                continue;
            }
            Ok(_) => ("another entry stands in its place: removed, inserted or reordered", false),
            Err(FrameFault::Short) => ("its end is missing", true),
            Err(FrameFault::Head | FrameFault::Check) => ("its bytes are altered", false),
        };
        let behind = rest.get(1..).unwrap_or_default();
        if !last
            || Frame::any_after(rest, index)
            || (index < signed && (!short || Frame::any(behind)))
        {
            return altered(Place::Entry(index), what);
        }
        // Torn, or (if it was signed) cut back, which the caller sees from the size.
        walked.torn += rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        break;
    }
    walked.tail = Some(tail);
    Ok(())
}

/// Says where an entry that is not authentic begins.
fn locate(error: LogError, first: u64, at: u64) -> LogError {
    match error {
        LogError::NotAuthentic { entry, what, .. } => {
            LogError::NotAuthentic { entry, what, segment: segment_path(first), keep: at }
        }
        other => other,
    }
}

/// Visits the entries of one segment until the first malformed frame.
pub(crate) fn frames(bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut rest = bytes.split_at_checked(SEGMENT_HEAD).unwrap_or_default().1;
    std::iter::from_fn(move || {
        let frame = Frame::parse(rest).ok()?;
        rest = rest.get(frame.octets()..).unwrap_or_default();
        Some(frame)
    })
}

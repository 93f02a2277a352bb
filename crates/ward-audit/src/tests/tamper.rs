//! Whatever is done to a log on disk, a checkpoint that was kept elsewhere shows it and names the right place.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use proptest::prelude::*;
use ward_core::crypto::{SigningKey, hex, sha256};
use ward_core::{EventSink as _, Secret};

use super::{House, ORIGIN, signing_key};
use crate::format::{CHECKPOINT, Frame, HISTORY, SEGMENT_HEAD, segment_head, segment_path};
use crate::testing::MemoryDisk;
use crate::{Checkpoint, Leaf, LogError, Place, Tampered, VerifierKey, verify};

/// A log of 60 entries in several segments, signed after each commit.
struct Sample {
    files: BTreeMap<String, Vec<u8>>,
    key: String,
    kept: String,
    /// For each segment its first entry, and the frames.
    segments: Vec<(u64, Vec<Vec<u8>>)>,
    /// Sizes that were signed.
    signed: Vec<u64>,
}

const SIZE: u64 = 60;

fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (disk, house) = (MemoryDisk::new(), House::new(9));
        let mut signed = vec![0];
        let (key, kept) = runtime.block_on(async {
            let log = house.open(&disk).unwrap();
            for round in 0..12 {
                let count = [1, 9, 5][round % 3];
                let events = (0..count).map(|n| house.event(&format!("{round}-{n}"))).collect();
                log.record(events).await.unwrap();
                log.checkpoint().await.unwrap();
                signed.push(log.size());
            }
            let kept = log.checkpoint().await.unwrap();
            log.close().await;
            (log.verifier_key(), kept)
        });
        let files = disk.files();
        let mut segments = Vec::new();
        let mut first = 0;
        while let Some(bytes) = files.get(&segment_path(first)) {
            let mut rest = &bytes[SEGMENT_HEAD..];
            let mut frames = Vec::new();
            while !rest.is_empty() {
                let (frame, after) = rest.split_at(Frame::parse(rest).unwrap().octets());
                frames.push(frame.to_vec());
                rest = after;
            }
            let next = first + frames.len() as u64;
            segments.push((first, frames));
            first = next;
        }
        assert_eq!((first, *signed.last().unwrap()), (SIZE, SIZE));
        assert!(segments.len() >= 3, "{} segments", segments.len());
        Sample { files, key, kept, segments, signed }
    })
}

fn disk(files: &BTreeMap<String, Vec<u8>>) -> MemoryDisk {
    let disk = MemoryDisk::new();
    for (path, bytes) in files {
        let mut dir = path.as_str();
        while let Some((parent, _)) = dir.rsplit_once('/') {
            crate::Disk::create_dir(&disk, parent).unwrap();
            dir = parent;
        }
        disk.plant(path, bytes.clone());
    }
    disk
}

/// The fault that is found; panics if none is.
fn fault(files: &BTreeMap<String, Vec<u8>>) -> Tampered {
    let sample = sample();
    match verify(&disk(files), &sample.key, Some(&sample.kept)) {
        Err(LogError::Tampered(tampered)) => tampered,
        other => panic!("not detected: {other:?}"),
    }
}

/// Whether a place is right for a change that first touches this entry.
fn names(place: &Place, entry: u64) -> bool {
    let sample = sample();
    match place {
        Place::Entry(at) => *at == entry,
        Place::Entries { first, end } => (*first..*end).contains(&entry),
        Place::Segment(first) => {
            let at = sample.segments.partition_point(|(begin, _)| *begin <= entry) - 1;
            sample.segments[at].0 == *first
        }
        _ => false,
    }
}

#[test]
fn zeros_where_entries_stood_are_noticed_in_every_segment() {
    let segments = &sample().segments;
    for (first, frames) in segments {
        let mut begin = SEGMENT_HEAD;
        for (entry, frame) in (*first..).zip(frames) {
            let end = begin + frame.len();
            let whole = sample().files[&segment_path(*first)].len();
            // Overwritten or moved on by a hole; alone, or with all that follows it in this segment.
            for (to, hole) in [(end, 0), (whole, 0), (begin, 1), (begin, frame.len())] {
                let mut files = sample().files.clone();
                let bytes = files.get_mut(&segment_path(*first)).unwrap();
                bytes[begin..to].fill(0);
                bytes.splice(begin..begin, vec![0; hole]);
                let place = fault(&files).place;
                assert!(names(&place, entry), "{place} for {entry}, {to} {hole}");
            }
            begin = end;
        }
        // Behind the last entry they are room, which may have stayed when the next segment was begun.
        let mut files = sample().files.clone();
        files.get_mut(&segment_path(*first)).unwrap().extend([0; 1000]);
        verify(&disk(&files), &sample().key, Some(&sample().kept)).unwrap();
    }
}

/// Lays frames out anew in the given segments.
fn with_frames(segments: &[(u64, Vec<Vec<u8>>)]) -> BTreeMap<String, Vec<u8>> {
    let mut files = sample().files.clone();
    for (first, frames) in segments {
        let bytes = [segment_head(*first).to_vec(), frames.concat()].concat();
        files.insert(segment_path(*first), bytes);
    }
    files
}

/// What someone writes who knows the format: every number and check fits.
fn forge(entries: &[(Vec<u8>, Vec<u8>)]) -> BTreeMap<String, Vec<u8>> {
    let mut files = sample().files.clone();
    files.retain(|path, _| !path.starts_with("segments/"));
    let mut bytes = segment_head(0).to_vec();
    for (index, (leaf, sealed)) in (0..).zip(entries) {
        Frame { index, durable: index, leaf, sealed, tag: [0; 16] }.write(&mut bytes);
    }
    files.insert(segment_path(0), bytes);
    files
}

fn entries() -> Vec<(Vec<u8>, Vec<u8>)> {
    let frames = sample().segments.iter().flat_map(|(_, frames)| frames);
    frames
        .map(|bytes| {
            let frame = Frame::parse(bytes).unwrap();
            (frame.leaf.to_vec(), frame.sealed.to_vec())
        })
        .collect()
}

/// The interval between two signed sizes in which an entry lies.
fn interval(entry: u64) -> Place {
    let signed = &sample().signed;
    let at = signed.partition_point(|size| *size <= entry);
    Place::Entries { first: signed[at - 1], end: signed[at] }
}

#[test]
fn the_untouched_log_verifies() {
    let sample = sample();
    let report = verify(&disk(&sample.files), &sample.key, Some(&sample.kept)).unwrap();
    assert_eq!((report.size, report.signed, report.torn_bytes), (SIZE, SIZE, 0));
    assert_eq!(report.checkpoints, 12 + 1 + 1 + 1, "history with the empty tree, current, kept");
    for blank in ["\n", "\n\n", "\r\n"] {
        let kept = format!("{}{blank}", sample.kept);
        assert!(verify(&disk(&sample.files), &sample.key, Some(&kept)).is_ok(), "{blank:?}");
    }
    let entries = entries();
    let relaid = forge(&entries);
    assert!(
        verify(&disk(&relaid), &sample.key, Some(&sample.kept)).is_ok(),
        "segments may be cut anew"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_altered_octet(segment in 0_usize..100, at in 0_usize..1_000_000, bit in 0_u32..8) {
        let (first, frames) = &sample().segments[segment % sample().segments.len()];
        let mut files = sample().files.clone();
        let bytes = files.get_mut(&segment_path(*first)).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let (mut end, mut entry) = (SEGMENT_HEAD, *first);
        for frame in frames {
            end += frame.len();
            if at < end {
                break;
            }
            entry += 1;
        }
        let place = fault(&files).place;
        let want = if at < SEGMENT_HEAD { Place::Segment(*first) } else { Place::Entry(entry) };
        prop_assert_eq!(place, want);
    }

    #[test]
    fn any_removed_or_reordered_frame(a in 0_u64..SIZE, b in 0_u64..SIZE, swap: bool) {
        let mut segments = sample().segments.clone();
        let locate = |entry: u64| {
            let at = sample().segments.partition_point(|(first, _)| *first <= entry) - 1;
            (at, usize::try_from(entry - sample().segments[at].0).unwrap())
        };
        let ((sa, fa), (sb, fb)) = (locate(a), locate(b));
        if swap && a != b {
            let frame = segments[sa].1[fa].clone();
            segments[sa].1[fa] = segments[sb].1[fb].clone();
            segments[sb].1[fb] = frame;
        } else {
            segments[sa].1.remove(fa);
        }
        let touched = if swap { a.min(b) } else { a };
        let place = fault(&with_frames(&segments)).place;
        prop_assert!(names(&place, touched), "{} for {}", place, touched);
    }

    #[test]
    fn any_cut(segment in 0_usize..100, keep in 0_usize..1_000_000, rest_too: bool) {
        let segments = &sample().segments;
        let at = segment % segments.len();
        let (first, frames) = &segments[at];
        let mut files = sample().files.clone();
        let bytes = files.get_mut(&segment_path(*first)).unwrap();
        let keep = keep % bytes.len();
        bytes.truncate(keep);
        if rest_too {
            for (later, _) in &segments[at + 1..] {
                files.remove(&segment_path(*later));
            }
        }
        let (mut end, mut entry) = (SEGMENT_HEAD, *first);
        for frame in frames {
            end += frame.len();
            if keep < end {
                break;
            }
            entry += 1;
        }
        let place = fault(&files).place;
        prop_assert!(names(&place, entry), "{} for {}", place, entry);
    }

    #[test]
    fn any_forgery_by_someone_who_knows_the_format(
        entry in 0_u64..SIZE, other in 0_u64..SIZE, kind in 0..5, tiles: bool,
    ) {
        let mut entries = entries();
        let at = usize::try_from(entry).unwrap();
        let mut touched = entry;
        let mut body = false;
        match kind {
            0 => { entries.remove(at); }
            1 => {
                let mut leaf = Leaf::parse(&entries[at].0).unwrap();
                leaf.at = leaf.at.plus(std::time::Duration::from_secs(1));
                entries[at].0 = serde_json::to_vec(&leaf).unwrap();
            }
            2 => {
                // Another body, and a leaf that commits to it.
                let mut leaf = Leaf::parse(&entries[at].0).unwrap();
                entries[at].1[40] ^= 1;
                leaf.sealed = hex(&sha256(&[&entries[at].1]));
                entries[at].0 = serde_json::to_vec(&leaf).unwrap();
            }
            3 => {
                entries[at].1[40] ^= 1;
                body = true;
            }
            _ => {
                let other = usize::try_from(other).unwrap();
                if at == other {
                    entries.truncate(at);
                } else {
                    entries.swap(at, other);
                    touched = entry.min(other as u64);
                }
            }
        }
        let mut files = forge(&entries);
        if !tiles {
            files.retain(|path, _| !path.starts_with("tile/"));
        }
        let place = fault(&files).place;
        if body || tiles && entries.len() as u64 == SIZE {
            prop_assert_eq!(place, Place::Entry(touched));
        } else if kind == 0 && tiles {
            // The last entry removed is a log cut back.
            prop_assert!(names(&place, touched), "{} for {}", place, touched);
            let exact = matches!(place, Place::Entry(_));
            prop_assert!(exact || touched + 1 == SIZE, "{}", place);
        } else {
            prop_assert!(names(&place, touched), "{} for {}", place, touched);
            if entries.len() as u64 == SIZE {
                prop_assert_eq!(place, interval(touched));
            }
        }
    }

    #[test]
    fn any_altered_tile(which in 0_usize..100, at in 0_usize..1_000_000) {
        let mut files = sample().files.clone();
        let paths: Vec<_> = files.keys().filter(|p| p.starts_with("tile/") && *p != "tile/tmp").cloned().collect();
        let path = &paths[which % paths.len()];
        let bytes = files.get_mut(path).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1;
        prop_assert_eq!(fault(&files).place, Place::Tile(path.clone()));
    }

    #[test]
    fn any_altered_octet_of_the_notes(history: bool, at in 0_usize..1_000_000, bit in 0_u32..8) {
        let mut files = sample().files.clone();
        let bytes = files.get_mut(if history { HISTORY } else { CHECKPOINT }).unwrap();
        let at = at % bytes.len();
        // A last line without its end is a torn write.
        let torn = history && at + 1 == bytes.len();
        bytes[at] ^= 1 << bit;
        let result = verify(&disk(&files), &sample().key, Some(&sample().kept));
        prop_assert!(torn || matches!(result, Err(LogError::Tampered(_))), "{:?}", result);
    }
}

#[test]
fn a_log_rolled_back_to_an_earlier_state_of_its_own_is_shown_by_the_checkpoint_kept_elsewhere() {
    let sample = sample();
    let earlier = sample.signed[5];
    let mut files = forge(&entries()[..usize::try_from(earlier).unwrap()]);
    let history = String::from_utf8(files[HISTORY].clone()).unwrap();
    let notes: Vec<_> = history.split_inclusive('\n').collect();
    files.insert(HISTORY.into(), notes[..6 * 5].concat().into_bytes());
    files.insert(CHECKPOINT.into(), notes[5 * 5..6 * 5].concat().into_bytes());
    files.retain(|path, _| !path.starts_with("tile/"));
    assert_eq!(
        verify(&disk(&files), &sample.key, None).unwrap().size,
        earlier,
        "in itself it is sound"
    );
    assert_eq!(fault(&files).place, Place::Entries { first: earlier, end: SIZE });
    assert_eq!(
        fault(&BTreeMap::new()).place,
        Place::Entries { first: 0, end: SIZE },
        "all is gone"
    );
}

#[test]
fn a_log_signed_anew_with_another_key_is_refused() {
    let sample = sample();
    let thief = SigningKey::from_seed(&Secret::new([6; 32])).unwrap();
    let mut files = forge(&entries()[1..]);
    let said = Checkpoint { origin: ORIGIN.into(), size: 0, root: crate::proof::empty_root() };
    let note = said.sign(&thief).unwrap().into_bytes();
    files.insert(HISTORY.into(), note.clone());
    files.insert(CHECKPOINT.into(), note);
    assert_eq!(fault(&files).place, Place::History(0));
    let key = VerifierKey::new(ORIGIN, thief.public_key()).unwrap().to_string();
    let refused = verify(&disk(&sample.files), &key, None).unwrap_err();
    assert!(matches!(refused, LogError::Tampered(Tampered { place: Place::History(0), .. })));
    let refused = verify(&disk(&files), &key, Some(&sample.kept)).unwrap_err();
    assert!(matches!(refused, LogError::Tampered(Tampered { place: Place::Checkpoint, .. })));
}

#[test]
fn missing_notes_are_noticed_and_an_altered_log_does_not_start() {
    let mut files = sample().files.clone();
    files.remove(CHECKPOINT);
    assert_eq!(fault(&files).place, Place::Checkpoint);
    let mut files = sample().files.clone();
    files.remove(HISTORY);
    assert_eq!(fault(&files).place, Place::Checkpoint);
    let mut files = sample().files.clone();
    files.get_mut(&segment_path(0)).unwrap()[SEGMENT_HEAD + 60] ^= 1;
    let (disk, house) = (disk(&files), House::new(1));
    let refused = house.open(&disk).err().unwrap();
    assert!(
        matches!(refused, LogError::Tampered(Tampered { place: Place::Entry(0), .. })),
        "{refused}"
    );
    assert_eq!(disk.files(), files, "it is left as it is");
    let _ = signing_key();
}

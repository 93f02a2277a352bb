//! The format of the log, byte by byte. It is meant to stay: a change is a new version beside this one.
//!
//! All integers are unsigned and big-endian; `‖` joins octets; `H` is SHA-256; hexadecimal is lower-case.
//!
//! # The directory
//!
//! ```text
//! lock                              held (flock) by the process that writes
//! segments/<first>.seg              the truth; <first> is the index of the first entry, 20 decimal digits
//! checkpoints                       every signed checkpoint, oldest first, one after the other
//! checkpoint                        the latest of them                       (C2SP tlog-checkpoint)
//! tile/<L>/<N>[.p/<W>]              hashes of the tree                       (C2SP tlog-tiles)
//! tile/entries/<N>[.p/<W>]          leaves, 256 a bundle                     (C2SP tlog-tiles)
//! checkpoint.tmp, tile/tmp          being written; worthless
//! ```
//!
//! Segments and checkpoints are synced. Tiles are not: the next start rebuilds them from the segments.
//!
//! # Segment
//!
//! A head of [`SEGMENT_HEAD`] octets, then frames without gaps:
//!
//! ```text
//! offset  size
//!      0     8  "wardseg2"
//!      8     8  index of the first entry, as in the file's name
//!     16    16  check: the first 16 octets of H(octets 0..16)
//! ```
//!
//! A segment is begun when the one before has reached 64 MiB (the bound is not part of the format). Its head
//! and its name are durable before its first frame is written, and every frame of the one before is.
//!
//! Behind the last frame there may be octets of zero, room written ahead so that a sync need not write the file's
//! length too. They are no entry, in no segment.
//!
//! # Frame
//!
//! One entry. `L` is the length of the leaf (1 to [`MAX_LEAF`]), `B` that of the sealed body (at most
//! [`MAX_BODY`]).
//!
//! ```text
//! offset  size
//!      0     4  "WEN2"
//!      4     8  index of the entry, counted from 0 over all segments
//!     12     8  durable: how many entries were durable when this frame was written,
//!               which is the index of the first entry of its commit
//!     20     2  L
//!     22     4  B
//!     26     6  head check: the first 6 octets of H(octets 0..26)
//!     32     L  leaf
//!   32+L     B  sealed body
//! 32+L+B    16  frame tag: the first 16 octets of HMAC-SHA256(log key, octets 0..32+L)
//! 48+L+B    16  frame check: the first 16 octets of H(octets 0..48+L+B)
//! ```
//!
//! The log key is HKDF-SHA256(seed of the key that signs checkpoints, no salt, info = "ward signing key: mac v1"
//! preceded by its length in 8 octets). The tag covers the body too, since the leaf holds `H(sealed body)`. Before a
//! log is continued, the tag of every entry that no signed checkpoint covers is verified, and that the places of the
//! outbox among them count up by one (an entry with the action `outbox-gap` accounts for those that it passes over,
//! and no place exceeds 2^63-1). An entry that fails was written by somebody else: it is refused, never signed. Readers
//! without the key skip the tag.
//!
//! The checks are against accidents; against people there are the tags, until they are signed, and the tree. A commit appends its frames, syncs the
//! file once, and only then acknowledges. Therefore only frames of the last commit can be torn, and:
//!
//! *A malformed place where entry `i` should stand is a torn write, to be removed, if it is in the last
//! segment, no signed checkpoint covers `i`, and no well-formed frame behind it has `durable > i`.
//! Otherwise entry `i` had been acknowledged, and the log was altered.*
//!
//! The rule has one blind spot: until the last commit is signed (at most a second later), its alteration on disk looks
//! like a torn write.
//!
//! # Leaf
//!
//! UTF-8 JSON without white space, the members of [`crate::Leaf`] in the order of its declaration; absent members
//! are left out, never null. `v` is 1. `at` is in milliseconds since 1970. It holds no PHI (rule 3).
//! `body` is hexadecimal `H(opened body)`, `sealed` is hexadecimal `H(sealed body)`: the first lets a body be
//! shown to someone without its key, the second lets a body be checked by anyone who has no key, and both keep
//! standing when the key is destroyed.
//!
//! # Sealed body
//!
//! ```text
//! offset  size
//!      0     4  day: days since 1970 when it was sealed; names the key with the next
//!      4     4  id of the key among those of the tenant and day (`KeyPurpose::LogBody(day)`)
//!      8    16  record id, random
//!     24   n+16 AES-256-GCM of the opened body, tag behind
//! ```
//!
//! Opened body: 32 random octets of salt, then the JSON of the event's body. The salt lies inside, so that whoever
//! lacks the key cannot try guesses against `body`. The AEAD key is HKDF-SHA256(key of the day, salt = record id,
//! info = each of "ward log body v2", origin, tenant, preceded by its length in 8 octets); it seals this one record,
//! so its nonce is twelve zeros. Associated data: octets 0..24 ‖ H(the leaf with `sealed` empty), so that a body opens
//! beside its own header only.
//!
//! # Tree, tiles, checkpoints
//!
//! RFC 6962 §2.1: `H(0x00 ‖ leaf)`, `H(0x01 ‖ left ‖ right)`, the empty tree is `H("")`. Tile `N` of level `L` is the
//! hashes of the subtrees `D[(N·256+i)·256^L ..][..256^L]`, 32 octets each; `N` is written in groups of three digits,
//! all but the last preceded by `x` (`x001/x234/067`). A bundle is, for each leaf, its length in 2 octets, then the
//! leaf. Partial tiles (`.p/<W>`) exist for the size of each checkpoint until the full tile does.
//!
//! A checkpoint is five lines, each ended by 0x0A: origin, size in decimal, root in base64, nothing, and
//! `— <origin> <base64(key id ‖ Ed25519 signature of the first three lines)>`, where the key id is the first
//! 4 octets of `H(origin ‖ 0x0A ‖ 0x01 ‖ public key)`. The first checkpoint is of the empty tree, so that a log with
//! entries and without a checkpoint is an altered one. A checkpoint never claims more than is durable; it is durable
//! in `checkpoints` before it stands in `checkpoint`. Fewer than five lines at the end of `checkpoints` are a torn
//! write.

use ward_core::crypto::{SigningKey, same, sha256};

/// Directory of the segments.
pub const SEGMENTS: &str = "segments";
/// The latest checkpoint.
pub const CHECKPOINT: &str = "checkpoint";
/// The latest checkpoint, being written.
pub const CHECKPOINT_TMP: &str = "checkpoint.tmp";
/// All checkpoints.
pub const HISTORY: &str = "checkpoints";
/// Largest leaf, octets (rule 3).
pub const MAX_LEAF: usize = 2048;
/// Largest sealed body, octets.
pub const MAX_BODY: usize = 1024 * 1024;
/// Octets of a segment's head.
pub const SEGMENT_HEAD: usize = 32;
/// Octets of a frame's head.
pub const FRAME_HEAD: usize = 32;
/// Octets of a frame's tag.
pub const FRAME_TAG: usize = 16;
/// Octets of a frame's check.
pub const FRAME_CHECK: usize = 16;
/// Highest place of an outbox: stores count in signed 64-bit numbers.
pub const MAX_PLACE: u64 = i64::MAX as u64;
/// Action of an entry that accounts for places of the outbox that hold no event.
pub const GAP: &str = "outbox-gap";

const SEGMENT_MAGIC: &[u8; 8] = b"wardseg2";
/// Segments of before the first release, whose frames had no tag.
pub(crate) const OLD_SEGMENT_MAGIC: &[u8; 8] = b"wardseg1";
const FRAME_MAGIC: &[u8; 4] = b"WEN2";

/// Path of the segment that begins with an entry.
pub fn segment_path(first: u64) -> String {
    format!("{SEGMENTS}/{first:020}.seg")
}

/// The first entry of a segment, from its file name; `None` if it is not a segment's name.
pub fn segment_first(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let first = digits.parse().ok()?;
    (digits.len() == 20 && format!("{first:020}") == digits).then_some(first)
}

/// The head of a segment.
pub fn segment_head(first: u64) -> [u8; SEGMENT_HEAD] {
    let mut head = [0; SEGMENT_HEAD];
    let check = sha256(&[SEGMENT_MAGIC, &first.to_be_bytes()]);
    let parts = SEGMENT_MAGIC.iter().copied().chain(first.to_be_bytes()).chain(check);
    for (to, from) in head.iter_mut().zip(parts) {
        *to = from;
    }
    head
}

/// A well-formed frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Index of the entry.
    pub index: u64,
    /// Entries that were durable when it was written.
    pub durable: u64,
    /// The leaf.
    pub leaf: &'a [u8],
    /// The sealed body.
    pub sealed: &'a [u8],
    /// The tag, see [`Frame::tag_under`].
    pub tag: [u8; FRAME_TAG],
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFault {
    /// The bytes end before the frame does.
    Short,
    /// The head is not well-formed.
    Head,
    /// The frame check does not fit.
    Check,
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
}

fn tag_of(key: &SigningKey, covered: &[u8]) -> [u8; FRAME_TAG] {
    let [tag @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = key.mac(covered);
    tag
}

impl<'a> Frame<'a> {
    /// Octets of the whole frame.
    pub fn octets(&self) -> usize {
        FRAME_HEAD + self.leaf.len() + self.sealed.len() + FRAME_TAG + FRAME_CHECK
    }

    /// The tag that this frame has if it was written with the key.
    pub fn tag_under(&self, key: &SigningKey) -> [u8; FRAME_TAG] {
        let mut covered = Vec::with_capacity(FRAME_HEAD + self.leaf.len());
        self.write_head(&mut covered);
        covered.extend_from_slice(self.leaf);
        tag_of(key, &covered)
    }

    /// Whether this frame was written with the key.
    pub fn authentic(&self, key: &SigningKey) -> bool {
        same(&self.tag, &self.tag_under(key))
    }

    /// Sets the tag and appends the frame to a buffer. The caller has checked the bounds of leaf and body.
    pub(crate) fn write_under(mut self, key: &SigningKey, out: &mut Vec<u8>) {
        let start = out.len();
        out.reserve(self.octets());
        self.write_head(out);
        out.extend_from_slice(self.leaf);
        let covered = out.get(start..).unwrap_or_default();
        self.tag = tag_of(key, covered);
        self.write_rest(start, out);
    }

    fn write_head(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(FRAME_MAGIC);
        out.extend_from_slice(&self.index.to_be_bytes());
        out.extend_from_slice(&self.durable.to_be_bytes());
        out.extend_from_slice(&u16::try_from(self.leaf.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(&u32::try_from(self.sealed.len()).unwrap_or(u32::MAX).to_be_bytes());
        let head = sha256(&[out.get(start..).unwrap_or_default()]);
        out.extend(head.iter().take(6));
    }

    /// Appends the frame to a buffer. The caller has checked the bounds of leaf and body.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.write_head(out);
        out.extend_from_slice(self.leaf);
        self.write_rest(start, out);
    }

    /// Body, tag and check of a frame that begins at `start`.
    fn write_rest(&self, start: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.sealed);
        out.extend_from_slice(&self.tag);
        let check = sha256(&[out.get(start..).unwrap_or_default()]);
        out.extend(check.iter().take(FRAME_CHECK));
    }

    /// Reads the frame at the beginning of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameFault> {
        let head = bytes.get(..FRAME_HEAD).ok_or(FrameFault::Short)?;
        let (fields, check) = head.split_at(26);
        if !fields.starts_with(FRAME_MAGIC) || !sha256(&[fields]).starts_with(check) {
            return Err(FrameFault::Head);
        }
        let [.., l1, l0, b3, b2, b1, b0] = fields else { return Err(FrameFault::Head) };
        let leaf_len = usize::from(u16::from_be_bytes([*l1, *l0]));
        let body_len = usize::try_from(u32::from_be_bytes([*b3, *b2, *b1, *b0]))
            .map_err(|_| FrameFault::Head)?;
        if leaf_len == 0 || leaf_len > MAX_LEAF || body_len > MAX_BODY {
            return Err(FrameFault::Head);
        }
        let end = FRAME_HEAD + leaf_len + body_len + FRAME_TAG;
        let covered = bytes.get(..end).ok_or(FrameFault::Short)?;
        let check = bytes.get(end..end + FRAME_CHECK).ok_or(FrameFault::Short)?;
        if !sha256(&[covered]).starts_with(check) {
            return Err(FrameFault::Check);
        }
        let (index, durable) = u64_at(head, 4).zip(u64_at(head, 12)).ok_or(FrameFault::Head)?;
        let (covered, tag) = covered.split_last_chunk().ok_or(FrameFault::Head)?;
        let (leaf, sealed) =
            covered.split_at(FRAME_HEAD).1.split_at_checked(leaf_len).ok_or(FrameFault::Head)?;
        Ok(Self { index, durable, leaf, sealed, tag: *tag })
    }

    /// Whether any well-formed frame in `bytes`, wherever it begins, was written when more than `index`
    /// entries were durable.
    pub(crate) fn any_after(bytes: &[u8], index: u64) -> bool {
        (0..bytes.len()).any(|at| {
            let rest = bytes.get(at..).unwrap_or_default();
            rest.starts_with(FRAME_MAGIC)
                && Frame::parse(rest).is_ok_and(|frame| frame.durable > index)
        })
    }

    /// Whether any well-formed frame begins in `bytes`.
    pub(crate) fn any(bytes: &[u8]) -> bool {
        (0..bytes.len()).any(|at| {
            let rest = bytes.get(at..).unwrap_or_default();
            rest.starts_with(FRAME_MAGIC) && Frame::parse(rest).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_laid_out_as_specified() {
        let key = SigningKey::from_seed(&ward_core::Secret::new([5; 32])).unwrap();
        let mut frame =
            Frame { index: 5, durable: 3, leaf: b"leaf", sealed: b"body!", tag: [0; 16] };
        assert!(!frame.authentic(&key));
        frame.tag = frame.tag_under(&key);
        assert!(frame.authentic(&key));
        let mut out = Vec::new();
        frame.write(&mut out);
        let mut again = b"before".to_vec();
        Frame { tag: [0; 16], ..frame }.write_under(&key, &mut again);
        assert_eq!(again[6..], out);
        assert_eq!(out.len(), 32 + 4 + 5 + 16 + 16);
        assert_eq!(&out[..4], b"WEN2");
        assert_eq!(out[4..12], 5_u64.to_be_bytes());
        assert_eq!(out[12..20], 3_u64.to_be_bytes());
        assert_eq!(out[20..26], [0, 4, 0, 0, 0, 5]);
        assert_eq!(out[26..32], sha256(&[&out[..26]])[..6]);
        assert_eq!(&out[32..41], b"leafbody!");
        assert_eq!(out[41..57], key.mac(&out[..36])[..16]);
        assert_eq!(out[57..], sha256(&[&out[..57]])[..16]);
        assert_eq!(Frame::parse(&out), Ok(frame));
        assert_eq!(frame.octets(), out.len());
    }

    #[test]
    fn every_altered_octet_of_a_frame_is_noticed() {
        let mut out = Vec::new();
        Frame { index: 5, durable: 3, leaf: b"leaf", sealed: b"body!", tag: [9; 16] }
            .write(&mut out);
        for at in 0..out.len() {
            let mut altered = out.clone();
            altered[at] ^= 1;
            assert!(Frame::parse(&altered).is_err(), "octet {at}");
        }
        for cut in 0..out.len() {
            assert_eq!(Frame::parse(&out[..cut]), Err(FrameFault::Short), "cut at {cut}");
        }
    }

    #[test]
    fn a_segment_head_is_laid_out_as_specified() {
        let head = segment_head(258);
        assert_eq!(&head[..8], b"wardseg2");
        assert_eq!(head[8..16], [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(head[16..], sha256(&[&head[..16]])[..16]);
        assert_eq!(segment_path(258), "segments/00000000000000000258.seg");
        for (name, want) in [
            ("00000000000000000258.seg", Some(258)),
            ("258.seg", None),
            ("+0000000000000000258.seg", None),
            ("00000000000000000258.tmp", None),
        ] {
            assert_eq!(segment_first(name), want, "{name}");
        }
    }
}

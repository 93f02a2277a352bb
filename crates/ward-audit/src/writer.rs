//! The one thread that writes (house §6): group commit, segment roll-over, checkpoints.
//!
//! A commit appends all that waits, syncs once, then answers, then tells the bus. It writes into room that was filled
//! with zeros before, so that a sync has no length and no blocks of the file to write. A failed write is cut off again
//! and the next commit tries anew, so that the log comes back by itself when there is space. A failed sync leaves the
//! state of the disk unknown: nothing more is written until the log is opened again.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ward_core::crypto::SigningKey;
use ward_core::{Bus, Clock, Message, Receipt, Recorded, SinkError, Timestamp};

use crate::disk::{Disk, DiskLock};
use crate::format::{
    CHECKPOINT, CHECKPOINT_TMP, FRAME_TAG, Frame, HISTORY, SEGMENT_HEAD, SEGMENTS, segment_head,
    segment_path,
};
use crate::note::Checkpoint;
use crate::queue::{Append, Shared, Work};
use crate::segments::{Tail, walk};
use crate::tiles::{Tiles, clear_partial, write_full};
use crate::verify::Checked;
use crate::{LogError, disk_error};

/// The machine's own time, to measure how long a sync takes; nothing is decided by it.
#[expect(
    clippy::disallowed_methods,
    reason = "measures the disk; the injected clock can be set back"
)]
fn monotonic() -> std::time::Instant {
    std::time::Instant::now()
}

/// Sizes and times that are not part of the format.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    /// A segment that has reached this is followed by another.
    pub(crate) segment_bytes: u64,
    /// Room that is written ahead at once.
    pub(crate) room_bytes: u64,
    /// Between two checkpoints of a busy log, and the longest that an entry stays unsigned.
    pub(crate) checkpoint_every: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            // Some two hundred small reads; the sync that takes the zeros along is longer by a few hundred microseconds.
            room_bytes: 256 * 1024,
            checkpoint_every: Duration::from_secs(1),
        }
    }
}

/// The longest that a commit waits for others to join it.
const LONGEST_GATHERING: Duration = Duration::from_millis(1);

/// Why something could not be written.
enum Trouble {
    /// It was undone, or will be; worth another try.
    Again(String),
    /// What the disk holds is unknown.
    Unknown(String),
}

/// An I/O error in the operator's words.
fn words(doing: &str, path: &str, error: &io::Error) -> String {
    let why = match error.kind() {
        ErrorKind::StorageFull => "the disk is full".to_owned(),
        ErrorKind::FileTooLarge => "the file-size limit is reached".to_owned(),
        ErrorKind::QuotaExceeded => "the disk quota is used up".to_owned(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        _ => error.to_string(),
    };
    format!("cannot {doing} {path}: {why}")
}

fn again(doing: &'static str, path: &str) -> impl Fn(io::Error) -> Trouble {
    move |error| Trouble::Again(words(doing, path, &error))
}

fn unknown(path: &str) -> impl Fn(io::Error) -> Trouble {
    move |error| Trouble::Unknown(words("sync", path, &error))
}

pub(crate) struct Writer {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) key: SigningKey,
    pub(crate) origin: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) tuning: Tuning,
    pub(crate) tiles: Tiles,
    /// The segment that is written; its length counts durable octets only.
    pub(crate) segment: Option<Tail>,
    /// Whether octets of a failed write may stand behind the segment's length.
    pub(crate) unclean: bool,
    /// Zeros that stand behind the segment's length.
    pub(crate) room: u64,
    /// How long the segment must be before more room is tried for.
    pub(crate) room_again: u64,
    /// How long a sync took lately.
    pub(crate) sync_time: Duration,
    /// Well-formed octets of the checkpoint history, and whether others may stand behind them.
    pub(crate) history: u64,
    pub(crate) history_unclean: bool,
    /// The newest signed note, with its size.
    pub(crate) newest: Option<(u64, String)>,
    pub(crate) signed_at: Timestamp,
    /// Whether a checkpoint is owed and worth a try without a further commit.
    pub(crate) owed: bool,
    pub(crate) poisoned: Option<String>,
    /// Held as long as this writes.
    pub(crate) _lock: DiskLock,
}

impl Writer {
    /// Works until the log is closed.
    pub(crate) fn run(mut self) {
        loop {
            let patience = self.owed.then(|| self.until_due());
            match self.shared.next(patience, self.sync_time.min(LONGEST_GATHERING)) {
                Work::Commit(jobs) => {
                    self.commit(jobs);
                    self.make_room();
                    if self.owed && self.until_due().is_zero() {
                        self.sign_or_warn();
                    }
                }
                Work::Sign(reply) => {
                    let note = self.sign().map_err(SinkError::Unwritable);
                    let _ = reply.send(note);
                }
                Work::Idle => self.sign_or_warn(),
                Work::Close => {
                    self.sign_or_warn();
                    self.give_room_back();
                    return;
                }
            }
        }
    }

    /// How long a checkpoint that is owed may wait. A clock that was set back says nothing about how long ago the last
    /// one was: it is due.
    fn until_due(&self) -> Duration {
        let now = self.clock.now();
        if now < self.signed_at {
            return Duration::ZERO;
        }
        self.tuning.checkpoint_every.saturating_sub(now.since(self.signed_at))
    }

    fn commit(&mut self, jobs: Vec<Append>) {
        let receipts = match self.write(&jobs) {
            Ok(receipts) => receipts,
            Err(cause) => {
                if self.shared.set_trouble(Some(&cause)) {
                    tracing::error!(cause, "the log cannot be written: no data leaves");
                }
                for job in jobs {
                    let _ = job.reply.send(Err(SinkError::Unwritable(cause.clone())));
                }
                return;
            }
        };
        if self.shared.set_trouble(None) {
            tracing::info!("the log can be written again");
        }
        let mut news = Vec::new();
        for (job, (receipt, kept)) in jobs.into_iter().zip(receipts) {
            let events = job.entries.into_iter().zip(kept).filter(|(_, kept)| *kept);
            for (index, ((_, event), _)) in (receipt.first..).zip(events) {
                news.push(Arc::new(Recorded { index, event }));
            }
            let _ = job.reply.send(Ok(receipt));
        }
        for recorded in news {
            self.bus.publish(Message::Recorded(recorded));
        }
    }

    /// Writes and syncs the jobs. For each: its receipt, and which of its entries are new (an outbox row that is
    /// in the log already is not written again).
    fn write(&mut self, jobs: &[Append]) -> Result<Vec<(Receipt, Vec<bool>)>, String> {
        if let Some(cause) = &self.poisoned {
            return Err(cause.clone());
        }
        let durable = self.tiles.tree.size();
        let (mut index, mut high) = (durable, self.shared.outbox_high());
        let mut receipts = Vec::with_capacity(jobs.len());
        let (mut buffer, mut new) = (Vec::new(), Vec::new());
        for job in jobs {
            let (first, mut kept) = (index, Vec::with_capacity(job.entries.len()));
            for (entry, _) in &job.entries {
                let fresh = entry.outbox.is_none_or(|seq| seq > high);
                kept.push(fresh);
                if fresh {
                    let (leaf, sealed) = (&entry.leaf, &entry.sealed);
                    let frame = Frame { index, durable, leaf, sealed, tag: [0; FRAME_TAG] };
                    frame.write_under(&self.key, &mut buffer);
                    new.push(entry);
                    index += 1;
                    high = high.max(entry.outbox.unwrap_or(0));
                }
            }
            let count = u32::try_from(index - first).unwrap_or(u32::MAX);
            receipts.push((Receipt { first, count }, kept));
        }
        if new.is_empty() {
            return Ok(receipts);
        }
        self.append(&buffer).map_err(|trouble| self.settle_trouble(trouble))?;
        for entry in new {
            self.tiles.append(&entry.leaf);
        }
        self.shared.outbox_high.store(high, Ordering::Release);
        self.shared.size.store(index, Ordering::Release);
        self.owed = true;
        Ok(receipts)
    }

    fn settle_trouble(&mut self, trouble: Trouble) -> String {
        match trouble {
            Trouble::Again(cause) => cause,
            Trouble::Unknown(cause) => {
                let cause = format!("{cause}; restart after the disk is repaired");
                self.poisoned = Some(cause.clone());
                cause
            }
        }
    }

    /// Appends octets to the current segment, durably or not at all.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let mut segment = self.open_segment()?;
        let path = segment_path(segment.first);
        if self.unclean {
            self.disk.truncate(&path, segment.len).map_err(again("cut back", &path))?;
            self.unclean = false;
        }
        if let Err(error) = self.disk.write_at(&path, segment.len, bytes) {
            // Until this has been cut off, nothing is appended.
            self.unclean = self.disk.truncate(&path, segment.len).is_err();
            self.room = 0;
            return Err(again("write", &path)(error));
        }
        let began = monotonic();
        self.disk.sync(&path).map_err(unknown(&path))?;
        let took = began.elapsed();
        self.sync_time = (self.sync_time * 7 + took) / 8;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.shared.sync_micros.fetch_add(micros, Ordering::Relaxed);
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        segment.len += bytes.len() as u64;
        self.room = self.room.saturating_sub(bytes.len() as u64);
        self.segment = Some(segment);
        Ok(())
    }

    /// Writes zeros ahead, after the callers had their answers; the next commit syncs them. Without room, for want of
    /// space, commits only take longer.
    fn make_room(&mut self) {
        let Some(segment) = self.segment.filter(|tail| tail.len >= self.room_again) else { return };
        let wanted =
            self.tuning.room_bytes.min(self.tuning.segment_bytes.saturating_sub(segment.len));
        if self.unclean || self.poisoned.is_some() || self.room >= wanted / 4 {
            return;
        }
        let more = wanted - self.room;
        let zeros = vec![0; usize::try_from(more).unwrap_or(0)];
        let path = segment_path(segment.first);
        if self.disk.write_at(&path, segment.len + self.room, &zeros).is_ok() {
            self.room = wanted;
        } else {
            self.unclean = self.disk.truncate(&path, segment.len).is_err();
            self.room = 0;
            self.room_again = segment.len + self.tuning.room_bytes;
        }
    }

    /// Cuts off room that will not be used. It may stay, so nothing depends on this.
    fn give_room_back(&mut self) {
        let room = std::mem::take(&mut self.room);
        if let Some(segment) = self.segment.filter(|_| room > 0 && self.poisoned.is_none()) {
            let _ = self.disk.truncate(&segment_path(segment.first), segment.len);
        }
    }

    /// The segment to write to; begins another if the current one is long enough.
    fn open_segment(&mut self) -> Result<Tail, Trouble> {
        if let Some(segment) = self.segment.filter(|tail| tail.len < self.tuning.segment_bytes) {
            return Ok(segment);
        }
        if let Some(old) = self.segment.filter(|_| self.unclean) {
            let path = segment_path(old.first);
            self.disk.truncate(&path, old.len).map_err(again("cut back", &path))?;
            self.unclean = false;
        }
        self.give_room_back();
        self.room_again = 0;
        let first = self.tiles.tree.size();
        if first == 0 {
            self.disk.create_dir(SEGMENTS).map_err(again("make", SEGMENTS))?;
            self.disk.sync_dir("").map_err(unknown("the log's directory"))?;
        }
        let path = segment_path(first);
        let begun = self.disk.write(&path, &segment_head(first)).map_err(again("write", &path));
        if let Err(trouble) = begun {
            let _ = self.disk.remove(&path);
            return Err(trouble);
        }
        self.disk.sync(&path).map_err(unknown(&path))?;
        self.disk.sync_dir(SEGMENTS).map_err(unknown(SEGMENTS))?;
        let len = SEGMENT_HEAD as u64;
        let segment = Tail { first, len, last_commit: 0 };
        self.segment = Some(segment);
        Ok(segment)
    }

    pub(crate) fn sign_or_warn(&mut self) {
        if let Err(cause) = self.sign() {
            tracing::warn!(cause, "no checkpoint could be written; the next commit tries again");
        }
    }

    /// Signs the tree as it stands, durably.
    pub(crate) fn sign(&mut self) -> Result<String, String> {
        self.owed = false;
        if let Some(cause) = &self.poisoned {
            return Err(cause.clone());
        }
        let size = self.tiles.tree.size();
        if let Some((_, note)) = self.newest.as_ref().filter(|(signed, _)| *signed == size) {
            return Ok(note.clone());
        }
        if let Err(error) = self.tiles.flush(&*self.disk) {
            tracing::warn!(%error, "tiles could not be written; they follow later");
        }
        let said = Checkpoint { origin: self.origin.clone(), size, root: self.tiles.tree.root() };
        let root = said.root;
        let note = said.sign(&self.key).map_err(|error| error.to_string())?;
        self.remember(&note).map_err(|trouble| self.settle_trouble(trouble))?;
        self.newest = Some((size, note.clone()));
        self.shared.set_signed(size, root);
        self.signed_at = self.clock.now();
        self.show(&note).map_err(|trouble| self.settle_trouble(trouble))?;
        Ok(note)
    }

    /// Appends a note to the history, durably.
    fn remember(&mut self, note: &str) -> Result<(), Trouble> {
        if self.history_unclean {
            self.disk.truncate(HISTORY, self.history).map_err(again("cut back", HISTORY))?;
            self.history_unclean = false;
        }
        if let Err(error) = self.disk.append(HISTORY, note.as_bytes()) {
            self.history_unclean = true;
            return Err(again("write", HISTORY)(error));
        }
        self.disk.sync(HISTORY).map_err(unknown(HISTORY))?;
        if self.history == 0 {
            self.disk.sync_dir("").map_err(unknown("the log's directory"))?;
        }
        self.history += note.len() as u64;
        Ok(())
    }

    /// Replaces a current checkpoint that is older than the history.
    pub(crate) fn show_newest(&mut self) {
        let Some((_, note)) = &self.newest else { return };
        if let Err(trouble) = self.show(note) {
            let cause = self.settle_trouble(trouble);
            tracing::warn!(cause, "the current checkpoint is older than the history");
        }
    }

    fn show(&self, note: &str) -> Result<(), Trouble> {
        let disk = &self.disk;
        disk.write(CHECKPOINT_TMP, note.as_bytes()).map_err(again("write", CHECKPOINT_TMP))?;
        disk.sync(CHECKPOINT_TMP).map_err(unknown(CHECKPOINT_TMP))?;
        disk.rename(CHECKPOINT_TMP, CHECKPOINT).map_err(again("replace", CHECKPOINT))?;
        disk.sync_dir("").map_err(unknown("the log's directory"))
    }

    /// Begins a log: the checkpoint of the empty tree first, then the first segment.
    pub(crate) fn create(&mut self) -> Result<(), String> {
        self.sign()?;
        self.open_segment().map(|_| ()).map_err(|trouble| self.settle_trouble(trouble))
    }
}

/// Brings a checked log into the state that a writer goes on from: torn writes are removed, and the last commit, of
/// which it is not known whether its sync returned, is written over with itself and synced.
pub(crate) fn recover(disk: &dyn Disk, checked: &Checked) -> Result<(), LogError> {
    if let Some(path) = &checked.walked.torn_segment {
        tracing::warn!(path, "removing a segment whose creation was torn");
        disk.remove(path).map_err(disk_error("cannot remove", path))?;
    }
    if let Some(tail) = checked.walked.tail {
        let path = segment_path(tail.first);
        let bytes = disk.read(&path).map_err(disk_error("cannot read", &path))?.unwrap_or_default();
        if bytes.len() as u64 > tail.len {
            tracing::warn!(path, bytes = checked.walked.torn, "removing a torn write");
            disk.truncate(&path, tail.len).map_err(disk_error("cannot cut back", &path))?;
        }
        // After a failed sync Linux forgets which pages are not on disk; writing them again makes them so.
        let range =
            usize::try_from(tail.last_commit).unwrap_or(0)..usize::try_from(tail.len).unwrap_or(0);
        let commit = bytes.get(range).unwrap_or_default();
        if !commit.is_empty() {
            disk.write_at(&path, tail.last_commit, commit)
                .map_err(disk_error("cannot write", &path))?;
        }
        disk.sync(&path).map_err(disk_error("cannot sync", &path))?;
        disk.sync_dir(SEGMENTS).map_err(disk_error("cannot sync", SEGMENTS))?;
    }
    let (good, all) = checked.history;
    if all > good {
        disk.truncate(HISTORY, good).map_err(disk_error("cannot cut back", HISTORY))?;
    }
    if all > 0 {
        disk.sync(HISTORY).map_err(disk_error("cannot sync", HISTORY))?;
    }
    Ok(())
}

/// Writes the full tiles that are missing or wrong, from the entries.
pub(crate) fn rebuild_tiles(disk: &dyn Disk) -> Result<(), LogError> {
    let mut tiles = Tiles::default();
    walk(disk, 0, &mut |frame| {
        let mut full = Vec::new();
        tiles.push(frame.leaf, |path, bytes| full.push((path, bytes)));
        for (path, bytes) in full {
            let same = disk.read(&path).map_err(disk_error("cannot read", &path))?;
            let done = if same.as_deref() == Some(bytes.as_slice()) {
                clear_partial(disk, &path)
            } else {
                write_full(disk, &path, &bytes)
            };
            done.map_err(disk_error("cannot write", &path))?;
        }
        Ok(())
    })?;
    tiles.rebuild_partial(disk).map_err(disk_error("cannot write", "partial tiles"))
}

//! The log of one node: takes events, seals their bodies, hands them to the writer, and drains the store's outbox
//! (rules 3 and 4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Mutex, oneshot};
use ward_core::crypto::SigningKey;
use ward_core::{
    BoxFuture, Bus, Clock, CorrelationId, Event, EventKind, EventSink, KeyPurpose, KeyVault,
    Limits, LogMark, NodeId, Outbox, OutboxRow, OutboxSeq, Outcome, Receipt, Rng, SignedTree,
    SinkError, Timestamp,
};

use crate::disk::Disk;
use crate::format::{GAP, MAX_PLACE};
use crate::leaf::{Entry, draft_octets, seal, shortened};
use crate::note::{Checkpoint, VerifierKey};
use crate::queue::{LogStats, Shared};
use crate::tiles::Tiles;
use crate::verify::{Checked, TIME_BLOCK, check};
use crate::writer::{Tuning, Writer, rebuild_tiles, recover};
use crate::{LogError, Reader, disk_error};

/// Between two attempts to record the start.
const RETRY: std::time::Duration = std::time::Duration::from_millis(500);
/// Outbox rows read at once.
const DRAIN_ROWS: usize = 256;

/// The origin of a node's log (house rule 4): `ward/log/<node id>`.
pub fn origin_of(node: NodeId) -> String {
    format!("ward/log/{node}")
}

/// What a log needs.
pub struct LogOptions {
    /// Where it lies.
    pub disk: Arc<dyn Disk>,
    /// Its origin, see [`origin_of`]; also the name of its key.
    pub origin: String,
    /// Signs checkpoints.
    pub signing_key: SigningKey,
    /// Keys of bodies.
    pub vault: Arc<dyn KeyVault>,
    /// Hears of each event once it is durable, in order.
    pub bus: Arc<dyn Bus>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// Bounds: `log_queue`.
    pub limits: Arc<Limits>,
}

/// The log of this node. Call [`Log::close`] before dropping it: it signs a last checkpoint and gives the directory
/// free; dropping alone does so a little later.
pub struct Log {
    pub(crate) shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    vault: Arc<dyn KeyVault>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    key: VerifierKey,
    drain_rows: usize,
    /// See [`Checked::times`].
    times: Vec<Timestamp>,
    outbox: Mutex<Attached>,
    /// Whether the outbox may hold rows that no caller waits for any more.
    behind: AtomicBool,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

#[derive(Default)]
struct Attached {
    outbox: Option<Arc<dyn Outbox>>,
    /// Rows up to here are marked as drained.
    marked: u64,
    /// The store has heard of the signed tree of this size.
    told: u64,
}

impl Log {
    /// Opens or creates the log: recovers from a crash, refuses what was altered ([`LogError::Tampered`]) and leaves
    /// that as it is. Reads the whole log, so it takes time in proportion. Blocks.
    pub fn open(options: LogOptions) -> Result<Arc<Self>, LogError> {
        Self::open_tuned(options, Tuning::default())
    }

    pub(crate) fn open_tuned(options: LogOptions, tuning: Tuning) -> Result<Arc<Self>, LogError> {
        let LogOptions { disk, origin, signing_key, vault, bus, clock, rng, limits } = options;
        let key = VerifierKey::new(&origin, signing_key.public_key())?;
        let lock =
            disk.lock().map_err(disk_error("cannot lock", "the log"))?.ok_or(LogError::Locked)?;
        let found = match check(&*disk, &key, None, Some(&signing_key)) {
            Ok(checked) => {
                recover(&*disk, &checked)?;
                Some(checked)
            }
            Err(LogError::Absent) => None,
            Err(error) => return Err(error),
        };
        let size = found.as_ref().map_or(0, |checked| checked.report.size);
        let outbox_high = found.as_ref().map_or(0, |checked| checked.outbox_high);
        let times = found.as_ref().map_or_else(Vec::new, |checked| checked.times.clone());
        let shared = Arc::new(Shared::new(limits.log_queue, size, outbox_high));
        let mut writer = Writer {
            disk: Arc::clone(&disk),
            key: signing_key,
            origin,
            signed_at: clock.now(),
            clock: Arc::clone(&clock),
            bus,
            shared: Arc::clone(&shared),
            tuning,
            tiles: Tiles::default(),
            segment: None,
            unclean: false,
            room: 0,
            room_again: 0,
            sync_time: std::time::Duration::ZERO,
            history: 0,
            history_unclean: false,
            newest: None,
            owed: false,
            poisoned: None,
            _lock: lock,
        };
        match found {
            Some(checked) => resume(&mut writer, checked),
            None => begin(&mut writer)?,
        }
        let (done, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("ward-log".into())
            .spawn(move || {
                let _ending = Ending(Arc::clone(&writer.shared));
                writer.run();
                let _ = done.send(());
            })
            .map_err(disk_error("cannot start", "the writer"))?;
        Ok(Arc::new(Self {
            shared,
            disk,
            vault,
            clock,
            rng,
            key,
            times,
            drain_rows: limits.log_queue.clamp(1, DRAIN_ROWS),
            outbox: Mutex::default(),
            behind: AtomicBool::new(false),
            ended: Mutex::new(Some(ended)),
        }))
    }

    /// From now on [`EventSink::settle`] drains this outbox; drains what is pending. If that fails, the outbox is
    /// attached all the same and the next settle or record tries again. Refused, and not attached: an outbox that
    /// has not given the places that are in the log ([`SinkError::StoreBehind`]), or one whose store knows more than
    /// the log holds ([`SinkError::LogBehind`]).
    pub async fn attach_outbox(&self, outbox: Arc<dyn Outbox>) -> Result<(), SinkError> {
        let store = outbox.highest().await.map_err(SinkError::Outbox)?.0;
        let log = self.shared.outbox_high();
        if store < log {
            return Err(SinkError::StoreBehind { store, log });
        }
        self.hold_against(outbox.mark(self.key.name()).await.map_err(SinkError::Outbox)?).await?;
        *self.outbox.lock().await = Attached { outbox: Some(outbox), marked: 0, told: 0 };
        self.drain(None).await
    }

    /// [`Log::attach_outbox`], then records that the server came up. A log that takes no entries at the moment, because
    /// its disk is full, is no reason to stay down: nothing is released until it does, and the task that is returned
    /// records the event then. What attaching refuses is refused.
    pub async fn wake(
        self: &Arc<Self>,
        outbox: Arc<dyn Outbox>,
        started: Event,
    ) -> Result<Option<tokio::task::JoinHandle<()>>, SinkError> {
        if let Err(error) = self.attach_outbox(outbox).await {
            if self.outbox.lock().await.outbox.is_none() {
                return Err(error);
            }
            tracing::error!(%error, "state changes wait for the log");
        }
        // The events of the outbox, if any wait, go along with this one.
        let Err(error) = self.record(vec![started.clone()]).await else { return Ok(None) };
        tracing::error!(%error, "the log takes no entries: all data is refused until it does; free space on its disk");
        let log = Arc::clone(self);
        Ok(Some(tokio::spawn(async move {
            loop {
                tokio::time::sleep(RETRY).await;
                match log.record(vec![started.clone()]).await {
                    Ok(_) => return tracing::info!("the log takes entries again"),
                    Err(_) if log.shared.is_closing() => return,
                    Err(_) => {}
                }
            }
        })))
    }

    /// Refuses to go on with a log that lacks what the store knows of it.
    async fn hold_against(&self, mark: LogMark) -> Result<(), SinkError> {
        let (high, size) = (self.shared.outbox_high(), self.size());
        if mark.drained > high {
            return Err(SinkError::LogBehind(format!(
                "it had the state changes up to {}, and has them up to {high}",
                mark.drained
            )));
        }
        let Some(tree) = mark.signed else { return Ok(()) };
        if tree.size > size {
            return Err(SinkError::LogBehind(format!(
                "{} of its entries were signed, and it has {size}",
                tree.size
            )));
        }
        let reader = (Arc::clone(&self.disk), Arc::clone(&self.vault));
        let root = tokio::task::spawn_blocking(move || {
            Reader::open(reader.0, Some(reader.1))?.holds(tree.size, &tree.root)
        });
        match root.await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(SinkError::LogBehind(format!(
                "its first {} entries are not those that were signed",
                tree.size
            ))),
            Ok(Err(error)) => Err(SinkError::Unwritable(error.to_string())),
            Err(_) => Err(SinkError::Unwritable("the log is closed".into())),
        }
    }

    /// Tells the store of the newest signed tree.
    async fn tell_signed(&self, attached: &mut Attached) {
        let (Some(outbox), Some((size, root))) = (&attached.outbox, self.shared.signed()) else {
            return;
        };
        if size > attached.told {
            let origin = self.key.name().to_owned();
            match outbox.signed(SignedTree { origin, size, root }).await {
                Ok(()) => attached.told = size,
                Err(cause) => tracing::warn!(cause, "the store could not note the signed log"),
            }
        }
    }

    /// Signs the tree as it stands; the signed note, durable on disk.
    pub async fn checkpoint(&self) -> Result<String, SinkError> {
        self.shared.sign().await
    }

    /// Durable entries.
    pub fn size(&self) -> u64 {
        self.shared.size()
    }

    /// Highest place of the outbox that is in the log.
    pub fn outbox_high(&self) -> OutboxSeq {
        OutboxSeq(self.shared.outbox_high())
    }

    /// The public key in the form `name+hash+key`.
    pub fn verifier_key(&self) -> String {
        self.key.to_string()
    }

    /// What it counts about itself.
    pub fn stats(&self) -> LogStats {
        self.shared.stats()
    }

    /// Whether the last commit worked; if not, why, in words for the operator.
    pub fn healthy(&self) -> Result<(), String> {
        self.shared.trouble().map_or(Ok(()), Err)
    }

    /// Reads what is on disk now, bodies included. Blocks.
    pub fn reader(&self) -> Result<Reader, LogError> {
        Reader::open(Arc::clone(&self.disk), Some(Arc::clone(&self.vault)))
    }

    /// The first entry such that all before it are older than `since`, also where the clock was set back: what
    /// counts is the latest time up to an entry. Reads at most a block of leaves, and those written since the log
    /// was opened. Blocks.
    pub(crate) fn first_since(&self, since: Timestamp) -> Result<u64, LogError> {
        let whole = self.times.partition_point(|latest| *latest < since);
        let from = (whole as u64).saturating_mul(TIME_BLOCK);
        let size = self.size();
        if from >= size {
            return Ok(size);
        }
        let reader = self.reader()?;
        for leaf in reader.leaves(from..size) {
            let (index, leaf) = leaf?;
            if leaf.at >= since {
                return Ok(index);
            }
        }
        Ok(size)
    }

    /// Commits what waits, signs a last checkpoint, stops writing and gives the directory free.
    pub async fn close(&self) {
        self.shared.close();
        if let Some(ended) = self.ended.lock().await.take() {
            let _ = ended.await;
            self.tell_signed(&mut *self.outbox.lock().await).await;
        }
    }

    pub(crate) async fn seal(
        &self,
        event: &Event,
        seq: Option<OutboxSeq>,
    ) -> Result<Entry, SinkError> {
        let day = self.clock.now().day();
        let key = self.vault.current(&event.tenant, KeyPurpose::LogBody(day)).await?;
        seal(event, seq, self.key.name(), day, &key, &*self.rng)
    }

    async fn write(&self, events: Vec<Event>) -> Result<Receipt, SinkError> {
        if self.behind.load(Ordering::Acquire) {
            // Nobody waits for these rows any more; whoever records next takes them along. Their failure
            // is told to the next settle, not to this caller.
            let _ = self.drain(None).await;
        }
        if events.is_empty() {
            return Ok(Receipt { first: self.size(), count: 0 });
        }
        let places = self.shared.reserve(events.iter().map(draft_octets)).await?;
        let mut entries = Vec::with_capacity(events.len());
        for event in events {
            entries.push((self.seal(&event, None).await?, event));
        }
        self.shared.append_in(places, entries).await
    }

    /// Puts the outbox into the log, at least up to `upto`. One drain at a time; who waited finds it done.
    async fn drain(&self, upto: Option<u64>) -> Result<(), SinkError> {
        let mut attached = self.outbox.lock().await;
        let missing = |high: u64| upto.is_none_or(|upto| high < upto);
        let mut high = self.shared.outbox_high();
        let Some(outbox) = attached.outbox.clone() else {
            return if missing(high) {
                Err(SinkError::Outbox("none is attached".into()))
            } else {
                Ok(())
            };
        };
        self.behind.store(true, Ordering::Release);
        while missing(high) {
            let rows = outbox
                .pending(OutboxSeq(high), self.drain_rows)
                .await
                .map_err(SinkError::Outbox)?;
            if rows.is_empty() {
                break;
            }
            let entries = self.seal_rows(high, rows).await?;
            self.shared.append(entries).await?;
            high = self.shared.outbox_high();
        }
        if high > attached.marked {
            match outbox.drained(OutboxSeq(high)).await {
                Ok(()) => attached.marked = high,
                // The rows are in the log, which is what the caller asked for; the next drain marks them.
                Err(cause) => {
                    tracing::warn!(cause, "rows of the outbox could not be marked as drained");
                }
            }
        }
        self.tell_signed(&mut attached).await;
        self.behind.store(high > attached.marked, Ordering::Release);
        if upto.is_some_and(|upto| high < upto) {
            return Err(SinkError::Outbox("it does not hold the event".into()));
        }
        Ok(())
    }

    fn gap(&self, behind: &Event, first: u64, end: u64) -> Event {
        let now = self.clock.now();
        let correlation = CorrelationId::new(&*self.clock, &*self.rng);
        let mut gap = Event::new(EventKind::Operator, GAP, behind.tenant.clone(), now, correlation);
        gap.outcome = Outcome::Failed;
        gap.with("first", first.to_string()).with("last", end.to_string())
    }

    async fn seal_rows(
        &self,
        after: u64,
        rows: Vec<OutboxRow>,
    ) -> Result<Vec<(Entry, Event)>, SinkError> {
        let (mut entries, mut last) = (Vec::with_capacity(rows.len()), after);
        for row in rows {
            if row.seq.0 <= last || row.seq.0 > MAX_PLACE {
                return Err(SinkError::Outbox("its rows are out of order".into()));
            }
            if row.seq.0 > last + 1 {
                // The store gives places without gaps: somebody took rows away. The log says so.
                let (first, end) = (last + 1, row.seq.0 - 1);
                tracing::error!(
                    first,
                    end,
                    "rows of the outbox are missing; their events are lost"
                );
                let gap = self.gap(&row.event, first, end);
                entries.push((self.seal(&gap, Some(OutboxSeq(end))).await?, gap));
            }
            last = row.seq.0;
            entries.push(match self.seal(&row.event, Some(row.seq)).await {
                Err(SinkError::TooLarge(_)) => {
                    let short = shortened(&row.event);
                    (self.seal(&short, Some(row.seq)).await?, short)
                }
                sealed => (sealed?, row.event),
            });
        }
        Ok(entries)
    }
}

/// Goes on where a checked log ended.
fn resume(writer: &mut Writer, checked: Checked) {
    if checked.tiles_missing || checked.altered_tile.is_some() {
        if let Some(path) = &checked.altered_tile {
            tracing::warn!(path, "a tile does not agree with the entries; rebuilding it");
        }
        if let Err(error) = rebuild_tiles(&*writer.disk) {
            tracing::warn!(%error, "tiles could not be rebuilt; the next start tries again");
        }
    }
    writer.history = checked.history.0;
    if let Some(said) = Checkpoint::parse_unverified(&checked.newest.1) {
        writer.shared.set_signed(said.size, said.root);
    }
    writer.newest = Some(checked.newest);
    writer.segment = checked.walked.tail;
    writer.tiles = checked.tiles;
    writer.owed = checked.report.size > checked.report.signed;
    // From here on a full disk must not keep the server from starting: it refuses events until there is space.
    if checked.checkpoint_behind {
        writer.show_newest();
    }
    if writer.owed {
        writer.sign_or_warn();
    }
}

fn begin(writer: &mut Writer) -> Result<(), LogError> {
    // What a torn creation left of the history begins anew.
    writer.history_unclean = writer
        .disk
        .len(crate::format::HISTORY)
        .map_err(disk_error("cannot read", "checkpoints"))?
        .is_some();
    writer
        .create()
        .map_err(|cause| disk_error("cannot begin", "the log")(std::io::Error::other(cause)))
}

impl EventSink for Log {
    fn record(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Receipt, SinkError>> {
        Box::pin(self.write(events))
    }

    fn settle(&self, seq: OutboxSeq) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async move {
            // Behind the queue's answer `outbox_high` covers only what is durable.
            if self.shared.outbox_high() >= seq.0 && !self.behind.load(Ordering::Acquire) {
                return Ok(());
            }
            self.drain(Some(seq.0)).await
        })
    }
}

/// Tells the callers when the writer's thread ends, also by a panic.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.close();
    }
}

//! Flows over the whole room: crashes, full disks, tampering, the outbox. Doubles for the rooms above.

mod crash;
mod disk;
mod flow;
mod forged;
mod history;
mod outbox;
mod prefix;
mod tamper;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ward_core::crypto::{SigningKey, sha256};
use ward_core::{
    BoxFuture, Bus, CorrelationId, DataKey, Event, EventKind, KeyId, KeyPurpose, KeyVault, Limits,
    LogMark, ManualClock, Message, Outbox, OutboxRow, OutboxSeq, PatientId, Released, Secret,
    SeededRng, SignedTree, Subscription, TenantId, VaultError,
};

use crate::disk::Disk;
use crate::format::SEGMENT_HEAD;
use crate::log::LogOptions;
use crate::segments::frames;
use crate::writer::Tuning;
use crate::{Log, LogError};

pub(crate) const ORIGIN: &str = "ward/log/test";
/// Every commit is signed, segments are short.
pub(crate) const EAGER: Tuning =
    Tuning { segment_bytes: 12_000, room_bytes: 5_000, checkpoint_every: Duration::ZERO };

/// Octets of a segment without the room behind them.
pub(crate) fn written(segment: &[u8]) -> usize {
    SEGMENT_HEAD + frames(segment).map(|frame| frame.octets()).sum::<usize>()
}

/// Keys in memory; every purpose has one.
#[derive(Default)]
pub(crate) struct Vault {
    destroyed: Mutex<HashSet<String>>,
    made: Mutex<HashMap<String, u32>>,
    /// Other keys than those that were used before.
    pub(crate) swapped: AtomicBool,
    /// It cannot be reached.
    pub(crate) down: AtomicBool,
    pub(crate) asked: AtomicUsize,
}

impl Vault {
    fn key(&self, tenant: &TenantId, purpose: KeyPurpose, id: u32) -> Result<DataKey, VaultError> {
        let name = format!("{tenant}/{purpose}");
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err(VaultError::Unavailable("down".into()));
        }
        let salt = u8::from(!self.swapped.load(Ordering::SeqCst));
        if self.destroyed.lock().unwrap().contains(&name) {
            return Err(VaultError::Destroyed);
        }
        self.made.lock().unwrap().insert(name.clone(), id);
        Ok(DataKey { id: KeyId(id), key: Secret::new(sha256(&[name.as_bytes(), &[salt]])) })
    }
}

impl KeyVault for Vault {
    fn current<'a>(
        &'a self,
        tenant: &'a TenantId,
        purpose: KeyPurpose,
    ) -> BoxFuture<'a, Result<DataKey, VaultError>> {
        Box::pin(async move { self.key(tenant, purpose, 7) })
    }

    fn by_id<'a>(
        &'a self,
        tenant: &'a TenantId,
        purpose: KeyPurpose,
        id: KeyId,
    ) -> BoxFuture<'a, Result<DataKey, VaultError>> {
        Box::pin(async move {
            if id == KeyId(7) { self.key(tenant, purpose, 7) } else { Err(VaultError::Unknown) }
        })
    }

    fn destroy<'a>(
        &'a self,
        tenant: &'a TenantId,
        purpose: KeyPurpose,
    ) -> BoxFuture<'a, Result<(), VaultError>> {
        Box::pin(async move {
            self.destroyed.lock().unwrap().insert(format!("{tenant}/{purpose}"));
            Ok(())
        })
    }
}

/// Remembers what it is told.
#[derive(Default)]
pub(crate) struct Told(pub(crate) Mutex<Vec<Arc<ward_core::Recorded>>>);

struct Deaf;

impl Subscription for Deaf {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Message, ward_core::Lagged>>> {
        Box::pin(async { None })
    }
}

impl Bus for Told {
    fn publish(&self, message: Message) {
        let Message::Recorded(recorded) = message;
        self.0.lock().unwrap().push(recorded);
    }

    fn subscribe(&self) -> Box<dyn Subscription> {
        Box::new(Deaf)
    }
}

/// A store whose transactions are durable at once: state changes, and the rows that wait for the log.
#[derive(Default)]
pub(crate) struct Store {
    changes: Mutex<Vec<Event>>,
    rows: Mutex<Vec<OutboxRow>>,
    pub(crate) mark: Mutex<LogMark>,
    pub(crate) forgets_to_drain: AtomicBool,
    pub(crate) reads: AtomicUsize,
}

impl Store {
    /// One transaction: the change and its event.
    pub(crate) fn change(&self, event: Event) -> OutboxSeq {
        let (mut changes, mut rows) = (self.changes.lock().unwrap(), self.rows.lock().unwrap());
        changes.push(event.clone());
        let seq = OutboxSeq(changes.len() as u64);
        rows.push(OutboxRow { seq, event });
        seq
    }

    pub(crate) fn changes(&self) -> Vec<Event> {
        self.changes.lock().unwrap().clone()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.rows.lock().unwrap().len()
    }
}

impl Outbox for Store {
    fn pending(
        &self,
        after: OutboxSeq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<OutboxRow>, String>> {
        Box::pin(async move {
            self.reads.fetch_add(1, Ordering::SeqCst);
            let rows = self.rows.lock().unwrap();
            Ok(rows.iter().filter(|row| row.seq > after).take(limit).cloned().collect())
        })
    }

    fn drained(&self, upto: OutboxSeq) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            if self.forgets_to_drain.load(Ordering::SeqCst) {
                return Err("the store is down".into());
            }
            self.rows.lock().unwrap().retain(|row| row.seq > upto);
            let mut mark = self.mark.lock().unwrap();
            mark.drained = mark.drained.max(upto.0);
            Ok(())
        })
    }

    fn signed(&self, tree: SignedTree) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let mut mark = self.mark.lock().unwrap();
            if mark.signed.as_ref().is_none_or(|known| known.size < tree.size) {
                mark.signed = Some(tree);
            }
            Ok(())
        })
    }

    fn mark<'a>(&'a self, origin: &'a str) -> BoxFuture<'a, Result<LogMark, String>> {
        let mark = self.mark.lock().unwrap().clone();
        assert!(mark.signed.as_ref().is_none_or(|tree| tree.origin == origin));
        Box::pin(async move { Ok(mark) })
    }

    fn highest(&self) -> BoxFuture<'_, Result<OutboxSeq, String>> {
        let highest = self.changes.lock().unwrap().len() as u64;
        Box::pin(async move { Ok(OutboxSeq(highest)) })
    }
}

/// What outlives a log.
pub(crate) struct House {
    pub(crate) vault: Arc<Vault>,
    pub(crate) told: Arc<Told>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) rng: Arc<SeededRng>,
    pub(crate) limits: Arc<Limits>,
}

impl House {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            vault: Arc::default(),
            told: Arc::default(),
            clock: Arc::new(ManualClock::at_unix_seconds(1_795_306_500)),
            rng: Arc::new(SeededRng::new(seed)),
            limits: Arc::new(Limits { log_queue: 64, ..Limits::default() }),
        }
    }

    pub(crate) fn options(&self, disk: Arc<dyn Disk>) -> LogOptions {
        LogOptions {
            disk,
            origin: ORIGIN.into(),
            signing_key: signing_key(),
            vault: self.vault.clone(),
            bus: self.told.clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            limits: self.limits.clone(),
        }
    }

    pub(crate) fn open(&self, disk: &(impl Disk + Clone + 'static)) -> Result<Arc<Log>, LogError> {
        Log::open_tuned(self.options(Arc::new(disk.clone())), EAGER)
    }

    /// An event that differs from all others.
    pub(crate) fn event(&self, name: &str) -> Event {
        let correlation = CorrelationId::new(&*self.clock, &*self.rng);
        let tenant = TenantId::default_tenant();
        let at = ward_core::Clock::now(&*self.clock);
        let mut event = Event::new(EventKind::Access, "released", tenant, at, correlation);
        event.body.released.push(Released {
            reference: format!("Observation/{name}"),
            version: Some("1".into()),
            owners: vec![PatientId::parse("p1").unwrap()],
            labels: Vec::new(),
        });
        event.with("name", name)
    }
}

pub(crate) fn signing_key() -> SigningKey {
    SigningKey::from_seed(&Secret::new([5; 32])).unwrap()
}

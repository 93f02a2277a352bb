//! The repositories on embedded SQLite: WAL, `synchronous=FULL`, one writer with group commit.
//!
//! One process at a time: epochs, grants and rosters are held in memory, so a second process would
//! decide on stale ones; the data directory is locked while it is open.

mod db;
mod epochs;
mod grants;
mod hanging;
mod held;
mod holds;
mod incidents;
mod migrate;
mod operators;
mod outbox;
mod presented;
mod registrations;
mod replays;
mod rosters;
mod snapshot;

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ward_core::{
    Clock, DataKey, Event, KeyId, KeyPurpose, KeyVault, Limits, OutboxSeq, Rng, TenantId,
    Timestamp, VaultError,
};

use crate::repo::Repositories;
use crate::seal::Place;
use crate::{StoreError, files};

pub use snapshot::{Snapshot, check_snapshot};

/// Connections that answer queries.
const READERS: usize = 2;
/// Rows of one list at most.
const LIST_BOUND: usize = 1000;
/// One event, JSON bytes.
const EVENT_BOUND: usize = 1024 * 1024;
/// One sealed record other than a roster, JSON bytes.
const RECORD_BOUND: usize = 1024 * 1024;

/// The store on SQLite. Implements every repository of [`crate::repo`] and `ward_core::Outbox`.
pub struct Store {
    // Dropped first: ends the threads and closes the connections before the lock goes.
    db: db::Db,
    vault: Arc<dyn KeyVault>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    epochs: Arc<epochs::EpochMap>,
    grants: Arc<grants::Held>,
    registrations: Arc<held::Held>,
    rosters: Arc<rosters::Held>,
    on_hold: Arc<holds::OnHold>,
    recent: Arc<outbox::Recent>,
    drained: Arc<outbox::Drained>,
    /// Sealed records that were opened.
    opened: AtomicU64,
    /// Tenants whose vault was seen to fit.
    checked: Mutex<HashSet<TenantId>>,
    _lock: File,
}

impl Store {
    /// Opens the store in `dir` (made, owner-only, if missing), migrates its schema and loads the
    /// epochs. Does file I/O on the calling thread. Refused: a directory that is in use or that others
    /// can read, and a schema that this version does not know.
    pub fn open(
        dir: &Path,
        vault: Arc<dyn KeyVault>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        limits: &Limits,
    ) -> Result<Arc<Self>, StoreError> {
        files::private_dir(dir)?;
        let lock = lock(dir)?;
        let path = dir.join("ward.db");
        if !files::check_private(&path)? {
            // Made here, since SQLite would make it readable by others; its WAL takes over the mode.
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(StoreError::io(&path))?;
        }
        let now = clock.now();
        let mut writer = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        migrate::run(&mut writer, migrate::MIGRATIONS, now)?;
        files::sync_dir(dir)?;
        let epochs = Arc::new(epochs::EpochMap::load(&writer, now)?);
        let on_hold = Arc::new(holds::OnHold::load(&writer)?);
        let readers = (0..READERS)
            .map(|_| connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY))
            .collect::<Result<_, _>>()?;
        let drained = Arc::new(outbox::Drained::default());
        Ok(Arc::new(Self {
            db: db::Db::start(writer, readers, limits.log_queue, drained.clone())?,
            drained,
            on_hold,
            recent: Arc::default(),
            vault,
            clock,
            rng,
            epochs,
            grants: Arc::default(),
            registrations: Arc::default(),
            rosters: Arc::default(),
            opened: AtomicU64::new(0),
            checked: Mutex::default(),
            _lock: lock,
        }))
    }

    /// The repositories, one by one.
    pub fn repositories(self: &Arc<Self>) -> Repositories {
        Repositories {
            registrations: self.clone(),
            grants: self.clone(),
            epochs: self.clone(),
            replays: self.clone(),
            rosters: self.clone(),
            incidents: self.clone(),
            holds: self.clone(),
            outbox: self.clone(),
            operators: self.clone(),
            probe: self.clone(),
            presented: self.clone(),
            hanging: self.clone(),
        }
    }

    /// Sealed records that were opened since it was: what a question cost, whatever the machine.
    pub fn records_opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// The key that seals new records of the tenant.
    async fn record_key(&self, tenant: &TenantId) -> Result<DataKey, StoreError> {
        let key = self.vault.current(tenant, KeyPurpose::Record).await?;
        let checked = |tenants: &Mutex<HashSet<TenantId>>| {
            tenants.lock().unwrap_or_else(PoisonError::into_inner).contains(tenant)
        };
        if !checked(&self.checked) {
            self.check_vault(tenant, &key).await?;
            let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
            checked.insert(tenant.clone());
        }
        Ok(key)
    }

    /// Refuses a vault other than the one that sealed the tenant's first record: its keys have the
    /// same numbers, so the records of two vaults could not be told apart later.
    async fn check_vault(&self, tenant: &TenantId, key: &DataKey) -> Result<(), StoreError> {
        let place = Place { tenant, table: "key_checks", row: b"" };
        let whose = tenant.clone();
        let found = self
            .db
            .query(move |db| {
                let sql = "SELECT key_id, sealed FROM key_checks WHERE tenant = ?";
                let mut found = db.prepare_cached(sql)?;
                let row = |row: &Row<'_>| Sealed::from_row(row, 0);
                Ok(found.query_row([whose.as_str()], row).optional()?)
            })
            .await?;
        if let Some(sealed) = found {
            let key = match self.vault.by_id(tenant, KeyPurpose::Record, sealed.key).await {
                Err(VaultError::Unknown) => return Err(StoreError::WrongVault),
                other => other?,
            };
            return match place.open(&key, &sealed.bytes) {
                Ok(_) => Ok(()),
                Err(_) => Err(StoreError::WrongVault),
            };
        }
        let (whose, id) = (tenant.clone(), key.id.0);
        let sealed = place.seal(key, self.rng.as_ref(), b"")?;
        self.db
            .change(
                move |db| {
                    // A caller that came at the same time used the same vault.
                    let sql = "INSERT INTO key_checks (tenant, key_id, sealed) VALUES (?, ?, ?)
                               ON CONFLICT (tenant) DO NOTHING";
                    db.execute(sql, params![whose.as_str(), id, sealed])?;
                    Ok(())
                },
                |()| (),
            )
            .await
    }

    /// Opens a sealed record that is JSON.
    async fn unseal<T: DeserializeOwned>(
        &self,
        place: Place<'_>,
        sealed: &Sealed,
    ) -> Result<T, StoreError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let key = self.vault.by_id(place.tenant, KeyPurpose::Record, sealed.key).await?;
        let plain = place.open(&key, &sealed.bytes)?;
        serde_json::from_slice(&plain).map_err(|_| StoreError::Damaged { table: place.table })
    }

    /// Seals a record as JSON under the tenant's current record key.
    async fn seal<T: Serialize + Sync>(
        &self,
        place: Place<'_>,
        record: &T,
    ) -> Result<Sealed, StoreError> {
        let plain = json(record, "a record", RECORD_BOUND)?;
        let key = self.record_key(place.tenant).await?;
        Ok(Sealed { key: key.id, bytes: place.seal(&key, self.rng.as_ref(), &plain)? })
    }

    /// A change of state with its event: `work` and the outbox row in one transaction (rule 4).
    /// `after` runs once both are durable.
    async fn change<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        event: Event,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        after: impl FnOnce(&T) + Send + 'static,
    ) -> Result<OutboxSeq, StoreError> {
        if event.tenant != *tenant {
            return Err(StoreError::Tenant);
        }
        let plain = json(&event, "an event", EVENT_BOUND)?;
        let key = self.record_key(tenant).await?;
        let (rng, tenant) = (Arc::clone(&self.rng), event.tenant.clone());
        let recent = Arc::clone(&self.recent);
        let change = self.db.change(
            move |db| {
                let value = work(db)?;
                let seq = outbox::append(db, rng.as_ref(), &key, &tenant, &plain)?;
                Ok((value, seq))
            },
            move |(value, seq)| {
                after(value);
                recent.hold(*seq, event);
            },
        );
        change.await.map(|(_, seq)| seq)
    }
}

/// What stands in a row instead of a record.
struct Sealed {
    key: KeyId,
    bytes: Vec<u8>,
}

impl Sealed {
    /// From the columns `key_id` and `sealed`, which stand next to each other.
    fn from_row(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(Self { key: KeyId(row.get(at)?), bytes: row.get(at + 1)? })
    }
}

fn json<T: Serialize>(record: &T, what: &'static str, bound: usize) -> Result<Vec<u8>, StoreError> {
    let plain = serde_json::to_vec(record)
        .map_err(|_| StoreError::Unavailable(format!("{what} cannot be written as JSON")))?;
    if plain.len() > bound { Err(StoreError::TooLarge { what, bound }) } else { Ok(plain) }
}

/// A list's limit, for SQL.
fn limit(asked: usize) -> i64 {
    i64::try_from(asked.min(LIST_BOUND)).unwrap_or(0)
}

/// A key of sixteen octets.
fn id_bytes(row: &Row<'_>, at: usize) -> rusqlite::Result<[u8; 16]> {
    row.get(at)
}

/// Keeps other processes out while the store is open.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("ward.lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(StoreError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(dir.to_path_buf())),
        Err(TryLockError::Error(error)) => Err(StoreError::io(&path)(error)),
    }
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    let db = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(Duration::from_secs(5))?;
    db.set_prepared_statement_cache_capacity(64);
    // One plan for a statement, whatever is bound to it: else it is parsed and planned anew at every use.
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if access.contains(OpenFlags::SQLITE_OPEN_READ_WRITE) {
        let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(StoreError::Unavailable(format!(
                "the file system does not support a write-ahead log (journal mode {mode})"
            )));
        }
    }
    // FULL: a commit that returned survives a power cut. 2048 pages: a page that many tokens write is written to the database
    // once for all of them, and the WAL stays about eight megabytes.
    db.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA temp_store = MEMORY;",
    )?;
    db.query_row("PRAGMA wal_autocheckpoint = 2048", [], |row| row.get::<_, i64>(0))?;
    db.query_row("PRAGMA journal_size_limit = 16777216", [], |row| row.get::<_, i64>(0))?;
    Ok(db)
}

/// Milliseconds, for SQL.
fn millis(at: Timestamp) -> i64 {
    at.as_millis()
}

#[cfg(test)]
pub(crate) fn by_index() -> impl Iterator<Item = &'static str> {
    hanging::BY_INDEX.into_iter().chain(replays::BY_INDEX)
}

#[cfg(test)]
impl Store {
    /// Stands in for a full disk: the database may not grow beyond so many pages.
    pub(crate) async fn limit_pages(&self, pages: Option<u32>) {
        let pages = pages.unwrap_or(u32::MAX - 1);
        self.db
            .change(
                move |db| {
                    let sql = format!("PRAGMA max_page_count = {pages}");
                    Ok(db.query_row(&sql, [], |row| row.get::<_, i64>(0))?)
                },
                |_| (),
            )
            .await
            .unwrap();
    }
}

//! A copy of the store as it stands at one moment, made beside running work, for backups; and what such a copy holds.
//!
//! `VACUUM INTO` on a connection of the store's own: a second process must never open the database, since closing
//! it would drop this process's locks. Refused: a copy that SQLite finds damaged or that is no store of this version.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use ward_core::OutboxSeq;

use super::outbox::last_given;
use super::{Store, migrate};
use crate::{StoreError, files};

/// What a copy of the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The highest outbox place that it gave.
    pub highest: OutboxSeq,
    /// Rows that still wait for the log.
    pub pending: u64,
    /// The first of them; 0 if there is none.
    pub first_pending: u64,
}

impl Store {
    /// Writes a consistent copy of the database to `to`, which must not exist, owner-only and durable.
    /// Changes go on meanwhile; those committed after the copy began are not in it.
    pub async fn snapshot(&self, to: &Path) -> Result<Snapshot, StoreError> {
        // Made here, since SQLite would make it readable by others.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to)
            .map_err(StoreError::io(to))?;
        let path = to.to_path_buf();
        self.db
            .query(move |db| {
                let name = path.to_str().ok_or_else(|| {
                    StoreError::Unavailable("the path of the copy is not UTF-8".to_owned())
                })?;
                db.execute("VACUUM INTO ?", [name])?;
                std::fs::File::open(&path)
                    .and_then(|file| file.sync_all())
                    .map_err(StoreError::io(&path))?;
                check_snapshot(&path)
            })
            .await
    }
}

/// Checks a copy that no process has open as a store: its pages, its indexes, its schema.
pub fn check_snapshot(path: &Path) -> Result<Snapshot, StoreError> {
    if !files::check_private(path)? {
        return Err(StoreError::BadVault(format!("{} does not exist", path.display())));
    }
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    let found: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(StoreError::Damaged { table: "the whole store" });
    }
    migrate::refuse_unknown(&db, migrate::MIGRATIONS)?;
    let (pending, first): (i64, i64) =
        db.query_row("SELECT count(*), coalesce(min(seq), 0) FROM outbox", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    Ok(Snapshot {
        highest: OutboxSeq(last_given(&db)?.cast_unsigned()),
        pending: pending.cast_unsigned(),
        first_pending: first.cast_unsigned(),
    })
}

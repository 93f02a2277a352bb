//! The outbox: events of state changes that wait for the log, numbered 1, 2, 3 … for ever (rule 4).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, params};
use ward_core::{
    BoxFuture, CorrelationId, DataKey, Event, EventKind, LogMark, Outbox, OutboxRow, OutboxSeq,
    Outcome, Rng, SignedTree, TenantId, VaultError,
};

use super::db::Rider;
use super::{Sealed, Store, limit};
use crate::StoreError;
use crate::seal::Place;

const TABLE: &str = "outbox";
/// Action of the event that is logged instead of one that is lost.
const DAMAGED: &str = "outbox-damaged";

/// Writes the event's row, within the transaction of its state change.
///
/// The number is part of what the row is sealed under, so it is taken from `sqlite_sequence` first;
/// nobody else can take it, since there is one writer.
pub(super) fn append(
    db: &Connection,
    rng: &dyn Rng,
    key: &DataKey,
    tenant: &TenantId,
    event: &[u8],
) -> Result<OutboxSeq, StoreError> {
    let seq = last_given(db)?.saturating_add(1);
    let place = Place { tenant, table: TABLE, row: &seq.to_be_bytes() };
    let sealed = place.seal(key, rng, event)?;
    db.prepare_cached("INSERT INTO outbox (seq, tenant, key_id, sealed) VALUES (?, ?, ?, ?)")?
        .execute(params![seq, tenant.as_str(), key.id.0, sealed])?;
    Ok(OutboxSeq(seq.cast_unsigned()))
}

/// The number of the last row ever written; 0 before the first.
pub(super) fn last_given(db: &Connection) -> Result<i64, StoreError> {
    let last: Option<i64> = db
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(last.unwrap_or(0))
}

/// Events that are durable here and that the log has not asked for yet, as they were written: so that it need not read and
/// open them again. Those that are not there any more are read.
#[derive(Default)]
pub(super) struct Recent(Mutex<VecDeque<OutboxRow>>);

/// Events held for the log; beyond it the oldest are read.
const RECENT: usize = 4096;

impl Recent {
    fn rows(&self) -> MutexGuard<'_, VecDeque<OutboxRow>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs on the writer, so in the order of the commits.
    pub(super) fn hold(&self, seq: OutboxSeq, event: Event) {
        let mut rows = self.rows();
        if rows.len() >= RECENT {
            rows.pop_front();
        }
        rows.push_back(OutboxRow { seq, event });
    }

    /// Takes out what follows directly, if it is held.
    fn after(&self, after: OutboxSeq, most: usize) -> Option<Vec<OutboxRow>> {
        let mut rows = self.rows();
        while rows.front().is_some_and(|row| row.seq <= after) {
            rows.pop_front();
        }
        let next = after.0.checked_add(1)?;
        if rows.front()?.seq.0 != next {
            return None;
        }
        let follow = (next..).zip(rows.iter()).take(most);
        let count = follow.take_while(|(seq, row)| row.seq.0 == *seq).count();
        Some(rows.drain(..count).collect())
    }
}

/// How far the log has come, as it said; cleared with the next commit.
#[derive(Default)]
pub(super) struct Drained {
    upto: AtomicI64,
    riding: AtomicI64,
    cleared: AtomicI64,
}

impl Rider for Drained {
    fn ride(&self, db: &Connection) -> Result<(), StoreError> {
        let upto = self.upto.load(Ordering::Acquire);
        // Whatever an earlier attempt did is undone.
        self.riding.store(0, Ordering::Release);
        if upto > self.cleared.load(Ordering::Acquire) {
            db.prepare_cached("DELETE FROM outbox WHERE seq <= ?")?.execute([upto])?;
            db.prepare_cached(
                "INSERT INTO outbox_mark (id, drained) VALUES (1, ?) ON CONFLICT (id)
                 DO UPDATE SET drained = excluded.drained WHERE excluded.drained > drained",
            )?
            .execute([upto])?;
            self.riding.store(upto, Ordering::Release);
        }
        Ok(())
    }

    fn landed(&self) {
        self.cleared.fetch_max(self.riding.load(Ordering::Acquire), Ordering::AcqRel);
    }

    fn is_due(&self) -> bool {
        self.upto.load(Ordering::Acquire) > self.cleared.load(Ordering::Acquire)
    }
}

/// A row as it stands there.
struct Row {
    tenant: TenantId,
    sealed: Sealed,
}

impl Row {
    fn read(row: &rusqlite::Row<'_>) -> Option<Self> {
        let tenant: String = row.get(1).ok()?;
        let sealed = Sealed::from_row(row, 2).ok()?;
        Some(Self { tenant: TenantId::parse(&tenant).ok()?, sealed })
    }
}

fn number(seq: OutboxSeq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

impl Store {
    async fn read_outbox(
        &self,
        after: OutboxSeq,
        most: usize,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        if let Some(rows) = self.recent.after(after, most) {
            return Ok(rows);
        }
        // What is drained may still stand there for a moment.
        let after = number(after).max(self.drained.upto.load(Ordering::Acquire));
        let most = limit(most);
        let rows: Vec<(i64, Option<Row>)> = self
            .db
            .query(move |db| {
                let mut rows = db.prepare_cached(
                    "SELECT seq, tenant, key_id, sealed FROM outbox
                     WHERE seq > ? ORDER BY seq LIMIT ?",
                )?;
                // Whatever else a column holds, the row is damaged and no reason to stop.
                let rows =
                    rows.query_map([after, most], |row| Ok((row.get(0)?, Row::read(row))))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await?;
        let mut events = Vec::with_capacity(rows.len());
        for (seq, row) in rows {
            let opened = match row {
                Some(row) => self.open_row(seq, &row).await,
                None => Err(StoreError::Damaged { table: TABLE }),
            };
            let event = match opened {
                Ok(event) => event,
                Err(
                    StoreError::Damaged { .. }
                    | StoreError::Vault(VaultError::Unknown | VaultError::Destroyed),
                ) => self.damaged(seq),
                // What stands before it can go ahead.
                Err(_) if !events.is_empty() => break,
                Err(error) => return Err(error),
            };
            events.push(OutboxRow { seq: OutboxSeq(seq.cast_unsigned()), event });
        }
        Ok(events)
    }

    async fn open_row(&self, seq: i64, row: &Row) -> Result<Event, StoreError> {
        let place = Place { tenant: &row.tenant, table: TABLE, row: &seq.to_be_bytes() };
        self.unseal(place, &row.sealed).await
    }

    /// What is logged of a row that does not open, so that it does not keep those behind it from the log (rule 4).
    fn damaged(&self, seq: i64) -> Event {
        tracing::error!(
            place = seq,
            "a row of the outbox is damaged or was altered; its event is lost"
        );
        let correlation = CorrelationId::new(&*self.clock, &*self.rng);
        let tenant = TenantId::default_tenant();
        let now = self.clock.now();
        let mut event = Event::new(EventKind::Operator, DAMAGED, tenant, now, correlation);
        event.outcome = Outcome::Failed;
        event.with("place", seq.to_string())
    }

    /// The number that was given last, from the sequence itself: drained rows are gone.
    async fn highest_given(&self) -> Result<OutboxSeq, StoreError> {
        let last = self.db.query(last_given).await?;
        Ok(OutboxSeq(last.cast_unsigned()))
    }

    /// Nobody waits for it, and it costs no commit of its own while there are others: what the log has is not written to
    /// it again, and is cleared whenever it is told.
    async fn clear_outbox(&self, upto: OutboxSeq) -> Result<(), StoreError> {
        self.drained.upto.fetch_max(number(upto), Ordering::AcqRel);
        self.db.call_rider().await
    }

    async fn keep_tree(&self, tree: SignedTree) -> Result<(), StoreError> {
        self.db
            .change(
                move |db| {
                    db.prepare_cached(
                        "INSERT INTO log_trees (origin, size, root) VALUES (?, ?, ?) ON CONFLICT (origin)
                         DO UPDATE SET size = excluded.size, root = excluded.root
                         WHERE excluded.size > size",
                    )?
                    .execute(params![tree.origin, number(OutboxSeq(tree.size)), tree.root])?;
                    Ok(())
                },
                |()| (),
            )
            .await
    }

    async fn read_mark(&self, origin: String) -> Result<LogMark, StoreError> {
        let known = self.drained.upto.load(Ordering::Acquire);
        self.db
            .query(move |db| {
                let drained: Option<i64> = db
                    .query_row("SELECT drained FROM outbox_mark", [], |row| row.get(0))
                    .optional()?;
                let tree: Option<(i64, [u8; 32])> = db
                    .query_row(
                        "SELECT size, root FROM log_trees WHERE origin = ?",
                        [&origin],
                        |row| Ok((row.get(0)?, row.get(1)?)),
                    )
                    .optional()?;
                let signed = tree.map(|(size, root)| SignedTree {
                    origin,
                    size: size.cast_unsigned(),
                    root,
                });
                Ok(LogMark { drained: drained.unwrap_or(0).max(known).cast_unsigned(), signed })
            })
            .await
    }
}

impl Outbox for Store {
    fn pending(
        &self,
        after: OutboxSeq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<OutboxRow>, String>> {
        Box::pin(
            async move { self.read_outbox(after, limit).await.map_err(|error| error.to_string()) },
        )
    }

    fn drained(&self, upto: OutboxSeq) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { self.clear_outbox(upto).await.map_err(|error| error.to_string()) })
    }

    fn signed(&self, tree: SignedTree) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { self.keep_tree(tree).await.map_err(|error| error.to_string()) })
    }

    fn mark<'a>(&'a self, origin: &'a str) -> BoxFuture<'a, Result<LogMark, String>> {
        Box::pin(async move {
            self.read_mark(origin.to_owned()).await.map_err(|error| error.to_string())
        })
    }

    fn highest(&self) -> BoxFuture<'_, Result<OutboxSeq, String>> {
        Box::pin(async move { self.highest_given().await.map_err(|error| error.to_string()) })
    }
}

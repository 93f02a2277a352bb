//! The outbox: events of state changes that wait for the log, numbered 1, 2, 3 … for ever (rule 4).

use rusqlite::{Connection, OptionalExtension as _, params};
use ward_core::{
    BoxFuture, CorrelationId, DataKey, Event, EventKind, LogMark, Outbox, OutboxRow, OutboxSeq,
    Outcome, Rng, SignedTree, TenantId, VaultError,
};

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
        let (after, most) = (number(after), limit(most));
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

    async fn clear_outbox(&self, upto: OutboxSeq) -> Result<(), StoreError> {
        let upto = number(upto);
        self.db
            .change(
                move |db| {
                    db.prepare_cached("DELETE FROM outbox WHERE seq <= ?")?.execute([upto])?;
                    db.prepare_cached(
                        "INSERT INTO outbox_mark (id, drained) VALUES (1, ?) ON CONFLICT (id)
                         DO UPDATE SET drained = excluded.drained WHERE excluded.drained > drained",
                    )?
                    .execute([upto])?;
                    Ok(())
                },
                |()| (),
            )
            .await
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
                Ok(LogMark { drained: drained.unwrap_or(0).cast_unsigned(), signed })
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

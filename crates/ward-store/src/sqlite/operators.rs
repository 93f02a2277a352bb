//! Operators, the bootstrap code and acts that wait for a second person; and the probe of the store.
//!
//! Who may do what is decided in `ward-admin`. What must hold whoever comes first is decided here, in the
//! transaction: a code makes one operator, once; an act is taken once; a name is one's own.

use rusqlite::{Connection, OptionalExtension as _, params};
use ward_core::{ApprovalId, Event, OperatorId, OutboxSeq, TenantId, Timestamp, crypto};

use super::{LIST_BOUND, Sealed, Store, id_bytes, limit, millis};
use crate::StoreError;
use crate::repo::{Approval, Kept, OperatorRecord, Operators, Probe};
use crate::seal::Place;

const OPERATORS: &str = "operators";
const APPROVALS: &str = "approvals";

impl Store {
    async fn seal_operator(&self, operator: &OperatorRecord) -> Result<Sealed, StoreError> {
        let place =
            Place { tenant: &operator.tenant, table: OPERATORS, row: operator.id.as_bytes() };
        self.seal(place, operator).await
    }

    async fn open_operator(
        &self,
        tenant: &TenantId,
        id: [u8; 16],
        sealed: &Sealed,
    ) -> Result<OperatorRecord, StoreError> {
        let place = Place { tenant, table: OPERATORS, row: &id };
        let operator: OperatorRecord = self.unseal(place, sealed).await?;
        if operator.tenant != *tenant || *operator.id.as_bytes() != id {
            return Err(StoreError::Damaged { table: OPERATORS });
        }
        Ok(operator)
    }
}

fn insert(db: &Connection, operator: &OperatorRecord, sealed: &Sealed) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO operators (tenant, id, name, key_id, sealed) VALUES (?, ?, ?, ?, ?)",
    )?
    .execute(params![
        operator.tenant.as_str(),
        operator.id.as_bytes(),
        operator.name.as_str(),
        sealed.key.0,
        sealed.bytes
    ])?;
    Ok(())
}

/// Refuses once the tenant has an operator.
fn nobody_yet(db: &Connection, tenant: &TenantId) -> Result<(), StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM operators WHERE tenant = ?)";
    let found: bool = db.query_row(sql, [tenant.as_str()], |row| row.get(0))?;
    if found { Err(StoreError::Conflict) } else { Ok(()) }
}

/// Keeps the hash of a code in place of an earlier one.
fn keep_code(
    db: &Connection,
    tenant: &TenantId,
    hash: [u8; 32],
    expires: Timestamp,
) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO bootstrap_codes (tenant, hash, expires) VALUES (?, ?, ?)
         ON CONFLICT (tenant) DO UPDATE SET hash = excluded.hash, expires = excluded.expires",
        params![tenant.as_str(), hash, millis(expires)],
    )?;
    Ok(())
}

fn exactly_one(changed: usize) -> Result<(), StoreError> {
    if changed == 1 { Ok(()) } else { Err(StoreError::Conflict) }
}

impl Operators for Store {
    fn list<'a>(&'a self, tenant: &'a TenantId) -> Kept<'a, Vec<OperatorRecord>> {
        Box::pin(async move {
            let whose = tenant.clone();
            let rows: Vec<([u8; 16], Sealed)> = self
                .db
                .query(move |db| {
                    let mut rows = db.prepare_cached(
                        "SELECT id, key_id, sealed FROM operators WHERE tenant = ? ORDER BY id LIMIT ?",
                    )?;
                    let rows = rows.query_map(params![whose.as_str(), limit(LIST_BOUND)], |row| {
                        Ok((id_bytes(row, 0)?, Sealed::from_row(row, 1)?))
                    })?;
                    Ok(rows.collect::<Result<_, _>>()?)
                })
                .await?;
            let mut operators = Vec::with_capacity(rows.len());
            for (id, sealed) in rows {
                operators.push(self.open_operator(tenant, id, &sealed).await?);
            }
            Ok(operators)
        })
    }

    fn get<'a>(
        &'a self,
        tenant: &'a TenantId,
        operator: OperatorId,
    ) -> Kept<'a, Option<OperatorRecord>> {
        Box::pin(async move {
            let whose = tenant.clone();
            let found = self
                .db
                .query(move |db| {
                    let mut found = db.prepare_cached(
                        "SELECT key_id, sealed FROM operators WHERE tenant = ? AND id = ?",
                    )?;
                    let key = params![whose.as_str(), operator.as_bytes()];
                    Ok(found.query_row(key, |row| Sealed::from_row(row, 0)).optional()?)
                })
                .await?;
            match found {
                Some(sealed) => {
                    self.open_operator(tenant, *operator.as_bytes(), &sealed).await.map(Some)
                }
                None => Ok(None),
            }
        })
    }

    fn add(&self, operator: OperatorRecord, event: Event) -> Kept<'_, OutboxSeq> {
        Box::pin(async move {
            let tenant = operator.tenant.clone();
            let sealed = self.seal_operator(&operator).await?;
            self.change(&tenant, event, move |db| insert(db, &operator, &sealed), |()| ()).await
        })
    }

    fn remove<'a>(
        &'a self,
        tenant: &'a TenantId,
        operator: OperatorId,
        event: Event,
    ) -> Kept<'a, OutboxSeq> {
        Box::pin(async move {
            let whose = tenant.clone();
            self.change(
                tenant,
                event,
                move |db| {
                    let sql = "DELETE FROM operators WHERE tenant = ? AND id = ?";
                    exactly_one(db.execute(sql, params![whose.as_str(), operator.as_bytes()])?)
                },
                |()| (),
            )
            .await
        })
    }

    fn offer<'a>(
        &'a self,
        tenant: &'a TenantId,
        hash: [u8; 32],
        expires: Timestamp,
        event: Event,
    ) -> Kept<'a, OutboxSeq> {
        let whose = tenant.clone();
        let write = move |db: &Connection| {
            nobody_yet(db, &whose)?;
            keep_code(db, &whose, hash, expires)
        };
        Box::pin(async move { self.change(tenant, event, write, |()| ()).await })
    }

    fn offer_one_more<'a>(
        &'a self,
        tenant: &'a TenantId,
        hash: [u8; 32],
        expires: Timestamp,
        event: Event,
    ) -> Kept<'a, OutboxSeq> {
        let whose = tenant.clone();
        let write = move |db: &Connection| keep_code(db, &whose, hash, expires);
        Box::pin(async move { self.change(tenant, event, write, |()| ()).await })
    }

    fn claim(
        &self,
        hash: [u8; 32],
        now: Timestamp,
        operator: OperatorRecord,
        event: Event,
    ) -> Kept<'_, OutboxSeq> {
        Box::pin(async move {
            let tenant = operator.tenant.clone();
            let sealed = self.seal_operator(&operator).await?;
            self.change(
                &tenant,
                event,
                move |db| {
                    let sql = "SELECT hash, expires FROM bootstrap_codes WHERE tenant = ?";
                    let found: Option<([u8; 32], i64)> = db
                        .query_row(sql, [operator.tenant.as_str()], |row| {
                            Ok((row.get(0)?, row.get(1)?))
                        })
                        .optional()?;
                    let (kept, expires) = found.ok_or(StoreError::Conflict)?;
                    if !crypto::same(&kept, &hash) || millis(now) >= expires {
                        return Err(StoreError::Conflict);
                    }
                    let sql = "DELETE FROM bootstrap_codes WHERE tenant = ?";
                    exactly_one(db.execute(sql, [operator.tenant.as_str()])?)?;
                    insert(db, &operator, &sealed)
                },
                |()| (),
            )
            .await
        })
    }

    fn propose(&self, approval: Approval, event: Event) -> Kept<'_, OutboxSeq> {
        Box::pin(async move {
            let tenant = approval.tenant.clone();
            let place =
                Place { tenant: &approval.tenant, table: APPROVALS, row: approval.id.as_bytes() };
            let sealed = self.seal(place, &approval).await?;
            self.change(
                &tenant,
                event,
                move |db| {
                    let whose = approval.tenant.as_str();
                    db.execute(
                        "DELETE FROM approvals WHERE tenant = ? AND expires <= ?",
                        params![whose, millis(approval.requested)],
                    )?;
                    db.execute(
                        "INSERT INTO approvals (tenant, id, expires, key_id, sealed)
                         VALUES (?, ?, ?, ?, ?)",
                        params![
                            whose,
                            approval.id.as_bytes(),
                            millis(approval.expires),
                            sealed.key.0,
                            sealed.bytes
                        ],
                    )?;
                    Ok(())
                },
                |()| (),
            )
            .await
        })
    }

    fn waiting<'a>(&'a self, tenant: &'a TenantId, now: Timestamp) -> Kept<'a, Vec<Approval>> {
        Box::pin(async move {
            let whose = tenant.clone();
            let rows: Vec<([u8; 16], Sealed)> = self
                .db
                .query(move |db| {
                    let mut rows = db.prepare_cached(
                        "SELECT id, key_id, sealed FROM approvals
                         WHERE tenant = ? AND expires > ? ORDER BY id LIMIT ?",
                    )?;
                    let key = params![whose.as_str(), millis(now), limit(LIST_BOUND)];
                    let rows = rows
                        .query_map(key, |row| Ok((id_bytes(row, 0)?, Sealed::from_row(row, 1)?)))?;
                    Ok(rows.collect::<Result<_, _>>()?)
                })
                .await?;
            let mut waiting = Vec::with_capacity(rows.len());
            for (id, sealed) in rows {
                let place = Place { tenant, table: APPROVALS, row: &id };
                let approval: Approval = self.unseal(place, &sealed).await?;
                if approval.tenant != *tenant || *approval.id.as_bytes() != id {
                    return Err(StoreError::Damaged { table: APPROVALS });
                }
                waiting.push(approval);
            }
            Ok(waiting)
        })
    }

    fn take<'a>(
        &'a self,
        tenant: &'a TenantId,
        approval: ApprovalId,
        event: Event,
    ) -> Kept<'a, OutboxSeq> {
        Box::pin(async move {
            let whose = tenant.clone();
            self.change(
                tenant,
                event,
                move |db| {
                    let sql = "DELETE FROM approvals WHERE tenant = ? AND id = ?";
                    exactly_one(db.execute(sql, params![whose.as_str(), approval.as_bytes()])?)
                },
                |()| (),
            )
            .await
        })
    }
}

impl Probe for Store {
    fn writable(&self) -> Kept<'_, ()> {
        Box::pin(async move {
            let now = millis(self.clock.now());
            self.db
                .change(
                    move |db| {
                        db.prepare_cached(
                            "INSERT INTO probes (id, at) VALUES (1, ?)
                             ON CONFLICT (id) DO UPDATE SET at = excluded.at",
                        )?
                        .execute([now])?;
                        Ok(())
                    },
                    |()| (),
                )
                .await
        })
    }
}

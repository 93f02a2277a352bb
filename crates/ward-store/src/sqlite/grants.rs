//! Grants: sealed as a whole, since what they allow must not be widened from outside; those used
//! lately are held in memory. A grant never changes, so memory cannot be stale.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{OptionalExtension as _, params};
use ward_core::{ClientId, Event, GrantId, OutboxSeq, TenantId};
use ward_policy::Grant;

use super::{LIST_BOUND, Sealed, Store, hanging, id_bytes, limit, millis, replays};
use crate::StoreError;
use crate::hanging::Mark;
use crate::repo::{Claim, Grants, Kept};
use crate::seal::Place;

const TABLE: &str = "grants";
/// Grants held in memory; beyond it the oldest give way.
const HELD: usize = 16_384;
/// How long an expired grant is kept.
const KEPT: Duration = Duration::from_hours(24);
/// Expired grants removed per new one: more than one comes in with it.
const PRUNED: i64 = 16;

/// Grants in memory.
#[derive(Default)]
pub(super) struct Held(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    grants: HashMap<(TenantId, GrantId), Arc<Grant>>,
    order: VecDeque<(TenantId, GrantId)>,
}

impl Held {
    fn get(&self, tenant: &TenantId, grant: GrantId) -> Option<Arc<Grant>> {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.grants.get(&(tenant.clone(), grant)).cloned()
    }

    fn hold(&self, grant: &Arc<Grant>) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (grant.tenant.clone(), grant.id);
        if ring.grants.insert(key.clone(), Arc::clone(grant)).is_none() {
            ring.order.push_back(key);
        }
        if ring.order.len() > HELD
            && let Some(oldest) = ring.order.pop_front()
        {
            ring.grants.remove(&oldest);
        }
    }
}

impl Store {
    async fn open_grant(
        &self,
        tenant: &TenantId,
        id: [u8; 16],
        sealed: &Sealed,
    ) -> Result<Arc<Grant>, StoreError> {
        let place = Place { tenant, table: TABLE, row: &id };
        let grant: Grant = self.unseal(place, sealed).await?;
        if grant.tenant != *tenant || *grant.id.as_bytes() != id {
            return Err(StoreError::Damaged { table: TABLE });
        }
        Ok(Arc::new(grant))
    }
}

impl Grants for Store {
    fn put_claiming<'a>(
        &'a self,
        grant: &'a Grant,
        marks: Vec<Mark>,
        claim: Option<Claim>,
        event: Event,
    ) -> Kept<'a, OutboxSeq> {
        Box::pin(async move {
            let tenant = grant.tenant.clone();
            let place = Place { tenant: &tenant, table: TABLE, row: grant.id.as_bytes() };
            let sealed = self.seal(place, grant).await?;
            let grant = Arc::new(grant.clone());
            let (whose, now) = (tenant.clone(), self.clock.now());
            let (held, also) = (Arc::clone(&self.grants), Arc::clone(&grant));
            self.change(
                &tenant,
                event,
                move |db| {
                    replays::claim_with(db, &whose, claim.as_ref(), now)?;
                    db.prepare_cached(
                        "INSERT INTO grants (tenant, id, client, expires, key_id, sealed)
                         VALUES (?, ?, ?, ?, ?, ?)",
                    )?
                    .execute(params![
                        whose.as_str(),
                        grant.id.as_bytes(),
                        grant.client.as_bytes(),
                        millis(grant.expires),
                        sealed.key.0,
                        sealed.bytes
                    ])?;
                    hanging::hang(db, &whose, grant.client, &marks, Some(grant.expires), now)?;
                    db.prepare_cached(
                        "DELETE FROM grants WHERE rowid IN
                         (SELECT rowid FROM grants WHERE expires < ? LIMIT ?)",
                    )?
                    .execute(params![millis(now.minus(KEPT)), PRUNED])?;
                    Ok(())
                },
                move |()| held.hold(&also),
            )
            .await
        })
    }

    fn get<'a>(&'a self, tenant: &'a TenantId, grant: GrantId) -> Kept<'a, Option<Arc<Grant>>> {
        Box::pin(async move {
            if let Some(grant) = self.grants.get(tenant, grant) {
                return Ok(Some(grant));
            }
            let whose = tenant.clone();
            let found = self
                .db
                .query(move |db| {
                    let mut found = db.prepare_cached(
                        "SELECT key_id, sealed FROM grants WHERE tenant = ? AND id = ?",
                    )?;
                    let key = params![whose.as_str(), grant.as_bytes()];
                    Ok(found.query_row(key, |row| Sealed::from_row(row, 0)).optional()?)
                })
                .await?;
            let Some(sealed) = found else { return Ok(None) };
            let grant = self.open_grant(tenant, *grant.as_bytes(), &sealed).await?;
            self.grants.hold(&grant);
            Ok(Some(grant))
        })
    }

    fn live_for_client<'a>(
        &'a self,
        tenant: &'a TenantId,
        client: ClientId,
    ) -> Kept<'a, Vec<Arc<Grant>>> {
        Box::pin(async move {
            let (whose, now) = (tenant.clone(), self.clock.now());
            let rows: Vec<([u8; 16], Sealed)> = self
                .db
                .query(move |db| {
                    let mut rows = db.prepare_cached(
                        "SELECT id, key_id, sealed FROM grants
                         WHERE tenant = ? AND client = ? AND expires > ?
                         ORDER BY id DESC LIMIT ?",
                    )?;
                    let key =
                        params![whose.as_str(), client.as_bytes(), millis(now), limit(LIST_BOUND)];
                    let rows = rows
                        .query_map(key, |row| Ok((id_bytes(row, 0)?, Sealed::from_row(row, 1)?)))?;
                    Ok(rows.collect::<Result<_, _>>()?)
                })
                .await?;
            let mut live = Vec::new();
            for (id, sealed) in rows {
                let grant = self.open_grant(tenant, id, &sealed).await?;
                let unrevoked =
                    |(subject, epoch): &(_, u64)| self.epochs.current(tenant, subject) == *epoch;
                if grant.client == client && grant.hangs_on.iter().all(unrevoked) {
                    live.push(grant);
                }
            }
            Ok(live)
        })
    }
}

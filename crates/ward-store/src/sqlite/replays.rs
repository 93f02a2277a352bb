//! One-time values: claimed once until they expire (JWT-07, R38), durable before the answer.

use std::time::Duration;

use rusqlite::{Connection, params};
use ward_core::{TenantId, Timestamp};

use super::{Store, millis};
use crate::StoreError;
use crate::repo::{Claim, Kept, Replays};

/// Expired keys removed per claim: more than one comes in with it, so the table cannot grow for ever.
const PRUNED: i64 = 16;
/// Keys are kept so long beyond their time: a clock that runs a day ahead for a while and is set right again must
/// not make room for a value that was used before (grants are kept a day, too).
const KEPT: Duration = Duration::from_hours(25);

/// A key whose time is over is free again: that is a new JWT (amendments, R38).
const CLAIM: &str = "INSERT INTO replays (tenant, key, until) VALUES (?, ?, ?)
    ON CONFLICT (tenant, key) DO UPDATE SET until = excluded.until WHERE until <= ?";
const PRUNE: &str = "DELETE FROM replays WHERE (tenant, key) IN
    (SELECT tenant, key FROM replays WHERE until < ? LIMIT ?)";

/// See [`super::hanging::BY_INDEX`].
#[cfg(test)]
pub(crate) const BY_INDEX: [&str; 1] = [PRUNE];

/// Claims the value within a transaction; `false` if it was claimed before or its time is over.
fn claim(
    db: &Connection,
    tenant: &TenantId,
    wanted: &Claim,
    now: Timestamp,
) -> Result<bool, StoreError> {
    // Its time is over, or was while it was being looked at: nothing can be claimed of it.
    if wanted.until <= now {
        return Ok(false);
    }
    let row = params![tenant.as_str(), wanted.key, millis(wanted.until), millis(now)];
    let claimed = db.prepare_cached(CLAIM)?.execute(row)?;
    db.prepare_cached(PRUNE)?.execute(params![millis(now.minus(KEPT)), PRUNED])?;
    Ok(claimed == 1)
}

/// The same for a change that stands or falls with it.
pub(super) fn claim_with(
    db: &Connection,
    tenant: &TenantId,
    wanted: Option<&Claim>,
    now: Timestamp,
) -> Result<(), StoreError> {
    match wanted {
        Some(wanted) if !claim(db, tenant, wanted, now)? => Err(StoreError::Replayed),
        _ => Ok(()),
    }
}

impl Replays for Store {
    fn claim<'a>(
        &'a self,
        tenant: &'a TenantId,
        key: [u8; 32],
        until: Timestamp,
    ) -> Kept<'a, bool> {
        Box::pin(async move {
            let (tenant, now) = (tenant.clone(), self.clock.now());
            if until <= now {
                return Ok(false);
            }
            let wanted = Claim { key, until };
            self.db.change(move |db| claim(db, &tenant, &wanted, now), |_| ()).await
        })
    }
}

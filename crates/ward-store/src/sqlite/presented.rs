//! Renewed certificates: kept while a grant rests on them, so that it can be said what they are and whether a list names them.

use std::time::Duration;

use rusqlite::params;
use ward_core::{TenantId, Thumbprint, Timestamp, crypto};

use super::{Store, millis};
use crate::StoreError;
use crate::repo::{Kept, Presented};

/// Certificates of one path at most.
const PATH: usize = 8;
/// One certificate, octets.
const DER: usize = 64 * 1024;
/// How long they are kept beyond their time: as long as grants.
const KEPT: Duration = Duration::from_hours(24);
/// Those whose time is over are removed, so many with each path that is kept: more than come in with it.
const PRUNED: i64 = 32;

impl Presented for Store {
    fn keep<'a>(
        &'a self,
        tenant: &'a TenantId,
        path: Vec<Vec<u8>>,
        until: Timestamp,
    ) -> Kept<'a, ()> {
        Box::pin(async move {
            if path.len() > PATH || path.iter().any(|der| der.len() > DER) {
                return Err(StoreError::TooLarge { what: "a certificate path", bound: PATH * DER });
            }
            let Some(leaf) = path.first().map(|der| crypto::sha256(&[der])) else { return Ok(()) };
            let (tenant, now) = (tenant.clone(), self.clock.now());
            self.db
                .change(
                    move |db| {
                        for (place, der) in (0_i64..).zip(&path) {
                            // The longest time counts; the path may be another one than before.
                            db.prepare_cached(
                                "INSERT INTO presented (tenant, leaf, place, der, until)
                                 VALUES (?, ?, ?, ?, ?)
                                 ON CONFLICT (tenant, leaf, place) DO UPDATE
                                 SET der = excluded.der, until = max(until, excluded.until)",
                            )?
                            .execute(params![
                                tenant.as_str(),
                                leaf,
                                place,
                                der,
                                millis(until)
                            ])?;
                        }
                        db.prepare_cached(
                            "DELETE FROM presented WHERE (tenant, leaf, place) IN
                             (SELECT tenant, leaf, place FROM presented WHERE until < ? LIMIT ?)",
                        )?
                        .execute(params![millis(now.minus(KEPT)), PRUNED])?;
                        Ok(())
                    },
                    |()| (),
                )
                .await
        })
    }

    fn path<'a>(&'a self, tenant: &'a TenantId, leaf: Thumbprint) -> Kept<'a, Vec<Vec<u8>>> {
        Box::pin(async move {
            let tenant = tenant.clone();
            self.db
                .query(move |db| {
                    let mut rows = db.prepare_cached(
                        "SELECT der FROM presented WHERE tenant = ? AND leaf = ? ORDER BY place",
                    )?;
                    let rows =
                        rows.query_map(params![tenant.as_str(), leaf.0], |row| row.get(0))?;
                    Ok(rows.collect::<Result<_, _>>()?)
                })
                .await
        })
    }
}

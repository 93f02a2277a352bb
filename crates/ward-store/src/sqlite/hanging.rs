//! What hangs on a certificate, by indexes: rows of it are written with the registration or grant that they tell of, in the same
//! transaction, and are public (thumbprints and serial numbers).

use std::time::Duration;

use rusqlite::{Connection, params};
use ward_core::{ClientId, CommunityUri, TenantId, Thumbprint, Timestamp};

use super::registrations::{Stored, stored};
use super::{Store, id_bytes, limit, millis};
use crate::StoreError;
use crate::hanging::{Hanging, MARKS, Mark, Reach, Unmarked, number};
use crate::repo::{Kept, Registration};

/// How long a row is kept beyond the end of the last grant that it tells of: as long as the grant.
const KEPT: Duration = Duration::from_hours(25);
/// Rows whose time is over that go with each row that comes.
const PRUNED: i64 = 16;
/// Digests that one question may name.
const DIGESTS: usize = 1000;

const CLIENTS: &str = "SELECT client FROM hanging
    WHERE tenant = ? AND certificate = ? AND client > ? ORDER BY client LIMIT ?";
const NUMBERED: &str = "SELECT thumbprint FROM certificates
    WHERE tenant = ? AND serial = ? AND issuer = ?";
const WITH_SERIAL: &str = "SELECT thumbprint FROM certificates
    WHERE tenant = ? AND serial = ? ORDER BY issuer, thumbprint LIMIT ?";
// The plus keeps SQLite to the index of ends: only what lives is looked at.
const WITH_GRANTS: &str = "SELECT DISTINCT client FROM grants
    WHERE expires > ? AND +tenant = ? AND +client > ? ORDER BY client LIMIT ?";
const REGISTERED_IN: &str = "SELECT uri, client FROM registrations
    WHERE tenant = ? AND community = ? AND uri > ? ORDER BY uri LIMIT ?";
const ENDING: &str = "SELECT client, key_id, sealed FROM registrations
    WHERE tenant = ? AND ends < ? ORDER BY ends, client LIMIT ?";
const END_UNKNOWN: &str = "SELECT client, key_id, sealed FROM registrations
    WHERE tenant = ? AND ends IS NULL ORDER BY client LIMIT ?";
const UNMARKED: &str = "SELECT client, key_id, sealed FROM registrations
    WHERE tenant = ? AND reach IS NULL ORDER BY client LIMIT ?";
const MARKED_OTHERWISE: &str = "SELECT client, key_id, sealed FROM registrations
    WHERE tenant = ? AND reach > ? AND reach < ? LIMIT ?";
const PRUNE: &str = "DELETE FROM hanging WHERE (tenant, certificate, client) IN
    (SELECT tenant, certificate, client FROM hanging WHERE until < ? LIMIT ?)
    RETURNING tenant, certificate";

/// All that is asked or removed by an index, so that a test can hold SQLite to it.
#[cfg(test)]
pub(crate) const BY_INDEX: [&str; 10] = [
    CLIENTS,
    NUMBERED,
    WITH_SERIAL,
    WITH_GRANTS,
    REGISTERED_IN,
    ENDING,
    END_UNKNOWN,
    UNMARKED,
    MARKED_OTHERWISE,
    PRUNE,
];

/// The octets of a column `hangs`: one thumbprint behind the other.
pub(super) fn joined(marks: &[Mark]) -> Vec<u8> {
    marks.iter().take(MARKS).flat_map(|mark| mark.thumbprint.0).collect()
}

/// Writes that a client hangs on these certificates: for good (`None`), or while a grant lives that ends then. What a row says
/// is not written again, so a further grant under the same path mostly writes nothing.
pub(super) fn hang(
    db: &Connection,
    tenant: &TenantId,
    client: ClientId,
    marks: &[Mark],
    ends: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let until = ends.map(|ends| millis(ends.plus(KEPT)));
    let mut row = db.prepare_cached(
        "INSERT INTO hanging (tenant, certificate, client, until) VALUES (?, ?, ?, ?)
         ON CONFLICT (tenant, certificate, client) DO UPDATE SET until = excluded.until
         WHERE until IS NOT NULL AND (excluded.until IS NULL OR until < ?)",
    )?;
    let mut written = false;
    for mark in marks.iter().take(MARKS) {
        let thumbprint = mark.thumbprint.0;
        // Once a day is often enough for a client that renewed its certificate and asks again and again.
        let short = ends.map(millis);
        let key = params![tenant.as_str(), thumbprint, client.as_bytes(), until, short];
        if row.execute(key)? == 0 {
            continue;
        }
        written = true;
        db.prepare_cached(
            "INSERT INTO certificates (tenant, thumbprint, issuer, serial) VALUES (?, ?, ?, ?)
             ON CONFLICT (tenant, thumbprint) DO NOTHING",
        )?
        .execute(params![tenant.as_str(), thumbprint, mark.issuer, mark.number()])?;
    }
    if written { prune(db, now) } else { Ok(()) }
}

/// From now on the client hangs on these certificates only as far as its last grants do.
pub(super) fn loosen(
    db: &Connection,
    tenant: &TenantId,
    client: [u8; 16],
    (before, now_on): (&[u8], &[u8]),
    now: Timestamp,
) -> Result<(), StoreError> {
    let (before, _) = before.as_chunks::<32>();
    let (now_on, _) = now_on.as_chunks::<32>();
    for thumbprint in before.iter().filter(|one| !now_on.contains(one)) {
        db.prepare_cached(
            "UPDATE hanging SET until = ?
             WHERE tenant = ? AND certificate = ? AND client = ? AND until IS NULL",
        )?
        .execute(params![millis(now.plus(KEPT)), tenant.as_str(), thumbprint, client])?;
    }
    Ok(())
}

fn prune(db: &Connection, now: Timestamp) -> Result<(), StoreError> {
    let gone: Vec<(String, [u8; 32])> = db
        .prepare_cached(PRUNE)?
        .query_map(params![millis(now), PRUNED], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (tenant, certificate) in gone {
        db.prepare_cached(
            "DELETE FROM certificates WHERE tenant = ?1 AND thumbprint = ?2 AND NOT EXISTS
             (SELECT 1 FROM hanging WHERE tenant = ?1 AND certificate = ?2)",
        )?
        .execute(params![tenant, certificate])?;
    }
    Ok(())
}

/// Two such columns in one.
fn united(mut all: Vec<u8>, more: &[u8]) -> Vec<u8> {
    for thumbprint in more.as_chunks::<32>().0 {
        if all.len() < MARKS * 32 && !all.as_chunks::<32>().0.contains(thumbprint) {
            all.extend_from_slice(thumbprint);
        }
    }
    all
}

/// The end that is kept of a registration.
pub(super) fn end(registration: &Registration, reach: &Reach) -> i64 {
    if registration.cancelled {
        return i64::MAX;
    }
    let shown = registration.certifications.iter().map(|one| one.expires);
    shown.chain([reach.ends]).min().map_or(i64::MAX, millis)
}

fn ids(
    db: &Connection,
    sql: &str,
    key: impl rusqlite::Params,
) -> Result<Vec<ClientId>, StoreError> {
    let mut rows = db.prepare_cached(sql)?;
    let rows = rows.query_map(key, |row| Ok(ClientId::from_bytes(id_bytes(row, 0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The key behind which a list begins; an empty one stands before every other.
fn behind(after: Option<ClientId>) -> Vec<u8> {
    after.map_or_else(Vec::new, |client| client.as_bytes().to_vec())
}

impl Store {
    async fn opened(
        &self,
        tenant: &TenantId,
        rows: Vec<Stored>,
    ) -> Result<Vec<Registration>, StoreError> {
        let mut registrations = Vec::with_capacity(rows.len());
        for row in rows {
            registrations.push(self.open_registration(tenant, row).await?);
        }
        Ok(registrations)
    }
}

impl Hanging for Store {
    fn clients<'a>(
        &'a self,
        tenant: &'a TenantId,
        certificate: Thumbprint,
        after: Option<ClientId>,
        most: usize,
    ) -> Kept<'a, Vec<ClientId>> {
        Box::pin(async move {
            let (whose, after, most) = (tenant.clone(), behind(after), limit(most));
            let query = move |db: &Connection| {
                ids(db, CLIENTS, params![whose.as_str(), certificate.0, after, most])
            };
            self.db.query(query).await
        })
    }

    fn numbered<'a>(
        &'a self,
        tenant: &'a TenantId,
        issuer: [u8; 32],
        serials: Vec<Vec<u8>>,
    ) -> Kept<'a, Vec<Thumbprint>> {
        Box::pin(async move {
            let whose = tenant.clone();
            self.db
                .query(move |db| {
                    let mut found = db.prepare_cached(NUMBERED)?;
                    let mut all = Vec::new();
                    for serial in &serials {
                        let key = params![whose.as_str(), number(serial), issuer];
                        for thumbprint in found.query_map(key, |row| row.get(0))? {
                            all.push(Thumbprint(thumbprint?));
                        }
                    }
                    Ok(all)
                })
                .await
        })
    }

    fn with_serial<'a>(
        &'a self,
        tenant: &'a TenantId,
        serial: Vec<u8>,
        most: usize,
    ) -> Kept<'a, Vec<Thumbprint>> {
        Box::pin(async move {
            let (whose, most) = (tenant.clone(), limit(most));
            self.db
                .query(move |db| {
                    let mut rows = db.prepare_cached(WITH_SERIAL)?;
                    let key = params![whose.as_str(), number(&serial), most];
                    let rows = rows.query_map(key, |row| row.get(0).map(Thumbprint))?;
                    Ok(rows.collect::<Result<_, _>>()?)
                })
                .await
        })
    }

    fn with_grants<'a>(
        &'a self,
        tenant: &'a TenantId,
        after: Option<ClientId>,
        most: usize,
    ) -> Kept<'a, Vec<ClientId>> {
        Box::pin(async move {
            let (whose, after, most) = (tenant.clone(), behind(after), limit(most));
            let now = millis(self.clock.now());
            let query = move |db: &Connection| {
                ids(db, WITH_GRANTS, params![now, whose.as_str(), after, most])
            };
            self.db.query(query).await
        })
    }

    fn registered_in<'a>(
        &'a self,
        tenant: &'a TenantId,
        community: &'a CommunityUri,
        after: Option<String>,
        most: usize,
    ) -> Kept<'a, Vec<(String, ClientId)>> {
        Box::pin(async move {
            let (key, most) = ((tenant.clone(), community.clone()), limit(most));
            self.db
                .query(move |db| {
                    let mut rows = db.prepare_cached(REGISTERED_IN)?;
                    let after = after.unwrap_or_default();
                    let key = params![key.0.as_str(), key.1.as_str(), after, most];
                    let rows = rows.query_map(key, |row| {
                        Ok((row.get(0)?, ClientId::from_bytes(id_bytes(row, 1)?)))
                    })?;
                    Ok(rows.collect::<Result<_, _>>()?)
                })
                .await
        })
    }

    fn ending<'a>(
        &'a self,
        tenant: &'a TenantId,
        before: Timestamp,
        most: usize,
    ) -> Kept<'a, Vec<Registration>> {
        Box::pin(async move {
            let (whose, before, most) = (tenant.clone(), millis(before), limit(most));
            let rows: Vec<Stored> = self
                .db
                .query(move |db| {
                    let mut known = db.prepare_cached(ENDING)?;
                    let mut unknown = db.prepare_cached(END_UNKNOWN)?;
                    let known = known.query_map(params![whose.as_str(), before, most], stored)?;
                    let unknown = unknown.query_map(params![whose.as_str(), most], stored)?;
                    Ok(known.chain(unknown).collect::<Result<_, _>>()?)
                })
                .await?;
            self.opened(tenant, rows).await
        })
    }

    fn unmarked<'a>(
        &'a self,
        tenant: &'a TenantId,
        mut digests: Vec<[u8; 32]>,
        most: usize,
    ) -> Kept<'a, Vec<Unmarked>> {
        Box::pin(async move {
            if digests.len() > DIGESTS {
                return Err(StoreError::TooLarge { what: "a question of marks", bound: DIGESTS });
            }
            digests.sort_unstable();
            digests.dedup();
            let (whose, most) = (tenant.clone(), limit(most));
            let rows: Vec<Stored> = self
                .db
                .query(move |db| {
                    let mut rows: Vec<Stored> = db
                        .prepare_cached(UNMARKED)?
                        .query_map(params![whose.as_str(), most], stored)?
                        .collect::<Result<_, _>>()?;
                    // What lies between those that are known: so nothing that is marked is looked at.
                    let mut gap = db.prepare_cached(MARKED_OTHERWISE)?;
                    // An empty blob stands before every digest, and one of 33 octets behind.
                    let mut from: &[u8] = &[];
                    let last = [0xff_u8; 33];
                    for to in digests.iter().map(<[u8; 32]>::as_slice).chain([last.as_slice()]) {
                        let found =
                            gap.query_map(params![whose.as_str(), from, to, most], stored)?;
                        for row in found {
                            rows.push(row?);
                        }
                        from = to;
                    }
                    rows.truncate(usize::try_from(most).unwrap_or(0));
                    Ok(rows)
                })
                .await?;
            let octets: Vec<Vec<u8>> = rows.iter().map(|row| row.1.bytes.clone()).collect();
            let registrations = self.opened(tenant, rows).await?;
            let found = registrations.into_iter().zip(octets);
            Ok(found.map(|(registration, row)| Unmarked { registration, row }).collect())
        })
    }

    fn mark(&self, found: Unmarked, reach: Reach) -> Kept<'_, ()> {
        Box::pin(async move {
            let now = self.clock.now();
            let Unmarked { registration, row } = found;
            self.db
                .change(
                    move |db| {
                        let (tenant, client) = (&registration.tenant, registration.client);
                        let there = super::registrations::by_client(db, tenant, client)?;
                        // Changed since: it has other marks, or will be found again.
                        let Some(there) = there.filter(|there| there.1.bytes == row) else {
                            return Ok(());
                        };
                        let was = super::registrations::hangs(db, tenant, client)?;
                        hang(db, tenant, client, &reach.marks, None, now)?;
                        // Its path may go through what it was first registered with, whatever stands above now.
                        let hangs = united(joined(&reach.marks), &was);
                        let ends = end(&registration, &reach);
                        db.prepare_cached(
                            "UPDATE registrations SET reach = ?, hangs = ?, ends = ?
                             WHERE tenant = ? AND client = ?",
                        )?
                        .execute(params![
                            reach.under,
                            hangs,
                            ends,
                            tenant.as_str(),
                            there.0
                        ])?;
                        Ok(())
                    },
                    |()| (),
                )
                .await
        })
    }
}

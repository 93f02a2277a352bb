//! Holds: clients that get no tokens until an operator releases them. Kept by community and URI, since
//! a client that cancels itself and registers anew has another client id.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use ward_core::{ClientId, ClientUri, CommunityUri, Event, OutboxSeq, TenantId};
use ward_policy::Subject;

use super::{Sealed, Store, epochs, id_bytes, limit};
use crate::StoreError;
use crate::repo::{Hold, Holds, Kept};
use crate::seal::Place;

const TABLE: &str = "holds";

/// Who is on hold: few, asked about with every token, and so held in memory. Told on the writer's thread, before the epochs that a
/// hold raises, so that whoever has read the new epochs finds the hold.
#[derive(Default)]
pub(super) struct OnHold(RwLock<HashSet<(TenantId, Vec<u8>)>>);

impl OnHold {
    /// Reads them, when the store is opened.
    pub(super) fn load(db: &Connection) -> Result<Self, StoreError> {
        let mut rows = db.prepare("SELECT tenant, community, uri FROM holds")?;
        let mut rows = rows.query([])?;
        let mut all = HashSet::new();
        while let Some(row) = rows.next()? {
            let (tenant, community, uri): (String, String, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let tenant = TenantId::parse(&tenant);
            let tenant = tenant.map_err(|_| StoreError::Damaged { table: TABLE })?;
            all.insert((tenant, key(&community, &uri)));
        }
        Ok(Self(RwLock::new(all)))
    }

    fn has(&self, tenant: &TenantId, community: &CommunityUri, uri: &ClientUri) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        !all.is_empty() && all.contains(&(tenant.clone(), key(community.as_str(), uri.as_str())))
    }

    fn set(&self, tenant: &TenantId, row: &[u8], held: bool) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let row = (tenant.clone(), row.to_vec());
        if held {
            all.insert(row);
        } else {
            all.remove(&row);
        }
    }
}

/// Community, URI and sealed record.
type Stored = (String, String, Sealed);

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok((row.get(0)?, row.get(1)?, Sealed::from_row(row, 2)?))
}

/// No URI has a line feed, so the joined text has one reading.
fn key(community: &str, uri: &str) -> Vec<u8> {
    format!("{community}\n{uri}").into_bytes()
}

impl Store {
    async fn open_hold(
        &self,
        tenant: &TenantId,
        (community, uri, sealed): Stored,
    ) -> Result<Hold, StoreError> {
        let row = key(&community, &uri);
        let hold: Hold = self.unseal(Place { tenant, table: TABLE, row: &row }, &sealed).await?;
        if hold.tenant != *tenant
            || hold.community.as_str() != community
            || hold.uri.as_str() != uri
        {
            return Err(StoreError::Damaged { table: TABLE });
        }
        Ok(hold)
    }
}

impl Holds for Store {
    fn put(&self, hold: Hold, ended: Vec<Subject>, event: Event) -> Kept<'_, OutboxSeq> {
        Box::pin(async move {
            let tenant = hold.tenant.clone();
            let row = key(hold.community.as_str(), hold.uri.as_str());
            let sealed =
                self.seal(Place { tenant: &tenant, table: TABLE, row: &row }, &hold).await?;
            let (whose, now) = (tenant.clone(), self.clock.now());
            let (map, also) = (Arc::clone(&self.epochs), tenant.clone());
            let on_hold = Arc::clone(&self.on_hold);
            self.change(
                &tenant,
                event,
                move |db| {
                    let place = params![whose.as_str(), hold.community.as_str(), hold.uri.as_str()];
                    // The client id that it has now, if it registered anew since.
                    let registered: Option<[u8; 16]> = db
                        .prepare_cached(
                            "SELECT client FROM registrations
                             WHERE tenant = ? AND community = ? AND uri = ?",
                        )?
                        .query_row(place, |row| id_bytes(row, 0))
                        .optional()?;
                    db.prepare_cached(
                        "INSERT INTO holds (tenant, community, uri, key_id, sealed)
                         VALUES (?, ?, ?, ?, ?)
                         ON CONFLICT (tenant, community, uri) DO UPDATE SET
                         key_id = excluded.key_id, sealed = excluded.sealed",
                    )?
                    .execute(params![
                        whose.as_str(),
                        hold.community.as_str(),
                        hold.uri.as_str(),
                        sealed.key.0,
                        sealed.bytes
                    ])?;
                    let mut subjects = std::collections::BTreeSet::from_iter(ended);
                    subjects.insert(Subject::Client(hold.client));
                    subjects.extend(
                        registered.map(|client| Subject::Client(ClientId::from_bytes(client))),
                    );
                    epochs::bump(db, &whose, subjects, now)
                },
                move |raised| {
                    on_hold.set(&also, &row, true);
                    map.raise(&also, raised);
                },
            )
            .await
        })
    }

    fn release<'a>(
        &'a self,
        tenant: &'a TenantId,
        community: &'a CommunityUri,
        uri: &'a ClientUri,
        event: Event,
    ) -> Kept<'a, OutboxSeq> {
        Box::pin(async move {
            let (on_hold, also) = (Arc::clone(&self.on_hold), tenant.clone());
            let row = key(community.as_str(), uri.as_str());
            let key = (tenant.clone(), community.clone(), uri.clone());
            self.change(
                tenant,
                event,
                move |db| {
                    let gone = db
                        .prepare_cached(
                            "DELETE FROM holds WHERE tenant = ? AND community = ? AND uri = ?",
                        )?
                        .execute(params![key.0.as_str(), key.1.as_str(), key.2.as_str()])?;
                    if gone == 1 { Ok(()) } else { Err(StoreError::Conflict) }
                },
                move |()| on_hold.set(&also, &row, false),
            )
            .await
        })
    }

    fn get<'a>(
        &'a self,
        tenant: &'a TenantId,
        community: &'a CommunityUri,
        uri: &'a ClientUri,
    ) -> Kept<'a, Option<Hold>> {
        Box::pin(async move {
            if !self.on_hold.has(tenant, community, uri) {
                return Ok(None);
            }
            let key = (tenant.clone(), community.clone(), uri.clone());
            let found = self
                .db
                .query(move |db| {
                    let mut found = db.prepare_cached(
                        "SELECT community, uri, key_id, sealed FROM holds
                         WHERE tenant = ? AND community = ? AND uri = ?",
                    )?;
                    let key = params![key.0.as_str(), key.1.as_str(), key.2.as_str()];
                    Ok(found.query_row(key, stored).optional()?)
                })
                .await?;
            match found {
                Some(found) => self.open_hold(tenant, found).await.map(Some),
                None => Ok(None),
            }
        })
    }

    fn list<'a>(&'a self, tenant: &'a TenantId, most: usize) -> Kept<'a, Vec<Hold>> {
        Box::pin(async move {
            let (whose, most) = (tenant.clone(), limit(most));
            let rows: Vec<Stored> = self
                .db
                .query(move |db| {
                    let mut rows = db.prepare_cached(
                        "SELECT community, uri, key_id, sealed FROM holds
                         WHERE tenant = ? ORDER BY community, uri LIMIT ?",
                    )?;
                    let rows = rows.query_map(params![whose.as_str(), most], stored)?;
                    Ok(rows.collect::<Result<_, _>>()?)
                })
                .await?;
            let mut holds = Vec::with_capacity(rows.len());
            for row in rows {
                holds.push(self.open_hold(tenant, row).await?);
            }
            Ok(holds)
        })
    }
}

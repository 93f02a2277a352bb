//! Registered clients: one per tenant, community and client URI (REG-14), sealed as a whole.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use ward_core::{ClientId, ClientUri, CommunityUri, Event, KeyPurpose, OutboxSeq, TenantId};
use ward_policy::{Subject, scopes_shrink};

use super::held::Entry;
use super::{Sealed, Store, epochs, hanging, id_bytes, limit, replays};
use crate::StoreError;
use crate::hanging::Reach;
use crate::repo::{Claim, Expected, Kept, Registration, Registrations};
use crate::seal::Place;

const TABLE: &str = "registrations";

/// What a change demands to find in the row that it replaces.
enum Demanded {
    Nothing,
    /// These octets. No two writes of a row have the same, so it is the row that was read.
    Row(Vec<u8>),
    /// This client id.
    Client([u8; 16]),
}

impl Demanded {
    fn is(&self, there: Option<&Stored>) -> bool {
        match (self, there) {
            (Self::Nothing, None) => true,
            (Self::Row(octets), Some((_, sealed))) => *octets == sealed.bytes,
            (Self::Client(id), Some((client, _))) => id == client,
            _ => false,
        }
    }
}

/// Client id and sealed record.
pub(super) type Stored = ([u8; 16], Sealed);

pub(super) fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok((id_bytes(row, 0)?, Sealed::from_row(row, 1)?))
}

/// The row of a client id.
pub(super) fn by_client(
    db: &Connection,
    tenant: &TenantId,
    client: ClientId,
) -> Result<Option<Stored>, StoreError> {
    let mut found = db.prepare_cached(
        "SELECT client, key_id, sealed FROM registrations WHERE tenant = ? AND client = ?",
    )?;
    Ok(found.query_row(params![tenant.as_str(), client.as_bytes()], stored).optional()?)
}

/// What the row of a client id is found by (see [`hanging`]).
#[derive(Default)]
struct Marked {
    reach: Option<Vec<u8>>,
    hangs: Option<Vec<u8>>,
    ends: Option<i64>,
}

fn marked(db: &Connection, tenant: &TenantId, client: [u8; 16]) -> Result<Marked, StoreError> {
    let mut found = db.prepare_cached(
        "SELECT reach, hangs, ends FROM registrations WHERE tenant = ? AND client = ?",
    )?;
    let marked =
        |row: &Row<'_>| Ok(Marked { reach: row.get(0)?, hangs: row.get(1)?, ends: row.get(2)? });
    Ok(found.query_row(params![tenant.as_str(), client], marked).optional()?.unwrap_or_default())
}

/// SHA-256 of each certificate that the registration hangs on, one behind the other.
pub(super) fn hangs(
    db: &Connection,
    tenant: &TenantId,
    client: ClientId,
) -> Result<Vec<u8>, StoreError> {
    Ok(marked(db, tenant, *client.as_bytes())?.hangs.unwrap_or_default())
}

impl Store {
    pub(super) async fn open_registration(
        &self,
        tenant: &TenantId,
        (client, sealed): Stored,
    ) -> Result<Registration, StoreError> {
        let place = Place { tenant, table: TABLE, row: &client };
        let registration: Registration = self.unseal(place, &sealed).await?;
        // The columns that it was found by are not sealed.
        if registration.tenant != *tenant || *registration.client.as_bytes() != client {
            return Err(StoreError::Damaged { table: TABLE });
        }
        Ok(registration)
    }

    /// A registration from memory, if it could be opened now.
    async fn handed_out(
        &self,
        tenant: &TenantId,
        entry: Arc<Entry>,
    ) -> Result<Arc<Entry>, StoreError> {
        self.vault.by_id(tenant, KeyPurpose::Record, entry.key).await?;
        Ok(entry)
    }

    /// The registration of a client URI, with the octets of its row.
    async fn stored_by_uri(
        &self,
        tenant: &TenantId,
        community: &CommunityUri,
        uri: &ClientUri,
    ) -> Result<Option<Arc<Entry>>, StoreError> {
        let changes = match self.registrations.by_place(tenant, community, uri) {
            Ok(entry) => return self.handed_out(tenant, entry).await.map(Some),
            Err(changes) => changes,
        };
        let key = (tenant.clone(), community.clone(), uri.clone());
        let found = self
            .db
            .query(move |db| {
                let mut found = db.prepare_cached(
                    "SELECT client, key_id, sealed FROM registrations
                     WHERE tenant = ? AND community = ? AND uri = ?",
                )?;
                let key = params![key.0.as_str(), key.1.as_str(), key.2.as_str()];
                Ok(found.query_row(key, stored).optional()?)
            })
            .await?;
        let Some(found) = found else { return Ok(None) };
        let (row, key) = (found.1.bytes.clone(), found.1.key);
        let registration = self.open_registration(tenant, found).await?;
        if registration.community != *community || registration.uri != *uri {
            return Err(StoreError::Damaged { table: TABLE });
        }
        let entry = Arc::new(Entry { registration, row, key });
        self.registrations.loaded(changes, &entry);
        Ok(Some(entry))
    }
}

/// What a registration shall be found by: as it was told, or as before if its certificate is the same.
fn marks(registration: &Registration, reach: Option<&Reach>, kept: Option<&Marked>) -> Marked {
    if let Some(reach) = reach {
        return Marked {
            reach: Some(reach.under.to_vec()),
            hangs: Some(hanging::joined(&reach.marks)),
            ends: Some(hanging::end(registration, reach)),
        };
    }
    kept.map_or_else(Marked::default, |was| Marked {
        reach: was.reach.clone(),
        hangs: was.hangs.clone(),
        ends: if registration.cancelled { was.ends.map(|_| i64::MAX) } else { was.ends },
    })
}

impl Registrations for Store {
    fn by_client<'a>(
        &'a self,
        tenant: &'a TenantId,
        client: ClientId,
    ) -> Kept<'a, Option<Registration>> {
        Box::pin(async move {
            let changes = match self.registrations.by_client(tenant, client) {
                Ok(entry) => {
                    let entry = self.handed_out(tenant, entry).await?;
                    return Ok(Some(entry.registration.clone()));
                }
                Err(changes) => changes,
            };
            let whose = tenant.clone();
            let found = self.db.query(move |db| by_client(db, &whose, client)).await?;
            let Some(found) = found else { return Ok(None) };
            let (row, key) = (found.1.bytes.clone(), found.1.key);
            let registration = self.open_registration(tenant, found).await?;
            let entry = Arc::new(Entry { registration, row, key });
            self.registrations.loaded(changes, &entry);
            Ok(Some(entry.registration.clone()))
        })
    }

    fn by_uri<'a>(
        &'a self,
        tenant: &'a TenantId,
        community: &'a CommunityUri,
        uri: &'a ClientUri,
    ) -> Kept<'a, Option<Registration>> {
        Box::pin(async move {
            let found = self.stored_by_uri(tenant, community, uri).await?;
            Ok(found.map(|entry| entry.registration.clone()))
        })
    }

    fn put_claiming(
        &self,
        registration: Registration,
        expected: Expected,
        reach: Option<Reach>,
        claim: Option<Claim>,
        event: Event,
    ) -> Kept<'_, OutboxSeq> {
        Box::pin(async move {
            let (tenant, client) = (registration.tenant.clone(), registration.client);
            let (community, uri) = (&registration.community, &registration.uri);
            let found = self.stored_by_uri(&tenant, community, uri).await?;
            let (before, demanded) = match (expected, found) {
                (Expected::Absent, None) => (None, Demanded::Nothing),
                (Expected::Unchanged(expected), Some(found)) if *expected == found.registration => {
                    let row = found.row.clone();
                    (Some(found), Demanded::Row(row))
                }
                (Expected::Client(id), Some(found))
                    if found.registration.client == id
                        && client == id
                        && registration.cancelled =>
                {
                    (Some(found), Demanded::Client(*id.as_bytes()))
                }
                _ => return Err(StoreError::Conflict),
            };
            let before = before.as_ref().map(|found| &found.registration);
            let same_path = before.is_some_and(|before| {
                before.client == client && before.thumbprint == registration.thumbprint
            });
            // What the client was allowed ends with what allowed it.
            let ended = before
                .filter(|before| {
                    registration.cancelled
                        || before.client != client
                        || scopes_shrink(&before.scopes, &registration.scopes)
                })
                .map(|before| Subject::Client(before.client));
            let place = Place { tenant: &tenant, table: TABLE, row: client.as_bytes() };
            let sealed = self.seal(place, &registration).await?;
            let (whose, now) = (tenant.clone(), self.clock.now());
            let (map, also) = (Arc::clone(&self.epochs), tenant.clone());
            let held = Arc::clone(&self.registrations);
            self.change(
                &tenant,
                event,
                move |db| {
                    replays::claim_with(db, &whose, claim.as_ref(), now)?;
                    let place = params![
                        whose.as_str(),
                        registration.community.as_str(),
                        registration.uri.as_str()
                    ];
                    let there: Option<Stored> = db
                        .prepare_cached(
                            "SELECT client, key_id, sealed FROM registrations
                             WHERE tenant = ? AND community = ? AND uri = ?",
                        )?
                        .query_row(place, stored)
                        .optional()?;
                    if !demanded.is(there.as_ref()) {
                        return Err(StoreError::Conflict);
                    }
                    let old = match &there {
                        Some((old, _)) => Some((*old, marked(db, &whose, *old)?)),
                        None => None,
                    };
                    let kept = old.as_ref().filter(|_| same_path).map(|(_, was)| was);
                    let marks = marks(&registration, reach.as_ref(), kept);
                    if let Some((old, was)) = &old {
                        let same = *old == *client.as_bytes();
                        let now_on = marks.hangs.as_deref().filter(|_| same).unwrap_or_default();
                        let before = was.hangs.as_deref().unwrap_or_default();
                        hanging::loosen(db, &whose, *old, (before, now_on), now)?;
                    }
                    if let Some(reach) = &reach {
                        hanging::hang(db, &whose, client, &reach.marks, None, now)?;
                    }
                    db.prepare_cached(
                        "DELETE FROM registrations WHERE tenant = ? AND community = ? AND uri = ?",
                    )?
                    .execute(place)?;
                    db.prepare_cached(
                        "INSERT INTO registrations (tenant, client, community, uri, key_id, sealed,
                         reach, hangs, ends) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    )?
                    .execute(params![
                        whose.as_str(),
                        client.as_bytes(),
                        registration.community.as_str(),
                        registration.uri.as_str(),
                        sealed.key.0,
                        sealed.bytes,
                        marks.reach,
                        marks.hangs,
                        marks.ends
                    ])?;
                    let raised = epochs::bump(db, &whose, ended, now)?;
                    Ok((
                        raised,
                        Arc::new(Entry { registration, row: sealed.bytes, key: sealed.key }),
                    ))
                },
                move |(raised, entry)| {
                    // First: who reads the new epochs must find the new registration.
                    held.replaced(entry);
                    map.raise(&also, raised);
                },
            )
            .await
        })
    }

    fn list<'a>(
        &'a self,
        tenant: &'a TenantId,
        after: Option<ClientId>,
        most: usize,
    ) -> Kept<'a, Vec<Registration>> {
        Box::pin(async move {
            let (whose, most) = (tenant.clone(), limit(most));
            let rows: Vec<Stored> = self
                .db
                .query(move |db| {
                    let mut rows = db.prepare_cached(
                        "SELECT client, key_id, sealed FROM registrations
                         WHERE tenant = ? AND client > ? ORDER BY client LIMIT ?",
                    )?;
                    // An empty key stands before every other.
                    let after = after.map_or_else(Vec::new, |client| client.as_bytes().to_vec());
                    let rows = rows.query_map(params![whose.as_str(), after, most], stored)?;
                    Ok(rows.collect::<Result<_, _>>()?)
                })
                .await?;
            let mut registrations = Vec::with_capacity(rows.len());
            for row in rows {
                registrations.push(self.open_registration(tenant, row).await?);
            }
            Ok(registrations)
        })
    }
}

//! Registered clients: one per tenant, community and client URI (REG-14), sealed as a whole.

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, Row, params};
use ward_core::{ClientId, ClientUri, CommunityUri, Event, OutboxSeq, TenantId};
use ward_policy::Subject;

use super::{Sealed, Store, epochs, id_bytes, limit};
use crate::StoreError;
use crate::repo::{Expected, Kept, Registration, Registrations};
use crate::seal::Place;

const TABLE: &str = "registrations";

/// Client id and sealed record.
type Stored = ([u8; 16], Sealed);

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok((id_bytes(row, 0)?, Sealed::from_row(row, 1)?))
}

impl Store {
    async fn open_registration(
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
}

impl Registrations for Store {
    fn by_client<'a>(
        &'a self,
        tenant: &'a TenantId,
        client: ClientId,
    ) -> Kept<'a, Option<Registration>> {
        Box::pin(async move {
            let whose = tenant.clone();
            let found = self
                .db
                .query(move |db| {
                    let mut found = db.prepare_cached(
                        "SELECT client, key_id, sealed FROM registrations
                         WHERE tenant = ? AND client = ?",
                    )?;
                    let key = params![whose.as_str(), client.as_bytes()];
                    Ok(found.query_row(key, stored).optional()?)
                })
                .await?;
            match found {
                Some(found) => self.open_registration(tenant, found).await.map(Some),
                None => Ok(None),
            }
        })
    }

    fn by_uri<'a>(
        &'a self,
        tenant: &'a TenantId,
        community: &'a CommunityUri,
        uri: &'a ClientUri,
    ) -> Kept<'a, Option<Registration>> {
        Box::pin(async move {
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
            let registration = self.open_registration(tenant, found).await?;
            if registration.community != *community || registration.uri != *uri {
                return Err(StoreError::Damaged { table: TABLE });
            }
            Ok(Some(registration))
        })
    }

    fn put(
        &self,
        registration: Registration,
        expected: Expected,
        event: Event,
    ) -> Kept<'_, OutboxSeq> {
        Box::pin(async move {
            let (tenant, client) = (registration.tenant.clone(), registration.client);
            let place = Place { tenant: &tenant, table: TABLE, row: client.as_bytes() };
            let sealed = self.seal(place, &registration).await?;
            let (whose, now) = (tenant.clone(), self.clock.now());
            let (map, also) = (Arc::clone(&self.epochs), tenant.clone());
            self.change(
                &tenant,
                event,
                move |db| {
                    let place = params![
                        whose.as_str(),
                        registration.community.as_str(),
                        registration.uri.as_str()
                    ];
                    let before: Option<[u8; 16]> = db
                        .prepare_cached(
                            "SELECT client FROM registrations
                             WHERE tenant = ? AND community = ? AND uri = ?",
                        )?
                        .query_row(place, |row| id_bytes(row, 0))
                        .optional()?;
                    let before = before.map(ClientId::from_bytes);
                    let same = match expected {
                        Expected::Absent => before.is_none(),
                        Expected::Client(client) => before == Some(client),
                    };
                    if !same {
                        return Err(StoreError::Conflict);
                    }
                    db.prepare_cached(
                        "DELETE FROM registrations WHERE tenant = ? AND community = ? AND uri = ?",
                    )?
                    .execute(place)?;
                    db.prepare_cached(
                        "INSERT INTO registrations (tenant, client, community, uri, key_id, sealed)
                         VALUES (?, ?, ?, ?, ?, ?)",
                    )?
                    .execute(params![
                        whose.as_str(),
                        client.as_bytes(),
                        registration.community.as_str(),
                        registration.uri.as_str(),
                        sealed.key.0,
                        sealed.bytes
                    ])?;
                    // What the client was allowed ends with it.
                    let ended = before.filter(|before| registration.cancelled || *before != client);
                    epochs::bump(db, &whose, ended.map(Subject::Client), now)
                },
                move |raised| map.raise(&also, raised),
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

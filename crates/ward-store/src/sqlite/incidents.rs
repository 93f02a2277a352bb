//! Incidents: what was not normal and what was done about it, sealed as a whole.

use rusqlite::{OptionalExtension as _, params};
use ward_core::{Event, IncidentId, OutboxSeq, TenantId};

use super::{Sealed, Store, id_bytes, limit, millis};
use crate::StoreError;
use crate::repo::{Incident, IncidentStatus, Incidents, Kept};
use crate::seal::Place;

const TABLE: &str = "incidents";

fn word(status: IncidentStatus) -> &'static str {
    match status {
        IncidentStatus::Open => "open",
        IncidentStatus::Contained => "contained",
        IncidentStatus::Closed => "closed",
    }
}

impl Store {
    async fn seal_incident(&self, incident: &Incident) -> Result<Sealed, StoreError> {
        let place = Place { tenant: &incident.tenant, table: TABLE, row: incident.id.as_bytes() };
        self.seal(place, incident).await
    }

    async fn open_incident(
        &self,
        tenant: &TenantId,
        id: [u8; 16],
        sealed: &Sealed,
    ) -> Result<Incident, StoreError> {
        let place = Place { tenant, table: TABLE, row: &id };
        let incident: Incident = self.unseal(place, sealed).await?;
        if incident.tenant != *tenant || *incident.id.as_bytes() != id {
            return Err(StoreError::Damaged { table: TABLE });
        }
        Ok(incident)
    }
}

impl Incidents for Store {
    fn open(&self, incident: Incident, event: Event) -> Kept<'_, OutboxSeq> {
        Box::pin(async move {
            let tenant = incident.tenant.clone();
            let sealed = self.seal_incident(&incident).await?;
            self.change(
                &tenant,
                event,
                move |db| {
                    db.prepare_cached(
                        "INSERT INTO incidents (tenant, id, opened, status, key_id, sealed)
                         VALUES (?, ?, ?, ?, ?, ?)",
                    )?
                    .execute(params![
                        incident.tenant.as_str(),
                        incident.id.as_bytes(),
                        millis(incident.opened),
                        word(incident.status),
                        sealed.key.0,
                        sealed.bytes
                    ])?;
                    Ok(())
                },
                |()| (),
            )
            .await
        })
    }

    fn update(
        &self,
        incident: Incident,
        from: IncidentStatus,
        event: Event,
    ) -> Kept<'_, OutboxSeq> {
        Box::pin(async move {
            let tenant = incident.tenant.clone();
            let sealed = self.seal_incident(&incident).await?;
            self.change(
                &tenant,
                event,
                move |db| {
                    let changed = db
                        .prepare_cached(
                            "UPDATE incidents SET status = ?, key_id = ?, sealed = ?
                             WHERE tenant = ? AND id = ? AND status = ?",
                        )?
                        .execute(params![
                            word(incident.status),
                            sealed.key.0,
                            sealed.bytes,
                            incident.tenant.as_str(),
                            incident.id.as_bytes(),
                            word(from)
                        ])?;
                    if changed == 1 { Ok(()) } else { Err(StoreError::Conflict) }
                },
                |()| (),
            )
            .await
        })
    }

    fn get<'a>(&'a self, tenant: &'a TenantId, incident: IncidentId) -> Kept<'a, Option<Incident>> {
        Box::pin(async move {
            let whose = tenant.clone();
            let found = self
                .db
                .query(move |db| {
                    let mut found = db.prepare_cached(
                        "SELECT key_id, sealed FROM incidents WHERE tenant = ? AND id = ?",
                    )?;
                    let key = params![whose.as_str(), incident.as_bytes()];
                    Ok(found.query_row(key, |row| Sealed::from_row(row, 0)).optional()?)
                })
                .await?;
            match found {
                Some(sealed) => {
                    self.open_incident(tenant, *incident.as_bytes(), &sealed).await.map(Some)
                }
                None => Ok(None),
            }
        })
    }

    fn list<'a>(&'a self, tenant: &'a TenantId, most: usize) -> Kept<'a, Vec<Incident>> {
        Box::pin(async move {
            let (whose, most) = (tenant.clone(), limit(most));
            let rows: Vec<([u8; 16], Sealed)> = self
                .db
                .query(move |db| {
                    let mut rows = db.prepare_cached(
                        "SELECT id, key_id, sealed FROM incidents
                         WHERE tenant = ? ORDER BY opened DESC, id DESC LIMIT ?",
                    )?;
                    let rows = rows.query_map(params![whose.as_str(), most], |row| {
                        Ok((id_bytes(row, 0)?, Sealed::from_row(row, 1)?))
                    })?;
                    Ok(rows.collect::<Result<_, _>>()?)
                })
                .await?;
            let mut incidents = Vec::with_capacity(rows.len());
            for (id, sealed) in rows {
                incidents.push(self.open_incident(tenant, id, &sealed).await?);
            }
            Ok(incidents)
        })
    }
}

//! The attack from within: a partner's application reads everything that it may.

use ward_core::{EventKind, Purpose};
use ward_store::IncidentStatus;

use super::door::refusal;
use super::{DemoError, Found, Hospital, doing};
use crate::demo::partner::{SCOPE, b2b};

/// Records by which somebody must have noticed, far beyond the ceiling.
const ENOUGH: u32 = 400;

pub(super) async fn scrape(h: &Hospital) -> Result<Found, DemoError> {
    let (server, registered, token) = h.sync.establish(&h.fhir_base).await?;
    let patience = h.system.clock.now().plus(std::time::Duration::from_secs(5));
    let mut released = 0_u32;
    let mut crossed = None;
    let mut stopped = None;
    for id in h.roster.iter().cycle() {
        let answer = h.sync.ask(&h.fhir_base, &format!("/Patient/{id}"), &token).await?;
        let now = h.system.clock.now();
        match answer.status {
            200 => released += 1,
            401 => {
                stopped = Some(now);
                break;
            }
            status => return Ok(Found::new(false, format!("{status} in the middle"))),
        }
        // On a kept data directory the log remembers the last minute: the first record may be over.
        if released > h.ceiling || crossed.is_none() {
            crossed = crossed.filter(|_| released != h.ceiling + 1).or(Some(now));
        }
        // Not by time alone: on a busy machine detection comes late, and the reads do too.
        if now > patience && released > ENOUGH {
            break;
        }
    }
    let (Some(crossed), Some(stopped)) = (crossed, stopped) else {
        return Ok(Found::new(false, format!("{released} records released and nobody stopped it")));
    };
    let elapsed = stopped.since(crossed).as_millis();
    let incident = incident_of(h, token_grant(h)?).await?;
    // The end of one token stops nobody who takes a new one for each record.
    let b2b = b2b(Purpose::Treatment)?;
    let sync = &h.sync.client;
    let assertion =
        sync.authentication_token(&server, &registered, &b2b).map_err(doing("signing"))?;
    let (refused, said) = refusal(sync.token_with(&server, SCOPE, &assertion).await);
    Ok(Found::new(
        incident.is_some() && refused.as_deref() == Some("unauthorized_client"),
        format!(
            "{released} records released, then 401; {elapsed} ms from the one over the ceiling to the refusal; a new token: {said}"
        ),
    )
    .fact("released", released)
    .fact("contained_millis", u64::try_from(elapsed).unwrap_or(u64::MAX))
    .detail(incident.unwrap_or_default()))
}

const fn state(status: IncidentStatus) -> &'static str {
    match status {
        IncidentStatus::Open => "open",
        IncidentStatus::Contained => "contained",
        IncidentStatus::Closed => "closed",
    }
}

/// The grant of the newest finding in the log.
fn token_grant(h: &Hospital) -> Result<Option<ward_core::GrantId>, DemoError> {
    let reader = h.house.log.reader().map_err(doing("reading the log"))?;
    let newest = (0..reader.size())
        .rev()
        .filter_map(|index| reader.leaf(index).ok())
        .find(|leaf| leaf.kind == EventKind::Finding);
    Ok(newest.and_then(|leaf| leaf.actor.grant))
}

/// Waits for the incident's account, which is written right after the containment.
async fn incident_of(
    h: &Hospital,
    grant: Option<ward_core::GrantId>,
) -> Result<Option<String>, DemoError> {
    if grant.is_none() {
        return Ok(None);
    }
    let tenant = ward_core::TenantId::default_tenant();
    for _ in 0..3000 {
        let incidents = h
            .house
            .repositories
            .incidents
            .list(&tenant, 10)
            .await
            .map_err(doing("reading incidents"))?;
        if let Some(incident) = incidents.iter().find(|i| i.grant == grant) {
            return Ok(Some(format!(
                "incident {}: {}; {}",
                incident.id,
                incident.summary,
                state(incident.status)
            )));
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Ok(None)
}

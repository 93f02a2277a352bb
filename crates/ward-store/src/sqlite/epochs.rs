//! Epochs: counters of what can be revoked, in the database and in memory (house §4).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rusqlite::{Connection, params};
use ward_core::{Event, OutboxSeq, TenantId, Timestamp};
use ward_policy::Subject;

use super::{Store, millis};
use crate::StoreError;
use crate::repo::{Epochs, Kept};

/// Subjects of one revocation at most.
const BUMP_BOUND: usize = 10_000;
/// Tokens live an hour at most (TOK-18), so a token revoked longer ago is dead of old age.
const TOKENS_KEPT: Duration = Duration::from_hours(24);

type Tenants = HashMap<TenantId, HashMap<Subject, u64>>;

/// All epochs above 0.
#[derive(Default)]
pub(super) struct EpochMap(RwLock<Tenants>);

impl EpochMap {
    /// Reads them, when the store is opened.
    pub(super) fn load(db: &Connection, now: Timestamp) -> Result<Self, StoreError> {
        db.execute(
            "DELETE FROM epochs WHERE subject LIKE 'token:%' AND bumped < ?",
            [millis(now.minus(TOKENS_KEPT))],
        )?;
        let mut tenants = Tenants::new();
        let mut rows = db.prepare("SELECT tenant, subject, epoch FROM epochs")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let (tenant, subject): (String, String) = (row.get(0)?, row.get(1)?);
            let damaged = || StoreError::Damaged { table: "epochs" };
            let tenant = TenantId::parse(&tenant).map_err(|_| damaged())?;
            let subject: Subject = subject.parse().map_err(|_| damaged())?;
            let epoch = row.get::<_, i64>(2)?.cast_unsigned();
            tenants.entry(tenant).or_default().insert(subject, epoch);
        }
        Ok(Self(RwLock::new(tenants)))
    }

    pub(super) fn current(&self, tenant: &TenantId, subject: &Subject) -> u64 {
        let tenants = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tenants.get(tenant).and_then(|subjects| subjects.get(subject)).copied().unwrap_or(0)
    }

    /// Takes over what became durable. Runs on the writer, so in the order of the commits.
    pub(super) fn raise(&self, tenant: &TenantId, raised: &[(Subject, u64)]) {
        let mut tenants = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let subjects = tenants.entry(tenant.clone()).or_default();
        for (subject, epoch) in raised {
            subjects.insert(subject.clone(), *epoch);
        }
    }
}

/// Raises epochs by one, within a transaction; what they are now.
pub(super) fn bump(
    db: &Connection,
    tenant: &TenantId,
    subjects: impl IntoIterator<Item = Subject>,
    now: Timestamp,
) -> Result<Vec<(Subject, u64)>, StoreError> {
    let mut statement = db.prepare_cached(
        "INSERT INTO epochs (tenant, subject, epoch, bumped) VALUES (?, ?, 1, ?)
         ON CONFLICT (tenant, subject) DO UPDATE SET epoch = epoch + 1, bumped = excluded.bumped
         RETURNING epoch",
    )?;
    let mut raised = Vec::new();
    for subject in subjects {
        let row = params![tenant.as_str(), subject.to_string(), millis(now)];
        let epoch: i64 = statement.query_row(row, |row| row.get(0))?;
        raised.push((subject, epoch.cast_unsigned()));
    }
    Ok(raised)
}

impl Epochs for Store {
    fn current(&self, tenant: &TenantId, subject: &Subject) -> u64 {
        self.epochs.current(tenant, subject)
    }

    fn bump<'a>(
        &'a self,
        tenant: &'a TenantId,
        subjects: &'a [Subject],
        event: Event,
    ) -> Kept<'a, OutboxSeq> {
        Box::pin(async move {
            if subjects.len() > BUMP_BOUND {
                return Err(StoreError::TooLarge { what: "a revocation", bound: BUMP_BOUND });
            }
            let subjects: BTreeSet<Subject> = subjects.iter().cloned().collect();
            let (whose, now) = (tenant.clone(), self.clock.now());
            let (map, also) = (Arc::clone(&self.epochs), tenant.clone());
            self.change(
                tenant,
                event,
                move |db| bump(db, &whose, subjects, now),
                move |raised| map.raise(&also, raised),
            )
            .await
        })
    }
}

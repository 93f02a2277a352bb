//! Attribution rosters: which patients an organisation may see, one sealed record per organisation.
//!
//! Unknown is never yes: an organisation without an import is `Roster::Unknown`, and an empty set of
//! purposes is too, and so is any client that the roster does not name: `organization_id` is the
//! client's own word (B09, B2B-18). Those used lately are held in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use ward_core::{
    ClientUri, CommunityUri, Event, KeyPurpose, OrganizationUri, OutboxSeq, PatientId, Purpose,
    TenantId,
};
use ward_policy::Roster;

use super::{Sealed, Store, millis};
use crate::StoreError;
use crate::repo::{Binding, Kept, Member, RosterRow, Rosters};
use crate::seal::Place;

const TABLE: &str = "rosters";
/// Rows of one roster.
const ROWS: usize = 1_000_000;
/// Clients that may speak for one organisation.
const MEMBERS: usize = 1000;
/// Rosters held in memory; beyond it all are forgotten and read again on use.
const HELD: usize = 1024;

type Patients = Arc<BTreeSet<PatientId>>;
type Attributions = BTreeMap<Purpose, Patients>;

/// One organisation's roster as it is kept. One that names nobody, from before members were kept, is
/// nobody's until it is imported again.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    members: BTreeSet<Member>,
    patients: Attributions,
}

/// One organisation's roster in memory.
struct Attributed {
    record: Record,
    /// Intersections that were asked for, by their purposes; at most 63.
    joint: Mutex<HashMap<BTreeSet<Purpose>, Patients>>,
}

impl Attributed {
    fn new(record: Record) -> Arc<Self> {
        Arc::new(Self { record, joint: Mutex::default() })
    }

    /// Whether the roster names the client.
    fn names(&self, (community, uri): (&CommunityUri, &ClientUri)) -> bool {
        self.record.members.contains(&(community.clone(), uri.clone()))
    }

    /// The patients attributed for all of these purposes.
    fn for_all(&self, purposes: &BTreeSet<Purpose>) -> Patients {
        let mut joint = self.joint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(patients) = joint.get(purposes) {
            return Arc::clone(patients);
        }
        let mut sets =
            purposes.iter().map(|p| self.record.patients.get(p).cloned().unwrap_or_default());
        let first = sets.next().unwrap_or_default();
        let patients =
            sets.fold(first, |all, set| Arc::new(all.intersection(&set).cloned().collect()));
        joint.insert(purposes.clone(), Arc::clone(&patients));
        patients
    }
}

/// Rosters in memory.
#[derive(Default)]
pub(super) struct Held(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    rosters: HashMap<Key, Arc<Attributed>>,
    /// Counts imports, so that what was read before one is not held after it.
    imports: u64,
}

type Key = (TenantId, OrganizationUri);

impl Held {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The roster, or how many imports there were, to be given back to [`Held::loaded`].
    fn get(&self, key: &Key) -> Result<Arc<Attributed>, u64> {
        let held = self.inner();
        held.rosters.get(key).cloned().ok_or(held.imports)
    }

    /// Holds what was read, unless an import came in between: it may have been read before.
    fn loaded(&self, imports: u64, key: Key, roster: Arc<Attributed>) {
        let mut held = self.inner();
        if held.imports == imports {
            held.hold(key, roster);
        }
    }

    /// Holds what was imported. Runs on the writer, so in the order of the commits.
    fn imported(&self, key: Key, roster: Arc<Attributed>) {
        let mut held = self.inner();
        held.imports = held.imports.wrapping_add(1);
        held.hold(key, roster);
    }
}

impl Inner {
    fn hold(&mut self, key: Key, roster: Arc<Attributed>) {
        if self.rosters.len() >= HELD && !self.rosters.contains_key(&key) {
            self.rosters.clear();
        }
        self.rosters.insert(key, roster);
    }
}

impl Store {
    async fn attributed(
        &self,
        tenant: &TenantId,
        organization: &OrganizationUri,
    ) -> Result<Option<Arc<Attributed>>, StoreError> {
        let key = (tenant.clone(), organization.clone());
        let imports = match self.rosters.get(&key) {
            Ok(roster) => return Ok(Some(roster)),
            Err(imports) => imports,
        };
        let (whose, who) = key.clone();
        let found = self
            .db
            .query(move |db| {
                let mut found = db.prepare_cached(
                    "SELECT key_id, sealed FROM rosters WHERE tenant = ? AND organization = ?",
                )?;
                let key = params![whose.as_str(), who.as_str()];
                Ok(found.query_row(key, |row| Sealed::from_row(row, 0)).optional()?)
            })
            .await?;
        let Some(sealed) = found else { return Ok(None) };
        let data_key = self.vault.by_id(tenant, KeyPurpose::Record, sealed.key).await?;
        let (whose, who) = key.clone();
        // On a reader's thread: a roster of a hospital is megabytes.
        let roster = self
            .db
            .query(move |_| {
                let place = Place { tenant: &whose, table: TABLE, row: who.as_str().as_bytes() };
                let plain = place.open(&data_key, &sealed.bytes)?;
                let roster = serde_json::from_slice(&plain)
                    .map_err(|_| StoreError::Damaged { table: TABLE })?;
                Ok(Attributed::new(roster))
            })
            .await?;
        self.rosters.loaded(imports, key, Arc::clone(&roster));
        Ok(Some(roster))
    }
}

impl Rosters for Store {
    fn import<'a>(
        &'a self,
        tenant: &'a TenantId,
        organization: &'a OrganizationUri,
        members: Vec<Member>,
        rows: Vec<RosterRow>,
        event: Event,
    ) -> Kept<'a, OutboxSeq> {
        Box::pin(async move {
            if members.is_empty() {
                return Err(StoreError::Unbound);
            }
            if members.len() > MEMBERS {
                return Err(StoreError::TooLarge { what: "a roster's members", bound: MEMBERS });
            }
            if rows.len() > ROWS {
                return Err(StoreError::TooLarge { what: "a roster", bound: ROWS });
            }
            let key = self.record_key(tenant).await?;
            let (whose, who, rng) = (tenant.clone(), organization.clone(), Arc::clone(&self.rng));
            let (roster, sealed) = self
                .db
                .query(move |_| {
                    let mut sets: BTreeMap<Purpose, BTreeSet<PatientId>> = BTreeMap::new();
                    for row in rows {
                        for purpose in row.purposes {
                            sets.entry(purpose).or_default().insert(row.patient.clone());
                        }
                    }
                    let patients =
                        sets.into_iter().map(|(purpose, set)| (purpose, Arc::new(set))).collect();
                    let record = Record { members: members.into_iter().collect(), patients };
                    let plain = serde_json::to_vec(&record).map_err(|_| {
                        StoreError::Unavailable("a roster cannot be written as JSON".to_owned())
                    })?;
                    let place =
                        Place { tenant: &whose, table: TABLE, row: who.as_str().as_bytes() };
                    let bytes = place.seal(&key, rng.as_ref(), &plain)?;
                    Ok((Attributed::new(record), Sealed { key: key.id, bytes }))
                })
                .await?;
            let (whose, who) = (tenant.clone(), organization.clone());
            let (held, also) = (Arc::clone(&self.rosters), (whose.clone(), who.clone()));
            let now = self.clock.now();
            self.change(
                tenant,
                event,
                move |db| {
                    db.prepare_cached(
                        "INSERT INTO rosters (tenant, organization, imported, key_id, sealed)
                         VALUES (?, ?, ?, ?, ?)
                         ON CONFLICT (tenant, organization) DO UPDATE SET
                         imported = excluded.imported, key_id = excluded.key_id,
                         sealed = excluded.sealed",
                    )?
                    .execute(params![
                        whose.as_str(),
                        who.as_str(),
                        millis(now),
                        sealed.key.0,
                        sealed.bytes
                    ])?;
                    Ok(())
                },
                move |()| held.imported(also, roster),
            )
            .await
        })
    }

    fn binding<'a>(
        &'a self,
        tenant: &'a TenantId,
        organization: &'a OrganizationUri,
        member: (&'a CommunityUri, &'a ClientUri),
    ) -> Kept<'a, Binding> {
        Box::pin(async move {
            Ok(match self.attributed(tenant, organization).await? {
                Some(roster) if roster.names(member) => Binding::Bound,
                Some(_) => Binding::Foreign,
                None => Binding::Unknown,
            })
        })
    }

    fn roster<'a>(
        &'a self,
        tenant: &'a TenantId,
        organization: &'a OrganizationUri,
        member: (&'a CommunityUri, &'a ClientUri),
        purposes: &'a [Purpose],
    ) -> Kept<'a, Roster> {
        Box::pin(async move {
            if purposes.is_empty() {
                return Ok(Roster::Unknown);
            }
            Ok(match self.attributed(tenant, organization).await? {
                Some(roster) if roster.names(member) => {
                    Roster::Known(roster.for_all(&purposes.iter().copied().collect()))
                }
                _ => Roster::Unknown,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(patient: &str) -> Arc<Attributed> {
        let set = BTreeSet::from([PatientId::parse(patient).unwrap()]);
        let patients = BTreeMap::from([(Purpose::Treatment, Arc::new(set))]);
        Attributed::new(Record { members: BTreeSet::new(), patients })
    }

    #[test]
    fn a_roster_read_before_an_import_is_not_held_after_it() {
        let held = Held::default();
        let organization = OrganizationUri::parse("urn:oid:1").unwrap();
        let key = (TenantId::default_tenant(), organization);
        let (older, newer) = (roster("older"), roster("newer"));
        let before = held.get(&key).err().unwrap();
        held.imported(key.clone(), Arc::clone(&newer));
        held.loaded(before, key.clone(), Arc::clone(&older));
        assert!(Arc::ptr_eq(&held.get(&key).ok().unwrap(), &newer));

        let held = Held::default();
        let now = held.get(&key).err().unwrap();
        held.loaded(now, key.clone(), Arc::clone(&older));
        assert!(Arc::ptr_eq(&held.get(&key).ok().unwrap(), &older));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let held = Held::default();
        for number in 0..=HELD {
            let organization = OrganizationUri::parse(&format!("urn:oid:{number}")).unwrap();
            held.imported((TenantId::default_tenant(), organization), roster("p"));
        }
        assert_eq!(held.inner().rosters.len(), 1);
    }
}

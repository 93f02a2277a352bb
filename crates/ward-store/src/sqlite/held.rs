//! Registrations held in memory, opened: those that were used lately. What replaces or ends one is told on the writer's thread,
//! before the epochs that it raises, so that whoever has read the new epochs finds the new registration.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ward_core::{ClientId, ClientUri, CommunityUri, KeyId, TenantId};

use crate::repo::Registration;

/// Registrations held; some ten kilobytes each. Beyond it the oldest give way.
const HELD: usize = 1024;

/// A registration with the octets of its row.
pub(super) struct Entry {
    pub(super) registration: Registration,
    pub(super) row: Vec<u8>,
    /// The key that the row is sealed with: without it nothing is handed out.
    pub(super) key: KeyId,
}

/// Registrations in memory.
#[derive(Default)]
pub(super) struct Held(Mutex<Inner>);

type Place = (TenantId, CommunityUri, ClientUri);

#[derive(Default)]
struct Inner {
    by_client: HashMap<ClientId, Arc<Entry>>,
    by_place: HashMap<Place, ClientId>,
    order: VecDeque<ClientId>,
    /// Counts what was replaced, so that what was read before is not held after it.
    changes: u64,
}

fn place(registration: &Registration) -> Place {
    (registration.tenant.clone(), registration.community.clone(), registration.uri.clone())
}

impl Held {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The registration, or how many changes there were, to be given back to [`Held::loaded`].
    pub(super) fn by_client(&self, tenant: &TenantId, client: ClientId) -> Result<Arc<Entry>, u64> {
        let inner = self.inner();
        let found = inner.by_client.get(&client);
        found.filter(|entry| entry.registration.tenant == *tenant).cloned().ok_or(inner.changes)
    }

    /// The same by what is unique about it.
    pub(super) fn by_place(
        &self,
        tenant: &TenantId,
        community: &CommunityUri,
        uri: &ClientUri,
    ) -> Result<Arc<Entry>, u64> {
        let inner = self.inner();
        let client = inner.by_place.get(&(tenant.clone(), community.clone(), uri.clone()));
        client.and_then(|client| inner.by_client.get(client)).cloned().ok_or(inner.changes)
    }

    /// Holds what was read, unless something was replaced in between: it may have been read before.
    pub(super) fn loaded(&self, changes: u64, entry: &Arc<Entry>) {
        let mut inner = self.inner();
        if inner.changes == changes {
            inner.hold(entry);
        }
    }

    /// Holds what was written instead of what stood in its place. Runs on the writer, so in the order of the commits.
    pub(super) fn replaced(&self, entry: &Arc<Entry>) {
        let mut inner = self.inner();
        inner.changes = inner.changes.wrapping_add(1);
        if let Some(client) = inner.by_place.remove(&place(&entry.registration)) {
            inner.by_client.remove(&client);
        }
        inner.hold(entry);
    }
}

impl Inner {
    fn hold(&mut self, entry: &Arc<Entry>) {
        let client = entry.registration.client;
        if self.by_client.insert(client, Arc::clone(entry)).is_none() {
            self.order.push_back(client);
        }
        self.by_place.insert(place(&entry.registration), client);
        // A client that was replaced stands in the order once more, and is gone already.
        while self.by_client.len() > HELD || self.order.len() > 2 * HELD {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(gone) = self.by_client.remove(&oldest) {
                self.by_place.remove(&place(&gone.registration));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::World;

    fn entry(registration: Registration) -> Arc<Entry> {
        Arc::new(Entry { registration, row: Vec::new(), key: KeyId(1) })
    }

    #[test]
    fn what_is_held_is_the_last_that_was_written_and_bounded() {
        let (world, held) = (World::new(), Held::default());
        let first = world.registration("first");
        let find = |one: &Registration| held.by_place(&one.tenant, &one.community, &one.uri);
        let Err(before) = held.by_client(&first.tenant, first.client) else { panic!("empty") };
        // Replaced while it was read: what was read is not held.
        let anew = Registration { client: world.client(), ..first.clone() };
        held.replaced(&entry(anew.clone()));
        held.loaded(before, &entry(first.clone()));
        assert_eq!(find(&first).ok().unwrap().registration, anew);
        assert!(held.by_client(&first.tenant, first.client).is_err());
        assert!(held.by_client(&world.other, anew.client).is_err(), "another tenant's");
        // Once more under another id: the one before is gone.
        held.replaced(&entry(first.clone()));
        assert!(held.by_client(&anew.tenant, anew.client).is_err());
        assert_eq!(held.by_client(&first.tenant, first.client).ok().unwrap().registration, first);
        for number in 0..3 * HELD {
            let one = world.registration(&number.to_string());
            let Err(now) = find(&one) else { panic!("new") };
            held.loaded(now, &entry(one.clone()));
            assert_eq!(find(&one).ok().unwrap().registration, one);
        }
        let inner = held.inner();
        assert_eq!((inner.by_client.len(), inner.by_place.len()), (HELD, HELD));
        assert!(inner.order.len() <= 2 * HELD);
    }
}

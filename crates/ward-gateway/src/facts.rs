//! What the decision needs, and only that. Today: the roster of the asking organisation for all the
//! purposes that it asserts, if it names the client that asks (B09), looked up on every request anew. A store that cannot answer is a 503, never a "yes" and never a "no".

use std::sync::{Arc, Mutex, PoisonError};

use ward_core::PatientId;
use ward_policy::{Facts, Principal, Roster};
use ward_store::Rosters;

use crate::Fault;

type Patients = std::collections::BTreeSet<PatientId>;

/// Gathers facts.
pub(crate) struct FactSource {
    rosters: Arc<dyn Rosters>,
    /// Digests of the rosters used last. The store hands out the same allocation while a roster is
    /// unchanged; holding on to it here keeps the address from being used again.
    digests: Mutex<Vec<(Arc<Patients>, Arc<str>)>>,
}

/// Rosters whose digests are remembered.
const REMEMBERED: usize = 64;

/// The facts of one request, with their digest for the log.
pub(crate) struct Known {
    pub(crate) facts: Facts,
    pub(crate) digest: Arc<str>,
}

impl FactSource {
    pub(crate) const fn new(rosters: Arc<dyn Rosters>) -> Self {
        Self { rosters, digests: Mutex::new(Vec::new()) }
    }

    /// The facts for this principal, today.
    pub(crate) async fn gather(&self, principal: &Principal) -> Result<Known, Fault> {
        let member = (&principal.community, &principal.client_uri);
        let roster = self
            .rosters
            .roster(&principal.tenant, &principal.organization, member, &principal.purposes)
            .await
            .map_err(|error| {
                tracing::error!(%error, "the roster cannot be read; the request is answered 503");
                Fault::Facts
            })?;
        let facts = Facts { roster };
        let digest = self.digest(&facts);
        Ok(Known { facts, digest })
    }

    fn digest(&self, facts: &Facts) -> Arc<str> {
        let Roster::Known(patients) = &facts.roster else { return facts.digest().into() };
        let remembered = |digests: &[(Arc<Patients>, Arc<str>)]| {
            digests.iter().find(|(of, _)| Arc::ptr_eq(of, patients)).map(|(_, d)| Arc::clone(d))
        };
        let lock = || self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = remembered(&lock()) {
            return digest;
        }
        let digest: Arc<str> = facts.digest().into();
        let mut digests = lock();
        if digests.len() >= REMEMBERED {
            digests.remove(0);
        }
        digests.push((Arc::clone(patients), Arc::clone(&digest)));
        digest
    }
}

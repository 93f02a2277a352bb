//! A sample hospital.
//!
//! An honest, small FHIR R4 server for demos and tests of Ward: plain HTTP/1.1 on loopback, in memory
//! (FHIR R4 §3.1 RESTful API, §3.2 search). It deliberately shares no request grammar with Ward: its
//! parser is as tolerant as those of real FHIR servers, so that a fault in Ward's parser shows instead
//! of being mirrored. It knows nothing of authorisation; it refuses only what FHIR says to refuse.

mod capability;
mod date;
mod element;
mod error;
pub mod faults;
mod load;
mod matching;
mod outcome;
mod page;
mod params;
pub mod population;
mod query;
mod routes;
mod search;
mod server;
mod sort;
mod store;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;
use tokio::net::TcpListener;
use ward_core::{Clock, ManualClock};

pub use error::SandboxError;
pub use population::Population;
pub use server::Running;

use store::{Put, Store};

/// A hospital that can be served: its records, and the clock that stamps what is created.
#[derive(Clone)]
pub struct Sandbox {
    store: Arc<RwLock<Store>>,
    clock: Arc<dyn Clock>,
}

impl Sandbox {
    /// A synthetic hospital with `patients` patients; the same seed gives the same bytes.
    pub fn generate(seed: u64, patients: usize) -> Self {
        let mut store = Store::default();
        let mut keep = |resource| drop(store.load(resource, population::TODAY));
        population::generate_into(seed, patients, population::TODAY, &mut keep);
        Self::with_store(store)
    }

    /// A hospital with this population.
    pub fn of(population: Population) -> Self {
        let mut store = Store::default();
        for resource in population.resources {
            store.load(resource, population::TODAY);
        }
        Self::with_store(store)
    }

    /// Every FHIR Bundle (`*.json`) of a directory: Synthea's and US Core's transaction Bundles.
    pub fn load_dir(path: &Path) -> Result<Self, SandboxError> {
        let mut store = Store::default();
        for resource in load::load_dir(path)? {
            store.load(resource, population::TODAY);
        }
        Ok(Self::with_store(store))
    }

    fn with_store(store: Store) -> Self {
        let clock = ManualClock::at_unix_seconds(population::TODAY.as_seconds());
        Self { store: Arc::new(RwLock::new(store)), clock: Arc::new(clock) }
    }

    /// Stamps what is created from now on by `clock`. Without it, time stands at [`population::TODAY`].
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The ids of all patients, in the order in which they came.
    pub fn patient_ids(&self) -> Vec<String> {
        self.ids("Patient")
    }

    /// The ids of all live resources of a type, in the order in which they came.
    pub fn ids(&self, rtype: &str) -> Vec<String> {
        self.store.read().unwrap_or_else(PoisonError::into_inner).ids(rtype)
    }

    /// The current version of a resource.
    pub fn resource(&self, rtype: &str, id: &str) -> Option<Value> {
        self.store.read().unwrap_or_else(PoisonError::into_inner).current(rtype, id)
    }

    /// The number of live resources.
    pub fn len(&self) -> usize {
        self.store.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// True if there is no live resource.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a resource, or a new version of it, as its owner would; false if it has no type or id, or
    /// the hospital is full.
    pub fn put(&self, resource: Value) -> bool {
        let now = self.clock.now();
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        !matches!(store.put(resource, now), Put::Refused)
    }

    /// Serves this hospital under `http://{listener}/fhir` until it is stopped or dropped. Needs a
    /// running tokio runtime.
    pub fn start(&self, listener: TcpListener) -> Result<Running, SandboxError> {
        server::start(self.clone(), listener)
    }
}

#[cfg(test)]
mod tests;

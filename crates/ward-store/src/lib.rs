//! What must last.
//!
//! Repositories as boxed asynchronous traits ([`repo`]) with an implementation on embedded SQLite
//! ([`Store`]), the key vault in files ([`vault::FileVault`]) and the in-process bus
//! ([`bus::LocalBus`]). Every change of state writes its event into the outbox in the same
//! transaction (rule 4 of the house); rosters, incidents, statements and outbox rows are sealed under
//! derived per-record keys (rule 8). Refused: a schema that was altered or comes from a newer
//! version, a data directory that is in use, and files that others on the machine can read.

pub mod bus;
mod error;
mod files;
pub mod hanging;
pub mod repo;
mod seal;
mod sqlite;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod tests;
pub mod vault;

pub use error::StoreError;
pub use hanging::{Hanging, Mark, Reach, Unmarked};
pub use repo::{
    Approval, Binding, Certified, Claim, Epochs, Expected, Grants, Hold, Holds, Incident,
    IncidentStatus, Incidents, Member, OperatorRecord, Operators, Presented, Probe, Registration,
    Registrations, Replays, Repositories, RosterRow, Rosters,
};
pub use sqlite::{Snapshot, Store, check_snapshot};

//! What FHIR says. No I/O.
//!
//! The request grammar ([`FhirRequest`]), SMART scopes ([`ScopeSet`]), the R4 tables of resource types,
//! search parameters and the Patient compartment, the one membership function ([`ResourceView`]),
//! walking a searchset ([`Searchset`]) and building an `OperationOutcome` ([`outcome`]).
//! Refuses whatever it does not fully understand (house rule 1); never panics on input.

mod generated;

pub mod bundle;
pub mod id;
#[cfg(test)]
mod oracle;
pub mod outcome;
pub mod params;
pub mod reference;
pub mod request;
pub mod scope;
pub mod types;
pub mod view;

pub use bundle::{BundleError, Entry, Searchset};
pub use id::FhirId;
pub use outcome::{IssueCode, Severity};
pub use params::{ParamKind, SearchParam, lookup};
pub use reference::{Reference, ReferenceBases};
pub use request::{
    Criterion, FhirRequest, Interaction, Modifier, RawRequest, Refusal, Search, SortKey, TotalMode,
    one_reading,
};
pub use scope::{Letter, ScopeSet};
pub use types::{ResourceType, membership_params};
pub use view::{Owners, ResourceView, ViewError};

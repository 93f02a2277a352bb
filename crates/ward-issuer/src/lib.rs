//! Who are you.
//!
//! The authorization server of Ward for UDAP (HL7 FAST Security IG 2.0.0): discovery with signed
//! metadata ([`discovery`](Issuer), IG §2), dynamic client registration (IG §3), client credentials
//! with `hl7-b2b` (IG §4, §5), sealed access tokens ([`sealed`]) and their verification on every
//! request ([`ward_policy::Resolve`]), and revocation. A refusal has one row in one table
//! ([`errors`]): callers get a fixed answer, the log gets the id of the rule.
//!
//! Refused here: everything that is not signed by a certificate that a served community vouches for,
//! now; everything that was sent before; every grant but `client_credentials`.

mod asserted;
mod certified;
mod config;
mod discovery;
pub mod errors;
mod form;
mod hanging;
mod issuer;
mod limiter;
mod profile;
mod register;
mod resolve;
mod revocation;
mod scopes;
pub mod sealed;
mod signals;
mod statements;
mod token;
mod trust;
mod wire;

pub use certified::{CertificationRule, Certifiers, Rechecked};
pub use config::{IssuerConfig, IssuerDeps, Paths, ServedCommunity, Statuses};
pub use errors::{Answer, IssuerError, Refusal};
pub use issuer::Issuer;
pub use revocation::Act;
pub use signals::{Heard, SignalDesk};

#[cfg(test)]
mod tests;

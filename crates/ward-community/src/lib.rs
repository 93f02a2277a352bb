//! The trust community's operator.
//!
//! A root and an issuing authority ([`Operator`]), certificates for members ([`CertificateRequest`],
//! linted before and after they are made), revocation with numbered lists that are signed anew on
//! each revocation and before half of their life is over, and the plain-HTTP server that hands lists
//! and authorities out ([`ListServer`]). Keys lie sealed in the vault and are read for one signature
//! at a time; every act is an event (rule 7). Separate, and never to be mixed with it (TLS-02): a
//! stand-in for the web PKI, so that a demo has TLS ([`tls_identity`]).
//!
//! Refused: requests that would make a certificate which no member accepts, and revoking an authority
//! (which takes two people).

mod authorities;
mod authority;
mod bundle;
mod certification;
mod directory;
mod error;
mod files;
mod keys;
mod lint;
mod operator;
mod public;
mod publish;
mod register;
mod renewal;
mod responder;
mod revocation;
mod rollover;
mod serve;
mod signals;
mod status;
#[cfg(test)]
mod tests;
mod tls;

pub use authority::{Authority, AuthorityId, KeySpec};
pub use bundle::BundleTerms;
pub use certification::{CertificationTerms, IssuedCertification, certifications_of};
pub use error::CommunityError;
pub use keys::{AuthorityKey, AuthorityKeys, KeyOf, RootApart};
pub use lint::{CertificateRequest, DEFAULT_LIFE, Finding, Profile, lint};
pub use operator::{CommunityOptions, Issued, Operator, OperatorConfig, OperatorDeps};
pub use public::PublicServer;
pub use publish::ListInfo;
pub use register::{Member, Reason, Revocation, members_of};
pub use serve::ListServer;
pub use signals::{Backlog, Delivery, SignalPusher, Subscriber, backlog_of};
pub use status::{STATUS_PATH, StatusServer};
pub use tls::{TlsIdentity, pem, tls_identity};

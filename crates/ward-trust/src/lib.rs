//! Who vouches for whom. Pure: certificates, lists and time are passed in.
//!
//! The trust half of UDAP (HL7 FAST Security IG 2.0.0 §2, §3, §5.2, §7): X.509 paths with revocation
//! lists ([`path`]), communities, signed JSON ([`jose`]), and the four documents that travel in it:
//! software statements ([`statement`]), authentication tokens ([`assertion`], [`context`]), and
//! server metadata ([`metadata`]). No clock, no network, no store: what a check needs is an argument.
//!
//! Order of use on the server: [`jose::Jws::parse`], [`jose::Jws::verify`] (signature, by `x5c[0]`
//! only), then the document's own `validate`, then [`path::validate`]. A document can only be
//! validated from a [`jose::Verified`] JWS.

mod asn1;
pub mod assertion;
mod build;
pub mod bundle;
pub mod certificate;
pub mod certification;
pub mod claims;
pub mod community;
pub mod context;
pub mod crl;
pub mod discovery;
mod extensions;
mod identity;
pub mod jose;
pub mod metadata;
mod names;
pub mod ocsp;
pub mod path;
mod policies;
mod reach;
mod request;
mod revocation;
mod shown;
pub mod signal;
pub mod statement;
mod uri;

pub use assertion::{AssertionError, AuthenticationToken};
pub use bundle::{Bundle, BundleError, SignedBundle};
pub use certificate::{Certificate, CertificateError, KeyKind};
pub use certification::{Certification, CertificationError};
pub use claims::Fault;
pub use community::{Community, CommunityFault, Profile};
pub use context::{B2bError, Context, ContextRules, ExchangePurpose, Hl7B2b};
pub use crl::{Crl, CrlError};
pub use discovery::{Discovered, Found, Unproven};
pub use identity::SigningIdentity;
pub use jose::{Alg, JoseError, Jws, Verified};
pub use metadata::{Metadata, MetadataError, SignedMetadata};
pub use ocsp::{CertificateStatus, OcspAnswer, OcspError, OcspResponse};
pub use path::{
    Chain, PathError, candidate_paths, crl_urls_needed, first_unrevoked, validate, validate_within,
};
pub use reach::{reach, reach_digest};
pub use request::{RequestError, SigningRequest};
pub use signal::{About, Signal, SignalError, SignedSignal};
pub use statement::{GrantTypes, SoftwareStatement, StatementError};

#[cfg(test)]
mod tests;

//! The other side of the wire: a UDAP/SMART client library that others can use alone.
//!
//! The client half of HL7 FAST Security (UDAP; IG 2.0.0, `udap.md` §3, CLI-01..24): discovery with validation of
//! signed metadata, dynamic registration, authentication tokens with `hl7-b2b`, and calls. What it keeps to:
//!
//! * When a check fails, nothing further is sent (CLI-06), and [`ClientError`] names the check and the way out.
//! * What a server must refuse is not sent to it (CLI-11, CLI-22): the rules of a server are applied beforehand.
//! * A token is used for the organisation, person and purpose that were asserted for it, at the FHIR base that it
//!   was issued for, and nowhere else (CLI-24).
//! * Redirects are never followed; answers are bounded in size and time; revocation fails closed (CLI-09).
//!
//! It stands on `ward-core`, `ward-trust` and `ward-net` and knows nothing of Ward's server.
//!
//! # An example
//!
//! A partner organisation that has a certificate of a trust community reads a patient:
//!
//! ```no_run
//! use ward_client::{Egress, Hl7B2b, Limits, OrganizationUri, Purpose, RegistrationRequest, Secret, Setup, on_behalf_of};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let setup = Setup {
//!     community: "https://community.example/trust",
//!     anchors: &std::fs::read("community-root.pem")?,
//!     tls_roots: &std::fs::read("/etc/ssl/certs/ca-certificates.crt")?,
//!     egress: &Egress::public_only(),
//!     limits: &Limits::default(),
//! };
//! let client = setup.client(&std::fs::read("certificate.pem")?, &Secret::new(std::fs::read("key.pem")?))?;
//!
//! // Believed only if its signature, its certificate's path and its revocation hold.
//! let base = "https://hospital.example/default/fhir";
//! let server = client.discover(base).await?;
//!
//! // Again later: the same registration is replaced, and its client id is kept by the server.
//! let uri = client.uri().ok_or("the certificate names no URI")?;
//! let request = RegistrationRequest::client_credentials(
//!     uri, "Sample application", "mailto:ops@partner.example", "system/Patient.rs");
//! let registered = client.register(&server, &request).await?;
//!
//! let organization = OrganizationUri::parse("urn:oid:2.16.840.1.113883.19.5")?;
//! let treatment: Hl7B2b = on_behalf_of(organization, Purpose::Treatment);
//! let token = client.token(&server, &registered, "system/Patient.rs", &treatment).await?;
//! let answer = client.get(base, "/Patient/123", &token).await?;
//! assert_eq!(answer.status(), 200);
//! # Ok(())
//! # }
//! ```
//!
//! The same as programs: `examples/discover.rs` and `examples/read.rs`. Members of several communities use
//! [`Memberships`]; [`checks`] tells step by step what was checked.

mod asserted;
mod beforehand;
mod call;
pub mod checks;
mod discovery;
mod error;
mod membership;
mod registration;
mod setup;
mod token;
mod transport;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use ward_core::{Clock, Rng, Thumbprint, crypto};

pub use asserted::{Asserted, on_behalf_of};
pub use discovery::{Discovery, Document};
pub use error::{ClientError, Origin};
pub use membership::{Joined, Membership, Memberships, PassedOver, Step, Stopped};
pub use registration::{
    Registered, RegistrationGrant, RegistrationRequest, ScopeDifference, Standing,
};
pub use setup::{Setup, SetupError};
pub use token::Token;
pub use transport::{Lists, Transport};
pub use ward_core::{
    ClientUri, CommunityUri, Limits, OrganizationUri, Purpose, Secret, SystemClock, SystemRng,
    Timestamp,
};
pub use ward_net::client::{Egress, FetchError, HttpClient};
pub use ward_net::lists::RevocationLists;
pub use ward_trust::{Certificate, Community, Discovered, Hl7B2b, SigningIdentity};

/// The README's example is compiled with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// What a client is made of.
#[derive(Clone)]
pub struct Config {
    /// The trust community whose servers it believes and through which it registers.
    pub community: Community,
    /// Its own certificate and key.
    pub identity: Arc<SigningIdentity>,
    /// Carries requests; [`ward_net::client::HttpClient`] does.
    pub http: Arc<dyn Transport>,
    /// Validates the servers' paths, with revocation lists; `Arc<RevocationLists>` does.
    pub lists: Arc<dyn Lists>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for `jti`.
    pub rng: Arc<dyn Rng>,
    /// Bounds.
    pub limits: Arc<Limits>,
}

/// One application of a partner organisation. Share it behind an `Arc`.
pub struct PartnerClient {
    config: Config,
    tokens: token::Cache,
    /// Registration endpoints that do not trust a certificate: not asked again with it (CLI-18).
    unapproved: Mutex<BTreeSet<(String, Thumbprint)>>,
}

impl PartnerClient {
    /// A client that has not talked to anyone yet.
    pub fn new(config: Config) -> Self {
        Self { config, tokens: token::Cache::default(), unapproved: Mutex::default() }
    }

    /// The community through which it registers.
    pub fn community(&self) -> &Community {
        &self.config.community
    }

    /// Its certificate and key.
    pub fn identity(&self) -> &SigningIdentity {
        &self.config.identity
    }

    /// A fresh `jti` (CLI-10, CLI-19).
    fn jti(&self) -> String {
        let mut bytes = [0; 16];
        self.config.rng.fill(&mut bytes);
        crypto::hex(&bytes)
    }
}

#[cfg(test)]
mod tests;

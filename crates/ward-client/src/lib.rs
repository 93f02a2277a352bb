//! The other side of the wire: a UDAP/SMART client library that others can use alone.
//!
//! The client half of the HL7 FAST Security IG 2.0.0 (`udap.md` §3, CLI-01..24): discovery with
//! validation of signed metadata, registration, authentication tokens with `hl7-b2b`, and calls. When
//! a check fails, nothing further is sent (CLI-06), and the error names the check and what to do.
//! Redirects are never followed; a token is only ever sent to the FHIR base that it was issued for.

mod call;
pub mod checks;
mod discovery;
mod error;
mod membership;
mod registration;
mod token;
mod transport;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use ward_core::{Clock, Limits, Rng, Thumbprint, crypto};
use ward_trust::{Community, SigningIdentity};

pub use discovery::{Discovery, Document};
pub use error::{ClientError, Origin};
pub use membership::{Joined, Membership, Memberships, PassedOver, Step, Stopped};
pub use registration::{
    Registered, RegistrationGrant, RegistrationRequest, ScopeDifference, Standing,
};
pub use token::Token;
pub use transport::{Lists, Transport};
pub use ward_trust::{Discovered, Hl7B2b};

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

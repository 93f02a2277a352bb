//! A client from the files that an organisation has: PEM in, [`PartnerClient`] out, with the parts that most want.
//!
//! For others (keys that do not lie in a file, doubles in tests) make a [`Config`] directly. Refused: PEM without
//! what is looked for, keys that are not PKCS#8, a key that is not the certificate's, and anchors at which no path
//! may end.

use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use ward_core::{ClientUri, CommunityUri, IdError, Limits, Secret, SystemClock, SystemRng};
use ward_net::client::{Egress, HttpClient};
use ward_net::lists::RevocationLists;
use ward_net::tls::{TlsError, client_config};
use ward_trust::{
    Certificate, CertificateError, Community, CommunityFault, JoseError, SigningIdentity,
};

use crate::{Config, Discovery, PartnerClient};

/// Why no client could be made of what was given. No variant carries a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The name of the community is no URI.
    #[error("the community's name: {0}; give the URI by which its members know it")]
    Name(#[from] IdError),
    /// PEM that has no such block, or a broken one.
    #[error("{0}: no readable PEM block; give the text with its -----BEGIN lines")]
    Pem(&'static str),
    /// A certificate that is none.
    #[error("{0}: {1}; give an X.509 version 3 certificate")]
    Certificate(&'static str, CertificateError),
    /// Anchors that are of no use.
    #[error("the community's anchors: {0}; give the certificate of its root itself")]
    Anchors(#[from] CommunityFault),
    /// Certificate and key do not fit, or are too weak.
    #[error(
        "the own certificate with its key: {0}; give the own certificate first and its key, RSA from 2048 bits, P-256 or P-384"
    )]
    Identity(#[from] JoseError),
    /// Roots for TLS that are of no use.
    #[error("the roots for TLS: {0}; give a PEM of CA certificates")]
    Tls(#[from] TlsError),
}

/// What an organisation has in files. All of it is PEM text.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// URI of the trust community.
    pub community: &'a str,
    /// The community's root certificates: whose servers are believed.
    pub anchors: &'a [u8],
    /// Whom to believe for TLS; the community has no say in it.
    pub tls_roots: &'a [u8],
    /// Where requests may go. [`Egress::public_only`] but in a network of one's own.
    pub egress: &'a Egress,
    /// Times and sizes; [`Limits::default`] suits a program that serves others.
    pub limits: &'a Limits,
}

impl Setup<'_> {
    /// For discovery alone, without a certificate of one's own.
    pub fn discovery(&self) -> Result<Discovery, SetupError> {
        let community = self.community()?;
        let (http, limits) = self.http()?;
        let clock = Arc::new(SystemClock);
        let lists = RevocationLists::new(http.clone(), clock.clone(), limits.clone());
        Ok(Discovery { community, http: Arc::new(http), lists: Arc::new(lists), clock, limits })
    }

    /// A client with this certificate (own first, then its issuers) and its PKCS#8 key.
    pub fn client(
        &self,
        certificate: &[u8],
        key: &Secret<Vec<u8>>,
    ) -> Result<PartnerClient, SetupError> {
        let chain = blocks("the own certificate", certificate)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(key.expose())
            .map_err(|_| SetupError::Pem("the own key"))?;
        let key = Secret::new(key.secret_pkcs8_der().to_vec());
        let identity = SigningIdentity::from_pkcs8(&chain, &key)?;
        let Discovery { community, http, lists, clock, limits } = self.discovery()?;
        Ok(PartnerClient::new(Config {
            community,
            identity: Arc::new(identity),
            http,
            lists,
            clock,
            rng: Arc::new(SystemRng),
            limits,
        }))
    }

    fn community(&self) -> Result<Community, SetupError> {
        let what = "the community's anchors";
        let anchors = blocks(what, self.anchors)?
            .iter()
            .map(|der| Certificate::from_der(der).map_err(|e| SetupError::Certificate(what, e)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut community = Community::new(CommunityUri::parse(self.community)?, anchors);
        community.check()?;
        // What may be asserted is for the server to say.
        community.purposes = ward_core::Purpose::ALL.to_vec();
        community.organization_schemes =
            ["urn:", "https:", "http:"].map(ToOwned::to_owned).to_vec();
        Ok(community)
    }

    fn http(&self) -> Result<(HttpClient, Arc<Limits>), SetupError> {
        let roots = blocks("the roots for TLS", self.tls_roots)?;
        let tls = client_config(roots.iter().map(Vec::as_slice))?;
        let limits = Arc::new(self.limits.clone());
        Ok((HttpClient::new(self.egress.clone(), tls, limits.clone()), limits))
    }
}

/// The certificates of a PEM text, at least one.
fn blocks(what: &'static str, pem: &[u8]) -> Result<Vec<Vec<u8>>, SetupError> {
    let found: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(pem)
        .map(|one| one.map(|der| der.to_vec()).map_err(|_| SetupError::Pem(what)))
        .collect::<Result<_, _>>()?;
    if found.is_empty() { Err(SetupError::Pem(what)) } else { Ok(found) }
}

impl PartnerClient {
    /// The first URI that the certificate names: the client's own, where there is only one.
    pub fn uri(&self) -> Option<ClientUri> {
        self.identity().san_uris().first().and_then(|uri| ClientUri::parse(uri).ok())
    }
}

//! TLS of the house (TLS-01, TLS-02): 1.3 only unless 1.2 is asked for, X25519MLKEM768 preferred,
//! ALPN `h2` and `http/1.1` (as a client `http/1.1` alone), an explicit aws-lc-rs provider (nothing is installed for the process), and a
//! configuration that can be swapped while connections run.
//!
//! Refuses a key that does not belong to its certificate. TLS certificates (web PKI) are never those
//! of the UDAP chain; who calls keeps them apart.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use ward_core::Secret;

/// Why a TLS configuration was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// Certificate and key do not make an identity.
    #[error("the TLS identity is not usable: {0}")]
    Identity(String),
    /// A root certificate is not usable.
    #[error("a TLS root is not usable: {0}")]
    Root(String),
}

/// Which versions a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersions {
    /// TLS 1.3 alone.
    #[default]
    Tls13,
    /// TLS 1.2 as well, for callers that cannot do better.
    Tls12Too,
}

impl TlsVersions {
    fn list(self) -> &'static [&'static SupportedProtocolVersion] {
        static MODERN: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        static BOTH: [&SupportedProtocolVersion; 2] =
            [&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            Self::Tls13 => &MODERN,
            Self::Tls12Too => &BOTH,
        }
    }
}

/// aws-lc-rs with the hybrid post-quantum group in front.
fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    Arc::new(CryptoProvider {
        kx_groups: vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1],
        ..aws_lc_rs::default_provider()
    })
}

/// A server's configuration from its chain (DER, leaf first) and PKCS#8 key. No client certificate is
/// asked for and no early data is taken.
pub fn server_config(
    chain: &[Vec<u8>],
    key: &Secret<Vec<u8>>,
    versions: TlsVersions,
) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.expose().clone()));
    let identity = |error: rustls::Error| TlsError::Identity(error.to_string());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions.list())
        .map_err(identity)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(identity)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A client's configuration that trusts exactly these roots (DER). With no roots, every `https` target
/// is refused.
pub fn client_config<'a>(
    roots: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        let root = CertificateDer::from(root.to_vec());
        store.add(root).map_err(|error| TlsError::Root(error.to_string()))?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(TlsVersions::Tls12Too.list())
        .map_err(|error| TlsError::Root(error.to_string()))?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A server configuration that can be swapped: new handshakes take the new one, running connections
/// go on.
#[derive(Debug)]
pub struct TlsReload(RwLock<Arc<ServerConfig>>);

impl TlsReload {
    /// Starts with `config`.
    pub fn new(config: Arc<ServerConfig>) -> Arc<Self> {
        Arc::new(Self(RwLock::new(config)))
    }

    /// The configuration for the next handshake.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uses `config` from the next handshake on.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }
}

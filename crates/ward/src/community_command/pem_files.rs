//! Certificates and private keys in PEM that an operator names. Refused: a key that others can read, or that is not PKCS#8.

use std::path::Path;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use ward_core::Secret;

use super::place::file;
use super::{CommunityCommandError, Result, read};

fn unfit(path: &Path, what: &str) -> CommunityCommandError {
    CommunityCommandError::Unfit { path: path.to_path_buf(), what: what.to_owned() }
}

/// Every certificate of the file, at least one, DER.
pub(super) fn chain(path: &Path) -> Result<Vec<Vec<u8>>> {
    let bytes = read(path)?;
    let found: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(&bytes)
        .map(|der| der.ok().map(|der| der.to_vec()))
        .collect::<Option<_>>()
        .ok_or_else(|| unfit(path, "is damaged PEM; write it again"))?;
    if found.is_empty() {
        return Err(unfit(path, "holds no certificate in PEM"));
    }
    Ok(found)
}

/// The private key of the file, PKCS#8.
pub(super) fn key(path: &Path) -> Result<Secret<Vec<u8>>> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = std::fs::metadata(path).map_err(file(path))?.mode();
    if mode & 0o077 != 0 {
        return Err(unfit(path, "can be read by others; chmod 600 it"));
    }
    let text = Secret::new(read(path)?);
    let key = PrivatePkcs8KeyDer::from_pem_slice(text.expose()).map_err(|_| {
        unfit(path, "holds no private key in PKCS#8; make it so with: openssl pkcs8 -topk8 -nocrypt -in FILE -out key.pem")
    })?;
    Ok(Secret::new(key.secret_pkcs8_der().to_vec()))
}

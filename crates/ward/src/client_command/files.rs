//! What `ward client` reads and keeps: certificates and keys in PEM, and the state file with its registrations.
//!
//! Refused: private files that others on the machine can use, keys that are not PKCS#8 (with the command that
//! makes them so), and files that are no regular ones or too large. No error carries a file's content.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use ward_core::Secret;
use ward_net::tls::client_config;
use ward_trust::Certificate;

use super::Failure;

/// Largest file that is read: a bundle of a machine's TLS roots is a quarter of it.
const MAX_FILE: u64 = 1024 * 1024;
/// Where systems keep their bundle of TLS roots.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

fn read(option: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let fail = |error: std::io::Error| {
        Failure::usage(
            format!("{option} {}: {error}", path.display()),
            "name a file that you can read",
        )
    };
    let file = fs::File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Failure::usage(
            format!("{option} {} is larger than a megabyte", path.display()),
            "name the PEM file itself",
        ));
    }
    Ok(bytes)
}

/// Refuses a file that others can use; `false` if there is none.
fn is_private(option: &str, path: &Path) -> Result<bool, Failure> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => {
            let mode = meta.permissions().mode() & 0o7777;
            if mode.trailing_zeros() >= 6 {
                return Ok(true);
            }
            Err(Failure::usage(
                format!("{option} {} can be used by others (mode {mode:04o})", path.display()),
                format!("run: chmod 600 {}", path.display()),
            ))
        }
        Ok(_) => Err(Failure::usage(
            format!("{option} {} is not a regular file", path.display()),
            "name a file",
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::usage(
            format!("{option} {}: {error}", path.display()),
            "name a file that you can read",
        )),
    }
}

/// The certificates of a PEM file, in its order, in DER.
pub(super) fn certificates(option: &str, path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let bytes = read(option, path)?;
    let malformed = || {
        Failure::usage(
            format!("{option} {} is not a PEM file of certificates", path.display()),
            "it must have -----BEGIN CERTIFICATE----- blocks; for DER run: openssl x509 -inform der -in FILE",
        )
    };
    let found: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(&bytes)
        .map(|one| one.map(|der| der.to_vec()).map_err(|_| malformed()))
        .collect::<Result<_, _>>()?;
    if found.is_empty() { Err(malformed()) } else { Ok(found) }
}

/// The certificates of PEM files, read.
pub(super) fn parsed(
    option: &str,
    paths: &[std::path::PathBuf],
) -> Result<Vec<Certificate>, Failure> {
    let mut out = Vec::new();
    for path in paths {
        for der in certificates(option, path)? {
            out.push(Certificate::from_der(&der).map_err(|error| {
                Failure::usage(
                    format!("{option} {}: {error}", path.display()),
                    "use an X.509 version 3 certificate",
                )
            })?);
        }
    }
    Ok(out)
}

/// A PKCS#8 private key from a PEM file that only its owner can use.
pub(super) fn private_key(path: &Path) -> Result<Secret<Vec<u8>>, Failure> {
    if !is_private("--key", path)? {
        return Err(Failure::usage(
            format!("--key {}: there is no such file", path.display()),
            "name the private key of --certificate",
        ));
    }
    let bytes = Secret::new(read("--key", path)?);
    if let Ok(key) = PrivatePkcs8KeyDer::from_pem_slice(bytes.expose()) {
        return Ok(Secret::new(key.secret_pkcs8_der().to_vec()));
    }
    let text = String::from_utf8_lossy(bytes.expose());
    let file = path.display();
    let advice = if text.contains("ENCRYPTED PRIVATE KEY") {
        format!("it has a passphrase; run: umask 077; openssl pkcs8 -in {file} -out plain.pem")
    } else if text.contains("PRIVATE KEY-----") {
        format!("run: umask 077; openssl pkcs8 -topk8 -nocrypt -in {file} -out pkcs8.pem")
    } else {
        "it must have one -----BEGIN PRIVATE KEY----- block".to_owned()
    };
    Err(Failure::usage(format!("--key {file} is not a PKCS#8 key in PEM"), advice))
}

/// The roots for TLS: of the file, or of the machine's bundle.
pub(super) fn tls_roots(wanted: Option<&Path>) -> Result<Vec<Vec<u8>>, Failure> {
    if let Some(path) = wanted {
        return certificates("--tls-ca", path);
    }
    let Some(bundle) = BUNDLES.iter().map(Path::new).find(|path| path.is_file()) else {
        return Err(Failure::usage(
            format!("this machine has no bundle of TLS roots ({})", BUNDLES.join(", ")),
            "give --tls-ca PEM, or install the package ca-certificates",
        ));
    };
    // A bundle may hold a root that the library does not take; it must not spoil the others.
    let roots = certificates("the machine's TLS roots", bundle)?;
    Ok(roots.into_iter().filter(|root| client_config([root.as_slice()]).is_ok()).collect())
}

/// A token that `ward client token` wrote.
pub(super) fn token(path: &Path) -> Result<Secret<String>, Failure> {
    if !is_private("--token", path)? {
        return Err(Failure::usage(
            format!("--token {}: there is no such file", path.display()),
            "get one with `ward client token`, or leave --token away",
        ));
    }
    let bytes = Secret::new(read("--token", path)?);
    let text = String::from_utf8_lossy(bytes.expose());
    Ok(Secret::new(text.trim().to_owned()))
}

/// Writes a file that only its owner can use: whole or not at all.
pub(super) fn write_private(option: &str, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let fail = |error: std::io::Error| {
        Failure::refused(
            format!("{option} {} cannot be written: {error}", path.display()),
            "name a file in a directory of yours",
        )
    };
    crate::private::write(path, bytes, &ward_core::SystemRng).map_err(fail)
}

/// One registration, keyed by registration endpoint, community and client URI (CLI-15).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// FHIR base that was asked.
    pub(super) base: String,
    pub(super) registration_endpoint: String,
    pub(super) community: String,
    pub(super) client_uri: String,
    pub(super) client_id: String,
    pub(super) scope: String,
}

impl Kept {
    fn same(&self, other: &Self) -> bool {
        self.registration_endpoint == other.registration_endpoint
            && self.community == other.community
            && self.client_uri == other.client_uri
    }
}

/// The state file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    registrations: Vec<Kept>,
}

impl State {
    /// What the file holds; nothing if there is none.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        if !is_private("--state", path)? {
            return Ok(Self::default());
        }
        serde_json::from_slice(&read("--state", path)?).map_err(|_| {
            Failure::usage(
                format!("--state {} is not a state file of `ward client`", path.display()),
                "name another file, or move it away and register again",
            )
        })
    }

    /// The registration at this endpoint.
    pub(super) fn find(&self, endpoint: &str, community: &str, uri: &str) -> Option<&Kept> {
        self.registrations.iter().find(|one| {
            one.registration_endpoint == endpoint
                && one.community == community
                && one.client_uri == uri
        })
    }

    /// With this registration in place of an earlier one of the same key.
    pub(super) fn with(mut self, kept: Kept) -> Self {
        self.registrations.retain(|one| !one.same(&kept));
        self.registrations.push(kept);
        self
    }

    /// Without the registration of this key.
    pub(super) fn without(mut self, gone: &Kept) -> Self {
        self.registrations.retain(|one| !one.same(gone));
        self
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        write_private("--state", path, &text)
    }
}

//! What `ward client` reads and writes: certificates and keys in PEM, tokens.
//!
//! Refused: private files that others on the machine can use, keys that are not PKCS#8 (with the command that
//! makes them so), and files that are no regular ones or too large. No error carries a file's content.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use ward_core::Secret;
use ward_net::tls::client_config;
use ward_trust::Certificate;

use super::talk::Failure;

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

pub(super) fn read(option: &str, path: &Path) -> Result<Vec<u8>, Failure> {
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
pub(super) fn is_private(option: &str, path: &Path) -> Result<bool, Failure> {
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

/// A certification as its issuer gave it: one compact JWS.
pub(super) fn certification(path: &Path) -> Result<String, Failure> {
    let bytes = read("--certification", path)?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if text.split('.').count() == 3 && text.bytes().all(legal) {
        return Ok(text);
    }
    Err(Failure::usage(
        format!("--certification {} is not a compact JWS", path.display()),
        "name the file that the issuer of the certification gave you",
    ))
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

//! A stand-in for the web PKI: a TLS authority of its own and a server certificate, so that a demo
//! speaks real TLS. Never mixed with the community's chain (TLS-02): other key, other name, other file.
//!
//! The authority's certificate is written as PEM for `curl --cacert`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use ward_core::{Clock, Rng, Secret};
use ward_store::vault::FileVault;
use ward_trust::Certificate;

use crate::authority::{ca_params, leaf_params, set_life};
use crate::{CommunityError, KeySpec, files};

/// A TLS server's certificate and key.
pub struct TlsIdentity {
    /// DER, leaf first; the authority is not in it.
    pub chain: Vec<Vec<u8>>,
    /// PKCS#8.
    pub key: Secret<Vec<u8>>,
    /// The authority, DER: the root that clients trust.
    pub ca: Vec<u8>,
    /// The authority as PEM, for `curl --cacert`.
    pub ca_file: PathBuf,
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentity").field("ca_file", &self.ca_file).finish_non_exhaustive()
    }
}

const NAME: &str = "Ward demo TLS";
const CA_KEY: &str = "tls/demo-ca";
const CA_LIFE: Duration = Duration::from_hours(10 * 365 * 24);
const LIFE: Duration = Duration::from_hours(90 * 24);
const BACKDATE: Duration = Duration::from_mins(5);

/// A new server certificate for these names and addresses, good for 90 days, from the TLS authority in
/// `dir`, which is made on first use and kept (`tls-ca.pem`; its key lies in the vault).
pub fn tls_identity(
    dir: &Path,
    vault: &FileVault,
    dns_names: &[&str],
    addresses: &[IpAddr],
    clock: &dyn Clock,
    rng: &dyn Rng,
) -> Result<TlsIdentity, CommunityError> {
    let now = clock.now();
    files::make_dir(dir)?;
    let der_path = dir.join("tls-ca.cer");
    let ca_file = dir.join("tls-ca.pem");
    let kept = match (vault.get_secret(CA_KEY)?, files::read(&der_path, 64 * 1024)?) {
        (Some(key), Some(der)) => {
            let certificate = Certificate::from_der(&der)
                .map_err(|_| CommunityError::Damaged(der_path.clone()))?;
            // A server certificate must not outlive its authority.
            (certificate.not_after() > now.plus(LIFE)).then_some((KeySpec::P256.load(&key)?, der))
        }
        _ => None,
    };
    let (ca_key, ca) = match kept {
        Some(kept) => kept,
        None => make_ca(&der_path, vault, now, rng)?,
    };
    // Written each time: the file is for people, and people delete files.
    files::replace(&ca_file, pem("CERTIFICATE", &ca).as_bytes())?;

    let key = KeySpec::P256.generate()?;
    let mut params = leaf_params(dns_names.first().copied().unwrap_or("server"));
    set_life(&mut params, rng, now.minus(BACKDATE), now.plus(LIFE));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for name in dns_names {
        params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
    }
    params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
    let issuer = ca_params(NAME, CA_NAME, 0);
    let leaf = params.signed_by(&key, &Issuer::from_params(&issuer, &ca_key))?;
    Ok(TlsIdentity {
        chain: vec![leaf.der().to_vec()],
        key: Secret::new(key.serialized_der().to_vec()),
        ca,
        ca_file,
    })
}

const CA_NAME: &str = "Ward demo TLS CA";

fn make_ca(
    der_path: &Path,
    vault: &FileVault,
    now: ward_core::Timestamp,
    rng: &dyn Rng,
) -> Result<(KeyPair, Vec<u8>), CommunityError> {
    let key = KeySpec::P256.generate()?;
    let mut params = ca_params(NAME, CA_NAME, 0);
    set_life(&mut params, rng, now.minus(BACKDATE), now.plus(CA_LIFE));
    let der = params.self_signed(&key)?.der().to_vec();
    // Key first: a certificate whose key is another's would sign what nobody accepts.
    files::replace(der_path, b"")?;
    vault.put_secret(CA_KEY, &Secret::new(key.serialized_der().to_vec()))?;
    files::replace(der_path, &der)?;
    Ok((key, der))
}

/// RFC 7468: `CERTIFICATE`, `PRIVATE KEY` (PKCS#8). The text of a key is as secret as the key.
pub fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let octet = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
            let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
            for at in 0..4 {
                let digit = (bits >> (18 - 6 * at)) & 0x3f;
                let filled = at <= group.len();
                let digit = DIGITS.get(digit as usize).filter(|_| filled).copied().unwrap_or(b'=');
                text.push(char::from(digit));
            }
        }
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

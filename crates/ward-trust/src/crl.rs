//! One certificate revocation list (RFC 5280 §5; PKI-03, X10..X18).
//!
//! rustls-webpki reads and indexes the entries and refuses delta, indirect and reason-partitioned
//! lists and unknown critical extensions (X18); dates, scope and signature, which it keeps to itself,
//! are read here. A list speaks only for the key that signed it and the scope that it states.

use std::sync::Mutex;

use der::{Decode as _, Encode as _, Reader as _, SliceReader};
use ward_core::{Thumbprint, Timestamp};
use webpki::{CertRevocationList, Error, OwnedCertRevocationList};
use x509_cert::ext::pkix::crl::IssuingDistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::name::Name;
use x509_cert::time::Time;

use crate::Certificate;
use crate::asn1::Signed;

/// Verdicts on signers that one list remembers.
const MAX_SIGNERS: usize = 16;

/// Why bytes are not a usable list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Not the DER of exactly one version-2 list with `nextUpdate`.
    #[error("not a revocation list")]
    Malformed,
    /// A delta or indirect list, one for some reasons only, or with an unknown critical extension (X18).
    #[error("a kind of revocation list that is not supported")]
    Unsupported,
}

/// A complete revocation list, indexed by serial number.
#[derive(Debug)]
pub struct Crl {
    entries: CertRevocationList<'static>,
    issuer: Vec<u8>,
    this_update: Timestamp,
    next_update: Timestamp,
    scope: Option<Scope>,
    tbs: Vec<u8>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    /// Keys whose signature was tried already, so that a large list is hashed once per key.
    signers: Mutex<Vec<(Thumbprint, bool)>>,
}

/// What an issuing distribution point limits a list to (RFC 5280 §5.2.5).
#[derive(Debug)]
struct Scope {
    users_only: bool,
    authorities_only: bool,
    urls: Vec<String>,
}

impl Crl {
    /// Parses the DER of exactly one complete list.
    pub fn from_der(der: &[u8]) -> Result<Self, CrlError> {
        let malformed = |_| CrlError::Malformed;
        let entries = OwnedCertRevocationList::from_der(der).map_err(|error| match error {
            Error::UnsupportedDeltaCrl
            | Error::UnsupportedIndirectCrl
            | Error::UnsupportedRevocationReasonsPartitioning
            | Error::UnsupportedCrlIssuingDistributionPoint
            | Error::UnsupportedCriticalExtension
            | Error::UnsupportedRevocationReason => CrlError::Unsupported,
            _ => CrlError::Malformed,
        })?;
        let signed = Signed::from_der(der).map_err(malformed)?;
        let (issuer, this_update, next_update) = header(signed.tbs).map_err(malformed)?;
        let entries = CertRevocationList::from(entries);
        let scope = entries.issuing_distribution_point().map(scope).transpose()?;
        Ok(Self {
            issuer: issuer.to_der().map_err(malformed)?,
            this_update,
            next_update,
            scope,
            tbs: signed.tbs.to_vec(),
            algorithm: signed.algorithm.to_vec(),
            signature: signed.signature.to_vec(),
            signers: Mutex::new(Vec::new()),
            entries,
        })
    }

    /// When the list was made.
    pub fn this_update(&self) -> Timestamp {
        self.this_update
    }

    /// When a newer one is due; the list is stale after it (X15).
    pub fn next_update(&self) -> Timestamp {
        self.next_update
    }

    /// What is signed.
    pub(crate) fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    /// DER of the issuer's name.
    pub fn issuer_der(&self) -> &[u8] {
        &self.issuer
    }

    /// Whether the list names the serial number (as [`Certificate::serial`] gives it), for whatever
    /// reason: a certificate on hold is not to be trusted either (X13).
    pub fn is_revoked(&self, serial: &[u8]) -> bool {
        // An entry that cannot be read was refused at parsing; were there one, it must not mean "good".
        !matches!(self.entries.find_serial(serial), Ok(None))
    }

    /// The serial numbers that it names, contents of the DER INTEGERs; `None` if they cannot be told. Walks the whole list.
    pub fn serials(&self) -> Option<Vec<Vec<u8>>> {
        serials(&self.tbs).ok()
    }

    /// Whether the list was signed with the key of this certificate, which may sign lists (X16).
    pub fn signed_by(&self, issuer: &Certificate) -> bool {
        if issuer.subject_der() != self.issuer
            || !issuer.may(x509_cert::ext::pkix::KeyUsage::crl_sign)
        {
            return false;
        }
        let key = issuer.key_thumbprint();
        let known = self
            .signers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .iter()
            .find_map(|(signer, verdict)| (*signer == key).then_some(*verdict));
        if let Some(verdict) = known {
            return verdict;
        }
        let verdict = self.verify(issuer);
        let mut signers = self.signers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if signers.len() < MAX_SIGNERS {
            signers.push((key, verdict));
        }
        verdict
    }

    fn verify(&self, issuer: &Certificate) -> bool {
        let signed =
            Signed { tbs: &self.tbs, algorithm: &self.algorithm, signature: &self.signature };
        issuer.has_strong_key() && signed.verify(issuer).is_ok()
    }

    /// Whether the certificate lies within the scope that the list states.
    pub(crate) fn covers(&self, certificate: &Certificate) -> bool {
        let Some(scope) = &self.scope else { return true };
        let role = if certificate.is_ca() { !scope.users_only } else { !scope.authorities_only };
        let urls = certificate.crl_urls();
        role && (urls.is_empty() || urls.iter().any(|url| scope.urls.contains(url)))
    }
}

/// Issuer and dates, which precede the entries of a `TBSCertList`.
fn header(tbs: &[u8]) -> der::Result<(Name, Timestamp, Timestamp)> {
    let mut reader = SliceReader::new(tbs)?;
    reader.sequence(|inner| {
        let _version = inner.tlv_bytes()?;
        let _algorithm = inner.tlv_bytes()?;
        let issuer = Name::decode(inner)?;
        let (this_update, next_update) = (Time::decode(inner)?, Time::decode(inner)?);
        while !inner.is_finished() {
            inner.tlv_bytes()?;
        }
        der::Result::Ok((issuer, timestamp(this_update), timestamp(next_update)))
    })
}

/// The entries: the sequence that follows the dates, if there is one.
fn serials(tbs: &[u8]) -> der::Result<Vec<Vec<u8>>> {
    let mut reader = SliceReader::new(tbs)?;
    let mut entries: &[u8] = &[];
    reader.sequence(|inner| {
        // Version, algorithm, issuer and both dates.
        for _ in 0..5 {
            inner.tlv_bytes()?;
        }
        while !inner.is_finished() {
            let next = inner.tlv_bytes()?;
            if next.first() == Some(&0x30) {
                entries = next;
            }
        }
        der::Result::Ok(())
    })?;
    let mut all = Vec::new();
    if entries.is_empty() {
        return Ok(all);
    }
    SliceReader::new(entries)?.sequence(|inner| {
        while !inner.is_finished() {
            inner.sequence(|entry| {
                let serial = der::asn1::AnyRef::decode(entry)?;
                all.push(serial.value().to_vec());
                while !entry.is_finished() {
                    entry.tlv_bytes()?;
                }
                der::Result::Ok(())
            })?;
        }
        der::Result::Ok(())
    })?;
    Ok(all)
}

fn timestamp(time: Time) -> Timestamp {
    Timestamp::from_seconds(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
}

fn scope(der: &[u8]) -> Result<Scope, CrlError> {
    let point = IssuingDistributionPoint::from_der(der).map_err(|_| CrlError::Malformed)?;
    if point.indirect_crl
        || point.only_some_reasons.is_some()
        || point.only_contains_attribute_certs
    {
        return Err(CrlError::Unsupported);
    }
    let Some(DistributionPointName::FullName(names)) = point.distribution_point else {
        return Err(CrlError::Unsupported);
    };
    let urls = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str().to_owned()),
            _ => None,
        })
        .collect();
    Ok(Scope {
        users_only: point.only_contains_user_certs,
        authorities_only: point.only_contains_ca_certs,
        urls,
    })
}

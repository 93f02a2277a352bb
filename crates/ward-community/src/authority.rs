//! Authorities: names, keys, certificates and lists (RFC 5280 §4, §5), made with rcgen.
//!
//! rcgen's defaults (1975 to 4096, no key usage) are never used: every field is set here.

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams, RsaKeySize, SanType, SerialNumber,
    SignatureAlgorithm, SigningKey,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use ward_core::{Rng, Secret, Timestamp};
use ward_trust::{Certificate, KeyKind, SigningRequest};

use crate::CommunityError;

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeySpec {
    /// RSA with 2048 bits; signs RS256.
    Rsa2048,
    /// RSA with 3072 bits; signs RS256.
    Rsa3072,
    /// NIST P-256; signs ES256.
    P256,
    /// NIST P-384; signs ES384.
    P384,
}

impl KeySpec {
    pub(crate) const fn is_rsa(self) -> bool {
        matches!(self, Self::Rsa2048 | Self::Rsa3072)
    }

    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::Rsa2048 | Self::Rsa3072 => &rcgen::PKCS_RSA_SHA256,
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        }
    }

    /// A new key from the system's generator. Slow for RSA: run it off the runtime.
    pub(crate) fn generate(self) -> Result<KeyPair, rcgen::Error> {
        match self {
            Self::Rsa2048 => KeyPair::generate_rsa_for(self.algorithm(), RsaKeySize::_2048),
            Self::Rsa3072 => KeyPair::generate_rsa_for(self.algorithm(), RsaKeySize::_3072),
            Self::P256 | Self::P384 => KeyPair::generate_for(self.algorithm()),
        }
    }

    /// A key that was kept.
    pub(crate) fn load(self, pkcs8: &Secret<Vec<u8>>) -> Result<KeyPair, rcgen::Error> {
        let der = PrivatePkcs8KeyDer::from(pkcs8.expose().as_slice());
        KeyPair::from_pkcs8_der_and_sign_algo(&der, self.algorithm())
    }
}

/// A member's key, as rcgen writes it into a certificate.
pub(crate) struct RequestedKey {
    bits: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl RequestedKey {
    /// `None` for a kind of key that no member may have.
    pub(crate) fn new(asked: &SigningRequest) -> Option<Self> {
        Self::of(asked.key(), asked.key_bits())
    }

    /// The key of a certificate, for the next one.
    pub(crate) fn again(certificate: &Certificate) -> Option<Self> {
        Self::of(certificate.subject_key(), certificate.key_bits())
    }

    fn of(kind: KeyKind, bits: &[u8]) -> Option<Self> {
        let algorithm = match kind {
            KeyKind::Rsa { .. } => &rcgen::PKCS_RSA_SHA256,
            KeyKind::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyKind::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyKind::Other => return None,
        };
        Some(Self { bits: bits.to_vec(), algorithm })
    }
}

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// Which authority of the community.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authority {
    /// The anchor: it signs the issuing authority, and the list that could revoke it.
    Root,
    /// Signs members, and the list of revoked members.
    Issuing,
}

impl Authority {
    /// `root` or `issuing`: the word in URLs, files and names of keys.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Issuing => "issuing",
        }
    }

    /// The first one of the kind, which a community begins with.
    pub(crate) const fn first(self) -> AuthorityId {
        AuthorityId { of: self, generation: 1 }
    }
}

/// One authority: its kind, and the how manieth it is. A new key is a new authority with a name, a list and a place of its own, so
/// that nobody has to tell two keys of one name apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityId {
    /// Its kind.
    pub of: Authority,
    /// From 1.
    pub generation: u32,
}

impl fmt::Display for AuthorityId {
    /// `issuing`, `issuing-2`: the word in URLs, files and names of keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.generation {
            1 => f.write_str(self.of.word()),
            more => write!(f, "{}-{more}", self.of.word()),
        }
    }
}

impl AuthorityId {
    /// The authority that is written so.
    pub fn parse(word: &str) -> Option<Self> {
        let (kind, number) = word.split_once('-').unwrap_or((word, "1"));
        let of = [Authority::Root, Authority::Issuing].into_iter().find(|of| of.word() == kind)?;
        let id = Self { of, generation: number.parse().ok()? };
        // One way to write each.
        (id.to_string() == word).then_some(id)
    }

    /// What the authority's certificate is made of, as far as its own signatures need it. Between the first root and members there
    /// may be its word for the next root, and an issuing authority below that.
    pub(crate) fn params(self, community: &str) -> CertificateParams {
        let (title, depth) = match self.of {
            Authority::Root => ("Root CA", 2),
            Authority::Issuing => ("Issuing CA", 0),
        };
        let number = match self.generation {
            1 => String::new(),
            more => format!(" {more}"),
        };
        ca_params(community, &format!("{community} {title}{number}"), depth)
    }
}

/// An authority: `basicConstraints` (critical) with a path length, `keyCertSign` and `cRLSign`.
pub(crate) fn ca_params(organization: &str, name: &str, path_length: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(Some(organization), name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.key_identifier_method = KeyIdMethod::Sha256;
    params
}

/// An end entity with `digitalSignature` alone and an explicit CA:FALSE.
pub(crate) fn leaf_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(None, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params.key_identifier_method = KeyIdMethod::Sha256;
    params
}

fn subject(organization: Option<&str>, name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(organization) = organization {
        subject.push(DnType::OrganizationName, organization);
    }
    subject.push(DnType::CommonName, name);
    subject
}

/// Sets serial number and validity.
pub(crate) fn set_life(
    params: &mut CertificateParams,
    rng: &dyn Rng,
    from: Timestamp,
    until: Timestamp,
) -> Vec<u8> {
    let serial = serial(rng);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = calendar(from);
    params.not_after = calendar(until);
    serial
}

/// Sets where the issuer's list and certificate are to be had (CRL distribution point, AIA), and who answers for it
/// (OCSP) if somebody does.
pub(crate) fn set_issuer_urls(
    params: &mut CertificateParams,
    base_url: &str,
    issuer: AuthorityId,
    ocsp: bool,
) {
    params.crl_distribution_points =
        vec![CrlDistributionPoint { uris: vec![format!("{base_url}/crl/{issuer}.crl")] }];
    let mut places = vec![(CA_ISSUERS, format!("{base_url}/ca/{issuer}.cer"))];
    if ocsp {
        places.insert(0, (OCSP, format!("{base_url}/ocsp")));
    }
    params.custom_extensions = vec![information_access(&places)];
}

/// What only an OCSP responder's certificate has: its usage, and that nobody need ask whether it is revoked
/// (RFC 6960 §4.2.2.2.1), which its short life stands for.
pub(crate) fn set_responder(params: &mut CertificateParams) {
    const NO_CHECK: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 5];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    params.custom_extensions.push(CustomExtension::from_oid_content(NO_CHECK, tlv(0x05, &[])));
}

/// Sets SAN URIs.
pub(crate) fn set_uris(
    params: &mut CertificateParams,
    uris: &[String],
) -> Result<(), rcgen::Error> {
    params.subject_alt_names = uris
        .iter()
        .map(|uri| Ok(SanType::URI(uri.as_str().try_into()?)))
        .collect::<Result<_, rcgen::Error>>()?;
    Ok(())
}

/// Sixteen octets with the top bits `01`: positive, never shorter, 126 bits of randomness.
fn serial(rng: &dyn Rng) -> Vec<u8> {
    let mut serial = [0; 16];
    rng.fill(&mut serial);
    let [first, rest @ ..] = serial;
    let mut out = vec![first & 0x3f | 0x40];
    out.extend(rest);
    out
}

/// rcgen's notion of time, whole seconds.
pub(crate) fn calendar(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.as_seconds()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Access methods (RFC 5280 §4.2.2.1), DER.
const OCSP: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01];
const CA_ISSUERS: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02];

/// Authority information access with these URLs (RFC 5280 §4.2.2.1), which rcgen cannot make.
fn information_access(places: &[(&[u8], String)]) -> CustomExtension {
    const AUTHORITY_INFO_ACCESS: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
    let described = places.iter().flat_map(|(method, url)| {
        tlv(0x30, &[method.to_vec(), tlv(0x86, url.as_bytes())].concat())
    });
    let content = tlv(0x30, &described.collect::<Vec<u8>>());
    CustomExtension::from_oid_content(AUTHORITY_INFO_ACCESS, content)
}

/// One DER value of less than 64 KiB.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = vec![tag];
    match (high, low) {
        (0, 0..=0x7f) => out.push(low),
        (0, _) => out.extend([0x81, low]),
        _ => out.extend([0x82, high, low]),
    }
    out.extend_from_slice(content);
    out
}

/// Signs a list. Its life begins now.
pub(crate) fn sign_list(
    params: &CertificateParams,
    key: &dyn SigningKey,
    number: u64,
    now: Timestamp,
    life: Duration,
    revoked: Vec<RevokedCertParams>,
) -> Result<Vec<u8>, CommunityError> {
    let list = CertificateRevocationListParams {
        this_update: calendar(now),
        next_update: calendar(now.plus(life)),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(list.signed_by(&Issuer::from_params(params, key))?.der().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_core::SeededRng;

    #[test]
    fn serial_numbers_are_positive_and_sixteen_octets() {
        let rng = SeededRng::new(1);
        for _ in 0..1000 {
            let serial = serial(&rng);
            assert_eq!(serial.len(), 16);
            assert!((0x40..0x80).contains(&serial[0]));
        }
    }

    #[test]
    fn der_lengths_have_the_shortest_form() {
        for (length, head) in [
            (0, &[0x30, 0][..]),
            (127, &[0x30, 127]),
            (128, &[0x30, 0x81, 128]),
            (255, &[0x30, 0x81, 255]),
            (256, &[0x30, 0x82, 1, 0]),
        ] {
            let value = tlv(0x30, &vec![0; length]);
            assert_eq!(&value[..head.len()], head);
            assert_eq!(value.len(), head.len() + length);
        }
    }
}

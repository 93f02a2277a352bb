//! Generates certificates and lists with rcgen: sound by default, each test spoils one thing.

use std::sync::{Arc, OnceLock};

use der::{Reader as _, SliceReader};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevocationReason, RevokedCertParams, RsaKeySize, SanType, SerialNumber,
    SigningKey as _,
};
use time::OffsetDateTime;
use ward_core::{CommunityUri, Secret, Timestamp};

use crate::{Certificate, Community, Crl, SigningIdentity};

/// 2027-01-15T08:00:00Z.
pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const DAY: i64 = 86_400;
pub(super) const CLIENT: &str = "https://client.example/udap";

pub(super) fn now() -> Timestamp {
    Timestamp::from_seconds(NOW)
}

pub(super) fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

pub(super) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// DER with one-octet tag.
pub(super) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        short @ 0..=127 => out.push(u8::try_from(short).unwrap()),
        long => {
            let bytes: Vec<u8> = long.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
            out.push(0x80 | u8::try_from(bytes.len()).unwrap());
            out.extend(bytes);
        }
    }
    out.extend(content);
    out
}

pub(super) fn extension(oid: &[u64], critical: bool, content: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(critical);
    extension
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.not_before = at(NOW - DAY);
    params.not_after = at(NOW + 365 * DAY);
    params
}

fn listed_at(params: &mut CertificateParams, issuer: &str) {
    params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![crl_url(issuer)] }];
}

pub(super) fn crl_url(issuer: &str) -> String {
    format!("http://crl.test/{issuer}.crl")
}

pub(super) fn p256() -> KeyPair {
    KeyPair::generate().unwrap()
}

pub(super) fn p384() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap()
}

/// One of two RSA-2048 keys, generated once: generation is slow.
pub(super) fn rsa(which: usize) -> KeyPair {
    static KEYS: [OnceLock<Vec<u8>>; 2] = [OnceLock::new(), OnceLock::new()];
    let der = KEYS[which].get_or_init(|| {
        KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048)
            .unwrap()
            .serialize_der()
    });
    KeyPair::try_from(der.as_slice()).unwrap()
}

/// A certification authority.
pub(super) struct Ca {
    pub(super) name: String,
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) certificate: Certificate,
}

/// An end entity with its key.
pub(super) struct Leaf {
    pub(super) certificate: Certificate,
    pub(super) key: KeyPair,
}

fn authority(name: &str, edit: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    edit(&mut params);
    params
}

impl Ca {
    pub(super) fn root(name: &str) -> Self {
        Self::root_with(name, p256(), |_| {})
    }

    pub(super) fn root_with(
        name: &str,
        key: KeyPair,
        edit: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let params = authority(name, edit);
        let certificate = parse(&params.self_signed(&key).unwrap());
        Self { name: name.to_owned(), issuer: Issuer::new(params, key), certificate }
    }

    pub(super) fn child(&self, name: &str) -> Self {
        self.child_with(name, p256(), |_| {})
    }

    pub(super) fn child_with(
        &self,
        name: &str,
        key: KeyPair,
        edit: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let params = authority(name, |params| {
            listed_at(params, &self.name);
            edit(params);
        });
        let certificate = parse(&params.signed_by(&key, &self.issuer).unwrap());
        Self { name: name.to_owned(), issuer: Issuer::new(params, key), certificate }
    }

    fn leaf_params(&self, edit: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
        let mut params = named("Client");
        listed_at(&mut params, &self.name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names = vec![uri(CLIENT)];
        edit(&mut params);
        params
    }

    pub(super) fn leaf(&self) -> Leaf {
        self.leaf_with(p256(), |_| {})
    }

    pub(super) fn leaf_with(
        &self,
        key: KeyPair,
        edit: impl FnOnce(&mut CertificateParams),
    ) -> Leaf {
        let params = self.leaf_params(edit);
        let certificate = parse(&params.signed_by(&key, &self.issuer).unwrap());
        Leaf { certificate, key }
    }

    /// A certificate for any SubjectPublicKeyInfo: one of ours with that part replaced, signed anew.
    pub(super) fn leaf_for(&self, spki: Vec<u8>) -> Certificate {
        let der = self.resigned(&self.leaf().certificate, |fields| fields[6] = spki);
        Certificate::from_der(&der).unwrap()
    }

    /// The DER of a certificate whose fields were changed, signed anew: version, serialNumber, signature,
    /// issuer, validity, subject, subjectPublicKeyInfo, extensions.
    pub(super) fn resigned(
        &self,
        whole: &Certificate,
        edit: impl FnOnce(&mut Vec<Vec<u8>>),
    ) -> Vec<u8> {
        let parts = children(whole.der());
        let mut fields = children(&parts[0]);
        edit(&mut fields);
        let tbs = tlv(0x30, &[&fields.concat()]);
        let signature = self.issuer.key().sign(&tbs).unwrap();
        tlv(0x30, &[&tbs, &parts[1], &tlv(0x03, &[&[0], &signature])])
    }

    pub(super) fn list(&self, revoked: &[&Certificate]) -> Arc<Crl> {
        self.list_with(revoked, |_| {})
    }

    pub(super) fn list_with(
        &self,
        revoked: &[&Certificate],
        edit: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> Arc<Crl> {
        let mut params = CertificateRevocationListParams {
            this_update: at(NOW - DAY),
            next_update: at(NOW + DAY),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(|one| entry(one, None)).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        edit(&mut params);
        Arc::new(Crl::from_der(params.signed_by(&self.issuer).unwrap().der()).unwrap())
    }
}

pub(super) fn entry(
    certificate: &Certificate,
    reason: Option<RevocationReason>,
) -> RevokedCertParams {
    RevokedCertParams {
        serial_number: SerialNumber::from_slice(certificate.serial()),
        revocation_time: at(NOW - 7200),
        reason_code: reason,
        invalidity_date: None,
    }
}

pub(super) fn parse(certificate: &rcgen::Certificate) -> Certificate {
    Certificate::from_der(certificate.der()).unwrap()
}

/// The same certificate with some octets replaced everywhere; its signature no longer holds.
pub(super) fn patched(certificate: &Certificate, from: &[u8], to: &[u8]) -> Certificate {
    assert_eq!(from.len(), to.len());
    let mut der = certificate.der().to_vec();
    let places: Vec<usize> =
        (0..=der.len() - from.len()).filter(|at| der[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "nothing to patch");
    for place in places {
        der[place..place + to.len()].copy_from_slice(to);
    }
    Certificate::from_der(&der).unwrap()
}

impl Leaf {
    pub(super) fn identity(&self, issuers: &[&Ca]) -> SigningIdentity {
        let mut chain = vec![self.certificate.der().to_vec()];
        chain.extend(issuers.iter().map(|ca| ca.certificate.der().to_vec()));
        SigningIdentity::from_pkcs8(&chain, &Secret::new(self.key.serialize_der())).unwrap()
    }
}

/// The elements of a SEQUENCE, each with tag and length.
pub(super) fn children(sequence: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = SliceReader::new(sequence).unwrap();
    reader
        .sequence(|inner| {
            let mut parts = Vec::new();
            while !inner.is_finished() {
                parts.push(inner.tlv_bytes()?.to_vec());
            }
            der::Result::Ok(parts)
        })
        .unwrap()
}

/// SubjectPublicKeyInfo of an RSA key with so many octets of modulus and this exponent.
pub(super) fn rsa_spki(modulus_octets: usize, exponent: &[u8]) -> Vec<u8> {
    let mut modulus = vec![0x00];
    modulus.extend(vec![0xc1; modulus_octets]);
    let key = tlv(0x30, &[&tlv(0x02, &[&modulus]), &tlv(0x02, &[exponent])]);
    let rsa_encryption = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 0x05, 0];
    tlv(0x30, &[&tlv(0x30, &[&rsa_encryption]), &tlv(0x03, &[&[0], &key])])
}

/// SubjectPublicKeyInfo of an elliptic-curve key on the curve with this OID (contents only).
pub(super) fn ec_spki(curve: &[u8], point_octets: usize) -> Vec<u8> {
    let ec_public_key = [0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    let algorithm = tlv(0x30, &[&ec_public_key, &tlv(0x06, &[curve])]);
    tlv(0x30, &[&algorithm, &tlv(0x03, &[&[0, 4], &vec![7; point_octets]])])
}

pub(super) fn community(anchors: &[&Ca]) -> Community {
    let anchors = anchors.iter().map(|ca| ca.certificate.clone()).collect();
    Community::new(CommunityUri::parse("urn:example:community").unwrap(), anchors)
}

/// Root, issuing CA and a client under it.
pub(super) struct World {
    pub(super) root: Ca,
    pub(super) issuing: Ca,
    pub(super) leaf: Leaf,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_key(p256())
    }

    pub(super) fn with_key(key: KeyPair) -> Self {
        let root = Ca::root("Root");
        let issuing = root.child("Issuing");
        let leaf = issuing.leaf_with(key, |_| {});
        Self { root, issuing, leaf }
    }

    pub(super) fn community(&self) -> Community {
        community(&[&self.root])
    }

    pub(super) fn lists(&self) -> Vec<Arc<Crl>> {
        vec![self.root.list(&[]), self.issuing.list(&[])]
    }
}

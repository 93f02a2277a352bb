//! The extensions of a certificate that Ward reads (RFC 5280 §4.2; X18, X20, X21, X32, X38..X42, X45).
//!
//! Refuses an extension that occurs twice. A known one that does not decode, and a critical one that is not known,
//! are remembered: whoever relies on the certificate refuses it.

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode as _, Reader as _, SliceReader, TagNumber};
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage,
    NameConstraints,
};

use crate::policies::Policies;
use crate::{CertificateError, names};

const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const CRL_DISTRIBUTION_POINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.31");
const CERTIFICATE_POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32");
const POLICY_MAPPINGS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.33");
const POLICY_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.36");
const INHIBIT_ANY_POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.54");
const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const AUTHORITY_INFO_ACCESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.1");
const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
const OCSP_NO_CHECK: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.5");
const CA_ISSUERS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.2");
/// URLs of one kind that are read from one certificate; further ones are ignored.
const MAX_URLS: usize = 8;

#[derive(Default)]
pub(crate) struct Extensions {
    pub(crate) san_uris: Vec<String>,
    /// A SAN URI that is not visible ASCII, or a SAN that does not decode (X41).
    pub(crate) san_malformed: bool,
    /// Another known extension that does not decode.
    pub(crate) malformed: bool,
    pub(crate) key_usage: Option<KeyUsage>,
    pub(crate) is_ca: bool,
    pub(crate) path_length: Option<u8>,
    pub(crate) crl_urls: Vec<String>,
    pub(crate) ca_issuer_urls: Vec<String>,
    pub(crate) ocsp_urls: Vec<String>,
    /// id-pkix-ocsp-nocheck (RFC 6960 §4.2.2.2.1).
    pub(crate) ocsp_no_check: bool,
    /// certificatePolicies, dotted.
    pub(crate) policy_oids: Vec<String>,
    pub(crate) policies: Policies,
    pub(crate) constraints: Option<NameConstraints>,
    /// The SAN as it came: name constraints look at all of it.
    pub(crate) alternative_names: Option<Vec<u8>>,
    pub(crate) extended_key_usage: Option<Vec<ObjectIdentifier>>,
    /// A critical extension that is not known (X32).
    pub(crate) unknown_critical: bool,
    /// Something that webpki refuses because it does not process it, and that is processed here: critical
    /// policy extensions, and constraints on other names than hosts and addresses.
    pub(crate) beyond_webpki: bool,
}

impl Extensions {
    /// Refuses an extension that occurs twice; what does not decode is remembered.
    pub(crate) fn read(list: &[x509_cert::ext::Extension]) -> Result<Self, CertificateError> {
        let mut found = Self::default();
        for (at, extension) in list.iter().enumerate() {
            if list.iter().skip(at + 1).any(|later| later.extn_id == extension.extn_id) {
                return Err(CertificateError::DuplicateExtension);
            }
            let value = extension.extn_value.as_bytes();
            let outcome = match extension.extn_id {
                SUBJECT_ALT_NAME => {
                    found.alternative_names = Some(value.to_vec());
                    match san_uris(value) {
                        Some(uris) => found.san_uris = uris,
                        None => found.san_malformed = true,
                    }
                    Ok(())
                }
                KEY_USAGE => KeyUsage::from_der(value).map(|usage| found.key_usage = Some(usage)),
                BASIC_CONSTRAINTS => BasicConstraints::from_der(value).map(|constraints| {
                    found.is_ca = constraints.ca;
                    found.path_length = constraints.path_len_constraint;
                }),
                CRL_DISTRIBUTION_POINTS => CrlDistributionPoints::from_der(value)
                    .map(|points| found.crl_urls = crl_urls(&points)),
                CERTIFICATE_POLICIES => known(found.policies.assert(value)),
                POLICY_MAPPINGS => known(found.policies.map(value)),
                POLICY_CONSTRAINTS => known(found.policies.constrain(value)),
                INHIBIT_ANY_POLICY => known(found.policies.inhibit(value)),
                NAME_CONSTRAINTS => {
                    found.constraints = names::read(value);
                    found.beyond_webpki |= found
                        .constraints
                        .as_ref()
                        .is_some_and(|one| !names::is_known_to_webpki(one));
                    known(found.constraints.as_ref())
                }
                EXTENDED_KEY_USAGE => ExtendedKeyUsage::from_der(value).and_then(|usage| {
                    found.extended_key_usage = Some(usage.0);
                    // SIZE (1..MAX): an empty list is not "any".
                    known(found.extended_key_usage.as_ref().filter(|usage| !usage.is_empty()))
                }),
                AUTHORITY_INFO_ACCESS => AuthorityInfoAccessSyntax::from_der(value).map(|access| {
                    found.ca_issuer_urls = places(&access, CA_ISSUERS);
                    found.ocsp_urls = places(&access, OCSP);
                }),
                OCSP_NO_CHECK => {
                    found.ocsp_no_check = true;
                    Ok(())
                }
                _ => {
                    found.unknown_critical |= extension.critical;
                    Ok(())
                }
            };
            found.malformed |= outcome.is_err();
            let policy =
                [CERTIFICATE_POLICIES, POLICY_MAPPINGS, POLICY_CONSTRAINTS, INHIBIT_ANY_POLICY];
            found.beyond_webpki |= extension.critical && policy.contains(&extension.extn_id);
            // Never critical (RFC 5280 §4.2.2.1); webpki refuses it too.
            found.unknown_critical |=
                extension.critical && extension.extn_id == AUTHORITY_INFO_ACCESS;
        }
        found.policy_oids =
            found.policies.asserted.iter().flatten().map(ToString::to_string).collect();
        Ok(found)
    }
}

fn known<T>(read: Option<T>) -> der::Result<()> {
    read.map(|_| ()).ok_or_else(|| der::ErrorKind::Failed.into())
}

/// The URI entries of a SAN. Read tag by tag so that entries of kinds that nobody here needs cannot
/// make the rest unreadable. `None`: not DER, empty, or a URI outside visible ASCII (X41).
fn san_uris(value: &[u8]) -> Option<Vec<String>> {
    let mut reader = SliceReader::new(value).ok()?;
    let entries = reader
        .sequence(|inner| {
            let mut entries = Vec::new();
            while !inner.is_finished() {
                entries.push(AnyRef::from_der(inner.tlv_bytes()?)?);
            }
            der::Result::Ok(entries)
        })
        .ok()?;
    reader.finish().ok()?;
    if entries.is_empty() {
        return None;
    }
    let uri = der::Tag::ContextSpecific { constructed: false, number: TagNumber(6) };
    entries
        .iter()
        .filter(|entry| der::Tagged::tag(*entry) == uri)
        .map(|entry| {
            let text = std::str::from_utf8(entry.value()).ok()?;
            let visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
            visible.then(|| text.to_owned())
        })
        .collect()
}

/// URLs of points that stand for complete lists of the certificate's own issuer (X18).
fn crl_urls(points: &CrlDistributionPoints) -> Vec<String> {
    points
        .0
        .iter()
        .filter(|point| point.crl_issuer.is_none() && point.reasons.is_none())
        .filter_map(|point| match &point.distribution_point {
            Some(DistributionPointName::FullName(names)) => Some(names),
            _ => None,
        })
        .flatten()
        .filter_map(fetchable)
        .take(MAX_URLS)
        .collect()
}

fn places(access: &AuthorityInfoAccessSyntax, method: ObjectIdentifier) -> Vec<String> {
    let listed = access.0.iter().filter(|one| one.access_method == method);
    listed.filter_map(|one| fetchable(&one.access_location)).take(MAX_URLS).collect()
}

/// A URL that may be fetched at all: `file:` and `ldap:` are not (X20).
fn fetchable(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str())
            .filter(|uri| uri.starts_with("http://") || uri.starts_with("https://"))
            .filter(|uri| uri.len() <= 1024 && uri.bytes().all(|byte| byte.is_ascii_graphic()))
            .map(str::to_owned),
        _ => None,
    }
}

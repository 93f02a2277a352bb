//! From the octets to a [`SignedBundle`]: strict JSON, every member bounded and of its type, signature by `x5c[0]`.
//! Members that are not known are passed over, unless `crit` names them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use ward_core::{CommunityUri, Limits, Thumbprint, Timestamp, crypto};

use super::{
    Bundle, BundleError, MAX_ANCHORS, MAX_CHARS, MAX_ENTRIES, MAX_INTERMEDIATES, Places,
    SignedBundle, TYPE, VERSION,
};
use crate::context::ValueSets;
use crate::uri::{is_absolute_uri, is_plain_text};
use crate::{Alg, Certificate, Jws};

/// Members that this version knows.
const KNOWN: [&str; 15] = [
    "version",
    "iss",
    "sequence",
    "iat",
    "nbf",
    "exp",
    "anchors",
    "intermediates",
    "revocation",
    "purposes",
    "organization_schemes",
    "certifications_required",
    "certifiers",
    "value_sets",
    "crit",
];
/// Numbers that every JSON parser reads alike (RFC 7493 §2.2).
const MAX_SEQUENCE: u64 = (1 << 53) - 1;

impl SignedBundle {
    /// Reads a document of at most `limits.bundle_bytes` and checks its signature. A trailing line break is allowed, for it may come
    /// from a file.
    pub fn parse(document: &[u8], limits: &Limits) -> Result<Self, BundleError> {
        let document = document.trim_ascii_end();
        if document.len() > limits.bundle_bytes {
            return Err(BundleError::TooLarge);
        }
        let text = std::str::from_utf8(document)
            .map_err(|_| BundleError::Jose(crate::JoseError::Encoding))?;
        // A bundle is no request body: it has a bound of its own.
        let limits = Limits { auth_body_bytes: limits.bundle_bytes, ..limits.clone() };
        let jws = Jws::parse(text, &limits)?.verify(&Alg::ALL)?;
        if jws.header().get("typ").and_then(Value::as_str) != Some(TYPE) {
            return Err(BundleError::Type);
        }
        let bundle = bundle(jws.claims(), &limits)?;
        Ok(Self { bundle, digest: Thumbprint(crypto::sha256(&[document])), jws })
    }
}

fn bundle(claims: &Map<String, Value>, limits: &Limits) -> Result<Bundle, BundleError> {
    if claims.get("version").and_then(Value::as_u64) != Some(VERSION) {
        return Err(BundleError::Version);
    }
    critical(claims)?;
    let community = claims
        .get("iss")
        .and_then(Value::as_str)
        .and_then(|text| CommunityUri::parse(text).ok())
        .ok_or(BundleError::Member("iss"))?;
    let sequence = claims
        .get("sequence")
        .and_then(Value::as_u64)
        .filter(|number| (1..=MAX_SEQUENCE).contains(number))
        .ok_or(BundleError::Member("sequence"))?;
    let anchors = certificates(claims, "anchors", MAX_ANCHORS, limits)?;
    if anchors.is_empty() {
        return Err(BundleError::NoAnchor);
    }
    let mut seen = Vec::new();
    for anchor in &anchors {
        if let Some(fault) = anchor.anchor_fault() {
            return Err(BundleError::Anchor(anchor.thumbprint(), fault));
        }
        if seen.contains(&anchor.thumbprint()) {
            return Err(BundleError::Member("anchors"));
        }
        seen.push(anchor.thumbprint());
    }
    let intermediates = certificates(claims, "intermediates", MAX_INTERMEDIATES, limits)?;
    if !intermediates.iter().all(Certificate::is_ca) {
        return Err(BundleError::Certificate("intermediates"));
    }
    let uris = |name| texts(claims, name, &|text| is_absolute_uri(text));
    let words = |name| texts(claims, name, &|text| is_plain_text(text, MAX_CHARS));
    Ok(Bundle {
        community,
        sequence,
        issued: date(claims, "iat")?,
        not_before: date(claims, "nbf")?,
        expires: date(claims, "exp")?,
        anchors,
        intermediates,
        revocation: revocation(claims)?,
        purposes: words("purposes")?,
        organization_schemes: words("organization_schemes")?,
        certifications: uris("certifications_required")?,
        certifiers: match claims.get("certifiers") {
            None => Vec::new(),
            Some(_) => uris("certifiers")?,
        },
        value_sets: value_sets(claims)?,
    })
}

/// `value_sets`, and each of its members, may be left out.
fn value_sets(claims: &Map<String, Value>) -> Result<ValueSets, BundleError> {
    const NAME: &str = "value_sets";
    let sets = match claims.get(NAME) {
        None => return Ok(ValueSets::default()),
        Some(Value::Object(sets)) => sets,
        Some(_) => return Err(BundleError::Member(NAME)),
    };
    let read = |name, sound: &dyn Fn(&str) -> bool| match sets.get(name) {
        None => Ok(Vec::new()),
        Some(_) => texts(sets, name, sound).map_err(|_| BundleError::Member(NAME)),
    };
    let plain = |text: &str| is_plain_text(text, MAX_CHARS);
    Ok(ValueSets {
        subject_id_systems: read("subject_id_systems", &|text| is_absolute_uri(text))?,
        subject_roles: read("subject_roles", &plain)?,
        consent_policies: read("consent_policies", &|text| is_absolute_uri(text))?,
        scopes: read("scopes", &|text| plain(text) && !text.contains(' '))?,
    })
}

/// `crit`: what a reader must understand or refuse the whole (after RFC 7515 §4.1.11).
fn critical(claims: &Map<String, Value>) -> Result<(), BundleError> {
    let Some(names) = claims.get("crit") else { return Ok(()) };
    let names = names.as_array().ok_or(BundleError::Member("crit"))?;
    for name in names {
        let name = name.as_str().ok_or(BundleError::Member("crit"))?;
        if !KNOWN.contains(&name) {
            return Err(BundleError::Critical);
        }
    }
    Ok(())
}

fn date(claims: &Map<String, Value>, name: &'static str) -> Result<Timestamp, BundleError> {
    crate::claims::date(claims, name).ok_or(BundleError::Member(name))
}

fn array<'a>(
    claims: &'a Map<String, Value>,
    name: &'static str,
    most: usize,
) -> Result<&'a [Value], BundleError> {
    claims
        .get(name)
        .and_then(Value::as_array)
        .filter(|entries| entries.len() <= most)
        .map(Vec::as_slice)
        .ok_or(BundleError::Member(name))
}

fn certificates(
    claims: &Map<String, Value>,
    name: &'static str,
    most: usize,
    limits: &Limits,
) -> Result<Vec<Certificate>, BundleError> {
    array(claims, name, most)?
        .iter()
        .map(|entry| {
            let der = entry.as_str().and_then(|text| STANDARD.decode(text).ok());
            der.filter(|der| der.len() <= limits.certificate_bytes)
                .and_then(|der| Certificate::from_der(&der).ok())
                .ok_or(BundleError::Certificate(name))
        })
        .collect()
}

fn texts(
    claims: &Map<String, Value>,
    name: &'static str,
    sound: &dyn Fn(&str) -> bool,
) -> Result<Vec<String>, BundleError> {
    array(claims, name, MAX_ENTRIES)?
        .iter()
        .map(|entry| {
            let text = entry.as_str().filter(|text| text.len() <= MAX_CHARS && sound(text));
            text.map(str::to_owned).ok_or(BundleError::Member(name))
        })
        .collect()
}

fn revocation(claims: &Map<String, Value>) -> Result<Vec<Places>, BundleError> {
    const NAME: &str = "revocation";
    let url = |text: &str| {
        let web = text.starts_with("http://") || text.starts_with("https://");
        web && is_absolute_uri(text)
    };
    array(claims, NAME, MAX_ENTRIES)?
        .iter()
        .map(|entry| {
            let entry = entry.as_object().ok_or(BundleError::Member(NAME))?;
            let issuer = entry.get("issuer").and_then(Value::as_str).and_then(crypto::unhex::<32>);
            let urls = |name| texts(entry, name, &url).map_err(|_| BundleError::Member(NAME));
            Ok(Places {
                issuer: Thumbprint(issuer.ok_or(BundleError::Member(NAME))?),
                crl: urls("crl")?,
                ocsp: urls("ocsp")?,
            })
        })
        .collect()
}

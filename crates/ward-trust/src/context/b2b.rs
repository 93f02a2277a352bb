//! `hl7-b2b`: who asks, and why (IG §5.2.1.1; B2B-01..B2B-13, B01..B28 as amended).

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};
use ward_core::{OrganizationUri, Purpose};

use super::tefca::ExchangePurpose;
use super::{B2bError, MAX_ENTRIES, consents, fault, objects};
use crate::uri::is_plain_text;
use crate::{Community, Profile};

/// Characters of a name, role or identifier.
const MAX_TEXT: usize = 512;
/// National Provider Identifier, as B2B-05 writes it.
const NPI: &str = "urn:oid:2.16.840.1.113883.4.6#";

/// The B2B authorization extension object (IG §5.2.1.1), version 1. Unknown members are ignored (B27).
#[derive(Clone, PartialEq, Eq)]
pub struct Hl7B2b {
    /// Name of the human requestor.
    pub subject_name: Option<String>,
    /// Identifier of the human requestor; accepted without a name too (amendment to B17).
    pub subject_id: Option<String>,
    /// Role of the human requestor.
    pub subject_role: Option<String>,
    /// The organisation that asks. Whether the client may speak for it is recorded, not known here (B2B-18).
    pub organization_id: OrganizationUri,
    /// Its name.
    pub organization_name: Option<String>,
    /// Why it asks: at least one, none twice, in the order given.
    pub purposes: Vec<Purpose>,
    /// Policies under which consent was given: absolute URIs.
    pub consent_policy: Vec<String>,
    /// Where the consent can be read: absolute http(s) URLs. Never fetched here (B23).
    pub consent_reference: Vec<String>,
}

impl Hl7B2b {
    /// From the `extensions` claim, by the rules of the community. `None`: the claim is missing (B01).
    pub fn parse(extensions: Option<&Value>, community: &Community) -> Result<Self, B2bError> {
        read(objects(extensions)?, community).map(|(object, _)| object)
    }

    /// The value of the `extensions` claim for a client: `{"hl7-b2b": {…}}`.
    pub fn to_extensions(&self) -> Value {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| {
            object.insert(name.to_owned(), value);
        };
        put("version", json!("1"));
        for (name, value) in [
            ("subject_name", &self.subject_name),
            ("subject_id", &self.subject_id),
            ("subject_role", &self.subject_role),
            ("organization_name", &self.organization_name),
        ] {
            if let Some(value) = value {
                put(name, json!(value));
            }
        }
        put("organization_id", json!(self.organization_id));
        let purposes: Vec<_> = self.purposes.iter().map(|purpose| purpose.uri()).collect();
        put("purpose_of_use", json!(purposes));
        for (name, values) in [
            ("consent_policy", &self.consent_policy),
            ("consent_reference", &self.consent_reference),
        ] {
            if !values.is_empty() {
                put(name, json!(values));
            }
        }
        json!({ "hl7-b2b": object })
    }
}

impl fmt::Debug for Hl7B2b {
    /// Without the human requestor and the consents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hl7B2b")
            .field("organization_id", &self.organization_id)
            .field("purposes", &self.purposes)
            .finish_non_exhaustive()
    }
}

/// `hl7-b2b` among the extension objects, and its purpose in TEFCA's code in a community of that profile.
pub(super) fn read(
    objects: &Map<String, Value>,
    community: &Community,
) -> Result<(Hl7B2b, Option<ExchangePurpose>), B2bError> {
    let rules = &community.context;
    let object = objects
        .get("hl7-b2b")
        .and_then(Value::as_object)
        .ok_or(fault("B03", "hl7-b2b is missing or no object"))?;
    if object.get("version").and_then(Value::as_str) != Some("1") {
        return Err(fault("B04", "version is not \"1\""));
    }
    let subject_id = text(object, "subject_id")?;
    let subject_role = text(object, "subject_role")?;
    if let Some(id) = &subject_id {
        if id.strip_prefix(NPI).is_some_and(|npi| !is_npi(npi)) {
            return Err(fault("B19", "subject_id is not a National Provider Identifier"));
        }
        if !rules.admits_subject(id) {
            return Err(fault("B18", "subject_id is of a naming system that is not accepted"));
        }
    }
    if subject_role.as_deref().is_some_and(|role| !rules.admits_role(role)) {
        return Err(fault("B20", "subject_role is not in the value set"));
    }
    let (consent_policy, consent_reference) = consents(object, rules)?;
    let subject_name = text(object, "subject_name")?;
    let organization_id = organization(object, community)?;
    let organization_name = text(object, "organization_name")?;
    let (purposes, exchange_purpose) = purposes(object, community)?;
    let object = Hl7B2b {
        subject_name,
        subject_id,
        subject_role,
        organization_id,
        organization_name,
        purposes,
        consent_policy,
        consent_reference,
    };
    Ok((object, exchange_purpose))
}

/// An optional string (B2B-04..B2B-07).
fn text(object: &Map<String, Value>, name: &str) -> Result<Option<String>, B2bError> {
    let Some(value) = object.get(name) else { return Ok(None) };
    let rule = match name {
        "subject_name" => "B2B-04",
        "subject_id" => "B2B-05",
        "subject_role" => "B2B-06",
        _ => "B2B-07",
    };
    value
        .as_str()
        .filter(|text| is_plain_text(text, MAX_TEXT))
        .map(|text| Some(text.to_owned()))
        .ok_or(fault(rule, "a member of hl7-b2b is malformed"))
}

/// B05..B07.
fn organization(
    object: &Map<String, Value>,
    community: &Community,
) -> Result<OrganizationUri, B2bError> {
    let value = object.get("organization_id").ok_or(fault("B05", "organization_id is missing"))?;
    let organization = value
        .as_str()
        .and_then(|text| OrganizationUri::parse(text).ok())
        .ok_or(fault("B06", "organization_id is not a URI"))?;
    let mut schemes = community.organization_schemes.iter();
    if !schemes.any(|scheme| organization.as_str().starts_with(scheme)) {
        return Err(fault("B07", "organization_id is of a kind that is not accepted"));
    }
    Ok(organization)
}

/// B10..B16, TEF-05, TEF-06: none twice, in the order given.
pub(super) fn purposes(
    object: &Map<String, Value>,
    community: &Community,
) -> Result<(Vec<Purpose>, Option<ExchangePurpose>), B2bError> {
    let value = object.get("purpose_of_use").ok_or(fault("B10", "purpose_of_use is missing"))?;
    let values = value.as_array().ok_or(fault("B12", "purpose_of_use is not an array"))?;
    if values.is_empty() {
        return Err(fault("B11", "purpose_of_use is empty"));
    }
    let tefca = community.profile == Profile::Tefca;
    let most = if tefca { 1 } else { community.max_purposes.unwrap_or(MAX_ENTRIES) };
    if values.len() > most {
        return Err(fault("B16", "purpose_of_use has too many values"));
    }
    let (mut seen, mut purposes, mut exchange) = (BTreeSet::new(), Vec::new(), None);
    for value in values {
        let text =
            value.as_str().ok_or(fault("B13", "purpose_of_use has a value of wrong type"))?;
        let purpose = if tefca {
            let code = ExchangePurpose::parse(text)
                .ok_or(fault("TEF-05", "purpose_of_use is no exchange purpose of TEFCA"))?;
            exchange = Some(code);
            code.purpose()
        } else {
            purpose(text, community.context.bare_purposes)?
        };
        if !community.purposes.contains(&purpose) {
            return Err(fault("B14", "purpose_of_use has a value that is not accepted"));
        }
        if seen.insert(purpose) {
            purposes.push(purpose);
        }
    }
    Ok((purposes, exchange))
}

/// A purpose of HL7 v3, as a URI or, where that is admitted, as a bare code (B15).
fn purpose(text: &str, bare: bool) -> Result<Purpose, B2bError> {
    let coded = Purpose::ALL.into_iter().find(|purpose| purpose.code() == text);
    match (Purpose::parse_uri(text), coded) {
        (Ok(purpose), _) => Ok(purpose),
        (Err(_), Some(purpose)) if bare => Ok(purpose),
        // A bare code is a common slip of honest clients: say so.
        (Err(_), Some(_)) => Err(fault("B15", "purpose_of_use has a bare code instead of a URI")),
        (Err(_), None) => Err(fault("B14", "purpose_of_use has a value that is not accepted")),
    }
}

/// Ten digits whose last one checks the others: Luhn over `80840` and the number (45 CFR 162.406).
pub(super) fn is_npi(text: &str) -> bool {
    if text.len() != 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let sum: u32 = "80840"
        .bytes()
        .chain(text.bytes())
        .rev()
        .zip([1_u32, 2].into_iter().cycle())
        .map(|(byte, factor)| {
            let product = u32::from(byte - b'0') * factor;
            product / 10 + product % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

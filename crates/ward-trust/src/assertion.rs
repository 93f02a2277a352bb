//! Authentication tokens (IG §4.2.1, §5.2; JCA §6; TOK-07, TOK-10..TOK-12, T09, T11, T16..T19) and the
//! `hl7-b2b` extension object in them (IG §5.2.1.1; B2B-01..B2B-13, B01..B28 as amended).
//!
//! Not checked here, for want of a store: that the client is registered and that a URI of the
//! certificate is the registration's (TOK-08), replay, and the path. Nothing that a consent reference
//! names is fetched.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};
use ward_core::{Limits, OrganizationUri, Purpose, Timestamp};

use crate::claims::{ClaimFault, envelope};
use crate::uri::{is_absolute_uri, is_plain_text};
use crate::{Community, Fault, JoseError, Verified};

/// Characters of a name, role or identifier.
const MAX_TEXT: usize = 512;
/// Entries of an array.
const MAX_ENTRIES: usize = 20;
/// National Provider Identifier, as B2B-05 writes it.
const NPI: &str = "urn:oid:2.16.840.1.113883.4.6#";

/// Why an authentication token is refused, by the wire code of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// `invalid_request`: JWS or signature (T09, T34; JCA §7.2, §8.1), or `resources` (B2B-20).
    #[error(transparent)]
    Request(Fault),
    /// `invalid_client`: claims or trust.
    #[error(transparent)]
    Client(Fault),
}

impl AssertionError {
    /// The error code of RFC 6749 §5.2.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Request(_) => "invalid_request",
            Self::Client(_) => "invalid_client",
        }
    }

    /// What was refused.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Request(fault) | Self::Client(fault) => *fault,
        }
    }
}

impl From<JoseError> for AssertionError {
    fn from(error: JoseError) -> Self {
        if error == JoseError::WeakKey {
            return Self::Client(Fault::new(error.rule(), "the certificate is not trusted"));
        }
        Self::Request(Fault::new(error.rule(), "the client assertion is not validly signed"))
    }
}

impl From<crate::PathError> for AssertionError {
    /// For errors of which [`crate::PathError::is_unavailable`] is false; the others are a 503.
    fn from(error: crate::PathError) -> Self {
        Self::Client(Fault::new(error.rule(), "the certificate is not trusted"))
    }
}

impl From<ClaimFault> for AssertionError {
    fn from(fault: ClaimFault) -> Self {
        let (rule, text) = match fault {
            ClaimFault::Issuer | ClaimFault::Subject => ("T11", "iss and sub are not one client"),
            ClaimFault::Audience => ("T16", "aud is not the token endpoint"),
            ClaimFault::Expiry => ("T17", "exp is missing or malformed"),
            ClaimFault::Expired => ("T17", "the client assertion has expired"),
            ClaimFault::Life => ("T17", "exp is more than five minutes after iat"),
            ClaimFault::Issued => ("T17", "iat is missing, malformed or in the future"),
            ClaimFault::NotBefore => ("T17", "nbf is in the future"),
            ClaimFault::Id => ("T18", "jti is missing or malformed"),
        };
        Self::Client(Fault::new(rule, text))
    }
}

/// An authentication token that is valid in itself.
#[derive(Clone, PartialEq)]
pub struct AuthenticationToken {
    /// `iss` and `sub`, as they stand: whether a client has that id, the caller finds out.
    pub client_id: String,
    /// Names the token; not to be seen twice (TOK-12).
    pub jti: String,
    /// When it was made.
    pub iat: Timestamp,
    /// When it ends.
    pub exp: Timestamp,
    /// The `extensions` claim, unread; see [`Hl7B2b::parse`].
    pub extensions: Option<Value>,
}

impl AuthenticationToken {
    /// Validates. `token_endpoint` exactly as published (TOK-10).
    pub fn validate(
        jws: &Verified,
        token_endpoint: &str,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Self, AssertionError> {
        let claims = jws.claims();
        let envelope = envelope(claims, Some(token_endpoint), limits.statement_life, now, limits)?;
        if claims.contains_key("resources") {
            let fault = Fault::new("B2B-20", "the resources claim is not supported");
            return Err(AssertionError::Request(fault));
        }
        Ok(Self {
            client_id: envelope.iss.to_owned(),
            jti: envelope.jti.to_owned(),
            iat: envelope.iat,
            exp: envelope.exp,
            extensions: claims.get("extensions").cloned(),
        })
    }
}

impl fmt::Debug for AuthenticationToken {
    /// Without the extensions, which may name persons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticationToken")
            .field("client_id", &self.client_id)
            .field("exp", &self.exp)
            .finish_non_exhaustive()
    }
}

/// Why `hl7-b2b` is refused: always `invalid_grant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct B2bError(pub Fault);

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
        let extensions = extensions.ok_or(fault("B01", "extensions is missing"))?;
        let extensions = extensions.as_object().ok_or(fault("B02", "extensions is no object"))?;
        let object = extensions
            .get("hl7-b2b")
            .and_then(Value::as_object)
            .ok_or(fault("B03", "hl7-b2b is missing or no object"))?;
        if object.get("version").and_then(Value::as_str) != Some("1") {
            return Err(fault("B04", "version is not \"1\""));
        }
        let subject_id = text(object, "subject_id")?;
        if let Some(npi) = subject_id.as_deref().and_then(|id| id.strip_prefix(NPI))
            && !is_npi(npi)
        {
            return Err(fault("B19", "subject_id is not a National Provider Identifier"));
        }
        let consent_policy = uris(object, "consent_policy", is_absolute_uri)?;
        let consent_reference = uris(object, "consent_reference", |uri| {
            is_absolute_uri(uri) && (uri.starts_with("https://") || uri.starts_with("http://"))
        })?;
        if consent_policy.is_empty() && !consent_reference.is_empty() {
            return Err(fault("B21", "consent_reference without consent_policy"));
        }
        Ok(Self {
            subject_name: text(object, "subject_name")?,
            subject_id,
            subject_role: text(object, "subject_role")?,
            organization_id: organization(object, community)?,
            organization_name: text(object, "organization_name")?,
            purposes: purposes(object, community)?,
            consent_policy,
            consent_reference,
        })
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

const fn fault(rule: &'static str, text: &'static str) -> B2bError {
    B2bError(Fault::new(rule, text))
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

/// B10..B16.
fn purposes(object: &Map<String, Value>, community: &Community) -> Result<Vec<Purpose>, B2bError> {
    let value = object.get("purpose_of_use").ok_or(fault("B10", "purpose_of_use is missing"))?;
    let values = value.as_array().ok_or(fault("B12", "purpose_of_use is not an array"))?;
    if values.is_empty() {
        return Err(fault("B11", "purpose_of_use is empty"));
    }
    let most = community.max_purposes.unwrap_or(MAX_ENTRIES);
    if values.len() > most {
        return Err(fault("B16", "purpose_of_use has too many values"));
    }
    let mut seen = BTreeSet::new();
    let mut purposes = Vec::new();
    for value in values {
        let text =
            value.as_str().ok_or(fault("B13", "purpose_of_use has a value of wrong type"))?;
        let purpose = Purpose::parse_uri(text).map_err(|_| {
            // A bare code is a common slip of honest clients: say so.
            let bare = Purpose::ALL.iter().any(|purpose| purpose.code() == text);
            if bare {
                fault("B15", "purpose_of_use has a bare code instead of a URI")
            } else {
                fault("B14", "purpose_of_use has a value that is not accepted")
            }
        })?;
        if !community.purposes.contains(&purpose) {
            return Err(fault("B14", "purpose_of_use has a value that is not accepted"));
        }
        if seen.insert(purpose) {
            purposes.push(purpose);
        }
    }
    Ok(purposes)
}

/// An optional array of 1 to 20 URIs (B2B-10, B2B-11, B22).
fn uris(
    object: &Map<String, Value>,
    name: &str,
    sound: fn(&str) -> bool,
) -> Result<Vec<String>, B2bError> {
    let rule = if name == "consent_policy" { "B2B-10" } else { "B22" };
    let wrong = fault(rule, "consent_policy or consent_reference is malformed");
    let Some(value) = object.get(name) else { return Ok(Vec::new()) };
    let values = value.as_array().ok_or(wrong)?;
    if values.is_empty() || values.len() > MAX_ENTRIES {
        return Err(wrong);
    }
    values
        .iter()
        .map(|value| value.as_str().filter(|uri| sound(uri)).map(str::to_owned).ok_or(wrong))
        .collect()
}

/// Ten digits whose last one checks the others: Luhn over `80840` and the number (45 CFR 162.406).
fn is_npi(text: &str) -> bool {
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

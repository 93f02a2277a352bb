//! What a client asserts of the context in which it asks: the authorization extension objects in the `extensions` claim
//! of an authentication token (IG §5.2.1.1; B2B-01..B2B-20, USR-01..USR-06, TEF-04..TEF-10, B01..B34 as amended).
//!
//! Refused, always as `invalid_grant`: objects that are missing where they are required, malformed, or outside of what
//! the community lets its members assert. Nothing that a reference names is fetched. Of persons only digests are kept.
//!
//! The TEFCA rows rest on third-party sources: **unverified**.

mod b2b;
mod identity;
mod person;
mod rules;
pub mod tefca;
mod user;

use serde_json::{Map, Value};
use ward_core::{Limits, Timestamp};

pub use b2b::Hl7B2b;
pub use identity::Keys;
pub use rules::{ConsentDemand, ContextRules, IdentityProvider, UserObject, ValueSets};
pub use tefca::{ExchangePurpose, TefcaIas};
pub use user::Hl7B2bUser;

use crate::uri::is_absolute_uri;
use crate::{Community, Fault, Profile};

/// Entries of an array.
const MAX_ENTRIES: usize = 20;
/// The rule of a demand for consent that is not met: the answer says what would meet it.
pub const CONSENT_NEEDED: &str = "TEF-08";

/// Why an authorization extension object is refused: always `invalid_grant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct B2bError(pub Fault);

/// What a client-credentials request asserts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Who asks, and why.
    pub b2b: Hl7B2b,
    /// The purpose in TEFCA's own code, in a community of that profile.
    pub exchange_purpose: Option<ExchangePurpose>,
    /// The person for whom the machine asks.
    pub user: Option<Hl7B2bUser>,
    /// The individual who asks for own data.
    pub ias: Option<TefcaIas>,
}

impl Context {
    /// From the `extensions` claim, by the rules of the community, of the client with this registered URI.
    pub fn parse(
        extensions: Option<&Value>,
        community: &Community,
        client_uri: &str,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Self, B2bError> {
        let objects = objects(extensions)?;
        let rules = &community.context;
        let known = community.extensions_supported();
        if rules.refuse_unknown && objects.keys().any(|name| !known.contains(&name.as_str())) {
            return Err(fault("B27", "an extension object is not known here"));
        }
        let (b2b, exchange_purpose) = b2b::read(objects, community)?;
        if community.profile == Profile::Tefca {
            tefca::check(objects, &b2b, exchange_purpose, client_uri)?;
        }
        if !rules.is_consented(&b2b.consent_policy) {
            return Err(fault(CONSENT_NEEDED, "a consent must be asserted"));
        }
        let user = match (rules.user, objects.get(user::NAME)) {
            (UserObject::Unknown, _) | (UserObject::Supported, None) => None,
            (UserObject::Required, None) => {
                return Err(fault("USR-01", "hl7-b2b-user is missing"));
            }
            (UserObject::Supported | UserObject::Required, Some(object)) => {
                Some(Hl7B2bUser::parse(object, &b2b, community)?)
            }
        };
        let ias = match exchange_purpose {
            Some(ExchangePurpose::IndividualAccess) => {
                Some(TefcaIas::parse(objects.get(tefca::IAS), community, now, limits)?)
            }
            _ => None,
        };
        Ok(Self { b2b, exchange_purpose, user, ias })
    }
}

/// The objects by their names.
fn objects(extensions: Option<&Value>) -> Result<&Map<String, Value>, B2bError> {
    let extensions = extensions.ok_or(fault("B01", "extensions is missing"))?;
    extensions.as_object().ok_or(fault("B02", "extensions is no object"))
}

const fn fault(rule: &'static str, text: &'static str) -> B2bError {
    B2bError(Fault::new(rule, text))
}

/// `consent_policy` and `consent_reference`, which goes with it (B2B-10, B2B-11, B21, B22, B26). Never fetched (B23).
fn consents(
    object: &Map<String, Value>,
    rules: &ContextRules,
) -> Result<(Vec<String>, Vec<String>), B2bError> {
    let policies = uris(object, "consent_policy", is_absolute_uri)?;
    let references = uris(object, "consent_reference", |uri| {
        is_absolute_uri(uri) && (uri.starts_with("https://") || uri.starts_with("http://"))
    })?;
    if policies.is_empty() && !references.is_empty() {
        return Err(fault("B21", "consent_reference without consent_policy"));
    }
    if !rules.admits_policies(&policies) {
        return Err(fault("B26", "consent_policy names a policy that is not accepted"));
    }
    Ok((policies, references))
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

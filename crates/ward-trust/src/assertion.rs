//! a
use serde_json::Value;
use ward_core::{Limits, OrganizationUri, Purpose, Timestamp};
use crate::{Community, Fault, JoseError, Verified};
/// Why an authentication token is refused, by the wire code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// `invalid_request`: JWS or signature (T09, T34; JCA §7.2).
    #[error(transparent)]
    Request(Fault),
    /// `invalid_client`: claims or trust.
    #[error(transparent)]
    Client(Fault),
}
impl AssertionError {
    /// The error code of RFC 6749 §5.2.
    pub const fn code(&self) -> &'static str { match self { Self::Request(_) => "invalid_request", Self::Client(_) => "invalid_client" } }
    /// What was refused.
    pub const fn fault(&self) -> Fault { match self { Self::Request(fault) | Self::Client(fault) => *fault } }
}
impl From<JoseError> for AssertionError { fn from(error: JoseError) -> Self { Self::Request(Fault { rule: error.rule(), text: "the client assertion is not valid" }) } }
/// A valid authentication token.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthenticationToken {
    /// `iss` and `sub`.
    pub client_id: String,
    /// d
    pub jti: String,
    /// d
    pub iat: Timestamp,
    /// d
    pub exp: Timestamp,
    /// The `extensions` claim as it stands.
    pub extensions: Option<Value>,
}
impl AuthenticationToken {
    /// Validates.
    pub fn validate(_jws: &Verified, _token_endpoint: &str, _now: Timestamp, _limits: &Limits) -> Result<Self, AssertionError> { Err(AssertionError::Client(Fault { rule: "", text: "" })) }
}
/// Why `hl7-b2b` is refused: always `invalid_grant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct B2bError(pub Fault);
/// The B2B authorization extension object (IG §5.2.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hl7B2b {
    /// d
    pub subject_name: Option<String>,
    /// d
    pub subject_id: Option<String>,
    /// d
    pub subject_role: Option<String>,
    /// d
    pub organization_id: OrganizationUri,
    /// d
    pub organization_name: Option<String>,
    /// d
    pub purposes: Vec<Purpose>,
    /// d
    pub consent_policy: Vec<String>,
    /// d
    pub consent_reference: Vec<String>,
}
impl Hl7B2b {
    /// From the `extensions` claim (`None`: missing, B01).
    pub fn parse(_extensions: Option<&Value>, _community: &Community) -> Result<Self, B2bError> { Err(B2bError(Fault { rule: "", text: "" })) }
    /// The value of the `extensions` claim, for a client: `{"hl7-b2b": {…}}`.
    pub fn to_extensions(&self) -> Value { Value::Null }
}

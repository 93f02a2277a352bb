//! s
use serde_json::{Map, Value};
use ward_core::{ClientUri, Limits, Timestamp};
use crate::{Fault, JoseError, Profile, Verified};
/// What a registration is for (REG-12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantTypes {
    /// The empty array: cancel the registration (MOD-07).
    Cancel,
    /// Client credentials.
    ClientCredentials,
    /// Authorization code.
    AuthorizationCode {
        /// Whether `refresh_token` stands beside it.
        refresh: bool,
    },
}
impl GrantTypes {
    /// The values as registered.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Self::Cancel => &[],
            Self::ClientCredentials => &["client_credentials"],
            Self::AuthorizationCode { refresh: false } => &["authorization_code"],
            Self::AuthorizationCode { refresh: true } => &["authorization_code", "refresh_token"],
        }
    }
}
/// Why a software statement is refused, by the wire code of the answer (udap.md §2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// `invalid_software_statement`: signature or JWT claims.
    #[error(transparent)]
    Statement(Fault),
    /// `unapproved_software_statement`: trust.
    #[error(transparent)]
    Unapproved(Fault),
    /// `invalid_client_metadata`: a registration parameter.
    #[error(transparent)]
    Metadata(Fault),
    /// `invalid_redirect_uri`.
    #[error(transparent)]
    RedirectUri(Fault),
}
impl StatementError {
    /// The error code of RFC 7591 §3.2.2.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Statement(_) => "invalid_software_statement",
            Self::Unapproved(_) => "unapproved_software_statement",
            Self::Metadata(_) => "invalid_client_metadata",
            Self::RedirectUri(_) => "invalid_redirect_uri",
        }
    }
    /// What was refused.
    pub const fn fault(&self) -> Fault {
        match self { Self::Statement(fault) | Self::Unapproved(fault) | Self::Metadata(fault) | Self::RedirectUri(fault) => *fault }
    }
}
impl From<JoseError> for StatementError { fn from(error: JoseError) -> Self { Self::Statement(Fault { rule: error.rule(), text: "the software statement is not valid" }) } }
/// A valid software statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoftwareStatement {
    /// The client's URI, an entry of its certificate's SAN.
    pub iss: ClientUri,
    /// Names the statement.
    pub jti: String,
    /// When made.
    pub iat: Timestamp,
    /// When it ends.
    pub exp: Timestamp,
    /// d
    pub client_name: String,
    /// d
    pub grant_types: GrantTypes,
    /// d
    pub redirect_uris: Vec<String>,
    /// d
    pub response_types: Vec<String>,
    /// d
    pub contacts: Vec<String>,
    /// d
    pub scope: Option<String>,
    /// d
    pub logo_uri: Option<String>,
    /// d
    pub client_uri: Option<String>,
}
impl SoftwareStatement {
    /// Validates (STU2).
    pub fn validate(jws: &Verified, registration_endpoint: &str, now: Timestamp, limits: &Limits) -> Result<Self, StatementError> { Self::validate_for(Profile::Stu2, jws, registration_endpoint, now, limits) }
    /// Validates under the edition of a community.
    pub fn validate_for(_profile: Profile, _jws: &Verified, _registration_endpoint: &str, _now: Timestamp, _limits: &Limits) -> Result<Self, StatementError> { Err(StatementError::Statement(Fault { rule: "", text: "" })) }
    /// The parameters as assigned, for the registration response (REG-22, REG-23).
    pub fn parameters(&self) -> Map<String, Value> { Map::new() }
}

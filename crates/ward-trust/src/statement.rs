//! Software statements (IG §3.1, DCR §3–§4; REG-06..REG-19, R25..R36, P02..P16).
//!
//! The JWT claims are checked before the registration parameters, so that each row of the tables in
//! udap.md §7.1 and §7.2 comes out with its wire code. The certificate's path is checked apart, by
//! [`crate::path`], after this: nothing is fetched for a statement that is void in itself. `logo_uri` is
//! never fetched (REG-17); `jwks` and top-level members of the request are never looked at (REG-03, REG-29).

use serde_json::{Map, Value, json};
use ward_core::{ClientUri, Limits, Timestamp};

use crate::claims::{ClaimFault, envelope, issuer};
use crate::uri::{HttpsUrl, is_absolute_uri, is_plain_text};
use crate::{Certificate, Fault, JoseError, Profile, Verified};

/// Entries of one array parameter (P08).
const MAX_ENTRIES: usize = 20;
/// `client_name`, characters (P02).
const MAX_NAME: usize = 256;
/// `scope`, bytes.
const MAX_SCOPE: usize = 16 * 1024;

/// What a registration is for (REG-12): exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantTypes {
    /// The empty array: cancel the registration (MOD-07, §8.11).
    Cancel,
    /// `client_credentials`.
    ClientCredentials,
    /// `authorization_code`.
    AuthorizationCode {
        /// Whether `refresh_token` stands beside it.
        refresh: bool,
    },
}

impl GrantTypes {
    /// The values of `grant_types`.
    pub const fn values(self) -> &'static [&'static str] {
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
    /// The error code of RFC 7591 §3.2.2 and DCR §5.2.
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
        match self {
            Self::Statement(fault)
            | Self::Unapproved(fault)
            | Self::Metadata(fault)
            | Self::RedirectUri(fault) => *fault,
        }
    }
}

impl From<JoseError> for StatementError {
    fn from(error: JoseError) -> Self {
        if error == JoseError::WeakKey {
            return Self::Unapproved(Fault::new(error.rule(), "the certificate is not trusted"));
        }
        Self::Statement(Fault::new(error.rule(), "the software statement is not validly signed"))
    }
}

impl From<crate::PathError> for StatementError {
    /// For errors of which [`crate::PathError::is_unavailable`] is false; the others are a 503.
    fn from(error: crate::PathError) -> Self {
        Self::Unapproved(Fault::new(error.rule(), "the certificate is not trusted"))
    }
}

impl From<ClaimFault> for StatementError {
    fn from(fault: ClaimFault) -> Self {
        let (rule, text) = match fault {
            ClaimFault::Issuer => ("R25", "iss is missing or malformed"),
            ClaimFault::Subject => ("R29", "sub is not iss"),
            ClaimFault::Audience => ("R30", "aud is not the registration endpoint"),
            ClaimFault::Expiry => ("R31", "exp is missing or malformed"),
            ClaimFault::Expired => ("R32", "the software statement has expired"),
            ClaimFault::Life => ("R33", "exp is more than five minutes after iat"),
            ClaimFault::Issued => ("R34", "iat is missing, malformed or in the future"),
            ClaimFault::NotBefore => ("R35", "nbf is in the future"),
            ClaimFault::Id => ("R36", "jti is missing or malformed"),
        };
        Self::Statement(Fault::new(rule, text))
    }
}

/// A software statement that is valid in itself. Its signer's path is checked apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoftwareStatement {
    /// The client's URI, an entry of its certificate's SAN.
    pub iss: ClientUri,
    /// Names the statement; not to be seen twice (REG-10).
    pub jti: String,
    /// When it was made.
    pub iat: Timestamp,
    /// When it ends.
    pub exp: Timestamp,
    /// Name to show to people; free of control characters.
    pub client_name: String,
    /// What the registration is for.
    pub grant_types: GrantTypes,
    /// Absolute https URLs; empty unless for the authorization code.
    pub redirect_uris: Vec<String>,
    /// Absolute URIs, at least one `mailto:`.
    pub contacts: Vec<String>,
    /// Scopes asked for, separated by single spaces. Empty only in a STU1 community.
    pub scope: String,
    /// Absolute https URL; present for the authorization code.
    pub logo_uri: Option<String>,
}

impl SoftwareStatement {
    /// Validates under STU2. `registration_endpoint` exactly as published (REG-08).
    pub fn validate(
        jws: &Verified,
        registration_endpoint: &str,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Self, StatementError> {
        Self::validate_for(Profile::Stu2, jws, registration_endpoint, now, limits)
    }

    /// Validates under the edition of a community.
    pub fn validate_for(
        profile: Profile,
        jws: &Verified,
        registration_endpoint: &str,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Self, StatementError> {
        Self::of_claims(profile, jws.claims(), jws.leaf(), registration_endpoint, now, limits)
    }

    /// The same for claims that somebody proved to be said of the client with this certificate, in whatever way (§8.20).
    pub fn of_claims(
        profile: Profile,
        claims: &Map<String, Value>,
        certificate: &Certificate,
        registration_endpoint: &str,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Self, StatementError> {
        let iss = issuer(claims)?;
        let uris = certificate.san_uris();
        if uris.is_empty() {
            // X38–X40: a certificate without any URI is a matter of trust, not of this statement.
            let fault = Fault::new("X38", "the certificate names no URI");
            return Err(StatementError::Unapproved(fault));
        }
        if !uris.iter().any(|uri| uri == iss) {
            let fault = Fault::new("R26", "iss is not a URI of the certificate");
            return Err(StatementError::Statement(fault));
        }
        let uri = ClientUri::parse(iss).map_err(|_| ClaimFault::Issuer)?;
        let life = limits.statement_life;
        let envelope = envelope(claims, Some(registration_endpoint), life, now, limits)?;

        let client_name = client_name(claims)?;
        let grant_types = grant_types(claims)?;
        let redirect_uris = redirect_uris(claims, grant_types)?;
        check_response_types(claims, grant_types)?;
        let contacts = contacts(claims)?;
        let logo_uri = logo_uri(claims, grant_types)?;
        if claims.get("token_endpoint_auth_method").and_then(Value::as_str)
            != Some("private_key_jwt")
        {
            return Err(metadata("P14", "token_endpoint_auth_method is not private_key_jwt"));
        }
        let scope = scope(claims, profile)?;
        Ok(Self {
            iss: uri,
            jti: envelope.jti.to_owned(),
            iat: envelope.iat,
            exp: envelope.exp,
            client_name,
            grant_types,
            redirect_uris,
            contacts,
            scope,
            logo_uri,
        })
    }

    /// The parameters as registered, for the response (REG-22): without what is empty and without
    /// the JWT's own claims (REG-23). `grant_types` stands even when empty (MOD-07). The issuer
    /// replaces `scope` by what it granted.
    pub fn parameters(&self) -> Map<String, Value> {
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| {
            members.insert(name.to_owned(), value);
        };
        put("client_name", json!(self.client_name));
        put("grant_types", json!(self.grant_types.values()));
        if let GrantTypes::AuthorizationCode { .. } = self.grant_types {
            put("redirect_uris", json!(self.redirect_uris));
            put("response_types", json!(["code"]));
        }
        put("contacts", json!(self.contacts));
        put("token_endpoint_auth_method", json!("private_key_jwt"));
        if !self.scope.is_empty() {
            put("scope", json!(self.scope));
        }
        if let Some(logo) = &self.logo_uri {
            put("logo_uri", json!(logo));
        }
        members
    }
}

const fn metadata(rule: &'static str, text: &'static str) -> StatementError {
    StatementError::Metadata(Fault::new(rule, text))
}

/// An array of 1 to 20 strings.
fn strings<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<Vec<&'a str>> {
    let entries = claims.get(name)?.as_array()?;
    if entries.is_empty() || entries.len() > MAX_ENTRIES {
        return None;
    }
    entries.iter().map(Value::as_str).collect()
}

/// P02, REG-11.
fn client_name(claims: &Map<String, Value>) -> Result<String, StatementError> {
    claims
        .get("client_name")
        .and_then(Value::as_str)
        .filter(|name| is_plain_text(name, MAX_NAME))
        .map(str::to_owned)
        .ok_or(metadata("P02", "client_name is missing or malformed"))
}

/// P03..P06, REG-12. Only the empty array cancels; an absent key does not.
fn grant_types(claims: &Map<String, Value>) -> Result<GrantTypes, StatementError> {
    let values = claims.get("grant_types").ok_or(metadata("P03", "grant_types is missing"))?;
    let values = values.as_array().ok_or(metadata("P06", "grant_types is not an array"))?;
    let unknown = metadata("P06", "grant_types has an unknown or repeated value");
    let (mut code, mut credentials, mut refresh) = (0, 0, 0);
    for value in values {
        match value.as_str() {
            Some("authorization_code") => code += 1,
            Some("client_credentials") => credentials += 1,
            Some("refresh_token") => refresh += 1,
            _ => return Err(unknown),
        }
    }
    match (code, credentials, refresh) {
        (0, 0, 0) => Ok(GrantTypes::Cancel),
        (0, 1, 0) => Ok(GrantTypes::ClientCredentials),
        (1, 0, 0 | 1) => Ok(GrantTypes::AuthorizationCode { refresh: refresh == 1 }),
        (1, 1, _) => Err(metadata("P04", "grant_types has both kinds of grant")),
        (0, _, 1) => Err(metadata("P05", "refresh_token needs authorization_code")),
        _ => Err(unknown),
    }
}

/// P07..P09, REG-13. In a cancelling statement they are not looked at (§8.11).
fn redirect_uris(
    claims: &Map<String, Value>,
    grants: GrantTypes,
) -> Result<Vec<String>, StatementError> {
    match grants {
        GrantTypes::ClientCredentials if claims.contains_key("redirect_uris") => {
            Err(metadata("P09", "redirect_uris with client_credentials"))
        }
        GrantTypes::Cancel | GrantTypes::ClientCredentials => Ok(Vec::new()),
        GrantTypes::AuthorizationCode { .. } => {
            let missing = Fault::new("P07", "redirect_uris is missing or malformed");
            let uris =
                strings(claims, "redirect_uris").ok_or(StatementError::RedirectUri(missing))?;
            let sound = |uri: &&str| {
                !uri.contains('*')
                    && HttpsUrl::parse(uri)
                        .is_some_and(|url| !url.has_fragment && !url.is_loopback())
            };
            if !uris.iter().all(sound) {
                let fault = Fault::new("P08", "a redirect URI is not acceptable");
                return Err(StatementError::RedirectUri(fault));
            }
            Ok(uris.into_iter().map(str::to_owned).collect())
        }
    }
}

/// P10, REG-14.
fn check_response_types(
    claims: &Map<String, Value>,
    grants: GrantTypes,
) -> Result<(), StatementError> {
    let given = claims.get("response_types");
    let sound = match grants {
        GrantTypes::Cancel => true,
        GrantTypes::ClientCredentials => given.is_none(),
        GrantTypes::AuthorizationCode { .. } => given == Some(&json!(["code"])),
    };
    if sound { Ok(()) } else { Err(metadata("P10", "response_types does not fit grant_types")) }
}

/// P11, REG-15: URIs, at least one of them a mail address.
fn contacts(claims: &Map<String, Value>) -> Result<Vec<String>, StatementError> {
    let fault = metadata("P11", "contacts has no mailto URI or is malformed");
    let contacts = strings(claims, "contacts").ok_or(fault)?;
    let mail = |uri: &&str| {
        uri.strip_prefix("mailto:").is_some_and(|rest| {
            let address = rest.split('?').next().unwrap_or("");
            address.split_once('@').is_some_and(|(local, domain)| {
                !local.is_empty() && !domain.is_empty() && !domain.contains('@')
            })
        })
    };
    if !contacts.iter().all(|uri| is_absolute_uri(uri)) || !contacts.iter().any(mail) {
        return Err(fault);
    }
    Ok(contacts.into_iter().map(str::to_owned).collect())
}

/// P12, REG-16 as amended: the image must be PNG, JPEG or GIF, whatever its name; a name that says it
/// is some other kind of image is refused.
fn logo_uri(
    claims: &Map<String, Value>,
    grants: GrantTypes,
) -> Result<Option<String>, StatementError> {
    const OTHER_KINDS: [&str; 9] =
        ["svg", "svgz", "webp", "bmp", "ico", "tif", "tiff", "avif", "pdf"];
    let fault = metadata("P12", "logo_uri is missing or not an https URL of a PNG, JPG or GIF");
    let Some(given) = claims.get("logo_uri") else {
        let needed = matches!(grants, GrantTypes::AuthorizationCode { .. });
        return if needed { Err(fault) } else { Ok(None) };
    };
    let text = given.as_str().ok_or(fault)?;
    let url = HttpsUrl::parse(text).ok_or(fault)?;
    let name = url.path.rsplit('/').next().unwrap_or("");
    let other = name
        .rsplit_once('.')
        .is_some_and(|(_, kind)| OTHER_KINDS.iter().any(|other| kind.eq_ignore_ascii_case(other)));
    if other { Err(fault) } else { Ok(Some(text.to_owned())) }
}

/// P15, REG-19: tokens of RFC 6749 §3.3, separated by single spaces.
fn scope(claims: &Map<String, Value>, profile: Profile) -> Result<String, StatementError> {
    let fault = metadata("P15", "scope is missing or malformed");
    let Some(given) = claims.get("scope") else {
        return if profile.scope_is_optional() { Ok(String::new()) } else { Err(fault) };
    };
    let text = given.as_str().filter(|text| text.len() <= MAX_SCOPE).ok_or(fault)?;
    let token = |token: &str| {
        !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
    };
    if text.split(' ').all(token) { Ok(text.to_owned()) } else { Err(fault) }
}

//! Who asks: the principal of one request, the grant that it acts under, and what can be revoked.
//!
//! Identity comes from the token alone, never from a header (I7, A24). Revoking is one write per
//! [`Subject`], whatever hangs on it (house §4).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ward_core::{
    Actor, ClientId, ClientUri, CommunityUri, GrantId, IdError, OrganizationUri, Purpose, TenantId,
    Thumbprint, Timestamp, TokenId,
};
use ward_fhir::ScopeSet;

/// Who makes a request, as proven by its token: sealed, unexpired, unrevoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The tenant that the token was issued for.
    pub tenant: TenantId,
    /// The registered client.
    pub client: ClientId,
    /// Its URI, as its certificate proves it. With the community it says who may speak for an organisation.
    pub client_uri: ClientUri,
    /// The grant that the token hangs on.
    pub grant: GrantId,
    /// The token itself.
    pub token: TokenId,
    /// The trust community that the client came through.
    pub community: CommunityUri,
    /// The organisation that asks (`organization_id` of `hl7-b2b`). Asserted by the client: only a
    /// roster that is bound to the client makes it count.
    pub organization: OrganizationUri,
    /// Why it asks; all of them must be covered.
    pub purposes: Vec<Purpose>,
    /// What this token may do: the subset of the grant's scopes that it carries.
    pub scopes: ScopeSet,
}

impl Principal {
    /// The actor of events about this principal.
    pub fn actor(&self) -> Actor {
        Actor {
            client: Some(self.client),
            grant: Some(self.grant),
            token: Some(self.token),
            community: Some(self.community.clone()),
            operator: None,
        }
    }
}

/// What a client was allowed at one token request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// Whose.
    pub tenant: TenantId,
    /// The registered client.
    pub client: ClientId,
    /// Its URI, as its certificate proved it.
    pub client_uri: ClientUri,
    /// The trust community that the client came through.
    pub community: CommunityUri,
    /// The organisation that asks.
    pub organization: OrganizationUri,
    /// Why it asks.
    pub purposes: Vec<Purpose>,
    /// What it may do.
    #[serde(with = "scope_text")]
    pub scopes: ScopeSet,
    /// The certificate that signed the authentication token.
    pub certificate: Thumbprint,
    /// When it was made.
    pub issued: Timestamp,
    /// When it ends at the latest.
    pub expires: Timestamp,
    /// What must stay unrevoked for it to live, each with its epoch when the grant was made.
    pub hangs_on: Vec<(Subject, u64)>,
}

/// Why a text is not a [`Subject`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// No such kind of subject.
    #[error(
        "a subject is written grant:, token:, client:, certificate:, certification: or community: and its id"
    )]
    Kind,
    /// The id is not well-formed.
    #[error(transparent)]
    Id(#[from] IdError),
}

/// What can be revoked. Each subject has an epoch; revoking bumps it, and every grant that noted an
/// earlier epoch of it is dead.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Subject {
    /// One grant, with all its tokens.
    Grant(GrantId),
    /// One token.
    Token(TokenId),
    /// One client, with all its grants.
    Client(ClientId),
    /// One certificate, with all grants that it signed for.
    Certificate(Thumbprint),
    /// One certification, by `ward_trust::Certification::id`, with all grants that rest on it (CRT-16).
    Certification(Thumbprint),
    /// A whole trust community.
    Community(CommunityUri),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant(id) => write!(f, "grant:{id}"),
            Self::Token(id) => write!(f, "token:{id}"),
            Self::Client(id) => write!(f, "client:{id}"),
            Self::Certificate(thumbprint) => write!(f, "certificate:{thumbprint}"),
            Self::Certification(id) => write!(f, "certification:{id}"),
            Self::Community(uri) => write!(f, "community:{uri}"),
        }
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let (kind, id) = text.split_once(':').ok_or(SubjectError::Kind)?;
        Ok(match kind {
            "grant" => Self::Grant(GrantId::parse(id)?),
            "token" => Self::Token(TokenId::parse(id)?),
            "client" => Self::Client(ClientId::parse(id)?),
            "certificate" => Self::Certificate(Thumbprint::parse(id)?),
            "certification" => Self::Certification(Thumbprint::parse(id)?),
            "community" => Self::Community(CommunityUri::parse(id)?),
            _ => return Err(SubjectError::Kind),
        })
    }
}

impl TryFrom<String> for Subject {
    type Error = SubjectError;

    fn try_from(text: String) -> Result<Self, SubjectError> {
        text.parse()
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.to_string()
    }
}

/// Whether scopes `after` allow less than `before`: tokens of the wider set must end (MOD-10).
pub fn scopes_shrink(before: &str, after: &str) -> bool {
    !ScopeSet::parse(after).0.contains(&ScopeSet::parse(before).0)
}

/// Scopes are stored as their canonical text, in which one set has one spelling.
mod scope_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use ward_fhir::ScopeSet;

    pub(super) fn serialize<S: Serializer>(scopes: &ScopeSet, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(scopes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ScopeSet, D::Error> {
        let text = String::deserialize(from)?;
        let (scopes, rejected) = ScopeSet::parse(&text);
        if rejected.is_empty() { Ok(scopes) } else { Err(D::Error::custom("unknown scope")) }
    }
}

//! Typed identifiers: parsed once at the edge, then carried as types.
//!
//! Ward's own ids are version-7 UUIDs (RFC 9562 §5.7) made from the injected clock and randomness.
//! Names that come from outside (tenant, FHIR id, URIs) refuse what their grammar does not allow.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Clock, Rng};

/// Why a word is not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Characters or length outside the grammar of the identifier.
    #[error("not a well-formed {0}")]
    Malformed(&'static str),
}

macro_rules! own_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id from the given clock and randomness.
            pub fn new(clock: &dyn Clock, rng: &dyn Rng) -> Self {
                let mut random = [0_u8; 10];
                rng.fill(&mut random);
                let millis = u64::try_from(clock.now().as_millis()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }

            /// Parses the hyphenated lower-case form only, so that one id has one spelling.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let id = Uuid::try_parse(text).map_err(|_| IdError::Malformed($what))?;
                if id.hyphenated().to_string() == text {
                    Ok(Self(id))
                } else {
                    Err(IdError::Malformed($what))
                }
            }

            /// From its sixteen bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// Its sixteen bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.hyphenated())
            }
        }
    };
}

own_id!(/** A registered client, the `client_id` of RFC 7591. */ ClientId, "client id");
own_id!(/** What a client was allowed at one token request; revoking it ends all its tokens. */ GrantId, "grant id");
own_id!(/** One access token. */ TokenId, "token id");
own_id!(/** One incident. */ IncidentId, "incident id");
own_id!(/** One exchange with a caller; sent back as `X-Correlation-Id`. */ CorrelationId, "correlation id");
own_id!(/** One node, and the origin of its log. */ NodeId, "node id");

own_id!(/** One operator; names the key that is presented. */ OperatorId, "operator id");
own_id!(/** One act that waits for a second person. */ ApprovalId, "approval id");

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the word, or says that it is malformed.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let well_formed: fn(&str) -> bool = $check;
                if well_formed(text) { Ok(Self(text.into())) } else { Err(IdError::Malformed($what)) }
            }

            /// The word as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        /// Ordered, compared and hashed as its text, so that sets are asked without making a new word.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &*self.0)
            }
        }
    };
}

word!(
    /// One tenant: 1 to 32 of `a-z 0-9 -`, not starting with a hyphen. Part of every key, AAD,
    /// event and URL.
    TenantId,
    "tenant id",
    |text| {
        (1..=32).contains(&text.len())
            && !text.starts_with('-')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    }
);

word!(
    /// Ward's own name for an operator, as it stands in the log: 1 to 32 of `a-z 0-9 - .`, starting with
    /// a letter. No personal name needed. `ward-…` is Ward itself and nobody else.
    OperatorName,
    "operator name (1 to 32 of a-z 0-9 - . starting with a letter; not `ward-`)",
    |text| {
        (1..=32).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.starts_with("ward-")
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
    }
);

word!(
    /// The logical id of a `Patient` at the upstream: 1 to 64 of `A-Z a-z 0-9 - .` (FHIR `id`).
    PatientId,
    "FHIR id",
    |text| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
    }
);

word!(
    /// The URI that names a trust community (IG §2.4). Compared as an exact string (IG §7.1.5).
    CommunityUri,
    "community URI",
    is_uri
);
word!(
    /// The URI of a client application, a SAN entry of its certificate (IG §3.1). Exact string.
    ClientUri,
    "client URI",
    is_uri
);
word!(
    /// `organization_id` of `hl7-b2b` (IG §5.2.1.1). Exact string.
    OrganizationUri,
    "organization URI",
    is_uri
);

impl TenantId {
    /// The one tenant of a single-tenant deployment.
    pub fn default_tenant() -> Self {
        Self("default".into())
    }
}

/// An absolute URI of at most 512 visible ASCII characters: a scheme, a colon, something after it.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    text.len() <= 512
        && !rest.is_empty()
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        && rest.bytes().all(|b| {
            b.is_ascii_graphic()
                && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
        })
}

/// SHA-256 of a certificate's DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Thumbprint(pub [u8; 32]);

impl Thumbprint {
    /// Parses 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        crate::crypto::unhex(text).map(Self).ok_or(IdError::Malformed("certificate thumbprint"))
    }
}

impl TryFrom<String> for Thumbprint {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<Thumbprint> for String {
    fn from(thumbprint: Thumbprint) -> Self {
        thumbprint.to_string()
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::crypto::hex(&self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}

/// The FHIR version that a request speaks; tables differ (R4 rows on an R5 server are wrong both ways).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FhirVersion {
    /// FHIR 4.0.1.
    R4,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, SeededRng};

    #[test]
    fn own_ids_have_one_spelling() {
        let id = ClientId::new(&ManualClock::at_unix_seconds(1_800_000_000), &SeededRng::new(1));
        assert_eq!(ClientId::parse(&id.to_string()), Ok(id));
        assert!(ClientId::parse(&id.to_string().to_uppercase()).is_err());
        assert!(ClientId::parse(&id.to_string().replace('-', "")).is_err());
    }

    #[test]
    fn words_refuse_what_their_grammar_does_not_allow() {
        for bad in ["", "-a", "A", "a/b", "a b", &"x".repeat(33)] {
            assert!(TenantId::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a/b", "a%20", "../x", &"x".repeat(65)] {
            assert!(PatientId::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "no-scheme", "https:", "1a:x", "urn:a b", "urn:\u{e9}", "urn:x\0"] {
            assert!(CommunityUri::parse(bad).is_err(), "{bad:?}");
        }
        assert!(CommunityUri::parse("urn:oid:2.16.840.1.113883.3.7204.1.5").is_ok());
    }
}

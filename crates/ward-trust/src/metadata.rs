//! Server metadata as a server makes and signs them (IG §2.2, §2.3; DSC-05..DSC-24, SMD-01..SMD-11).
//! Refuses to sign what would be wrong. The client's side is [`crate::discovery`].

use std::time::Duration;

use serde_json::json;
use ward_core::Timestamp;

pub use crate::discovery::{Discovered, Found, Unproven, validate};
use crate::uri::HttpsUrl;
use crate::{Alg, Fault, JoseError, KeyKind, PathError, SigningIdentity};

/// Longest life of our own.
const YEAR: Duration = Duration::from_hours(24 * 365);

/// Why metadata are refused; nothing may be sent then (CLI-06).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// A rule of §2.1, §2.2 or §7.9.
    #[error(transparent)]
    Refused(Fault),
    /// The signed part is not a valid JWS (M01, M02).
    #[error(transparent)]
    Jws(#[from] JoseError),
    /// The signer is not trusted (M10, M20).
    #[error(transparent)]
    Path(#[from] PathError),
}

impl MetadataError {
    /// Id of the rule.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Refused(fault) => fault.rule,
            Self::Jws(
                JoseError::Algorithm
                | JoseError::AlgorithmCase
                | JoseError::AlgorithmMissing
                | JoseError::Symmetric
                | JoseError::Unsigned
                | JoseError::KeyMismatch,
            ) => "M02",
            Self::Jws(JoseError::Duplicate) => "M19",
            Self::Jws(_) => "M01",
            Self::Path(_) => "M10",
        }
    }
}

pub(crate) const fn refused(rule: &'static str, text: &'static str) -> MetadataError {
    MetadataError::Refused(Fault::new(rule, text))
}

/// What a server says of itself (udap.md §2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The FHIR base URL: `iss` of the signed part and a SAN URI of the certificate.
    pub base_url: String,
    /// Absolute URL.
    pub registration_endpoint: String,
    /// Absolute URL.
    pub token_endpoint: String,
    /// Absolute URL; present iff `authorization_code` is among the grants (DSC-16).
    pub authorization_endpoint: Option<String>,
    /// `authorization_code`, `client_credentials`, `refresh_token` (DSC-14).
    pub grant_types: Vec<String>,
    /// Every scope that can be granted, wildcards included (DSC-15).
    pub scopes: Vec<String>,
    /// `hl7-b2b` and others (DSC-09).
    pub extensions_supported: Vec<String>,
    /// Subset of the supported ones (DSC-10).
    pub extensions_required: Vec<String>,
    /// URIs (DSC-12).
    pub certifications_supported: Vec<String>,
    /// Subset of the supported ones (DSC-13).
    pub certifications_required: Vec<String>,
    /// Accepted for authentication tokens and software statements; RS256 among them (DSC-19, DSC-21).
    pub algs: Vec<Alg>,
}

/// Signed metadata and when they end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedMetadata {
    /// Compact JWS.
    pub jws: String,
    /// When it ends; sign anew well before (SMD-10).
    pub exp: Timestamp,
}

impl Metadata {
    fn grants(&self, grant: &str) -> bool {
        self.grant_types.iter().any(|one| one == grant)
    }

    /// Refuses what a server must not say of itself. For start-up: a wrong configuration fails loudly.
    pub fn check(&self) -> Result<(), MetadataError> {
        let subset = |part: &[String], whole: &[String]| part.iter().all(|one| whole.contains(one));
        let known = ["authorization_code", "client_credentials", "refresh_token"];
        let (code, credentials) =
            (self.grants("authorization_code"), self.grants("client_credentials"));
        let urls = [&self.base_url, &self.registration_endpoint, &self.token_endpoint];
        let rules = [
            (
                urls.iter().all(|url| HttpsUrl::parse(url).is_some()),
                "DSC-17",
                "an endpoint is not an absolute https URL",
            ),
            (code || credentials, "DSC-14", "no grant type"),
            (
                self.grant_types.iter().all(|one| known.contains(&one.as_str())),
                "DSC-14",
                "an unknown grant type",
            ),
            (
                code || !self.grants("refresh_token"),
                "DSC-14",
                "refresh_token without authorization_code",
            ),
            (
                code == self.authorization_endpoint.is_some(),
                "DSC-16",
                "the authorization endpoint does not fit the grant types",
            ),
            (
                self.authorization_endpoint.iter().all(|url| HttpsUrl::parse(url).is_some()),
                "DSC-16",
                "the authorization endpoint is not an absolute https URL",
            ),
            (
                !credentials || self.extensions_supported.iter().any(|one| one == "hl7-b2b"),
                "DSC-09",
                "client_credentials without hl7-b2b",
            ),
            (
                subset(&self.extensions_required, &self.extensions_supported),
                "DSC-10",
                "a required extension is not supported",
            ),
            (
                subset(&self.certifications_required, &self.certifications_supported),
                "DSC-13",
                "a required certification is not supported",
            ),
            (!self.scopes.is_empty(), "DSC-15", "no scope"),
            (self.algs.contains(&Alg::Rs256), "DSC-19", "RS256 is not accepted"),
        ];
        rules
            .into_iter()
            .find(|(holds, _, _)| !holds)
            .map_or(Ok(()), |(_, rule, text)| Err(refused(rule, text)))
    }

    /// Signs with RS256. The end is after `life`, at most a year, and not after the certificate's.
    /// Refuses an identity that is not RSA or whose SAN lacks the base URL (SMD-11).
    pub fn sign(
        &self,
        identity: &SigningIdentity,
        jti: &str,
        now: Timestamp,
        life: Duration,
    ) -> Result<SignedMetadata, MetadataError> {
        self.check()?;
        if !matches!(identity.leaf().subject_key(), KeyKind::Rsa { .. }) {
            return Err(refused("SMD-11", "the certificate's key is not RSA"));
        }
        if !identity.san_uris().contains(&self.base_url) {
            return Err(refused("SMD-03", "the certificate does not name the base URL"));
        }
        if !identity.leaf().is_valid_at(now) {
            return Err(refused("SMD-10", "the certificate is not valid now"));
        }
        let iat = now.as_seconds();
        let wanted = Timestamp::from_seconds(iat).plus(life.min(YEAR)).as_seconds();
        let exp = wanted.min(identity.leaf().not_after().as_seconds());
        let mut claims = json!({
            "iss": self.base_url,
            "sub": self.base_url,
            "iat": iat,
            "exp": exp,
            "jti": jti,
            "token_endpoint": self.token_endpoint,
            "registration_endpoint": self.registration_endpoint,
        });
        if let (Some(url), Some(members)) = (&self.authorization_endpoint, claims.as_object_mut()) {
            members.insert("authorization_endpoint".to_owned(), json!(url));
        }
        let jws = identity.sign(Alg::Rs256, &claims)?;
        Ok(SignedMetadata { jws, exp: Timestamp::from_seconds(exp) })
    }

    /// The document of `/.well-known/udap`. Empty lists stand as `[]` (DSC-24); nothing is `null` (DSC-02).
    pub fn to_json(&self, signed: &str) -> String {
        let mut profiles = vec!["udap_dcr", "udap_authn"];
        if self.grants("client_credentials") {
            profiles.push("udap_authz");
        }
        let algs: Vec<_> = self.algs.iter().map(|alg| alg.name()).collect();
        let mut document = json!({
            "udap_versions_supported": ["1"],
            "udap_profiles_supported": profiles,
            "udap_authorization_extensions_supported": self.extensions_supported,
            "udap_authorization_extensions_required": self.extensions_required,
            "udap_certifications_supported": self.certifications_supported,
            "udap_certifications_required": self.certifications_required,
            "grant_types_supported": self.grant_types,
            "scopes_supported": self.scopes,
            "token_endpoint": self.token_endpoint,
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": algs,
            "registration_endpoint": self.registration_endpoint,
            "registration_endpoint_jwt_signing_alg_values_supported": algs,
            "signed_metadata": signed,
        });
        if let (Some(url), Some(members)) = (&self.authorization_endpoint, document.as_object_mut())
        {
            members.insert("authorization_endpoint".to_owned(), json!(url));
        }
        document.to_string()
    }
}

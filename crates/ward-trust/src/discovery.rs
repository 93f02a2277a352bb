//! Server metadata as a client validates them (IG §2.2–§2.4; CLI-04..CLI-07, M01..M20).
//!
//! Refuses whatever is odd: nothing may be sent to a server whose metadata do not hold (CLI-06). The
//! result of [`validate`] is [`Unproven`] until its signer's path is validated, and only
//! [`Unproven::prove`] and [`Unproven::prove_with`] make a [`Discovered`]. Unknown members are ignored (DSC-25).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use ward_core::{Limits, Timestamp};

use crate::claims::{ClaimFault, envelope, issuer};
use crate::metadata::{MetadataError, refused};
use crate::uri::HttpsUrl;
use crate::{Alg, Certificate, Chain, Community, Crl, Jws, Verified};

/// Longest life of signed metadata that a client accepts: a year, leap year included (SMD-05, M07).
const YEAR_ACCEPTED: Duration = Duration::from_hours(24 * 366);
/// A metadata document, bytes (M17).
const MAX_DOCUMENT: usize = 256 * 1024;
/// Entries of one list of a document.
const MAX_LIST: usize = 4096;

/// Another server's metadata, sound in themselves, whose signer is not yet proven to be trusted.
#[derive(Debug, Clone)]
pub struct Unproven {
    jws: Verified,
    found: Found,
}

impl Unproven {
    /// The signer and the other certificates of `x5c`.
    pub fn certificates(&self) -> (&Certificate, &[Certificate]) {
        (self.jws.leaf(), self.jws.extra())
    }

    /// The lists that [`Unproven::prove`] will need.
    pub fn crl_urls(
        &self,
        community: &Community,
        now: Timestamp,
    ) -> Result<Vec<String>, MetadataError> {
        let (leaf, extra) = self.certificates();
        Ok(crate::path::crl_urls_needed(leaf, extra, community, now)?)
    }

    /// The metadata may be used, for the signer's path has been validated (M10, M20): by whoever keeps
    /// revocation lists. Refuses the path of another certificate.
    pub fn prove_with(self, chain: Chain) -> Result<Discovered, MetadataError> {
        if chain.leaf() != Some(self.jws.leaf()) {
            return Err(crate::PathError::Untrusted.into());
        }
        Ok(Discovered { chain, found: self.found })
    }

    /// Validates the signer's path (M10, M20) with lists that are at hand: the metadata may then be used.
    pub fn prove(
        self,
        community: &Community,
        lists: &[Arc<Crl>],
        now: Timestamp,
    ) -> Result<Discovered, MetadataError> {
        let (leaf, extra) = self.certificates();
        let chain = crate::path::validate(leaf, extra, community, lists, now)?;
        self.prove_with(chain)
    }
}

/// Another server's metadata, validated (CLI-05). Dereferences to what was [`Found`].
#[derive(Debug, Clone)]
pub struct Discovered {
    chain: Chain,
    found: Found,
}

impl Discovered {
    /// The signer's path.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
}

impl std::ops::Deref for Discovered {
    type Target = Found;

    fn deref(&self) -> &Found {
        &self.found
    }
}

/// What another server says of itself. An absent list reads as empty, which is "not supported" (CLI-04).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The FHIR base URL that was asked.
    pub base_url: String,
    /// From the signed part.
    pub token_endpoint: String,
    /// From the signed part.
    pub registration_endpoint: String,
    /// From the signed part.
    pub authorization_endpoint: Option<String>,
    /// `udap_profiles_supported`.
    pub profiles: Vec<String>,
    /// `grant_types_supported`.
    pub grant_types: Vec<String>,
    /// `scopes_supported`.
    pub scopes: Vec<String>,
    /// `udap_authorization_extensions_supported`.
    pub extensions_supported: Vec<String>,
    /// `udap_authorization_extensions_required`.
    pub extensions_required: Vec<String>,
    /// `udap_certifications_required`.
    pub certifications_required: Vec<String>,
    /// Known algorithms of `token_endpoint_auth_signing_alg_values_supported`.
    pub token_algs: Vec<Alg>,
    /// Known algorithms of `registration_endpoint_jwt_signing_alg_values_supported`.
    pub registration_algs: Vec<Alg>,
    /// When the signed part ends; ask again after it.
    pub exp: Timestamp,
    /// Fixed phrases on what is allowed but odd (M16).
    pub warnings: Vec<&'static str>,
}

/// Validates everything but the signer's path: CLI-05, CLI-07, M01..M09, M11..M13, M15, M19.
/// `base_url` is what the client was told to trust, octet by octet (M03).
pub fn validate(
    document: &[u8],
    base_url: &str,
    now: Timestamp,
    limits: &Limits,
) -> Result<Unproven, MetadataError> {
    if document.len() > MAX_DOCUMENT {
        return Err(refused("M17", "the metadata document is too large"));
    }
    let plain = match ward_core::json::parse(document, limits.json_depth) {
        Ok(Value::Object(members)) => members,
        Err(ward_core::json::JsonError::Duplicate) => {
            return Err(refused("M19", "a member of the metadata document occurs twice"));
        }
        Ok(_) | Err(_) => {
            return Err(refused("DSC-02", "the metadata document is not a JSON object"));
        }
    };
    let signed = plain
        .get("signed_metadata")
        .and_then(Value::as_str)
        .ok_or(refused("M11", "signed_metadata is missing"))?;
    let jws = Jws::parse(signed, limits)?.verify(&[Alg::Rs256])?;
    let claims = jws.claims();
    if issuer(claims) != Ok(base_url) {
        return Err(refused("M03", "iss is not the base URL"));
    }
    if !jws.leaf().san_uris().iter().any(|uri| uri == base_url) {
        return Err(refused("M04", "the certificate does not name the base URL"));
    }
    let envelope =
        envelope(claims, None, YEAR_ACCEPTED, now, limits).map_err(|fault| match fault {
            ClaimFault::Issuer => refused("M03", "iss is not the base URL"),
            ClaimFault::Subject => refused("M05", "sub is not iss"),
            ClaimFault::Expired => refused("M06", "the signed metadata have expired"),
            ClaimFault::Life => refused("M07", "the signed metadata live longer than a year"),
            ClaimFault::Id => refused("SMD-06", "jti is missing or malformed"),
            ClaimFault::Audience
            | ClaimFault::Expiry
            | ClaimFault::Issued
            | ClaimFault::NotBefore => refused("SMD-05", "iat, nbf or exp is missing or malformed"),
        })?;
    if plain.get("udap_versions_supported") != Some(&json!(["1"])) {
        return Err(refused("M12", "udap_versions_supported is not [\"1\"]"));
    }
    if plain.get("token_endpoint_auth_methods_supported") != Some(&json!(["private_key_jwt"])) {
        return Err(refused("M13", "the authentication method is not private_key_jwt"));
    }
    let token_endpoint = endpoint(&plain, claims, "token_endpoint")?
        .ok_or(refused("SMD-07", "token_endpoint is missing"))?;
    let registration_endpoint = endpoint(&plain, claims, "registration_endpoint")?
        .ok_or(refused("SMD-07", "registration_endpoint is missing"))?;
    let authorization_endpoint = endpoint(&plain, claims, "authorization_endpoint")?;
    let mut warnings = Vec::new();
    let host = |url: &str| HttpsUrl::parse(url).map(|url| url.host.to_ascii_lowercase());
    if host(&token_endpoint) != host(base_url) {
        warnings.push("M16: the token endpoint is on another host than the base URL");
    }
    let found = Found {
        base_url: base_url.to_owned(),
        token_endpoint,
        registration_endpoint,
        authorization_endpoint,
        profiles: list(&plain, "udap_profiles_supported")?,
        grant_types: list(&plain, "grant_types_supported")?,
        scopes: list(&plain, "scopes_supported")?,
        extensions_supported: list(&plain, "udap_authorization_extensions_supported")?,
        extensions_required: list(&plain, "udap_authorization_extensions_required")?,
        certifications_required: list(&plain, "udap_certifications_required")?,
        token_algs: algs(&plain, "token_endpoint_auth_signing_alg_values_supported")?,
        registration_algs: algs(&plain, "registration_endpoint_jwt_signing_alg_values_supported")?,
        exp: envelope.exp,
        warnings,
    };
    Ok(Unproven { jws, found })
}

/// An endpoint from the signed part; the plain value, if any, must be the same (CLI-07, M08, M09, M15).
fn endpoint(
    plain: &Map<String, Value>,
    claims: &Map<String, Value>,
    name: &str,
) -> Result<Option<String>, MetadataError> {
    let Some(signed) = claims.get(name) else {
        return if plain.contains_key(name) {
            Err(refused("M09", "an endpoint stands only outside the signed part"))
        } else {
            Ok(None)
        };
    };
    if plain.get(name).is_some_and(|value| value != signed) {
        return Err(refused("M08", "an endpoint differs from the signed one"));
    }
    signed
        .as_str()
        .filter(|url| HttpsUrl::parse(url).is_some_and(|url| !url.has_fragment))
        .map(|url| Some(url.to_owned()))
        .ok_or(refused("M15", "an endpoint is not an absolute https URL"))
}

fn list(plain: &Map<String, Value>, name: &str) -> Result<Vec<String>, MetadataError> {
    let wrong = refused("DSC-02", "a list of the metadata document is malformed");
    let Some(value) = plain.get(name) else { return Ok(Vec::new()) };
    let values = value.as_array().filter(|values| values.len() <= MAX_LIST).ok_or(wrong)?;
    values.iter().map(|one| one.as_str().map(str::to_owned).ok_or(wrong)).collect()
}

fn algs(plain: &Map<String, Value>, name: &str) -> Result<Vec<Alg>, MetadataError> {
    Ok(list(plain, name)?.iter().filter_map(|alg| Alg::from_name(alg)).collect())
}

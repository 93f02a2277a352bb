//! What a member's certificate must be like so that other members accept it (PKI-11 to PKI-13,
//! SMD-11, X34 to X42). Checked on the request, and again on the certificate that came out.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ward_core::{ClientUri, Timestamp};
use ward_trust::{Certificate, KeyKind};

use crate::KeySpec;

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Signs a server's metadata: RSA, because `signed_metadata` is RS256 (SMD-11); its URI is the FHIR
    /// base URL.
    Server,
    /// Signs a client's software statements and authentication tokens; its URI is the client's.
    Client,
    /// Signs the metadata and tokens of an identity provider: as a server's; its URI is the issuer's.
    Idp,
    /// Signs certifications and endorsements; its URI is their `iss` (CRT-05).
    CertificationIssuer,
}

impl Profile {
    /// `server`, `client`, `idp` or `certification-issuer`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Idp => "idp",
            Self::CertificationIssuer => "certification-issuer",
        }
    }

    /// Whether its key must be RSA: it signs `signed_metadata`, which is RS256 (SMD-11).
    const fn wants_rsa(self) -> bool {
        matches!(self, Self::Server | Self::Idp)
    }

    /// Whether its URIs are https URLs that others call.
    const fn wants_https(self) -> bool {
        !matches!(self, Self::Client)
    }
}

/// What is asked of the operator.
#[derive(Debug, Clone)]
pub struct CertificateRequest {
    /// What it is for.
    pub profile: Profile,
    /// Name of the holder, for people; 1 to 64 visible characters (X.520 `ub-common-name`).
    pub name: String,
    /// Its URIs, at least one.
    pub san_uris: Vec<String>,
    /// The key to make.
    pub key: KeySpec,
    /// How long it is good: an hour to 398 days.
    pub life: Duration,
    /// Whether its URIs may be ones that this holder has already: to replace a certificate. Never ones that
    /// another holder has.
    pub renewal: bool,
}

impl CertificateRequest {
    /// For a server: RSA-2048, one year.
    pub fn server(name: impl Into<String>, fhir_base: impl Into<String>) -> Self {
        Self {
            profile: Profile::Server,
            name: name.into(),
            san_uris: vec![fhir_base.into()],
            key: KeySpec::Rsa2048,
            life: DEFAULT_LIFE,
            renewal: false,
        }
    }

    /// For a client: P-256, one year.
    pub fn client(name: impl Into<String>, client_uri: impl Into<String>) -> Self {
        Self {
            profile: Profile::Client,
            name: name.into(),
            san_uris: vec![client_uri.into()],
            key: KeySpec::P256,
            life: DEFAULT_LIFE,
            renewal: false,
        }
    }

    /// The same, as a renewal: its URIs may be ones that this holder has already.
    #[must_use]
    pub fn renewal(self) -> Self {
        Self { renewal: true, ..self }
    }

    pub(crate) fn check(&self) -> Result<(), Finding> {
        let visible = |c: char| !c.is_control();
        if self.name.is_empty() || self.name.chars().count() > 64 || !self.name.chars().all(visible)
        {
            return Err(Finding::Name);
        }
        check_uris(self.profile, &self.san_uris)?;
        if self.profile.wants_rsa() && !self.key.is_rsa() {
            return Err(Finding::Key);
        }
        if !(MIN_LIFE..=MAX_LIFE).contains(&self.life) {
            return Err(Finding::Life);
        }
        Ok(())
    }
}

/// A member's certificate, if nothing else is said.
pub const DEFAULT_LIFE: Duration = Duration::from_hours(365 * 24);
const MIN_LIFE: Duration = Duration::from_hours(1);
const MAX_LIFE: Duration = Duration::from_hours(398 * 24);
const MAX_URIS: usize = 16;

/// What is wrong with a certificate or a request for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// The holder's name is empty, longer than 64 characters, or has control characters.
    Name,
    /// No SAN URI (X38, X39, X40).
    UriMissing,
    /// More than sixteen SAN URIs, or one twice.
    UriCount,
    /// A SAN URI is not absolute, not ASCII, or longer than 512 characters (X41).
    UriForm,
    /// A SAN URI has a wildcard, a query or a fragment (X42).
    UriWildcard,
    /// The URI of a server or issuer is not `https` with a host.
    UriScheme,
    /// The key is too small, of a curve that is not allowed, or not RSA for a server (SMD-11, X34, X36).
    Key,
    /// The life is shorter than an hour or longer than 398 days, or is over.
    Life,
    /// It is an authority.
    Authority,
    /// No place is named from which its revocation list can be had (X21).
    ListUrl,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the name must be 1 to 64 visible characters",
            Self::UriMissing => "a SAN URI is required (PKI-12)",
            Self::UriCount => "SAN URIs must be at most sixteen, each once",
            Self::UriForm => {
                "a SAN URI must be absolute, ASCII and at most 512 characters long (X41)"
            }
            Self::UriWildcard => "a SAN URI must have no wildcard, query or fragment (X42)",
            Self::UriScheme => "the SAN URI must be an https URL with a host: a server's FHIR base, an issuer's address (SMD-03)",
            Self::Key => {
                "the key must be RSA-2048 or stronger; clients and certification issuers may have P-256 or P-384 (PKI-13)"
            }
            Self::Life => "the life must be one hour to 398 days, and not be over",
            Self::Authority => "a member's certificate must not be an authority (X28)",
            Self::ListUrl => "the certificate must say where its revocation list is (X21)",
        })
    }
}

fn check_uris(profile: Profile, uris: &[String]) -> Result<(), Finding> {
    if uris.is_empty() {
        return Err(Finding::UriMissing);
    }
    let distinct: BTreeSet<_> = uris.iter().collect();
    if uris.len() > MAX_URIS || distinct.len() != uris.len() {
        return Err(Finding::UriCount);
    }
    for uri in uris {
        ClientUri::parse(uri).map_err(|_| Finding::UriForm)?;
        if uri.contains(['*', '?', '#']) {
            return Err(Finding::UriWildcard);
        }
        let host = uri.strip_prefix("https://").and_then(|rest| rest.split('/').next());
        if profile.wants_https() && host.is_none_or(str::is_empty) {
            return Err(Finding::UriScheme);
        }
    }
    Ok(())
}

/// Everything that is wrong with a member's certificate at `now`; nothing, if it is fit for use.
pub fn lint(certificate: &Certificate, profile: Profile, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(check_uris(profile, certificate.san_uris()).err());
    let fit = match certificate.subject_key() {
        KeyKind::Rsa { bits } => bits >= 2048,
        KeyKind::P256 | KeyKind::P384 => !profile.wants_rsa(),
        KeyKind::Other => false,
    };
    if !fit {
        findings.push(Finding::Key);
    }
    let life = certificate.not_after().since(certificate.not_before());
    // An authority allows for the clocks of others by starting a little earlier.
    if life > MAX_LIFE + Duration::from_hours(1)
        || now < certificate.not_before()
        || now > certificate.not_after()
    {
        findings.push(Finding::Life);
    }
    if certificate.is_ca() {
        findings.push(Finding::Authority);
    }
    if certificate.crl_urls().is_empty() {
        findings.push(Finding::ListUrl);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_no_member_would_accept_are_refused() {
        let server = || CertificateRequest::server("Hospital", "https://ward.example/default/fhir");
        let client = || CertificateRequest::client("Partner", "https://partner.example/udap");
        let uris = |uris: &[&str]| uris.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(server().check(), Ok(()));
        assert_eq!(client().check(), Ok(()));
        let long = format!("https://a.example/{}", "x".repeat(512));
        for (bad, finding) in [
            (vec![], Finding::UriMissing),
            (uris(&["https://a.example", "https://a.example"]), Finding::UriCount),
            (uris(&["partner.example"]), Finding::UriForm),
            (uris(&["/udap"]), Finding::UriForm),
            (uris(&["https://caf\u{e9}.example"]), Finding::UriForm),
            (uris(&["https://a.example/\0"]), Finding::UriForm),
            (uris(&["https://a.example/ b"]), Finding::UriForm),
            (uris(&[&long]), Finding::UriForm),
            (uris(&["https://*.example"]), Finding::UriWildcard),
            (uris(&["https://a.example/?x"]), Finding::UriWildcard),
            (uris(&["https://a.example/#x"]), Finding::UriWildcard),
        ] {
            let request = CertificateRequest { san_uris: bad, ..client() };
            assert_eq!(request.check(), Err(finding), "{:?}", request.san_uris);
        }
        for uri in ["urn:oid:1.2.3", "http://ward.example/fhir", "https:///fhir"] {
            let request = CertificateRequest { san_uris: uris(&[uri]), ..server() };
            assert_eq!(request.check(), Err(Finding::UriScheme), "{uri}");
        }
        for key in [KeySpec::P256, KeySpec::P384] {
            assert_eq!(CertificateRequest { key, ..server() }.check(), Err(Finding::Key));
            assert_eq!(CertificateRequest { key, ..client() }.check(), Ok(()));
        }
        for hours in [0, 399 * 24, 2121 * 365 * 24] {
            let request = CertificateRequest { life: Duration::from_hours(hours), ..client() };
            assert_eq!(request.check(), Err(Finding::Life), "{hours} h");
        }
        for name in ["", "a\nb", &"x".repeat(65)] {
            let request = CertificateRequest { name: name.to_owned(), ..client() };
            assert_eq!(request.check(), Err(Finding::Name));
        }
    }
}

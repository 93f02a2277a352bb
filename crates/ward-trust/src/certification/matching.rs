//! Whether a registration keeps to a certification (CE §6.5; CRT-08, CRT-09, CRT-14). Arrays: a subset will do. `scope`
//! is not looked at: the server grants what both name.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use ward_core::ClientUri;

use super::{Certification, CertificationError};
use crate::uri::HttpsUrl;
use crate::{Certificate, KeyKind, Verified};

/// Keys that `jwks` may name.
const MAX_KEYS: usize = 20;

/// The client that asks to be registered, as its software statement has it.
#[derive(Debug, Clone, Copy)]
pub struct Applicant<'a> {
    /// Its URI.
    pub uri: &'a ClientUri,
    /// The certificate that signed the statement.
    pub certificate: &'a Certificate,
    /// The claims of the statement.
    pub claims: &'a Map<String, Value>,
}

impl<'a> Applicant<'a> {
    /// From a validated statement.
    pub fn new(uri: &'a ClientUri, statement: &'a Verified) -> Self {
        Self { uri, certificate: statement.leaf(), claims: statement.claims() }
    }

    /// A parameter as a set of strings.
    fn list(&self, name: &str) -> BTreeSet<&'a str> {
        let entries = self.claims.get(name).and_then(Value::as_array);
        entries.into_iter().flatten().filter_map(Value::as_str).collect()
    }
}

impl Certification {
    /// Refuses a registration that asks for more than is certified (C07, C08).
    pub(super) fn matches(&self, applicant: &Applicant<'_>) -> Result<(), CertificationError> {
        let outside = |text| CertificationError::invalid("C07", text);
        let certified = |one: &str| self.grant_types.iter().any(|grant| grant == one);
        if !self.grant_types.is_empty() && !applicant.list("grant_types").into_iter().all(certified)
        {
            return Err(outside("a grant type is not certified"));
        }
        let redirect = |one: &str| self.redirect_uris.iter().any(|pattern| covers(pattern, one));
        if !self.redirect_uris.is_empty()
            && !applicant.list("redirect_uris").into_iter().all(redirect)
        {
            return Err(outside("a redirect URI is not certified"));
        }
        for (name, stated) in &self.parameters {
            let kept = match (name.as_str(), stated) {
                ("jwks", keys) => keeps_to_keys(keys, applicant.certificate),
                (_, Value::Array(stated)) => applicant
                    .list(name)
                    .into_iter()
                    .all(|one| stated.iter().any(|other| other.as_str() == Some(one))),
                (_, stated) => applicant.claims.get(name) == Some(stated),
            };
            if !kept {
                return Err(outside("a parameter is not the certified one"));
            }
        }
        Ok(())
    }

    /// Whether a certificate has one of the keys that the certification is locked to; any, if it is locked to none (CRT-14).
    /// To be asked at each authentication too, for a renewed certificate has another key.
    pub fn allows_key_of(&self, certificate: &Certificate) -> bool {
        self.parameters.get("jwks").is_none_or(|keys| keeps_to_keys(keys, certificate))
    }
}

/// Whether the certificate's key is among those of a JWK set (RFC 7517 §5), of 1 to 20 keys.
pub fn keeps_to_keys(jwks: &Value, certificate: &Certificate) -> bool {
    let keys = jwks.get("keys").and_then(Value::as_array);
    keys.is_some_and(|keys| {
        (1..=MAX_KEYS).contains(&keys.len()) && keys.iter().any(|key| is_key(key, certificate))
    })
}

/// Whether a JWK (RFC 7518 §6.2, §6.3) is the key of the certificate.
fn is_key(jwk: &Value, certificate: &Certificate) -> bool {
    let member = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default();
    let octets = |name: &str| URL_SAFE_NO_PAD.decode(member(name)).unwrap_or_default();
    let point = |curve: &str, size: usize| {
        let (x, y) = (octets("x"), octets("y"));
        member("kty") == "EC"
            && member("crv") == curve
            && (x.len(), y.len()) == (size, size)
            && certificate.key_bits() == [&[0x04], x.as_slice(), y.as_slice()].concat()
    };
    match certificate.subject_key() {
        KeyKind::P256 => point("P-256", 32),
        KeyKind::P384 => point("P-384", 48),
        KeyKind::Rsa { .. } => {
            use der::{Encode as _, asn1::UintRef};
            let (n, e) = (octets("n"), octets("e"));
            let encoded = || -> der::Result<Vec<u8>> {
                let (n, e) = (UintRef::new(&n)?.to_der()?, UintRef::new(&e)?.to_der()?);
                der::asn1::AnyRef::new(der::Tag::Sequence, &[n, e].concat())?.to_der()
            };
            member("kty") == "RSA" && encoded().is_ok_and(|key| key == certificate.key_bits())
        }
        KeyKind::Other => false,
    }
}

/// A redirect URI taken apart: all before the path, the components of the path, the query's pairs.
struct Parts<'a> {
    origin: &'a str,
    path: Vec<&'a str>,
    query: Option<Vec<(&'a str, Option<&'a str>)>>,
}

impl<'a> Parts<'a> {
    fn of(uri: &'a str) -> Option<Self> {
        let url = HttpsUrl::parse(uri).filter(|url| !url.has_fragment)?;
        let (before, query) = match uri.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (uri, None),
        };
        let origin = before.strip_suffix(url.path)?;
        let pairs = |query: &'a str| {
            query
                .split('&')
                .map(|pair| match pair.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (pair, None),
                })
                .collect()
        };
        Some(Self { origin, path: url.path.split('/').collect(), query: query.map(pairs) })
    }
}

/// Whether each `*` of it is a whole path component or a whole value of the query.
pub(super) fn is_pattern(uri: &str) -> bool {
    let whole = |text: &str| text == "*" || !text.contains('*');
    Parts::of(uri).is_some_and(|parts| {
        !parts.origin.contains('*')
            && parts.path.iter().all(|one| whole(one))
            && parts
                .query
                .iter()
                .flatten()
                .all(|(name, value)| !name.contains('*') && value.is_none_or(whole))
    })
}

/// Whether a certified redirect URI covers a registered one. `%2A` is no wildcard, and what a wildcard stands for is never
/// empty, a dot segment, or something that decodes to a separator.
fn covers(pattern: &str, uri: &str) -> bool {
    let (Some(pattern), Some(uri)) = (Parts::of(pattern), Parts::of(uri)) else { return false };
    let same = |pattern: &str, one: &str, free: fn(&str) -> bool| {
        if pattern == "*" { free(one) } else { pattern == one }
    };
    let path = |one: &str| {
        let lower = one.to_ascii_lowercase();
        !one.is_empty()
            && !matches!(one, "." | "..")
            && !["%2f", "%5c", "%2e", "%00", ";", "*"].iter().any(|part| lower.contains(part))
    };
    let value = |one: &str| {
        let lower = one.to_ascii_lowercase();
        !one.is_empty() && !["%26", "%00", ";", "*"].iter().any(|part| lower.contains(part))
    };
    let paths = pattern.path.len() == uri.path.len()
        && pattern.path.iter().zip(&uri.path).all(|(pattern, one)| same(pattern, one, path));
    let queries = match (&pattern.query, &uri.query) {
        (None, None) => true,
        (Some(pattern), Some(query)) => {
            pattern.len() == query.len()
                && pattern.iter().zip(query).all(|((wanted, allowed), (name, given))| {
                    wanted == name
                        && match (allowed, given) {
                            (None, None) => true,
                            (Some(allowed), Some(given)) => same(allowed, given, value),
                            _ => false,
                        }
                })
        }
        _ => false,
    };
    pattern.origin == uri.origin && paths && queries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_one_component_or_one_value() {
        for (pattern, uri, covered) in [
            ("https://a.example/cb", "https://a.example/cb", true),
            ("https://a.example/cb", "https://a.example/cb/", false),
            ("https://a.example/r/*", "https://a.example/r/one", true),
            ("https://a.example/*/cb", "https://a.example/one/cb", true),
            ("https://a.example/r?server=*", "https://a.example/r?server=one", true),
            ("https://a.example/r?server=*", "https://a.example/r?server=https%3A%2F%2Fx", true),
            // C08: over `/`, nothing at all, dots, what decodes to a separator.
            ("https://a.example/r/*", "https://a.example/r/one/two", false),
            ("https://a.example/r/*", "https://a.example/r/", false),
            ("https://a.example/r/*", "https://a.example/r", false),
            ("https://a.example/r/*", "https://a.example/r/..", false),
            ("https://a.example/r/*", "https://a.example/r/%2e%2e", false),
            ("https://a.example/r/*", "https://a.example/r/one%2Ftwo", false),
            ("https://a.example/r/*", "https://a.example/r/one%5ctwo", false),
            ("https://a.example/r/*", "https://a.example/r/*", false),
            ("https://a.example/r/*", "https://a.example/r/one?x=1", false),
            ("https://a.example/r?server=*", "https://a.example/r?server=one&x=1", false),
            ("https://a.example/r?server=*", "https://a.example/r?server=", false),
            ("https://a.example/r?server=*", "https://a.example/r?other=one", false),
            ("https://a.example/r?server=*", "https://a.example/r?server=a%26b", false),
            // `%2A` is an asterisk, not a wildcard.
            ("https://a.example/r/%2A", "https://a.example/r/one", false),
            ("https://a.example/r/%2A", "https://a.example/r/%2A", true),
            ("https://a.example/r/*", "https://b.example/r/one", false),
            ("https://a.example/r/*", "https://a.example:8443/r/one", false),
        ] {
            assert_eq!(covers(pattern, uri), covered, "CRT-09 {pattern} {uri}");
        }
        for bad in [
            "https://*/cb",
            "https://*.a.example/cb",
            "https://a.example/r*",
            "https://a.example/*x/cb",
            "https://a.example/**",
            "https://a.example/r?*=x",
            "https://a.example/r?x=a*",
            "https://a.example/r#*",
            "http://a.example/*",
            "*",
        ] {
            assert!(!is_pattern(bad), "C08 {bad}");
        }
    }
}

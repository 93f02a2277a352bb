//! From claims to a certification: types, bounds and dates (CE §1, IG §7.4.1).

use serde_json::{Map, Value, json};
use ward_core::{ClientUri, Limits, Timestamp};

use super::matching::is_pattern;
use super::{Certification, CertificationError, MAX_YEARS, PARAMETERS, tefca};
use crate::Certificate;
use crate::claims::{ClaimFault, Lifetime, issuer, lifetime};
use crate::uri::{is_absolute_uri, is_plain_text};

/// Entries of one array.
const MAX_ENTRIES: usize = 20;
/// Names, characters.
const MAX_NAME: usize = 256;
/// `scope`, bytes.
const MAX_SCOPE: usize = 16 * 1024;

const fn malformed(text: &'static str) -> CertificationError {
    CertificationError::invalid("CRT-15", text)
}

/// `certification_uris`; empty if it names none.
pub(super) fn uris(claims: &Map<String, Value>) -> Result<Vec<String>, CertificationError> {
    if !claims.contains_key("certification_name") {
        // C15: a software statement, or something else that its owner signed.
        return Err(CertificationError::invalid("C15", "this is no certification"));
    }
    let uris = strings(claims, "certification_uris", "certification_uris is malformed")?;
    if !uris.iter().all(|uri| is_absolute_uri(uri)) {
        return Err(malformed("certification_uris is malformed"));
    }
    Ok(uris)
}

impl Certification {
    /// Reads the claims and holds them against the signer's certificate.
    pub(super) fn read(
        claims: &Map<String, Value>,
        signer: &Certificate,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Self, CertificationError> {
        let uris = uris(claims)?;
        if uris.is_empty() {
            return Err(malformed("certification_uris is missing"));
        }
        if claims.contains_key("jwks_uri") {
            return Err(CertificationError::invalid("C13", "jwks_uri must not be used"));
        }
        if claims.contains_key("ip_allowed") {
            // Tokens are not bound to addresses here: what cannot be kept must not be promised.
            return Err(CertificationError::invalid("CRT-08", "ip_allowed cannot be kept to here"));
        }
        let iss = ClientUri::parse(issuer(claims)?).map_err(|_| ClaimFault::Issuer)?;
        let sub = claims.get("sub").and_then(Value::as_str).ok_or(ClaimFault::Subject)?;
        let sub = ClientUri::parse(sub).map_err(|_| ClaimFault::Subject)?;
        let audiences = match claims.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            _ => strings(claims, "aud", "aud is malformed").map_err(|_| ClaimFault::Audience)?,
        };
        let Lifetime { jti, iat, exp } = lifetime(claims, three_years_after, now, limits)?;
        let read = Self {
            iss,
            sub,
            audiences,
            jti: jti.to_owned(),
            iat,
            exp,
            name: text(claims, "certification_name", "certification_name is malformed")?
                .unwrap_or_default(),
            issuer: text(claims, "certification_issuer", "certification_issuer is malformed")?,
            status_endpoint: match claims.get("certification_status_endpoint") {
                None => None,
                Some(Value::String(url)) => Some(url.clone()),
                Some(_) => return Err(malformed("certification_status_endpoint is malformed")),
            },
            endorsement: match claims.get("is_endorsement") {
                None => false,
                Some(Value::Bool(flag)) => *flag,
                Some(_) => return Err(malformed("is_endorsement is malformed")),
            },
            grant_types: grant_types(claims)?,
            redirect_uris: redirect_uris(claims)?,
            scope: scope(claims)?,
            parameters: parameters(claims),
            extensions: match claims.get("extensions") {
                None => Map::new(),
                Some(Value::Object(members)) => members.clone(),
                Some(_) => return Err(malformed("extensions is no object")),
            },
            tefca: tefca::read(claims, &uris)?,
            uris,
        };
        read.check(signer)?;
        Ok(read)
    }
}

/// An array of 1 to 20 strings; empty if it is absent.
fn strings(
    claims: &Map<String, Value>,
    name: &str,
    what: &'static str,
) -> Result<Vec<String>, CertificationError> {
    let Some(given) = claims.get(name) else { return Ok(Vec::new()) };
    given
        .as_array()
        .filter(|entries| (1..=MAX_ENTRIES).contains(&entries.len()))
        .and_then(|entries| entries.iter().map(|one| one.as_str().map(str::to_owned)).collect())
        .ok_or(malformed(what))
}

fn text(
    claims: &Map<String, Value>,
    name: &str,
    what: &'static str,
) -> Result<Option<String>, CertificationError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if is_plain_text(text, MAX_NAME) => Ok(Some(text.clone())),
        Some(_) => Err(malformed(what)),
    }
}

/// CRT-15: those of a software statement, `response_types` fitting.
fn grant_types(claims: &Map<String, Value>) -> Result<Vec<String>, CertificationError> {
    let named = strings(claims, "grant_types", "grant_types is malformed")?;
    let has = |one: &str| named.iter().any(|name| name == one);
    let known = ["authorization_code", "client_credentials", "refresh_token"];
    if !named.iter().all(|one| known.contains(&one.as_str())) {
        return Err(malformed("grant_types has an unknown value"));
    }
    let response_types = claims.get("response_types");
    let fits = response_types.is_none_or(|given| *given == json!(["code"]))
        && (response_types.is_none() || named.is_empty() || has("authorization_code"));
    if fits { Ok(named) } else { Err(malformed("response_types does not fit grant_types")) }
}

/// C08: https URLs; a `*` is a whole path component or a whole value of the query.
fn redirect_uris(claims: &Map<String, Value>) -> Result<Vec<String>, CertificationError> {
    let uris = strings(claims, "redirect_uris", "redirect_uris is malformed")?;
    if uris.iter().all(|uri| is_pattern(uri)) {
        Ok(uris)
    } else {
        Err(CertificationError::invalid("C08", "a redirect URI of the certification is malformed"))
    }
}

fn scope(claims: &Map<String, Value>) -> Result<Option<String>, CertificationError> {
    let token = |token: &str| {
        !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
    };
    match claims.get("scope") {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= MAX_SCOPE && text.split(' ').all(token) => {
            Ok(Some(text.clone()))
        }
        Some(_) => Err(malformed("scope is malformed")),
    }
}

fn parameters(claims: &Map<String, Value>) -> Map<String, Value> {
    let stated = PARAMETERS.iter().filter_map(|name| claims.get_key_value(*name));
    stated.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The same second three years later; a leap day has none, and ends on the first of March.
fn three_years_after(iat: Timestamp) -> Timestamp {
    let text = iat.to_rfc3339();
    let later = |text: &str| {
        let (year, rest) = text.split_once('-')?;
        let year = year.parse::<u16>().ok()?.checked_add(MAX_YEARS)?;
        let same = Timestamp::parse_rfc3339(&format!("{year:04}-{rest}"));
        same.or_else(|| {
            let rest = rest.strip_prefix("02-29")?;
            Timestamp::parse_rfc3339(&format!("{year:04}-03-01{rest}"))
        })
    };
    later(&text).unwrap_or(iat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_years_are_three_of_the_calendar() {
        for (from, to) in [
            ("2026-11-22T10:00:00Z", "2029-11-22T10:00:00Z"),
            ("2027-02-28T23:59:59Z", "2030-02-28T23:59:59Z"),
            ("2028-02-29T00:00:00Z", "2031-03-01T00:00:00Z"),
        ] {
            let at = |text| Timestamp::parse_rfc3339(text).unwrap();
            assert_eq!(three_years_after(at(from)), at(to), "CRT-06 {from}");
        }
    }
}

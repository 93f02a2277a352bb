//! Strict `application/x-www-form-urlencoded` (RFC 6749 §3.2, App. B; T02, T03).
//!
//! Refused: a parameter given twice, malformed percent-encoding, octets that are not UTF-8, control
//! characters, more than [`MAX_PARAMETERS`] parameters. A parameter without a value counts as absent
//! (RFC 6749 §3.2), yet given twice it is still given twice.

use std::collections::BTreeMap;
use std::fmt;

/// More parameters than any honest token request has.
pub(crate) const MAX_PARAMETERS: usize = 32;

/// The parameters of a form or query.
#[derive(Default)]
pub(crate) struct Form(BTreeMap<String, String>);

/// Names only: a value can be an authentication token, which is good for a token until it is claimed.
impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The request cannot be read in exactly one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FormError {
    /// A parameter occurs twice (T03).
    Duplicate,
    /// Encoding or size.
    Malformed,
}

impl Form {
    /// Parses a body, where `+` is a space.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, FormError> {
        Self::parse_with(body, true)
    }

    /// Parses the query of a URL, where `+` is itself (RFC 3986): URIs travel here (COM-05).
    pub(crate) fn parse_query(query: &str) -> Result<Self, FormError> {
        Self::parse_with(query.as_bytes(), false)
    }

    fn parse_with(body: &[u8], plus_is_space: bool) -> Result<Self, FormError> {
        let mut found = BTreeMap::new();
        for pair in body.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |b| *b == b'=');
            let name = decode(halves.next().unwrap_or_default(), plus_is_space)?;
            let value = decode(halves.next().unwrap_or_default(), plus_is_space)?;
            if found.len() >= MAX_PARAMETERS {
                return Err(FormError::Malformed);
            }
            if found.insert(name, value).is_some() {
                return Err(FormError::Duplicate);
            }
        }
        Ok(Self(found))
    }

    /// The value of a parameter; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether the name occurs at all.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

fn decode(mut text: &[u8], plus_is_space: bool) -> Result<String, FormError> {
    let special = |byte: &u8| *byte == b'%' || (plus_is_space && *byte == b'+');
    let mut out = Vec::with_capacity(text.len());
    // Most of a request is one long value without anything to decode.
    while let Some(at) = text.iter().position(special) {
        let (plain, rest) = text.split_at(at);
        out.extend_from_slice(plain);
        text = match rest {
            [b'%', high, low, rest @ ..] => {
                let digit = |b: &u8| char::from(*b).to_digit(16).ok_or(FormError::Malformed);
                let value = digit(high)? << 4 | digit(low)?;
                out.push(u8::try_from(value).map_err(|_| FormError::Malformed)?);
                rest
            }
            [b'+', rest @ ..] => {
                out.push(b' ');
                rest
            }
            _ => return Err(FormError::Malformed),
        };
    }
    out.extend_from_slice(text);
    let plain = out.is_ascii() && !out.iter().any(u8::is_ascii_control);
    let text = String::from_utf8(out).map_err(|_| FormError::Malformed)?;
    if !plain && text.chars().any(char::is_control) {
        return Err(FormError::Malformed);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (body, want) in [
            (&b"a=1&a=2"[..], FormError::Duplicate),
            (b"a=&a=2", FormError::Duplicate),
            (b"a=1&%61=1", FormError::Duplicate),
            (b"a=%", FormError::Malformed),
            (b"a=%2", FormError::Malformed),
            (b"a=%zz", FormError::Malformed),
            (b"a=%+1", FormError::Malformed),
            (b"a=%ff", FormError::Malformed),
            (b"a=\xc3", FormError::Malformed),
            (b"a=%00", FormError::Malformed),
        ] {
            assert_eq!(Form::parse(body).unwrap_err(), want, "{:?}", String::from_utf8_lossy(body));
        }
        let many: Vec<String> = (0..=MAX_PARAMETERS).map(|n| format!("p{n}=1")).collect();
        let many = many.join("&");
        assert!(Form::parse(many.as_bytes()).is_err());
    }

    #[test]
    fn diagnostics_do_not_hold_what_a_client_authenticates_with() {
        let form = Form::parse(b"client_assertion=secret-assertion&scope=secret-scope").unwrap();
        assert_eq!(format!("{form:?}"), r#"{"client_assertion", "scope"}"#);
    }

    #[test]
    fn plus_is_a_space_in_a_body_and_itself_in_a_query() {
        let form = Form::parse(b"scope=system%2FPatient.r+system%2fEncounter.s&x=&").unwrap();
        assert_eq!(form.get("scope"), Some("system/Patient.r system/Encounter.s"));
        assert_eq!(form.get("x"), None);
        assert!(form.contains("x"));
        let query = Form::parse_query("community=https%3a//a+b").unwrap();
        assert_eq!(query.get("community"), Some("https://a+b"));
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_round_trips(value in "\\PC{0,40}") {
            let encoded: Vec<String> = value.bytes().map(|b| format!("%{b:02X}")).collect();
            let encoded = encoded.concat();
            let form = Form::parse(format!("k={encoded}").as_bytes());
            if value.chars().any(char::is_control) {
                proptest::prop_assert!(form.is_err());
            } else {
                let form = form.unwrap();
                proptest::prop_assert_eq!(form.get("k").unwrap_or_default(), value);
            }
        }
    }
}

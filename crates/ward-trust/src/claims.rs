//! The claims that every JWT of UDAP has (IG §7.1.4; JWT-04, JWT-09, JWT-10, JWT-12; §8.4).
//!
//! Each document maps a `ClaimFault` to its own rule id and wire code. Refused: dates that are not
//! positive whole JSON numbers (R31), lives over the bound without any skew (R33), and `iat`, `nbf` in
//! the future or `exp` in the past by more than the skew. Strings are compared octet by octet.

use std::time::Duration;

use serde_json::{Map, Value};
use ward_core::{Limits, Timestamp};

/// One refusal: what the caller is told, and what the log is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Fault {
    /// Id of the rule that refused, for log and audit only.
    pub rule: &'static str,
    /// A short fixed phrase, fit for `error_description` (§8.19).
    pub text: &'static str,
}

impl Fault {
    /// A refusal by a rule.
    pub const fn new(rule: &'static str, text: &'static str) -> Self {
        Self { rule, text }
    }
}

/// Which claim is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClaimFault {
    /// `iss` missing or not a string.
    Issuer,
    /// `sub` missing or not `iss`.
    Subject,
    /// `aud` does not contain the audience.
    Audience,
    /// `exp` missing or not a date.
    Expiry,
    /// `exp` has passed.
    Expired,
    /// `exp − iat` over the bound.
    Life,
    /// `iat` missing, not a date, in the future or after `exp`.
    Issued,
    /// `nbf` not a date or in the future.
    NotBefore,
    /// `jti` missing, not a string, empty or too long.
    Id,
}

/// The claims that every JWT of UDAP has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Envelope<'a> {
    pub(crate) iss: &'a str,
    pub(crate) jti: &'a str,
    pub(crate) iat: Timestamp,
    pub(crate) exp: Timestamp,
}

/// `iss`: a string.
pub(crate) fn issuer(claims: &Map<String, Value>) -> Result<&str, ClaimFault> {
    claims
        .get("iss")
        .and_then(Value::as_str)
        .filter(|iss| !iss.is_empty())
        .ok_or(ClaimFault::Issuer)
}

/// Checks `iss`, `sub` = `iss`, `aud` (where an audience is expected), dates and `jti`, in this order.
pub(crate) fn envelope<'a>(
    claims: &'a Map<String, Value>,
    audience: Option<&str>,
    life: Duration,
    now: Timestamp,
    limits: &Limits,
) -> Result<Envelope<'a>, ClaimFault> {
    let iss = issuer(claims)?;
    if claims.get("sub").and_then(Value::as_str) != Some(iss) {
        return Err(ClaimFault::Subject);
    }
    if audience.is_some_and(|wanted| !names_audience(claims, wanted)) {
        return Err(ClaimFault::Audience);
    }
    let Lifetime { jti, iat, exp } = lifetime(claims, |iat| iat.plus(life), now, limits)?;
    Ok(Envelope { iss, jti, iat, exp })
}

/// When a JWT was made and ends, and by what it is told from others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetime<'a> {
    pub(crate) jti: &'a str,
    pub(crate) iat: Timestamp,
    pub(crate) exp: Timestamp,
}

/// Checks dates and `jti`, in this order; `latest` says when a JWT that was made then must have ended.
pub(crate) fn lifetime<'a>(
    claims: &'a Map<String, Value>,
    latest: impl FnOnce(Timestamp) -> Timestamp,
    now: Timestamp,
    limits: &Limits,
) -> Result<Lifetime<'a>, ClaimFault> {
    let iat = date(claims, "iat").ok_or(ClaimFault::Issued)?;
    let exp = date(claims, "exp").ok_or(ClaimFault::Expiry)?;
    if exp < iat {
        return Err(ClaimFault::Issued);
    }
    if exp > latest(iat) {
        return Err(ClaimFault::Life);
    }
    if now > exp.plus(limits.clock_skew) {
        return Err(ClaimFault::Expired);
    }
    if iat > now.plus(limits.clock_skew) {
        return Err(ClaimFault::Issued);
    }
    let begun = |nbf: Timestamp| nbf <= now.plus(limits.clock_skew);
    if claims.contains_key("nbf") && !date(claims, "nbf").is_some_and(begun) {
        return Err(ClaimFault::NotBefore);
    }
    let jti = claims.get("jti").and_then(Value::as_str).ok_or(ClaimFault::Id)?;
    if jti.is_empty() || jti.chars().count() > limits.jti_chars {
        return Err(ClaimFault::Id);
    }
    Ok(Lifetime { jti, iat, exp })
}

/// A NumericDate: a positive whole JSON number (R31); `None` for anything else.
pub(crate) fn date(claims: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    claims
        .get(name)
        .and_then(Value::as_i64)
        // Beyond this, milliseconds would not fit: year 292 million.
        .filter(|seconds| (1..i64::MAX / 1000).contains(seconds))
        .map(Timestamp::from_seconds)
}

/// `aud` as a string or an array of strings, one of which is the audience, octet by octet (JWT-09).
pub(crate) fn names_audience(claims: &Map<String, Value>, wanted: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => one == wanted,
        Some(Value::Array(several)) => {
            several.iter().all(Value::is_string)
                && several.iter().any(|one| one.as_str() == Some(wanted))
        }
        _ => false,
    }
}

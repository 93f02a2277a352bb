//! Tokens in which a credential service provider vouches for a person's identity (OpenID Connect Core §2; IAS XP SOP v3.0
//! §4.9; TEF-09, B33; **unverified**), and the provider's keys as a JWK Set (RFC 7517).
//!
//! Keys are configured; nothing that a token names is fetched. Refused: another algorithm than RS256, keys under 2048
//! bits, tokens without the verified demographics, for another audience, or older than the community admits. Whether
//! the demographics are those of the patient is not compared. A token may be shown again until it ends.

use std::fmt;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use ward_core::{Limits, Timestamp, crypto};

use super::person::is_date;
use super::{B2bError, IdentityProvider, fault};
use crate::claims::date;
use crate::uri::is_plain_text;

/// Keys of one set.
const MAX_KEYS: usize = 32;
/// Octets of a modulus: 2048 to 8192 bits.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;
/// Characters of one claim.
const MAX_TEXT: usize = 1024;

/// Why a JWK Set is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a JWK Set with an RSA key of 2048 to 8192 bits and its kid")]
pub struct KeysError;

/// RSA keys for signatures, by their `kid`.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

#[derive(Clone, PartialEq, Eq)]
struct Key {
    kid: String,
    n: Vec<u8>,
    e: Vec<u8>,
}

impl Keys {
    /// From a JWK Set. Keys of other kinds or for other uses are left out; one at least must remain, and no `kid` may
    /// stand for two.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, KeysError> {
        let set = ward_core::json::parse(bytes, limits.json_depth).map_err(|_| KeysError)?;
        let listed = set.get("keys").and_then(Value::as_array).ok_or(KeysError)?;
        let keys: Vec<Key> = listed.iter().take(MAX_KEYS).filter_map(key).collect();
        let twice = keys
            .iter()
            .enumerate()
            .any(|(at, one)| keys.iter().skip(at + 1).any(|other| other.kid == one.kid));
        if keys.is_empty() || twice { Err(KeysError) } else { Ok(Self(keys)) }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.kid)).finish()
    }
}

fn key(jwk: &Value) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let decoded = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let fits = text("kty") == Some("RSA")
        && text("use").is_none_or(|r#use| r#use == "sig")
        && text("alg").is_none_or(|alg| alg == "RS256");
    let (n, e) = (decoded("n")?, decoded("e")?);
    // Base64urlUInt has no leading zeros (RFC 7518 §6.3.1); 256 octets are 2048 bits only if the first has its highest.
    let least = if n.len() == *MODULUS.start() { 0x80 } else { 1 };
    let sound = fits
        && n.first().is_some_and(|first| *first >= least)
        && MODULUS.contains(&n.len())
        && (1..=8).contains(&e.len());
    sound.then_some(Key { kid: text("kid")?.to_owned(), n, e })
}

/// What is remembered of a token that holds.
pub(super) struct Vouched {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) jti: String,
}

/// Whether one of the providers signed this token, now, for somebody who may show it here, about a person whose
/// demographics it verified.
pub(super) fn verify(
    compact: &str,
    providers: &[IdentityProvider],
    now: Timestamp,
    limits: &Limits,
) -> Result<Vouched, B2bError> {
    let wrong = fault("B33", "id_token is not acceptable");
    let mut segments = compact.split('.');
    let (Some(head), Some(body), Some(signature), None) =
        (segments.next(), segments.next(), segments.next(), segments.next())
    else {
        return Err(wrong);
    };
    let header = object(head, limits).ok_or(wrong)?;
    let claims = object(body, limits).ok_or(wrong)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| wrong)?;
    if header.get("alg").and_then(Value::as_str) != Some("RS256") || header.contains_key("crit") {
        return Err(wrong);
    }
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let issuer = text("iss").ok_or(wrong)?;
    let provider = providers
        .iter()
        .find(|one| one.issuer == issuer)
        .ok_or(fault("B33", "nobody vouches for the person"))?;
    let kid = header.get("kid").and_then(Value::as_str).ok_or(wrong)?;
    let key = provider.keys.0.iter().find(|key| key.kid == kid).ok_or(wrong)?;
    RsaPublicKeyComponents { n: &key.n, e: &key.e }
        .verify(&RSA_PKCS1_2048_8192_SHA256, format!("{head}.{body}").as_bytes(), &signature)
        .map_err(|_| wrong)?;
    // One audience: TEFCA puts the home community id of the individual's provider there.
    let audience = text("aud").ok_or(fault("B33", "aud of id_token is not acceptable"))?;
    if !provider.audiences.iter().any(|known| known == audience) {
        return Err(fault("B33", "aud of id_token is not acceptable"));
    }
    let (Some(iat), Some(exp)) = (date(&claims, "iat"), date(&claims, "exp")) else {
        return Err(wrong);
    };
    let skew = limits.clock_skew;
    if exp < iat || now > exp.plus(skew) || iat > now.plus(skew) {
        return Err(fault("B33", "id_token is not valid now"));
    }
    if now > iat.plus(provider.max_age).plus(skew) {
        return Err(fault("B33", "id_token is too old"));
    }
    let jti = text("jti").filter(|jti| is_plain_text(jti, limits.jti_chars)).ok_or(wrong)?;
    if !is_about_somebody(&claims) {
        return Err(fault("B33", "id_token lacks verified demographics"));
    }
    // Any words may stand in a `jti`, a person's too.
    let jti = crypto::hex(&crypto::sha256(&[b"ward id token/1\n", jti.as_bytes()]));
    Ok(Vouched { issuer: issuer.to_owned(), audience: audience.to_owned(), jti })
}

fn object(segment: &str, limits: &Limits) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(segment).ok()?;
    match ward_core::json::parse(&bytes, limits.json_depth) {
        Ok(Value::Object(members)) => Some(members),
        _ => None,
    }
}

/// The demographics that must have been verified (IAS XP SOP v3.0 §4.9, tables 2 and 3).
fn is_about_somebody(claims: &Map<String, Value>) -> bool {
    let has = |object: &Map<String, Value>, name: &str| {
        object.get(name).and_then(Value::as_str).is_some_and(|text| is_plain_text(text, MAX_TEXT))
    };
    let address = claims.get("address").and_then(Value::as_object);
    let born = claims.get("birthdate").and_then(Value::as_str);
    ["given_name", "family_name"].iter().all(|name| has(claims, name))
        && born.is_some_and(|date| date.len() == 10 && is_date(date))
        && (has(claims, "email") || has(claims, "phone_number"))
        && address.is_some_and(|address| {
            // OpenID Connect says region, the SOP regionality.
            (has(address, "region") || has(address, "regionality"))
                && ["street_address", "locality", "postal_code", "country"]
                    .iter()
                    .all(|name| has(address, name))
        })
}

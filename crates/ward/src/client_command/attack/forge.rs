//! How a row becomes a JWT: signed by the identity's own key, whatever the header says of it, and then spoilt.
//!
//! No cryptography of its own: [`SigningIdentity::sign_raw`] signs, and what comes after only cuts and flips texts.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use ward_trust::SigningIdentity;

use super::table::{Row, Words};

/// An object that is larger than what a server reads as a certificate.
const LARGE: usize = 16 * 1024 + 1;

/// The compact form of the row's JWT; `None` if it cannot be made with this identity at this server.
pub(super) fn jwt(
    row: &Row,
    words: &Words,
    mut claims: Map<String, Value>,
    identity: &SigningIdentity,
) -> Option<String> {
    words.merge(&mut claims, &row.claims)?;
    let payload = match &row.raw_claims {
        Some(raw) => words.fill(raw),
        None => Value::Object(claims.clone()).to_string(),
    };
    let chain = chain(row.x5c.as_deref(), identity)?;
    let alg = identity.alg();
    let header = if let Some(raw) = &row.raw_header {
        raw.replace("{x5c}", &Value::Array(chain).to_string())
    } else {
        let mut header =
            Map::from_iter([("alg".into(), json!(alg.name())), ("x5c".into(), json!(chain))]);
        words.merge(&mut header, &row.header)?;
        Value::Object(header).to_string()
    };
    let compact = identity.sign_raw(alg, header.as_bytes(), payload.as_bytes()).ok()?;
    match row.twist.as_deref() {
        None => Some(compact),
        Some(name) => twisted(&compact, name, claims),
    }
}

/// `x5c` as the row wants it.
fn chain(kind: Option<&str>, identity: &SigningIdentity) -> Option<Vec<Value>> {
    let leaf = identity.leaf().der();
    let mut chain: Vec<Value> =
        identity.chain().iter().map(|one| json!(STANDARD.encode(one.der()))).collect();
    let first = match kind {
        None => return Some(chain),
        Some("reversed") => {
            chain.reverse();
            return Some(chain);
        }
        Some("leaf-only") => {
            chain.truncate(1);
            return Some(chain);
        }
        Some("eleven") => return Some(vec![json!(STANDARD.encode(leaf)); 11]),
        Some("sixteen-kib") => {
            chain.push(json!(STANDARD.encode(vec![0x30; LARGE])));
            return Some(chain);
        }
        Some("base64url") => {
            let of = |one: &ward_trust::Certificate| json!(URL_SAFE_NO_PAD.encode(one.der()));
            return Some(identity.chain().iter().map(of).collect());
        }
        Some("pem") => {
            let text = STANDARD.encode(leaf);
            return Some(vec![json!(format!(
                "-----BEGIN CERTIFICATE-----{text}-----END CERTIFICATE-----"
            ))]);
        }
        Some("trailing") => json!(STANDARD.encode([leaf, &[5, 0]].concat())),
        Some("line-breaks") => {
            let text = STANDARD.encode(leaf);
            let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
            json!(lines.collect::<Vec<_>>().join("\n"))
        }
        Some(_) => return None,
    };
    *chain.first_mut()? = first;
    Some(chain)
}

/// A signed JWT, spoilt afterwards.
fn twisted(compact: &str, name: &str, mut claims: Map<String, Value>) -> Option<String> {
    let (input, signature) = compact.rsplit_once('.')?;
    let (header, payload) = input.split_once('.')?;
    let mut raw = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let half = raw.len() / 2;
    Some(match name {
        "flip-signature" => {
            *raw.get_mut(10)? ^= 1;
            format!("{input}.{}", URL_SAFE_NO_PAD.encode(raw))
        }
        "flip-payload" => {
            claims.insert("changed".into(), json!("after signing"));
            let changed = URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string());
            format!("{header}.{changed}.{signature}")
        }
        "none" | "NoNe" | "None" => {
            let head = URL_SAFE_NO_PAD.encode(json!({ "alg": name }).to_string());
            format!("{head}.{payload}.")
        }
        "empty-signature" => format!("{input}."),
        "two" => input.to_owned(),
        "four" => format!("{compact}.AAAA"),
        "five" => format!("{compact}.AAAA.AAAA"),
        "padding" => format!("{header}=.{payload}.{signature}"),
        "plus" => format!("{input}.+{}", signature.get(1..)?),
        "trailing-bits" => {
            // The last character of the signature carries four bits that mean nothing.
            let (start, last) = signature.split_at_checked(signature.len().checked_sub(1)?)?;
            let other = match last {
                "A" => 'B',
                "Q" => 'R',
                "g" => 'h',
                _ => 'x',
            };
            format!("{input}.{start}{other}")
        }
        "der" => {
            let integer = |half: &[u8]| Some([&[2, length(half.len() + 1)?, 0], half].concat());
            let (r, s) = raw.split_at_checked(half)?;
            let body = [integer(r)?, integer(s)?].concat();
            let der = [&[0x30, length(body.len())?], body.as_slice()].concat();
            format!("{input}.{}", URL_SAFE_NO_PAD.encode(der))
        }
        "zero" | "zero-r" | "zero-s" => {
            let (r, s) = raw.split_at_mut_checked(half)?;
            r.fill(u8::from(name == "zero-s"));
            s.fill(u8::from(name == "zero-r"));
            format!("{input}.{}", URL_SAFE_NO_PAD.encode(raw))
        }
        _ => return None,
    })
}

/// A length of DER in one octet.
fn length(count: usize) -> Option<u8> {
    u8::try_from(count).ok().filter(|count| *count < 0x80)
}

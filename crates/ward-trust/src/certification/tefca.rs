//! What TEFCA's basic app certification adds (TEF-02, TEF-03, C14). **Unverified**: its rules are known here from
//! third-party sources only (amendments).

use serde_json::{Map, Value};

use super::{CertificationError, Tefca};
use crate::uri::is_plain_text;

/// The certification that TEFCA demands (TEF-02; unverified).
pub const TEFCA_BASIC_APP: &str =
    "https://rce.sequoiaproject.org/udap/profiles/basic-app-certification";

/// Characters of a code or home community id.
const MAX_TEXT: usize = 256;

/// Reads the two members, which that certification must have: exactly one exchange purpose (C14), and a home community.
pub(super) fn read(
    claims: &Map<String, Value>,
    uris: &[String],
) -> Result<Option<Tefca>, CertificationError> {
    if !uris.iter().any(|uri| uri == TEFCA_BASIC_APP) {
        return Ok(None);
    }
    let text = |value: &Value| {
        value.as_str().filter(|text| is_plain_text(text, MAX_TEXT)).map(str::to_owned)
    };
    let purposes = claims.get("exchange_purposes").and_then(Value::as_array);
    let Some([one]) = purposes.map(Vec::as_slice) else {
        return Err(CertificationError::invalid("C14", "exchange_purposes is not exactly one"));
    };
    let exchange_purpose =
        text(one).ok_or(CertificationError::invalid("C14", "exchange_purposes is malformed"))?;
    let home_community_id = claims.get("home_community_id").and_then(text).ok_or(
        CertificationError::invalid("TEF-03", "home_community_id is missing or malformed"),
    )?;
    Ok(Some(Tefca { exchange_purpose, home_community_id }))
}

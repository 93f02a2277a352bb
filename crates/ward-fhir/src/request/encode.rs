//! Percent-encoding (RFC 3986 §2.1), decoded exactly once (A1, A3, D29) and written in one way.

use std::fmt::Write as _;

/// Why a component cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A byte that no URL may hold, or `%` without two hexadecimal digits.
    Syntax,
    /// Not UTF-8, or an overlong form.
    Utf8,
    /// A control character.
    Control,
}

/// Decodes one component; in a form (`plus`), `+` is a space.
pub(crate) fn decode(raw: &str, plus: bool) -> Result<String, Fault> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = rest.next().and_then(digit).ok_or(Fault::Syntax)?;
                let low = rest.next().and_then(digit).ok_or(Fault::Syntax)?;
                high << 4 | low
            }
            b'+' if plus => b' ',
            b'#' => return Err(Fault::Syntax),
            0x21..=0x7e => byte,
            _ => return Err(Fault::Syntax),
        });
    }
    let text = String::from_utf8(bytes).map_err(|_| Fault::Utf8)?;
    if text.chars().any(char::is_control) { Err(Fault::Control) } else { Ok(text) }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Appends a component in its one spelling: all but unreserved characters encoded.
pub(crate) fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

//! Names and values of a query or form, in order, decoded once (rows A14, A17, A23, B3, D6, D29).

use ward_core::Limits;

use super::encode::{Fault, decode};
use super::{RawRequest, Refusal, media};
use crate::IssueCode;

/// One `name=value`.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Parses a query or form. Empty pieces (`a=1&&b=2`) say nothing and are skipped.
pub(crate) fn pairs(text: &str, into: &mut Vec<Pair>, limits: &Limits) -> Result<(), Refusal> {
    for piece in text.split('&').filter(|piece| !piece.is_empty()) {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        let decoded = |raw| decode(raw, true).map_err(fault);
        let pair = Pair { name: decoded(name)?, value: decoded(value)? };
        // Servers differ in the case that they take for these two, so Ward takes none.
        if pair.name.eq_ignore_ascii_case("access_token") {
            let text = "Tokens belong into the Authorization header, never into a URL.";
            return Err(Refusal::malformed("A23", text));
        }
        if pair.name.eq_ignore_ascii_case("_method") {
            let text = "_method is not supported; send the method itself.";
            return Err(Refusal::malformed("A14", text));
        }
        into.push(pair);
        if into.len() > limits.search_parameters {
            let text = "There are too many parameters.";
            return Err(Refusal::new(400, "LIMIT", IssueCode::TooCostly, text));
        }
    }
    Ok(())
}

fn fault(fault: Fault) -> Refusal {
    match fault {
        Fault::Syntax => {
            Refusal::malformed("A7", "The query has a character or an escape that no URL may have.")
        }
        Fault::Utf8 => Refusal::malformed("A7", "The query is not UTF-8."),
        Fault::Control => Refusal::malformed("D29", "The query has a control character."),
    }
}

/// A method without a body has none (A17): an upstream might read it.
pub(crate) fn no_body(raw: &RawRequest<'_>) -> Result<(), Refusal> {
    if raw.body.is_empty() { Ok(()) } else { Err(Refusal::malformed("A17", "GET takes no body.")) }
}

/// Takes out what every interaction understands; answers with the rest.
pub(crate) fn general(pairs: Vec<Pair>, accept: Option<&str>) -> Result<Vec<Pair>, Refusal> {
    let mut formats = Vec::new();
    let mut rest = Vec::new();
    for pair in pairs {
        match pair.name.as_str() {
            "_format" => formats.push(pair.value),
            "_pretty" if matches!(pair.value.as_str(), "true" | "false") => {}
            "_pretty" => return Err(Refusal::value("D30", "_pretty is true or false.")),
            _ => rest.push(pair),
        }
    }
    media::negotiate(&formats, accept)?;
    Ok(rest)
}

/// Parameters of an interaction that takes none but the general ones and `known`, which are ignored.
pub(crate) fn instance_parameters(
    raw: &RawRequest<'_>,
    query: Vec<Pair>,
    strict: bool,
    known: &[&str],
) -> Result<(), Refusal> {
    no_body(raw)?;
    for pair in general(query, raw.accept)? {
        match pair.name.as_str() {
            "_summary" if pair.value == "false" => {}
            // They would hide from the filter what it decides on (C7).
            "_elements" | "_summary" => {
                return Err(Refusal::unsupported("C7", format!("{} is not supported.", pair.name)));
            }
            name if strict && !known.contains(&name) => return Err(unknown(name)),
            _ => {}
        }
    }
    Ok(())
}

/// 400 for an unknown name under strict handling (D30).
pub(crate) fn unknown(name: &str) -> Refusal {
    let text = format!("The parameter {} is not known here.", printable(name));
    Refusal::unsupported("D30", text)
}

/// A name as it may stand in a text: short, and without anything but a name's characters.
pub(crate) fn printable(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':' | '.');
    name.chars().take(64).map(|c| if plain(c) { c } else { '?' }).collect()
}

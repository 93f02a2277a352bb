//! Media types and preferences (rows B1–B5, B10, D30): JSON in, JSON out, forms for `_search`.

use super::Refusal;
use crate::IssueCode;

/// Whether `Prefer` demands `handling=strict` (R4 §3.1.1.4.2). Both at once mean strict.
pub(crate) fn handling_is_strict(prefer: Option<&str>) -> bool {
    prefer.unwrap_or_default().split([',', ';']).any(|preference| {
        preference.split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("handling")
                && value.trim().trim_matches('"').eq_ignore_ascii_case("strict")
        })
    })
}

/// 406 unless JSON may be answered. `_format` wins over `Accept` (R4 §3.1.0.1.11); of several, each
/// must say JSON (B3).
pub(crate) fn negotiate(formats: &[String], accept: Option<&str>) -> Result<(), Refusal> {
    let refused = |rule| {
        let text = "Only JSON is offered: application/fhir+json.";
        Err(Refusal::new(406, rule, IssueCode::NotSupported, text))
    };
    if !formats.is_empty() {
        return if formats.iter().all(|format| is_json_format(format)) {
            Ok(())
        } else {
            refused("B3")
        };
    }
    match accept {
        Some(accept) if !accept.trim().is_empty() && !accepts_json(accept) => refused("B1"),
        _ => Ok(()),
    }
}

/// 415 unless the body is a form (B5, B10). An absent type is fine where there is no body.
pub(crate) fn require_form(content_type: Option<&str>, body: &[u8]) -> Result<(), Refusal> {
    let Some(content_type) = content_type else {
        return if body.is_empty() { Ok(()) } else { Err(not_a_form()) };
    };
    let (media, mut parameters) = split(content_type);
    let charset_is_utf8 =
        parameters.all(|(name, value)| name == "charset" && value.eq_ignore_ascii_case("utf-8"));
    if media == "application/x-www-form-urlencoded" && charset_is_utf8 {
        Ok(())
    } else {
        Err(not_a_form())
    }
}

fn not_a_form() -> Refusal {
    let text = "_search takes application/x-www-form-urlencoded in UTF-8.";
    Refusal::new(415, "B10", IssueCode::NotSupported, text)
}

fn is_json_format(format: &str) -> bool {
    // `_format=application/fhir+json` with `+` read as a space (amendment to B3).
    let format = format.trim().replacen("fhir json", "fhir+json", 1);
    let (media, parameters) = split(&format);
    (media == "json" || is_json(&media)) && parameters_fit(parameters)
}

fn is_json(media: &str) -> bool {
    matches!(media, "application/fhir+json" | "application/json")
}

/// `Accept` (RFC 9110 §12.5.1): the most specific range decides.
fn accepts_json(accept: &str) -> bool {
    let mut best: [Option<(u8, f32)>; 2] = [None, None];
    for range in accept.split(',') {
        let (media, parameters) = split(range);
        let mut quality = 1.0;
        let rest = parameters.filter(|(name, value)| {
            if name == "q" {
                quality =
                    value.parse::<f32>().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0);
            }
            name != "q"
        });
        if !parameters_fit(rest.collect::<Vec<_>>().into_iter()) {
            continue;
        }
        for (slot, name) in best.iter_mut().zip(["application/fhir+json", "application/json"]) {
            let weight = match media.as_str() {
                exact if exact == name => 3,
                "application/*" => 2,
                "*/*" => 1,
                _ => continue,
            };
            if slot.is_none_or(|(known, _)| known < weight) {
                *slot = Some((weight, quality));
            }
        }
    }
    best.iter().flatten().any(|(_, quality)| *quality > 0.0)
}

/// Lower-case media type, and its parameters with lower-case names.
fn split(text: &str) -> (String, impl Iterator<Item = (String, String)>) {
    let mut parts = text.split(';');
    let media = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let parameters = parts.map(str::trim).filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned())
    });
    (media, parameters)
}

/// Only UTF-8 and FHIR 4.0 are spoken; other parameters do not matter.
fn parameters_fit(mut parameters: impl Iterator<Item = (String, String)>) -> bool {
    parameters.all(|(name, value)| match name.as_str() {
        "charset" => value.eq_ignore_ascii_case("utf-8"),
        "fhirversion" => value == "4.0",
        _ => true,
    })
}

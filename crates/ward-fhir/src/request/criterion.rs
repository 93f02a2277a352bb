//! One search parameter with its modifier and alternatives (rows D3, D4, D7, D8, D11, D13, D34).

use ward_core::Limits;

use super::{Criterion, Modifier, Refusal, value};
use crate::{FhirId, IssueCode, ParamKind, Reference, ResourceType, SearchParam};

/// Parses the value of a known parameter.
pub(crate) fn parse(
    param: &'static SearchParam,
    modifier: Option<&str>,
    text: &str,
    base: &str,
    limits: &Limits,
) -> Result<Criterion, Refusal> {
    let code = param.code;
    if !param.is_accepted() {
        return Err(Refusal::unsupported("D13", format!("{code} is not supported.")));
    }
    let (modifier, target) = match modifier {
        None => (None, None),
        Some(word) => read_modifier(param, word)?,
    };
    let parts = value::alternatives(text).ok_or_else(|| {
        Refusal::value("D30", format!("{code} has an empty or ill-escaped value."))
    })?;
    if parts.len() > limits.search_values {
        let text = format!("{code} has too many values.");
        return Err(Refusal::new(400, "LIMIT", IssueCode::TooCostly, text));
    }
    let one = |part: &str| match (modifier, param.kind) {
        (Some(Modifier::Missing), _) => {
            if matches!(part, "true" | "false") && parts.len() == 1 {
                Ok(part.to_owned())
            } else {
                Err(Refusal::value("D7", format!("{code}:missing is true or false.")))
            }
        }
        (_, ParamKind::Reference) => reference(param, target, part, base),
        _ if code == "_id" => plain(param, part, |text| FhirId::parse(text).is_ok()),
        (_, kind) => plain(param, part, |text| value::well_formed(kind, text)),
    };
    let values = parts.iter().map(|part| one(part)).collect::<Result<_, _>>()?;
    Ok(Criterion { code, modifier, values })
}

fn plain(param: &SearchParam, part: &str, fits: impl Fn(&str) -> bool) -> Result<String, Refusal> {
    if fits(part) { Ok(part.to_owned()) } else { Err(bad_value(param)) }
}

fn bad_value(param: &SearchParam) -> Refusal {
    let kind = match param.kind {
        _ if param.code == "_id" => "an id",
        ParamKind::Number => "a number",
        ParamKind::Date => "a date",
        ParamKind::Token => "a token (code, system|code, |code or system|)",
        ParamKind::Quantity => "a quantity (number or number|system|code)",
        ParamKind::Reference => "a reference (Type/id)",
        ParamKind::Uri => "a URI",
        _ => "text",
    };
    Refusal::value("D30", format!("{} takes {kind}.", param.code))
}

type Read = (Option<Modifier>, Option<ResourceType>);

fn read_modifier(param: &SearchParam, word: &str) -> Result<Read, Refusal> {
    let modifier = match (word, param.kind) {
        ("missing", _) => Modifier::Missing,
        // `_id:not` and the like would enumerate.
        ("not", ParamKind::Token) if param.code != "_id" => Modifier::Not,
        ("exact", ParamKind::String) => Modifier::Exact,
        ("contains", ParamKind::String) => Modifier::Contains,
        (name, ParamKind::Reference) if name != "identifier" => {
            return match ResourceType::from_name(name) {
                Some(target) if can_target(param, target) => Ok((None, Some(target))),
                _ => Err(unsupported_modifier(param, word)),
            };
        }
        _ => return Err(unsupported_modifier(param, word)),
    };
    Ok((Some(modifier), None))
}

fn unsupported_modifier(param: &SearchParam, word: &str) -> Refusal {
    let rule = match word {
        // A chain in disguise.
        "identifier" => "D8",
        "of-type" => "D34",
        _ => "D11",
    };
    let text = format!("{} is not supported with this modifier.", param.code);
    Refusal::unsupported(rule, text)
}

fn can_target(param: &SearchParam, target: ResourceType) -> bool {
    param.targets.is_empty() || param.targets.contains(&target.name())
}

/// A reference in its one spelling, `Type/id` (D4). The version is left out: search compares ids.
fn reference(
    param: &SearchParam,
    target: Option<ResourceType>,
    part: &str,
    base: &str,
) -> Result<String, Refusal> {
    if let Ok(id) = FhirId::parse(part) {
        let rtype = target.or_else(|| only_target(param)).ok_or_else(|| {
            Refusal::value("D4", format!("{} needs the type: Type/id.", param.code))
        })?;
        return Ok(format!("{rtype}/{id}"));
    }
    match Reference::parse(part, &[base]) {
        Reference::Local { rtype, id, .. }
            if can_target(param, rtype) && target.is_none_or(|target| target == rtype) =>
        {
            Ok(format!("{rtype}/{id}"))
        }
        Reference::Foreign { .. } => {
            let text = format!("{} points to another server.", param.code);
            Err(Refusal::value("D4", text))
        }
        _ => Err(bad_value(param)),
    }
}

/// What a bare id means: the only target, the target that the parameter is named after (`patient`,
/// `encounter`), or the patient for `subject`. Nothing is guessed for others.
fn only_target(param: &SearchParam) -> Option<ResourceType> {
    let named = || param.targets.iter().find(|name| name.eq_ignore_ascii_case(param.code));
    let name = match (param.code, param.targets) {
        (_, [name]) => name,
        ("subject", targets) if targets.is_empty() || targets.contains(&"Patient") => "Patient",
        _ => named()?,
    };
    ResourceType::from_name(name)
}

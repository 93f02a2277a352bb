//! The part of FHIRPath that search parameters of R4 need: child access, `|`, `as`, `as(…)`,
//! `ofType(…)` and `where(resolve() is …)`. Anything else makes the whole parameter "not simple".

use crate::elements::CHOICE;

/// A simple path, and the type that a reference found there must resolve to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// JSON element names joined by dots; the last may end in `[x]`.
    pub(crate) elements: String,
    /// From `where(resolve() is T)`.
    pub(crate) target: Option<String>,
}

/// The alternatives of `expression` that start at `base`, or `None` if one of them is not simple.
/// An alternative without a type (`name | alias`) belongs to every base.
pub(crate) fn paths(expression: &str, base: &str) -> Option<Vec<Path>> {
    let mut found = Vec::new();
    for alternative in expression.split('|').map(str::trim) {
        let plain = alternative
            .strip_prefix('(')
            .map_or(Some(alternative), |inner| inner.strip_suffix(')'))?
            .trim();
        let inside = match plain.split_once('.') {
            Some((head, rest)) if head == base => rest,
            // Another base's alternative: none of our business, simple or not.
            Some((head, _)) if is_type(head) => continue,
            _ if is_element(plain) => plain,
            _ if is_type(plain.split(|c: char| !c.is_alphanumeric()).next()?) && plain != base => {
                continue;
            }
            _ => return None,
        };
        let path = one(inside, base)?;
        if !found.contains(&path) {
            found.push(path);
        }
    }
    (!found.is_empty()).then_some(found)
}

fn one(text: &str, base: &str) -> Option<Path> {
    if let Some((path, target)) = call(text, ".where(resolve() is ") {
        return Some(Path { elements: chain(path, base)?, target: Some(target.to_owned()) });
    }
    let typed = call(text, ".as(")
        .or_else(|| call(text, ".ofType("))
        .or_else(|| text.split_once(" as ").filter(|(_, name)| is_name(name)));
    let elements = match typed {
        Some((path, name)) => {
            let mut letters = name.chars();
            let first = letters.next()?.to_ascii_uppercase();
            is_chain(path).then(|| format!("{path}{first}{}", letters.as_str()))?
        }
        None => chain(text, base)?,
    };
    Some(Path { elements, target: None })
}

/// `path` + `opening` + name + `)`.
fn call<'a>(text: &'a str, opening: &str) -> Option<(&'a str, &'a str)> {
    let (path, rest) = text.split_once(opening)?;
    rest.strip_suffix(')').filter(|name| is_name(name)).map(|name| (path, name))
}

fn chain(path: &str, base: &str) -> Option<String> {
    let choice = CHOICE.binary_search(&format!("{base}.{path}").as_str()).is_ok();
    is_chain(path).then(|| if choice { format!("{path}[x]") } else { path.to_owned() })
}

fn is_chain(path: &str) -> bool {
    path.split('.').all(is_element)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_element(text: &str) -> bool {
    is_name(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

fn is_type(text: &str) -> bool {
    is_name(text) && text.starts_with(|c: char| c.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(expression: &str, base: &str) -> Option<Vec<String>> {
        paths(expression, base).map(|paths| paths.into_iter().map(|path| path.elements).collect())
    }

    #[test]
    fn simple_expressions_become_json_paths() {
        for (expression, base, want) in [
            ("Account.subject", "Account", &["subject"][..]),
            ("A.x | Appointment.participant.actor", "Appointment", &["participant.actor"]),
            ("(Observation.value as Quantity)", "Observation", &["valueQuantity"]),
            ("Observation.value.as(dateTime)", "Observation", &["valueDateTime"]),
            ("Observation.value.ofType(Period)", "Observation", &["valuePeriod"]),
            ("Observation.effective", "Observation", &["effective[x]"]),
            ("name | alias", "Organization", &["name", "alias"]),
            ("A.x.where(y='z') | B.w", "B", &["w"]),
        ] {
            let want: Vec<String> = want.iter().map(ToString::to_string).collect();
            assert_eq!(plain(expression, base), Some(want), "{expression}");
        }
        let path = paths("Flag.subject.where(resolve() is Patient)", "Flag").unwrap();
        assert_eq!(path[0].elements, "subject");
        assert_eq!(path[0].target.as_deref(), Some("Patient"));
    }

    #[test]
    fn what_is_not_simple_is_not_guessed() {
        for (expression, base) in [
            ("Patient.telecom.where(system='email')", "Patient"),
            ("Bundle.entry[0].resource", "Bundle"),
            ("(Observation.value as CodeableConcept).text", "Observation"),
            ("Observation", "Observation"),
            ("Patient.deceased.exists() and Patient.deceased != false", "Patient"),
            ("B.w | B.x.where(y='z')", "B"),
            ("A.x", "B"),
        ] {
            assert_eq!(plain(expression, base), None, "{expression}");
        }
    }
}

//! Which scopes are advertised and which are granted (IG §7.3; DSC-15, REG-19..21, TOK-19, TOK-20).
//!
//! A wildcard is a scope that stands for several: `system/*.rs`, `system/Observation.*`, `patient/*.read`. One that is
//! supported becomes what of it is granted (rule 4); one that is not is an error, whatever else is asked for (rules 5, 9, 10).

use std::collections::BTreeSet;

use ward_fhir::{ResourceType, ScopeSet};

/// Why no scope is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScopeError {
    /// A wildcard that this server does not support (P16).
    Wildcard,
    /// Nothing requested can be granted (P17, P19, T31).
    Nothing,
}

/// The part of the requested scopes within `ceiling`. Scopes that are unknown or beyond it are left
/// out (P18, T31); a wildcard outside `supported` is refused (P16).
pub(crate) fn grant(
    requested: &str,
    supported: &ScopeSet,
    ceiling: &ScopeSet,
) -> Result<ScopeSet, ScopeError> {
    let (wanted, _rejected) = ScopeSet::parse(requested);
    for token in requested.split(' ').filter(|token| is_wildcard(token)) {
        let (wildcard, rejected) = ScopeSet::parse(token);
        if !rejected.is_empty() || !supported.contains(&wildcard) {
            return Err(ScopeError::Wildcard);
        }
    }
    let granted = wanted.intersect(supported).intersect(ceiling);
    if granted.is_empty() { Err(ScopeError::Nothing) } else { Ok(granted) }
}

/// Whether a scope stands for all types, or for all that can be done with one; of persons' scopes too. One that says what
/// of a type it means (`?`) is none: it stands for less, not for more.
fn is_wildcard(token: &str) -> bool {
    token
        .split_once('/')
        .and_then(|(_, rest)| rest.split_once('.'))
        .is_some_and(|(target, letters)| target == "*" || letters == "*")
}

/// Every scope that can be granted, in every spelling that an answer can have (DSC-15): under a
/// wildcard all types, of several letters each choice.
pub(crate) fn advertised(supported: &ScopeSet) -> Vec<String> {
    let mut all = BTreeSet::new();
    for token in supported.tokens() {
        let Some((name, letters)) =
            token.strip_prefix("system/").and_then(|rest| rest.split_once('.'))
        else {
            continue;
        };
        let letters: Vec<char> = letters.chars().take(5).collect();
        for choice in 1_u32..1 << letters.len() {
            let chosen: String = letters
                .iter()
                .enumerate()
                .filter(|(at, _)| choice & (1 << at) != 0)
                .map(|(_, letter)| *letter)
                .collect();
            all.insert(format!("system/{name}.{chosen}"));
            if name == "*" {
                all.extend(ResourceType::all().map(|t| format!("system/{}.{chosen}", t.name())));
            }
        }
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> ScopeSet {
        ScopeSet::parse(text).0
    }

    #[test]
    fn wildcards_are_supported_or_an_error() {
        let (narrow, wide) = (set("system/Patient.rs system/Device.cruds"), set("system/*.rs"));
        let both = |asked: &str, known: &ScopeSet, granted: &str| {
            let found = grant(asked, known, known);
            assert_eq!(found.map(|set| set.to_string()), Ok(granted.to_owned()), "{asked}");
        };
        both("system/Patient.rs nonsense launch", &narrow, "system/Patient.rs");
        both("system/Patient.read", &narrow, "system/Patient.rs");
        both("system/Patient.cruds", &narrow, "system/Patient.rs");
        both("system/Device.*", &narrow, "system/Device.cruds");
        both("system/*.read", &wide, "system/*.rs");
        both("system/*.r", &wide, "system/*.r");
        for (asked, known) in [
            ("system/*.rs", &narrow),
            ("system/Patient.rs system/*.r", &narrow),
            ("system/Patient.* system/Patient.r", &narrow),
            ("system/Patient.rs user/*.read", &wide),
            ("patient/Observation.* system/Patient.r", &wide),
            ("system/*.*", &wide),
            ("system/*.cruds system/Patient.rs", &wide),
            ("system/*.sr", &wide),
            ("system/Foo.*", &wide),
        ] {
            assert_eq!(grant(asked, known, known), Err(ScopeError::Wildcard), "{asked}");
        }
        for asked in ["", "openid", "system/Patient.d", "patient/Patient.rs", "system/Foo.rs"] {
            assert_eq!(grant(asked, &wide, &wide), Err(ScopeError::Nothing), "{asked}");
        }
    }

    #[test]
    fn a_wildcard_becomes_what_the_client_may_have() {
        let supported = set("system/*.rs");
        let ceiling = set("system/Patient.rs system/Observation.r");
        let granted = grant("system/*.rs", &supported, &ceiling).unwrap();
        assert_eq!(granted.to_string(), "system/Observation.r system/Patient.rs");
        let listed = advertised(&supported);
        assert!(granted.tokens().iter().all(|token| listed.contains(token)), "DSC-15");
    }
}

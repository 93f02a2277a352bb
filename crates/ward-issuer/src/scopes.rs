//! Which scopes are advertised and which are granted (IG §7.3; DSC-15, REG-20, TOK-20).

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
    for token in requested.split(' ').filter(|token| token.starts_with("system/*.")) {
        let (wildcard, _) = ScopeSet::parse(token);
        if !supported.contains(&wildcard) {
            return Err(ScopeError::Wildcard);
        }
    }
    let granted = wanted.intersect(supported).intersect(ceiling);
    if granted.is_empty() { Err(ScopeError::Nothing) } else { Ok(granted) }
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

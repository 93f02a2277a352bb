//! A type search: which parameters were understood, and what matches (FHIR R4 §3.2.1).
//!
//! Under `Prefer: handling=strict` what is not understood is refused, otherwise it is ignored and left
//! out of `link.self`. A bad value or modifier of a known parameter is refused in both cases.

use serde_json::Value;

use crate::date;
use crate::element::split_reference;
use crate::matching::{Criterion, Modifier, Number, Operand, Prefix, Token};
use crate::outcome::Refusal;
use crate::params::{self, Kind, Param};
use crate::query::{split, unescape};
use crate::sort::{SortBy, SortValue};
use crate::store::{Record, Store, Version};

/// Page size if the caller names none, and the largest.
const COUNT_DEFAULT: usize = 50;
const COUNT_MAX: usize = 500;
/// Most parameters of a search, and most comma-separated values of one.
const PARAMETERS_MAX: usize = 100;
const VALUES_MAX: usize = 2000;

/// A search as it was understood.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) rtype: String,
    pub(crate) count: usize,
    pub(crate) with_total: bool,
    pub(crate) count_only: bool,
    /// The parameters that were understood, as they came.
    pub(crate) understood: Vec<(String, String)>,
    criteria: Vec<Criterion>,
    sort: Vec<SortBy>,
}

/// A record that matches, in the version that was current at the horizon.
#[derive(Debug)]
pub(crate) struct Found<'s> {
    pub(crate) id: &'s str,
    pub(crate) version: &'s Version,
}

impl Search {
    pub(crate) fn parse(
        rtype: &str,
        pairs: &[(String, String)],
        strict: bool,
    ) -> Result<Self, Refusal> {
        if pairs.len() > PARAMETERS_MAX {
            return Err(Refusal::new(400, "too-costly", "Too many search parameters"));
        }
        let mut search = Self {
            rtype: rtype.to_owned(),
            count: COUNT_DEFAULT,
            with_total: true,
            count_only: false,
            understood: Vec::new(),
            criteria: Vec::new(),
            sort: Vec::new(),
        };
        for (name, value) in pairs {
            if search.take(name, value, strict)? {
                search.understood.push((name.clone(), value.clone()));
            } else if strict {
                return Err(Refusal::unsupported(format!(
                    "The search parameter {name} of {rtype} is not supported"
                )));
            }
        }
        Ok(search)
    }

    /// Takes one parameter; false if it is not understood.
    fn take(&mut self, name: &str, value: &str, strict: bool) -> Result<bool, Refusal> {
        let bad = || Refusal::invalid(format!("The value of {name} is not valid"));
        match name {
            "_format" | "_pretty" => Ok(true),
            "_count" => {
                let count: usize = value.parse().map_err(|_| bad())?;
                self.count_only |= count == 0;
                self.count = count.min(COUNT_MAX);
                Ok(true)
            }
            "_total" => match value {
                "none" => {
                    self.with_total = false;
                    Ok(true)
                }
                "estimate" | "accurate" => Ok(true),
                _ => Err(bad()),
            },
            "_summary" => match value {
                "count" => {
                    self.count_only = true;
                    Ok(true)
                }
                "false" => Ok(true),
                "true" | "text" | "data" => Ok(false),
                _ => Err(bad()),
            },
            "_sort" => self.take_sort(value, strict),
            _ => {
                let (code, modifier) = name
                    .split_once(':')
                    .map_or((name, None), |(code, modifier)| (code, Some(modifier)));
                let Some(param) = params::lookup(&self.rtype, code) else { return Ok(false) };
                let criterion = criterion(name, param, modifier, value)?;
                self.criteria.push(criterion);
                Ok(true)
            }
        }
    }

    fn take_sort(&mut self, value: &str, strict: bool) -> Result<bool, Refusal> {
        let mut all = true;
        for code in value.split(',') {
            let (code, descending) =
                code.strip_prefix('-').map_or((code, false), |code| (code, true));
            match params::lookup(&self.rtype, code) {
                Some(param) => self.sort.push(SortBy { param, descending }),
                None if strict => {
                    return Err(Refusal::unsupported(format!("Cannot sort by {code}")));
                }
                None => all = false,
            }
        }
        Ok(all)
    }

    /// The matches as of `horizon`, in order: all of them, unless no total is wanted and they come in
    /// creation order anyway; then the first `enough`.
    pub(crate) fn run<'s>(
        &self,
        store: &'s Store,
        horizon: u64,
        base: &str,
        enough: usize,
    ) -> Vec<Found<'s>> {
        let narrowest = self
            .criteria
            .iter()
            .filter_map(Criterion::index_keys)
            .map(|keys| store.candidates(&self.rtype, Some(&keys)))
            .min_by_key(Vec::len);
        let candidates = narrowest.unwrap_or_else(|| store.candidates(&self.rtype, None));
        let all = self.with_total || self.count_only || !self.sort.is_empty();
        self.select(candidates, horizon, base, if all { usize::MAX } else { enough })
    }

    fn select<'s>(
        &self,
        candidates: Vec<&'s Record>,
        horizon: u64,
        base: &str,
        enough: usize,
    ) -> Vec<Found<'s>> {
        let versions = candidates.into_iter().filter_map(|record| {
            let version = record.at(horizon)?;
            Some(Found { id: &record.id, version })
        });
        if self.criteria.is_empty() && self.sort.is_empty() {
            return versions.take(enough).collect();
        }
        let mut found: Vec<(Vec<Option<SortValue>>, Found<'s>)> = versions
            .filter_map(|found| {
                let body = found.version.body.as_deref()?;
                let resource: Value = serde_json::from_str(body).ok()?;
                let matches =
                    self.criteria.iter().all(|criterion| criterion.matches(&resource, base));
                matches.then(|| (self.sort.iter().map(|by| by.value(&resource)).collect(), found))
            })
            .take(enough)
            .collect();
        // Stable: what is equal stays in creation order, so that pages never overlap.
        found.sort_by(|(left, _), (right, _)| {
            let pairs = self.sort.iter().zip(left.iter().zip(right));
            pairs
                .map(|(by, (left, right))| by.compare(left.as_ref(), right.as_ref()))
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        found.into_iter().map(|(_, found)| found).collect()
    }
}

fn criterion(
    name: &str,
    param: Param,
    modifier: Option<&str>,
    value: &str,
) -> Result<Criterion, Refusal> {
    let modifier = modifier
        .map(|text| {
            read_modifier(param.kind, text, value).ok_or_else(|| {
                Refusal::unsupported(format!("The modifier of {name} is not supported"))
            })
        })
        .transpose()?;
    if matches!(modifier, Some(Modifier::Missing(_))) {
        return Ok(Criterion { param, modifier, operands: Vec::new() });
    }
    let texts = split(value, ',');
    if texts.len() > VALUES_MAX {
        return Err(Refusal::new(400, "too-costly", format!("Too many values of {name}")));
    }
    let operands = texts
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| operand(param.kind, modifier.as_ref(), text))
        .collect::<Option<Vec<Operand>>>()
        .filter(|operands| !operands.is_empty())
        .ok_or_else(|| Refusal::invalid(format!("The value of {name} is not valid")))?;
    Ok(Criterion { param, modifier, operands })
}

fn read_modifier(kind: Kind, text: &str, value: &str) -> Option<Modifier> {
    match (kind, text) {
        (_, "missing") => match value {
            "true" => Some(Modifier::Missing(true)),
            "false" => Some(Modifier::Missing(false)),
            _ => None,
        },
        (Kind::String, "exact") => Some(Modifier::Exact),
        (Kind::String, "contains") => Some(Modifier::Contains),
        (Kind::Token, "not") => Some(Modifier::Not),
        (Kind::Reference, "identifier") => Some(Modifier::Identifier),
        (Kind::Reference, rtype) if params::is_type(rtype) => {
            Some(Modifier::Type(rtype.to_owned()))
        }
        _ => None,
    }
}

fn operand(kind: Kind, modifier: Option<&Modifier>, text: &str) -> Option<Operand> {
    match kind {
        Kind::String => Some(Operand::Text(unescape(text))),
        Kind::Uri => Some(Operand::Uri(unescape(text))),
        Kind::Token => token(text).map(Operand::Token),
        Kind::Reference if modifier == Some(&Modifier::Identifier) => {
            token(text).map(Operand::Token)
        }
        Kind::Reference => reference(modifier, &unescape(text)),
        Kind::Date => {
            let (prefix, rest) = prefix(text);
            date::parse(rest).map(|span| Operand::Date(prefix, span))
        }
        Kind::Number => number(text).map(Operand::Number),
        Kind::Quantity => {
            let parts = split(text, '|');
            let number = number(parts.first()?)?;
            let part = |index: usize| {
                parts.get(index).map(|part| unescape(part)).filter(|part| !part.is_empty())
            };
            let unit = part(2).map(|code| Token { system: part(1), code: Some(code) });
            Some(Operand::Quantity { number, unit })
        }
    }
}

fn token(text: &str) -> Option<Token> {
    let parts = split(text, '|');
    let some = |part: &String| Some(unescape(part)).filter(|part| !part.is_empty());
    match parts.as_slice() {
        [code] => Some(Token { system: None, code: some(code) }),
        [system, code] if !(system.is_empty() && code.is_empty()) => {
            Some(Token { system: Some(unescape(system)), code: some(code) })
        }
        _ => None,
    }
}

fn reference(modifier: Option<&Modifier>, text: &str) -> Option<Operand> {
    let forced = match modifier {
        Some(Modifier::Type(rtype)) => Some(rtype.clone()),
        _ => None,
    };
    if !text.contains('/') {
        return Some(Operand::Reference { base: None, rtype: forced, id: text.to_owned() });
    }
    let target = split_reference(text)?;
    if forced.as_deref().is_some_and(|forced| forced != target.rtype) {
        return None;
    }
    Some(Operand::Reference {
        base: Some(target.base.to_owned()).filter(|base| !base.is_empty()),
        rtype: Some(target.rtype.to_owned()),
        id: target.id.to_owned(),
    })
}

fn prefix(text: &str) -> (Prefix, &str) {
    let known = Prefix::ALL
        .iter()
        .find_map(|(name, prefix)| text.strip_prefix(name).map(|rest| (*prefix, rest)));
    known.unwrap_or((Prefix::Eq, text))
}

/// A number stands for all that rounds to it in its precision (§3.2.1.5.4).
fn number(text: &str) -> Option<Number> {
    let (prefix, digits) = prefix(text);
    let value: f64 = digits.parse().ok().filter(|value: &f64| value.is_finite())?;
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let decimals = mantissa.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let half = 0.5 * 10f64.powi(exponent.checked_sub(i32::try_from(decimals).ok()?)?);
    Some(Number { prefix, value, half })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Sandbox;

    const CRITERIA: [(&str, &str); 14] = [
        ("patient", "Patient/pt-00001,pt-00002"),
        ("patient", "pt-00003"),
        ("subject", "Group/none"),
        ("code", "8867-4"),
        ("code", "http://loinc.org|718-7,http://loinc.org|2823-3"),
        ("code", "http://loinc.org|"),
        ("code:not", "8867-4"),
        ("status", "final"),
        ("_security", "R"),
        ("_id", "obs-00001-3,obs-00002-4"),
        ("date", "ge2025"),
        ("value-quantity", "gt100"),
        ("encounter:missing", "true"),
        ("focus", "Patient/pt-00002"),
    ];

    proptest! {
        /// The index only saves work: any combination finds what a scan finds.
        #[test]
        fn index_agrees_with_scan(chosen in prop::sample::subsequence(CRITERIA.to_vec(), 0..4)) {
            use std::sync::OnceLock;
            static HOSPITAL: OnceLock<Sandbox> = OnceLock::new();
            let store = HOSPITAL.get_or_init(|| Sandbox::generate(21, 4)).store.read().unwrap();
            let pairs: Vec<(String, String)> =
                chosen.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            let search = Search::parse("Observation", &pairs, true).unwrap();
            let horizon = store.horizon();
            let ids = |found: Vec<Found<'_>>| -> Vec<String> {
                found.into_iter().map(|found| found.id.to_owned()).collect()
            };
            let all = store.candidates("Observation", None);
            let scanned = ids(search.select(all, horizon, "http://x", usize::MAX));
            prop_assert_eq!(ids(search.run(&store, horizon, "http://x", 3)), scanned);
        }

        /// Whatever the value, it is understood or refused.
        #[test]
        fn no_value_breaks_the_parser(value in "[ -~é]{0,24}", number in "(gt|ap)?-?[0-9]{0,40}(\\.[0-9]{0,9})?(e[0-9]{1,12})?") {
            for name in ["code", "patient", "date", "value-quantity", "_profile", "_sort", "_count", "subject:Patient"] {
                for value in [&value, &number] {
                    let pairs = [(name.to_owned(), value.clone())];
                    if let Err(refusal) = Search::parse("Observation", &pairs, true) {
                        prop_assert_eq!(refusal.status, 400);
                    }
                }
            }
        }
    }
}

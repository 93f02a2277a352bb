//! Type search (rows D4–D33, E2, E4): every parameter is understood, refused, or unknown and dropped.

use ward_core::Limits;

use super::form::{self, Pair, printable};
use super::{Criterion, RawRequest, Refusal, Search, SortKey, TotalMode, criterion, media};
use crate::{IssueCode, ResourceType, lookup};

/// Understood by FHIR and not offered: each would decide on, join with, or reveal data that the
/// caller may not see. 400 even under lenient handling, because dropping them would answer another
/// question than the one asked.
const REFUSED: [(&str, &str); 14] = [
    ("_contained", "D24"),
    ("_containedType", "D24"),
    ("_content", "D15"),
    ("_elements", "C7"),
    ("_filter", "D16"),
    ("_has", "D20"),
    ("_in", "D19"),
    ("_include", "F1"),
    ("_list", "D18"),
    ("_query", "D17"),
    ("_revinclude", "F2"),
    ("_text", "D15"),
    ("_type", "D25"),
    ("_graph", "G3"),
];

/// Parses query and form of a search on `rtype`; both are combined (D28).
pub(crate) fn parse(
    rtype: ResourceType,
    raw: &RawRequest<'_>,
    query: Vec<Pair>,
    limits: &Limits,
    strict: bool,
) -> Result<Search, Refusal> {
    let mut pairs = query;
    if raw.method == "POST" {
        media::require_form(raw.content_type, raw.body)?;
        if raw.body.len() > limits.fhir_body_bytes {
            return Err(Refusal::new(413, "B8", IssueCode::TooLong, "The body is too large."));
        }
        let body = std::str::from_utf8(raw.body)
            .map_err(|_| Refusal::malformed("A7", "The form is not UTF-8."))?;
        form::pairs(body, &mut pairs, limits)?;
    } else {
        form::no_body(raw)?;
    }
    let pairs = form::general(pairs, raw.accept)?;
    let mut search = Search::new(rtype);
    let mut seen = Vec::new();
    for pair in &pairs {
        if !search.take_control(pair, &mut seen)? {
            search.take(pair, raw.base, limits, strict)?;
        }
    }
    Ok(search)
}

impl Search {
    /// A search for everything of a type.
    pub const fn new(rtype: ResourceType) -> Self {
        Self {
            rtype,
            criteria: Vec::new(),
            count: None,
            sort: Vec::new(),
            total: TotalMode::Unspecified,
            summary_count: false,
            cursor: None,
            dropped: Vec::new(),
        }
    }

    /// Takes a parameter that shapes the answer; each may stand once. False if it is another one.
    fn take_control(&mut self, pair: &Pair, seen: &mut Vec<String>) -> Result<bool, Refusal> {
        let name = pair.name.as_str();
        let value = pair.value.as_str();
        match name {
            "_count" => match count(value)? {
                0 => self.summary_count = true,
                count => self.count = Some(count),
            },
            "_summary" => match value {
                "count" => self.summary_count = true,
                "false" => {}
                _ => {
                    return Err(Refusal::unsupported("C7", "_summary is supported as count only."));
                }
            },
            "_total" => {
                self.total = match value {
                    "none" => TotalMode::None,
                    "estimate" => TotalMode::Estimate,
                    "accurate" => TotalMode::Accurate,
                    _ => {
                        return Err(Refusal::value("D30", "_total is none, estimate or accurate."));
                    }
                }
            }
            "_sort" => self.sort = sort(self.rtype, value)?,
            "_cursor" => self.cursor = Some(cursor(value)?),
            _ => return Ok(false),
        }
        if seen.iter().any(|known| known == name) {
            return Err(Refusal::malformed("D30", format!("{name} may stand only once.")));
        }
        seen.push(name.to_owned());
        Ok(true)
    }

    fn take(
        &mut self,
        pair: &Pair,
        base: &str,
        limits: &Limits,
        strict: bool,
    ) -> Result<(), Refusal> {
        let (head, modifier) = match pair.name.split_once(':') {
            Some((head, modifier)) => (head, Some(modifier)),
            None => (pair.name.as_str(), None),
        };
        if let Some((name, rule)) = REFUSED.iter().find(|(name, _)| *name == head) {
            return Err(Refusal::unsupported(rule, format!("{name} is not supported.")));
        }
        if matches!(head, "_count" | "_summary" | "_total" | "_sort" | "_cursor") {
            return Err(Refusal::unsupported("D30", format!("{head} takes no modifier.")));
        }
        let root = head.split('.').next().unwrap_or(head);
        let chained = root != head || modifier.is_some_and(|modifier| modifier.contains('.'));
        match lookup(self.rtype, root) {
            Some(_) if chained => {
                let text = format!("{root} is chained; chained parameters are not supported.");
                Err(Refusal::unsupported("D22", text))
            }
            Some(param) => {
                let values = criterion::parse(param, modifier, &pair.value, base, limits)?;
                self.criteria.push(values);
                Ok(())
            }
            None if strict => Err(form::unknown(&pair.name)),
            None => {
                let name = printable(&pair.name);
                if !self.dropped.contains(&name) {
                    self.dropped.push(name);
                }
                Ok(())
            }
        }
    }
}

/// `_count` (D31); more than fits is as much as fits, the caller caps it anyway.
fn count(value: &str) -> Result<u32, Refusal> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::value("D31", "_count is a number of 0 or more."));
    }
    Ok(value.parse().unwrap_or(u32::MAX))
}

fn sort(rtype: ResourceType, value: &str) -> Result<Vec<SortKey>, Refusal> {
    let mut keys: Vec<SortKey> = Vec::new();
    for word in value.split(',') {
        let (code, descending) = match word.strip_prefix('-') {
            Some(code) => (code, true),
            None => (word, false),
        };
        let param = lookup(rtype, code).filter(|param| param.is_accepted()).ok_or_else(|| {
            Refusal::value(
                "D33",
                "_sort takes search parameters of this type, each perhaps with a -.",
            )
        })?;
        if param.code == "_security" {
            // The order would tell what the label is (D10).
            return Err(Refusal::unsupported("D10", "_sort by _security is not supported."));
        }
        if keys.iter().any(|key| key.code == param.code) {
            return Err(Refusal::value("D33", "_sort names a parameter twice."));
        }
        keys.push(SortKey { code: param.code, descending });
    }
    Ok(keys)
}

/// Ward's own cursors are made of unreserved characters; what is in them is the gateway's affair (E4).
fn cursor(value: &str) -> Result<String, Refusal> {
    let unreserved =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if value.is_empty() || !value.bytes().all(unreserved) {
        return Err(Refusal::value("E4", "_cursor is not one of ours."));
    }
    Ok(value.to_owned())
}

/// One criterion, for rooms that narrow a search.
impl Criterion {
    /// A criterion without a modifier; the code must be known for the type.
    pub fn new(rtype: ResourceType, code: &str, values: Vec<String>) -> Option<Self> {
        lookup(rtype, code).map(|param| Self { code: param.code, modifier: None, values })
    }
}

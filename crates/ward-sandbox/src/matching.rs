//! Whether a resource meets one search criterion: the matching rules by parameter type of FHIR R4
//! §3.2.1.5 with prefixes and modifiers. Values of one criterion are OR, criteria are AND.

use serde_json::Value;

use crate::date::{self, Span};
use crate::element::{split_reference, values};
use crate::params::Param;
use crate::query::fold;
use crate::store::MAX_LEAF;

/// The prefixes of ordered values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefix {
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
    Sa,
    Eb,
    Ap,
}

impl Prefix {
    pub(crate) const ALL: [(&'static str, Self); 9] = [
        ("eq", Self::Eq),
        ("ne", Self::Ne),
        ("gt", Self::Gt),
        ("lt", Self::Lt),
        ("ge", Self::Ge),
        ("le", Self::Le),
        ("sa", Self::Sa),
        ("eb", Self::Eb),
        ("ap", Self::Ap),
    ];
}

/// The modifiers that this server supports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Modifier {
    Exact,
    Contains,
    Not,
    Missing(bool),
    Identifier,
    /// `:Type` of a reference.
    Type(String),
}

/// A number with the half-width of its precision.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Number {
    pub(crate) prefix: Prefix,
    pub(crate) value: f64,
    pub(crate) half: f64,
}

/// `[system]|code`: a system of none means any, of `""` means none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) system: Option<String>,
    pub(crate) code: Option<String>,
}

/// One value of a criterion, parsed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    Text(String),
    Uri(String),
    Token(Token),
    Date(Prefix, Span),
    Number(Number),
    Quantity { number: Number, unit: Option<Token> },
    Reference { base: Option<String>, rtype: Option<String>, id: String },
}

/// One criterion of a search.
#[derive(Debug, Clone)]
pub(crate) struct Criterion {
    pub(crate) param: Param,
    pub(crate) modifier: Option<Modifier>,
    pub(crate) operands: Vec<Operand>,
}

impl Criterion {
    /// True if the resource meets this criterion. `base` is the server's own base URL.
    pub(crate) fn matches(&self, resource: &Value, base: &str) -> bool {
        let found: Vec<&Value> =
            self.param.paths.iter().flat_map(|path| values(resource, path)).collect();
        match &self.modifier {
            Some(Modifier::Missing(missing)) => found.is_empty() == *missing,
            Some(Modifier::Not) => !found.iter().any(|value| self.any(value, base)),
            _ => found.iter().any(|value| self.any(value, base)),
        }
    }

    fn any(&self, value: &Value, base: &str) -> bool {
        self.operands.iter().any(|operand| self.one(operand, value, base))
    }

    fn one(&self, operand: &Operand, value: &Value, base: &str) -> bool {
        match operand {
            Operand::Text(wanted) => self.text(wanted, value),
            Operand::Uri(wanted) => value.as_str() == Some(wanted),
            Operand::Token(token) if self.modifier == Some(Modifier::Identifier) => {
                value.get("identifier").is_some_and(|identifier| token_matches(token, identifier))
            }
            Operand::Token(token) => token_matches(token, value),
            Operand::Date(prefix, wanted) => {
                date::of_element(value).is_some_and(|span| date_matches(*prefix, *wanted, span))
            }
            Operand::Number(number) => {
                value.as_f64().is_some_and(|found| number_matches(number, found))
            }
            Operand::Quantity { number, unit } => {
                let amount = value.get("value").and_then(Value::as_f64);
                amount.is_some_and(|found| number_matches(number, found))
                    && unit.as_ref().is_none_or(|unit| unit_matches(unit, value))
            }
            Operand::Reference { base: wanted, rtype, id } => {
                self.reference(wanted.as_deref(), rtype.as_deref(), id, value, base)
            }
        }
    }

    fn text(&self, wanted: &str, value: &Value) -> bool {
        strings(value).iter().any(|text| match self.modifier {
            Some(Modifier::Exact) => *text == wanted,
            Some(Modifier::Contains) => fold(text).contains(&fold(wanted)),
            _ => fold(text).starts_with(&fold(wanted)),
        })
    }

    fn reference(
        &self,
        wanted_base: Option<&str>,
        rtype: Option<&str>,
        id: &str,
        value: &Value,
        base: &str,
    ) -> bool {
        let literal = value.get("reference").and_then(Value::as_str).or_else(|| value.as_str());
        let Some(target) = literal.and_then(split_reference) else { return false };
        let here = |of: &str| of.is_empty() || of == base;
        let same_base = wanted_base.map_or(here(target.base), |wanted| {
            wanted == target.base || (here(wanted) && here(target.base))
        });
        let allowed = self.param.targets.is_empty() || self.param.targets.contains(&target.rtype);
        same_base && allowed && target.id == id && rtype.is_none_or(|rtype| rtype == target.rtype)
    }
}

/// The texts of a string, HumanName, Address or CodeableConcept that a string parameter looks at.
fn strings(value: &Value) -> Vec<&str> {
    const MEMBERS: [&str; 12] = [
        "family",
        "given",
        "prefix",
        "suffix",
        "text",
        "line",
        "city",
        "district",
        "state",
        "postalCode",
        "country",
        "display",
    ];
    if let Some(text) = value.as_str() {
        return vec![text];
    }
    let members = MEMBERS.iter().filter_map(|name| value.get(name));
    members
        .flat_map(|member| match member {
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
            other => other.as_str().into_iter().collect::<Vec<_>>(),
        })
        .collect()
}

/// Coding, CodeableConcept, Identifier, ContactPoint, code, boolean, string, uri (§3.2.1.5.5).
fn token_matches(token: &Token, value: &Value) -> bool {
    if let Some(codings) = value.get("coding").and_then(Value::as_array) {
        return codings.iter().any(|coding| token_matches(token, coding));
    }
    if let Some(object) = value.as_object() {
        let text = |name| object.get(name).and_then(Value::as_str);
        // A ContactPoint's `system` is a code, its token system is its use (table of §3.2.1.5.5).
        let contact = text("code").is_none()
            && matches!(text("system"), Some("phone" | "email" | "fax" | "pager" | "url" | "sms"));
        let system = if contact { text("use") } else { text("system") };
        let code = text("code").or_else(|| text("value"));
        let system_meets = match token.system.as_deref() {
            None => true,
            Some("") => system.is_none(),
            wanted => system == wanted,
        };
        return system_meets && token.code.as_deref().is_none_or(|wanted| code == Some(wanted));
    }
    // Elements of type code have the system of their bound value set; all of those are HL7's.
    let system_meets = match token.system.as_deref() {
        None | Some("") => true,
        Some(system) => value.is_string() && system.starts_with("http://hl7.org/fhir/"),
    };
    let code = match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        _ => return false,
    };
    system_meets && token.code.as_ref().is_none_or(|wanted| *wanted == code)
}

fn unit_matches(unit: &Token, quantity: &Value) -> bool {
    let text = |name| quantity.get(name).and_then(Value::as_str);
    let Some(code) = unit.code.as_deref() else { return true };
    match unit.system.as_deref() {
        None | Some("") => text("code") == Some(code) || text("unit") == Some(code),
        system => text("system") == system && text("code") == Some(code),
    }
}

/// Compares the range of the search with the range of the resource (table of §3.2.1.5.3).
fn date_matches(prefix: Prefix, wanted: Span, found: Span) -> bool {
    let contains = wanted.start <= found.start && found.end <= wanted.end;
    match prefix {
        Prefix::Eq => contains,
        Prefix::Ne => !contains,
        Prefix::Gt => found.end > wanted.end,
        Prefix::Lt => found.start < wanted.start,
        Prefix::Ge => found.end > wanted.end || contains,
        Prefix::Le => found.start < wanted.start || contains,
        Prefix::Sa => found.start > wanted.end,
        Prefix::Eb => found.end < wanted.start,
        Prefix::Ap => found.start <= wanted.end && wanted.start <= found.end,
    }
}

fn number_matches(number: &Number, found: f64) -> bool {
    let value = number.value;
    // Decimal halves are not exact in binary; a billionth of the precision is out of reach of both.
    let slack = number.half * 1e-9;
    let equal = found >= value - number.half - slack && found < value + number.half - slack;
    match number.prefix {
        Prefix::Eq => equal,
        Prefix::Ne => !equal,
        Prefix::Gt | Prefix::Sa => found > value,
        Prefix::Lt | Prefix::Eb => found < value,
        Prefix::Ge => found >= value,
        Prefix::Le => found <= value,
        Prefix::Ap => (found - value).abs() <= value.abs() * 0.1,
    }
}

impl Criterion {
    /// Leaves, one of which a matching resource must hold; none if the index cannot help.
    pub(crate) fn index_keys(&self) -> Option<Vec<String>> {
        if matches!(self.modifier, Some(Modifier::Not | Modifier::Missing(_))) {
            return None;
        }
        let mut keys = Vec::new();
        for operand in &self.operands {
            match operand {
                Operand::Token(Token { code: Some(code), .. }) => {
                    keys.push(code.clone());
                }
                Operand::Token(Token { system: Some(system), code: None })
                    if !system.is_empty() =>
                {
                    // A bare code has a system without carrying it.
                    if system.starts_with("http://hl7.org/fhir/") {
                        return None;
                    }
                    keys.push(system.clone());
                }
                Operand::Uri(uri) => keys.push(uri.clone()),
                Operand::Reference { rtype: Some(rtype), id, .. } => {
                    keys.push(format!("{rtype}/{id}"));
                }
                Operand::Reference { rtype: None, id, .. } if !self.param.targets.is_empty() => {
                    keys.extend(self.param.targets.iter().map(|rtype| format!("{rtype}/{id}")));
                }
                _ => return None,
            }
        }
        keys.iter().all(|key| key.len() <= MAX_LEAF).then_some(keys)
    }
}

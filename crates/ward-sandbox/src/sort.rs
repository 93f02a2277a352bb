//! `_sort`: the value by which a resource is ordered. Of several values the smallest counts when
//! ascending and the largest when descending; what has none comes last (FHIR R4 §3.2.1.4).

use std::cmp::Ordering;

use serde_json::Value;

use crate::date;
use crate::element::values;
use crate::params::{Kind, Param};
use crate::query::fold;

/// One key of `_sort`.
#[derive(Debug)]
pub(crate) struct SortBy {
    pub(crate) param: Param,
    pub(crate) descending: bool,
}

/// A comparable value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SortValue {
    Number(f64),
    Time(i64),
    Text(String),
}

impl SortValue {
    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => left.total_cmp(right),
            (Self::Time(left), Self::Time(right)) => left.cmp(right),
            (Self::Text(left), Self::Text(right)) => left.cmp(right),
            _ => Ordering::Equal,
        }
    }
}

impl SortBy {
    pub(crate) fn value(&self, resource: &Value) -> Option<SortValue> {
        let found = self.param.paths.iter().flat_map(|path| values(resource, path));
        let comparable = found.filter_map(|value| self.comparable(value));
        if self.descending {
            comparable.max_by(SortValue::order)
        } else {
            comparable.min_by(SortValue::order)
        }
    }

    pub(crate) fn compare(&self, left: Option<&SortValue>, right: Option<&SortValue>) -> Ordering {
        match (left, right) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(left), Some(right)) if self.descending => right.order(left),
            (Some(left), Some(right)) => left.order(right),
        }
    }

    fn comparable(&self, value: &Value) -> Option<SortValue> {
        let text = |value: &Value, names: &[&str]| {
            let member = names.iter().find_map(|name| match value.get(name) {
                Some(Value::Array(items)) => items.first().and_then(Value::as_str),
                other => other.and_then(Value::as_str),
            });
            value.as_str().or(member).map(str::to_owned)
        };
        match self.param.kind {
            Kind::Number => value.as_f64().map(SortValue::Number),
            Kind::Quantity => value.get("value").and_then(Value::as_f64).map(SortValue::Number),
            Kind::Date => date::of_element(value)
                .map(|span| SortValue::Time(if self.descending { span.end } else { span.start })),
            Kind::Token => match value {
                Value::Bool(flag) => Some(SortValue::Text(flag.to_string())),
                _ => value
                    .pointer("/coding/0/code")
                    .and_then(Value::as_str)
                    .map(str::to_owned)
                    .or_else(|| text(value, &["code", "value"]))
                    .map(SortValue::Text),
            },
            Kind::String => text(value, &["family", "text", "given", "line", "city"])
                .map(|text| SortValue::Text(fold(&text))),
            Kind::Reference => text(value, &["reference"]).map(SortValue::Text),
            Kind::Uri => text(value, &[]).map(SortValue::Text),
        }
    }
}

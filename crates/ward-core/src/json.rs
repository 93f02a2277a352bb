//! Strict JSON (RFC 8259; JWT-10, B6–B8 of the references): what two parsers could read in two ways is refused.
//!
//! Refused: invalid UTF-8, a byte-order mark, duplicate member names (compared unescaped), nesting
//! beyond the bound, numbers that do not fit, anything after the document.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

mod document;
mod scanner;
#[cfg(test)]
mod tests;

pub use document::{Document, Item, Items};
pub use scanner::{Scanner, Unescaped};

/// Levels beyond which nothing is read, whatever the bound: they cost stack.
const DEEPEST: usize = 100;

/// Why a document is refused. Carries no content of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, not UTF-8, or followed by something else.
    #[error("not a JSON document")]
    Malformed,
    /// A member name stands twice in one object.
    #[error("a member name occurs twice in one object")]
    Duplicate,
    /// Nested deeper than the bound.
    #[error("nested too deeply")]
    TooDeep,
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    fault: &'a Cell<Option<JsonError>>,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == 0 {
            self.fault.set(Some(JsonError::TooDeep));
            return Err(E::custom("too deep"));
        }
        Ok(Self { depth: self.depth - 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = from.next_key::<String>()? {
            if members.contains_key(&name) {
                self.fault.set(Some(JsonError::Duplicate));
                return Err(A::Error::custom("duplicate"));
            }
            let value = from.next_value_seed(inner)?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

/// Parses one document of at most `depth` levels of objects and arrays (capped at 100).
pub fn parse(bytes: &[u8], depth: usize) -> Result<Value, JsonError> {
    let fault = Cell::new(None);
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let strict = Strict { depth: depth.min(DEEPEST), fault: &fault };
    from.deserialize_any(strict)
        .and_then(|value| from.end().map(|()| value))
        .map_err(|_| fault.get().unwrap_or(JsonError::Malformed))
}

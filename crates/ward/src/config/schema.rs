//! The JSON schema of `ward.toml` (2020-12), made from the table in [`super::spec`]; for editors and for
//! people's own checks. Committed as `schema/ward.schema.json`; a test compares.

use serde_json::{Map, Value, json};

use super::spec::{Field, Kind, Need, ROOT, Section};

/// The schema as it is committed.
pub fn schema_text() -> String {
    let mut root = section(&ROOT);
    if let Value::Object(members) = &mut root {
        members.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        members.insert("title".into(), json!("ward.toml"));
    }
    let mut text = serde_json::to_string_pretty(&root).unwrap_or_default();
    text.push('\n');
    text
}

fn section(section: &Section) -> Value {
    let properties: Map<String, Value> =
        section.fields.iter().map(|field| (field.name.to_owned(), property(field))).collect();
    let required: Vec<&str> = section
        .fields
        .iter()
        .filter(|field| matches!(field.need, Need::Required))
        .map(|field| field.name)
        .collect();
    json!({
        "type": "object",
        "description": section.doc,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn property(field: &Field) -> Value {
    let mut value = kind(&field.kind);
    if let Value::Object(members) = &mut value {
        members.insert("description".into(), json!(field.doc));
        if let Need::Default(text) = field.need
            && let Some(default) = value_of(text)
        {
            members.insert("default".into(), default);
        }
    }
    value
}

/// A default as JSON; the texts in the table are TOML that is JSON too.
fn value_of(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

fn kind(kind: &Kind) -> Value {
    match kind {
        Kind::Text | Kind::Path => json!({"type": "string", "minLength": 1}),
        Kind::Address => {
            json!({"type": "string", "pattern": "^(\\[[0-9A-Fa-f:.]+\\]|[0-9.]+):[0-9]{1,5}$"})
        }
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Count { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Size { min, max } => json!({"oneOf": [
            {"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$"},
            {"type": "integer", "minimum": min, "maximum": max},
        ]}),
        Kind::Span { .. } => json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"}),
        Kind::Choice(words) => json!({"enum": words}),
        Kind::List(item) => json!({"type": "array", "items": self::kind(item)}),
        Kind::Table(table) => section(table),
        Kind::Tables(table) => json!({"type": "array", "items": section(table), "minItems": 1}),
        Kind::Map(Some(keys), item) => json!({
            "type": "object",
            "additionalProperties": self::kind(item),
            "propertyNames": {"enum": keys},
        }),
        Kind::Map(None, item) => {
            json!({"type": "object", "additionalProperties": self::kind(item)})
        }
    }
}

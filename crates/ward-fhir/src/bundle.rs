//! Walking a searchset Bundle without touching its resources (`enforcement.md` §3.3, B6, E3–E5).
//!
//! Kept entries stay byte for byte: each resource is a slice of the upstream's answer. Refuses
//! garbage, other types of Bundle, entries without a resource, and duplicate member names on every
//! level it reads; the resources themselves are judged by [`crate::ResourceView`].

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use ward_core::Limits;

/// Why an upstream's answer is no searchset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Longer than `Limits::upstream_body_bytes`.
    #[error("larger than the bound")]
    TooLarge,
    /// Not JSON, or not the shape of a Bundle.
    #[error("not a Bundle")]
    Malformed,
    /// A Bundle, but not of type `searchset`.
    #[error("not a searchset")]
    NotSearchset,
}

/// A page of search results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Searchset<'a> {
    /// The entries, in order.
    pub entries: Vec<Entry<'a>>,
    /// `link[next]`.
    pub next: Option<String>,
    /// `link[self]`.
    pub self_link: Option<String>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// `fullUrl`.
    pub full_url: Option<String>,
    /// `search.mode`: `match`, `include` or `outcome`.
    pub mode: Option<String>,
    /// The JSON text of the resource, exactly as it came.
    pub resource: &'a str,
}

impl<'a> Searchset<'a> {
    /// Reads a page.
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, BundleError> {
        if bytes.len() > limits.upstream_body_bytes {
            return Err(BundleError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| BundleError::Malformed)?;
        let bundle: Members<'a> = read(text)?;
        if bundle.string("resourceType")?.as_deref() != Some("Bundle") {
            return Err(BundleError::Malformed);
        }
        if bundle.string("type")?.as_deref() != Some("searchset") {
            return Err(BundleError::NotSearchset);
        }
        let (mut next, mut self_link) = (None, None);
        for link in bundle.list("link")? {
            let url = link.string("url")?.ok_or(BundleError::Malformed)?;
            let place = match link.string("relation")?.as_deref() {
                Some("next") => &mut next,
                Some("self") => &mut self_link,
                Some(_) => continue,
                None => return Err(BundleError::Malformed),
            };
            if place.replace(url).is_some() {
                return Err(BundleError::Malformed);
            }
        }
        let entries = bundle.list("entry")?.iter().map(Entry::read).collect::<Result<_, _>>()?;
        Ok(Self { entries, next, self_link })
    }
}

impl<'a> Entry<'a> {
    fn read(members: &Members<'a>) -> Result<Self, BundleError> {
        let resource = members.get("resource").ok_or(BundleError::Malformed)?;
        if !resource.starts_with('{') {
            return Err(BundleError::Malformed);
        }
        let mode = match members.get("search") {
            Some(search) => read::<Members<'a>>(search)?.string("mode")?,
            None => None,
        };
        Ok(Self { full_url: members.string("fullUrl")?, mode, resource })
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, BundleError> {
    serde_json::from_str(text).map_err(|_| BundleError::Malformed)
}

/// The members of one object, each a slice; a name that stands twice is an error.
struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|value| value.get())
    }

    fn string(&self, name: &str) -> Result<Option<String>, BundleError> {
        self.get(name).map(read).transpose()
    }

    fn list(&self, name: &str) -> Result<Vec<Members<'a>>, BundleError> {
        self.get(name).map_or_else(|| Ok(Vec::new()), read)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = BTreeMap<String, &'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = from.next_entry::<String, &RawValue>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("duplicate"));
                    }
                }
                Ok(members)
            }
        }
        from.deserialize_map(Reader).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"{"type":"searchset","link":[{"relation":"self","url":"u/Observation"},
        {"relation":"next","url":"u/Observation?page=2"},{"relation":"first","url":"u"}],
        "entry":[{"search":{"mode":"match"},"resource": {"b" : 1.50,"a":"\u00e9"} ,"fullUrl":"u/Observation/1"},
        {"resource":{"resourceType":"OperationOutcome"},"search":{"mode":"outcome"}}],
        "total":2,"resourceType":"Bundle"}"#;

    #[test]
    fn resources_are_slices_of_the_answer() {
        let page = Searchset::parse(PAGE.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(page.next.as_deref(), Some("u/Observation?page=2"));
        assert_eq!(page.self_link.as_deref(), Some("u/Observation"));
        let resources: Vec<_> = page.entries.iter().map(|entry| entry.resource).collect();
        assert_eq!(
            resources,
            [r#"{"b" : 1.50,"a":"\u00e9"}"#, r#"{"resourceType":"OperationOutcome"}"#]
        );
        assert_eq!(page.entries[0].full_url.as_deref(), Some("u/Observation/1"));
        assert_eq!(page.entries[0].mode.as_deref(), Some("match"));
        assert_eq!(page.entries[1].mode.as_deref(), Some("outcome"));
        let empty = br#"{"resourceType":"Bundle","type":"searchset"}"#;
        assert!(Searchset::parse(empty, &Limits::default()).unwrap().entries.is_empty());
    }

    #[test]
    fn anything_else_is_refused() {
        use BundleError::{Malformed, NotSearchset};
        for (text, want) in [
            ("", Malformed),
            ("<html>", Malformed),
            ("[]", Malformed),
            ("null", Malformed),
            (r#"{"resourceType":"Bundle"}"#, NotSearchset),
            (r#"{"resourceType":"Bundle","type":"history"}"#, NotSearchset),
            (r#"{"resourceType":"Patient","type":"searchset"}"#, Malformed),
            (r#"{"resourceType":"Bundle","type":"searchset"} x"#, Malformed),
            (r#"{"resourceType":"Bundle","type":"searchset","entry":[{}]}"#, Malformed),
            (r#"{"resourceType":"Bundle","type":"searchset","entry":[{"resource":7}]}"#, Malformed),
            (r#"{"resourceType":"Bundle","type":"searchset","entry":{"resource":{}}}"#, Malformed),
            (r#"{"resourceType":"Bundle","type":"searchset","entry":[],"entry":[]}"#, Malformed),
            (r#"{"resourceType":"Bundle","type":"searchset","id":"a","\u0069d":"b"}"#, Malformed),
            (
                r#"{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{},"resource":{}}]}"#,
                Malformed,
            ),
            (
                r#"{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{},"search":{"mode":"match","mode":"x"}}]}"#,
                Malformed,
            ),
            (
                r#"{"resourceType":"Bundle","type":"searchset","link":[{"relation":"next","url":"a"},{"relation":"next","url":"b"}]}"#,
                Malformed,
            ),
        ] {
            assert_eq!(Searchset::parse(text.as_bytes(), &Limits::default()), Err(want), "{text}");
        }
        let cut = &PAGE.as_bytes()[..PAGE.len() - 9];
        assert_eq!(Searchset::parse(cut, &Limits::default()), Err(Malformed));
        let invalid = b"{\"resourceType\":\"Bundle\",\"type\":\"searchset\",\"x\":\"\xff\"}";
        assert_eq!(Searchset::parse(invalid, &Limits::default()), Err(Malformed));
        let small = Limits { upstream_body_bytes: 10, ..Limits::default() };
        assert_eq!(Searchset::parse(PAGE.as_bytes(), &small), Err(BundleError::TooLarge));
    }

    #[test]
    fn depth_inside_a_resource_costs_no_stack_here() {
        let deep = "[".repeat(100_000);
        let text = format!(
            r#"{{"resourceType":"Bundle","type":"searchset","entry":[{{"resource":{{"x":{deep}{}}}}}]}}"#,
            "]".repeat(100_000)
        );
        let page = Searchset::parse(text.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(page.entries.len(), 1);
    }
}

//! Walking a searchset Bundle without touching its resources (`enforcement.md` §3.3, B6, E3–E5).
//!
//! Kept entries stay byte for byte: each resource is a slice of the upstream's answer. Refuses
//! garbage, other types of Bundle, entries without a resource, and duplicate member names on every
//! level it reads; the resources themselves are judged by [`crate::ResourceView`].

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};
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
    pub full_url: Option<Cow<'a, str>>,
    /// `search.mode`: `match`, `include` or `outcome`.
    pub mode: Option<Cow<'a, str>>,
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
        let Object(bundle) =
            serde_json::from_str::<Object<Bundle<'a>>>(text).map_err(|_| BundleError::Malformed)?;
        if bundle.resource_type.as_deref() != Some("Bundle") {
            return Err(BundleError::Malformed);
        }
        if bundle.kind.as_deref() != Some("searchset") {
            return Err(BundleError::NotSearchset);
        }
        let (mut next, mut self_link) = (None, None);
        for Object(link) in bundle.links {
            let (Some(relation), Some(url)) = (link.relation, link.url) else {
                return Err(BundleError::Malformed);
            };
            let place = match &*relation {
                "next" => &mut next,
                "self" => &mut self_link,
                _ => continue,
            };
            if place.replace(url.into_owned()).is_some() {
                return Err(BundleError::Malformed);
            }
        }
        Ok(Self { entries: bundle.entries.0, next, self_link })
    }
}

/// What is read of one kind of object; everything else in it is stepped over.
trait Members<'de>: Default {
    /// Names of the members that are read.
    const NAMES: &'static [&'static str];
    /// Reads the value of one of them.
    fn read<A: MapAccess<'de>>(&mut self, name: &str, from: &mut A) -> Result<(), A::Error>;
}

/// The members of one object; a name that stands twice, read or not, is an error.
struct Object<T>(T);

impl<'de, T: Members<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Reader(PhantomData::<T>)).map(Self)
    }
}

struct Reader<T>(PhantomData<T>);

impl<'de, T: Members<'de>> Visitor<'de> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<T, A::Error> {
        let mut members = T::default();
        let (mut read, mut others) = (0_u32, BTreeSet::new());
        while let Some(name) = from.next_key_seed(Name)? {
            let bits = T::NAMES.iter().zip(0..);
            let bit = bits.filter(|(known, _)| **known == name).map(|(_, at)| 1_u32 << at).next();
            let fresh = match bit {
                Some(bit) => read & bit == 0,
                None => others.insert(name.clone()),
            };
            if !fresh {
                return Err(A::Error::custom("duplicate"));
            }
            if let Some(bit) = bit {
                read |= bit;
                members.read(&name, &mut from)?;
            } else {
                from.next_value::<IgnoredAny>()?;
            }
        }
        Ok(members)
    }
}

#[derive(Default)]
struct Bundle<'a> {
    resource_type: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    links: Vec<Object<Link<'a>>>,
    entries: Entries<'a>,
}

impl<'de: 'a, 'a> Members<'de> for Bundle<'a> {
    const NAMES: &'static [&'static str] = &["entry", "link", "resourceType", "type"];

    fn read<A: MapAccess<'de>>(&mut self, name: &str, from: &mut A) -> Result<(), A::Error> {
        match name {
            "entry" => self.entries = from.next_value()?,
            "link" => self.links = from.next_value()?,
            "resourceType" => self.resource_type = Some(from.next_value_seed(Name)?),
            _ => self.kind = Some(from.next_value_seed(Name)?),
        }
        Ok(())
    }
}

#[derive(Default)]
struct Link<'a> {
    relation: Option<Cow<'a, str>>,
    url: Option<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Members<'de> for Link<'a> {
    const NAMES: &'static [&'static str] = &["relation", "url"];

    fn read<A: MapAccess<'de>>(&mut self, name: &str, from: &mut A) -> Result<(), A::Error> {
        let place = if name == "url" { &mut self.url } else { &mut self.relation };
        *place = Some(from.next_value_seed(Name)?);
        Ok(())
    }
}

#[derive(Default)]
struct Entries<'a>(Vec<Entry<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List<'a>(PhantomData<Entry<'a>>);
        impl<'de: 'a, 'a> Visitor<'de> for List<'a> {
            type Value = Entries<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(Object(raw)) = from.next_element::<Object<RawEntry<'a>>>()? {
                    let resource = raw.resource.map(RawValue::get).unwrap_or_default();
                    if !resource.starts_with('{') {
                        return Err(A::Error::custom("no resource"));
                    }
                    let mode = raw.search.mode;
                    entries.push(Entry { full_url: raw.full_url, mode, resource });
                }
                Ok(Entries(entries))
            }
        }
        from.deserialize_seq(List(PhantomData))
    }
}

#[derive(Default)]
struct RawEntry<'a> {
    full_url: Option<Cow<'a, str>>,
    resource: Option<&'a RawValue>,
    search: Mode<'a>,
}

impl<'de: 'a, 'a> Members<'de> for RawEntry<'a> {
    const NAMES: &'static [&'static str] = &["fullUrl", "resource", "search"];

    fn read<A: MapAccess<'de>>(&mut self, name: &str, from: &mut A) -> Result<(), A::Error> {
        match name {
            "fullUrl" => self.full_url = Some(from.next_value_seed(Name)?),
            "resource" => self.resource = Some(from.next_value()?),
            _ => Object(self.search) = from.next_value()?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct Mode<'a> {
    mode: Option<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Members<'de> for Mode<'a> {
    const NAMES: &'static [&'static str] = &["mode"];

    fn read<A: MapAccess<'de>>(&mut self, _: &str, from: &mut A) -> Result<(), A::Error> {
        self.mode = Some(from.next_value_seed(Name)?);
        Ok(())
    }
}

/// Reads a string, unescaped; a slice of the text wherever it can be.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Cow<'de, str>, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
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

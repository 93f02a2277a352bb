//! Walking a searchset Bundle without touching its resources (`enforcement.md` §3.3, B6, E3–E5).
//!
//! Kept entries stay byte for byte: each resource is a slice of the upstream's answer. Refuses
//! garbage, other types of Bundle, entries without a resource, and duplicate member names on every
//! level it reads; the resources themselves are judged by [`crate::ResourceView`].

use std::borrow::Cow;
use std::collections::BTreeSet;

use ward_core::Limits;
use ward_core::json::{Document, Scanner, Unescaped};

use crate::{ReferenceBases, ResourceView, ViewError};

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
    /// The same, read on the way; not if it cannot be believed.
    pub(crate) document: Option<Document<'a>>,
}

impl Entry<'_> {
    /// What a decision needs of the resource.
    pub fn view(&self, bases: &ReferenceBases, limits: &Limits) -> Result<ResourceView, ViewError> {
        match &self.document {
            Some(document) => ResourceView::of(document, bases),
            None => ResourceView::parse(self.resource, bases, limits),
        }
    }
}

impl<'a> Searchset<'a> {
    /// Reads a page. The escaped strings of its records are kept in `unescaped`.
    pub fn parse(
        bytes: &'a [u8],
        unescaped: &'a Unescaped,
        limits: &Limits,
    ) -> Result<Self, BundleError> {
        if bytes.len() > limits.upstream_body_bytes {
            return Err(BundleError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| BundleError::Malformed)?;
        let mut from = Scanner::new(text, unescaped);
        let bundle: Bundle<'a> = object(&mut from, limits).ok_or(BundleError::Malformed)?;
        if from.token().is_some() || bundle.resource_type.as_deref() != Some("Bundle") {
            return Err(BundleError::Malformed);
        }
        if bundle.kind.as_deref() != Some("searchset") {
            return Err(BundleError::NotSearchset);
        }
        let (mut next, mut self_link) = (None, None);
        for link in bundle.links {
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
        Ok(Self { entries: bundle.entries, next, self_link })
    }
}

/// What is read of one kind of object; everything else in it is stepped over.
trait Members<'a>: Default {
    /// Names of the members that are read.
    const NAMES: &'static [&'static str];
    /// Reads the value of one of them. `None` if it is not what stands there.
    fn read(&mut self, name: &str, from: &mut Scanner<'a>, limits: &Limits) -> Option<()>;
}

/// One object; a name that stands twice in it, read or not, is an error.
fn object<'a, T: Members<'a>>(from: &mut Scanner<'a>, limits: &Limits) -> Option<T> {
    let mut members = T::default();
    let (mut read, mut others) = (0_u32, BTreeSet::new());
    if !from.take(b'{') {
        return None;
    }
    if from.take(b'}') {
        return Some(members);
    }
    loop {
        let name = string(from)?;
        let known = T::NAMES.iter().zip(0..).find(|(known, _)| **known == name);
        let bit = known.map(|(_, at)| 1_u32 << at);
        let fresh = bit.map_or_else(|| others.insert(name.clone()), |bit| read & bit == 0);
        if !fresh || !from.take(b':') {
            return None;
        }
        match bit {
            Some(bit) => {
                read |= bit;
                members.read(&name, from, limits)?;
            }
            None => from.skip()?,
        }
        if !from.take(b',') {
            return from.take(b'}').then_some(members);
        }
    }
}

/// An array of such objects.
fn list<'a, T: Members<'a>>(from: &mut Scanner<'a>, limits: &Limits) -> Option<Vec<T>> {
    let mut items = Vec::new();
    if !from.take(b'[') {
        return None;
    }
    if from.take(b']') {
        return Some(items);
    }
    loop {
        items.push(object(from, limits)?);
        if !from.take(b',') {
            return from.take(b']').then_some(items);
        }
    }
}

fn string<'a>(from: &mut Scanner<'a>) -> Option<Cow<'a, str>> {
    if from.token()? == b'"' { from.text() } else { None }
}

#[derive(Default)]
struct Bundle<'a> {
    resource_type: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    links: Vec<Link<'a>>,
    entries: Vec<Entry<'a>>,
}

impl<'a> Members<'a> for Bundle<'a> {
    const NAMES: &'static [&'static str] = &["entry", "link", "resourceType", "type"];

    fn read(&mut self, name: &str, from: &mut Scanner<'a>, limits: &Limits) -> Option<()> {
        match name {
            "entry" => {
                let entries = list::<RawEntry<'a>>(from, limits)?;
                self.entries = entries.into_iter().map(RawEntry::entry).collect::<Option<_>>()?;
            }
            "link" => self.links = list(from, limits)?,
            "resourceType" => self.resource_type = Some(string(from)?),
            _ => self.kind = Some(string(from)?),
        }
        Some(())
    }
}

#[derive(Default)]
struct Link<'a> {
    relation: Option<Cow<'a, str>>,
    url: Option<Cow<'a, str>>,
}

impl<'a> Members<'a> for Link<'a> {
    const NAMES: &'static [&'static str] = &["relation", "url"];

    fn read(&mut self, name: &str, from: &mut Scanner<'a>, _: &Limits) -> Option<()> {
        let place = if name == "url" { &mut self.url } else { &mut self.relation };
        *place = Some(string(from)?);
        Some(())
    }
}

#[derive(Default)]
struct RawEntry<'a> {
    full_url: Option<Cow<'a, str>>,
    resource: Option<(&'a str, Option<Document<'a>>)>,
    search: Mode<'a>,
}

impl<'a> RawEntry<'a> {
    fn entry(self) -> Option<Entry<'a>> {
        let (resource, document) = self.resource?;
        Some(Entry { full_url: self.full_url, mode: self.search.mode, resource, document })
    }
}

impl<'a> Members<'a> for RawEntry<'a> {
    const NAMES: &'static [&'static str] = &["fullUrl", "resource", "search"];

    fn read(&mut self, name: &str, from: &mut Scanner<'a>, limits: &Limits) -> Option<()> {
        match name {
            "fullUrl" => self.full_url = Some(string(from)?),
            "resource" => {
                let begin = from.begin()?;
                let document = Document::read(from, RECORD, limits.upstream_json_depth).ok();
                if document.is_none() {
                    // B6: one record that cannot be believed hides itself, not the page.
                    from.skip()?;
                }
                let resource = from.since(begin).filter(|text| text.starts_with('{'))?;
                self.resource = Some((resource, document));
            }
            _ => self.search = object(from, limits)?,
        }
        Some(())
    }
}

/// About as many octets as a record has.
const RECORD: usize = 1500;

#[derive(Default)]
struct Mode<'a> {
    mode: Option<Cow<'a, str>>,
}

impl<'a> Members<'a> for Mode<'a> {
    const NAMES: &'static [&'static str] = &["mode"];

    fn read(&mut self, _: &str, from: &mut Scanner<'a>, _: &Limits) -> Option<()> {
        self.mode = Some(string(from)?);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use ward_core::PatientId;

    use super::*;

    const PAGE: &str = r#"{"type":"searchset","link":[{"relation":"self","url":"u/Observation"},
        {"relation":"next","url":"u/Observation?page=2"},{"relation":"first","url":"u"}],
        "entry":[{"search":{"mode":"match"},"resource": {"b" : 1.50,"a":"\u00e9"} ,"fullUrl":"u/Observation/1"},
        {"resource":{"resourceType":"OperationOutcome"},"search":{"mode":"outcome"}}],
        "total":2,"resourceType":"Bundle"}"#;

    #[test]
    fn resources_are_slices_of_the_answer() {
        let kept = Unescaped::default();
        let page = Searchset::parse(PAGE.as_bytes(), &kept, &Limits::default()).unwrap();
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
        assert!(Searchset::parse(empty, &kept, &Limits::default()).unwrap().entries.is_empty());
    }

    #[test]
    fn anything_else_is_refused() {
        use BundleError::{Malformed, NotSearchset};
        let kept = Unescaped::default();
        let parse = |bytes, limits: &Limits| Searchset::parse(bytes, &kept, limits);
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
            assert_eq!(parse(text.as_bytes(), &Limits::default()), Err(want), "{text}");
        }
        let cut = &PAGE.as_bytes()[..PAGE.len() - 9];
        assert_eq!(parse(cut, &Limits::default()), Err(Malformed));
        let invalid = b"{\"resourceType\":\"Bundle\",\"type\":\"searchset\",\"x\":\"\xff\"}";
        assert_eq!(parse(invalid, &Limits::default()), Err(Malformed));
        let small = Limits { upstream_body_bytes: 10, ..Limits::default() };
        assert_eq!(parse(PAGE.as_bytes(), &small), Err(BundleError::TooLarge));
    }

    #[test]
    fn depth_inside_a_resource_costs_no_stack_here() {
        let deep = "[".repeat(100_000);
        let text = format!(
            r#"{{"resourceType":"Bundle","type":"searchset","entry":[{{"resource":{{"x":{deep}{}}}}}]}}"#,
            "]".repeat(100_000)
        );
        let kept = Unescaped::default();
        let page = Searchset::parse(text.as_bytes(), &kept, &Limits::default()).unwrap();
        assert_eq!(page.entries.len(), 1);
    }

    #[test]
    fn escaped_records_are_read_on_the_way_and_one_that_cannot_be_hides_itself_only() {
        let (limits, kept) = (Limits::default(), Unescaped::default());
        let bases = ReferenceBases { public: "p".into(), upstream: "u".into() };
        let bad = r#"{"a":"\n","b":"\ud800"}"#.to_owned();
        let good = |id: &str, patient: &str| {
            format!(
                r#"{{"resourceType":"Basic","\u0069d":"{id}","text":{{"div":"<p class=\"x\">{id}</p>"}},
                "subject":{{"reference":"Patient\/{patient}"}}}}"#
            )
        };
        let records = [good("1", "a"), bad.clone(), good("2", "b"), bad, good("3", "c")];
        let entries =
            records.each_ref().map(|record| format!(r#"{{"resource":{record}}}"#)).join(",");
        let page = format!(r#"{{"resourceType":"Bundle","type":"searchset","entry":[{entries}]}}"#);
        let page = Searchset::parse(page.as_bytes(), &kept, &limits).unwrap();
        let read: Vec<_> = page.entries.iter().map(|entry| entry.document.is_some()).collect();
        assert_eq!(read, [true, false, true, false, true]);
        for (entry, want) in page.entries.iter().zip(["1a", "", "2b", "", "3c"]) {
            let view = entry.view(&bases, &limits).map(|view| {
                let owners: Vec<_> = view.owners.iter().map(PatientId::as_str).collect();
                format!("{}{}", view.id, owners.concat())
            });
            assert_eq!(view.unwrap_or_default(), want);
        }
    }

    #[test]
    fn many_escaped_strings_cost_no_stack() {
        let many = r#""\n","#.repeat(200_000);
        let text = format!(r#"{{"resourceType":"Basic","x":[{many}1]}}"#);
        let kept = Unescaped::default();
        assert!(Document::parse(&text, &kept, 9).is_ok());
    }
}

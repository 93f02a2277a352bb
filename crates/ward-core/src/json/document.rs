//! A strict JSON document as one flat list, for the hot path: the same rules as [`super::parse`], without a
//! tree. Names and strings are slices of the text; only escaped ones are copied.
//!
//! Each value stands before all that is in it and says how many values that are, so that reading it,
//! stepping over it and looking at everything below it are walks over a slice.

use std::collections::BTreeSet;

use super::scanner::{Scanner, Unescaped};
use super::{DEEPEST, JsonError};

/// One parsed document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<'a> {
    /// Never empty: the outermost value, then all that is in it.
    nodes: Vec<Node<'a>>,
}

/// One value of a document.
#[derive(Debug, Clone, Copy)]
pub struct Item<'d> {
    node: &'d Node<'d>,
    below: &'d [Node<'d>],
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node<'a> {
    /// Empty in arrays and outermost.
    name: &'a str,
    /// Empty if it is no string.
    text: &'a str,
    /// How many nodes after this one are in it.
    size: usize,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Object,
    Array,
    Text,
    /// A number, true, false or null.
    Plain,
}

impl<'a> Document<'a> {
    /// Parses one document of at most `depth` levels of objects and arrays (capped at 100). Its escaped
    /// strings are kept in `unescaped`.
    pub fn parse(text: &'a str, unescaped: &'a Unescaped, depth: usize) -> Result<Self, JsonError> {
        let mut scanner = Scanner::new(text, unescaped);
        let document = Self::read(&mut scanner, text.len(), depth)?;
        if scanner.token().is_some() { Err(JsonError::Malformed) } else { Ok(document) }
    }

    /// Reads the document that stands next in a text; what follows it is not looked at. `octets` is about
    /// how long it is. If it is refused, the scanner stays where it was.
    pub fn read(scanner: &mut Scanner<'a>, octets: usize, depth: usize) -> Result<Self, JsonError> {
        let mut reading = Reading {
            scanner: scanner.clone(),
            depth: depth.min(DEEPEST),
            // A record has about one value in twelve octets; more room is made as needed.
            nodes: Vec::with_capacity((octets / 12).clamp(1, 512)),
            open: Vec::with_capacity(16),
            fault: JsonError::Malformed,
        };
        if reading.document().is_none() {
            scanner.keep_behind(&reading.scanner);
            return Err(reading.fault);
        }
        *scanner = reading.scanner;
        Ok(Self { nodes: reading.nodes })
    }

    /// The outermost value.
    pub fn root(&self) -> Result<Item<'_>, JsonError> {
        Items { rest: &self.nodes }.next().ok_or(JsonError::Malformed)
    }
}

impl<'d> Item<'d> {
    /// Its name, if it is a member of an object; else empty.
    pub const fn name(self) -> &'d str {
        self.node.name
    }

    /// Whether it is an object.
    pub const fn is_object(self) -> bool {
        matches!(self.node.kind, Kind::Object)
    }

    /// Whether it is an array.
    pub const fn is_array(self) -> bool {
        matches!(self.node.kind, Kind::Array)
    }

    /// The text of a string.
    pub const fn text(self) -> Option<&'d str> {
        match self.node.kind {
            Kind::Text => Some(self.node.text),
            _ => None,
        }
    }

    /// What is in it, in order: members of an object, items of an array, else nothing.
    pub const fn inner(self) -> Items<'d> {
        Items { rest: self.below }
    }

    /// The member of this name, if it is an object that has one.
    pub fn get(self, name: &str) -> Option<Self> {
        if self.is_object() { self.inner().find(|item| item.name() == name) } else { None }
    }

    /// Itself and everything in it on any level, in order.
    pub fn everything(self) -> impl Iterator<Item = Self> {
        let mut rest = self.below;
        std::iter::once(self).chain(std::iter::from_fn(move || {
            let (node, after) = rest.split_first()?;
            rest = after;
            Some(Self { node, below: after.get(..node.size)? })
        }))
    }
}

/// The values inside of one value.
#[derive(Debug, Clone)]
pub struct Items<'d> {
    rest: &'d [Node<'d>],
}

impl<'d> Iterator for Items<'d> {
    type Item = Item<'d>;

    #[inline]
    fn next(&mut self) -> Option<Item<'d>> {
        let (node, after) = self.rest.split_first()?;
        let (below, rest) = after.split_at_checked(node.size)?;
        self.rest = rest;
        Some(Item { node, below })
    }
}

/// A document that is being read. What ends early is refused, by its `fault`.
struct Reading<'a> {
    scanner: Scanner<'a>,
    depth: usize,
    nodes: Vec<Node<'a>>,
    /// The objects and arrays that have not ended, outermost first.
    open: Vec<Open<'a>>,
    fault: JsonError,
}

struct Open<'a> {
    /// Place of the first node in it.
    first: usize,
    object: bool,
    names: Names<'a>,
}

impl<'a> Reading<'a> {
    fn document(&mut self) -> Option<()> {
        let mut name = "";
        loop {
            let byte = self.scanner.token()?;
            let (kind, text) = match byte {
                b'"' => (Kind::Text, self.scanner.string()?),
                b'{' => (Kind::Object, ""),
                b'[' => (Kind::Array, ""),
                _ => {
                    self.scanner.plain(byte)?;
                    (Kind::Plain, "")
                }
            };
            self.nodes.push(Node { name, text, size: 0, kind });
            if matches!(kind, Kind::Object | Kind::Array) {
                if self.open.len() >= self.depth {
                    self.fault = JsonError::TooDeep;
                    return None;
                }
                self.scanner.step();
                let (first, object) = (self.nodes.len(), kind == Kind::Object);
                self.open.push(Open { first, object, names: Names::default() });
                if !self.scanner.at_end(object) {
                    name = self.name()?;
                    continue;
                }
            }
            if !self.leave()? {
                return Some(());
            }
            name = self.name()?;
        }
    }

    /// Behind a value: steps out of all that ends here, and over the comma. Whether there is one.
    #[inline]
    fn leave(&mut self) -> Option<bool> {
        while let Some(Open { first, object, .. }) = self.open.last() {
            let (first, object) = (*first, *object);
            if self.scanner.take(b',') {
                return Some(true);
            }
            if !self.scanner.at_end(object) {
                return None;
            }
            self.scanner.step();
            self.open.pop();
            let size = self.nodes.len().saturating_sub(first);
            self.nodes.get_mut(first.checked_sub(1)?)?.size = size;
        }
        Some(false)
    }

    /// The name and colon before a value of an object; nothing before an item of an array.
    #[inline]
    fn name(&mut self) -> Option<&'a str> {
        let Some(Open { first, names, object: true }) = self.open.last_mut() else {
            return Some("");
        };
        if self.scanner.token() != Some(b'"') {
            return None;
        }
        let name = self.scanner.string()?;
        if names.stands_twice(name, self.nodes.get(*first..)?) {
            self.fault = JsonError::Duplicate;
            return None;
        }
        self.scanner.take(b':').then_some(name)
    }
}

/// The names of the object that is being read.
#[derive(Default)]
struct Names<'a> {
    /// One bit for each name, by its length and ends; names that share none need no comparing.
    bits: u64,
    count: u32,
    /// Of larger objects, so that the work stays in proportion to the text.
    many: Option<BTreeSet<&'a str>>,
}

/// Members up to which each name is compared with the others.
const FEW: u32 = 32;

impl<'a> Names<'a> {
    /// Whether the object with these members has this name already; it has it from now on.
    #[inline]
    fn stands_twice(&mut self, name: &'a str, members: &[Node<'a>]) -> bool {
        self.count = self.count.saturating_add(1);
        if self.count > FEW {
            return self.stands_among_many(name, members);
        }
        let bit = bit(name);
        let fresh = self.bits & bit == 0;
        self.bits |= bit;
        !fresh && Items { rest: members }.any(|item| item.name() == name)
    }

    #[cold]
    fn stands_among_many(&mut self, name: &'a str, members: &[Node<'a>]) -> bool {
        let many = self.many.get_or_insert_with(|| {
            let mut names = BTreeSet::new();
            let mut rest = members;
            while let Some((node, after)) = rest.split_first() {
                names.insert(node.name);
                rest = after.get(node.size..).unwrap_or_default();
            }
            names
        });
        !many.insert(name)
    }
}

#[inline]
fn bit(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let (first, last) = (bytes.first().copied(), bytes.last().copied());
    let mix = u64::from(first.unwrap_or(0))
        ^ u64::from(last.unwrap_or(0)).wrapping_mul(3)
        ^ (bytes.len() as u64).wrapping_mul(11);
    1 << (mix & 63)
}

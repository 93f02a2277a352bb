//! A strict JSON document as one flat list, for the hot path: the same rules as [`super::parse`], without a
//! tree. Names and strings are slices of the text; only escaped ones are copied.
//!
//! Each value stands before all that is in it and says how many values that are, so that reading it,
//! stepping over it and looking at everything below it are walks over a slice.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::scanner::Scanner;
use super::{DEEPEST, JsonError};

/// One parsed document.
#[derive(Debug, Clone)]
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

#[derive(Debug, Clone)]
struct Node<'a> {
    /// Empty in arrays and outermost.
    name: Cow<'a, str>,
    kind: Kind<'a>,
    /// How many nodes after this one are in it.
    size: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind<'a> {
    Object,
    Array,
    Text(Cow<'a, str>),
    /// A number, true, false or null.
    Plain,
}

impl<'a> Document<'a> {
    /// Parses one document of at most `depth` levels of objects and arrays (capped at 100).
    pub fn parse(text: &'a str, depth: usize) -> Result<Self, JsonError> {
        Reading {
            scanner: Scanner::new(text),
            depth: depth.min(DEEPEST),
            // A record has about one value in twelve octets; more room is made as needed.
            nodes: Vec::with_capacity((text.len() / 12).clamp(1, 512)),
            open: Vec::with_capacity(16),
        }
        .document()
    }

    /// The outermost value.
    pub fn root(&self) -> Result<Item<'_>, JsonError> {
        Items { rest: &self.nodes }.next().ok_or(JsonError::Malformed)
    }
}

impl<'d> Item<'d> {
    /// Its name, if it is a member of an object; else empty.
    pub fn name(self) -> &'d str {
        &self.node.name
    }

    /// Whether it is an object.
    pub fn is_object(self) -> bool {
        self.node.kind == Kind::Object
    }

    /// Whether it is an array.
    pub fn is_array(self) -> bool {
        self.node.kind == Kind::Array
    }

    /// The text of a string.
    pub fn text(self) -> Option<&'d str> {
        match &self.node.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What is in it, in order: members of an object, items of an array, else nothing.
    pub const fn inner(self) -> Items<'d> {
        Items { rest: self.below }
    }

    /// The member of this name, if it is an object that has one.
    pub fn get(self, name: &str) -> Option<Self> {
        if self.is_object() { self.inner().find(|item| *item.node.name == *name) } else { None }
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

    fn next(&mut self) -> Option<Item<'d>> {
        let (node, after) = self.rest.split_first()?;
        let (below, rest) = after.split_at_checked(node.size)?;
        self.rest = rest;
        Some(Item { node, below })
    }
}

/// A document that is being read.
struct Reading<'a> {
    scanner: Scanner<'a>,
    depth: usize,
    nodes: Vec<Node<'a>>,
    /// The objects and arrays that have not ended, outermost first.
    open: Vec<Open>,
}

struct Open {
    /// Place of the first node in it.
    first: usize,
    object: bool,
    names: Names,
}

impl<'a> Reading<'a> {
    fn document(mut self) -> Result<Document<'a>, JsonError> {
        let mut name = Cow::Borrowed("");
        loop {
            let byte = self.scanner.token().ok_or(JsonError::Malformed)?;
            let kind = match byte {
                b'"' => Kind::Text(self.scanner.string()?),
                b'{' => Kind::Object,
                b'[' => Kind::Array,
                _ => {
                    self.scanner.plain(byte)?;
                    Kind::Plain
                }
            };
            self.nodes.push(Node { name, kind, size: 0 });
            if matches!(byte, b'{' | b'[') {
                if self.open.len() >= self.depth {
                    return Err(JsonError::TooDeep);
                }
                self.scanner.step();
                let object = byte == b'{';
                self.open.push(Open { first: self.nodes.len(), object, names: Names::default() });
                if !self.at_end(object) {
                    name = self.name()?;
                    continue;
                }
            }
            match self.next()? {
                Some(next) => name = next,
                None => return Ok(Document { nodes: self.nodes }),
            }
        }
    }

    /// Whether the innermost object or array ends here.
    fn at_end(&mut self, object: bool) -> bool {
        self.scanner.token() == Some(if object { b'}' } else { b']' })
    }

    /// Behind a value: steps out of all that ends here, and to the next value; its name. `None` behind
    /// the whole document.
    fn next(&mut self) -> Result<Option<Cow<'a, str>>, JsonError> {
        while let Some(Open { first, object, .. }) = self.open.last() {
            let (first, object) = (*first, *object);
            if self.at_end(object) {
                self.scanner.step();
                self.open.pop();
                let size = self.nodes.len().saturating_sub(first);
                if let Some(node) = first.checked_sub(1).and_then(|at| self.nodes.get_mut(at)) {
                    node.size = size;
                }
            } else if self.scanner.take(b',') {
                return self.name().map(Some);
            } else {
                return Err(JsonError::Malformed);
            }
        }
        match self.scanner.token() {
            None => Ok(None),
            Some(_) => Err(JsonError::Malformed),
        }
    }

    /// The name and colon before a value of an object; nothing before an item of an array.
    fn name(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let Some(Open { first, names, object: true }) = self.open.last_mut() else {
            return Ok(Cow::Borrowed(""));
        };
        if self.scanner.token() != Some(b'"') {
            return Err(JsonError::Malformed);
        }
        let name = self.scanner.string()?;
        if names.stands_twice(&name, self.nodes.get(*first..).unwrap_or_default()) {
            return Err(JsonError::Duplicate);
        }
        if self.scanner.take(b':') { Ok(name) } else { Err(JsonError::Malformed) }
    }
}

/// The names of the object that is being read.
#[derive(Default)]
struct Names {
    count: usize,
    /// One bit for each name, by its length and ends; names that share none need no comparing.
    bits: u64,
    /// Of larger objects, so that the work stays in proportion to the text.
    many: BTreeSet<String>,
}

/// Members up to which each name is compared with the others.
const FEW: usize = 32;

impl Names {
    /// Whether the object with these members has this name already; it has it from now on.
    #[inline]
    fn stands_twice(&mut self, name: &str, members: &[Node<'_>]) -> bool {
        self.count = self.count.saturating_add(1);
        if self.count > FEW {
            return self.stands_among_many(name, members);
        }
        let bit = bit(name);
        let fresh = self.bits & bit == 0;
        self.bits |= bit;
        !fresh && Items { rest: members }.any(|item| item.node.name == name)
    }

    #[cold]
    fn stands_among_many(&mut self, name: &str, members: &[Node<'_>]) -> bool {
        if self.many.is_empty() {
            self.many.extend(Items { rest: members }.map(|item| item.node.name.to_string()));
        }
        !self.many.insert(name.to_owned())
    }
}

fn bit(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let (first, last) = (bytes.first().copied(), bytes.last().copied());
    let mix = u32::from(first.unwrap_or(0)).wrapping_mul(7)
        ^ u32::from(last.unwrap_or(0)).wrapping_mul(3)
        ^ u32::try_from(bytes.len()).unwrap_or(0).wrapping_mul(5);
    1_u64.wrapping_shl(mix)
}

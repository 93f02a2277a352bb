//! SMART scopes at system level (SMART App Launch 2.2 §3.0.2; SCP-01 to SCP-06, SCP-12).
//!
//! A set is a map from type (or `*`) to letters; equal sets print equally, in the shortest form.
//! Refuses, token by token and whole: `patient/` and `user/`, granular scopes (`?`), unknown types
//! (SCP-04), letters out of order or doubled (SCP-03), and whatever is only partly parseable (SCP-12).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ResourceType;

/// What a scope lets one do (SCP-01).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Letter {
    /// Create.
    C,
    /// Read, vread, instance history.
    R,
    /// Update, patch.
    U,
    /// Delete.
    D,
    /// Search, type and system history.
    S,
}

impl Letter {
    /// All, in the order of the grammar.
    pub const ALL: [Self; 5] = [Self::C, Self::R, Self::U, Self::D, Self::S];

    const fn letter(self) -> char {
        match self {
            Self::C => 'c',
            Self::R => 'r',
            Self::U => 'u',
            Self::D => 'd',
            Self::S => 's',
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Letters(u8);

impl Letters {
    /// A non-empty, in-order subset of `cruds`, or a v1 word (SCP-02).
    fn parse(suffix: &str) -> Option<Self> {
        match suffix {
            "" => return None,
            "read" => return Self::parse("rs"),
            "write" => return Self::parse("cud"),
            "*" => return Self::parse("cruds"),
            _ => {}
        }
        let mut rest = Letter::ALL.into_iter();
        let mut bits = 0;
        for letter in suffix.chars() {
            bits |= rest.find(|known| known.letter() == letter)?.bit();
        }
        Some(Self(bits))
    }

    const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Letter::ALL
            .into_iter()
            .filter(|letter| self.0 & letter.bit() != 0)
            .try_for_each(|letter| write!(f, "{}", letter.letter()))
    }
}

/// A set of `system/` scopes by type and letter.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScopeSet {
    every: Letters,
    /// Only letters that `every` does not hold; never empty ones.
    types: BTreeMap<ResourceType, Letters>,
}

impl ScopeSet {
    /// Parses a scope string; answers with the tokens that are refused beside what is understood.
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let mut set = Self::default();
        let mut refused = Vec::new();
        for token in text.split(' ').filter(|token| !token.is_empty()) {
            if !set.add(token) {
                refused.push(token.to_owned());
            }
        }
        set.shorten();
        (set, refused)
    }

    fn add(&mut self, token: &str) -> bool {
        let Some((target, suffix)) =
            token.strip_prefix("system/").and_then(|rest| rest.split_once('.'))
        else {
            return false;
        };
        let Some(letters) = Letters::parse(suffix) else { return false };
        if target == "*" {
            self.every = self.every.with(letters);
            return true;
        }
        let Some(rtype) = ResourceType::from_name(target) else { return false };
        let held = self.types.entry(rtype).or_default();
        *held = held.with(letters);
        true
    }

    fn shorten(&mut self) {
        let every = self.every;
        self.types.retain(|_, letters| {
            *letters = letters.without(every);
            !letters.is_empty()
        });
    }

    fn letters(&self, rtype: ResourceType) -> Letters {
        self.every.with(self.types.get(&rtype).copied().unwrap_or_default())
    }

    /// Whether the letter is granted on the type.
    pub fn allows(&self, rtype: ResourceType, letter: Letter) -> bool {
        self.letters(rtype).0 & letter.bit() != 0
    }

    /// What both sets grant.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let mut set = Self { every: self.every.both(other.every), types: BTreeMap::new() };
        for rtype in self.types.keys().chain(other.types.keys()) {
            set.types.insert(*rtype, self.letters(*rtype).both(other.letters(*rtype)));
        }
        set.shorten();
        set
    }

    /// What either grants.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut set = Self { every: self.every.with(other.every), types: BTreeMap::new() };
        for rtype in self.types.keys().chain(other.types.keys()) {
            set.types.insert(*rtype, self.letters(*rtype).with(other.letters(*rtype)));
        }
        set.shorten();
        set
    }

    /// Whether everything that `other` grants is granted here.
    pub fn contains(&self, other: &Self) -> bool {
        self.intersect(other) == *other
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.every.is_empty() && self.types.is_empty()
    }

    /// The scopes in their shortest form, `*` first, then sorted by type (SCP-06).
    pub fn tokens(&self) -> Vec<String> {
        let every = (!self.every.is_empty()).then(|| format!("system/*.{}", self.every));
        let types = self.types.iter().map(|(rtype, letters)| format!("system/{rtype}.{letters}"));
        every.into_iter().chain(types).collect()
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tokens().join(" "))
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeSet({self})")
    }
}

/// A stored scope string holds a token that is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a scope is not understood")]
pub struct ScopeError;

impl TryFrom<String> for ScopeSet {
    type Error = ScopeError;
    fn try_from(text: String) -> Result<Self, ScopeError> {
        let (set, refused) = Self::parse(&text);
        if refused.is_empty() { Ok(set) } else { Err(ScopeError) }
    }
}

impl From<ScopeSet> for String {
    fn from(set: ScopeSet) -> Self {
        set.to_string()
    }
}

#[cfg(test)]
mod tests;

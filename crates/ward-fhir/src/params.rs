//! Search parameters of R4 (the official SearchParameter definitions), by resource type.

use crate::ResourceType;
use crate::generated::r4::COMMON;

/// The kind of a search parameter (R4 §3.1.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParamKind {
    /// A decimal number.
    Number,
    /// A date or time.
    Date,
    /// Text.
    String,
    /// A code, perhaps with its system.
    Token,
    /// Another resource.
    Reference,
    /// Several values at once.
    Composite,
    /// A number with a unit.
    Quantity,
    /// A URI. Also parameters that the definitions call `reference` but whose element is a
    /// canonical URL (`instantiates-canonical`).
    Uri,
    /// A grammar of its own (`near`).
    Special,
}

/// One search parameter of one type.
#[derive(Debug, PartialEq, Eq)]
pub struct SearchParam {
    /// Its name in a query.
    pub code: &'static str,
    /// Its kind.
    pub kind: ParamKind,
    /// Where its values stand in the JSON of the resource: member names joined by dots, any of which
    /// may hold an array; the last may end in `[x]` (any member that starts with what precedes it,
    /// followed by a capital letter). Empty when its expression is more than such paths.
    pub paths: &'static [&'static str],
    /// For references: the types that it can point to. Empty means any.
    pub targets: &'static [&'static str],
}

/// One row of the generated table.
#[derive(Debug)]
pub(crate) struct TypeRow {
    pub(crate) name: &'static str,
    /// Parameters that the Patient compartment nominates.
    pub(crate) members: &'static [&'static str],
    /// Their elements.
    pub(crate) member_paths: &'static [&'static str],
    /// Sorted by code.
    pub(crate) params: &'static [SearchParam],
}

/// The parameter of this exact name, among those of the type and those of every type (`_id`).
pub fn lookup(rtype: ResourceType, code: &str) -> Option<&'static SearchParam> {
    let find = |params: &'static [SearchParam]| {
        params.binary_search_by(|param| param.code.cmp(code)).ok().and_then(|at| params.get(at))
    };
    rtype.row().and_then(|row| find(row.params)).or_else(|| find(&COMMON))
}

/// All parameters of a type that the grammar accepts as criteria, sorted by code.
pub fn accepted(rtype: ResourceType) -> impl Iterator<Item = &'static SearchParam> {
    let own = rtype.row().map_or(&[][..], |row| row.params);
    COMMON.iter().chain(own).filter(|param| param.is_accepted())
}

impl SearchParam {
    /// Whether the grammar accepts it as a criterion: not the full-text and named queries (D15, D17),
    /// and not yet composite (D13) and special ones.
    pub(crate) fn is_accepted(&self) -> bool {
        !matches!(self.kind, ParamKind::Composite | ParamKind::Special)
            && !matches!(self.code, "_text" | "_content" | "_query")
    }
}

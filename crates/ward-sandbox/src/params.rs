//! Which search parameters a type has: those of the R4 table whose expression is a simple element path.
//! Composite, full-text and special parameters are not supported.

use ward_fhir::{ParamKind, ResourceType, SearchParam};

/// The kinds of parameters that can be searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Date,
    Number,
    Quantity,
    Reference,
    String,
    Token,
    Uri,
}

impl Kind {
    /// The code of the `SearchParamType` value set.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::Number => "number",
            Self::Quantity => "quantity",
            Self::Reference => "reference",
            Self::String => "string",
            Self::Token => "token",
            Self::Uri => "uri",
        }
    }
}

/// A search parameter of one type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Param {
    pub(crate) code: &'static str,
    pub(crate) kind: Kind,
    pub(crate) paths: &'static [&'static str],
    /// The types that a reference may have; empty for any.
    pub(crate) targets: &'static [&'static str],
}

pub(crate) fn is_type(name: &str) -> bool {
    ResourceType::from_name(name).is_some()
}

pub(crate) fn types() -> Vec<&'static str> {
    ResourceType::all().map(ResourceType::name).collect()
}

pub(crate) fn lookup(rtype: &str, code: &str) -> Option<Param> {
    ward_fhir::lookup(ResourceType::from_name(rtype)?, code).and_then(supported)
}

/// All supported parameters of a type.
pub(crate) fn of_type(rtype: &str) -> Vec<Param> {
    let Some(rtype) = ResourceType::from_name(rtype) else { return Vec::new() };
    ward_fhir::params::accepted(rtype).filter_map(supported).collect()
}

fn supported(param: &'static SearchParam) -> Option<Param> {
    let kind = match param.kind {
        ParamKind::Date => Kind::Date,
        ParamKind::Number => Kind::Number,
        ParamKind::Quantity => Kind::Quantity,
        ParamKind::Reference => Kind::Reference,
        ParamKind::String => Kind::String,
        ParamKind::Token => Kind::Token,
        ParamKind::Uri => Kind::Uri,
        ParamKind::Composite | ParamKind::Special => return None,
    };
    // The table has no path where the expression selects by value; two of those are common enough.
    let paths = match param.code {
        "email" if param.paths.is_empty() => &["telecom(email)"][..],
        "phone" if param.paths.is_empty() => &["telecom(phone)"],
        _ => param.paths,
    };
    let param = Param { code: param.code, kind, paths, targets: param.targets };
    (!param.paths.is_empty()).then_some(param)
}

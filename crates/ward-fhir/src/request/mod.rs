//! The request grammar: one parsed form for every request that Ward forwards (house rule 1,
//! `enforcement.md` §2.A, 2.B, 2.D).
//!
//! What is not fully understood is refused here, with the status that the tables demand. The upstream
//! is asked with [`FhirRequest::upstream_target`], written anew from the parsed form (A5).

mod criterion;
mod encode;
mod form;
mod media;
mod path;
mod search;
mod value;
mod write;

#[cfg(test)]
mod tests;

use ward_core::{FhirVersion, Limits};

use crate::{FhirId, IssueCode, ResourceType};

/// A request as it came in, before anything is believed.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawRequest<'a> {
    /// The public FHIR base that the client used, from configuration, without a trailing slash.
    /// Absolute references in criteria must start with it (D4).
    pub base: &'a str,
    /// HTTP method.
    pub method: &'a str,
    /// Raw path after the FHIR base: empty, or begins with `/`.
    pub path: &'a str,
    /// Raw query, without the `?`.
    pub query: Option<&'a str>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// The body, whole.
    pub body: &'a [u8],
    /// All `Accept` headers joined by a comma.
    pub accept: Option<&'a str>,
    /// All `Prefer` headers joined by a comma.
    pub prefer: Option<&'a str>,
}

/// A request that Ward fully understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FhirRequest {
    /// The FHIR version whose tables read it.
    pub version: FhirVersion,
    /// What is asked.
    pub interaction: Interaction,
}

/// The interactions that Ward offers (R4 §3.1.0).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interaction {
    /// `GET /metadata`; answered by the gateway itself (C21).
    Capabilities,
    /// `GET /Type/id`.
    Read {
        /// The type.
        rtype: ResourceType,
        /// The id.
        id: FhirId,
    },
    /// `GET /Type/id/_history/vid`.
    Vread {
        /// The type.
        rtype: ResourceType,
        /// The id.
        id: FhirId,
        /// The version.
        vid: FhirId,
    },
    /// `GET /Type?…` or `POST /Type/_search`.
    Search(Search),
}

/// A type search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The one type searched.
    pub rtype: ResourceType,
    /// All must hold (D6, D28), in the order given.
    pub criteria: Vec<Criterion>,
    /// `_count`, at least 1, as asked: the caller caps it (D31).
    pub count: Option<u32>,
    /// `_sort`, most significant first.
    pub sort: Vec<SortKey>,
    /// `_total`.
    pub total: TotalMode,
    /// `_summary=count` or `_count=0`: only the number is asked for (E2).
    pub summary_count: bool,
    /// `_cursor`, Ward's own and opaque here; never goes upstream (E4).
    pub cursor: Option<String>,
    /// Names that nothing is known of, dropped under lenient handling, each once (D30).
    pub dropped: Vec<String>,
}

/// One search parameter with its alternatives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Criterion {
    /// The parameter; known for the type.
    pub code: &'static str,
    /// What changes its meaning.
    pub modifier: Option<Modifier>,
    /// Alternatives (OR), at least one as parsed. Percent-decoded; FHIR's own escapes (`\,` `\|`
    /// `\$` `\\`) kept. References are in their one spelling `Type/id` (D4).
    pub values: Vec<String>,
}

/// Modifiers that Ward understands. `:Type` is not among them: the grammar writes it into the
/// reference. All others are refused (D8, D11, D34).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Modifier {
    /// `:missing`, for every kind; the value is `true` or `false`.
    Missing,
    /// `:not`, for tokens.
    Not,
    /// `:exact`, for strings.
    Exact,
    /// `:contains`, for strings.
    Contains,
}

impl Modifier {
    /// The word after the colon.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Not => "not",
            Self::Exact => "exact",
            Self::Contains => "contains",
        }
    }
}

/// One key of `_sort` (D33).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortKey {
    /// The parameter; known for the type.
    pub code: &'static str,
    /// Whether largest first.
    pub descending: bool,
}

/// `_total` (R4 §3.1.1.5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TotalMode {
    /// Not asked.
    #[default]
    Unspecified,
    /// `none`.
    None,
    /// `estimate`.
    Estimate,
    /// `accurate`.
    Accurate,
}

/// Why a request is refused, and how to say so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {text}")]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Row of the tables (`A1`, `D16`, …).
    pub rule: &'static str,
    /// `OperationOutcome.issue.code`.
    pub issue: IssueCode,
    /// For the honest caller; names the parameter, never a value.
    pub text: String,
    /// For 405: the value of `Allow`.
    pub allow: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(
        status: u16,
        rule: &'static str,
        issue: IssueCode,
        text: impl Into<String>,
    ) -> Self {
        Self { status, rule, issue, text: text.into(), allow: None }
    }

    /// 400: malformed or not canonical.
    pub(crate) fn malformed(rule: &'static str, text: impl Into<String>) -> Self {
        Self::new(400, rule, IssueCode::Invalid, text)
    }

    /// 400: a known parameter with a bad value.
    pub(crate) fn value(rule: &'static str, text: impl Into<String>) -> Self {
        Self::new(400, rule, IssueCode::Value, text)
    }

    /// 400: understood, and not offered.
    pub(crate) fn unsupported(rule: &'static str, text: impl Into<String>) -> Self {
        Self::new(400, rule, IssueCode::NotSupported, text)
    }

    /// 405 with its `Allow`.
    pub(crate) fn method(rule: &'static str, allow: &'static str) -> Self {
        let text = format!("This method is not offered here; use {allow}.");
        Self { allow: Some(allow), ..Self::new(405, rule, IssueCode::NotSupported, text) }
    }
}

/// Refuses a path that two readers may read differently: dot segments, `;`, encoded slashes, NUL or percent signs,
/// backslashes, and escapes that are none (A1–A4, A7). Each segment is looked at by itself, so that no other
/// fault, an empty segment say, hides one behind it. For paths that pass as they came.
pub fn one_reading(path: &str) -> Result<(), Refusal> {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.try_for_each(|segment| path::segment(segment).map(drop))
}

impl FhirRequest {
    /// Parses a request, or says why not.
    pub fn parse(
        version: FhirVersion,
        raw: &RawRequest<'_>,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        let FhirVersion::R4 = version;
        let target_bytes = raw.path.len().saturating_add(raw.query.map_or(0, str::len));
        if target_bytes > limits.target_bytes {
            return Err(Refusal::new(414, "LIMIT", IssueCode::TooLong, "The URL is too long."));
        }
        // What is malformed is 400 on every path and method, so it is looked at first.
        let segments = path::segments(raw.path)?;
        let mut query = Vec::new();
        form::pairs(raw.query.unwrap_or_default(), &mut query, limits)?;
        let route = path::route(raw.method, &segments)?;
        let strict = media::handling_is_strict(raw.prefer);
        let interaction = match route {
            path::Route::Capabilities => {
                form::instance_parameters(raw, query, strict, &["mode"])?;
                Interaction::Capabilities
            }
            path::Route::Read { rtype, id } => {
                form::instance_parameters(raw, query, strict, &[])?;
                Interaction::Read { rtype, id }
            }
            path::Route::Vread { rtype, id, vid } => {
                form::instance_parameters(raw, query, strict, &[])?;
                Interaction::Vread { rtype, id, vid }
            }
            path::Route::Search(rtype) => {
                Interaction::Search(search::parse(rtype, raw, query, limits, strict)?)
            }
        };
        Ok(Self { version, interaction })
    }
}

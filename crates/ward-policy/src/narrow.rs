//! Narrowing a search (`enforcement.md` §2.D): the upstream is asked for less than the client asked,
//! never for more, and never for less than the client may see.
//!
//! Membership criteria (references that say whose record it is) lose the patients that are not on
//! the roster (D2–D4); `subject` and `patient` lose their non-patient alternatives too (D5). A
//! client that names no patient gets the roster written in, where the type has exactly one
//! membership parameter (D1: two of them are never ANDed), in several requests if it is long; unless the
//! client wants an order, which the parts would break. Other searches read what the lock on the way out
//! hides, and so spend the work limit on it (E3).
//! Refuses every modifier on membership criteria (`:missing`, `:not`, D7; the grammar refuses
//! `:identifier`, D8, and has written `:Type` into the reference) and `_security` (D10).

use std::collections::BTreeSet;

use ward_core::{Limits, PatientId};
use ward_fhir::{Criterion, ResourceType, Search, membership_params};

use crate::Denial;
use crate::judge::Rows;

/// What narrowing did.
pub(crate) enum Narrowing {
    /// The search to send: as it is, or narrower.
    Asked {
        /// It.
        search: Search,
        /// How the roster is written into it.
        split: Option<Split>,
    },
    /// No visible record can match.
    Nothing,
    /// Refused, whatever the data.
    Denied(Denial),
}

/// The roster as OR-lists of at most so many patients, one for each request, in the order of the ids.
#[derive(Debug, Clone)]
pub(crate) struct Split {
    code: &'static str,
    prefix: &'static str,
    size: usize,
}

impl Split {
    /// How many lists.
    pub(crate) fn parts(&self, roster: &BTreeSet<PatientId>) -> usize {
        roster.len().div_ceil(self.size.max(1))
    }

    /// One of them, if there are so many.
    pub(crate) fn part(&self, roster: &BTreeSet<PatientId>, index: usize) -> Option<Criterion> {
        let skipped = index.checked_mul(self.size)?;
        let values: Vec<String> = roster
            .iter()
            .skip(skipped)
            .take(self.size)
            .map(|patient| format!("{}{patient}", self.prefix))
            .collect();
        (!values.is_empty()).then_some(Criterion { code: self.code, modifier: None, values })
    }
}

const SECURITY: Denial = Denial::forbidden(
    "D10",
    "Searching by security label needs clearance for that label, which this access does not have.",
);
const MODIFIER: Denial =
    Denial::forbidden("D7", "Modifiers are not allowed on parameters that say whose record it is.");

/// Narrows a search to the roster.
pub(crate) fn narrow(
    search: &Search,
    rows: Rows,
    roster: &BTreeSet<PatientId>,
    limits: &Limits,
) -> Narrowing {
    if search.criteria.iter().any(|criterion| criterion.code == "_security") {
        return Narrowing::Denied(SECURITY);
    }
    if rows == Rows::Directory {
        return Narrowing::Asked { search: search.clone(), split: None };
    }
    let mut narrowed = search.clone();
    // Whether some criterion consists wholly of patients of the roster. One patient among the
    // alternatives narrows nothing: the others may match anybody's records.
    let mut dense = false;
    let mut nothing = roster.is_empty();
    for criterion in &mut narrowed.criteria {
        let Some(role) = Role::of(search.rtype, criterion.code) else { continue };
        if criterion.modifier.is_some() {
            return Narrowing::Denied(MODIFIER);
        }
        criterion.values =
            criterion.values.iter().filter_map(|value| role.keep(value, roster)).collect();
        nothing |= criterion.values.is_empty();
        dense |= criterion.values.iter().all(|value| role.names_patient(value));
    }
    if nothing {
        return Narrowing::Nothing;
    }
    let split = if dense { None } else { whole_roster(search, roster, limits) };
    Narrowing::Asked { search: narrowed, split }
}

/// How to write the roster in, if the type has exactly one membership parameter.
fn whole_roster(search: &Search, roster: &BTreeSet<PatientId>, limits: &Limits) -> Option<Split> {
    let size = limits.narrow_ids;
    if size == 0 || (roster.len() > size && !search.sort.is_empty()) {
        return None;
    }
    if search.rtype.is_patient() {
        return Some(Split { code: "_id", prefix: "", size });
    }
    let [code] = membership_params(search.rtype) else { return None };
    Some(Split { code, prefix: "Patient/", size })
}

/// What a criterion says about whose record it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// `Patient?_id=`: the records themselves.
    OwnId,
    /// `subject`, `patient`: the record is about that patient, so that an alternative that is not a
    /// patient can only be about somebody or something else (D5).
    About,
    /// Another membership parameter: patients take part beside staff and devices (`actor`,
    /// `performer`), whom an honest client may ask for; the lock on the way out judges those.
    TakesPart,
}

impl Role {
    fn of(rtype: ResourceType, code: &str) -> Option<Self> {
        if rtype.is_patient() {
            // C12: `link` is never membership.
            return (code == "_id").then_some(Self::OwnId);
        }
        match code {
            "subject" | "patient" => Some(Self::About),
            _ => membership_params(rtype).contains(&code).then_some(Self::TakesPart),
        }
    }

    /// The value as it may be asked for, in its one spelling (D4), or nothing.
    fn keep(self, value: &str, roster: &BTreeSet<PatientId>) -> Option<String> {
        let attributed =
            |id: &str| PatientId::parse(id).ok().filter(|patient| roster.contains(patient));
        if self == Self::OwnId {
            return attributed(value).map(|id| id.to_string());
        }
        let segments: Vec<&str> = value.split('/').collect();
        match (self, segments.as_slice()) {
            (_, ["Patient", id] | ["Patient", id, "_history", _]) | (Self::About, [id]) => {
                attributed(id).map(|id| format!("Patient/{id}"))
            }
            // A bare id may mean a patient or any other target: it can only be judged on the way out.
            (Self::TakesPart, _) => Some(value.to_owned()),
            (Self::About | Self::OwnId, _) => None,
        }
    }

    /// Whether a value that was kept names a patient.
    fn names_patient(self, kept: &str) -> bool {
        self == Self::OwnId || kept.starts_with("Patient/")
    }
}

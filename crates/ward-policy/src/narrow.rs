//! Narrowing a search (`enforcement.md` §2.D): the upstream is asked for less than the client asked,
//! never for more, and never for less than the client may see.
//!
//! Membership criteria (references that say whose record it is) lose the patients that are not on
//! the roster (D2–D4); `subject` and `patient` lose their non-patient alternatives too (D5). A
//! client that names no patient gets the roster written in, where the type has exactly one
//! membership parameter and the roster is short (D1: two of them are never ANDed).
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
        /// Whether it names the patients, or has none to name.
        dense: bool,
    },
    /// No visible record can match.
    Nothing,
    /// Refused, whatever the data.
    Denied(Denial),
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
        return Narrowing::Asked { search: search.clone(), dense: true };
    }
    let mut narrowed = search.clone();
    let mut names_patients = false;
    let mut nothing = roster.is_empty();
    for criterion in &mut narrowed.criteria {
        let Some(role) = Role::of(search.rtype, criterion.code) else { continue };
        if criterion.modifier.is_some() {
            return Narrowing::Denied(MODIFIER);
        }
        criterion.values = criterion
            .values
            .iter()
            .filter_map(|value| role.keep(value, roster, &mut names_patients))
            .collect();
        nothing |= criterion.values.is_empty();
    }
    if nothing {
        return Narrowing::Nothing;
    }
    if !names_patients
        && roster.len() <= limits.narrow_ids
        && let Some(criterion) = whole_roster(search.rtype, roster)
    {
        narrowed.criteria.push(criterion);
        names_patients = true;
    }
    Narrowing::Asked { search: narrowed, dense: names_patients }
}

/// The roster as one OR-list, if the type has exactly one membership parameter.
fn whole_roster(rtype: ResourceType, roster: &BTreeSet<PatientId>) -> Option<Criterion> {
    let (code, prefix) = if rtype.is_patient() {
        ("_id", "")
    } else {
        let [code] = membership_params(rtype) else { return None };
        (*code, "Patient/")
    };
    let values = roster.iter().map(|patient| format!("{prefix}{patient}")).collect();
    Some(Criterion { code, modifier: None, values })
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
    fn keep(self, value: &str, roster: &BTreeSet<PatientId>, names: &mut bool) -> Option<String> {
        let mut attributed = |id: &str| {
            *names = true;
            PatientId::parse(id).ok().filter(|id| roster.contains(id))
        };
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
}

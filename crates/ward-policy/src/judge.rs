//! The lock on the way out: every record that comes back must still satisfy the residual of its
//! plan. Enough by itself; whatever the upstream returned, nothing else leaves.
//!
//! Refuses: another type or id than asked for, compartment records without an owner or with one
//! outside the roster (rule id `ROSTER`), and records that refer to other patients anywhere: in contained
//! resources (C9), by `Patient.link` (C12; taking the link out would be masking), elsewhere (F3).

use std::collections::BTreeSet;
use std::sync::Arc;

use ward_core::PatientId;
use ward_fhir::{FhirId, ResourceType, ResourceView};

use crate::Roster;

/// What one returned record must satisfy. Made by [`crate::plan`] only.
#[derive(Debug, Clone)]
pub struct Residual {
    pub(crate) rtype: ResourceType,
    pub(crate) id: Option<FhirId>,
    pub(crate) rows: Rows,
    pub(crate) patients: Arc<BTreeSet<PatientId>>,
}

/// Which rows of a type are visible, apart from what each type shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Records of patients on the roster.
    Compartment,
    /// Every record, because the type holds no patient's data.
    Directory,
}

impl Residual {
    pub(crate) fn new(
        rtype: ResourceType,
        id: Option<FhirId>,
        rows: Rows,
        roster: &Roster,
    ) -> Self {
        let patients = match roster {
            Roster::Known(patients) => Arc::clone(patients),
            Roster::Unknown => Arc::default(),
        };
        Self { rtype, id, rows, patients }
    }

    /// The one type that may be released.
    pub const fn resource_type(&self) -> ResourceType {
        self.rtype
    }

    fn all_attributed<'a>(&self, mut patients: impl Iterator<Item = &'a PatientId>) -> bool {
        patients.all(|patient| self.patients.contains(patient))
    }
}

/// What becomes of one record. Masking will stand between the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It leaves, byte for byte.
    Keep,
    /// It stays, by the named rule.
    Drop(&'static str),
}

/// The rules by which records stay: [`judge`]'s, and those of records that cannot be read.
pub const RECORD_RULES: &[&str] =
    &["ROSTER", "C3", "C9", "C12", "F3", "D4", "B6", "TYPE", "ID", "F1"];

/// Judges one record that came back.
pub fn judge(residual: &Residual, view: &ResourceView) -> Verdict {
    if view.rtype != residual.rtype {
        return Verdict::Drop("TYPE");
    }
    if residual.id.as_ref().is_some_and(|id| *id != view.id) {
        return Verdict::Drop("ID");
    }
    if !residual.all_attributed(view.contained_patients.iter()) {
        return Verdict::Drop("C9");
    }
    match residual.rows {
        Rows::Compartment if view.owners.is_empty() => Verdict::Drop("ROSTER"),
        // A directory record that names a patient is not a mere directory record.
        Rows::Compartment | Rows::Directory if !residual.all_attributed(view.owners.iter()) => {
            Verdict::Drop("ROSTER")
        }
        Rows::Compartment | Rows::Directory if !residual.all_attributed(view.mentioned.iter()) => {
            Verdict::Drop(if view.rtype.is_patient() { "C12" } else { "F3" })
        }
        Rows::Compartment | Rows::Directory => Verdict::Keep,
    }
}

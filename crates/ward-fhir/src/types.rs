//! Resource types, and which of them belong to a patient (R4 Patient CompartmentDefinition).
//!
//! Names are compared exactly: `patient` is no type (A6, SCP-04).

use std::fmt;

use crate::generated::r4::TYPES;
use crate::params::TypeRow;

/// A resource type of R4: an index into the sorted table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceType(u8);

impl ResourceType {
    /// The type of this exact name.
    pub fn from_name(name: &str) -> Option<Self> {
        let index = TYPES.binary_search_by(|row| row.name.cmp(name)).ok()?;
        u8::try_from(index).ok().map(Self)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |row| row.name)
    }

    /// Whether it is `Patient`.
    pub fn is_patient(self) -> bool {
        self.name() == "Patient"
    }

    /// Whether it is a member of the Patient compartment, or Patient itself.
    pub fn is_patient_member(self) -> bool {
        self.row().is_some_and(|row| !row.members.is_empty())
    }

    /// Whether it describes the organisation's staff, sites and services and holds no patient's data.
    pub fn is_directory(self) -> bool {
        matches!(
            self.name(),
            "Endpoint"
                | "HealthcareService"
                | "Location"
                | "Organization"
                | "Practitioner"
                | "PractitionerRole"
        )
    }

    /// All types, sorted by name.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..u8::try_from(TYPES.len()).unwrap_or(u8::MAX)).map(Self)
    }

    pub(crate) fn row(self) -> Option<&'static TypeRow> {
        TYPES.get(usize::from(self.0))
    }

    /// The elements that make membership. For Patient there are none: its own id says whose it is, and
    /// `Patient.link`, which the definition nominates, never does (C12).
    pub(crate) fn member_paths(self) -> &'static [&'static str] {
        if self.is_patient() { &[] } else { self.row().map_or(&[], |row| row.member_paths) }
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The search parameters that the Patient compartment nominates for a type; empty for non-members.
/// For Patient it is `link`, which Ward never takes as membership (C12).
pub fn membership_params(rtype: ResourceType) -> &'static [&'static str] {
    rtype.row().map_or(&[], |row| row.members)
}

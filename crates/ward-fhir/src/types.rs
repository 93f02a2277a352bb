//! Resource types, and which of them belong to a patient (R4 Patient CompartmentDefinition).
//!
//! Names are compared exactly: `patient` is no type (A6, SCP-04).

use std::fmt;
use std::sync::LazyLock;

use crate::generated::r4::TYPES;
use crate::params::TypeRow;

/// A resource type of R4: an index into the sorted table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceType(u8);

impl ResourceType {
    /// The type of this exact name.
    pub fn from_name(name: &str) -> Option<Self> {
        /// Where the names of each first letter begin, for `A` to `Z` and what follows.
        static LETTERS: LazyLock<Vec<usize>> = LazyLock::new(|| {
            let before =
                |letter: u8| TYPES.partition_point(|row| row.name.as_bytes() < &[letter][..]);
            (b'A'..=b'Z' + 1).map(before).collect()
        });
        let letter = usize::from(name.bytes().next()?.checked_sub(b'A')?);
        let (begin, end) = (*LETTERS.get(letter)?, *LETTERS.get(letter + 1)?);
        let at = TYPES.get(begin..end)?.iter().position(|row| row.name == name)?;
        u8::try_from(begin.checked_add(at)?).ok().map(Self)
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
    pub(crate) fn member_paths(self) -> &'static [MemberPath] {
        static PATHS: LazyLock<Vec<Vec<MemberPath>>> = LazyLock::new(|| {
            let of =
                |row: &TypeRow| row.member_paths.iter().map(|path| MemberPath::of(path)).collect();
            TYPES.iter().map(of).collect()
        });
        if self.is_patient() {
            return &[];
        }
        PATHS.get(usize::from(self.0)).map_or(&[], Vec::as_slice)
    }
}

/// Where an element that makes membership stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberPath {
    /// Names of members, outermost first.
    pub(crate) steps: Vec<&'static str>,
    /// Whether a record is *about* what stands there, and must say whom it is about; by the others people,
    /// devices and organisations take part.
    pub(crate) about: bool,
}

impl MemberPath {
    fn of(path: &'static str) -> Self {
        let steps: Vec<_> = path.split('.').collect();
        let about = !steps.last().is_some_and(|last| TAKE_PART.contains(last));
        Self { steps, about }
    }
}

/// Last names of membership paths by which people, devices and organisations take part.
const TAKE_PART: [&str; 17] = [
    "actor",
    "asserter",
    "author",
    "focus",
    "member",
    "participant",
    "party",
    "payor",
    "performer",
    "policyHolder",
    "receiver",
    "recipient",
    "recorder",
    "requester",
    "sender",
    "source",
    "who",
];

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

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use super::*;
    use crate::generated::r4::{COMMON, INPUTS};
    use crate::{ParamKind, lookup};

    /// `enforcement.md` §4 and the data's README. HL7's published definition alone gives 66, 23 and
    /// 100; the difference is Task, see `ADDED` in `xtask/src/tables.rs`.
    #[test]
    fn the_patient_compartment_has_the_known_size() {
        let members: Vec<_> = ResourceType::all().filter(|t| t.is_patient_member()).collect();
        let sizes = || members.iter().map(|rtype| membership_params(*rtype).len());
        assert_eq!(TYPES.len(), 145);
        assert_eq!(members.len(), 67);
        assert_eq!(sizes().filter(|size| *size > 1).count(), 24);
        assert_eq!(sizes().sum::<usize>(), 102);
        let task = ResourceType::from_name("Task").unwrap();
        assert_eq!(membership_params(task), ["patient", "focus"]);
        let part = |steps: &[&'static str], about| MemberPath { steps: steps.to_vec(), about };
        assert_eq!(task.member_paths(), [part(&["focus"], false), part(&["for"], true)]);
        let audit = ResourceType::from_name("AuditEvent").unwrap();
        assert_eq!(audit.member_paths().first(), Some(&part(&["agent", "who"], false)));
    }

    #[test]
    fn every_membership_is_a_known_reference_with_a_path() {
        for rtype in ResourceType::all() {
            for code in membership_params(rtype) {
                let param = lookup(rtype, code).unwrap();
                assert_eq!(param.kind, ParamKind::Reference, "{rtype}.{code}");
                assert!(!param.paths.is_empty(), "{rtype}.{code}");
            }
            let member = rtype.is_patient_member() && !rtype.is_patient();
            assert_eq!(!rtype.member_paths().is_empty(), member, "{rtype}");
            assert!(!(rtype.is_directory() && rtype.is_patient_member()), "{rtype}");
        }
    }

    #[test]
    fn tables_are_sorted_and_found() {
        assert!(TYPES.is_sorted_by(|a, b| a.name < b.name));
        assert!(COMMON.is_sorted_by(|a, b| a.code < b.code));
        for rtype in ResourceType::all() {
            assert_eq!(ResourceType::from_name(rtype.name()), Some(rtype));
            let params = rtype.row().unwrap().params;
            assert!(params.is_sorted_by(|a, b| a.code < b.code), "{rtype}");
            for target in params.iter().flat_map(|param| param.targets) {
                assert!(ResourceType::from_name(target).is_some(), "{target}");
            }
        }
        for name in ["patient", "PATIENT", "", "Foo", "Patient ", "Resource", "DomainResource"] {
            assert_eq!(ResourceType::from_name(name), None, "{name}");
        }
        let observation = ResourceType::from_name("Observation").unwrap();
        let paths = |code| lookup(observation, code).unwrap().paths;
        assert_eq!(paths("value-quantity"), ["valueQuantity", "valueSampledData"]);
        assert_eq!(paths("date"), ["effective[x]"]);
        assert_eq!(paths("_id"), ["id"]);
        assert_eq!(paths("value-string"), [""; 0]);
        assert_eq!(lookup(observation, "patient").unwrap().targets, ["Patient"]);
        assert!(lookup(observation, "_ID").is_none());
    }

    /// The table was made from the definitions that lie beside the repository. That the generator
    /// still makes the same of them is tested in `xtask`.
    #[test]
    fn the_inputs_have_not_drifted() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
        for (name, hash) in INPUTS {
            let Ok(bytes) = std::fs::read(data.join(name)) else {
                let _ = writeln!(
                    std::io::stderr(),
                    "SKIPPED: no {}, drift of the FHIR tables is NOT checked",
                    data.join(name).display()
                );
                continue;
            };
            let found = ward_core::crypto::hex(&ward_core::crypto::sha256(&[&bytes]));
            assert_eq!(found, hash, "{name} changed; run cargo run -p xtask -- tables");
        }
    }
}

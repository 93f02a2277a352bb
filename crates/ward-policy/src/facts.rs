//! What the decision needs to know, and only that. Unknown is a value, never "yes".

use std::collections::BTreeSet;
use std::sync::Arc;

use ward_core::{PatientId, crypto};

/// The patients attributed to the asking organisation for *all* purposes that it asserts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Roster {
    /// No roster of this organisation was ever imported, or none that binds the asking client to it.
    #[default]
    Unknown,
    /// Exactly these patients. An empty set is nobody, never everybody (I8).
    Known(Arc<BTreeSet<PatientId>>),
}

impl Roster {
    /// Whether the patient is known to be attributed.
    pub fn has(&self, patient: &PatientId) -> bool {
        match self {
            Self::Unknown => false,
            Self::Known(patients) => patients.contains(patient),
        }
    }
}

/// The facts of one decision. Consents, relationships, risk and posture will stand here too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Who may be asked about.
    pub roster: Roster,
}

impl Facts {
    /// SHA-256, hexadecimal, of the facts: what an event keeps so that a decision can be replayed
    /// against the same facts and no others.
    pub fn digest(&self) -> String {
        match &self.roster {
            Roster::Unknown => crypto::hex(&crypto::sha256(&[b"facts/1 roster unknown"])),
            Roster::Known(patients) => {
                // The grammar of ids has no line feed, so the joined text has one reading.
                let mut text = String::from("facts/1 roster known\n");
                for patient in patients.iter() {
                    text.push_str(patient.as_str());
                    text.push('\n');
                }
                crypto::hex(&crypto::sha256(&[text.as_bytes()]))
            }
        }
    }
}

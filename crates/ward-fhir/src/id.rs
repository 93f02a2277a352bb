//! The logical id of a resource (FHIR R4 §2.24.0.1 `id`): 1 to 64 of `A-Z a-z 0-9 - .`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use ward_core::IdError;

/// A logical id, or the id of a version.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FhirId(Arc<str>);

impl FhirId {
    /// Parses an id; refuses other characters, the empty word and more than 64 characters.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if Self::well_formed(text) {
            Ok(Self(text.into()))
        } else {
            Err(IdError::Malformed("FHIR id"))
        }
    }

    /// Whether the text is an id. `.` and `..` are not, although the grammar of the specification
    /// would let them through: no path may carry them (A2).
    pub(crate) fn well_formed(text: &str) -> bool {
        (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
            && text != "."
            && text != ".."
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FhirId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<FhirId> for String {
    fn from(id: FhirId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for FhirId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FhirId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FhirId({:?})", &*self.0)
    }
}

//! What Ward must know of a resource to decide about it, and the one notion of membership (house
//! rule 6, `enforcement.md` §3.3, rows B6, C9, C12, D4).
//!
//! A resource belongs to the patients that the elements of the official R4 Patient compartment point
//! to. Refuses what could be read in two ways: duplicate member names, unknown types, references
//! in those elements that may mean a patient in a spelling that is not FHIR's.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use ward_core::json::{self, JsonError};
use ward_core::{Limits, PatientId};

use crate::reference::is_surely_no_patient;
use crate::{FhirId, Reference, ReferenceBases, ResourceType};

/// Why a record cannot be judged; it is never released then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// Not strict JSON: malformed, duplicate member names (B6), nested too deeply (B8).
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Not the JSON of a resource: no `resourceType` or `id`, or an element of the wrong shape.
    #[error("not the JSON of a resource")]
    Shape,
    /// A resource type that R4 does not have.
    #[error("unknown resource type")]
    Type,
    /// A reference that may mean a patient, in no known spelling or on no known server.
    #[error("a reference to a patient in no known spelling")]
    Reference,
}

/// The patients in whose compartments a record is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners(BTreeSet<PatientId>);

impl Owners {
    /// Whether it is nobody's.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the patient is among them.
    pub fn contains(&self, patient: &PatientId) -> bool {
        self.0.contains(patient)
    }

    /// Each of them, sorted.
    pub fn iter(&self) -> std::collections::btree_set::Iter<'_, PatientId> {
        self.0.iter()
    }

    /// As a set.
    pub const fn as_set(&self) -> &BTreeSet<PatientId> {
        &self.0
    }
}

impl FromIterator<PatientId> for Owners {
    fn from_iter<I: IntoIterator<Item = PatientId>>(patients: I) -> Self {
        Self(patients.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Owners {
    type Item = &'a PatientId;
    type IntoIter = std::collections::btree_set::Iter<'a, PatientId>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What a decision needs of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceView {
    /// Its type.
    pub rtype: ResourceType,
    /// Its id.
    pub id: FhirId,
    /// `meta.versionId`.
    pub version: Option<String>,
    /// Security labels, `system|code`, of the resource and of what it contains (C9); each once.
    pub labels: Vec<String>,
    /// Whose it is.
    pub owners: Owners,
    /// Patients that contained resources point to (C9).
    pub contained_patients: BTreeSet<PatientId>,
}

impl ResourceView {
    /// Reads one resource.
    pub fn parse(json: &str, bases: &ReferenceBases, limits: &Limits) -> Result<Self, ViewError> {
        let value = json::parse(json.as_bytes(), limits.json_depth)?;
        let root = value.as_object().ok_or(ViewError::Shape)?;
        let name = string(root, "resourceType")?.ok_or(ViewError::Shape)?;
        let rtype = ResourceType::from_name(name).ok_or(ViewError::Type)?;
        let id = string(root, "id")?.and_then(|id| FhirId::parse(id).ok());
        let id = id.ok_or(ViewError::Shape)?;
        let bases = [bases.public.as_str(), bases.upstream.as_str()];
        let mut labels = Vec::new();
        let version = meta(root, &mut labels)?;
        let mut contained_patients = BTreeSet::new();
        match root.get("contained") {
            None => {}
            Some(Value::Array(resources)) => {
                for resource in resources {
                    meta(resource.as_object().ok_or(ViewError::Shape)?, &mut labels)?;
                    references(resource, &bases, &mut contained_patients)?;
                }
            }
            Some(_) => return Err(ViewError::Shape),
        }
        let owners = owners(rtype, &id, &value, &bases)?;
        Ok(Self { rtype, id, version, labels, owners, contained_patients })
    }
}

/// The one membership function.
fn owners(
    rtype: ResourceType,
    id: &FhirId,
    resource: &Value,
    bases: &[&str],
) -> Result<Owners, ViewError> {
    let mut found = BTreeSet::new();
    if rtype.is_patient() {
        found.insert(PatientId::parse(id.as_str()).map_err(|_| ViewError::Shape)?);
    }
    for path in rtype.member_paths() {
        walk(resource, &mut path.split('.'), &mut |leaf| {
            let Value::Object(reference) = leaf else { return Err(ViewError::Shape) };
            // Without `reference` it is a logical or display-only reference, which is no membership.
            if let Some(text) = string(reference, "reference")? {
                point(text, bases, &mut found)?;
            }
            Ok(())
        })?;
    }
    Ok(Owners(found))
}

/// Adds the patient that a reference points to, if any.
fn point(text: &str, bases: &[&str], into: &mut BTreeSet<PatientId>) -> Result<(), ViewError> {
    match Reference::parse(text, bases) {
        Reference::Local { rtype, id, .. } if rtype.is_patient() => {
            into.insert(PatientId::parse(id.as_str()).map_err(|_| ViewError::Reference)?);
            Ok(())
        }
        // Nobody can say whose patient that is, and unknown is never yes.
        Reference::Foreign { patient: true } => Err(ViewError::Reference),
        Reference::Unclear if !is_surely_no_patient(text) => Err(ViewError::Reference),
        Reference::Local { .. }
        | Reference::Contained
        | Reference::Urn
        | Reference::Foreign { patient: false }
        | Reference::Unclear => Ok(()),
    }
}

/// Visits what stands at a path of member names; any step may hold an array.
fn walk<'p>(
    value: &Value,
    path: &mut (impl Iterator<Item = &'p str> + Clone),
    visit: &mut impl FnMut(&Value) -> Result<(), ViewError>,
) -> Result<(), ViewError> {
    if let Value::Array(items) = value {
        return items.iter().try_for_each(|item| walk(item, &mut path.clone(), visit));
    }
    let Some(name) = path.next() else { return visit(value) };
    match value.as_object().ok_or(ViewError::Shape)?.get(name) {
        Some(inner) => walk(inner, path, visit),
        None => Ok(()),
    }
}

/// Every `reference` below a contained resource.
fn references(
    value: &Value,
    bases: &[&str],
    into: &mut BTreeSet<PatientId>,
) -> Result<(), ViewError> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| references(item, bases, into)),
        Value::Object(members) => members.iter().try_for_each(|(name, inner)| match inner {
            Value::String(text) if name == "reference" => point(text, bases, into),
            inner => references(inner, bases, into),
        }),
        _ => Ok(()),
    }
}

/// `meta`: answers with `versionId`, and adds the security labels.
fn meta(
    resource: &Map<String, Value>,
    labels: &mut Vec<String>,
) -> Result<Option<String>, ViewError> {
    let Some(meta) = resource.get("meta") else { return Ok(None) };
    let meta = meta.as_object().ok_or(ViewError::Shape)?;
    if let Some(security) = meta.get("security") {
        for coding in security.as_array().ok_or(ViewError::Shape)? {
            let coding = coding.as_object().ok_or(ViewError::Shape)?;
            let system = string(coding, "system")?.unwrap_or_default();
            let code = string(coding, "code")?.unwrap_or_default();
            let label = format!("{system}|{code}");
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
    }
    Ok(string(meta, "versionId")?.map(str::to_owned))
}

fn string<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, ViewError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ViewError::Shape),
    }
}

#[cfg(test)]
mod tests;

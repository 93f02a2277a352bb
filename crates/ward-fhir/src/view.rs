//! What Ward must know of a resource to decide about it, and the one notion of membership (house
//! rule 6, `enforcement.md` §3.3, rows B6, C9, C12, D4).
//!
//! A resource belongs to the patients that the elements of the official R4 Patient compartment point
//! to. Patients whom any other element refers to are gathered too: a record that speaks of a patient is
//! released only to those who may see that patient.
//!
//! Refuses what could be read in two ways: duplicate member names, unknown types, references that may
//! mean a patient in a spelling that is not FHIR's; and records about somebody who cannot be known: a
//! subject without a readable reference, a group, a contained Patient.

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
    /// It is about somebody who cannot be known: unknown is never yes.
    #[error("about somebody who cannot be known")]
    Owner,
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
    /// Patients that any element of it points to, owners and contained ones among them.
    pub mentioned: BTreeSet<PatientId>,
}

impl ResourceView {
    /// Reads one resource.
    pub fn parse(json: &str, bases: &ReferenceBases, limits: &Limits) -> Result<Self, ViewError> {
        let value = json::parse(json.as_bytes(), limits.upstream_json_depth)?;
        let root = value.as_object().ok_or(ViewError::Shape)?;
        let name = string(root, "resourceType")?.ok_or(ViewError::Shape)?;
        let rtype = ResourceType::from_name(name).ok_or(ViewError::Type)?;
        let id = string(root, "id")?.and_then(|id| FhirId::parse(id).ok());
        let id = id.ok_or(ViewError::Shape)?;
        let bases = [bases.public.as_str(), bases.upstream.as_str()];
        let mut labels = Vec::new();
        let version = meta(root, &mut labels)?;
        let contained = match root.get("contained") {
            None => &[][..],
            Some(Value::Array(resources)) => resources.as_slice(),
            Some(_) => return Err(ViewError::Shape),
        };
        let reader = Reader { bases: &bases, contained };
        let mut contained_patients = BTreeSet::new();
        for resource in contained {
            let inner = resource.as_object().ok_or(ViewError::Shape)?;
            meta(inner, &mut labels)?;
            let name = string(inner, "resourceType")?.ok_or(ViewError::Shape)?;
            let inner = ResourceType::from_name(name).ok_or(ViewError::Type)?;
            // Its id is a name within the host: it never says which patient of ours that is.
            if inner.is_patient() {
                return Err(ViewError::Owner);
            }
            reader.owners(inner, resource, true, &mut contained_patients)?;
            reader.mentions(resource, &mut contained_patients)?;
        }
        let mut owners = BTreeSet::new();
        if rtype.is_patient() {
            owners.insert(PatientId::parse(id.as_str()).map_err(|_| ViewError::Shape)?);
        }
        reader.owners(rtype, &value, false, &mut owners)?;
        let mut mentioned = BTreeSet::new();
        reader.mentions(&value, &mut mentioned)?;
        let owners = Owners(owners);
        Ok(Self { rtype, id, version, labels, owners, contained_patients, mentioned })
    }
}

/// Last names of membership paths by which people, devices and organisations take part. By all others
/// a record is *about* its target, and must say whom it is about.
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

/// Reads the references of one record.
struct Reader<'a> {
    bases: &'a [&'a str],
    contained: &'a [Value],
}

impl Reader<'_> {
    /// The one membership function.
    fn owners(
        &self,
        rtype: ResourceType,
        resource: &Value,
        inside: bool,
        into: &mut BTreeSet<PatientId>,
    ) -> Result<(), ViewError> {
        for path in rtype.member_paths() {
            let last = path.rsplit('.').next().unwrap_or(path);
            let about = !TAKE_PART.contains(&last);
            walk(resource, &mut path.split('.'), &mut |leaf| {
                let Value::Object(reference) = leaf else { return Err(ViewError::Shape) };
                if about {
                    self.is_known(reference, inside)?;
                }
                // Without `reference` it is a logical or display-only reference, which is no membership.
                if let Some(text) = string(reference, "reference")? {
                    point(text, self.bases, into)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Whether one can tell whom or what a record is about.
    fn is_known(&self, reference: &Map<String, Value>, inside: bool) -> Result<(), ViewError> {
        let Some(text) = string(reference, "reference")? else {
            // A logical reference may mean a patient unless it says otherwise.
            let name = string(reference, "type")?.ok_or(ViewError::Owner)?;
            return is_no_person(name);
        };
        match Reference::parse(text, self.bases) {
            Reference::Local { rtype, .. } if rtype.is_patient() => Ok(()),
            Reference::Local { rtype, .. } => is_no_person(rtype.name()),
            Reference::Contained => {
                let id = text.strip_prefix('#').unwrap_or_default();
                if inside && id.is_empty() {
                    return Ok(()); // `#`: the host, which is judged by itself
                }
                let target = self.contained.iter().find(|one| one["id"] == id);
                let name = target.and_then(|one| one["resourceType"].as_str());
                is_no_person(name.ok_or(ViewError::Owner)?)
            }
            Reference::Foreign { .. } => {
                let name = text.rsplit('/').nth(1).unwrap_or_default();
                is_no_person(name).map_err(|_| ViewError::Reference)
            }
            Reference::Unclear => {
                let name = text.split(['/', '?']).next().unwrap_or_default();
                is_no_person(name).map_err(|_| ViewError::Reference)
            }
            Reference::Urn => Err(ViewError::Owner),
        }
    }

    /// Every patient whom any element below refers to.
    fn mentions(&self, value: &Value, into: &mut BTreeSet<PatientId>) -> Result<(), ViewError> {
        let members = match value {
            Value::Array(items) => {
                return items.iter().try_for_each(|item| self.mentions(item, into));
            }
            Value::Object(members) => members,
            _ => return Ok(()),
        };
        let patient = members.get("type").and_then(Value::as_str).is_some_and(is_patient_type);
        match members.get("reference") {
            Some(Value::String(text)) => {
                point(text, self.bases, into)?;
                let says = matches!(Reference::parse(text, self.bases),
                    Reference::Local { rtype, .. } if rtype.is_patient());
                if patient && !says {
                    return Err(ViewError::Owner);
                }
            }
            // `Claim.related.reference` and its like are elements of their own.
            Some(Value::Object(_)) => {}
            Some(Value::Array(items)) if items.iter().all(Value::is_object) => {}
            Some(_) => return Err(ViewError::Shape),
            // A logical reference to a patient, and nobody can say to whom.
            None if patient
                && (members.contains_key("identifier") || members.contains_key("display")) =>
            {
                return Err(ViewError::Owner);
            }
            None => {}
        }
        members.values().try_for_each(|inner| self.mentions(inner, into))
    }
}

/// `Reference.type` as a name, or as the URL of the definition.
fn is_patient_type(name: &str) -> bool {
    name.rsplit('/').next() == Some("Patient")
}

/// Whether a type is known and neither a person's nor a group's.
fn is_no_person(name: &str) -> Result<(), ViewError> {
    let person = matches!(name, "Group" | "Patient" | "Person" | "RelatedPerson");
    match ResourceType::from_name(name) {
        Some(_) if !person => Ok(()),
        _ => Err(ViewError::Owner),
    }
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

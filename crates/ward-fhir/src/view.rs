//! What Ward must know of a resource to decide about it, and the one notion of membership (house
//! rule 6, `enforcement.md` §3.3, rows B6, C9, C12, D4).
//!
//! A resource belongs to the patients that the elements of the official R4 Patient compartment point
//! to. Patients whom any other element refers to are gathered too: a record that speaks of a patient is
//! released only to those who may see that patient.
//!
//! Refuses what could be read in two ways: duplicate member names, unknown types, references that may
//! mean a patient in a spelling that is not FHIR's; and records about somebody who cannot be known: a
//! subject without a readable reference, a group, a contained Patient, resources inside of contained ones.

use std::collections::{BTreeMap, BTreeSet};

use ward_core::json::{Document, Item, Items, JsonError, Unescaped};
use ward_core::{Limits, PatientId};

use crate::reference::{Meaning, is_surely_no_patient};
use crate::{FhirId, ReferenceBases, ResourceType};

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
        let unescaped = Unescaped::default();
        Self::of(&Document::parse(json, &unescaped, limits.upstream_json_depth)?, bases)
    }

    /// The same of a record that is parsed already.
    pub(crate) fn of(document: &Document<'_>, bases: &ReferenceBases) -> Result<Self, ViewError> {
        let root = document.root()?;
        if !root.is_object() {
            return Err(ViewError::Shape);
        }
        let name = string(root, "resourceType")?.ok_or(ViewError::Shape)?;
        let rtype = ResourceType::from_name(name).ok_or(ViewError::Type)?;
        let id = string(root, "id")?.and_then(|id| FhirId::parse(id).ok());
        let id = id.ok_or(ViewError::Shape)?;
        let mut labels = Vec::new();
        let version = meta(root, &mut labels)?;
        let contained = match root.get("contained") {
            Some(resources) if !resources.is_array() => return Err(ViewError::Shape),
            resources => resources,
        };
        let contained = || contained.into_iter().flat_map(Item::inner);
        let mut reader = Reader {
            bases: &[bases.public.as_str(), bases.upstream.as_str()],
            contained: BTreeMap::new(),
        };
        for inner in contained() {
            if let Some(id) = inner.get("id").and_then(Item::text) {
                let name = inner.get("resourceType").and_then(Item::text);
                reader.contained.entry(id).or_insert(name);
            }
        }
        let mut contained_patients = BTreeSet::new();
        for resource in contained() {
            if !resource.is_object() {
                return Err(ViewError::Shape);
            }
            meta(resource, &mut labels)?;
            let name = string(resource, "resourceType")?.ok_or(ViewError::Shape)?;
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
        reader.owners(rtype, root, false, &mut owners)?;
        let mut mentioned = BTreeSet::new();
        // Resources inside of contained ones, or of a contained Bundle, are looked at by nobody.
        if reader.mentions(root, &mut mentioned)? != 1 + contained().count() {
            return Err(ViewError::Owner);
        }
        let owners = Owners(owners);
        let labels = each_once(labels);
        Ok(Self { rtype, id, version, labels, owners, contained_patients, mentioned })
    }
}

/// Reads the references of one record.
struct Reader<'a> {
    bases: &'a [&'a str],
    /// Types of the contained resources by their ids; of several with one id the first counts.
    contained: BTreeMap<&'a str, Option<&'a str>>,
}

impl Reader<'_> {
    /// The one membership function.
    fn owners(
        &self,
        rtype: ResourceType,
        resource: Item<'_>,
        inside: bool,
        into: &mut BTreeSet<PatientId>,
    ) -> Result<(), ViewError> {
        for path in rtype.member_paths() {
            walk(resource, &path.steps, &mut |leaf| {
                if !leaf.is_object() {
                    return Err(ViewError::Shape);
                }
                let text = string(leaf, "reference")?;
                let meaning = text.map(|text| (text, Meaning::of(text, self.bases)));
                if path.about {
                    self.is_known(leaf, meaning, inside)?;
                }
                // Without `reference` it is a logical or display-only reference, which is no membership.
                meaning.map_or(Ok(()), |(text, meaning)| point(text, meaning, into))
            })?;
        }
        Ok(())
    }

    /// Whether one can tell whom or what a record is about.
    fn is_known(
        &self,
        reference: Item<'_>,
        meaning: Option<(&str, Meaning<'_>)>,
        inside: bool,
    ) -> Result<(), ViewError> {
        let Some((text, meaning)) = meaning else {
            // A logical reference may mean a patient unless it says otherwise.
            let name = string(reference, "type")?.ok_or(ViewError::Owner)?;
            return is_no_person(name);
        };
        match meaning {
            Meaning::Local { rtype, .. } if rtype.is_patient() => Ok(()),
            Meaning::Local { rtype, .. } => is_no_person(rtype.name()),
            Meaning::Contained => {
                let id = text.strip_prefix('#').unwrap_or_default();
                if inside && id.is_empty() {
                    return Ok(()); // `#`: the host, which is judged by itself
                }
                let name = self.contained.get(id).copied().flatten();
                is_no_person(name.ok_or(ViewError::Owner)?)
            }
            Meaning::Foreign { .. } => {
                let name = text.rsplit('/').nth(1).unwrap_or_default();
                is_no_person(name).map_err(|_| ViewError::Reference)
            }
            Meaning::Unclear => {
                let name = text.split(['/', '?']).next().unwrap_or_default();
                is_no_person(name).map_err(|_| ViewError::Reference)
            }
            Meaning::Urn => Err(ViewError::Owner),
        }
    }

    /// Every patient whom any element of it refers to. Answers with how many resources there are, itself included.
    fn mentions(
        &self,
        value: Item<'_>,
        into: &mut BTreeSet<PatientId>,
    ) -> Result<usize, ViewError> {
        let mut resources = 0;
        for object in value.everything().filter(|item| item.is_object()) {
            let (mut patient, mut reference, mut logical) = (false, None, false);
            for member in object.inner() {
                match member.name() {
                    "type" => patient = member.text().is_some_and(is_patient_type),
                    "reference" => reference = Some(member),
                    "resourceType" => resources += 1,
                    "identifier" | "display" => logical = true,
                    _ => {}
                }
            }
            match (reference, reference.and_then(Item::text)) {
                (_, Some(text)) => {
                    let meaning = Meaning::of(text, self.bases);
                    point(text, meaning, into)?;
                    if patient && meaning.patient().is_none() {
                        return Err(ViewError::Owner);
                    }
                }
                // `Claim.related.reference` and its like are elements of their own.
                (Some(element), None) => {
                    let all = |mut items: Items<'_>| items.all(Item::is_object);
                    if !(element.is_object() || element.is_array() && all(element.inner())) {
                        return Err(ViewError::Shape);
                    }
                }
                // A logical reference to a patient, and nobody can say to whom.
                (None, None) if patient && logical => return Err(ViewError::Owner),
                (None, None) => {}
            }
        }
        Ok(resources)
    }
}

/// `Reference.type` as a name, or as the URL of the definition.
fn is_patient_type(name: &str) -> bool {
    name.strip_suffix("Patient").is_some_and(|before| before.is_empty() || before.ends_with('/'))
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
fn point(
    text: &str,
    meaning: Meaning<'_>,
    into: &mut BTreeSet<PatientId>,
) -> Result<(), ViewError> {
    match meaning {
        Meaning::Local { rtype, id, .. } if rtype.is_patient() => {
            if !into.contains(id) {
                into.insert(PatientId::parse(id).map_err(|_| ViewError::Reference)?);
            }
            Ok(())
        }
        // Nobody can say whose patient that is, and unknown is never yes.
        Meaning::Foreign { patient: true } => Err(ViewError::Reference),
        Meaning::Unclear if !is_surely_no_patient(text) => Err(ViewError::Reference),
        Meaning::Local { .. }
        | Meaning::Contained
        | Meaning::Urn
        | Meaning::Foreign { patient: false }
        | Meaning::Unclear => Ok(()),
    }
}

/// Visits what stands at a path of member names; any step may hold an array.
fn walk<'d>(
    value: Item<'d>,
    steps: &[&str],
    visit: &mut impl FnMut(Item<'d>) -> Result<(), ViewError>,
) -> Result<(), ViewError> {
    if value.is_array() {
        return value.inner().try_for_each(|item| walk(item, steps, visit));
    }
    let Some((name, steps)) = steps.split_first() else { return visit(value) };
    if !value.is_object() {
        return Err(ViewError::Shape);
    }
    value.get(name).map_or(Ok(()), |inner| walk(inner, steps, visit))
}

/// `meta`: answers with `versionId`, and adds the security labels.
fn meta(resource: Item<'_>, labels: &mut Vec<String>) -> Result<Option<String>, ViewError> {
    let Some(meta) = resource.get("meta") else { return Ok(None) };
    if !meta.is_object() {
        return Err(ViewError::Shape);
    }
    if let Some(security) = meta.get("security") {
        if !security.is_array() {
            return Err(ViewError::Shape);
        }
        for coding in security.inner() {
            if !coding.is_object() {
                return Err(ViewError::Shape);
            }
            let system = string(coding, "system")?.unwrap_or_default();
            let code = string(coding, "code")?.unwrap_or_default();
            labels.push(format!("{system}|{code}"));
        }
    }
    Ok(string(meta, "versionId")?.map(str::to_owned))
}

/// In their order, without those that stood before.
fn each_once(mut labels: Vec<String>) -> Vec<String> {
    if labels.len() > 1 {
        let mut seen = BTreeSet::new();
        labels.retain(|label| seen.insert(label.clone()));
    }
    labels
}

fn string<'d>(object: Item<'d>, name: &str) -> Result<Option<&'d str>, ViewError> {
    match object.get(name) {
        None => Ok(None),
        Some(member) => member.text().map(Some).ok_or(ViewError::Shape),
    }
}

#[cfg(test)]
mod tests;

//! The slow and plain way of reading a record and a page: a whole tree of each, and names compared as
//! they come. What [`crate::view`], [`crate::bundle`] and [`crate::reference`] decide is compared with it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use ward_core::json;
use ward_core::{Limits, PatientId};

use crate::{
    BundleError, Entry, FhirId, Owners, Reference, ReferenceBases, ResourceType, ResourceView,
    Searchset, ViewError,
};

/// As [`ResourceView::parse`].
pub(crate) fn view(
    json: &str,
    bases: &ReferenceBases,
    limits: &Limits,
) -> Result<ResourceView, ViewError> {
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
    if resources(&value) != 1 + contained.len() {
        return Err(ViewError::Owner);
    }
    let owners = owners.into_iter().collect::<Owners>();
    Ok(ResourceView { rtype, id, version, labels, owners, contained_patients, mentioned })
}

/// Objects that say that they are resources.
fn resources(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(resources).sum(),
        Value::Object(members) => {
            let itself = usize::from(members.contains_key("resourceType"));
            itself + members.values().map(resources).sum::<usize>()
        }
        _ => 0,
    }
}

fn paths(rtype: ResourceType) -> &'static [&'static str] {
    if rtype.is_patient() { &[] } else { rtype.row().map_or(&[], |row| row.member_paths) }
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
        for path in paths(rtype) {
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
        match parse_reference(text, self.bases) {
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
                let says = matches!(parse_reference(text, self.bases),
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
    match parse_reference(text, bases) {
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

/// As [`Reference::parse`].
pub(crate) fn parse_reference(text: &str, bases: &[&str]) -> Reference {
    if text.starts_with('#') {
        return Reference::Contained;
    }
    if text.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("urn:")) {
        return Reference::Urn;
    }
    if is_strange(text) {
        return Reference::Unclear;
    }
    let Some(absolute) = Url::split(text) else { return local(text) };
    let known = bases.iter().filter_map(|base| Url::split(base.trim_end_matches('/')));
    for base in known {
        if let Some(rest) = absolute.below(&base) {
            return local(rest);
        }
    }
    Reference::Foreign { patient: may_say_patient(text) }
}

fn local(text: &str) -> Reference {
    let mut words = text.split('/');
    let target = words.next().and_then(ResourceType::from_name);
    let id = words.next().and_then(|id| FhirId::parse(id).ok());
    let version = match (words.next(), words.next(), words.next()) {
        (None, None, None) => None,
        (Some("_history"), Some(version), None) => match FhirId::parse(version) {
            Ok(version) => Some(version),
            Err(_) => return Reference::Unclear,
        },
        _ => return Reference::Unclear,
    };
    match (target, id) {
        (Some(rtype), Some(id)) => Reference::Local { rtype, id, version },
        _ => Reference::Unclear,
    }
}

/// Whether an unclear reference surely means something else than a patient: it begins with another
/// type and neither says nor hides `Patient`.
fn is_surely_no_patient(text: &str) -> bool {
    let head = text.split(['/', '?']).next().and_then(ResourceType::from_name);
    head.is_some_and(|rtype| !rtype.is_patient()) && !may_say_patient(text) && !is_strange(text)
}

/// Whether a text says `Patient`, in any case, or may hide it behind percent-encoding.
fn may_say_patient(text: &str) -> bool {
    text.contains('%') || text.to_ascii_lowercase().contains("patient")
}

/// Characters that no reference has and that others may read as a slash, or leave out.
fn is_strange(text: &str) -> bool {
    text.chars().any(|letter| letter == '\\' || letter.is_whitespace() || letter.is_control())
}

struct Url<'a> {
    scheme: String,
    authority: String,
    path: &'a str,
}

impl<'a> Url<'a> {
    fn split(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        if !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')) {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let scheme = scheme.to_ascii_lowercase();
        let mut authority = authority.to_ascii_lowercase();
        let default_port = if scheme == "http" { ":80" } else { ":443" };
        if authority.ends_with(default_port) {
            authority.truncate(authority.len().saturating_sub(default_port.len()));
        }
        Some(Self { scheme, authority, path })
    }

    /// The rest of the path below `base`.
    fn below(&self, base: &Url<'_>) -> Option<&'a str> {
        if self.scheme != base.scheme || self.authority != base.authority {
            return None;
        }
        self.path.strip_prefix(base.path)?.strip_prefix('/')
    }
}

/// As [`Searchset::parse`].
pub(crate) fn searchset<'a>(
    bytes: &'a [u8],
    limits: &Limits,
) -> Result<Searchset<'a>, BundleError> {
    if bytes.len() > limits.upstream_body_bytes {
        return Err(BundleError::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| BundleError::Malformed)?;
    let bundle: Members<'a> = read(text)?;
    if bundle.string("resourceType")?.as_deref() != Some("Bundle") {
        return Err(BundleError::Malformed);
    }
    if bundle.string("type")?.as_deref() != Some("searchset") {
        return Err(BundleError::NotSearchset);
    }
    let (mut next, mut self_link) = (None, None);
    for link in bundle.list("link")? {
        let url = link.string("url")?.ok_or(BundleError::Malformed)?;
        let place = match link.string("relation")?.as_deref() {
            Some("next") => &mut next,
            Some("self") => &mut self_link,
            Some(_) => continue,
            None => return Err(BundleError::Malformed),
        };
        if place.replace(url).is_some() {
            return Err(BundleError::Malformed);
        }
    }
    let entries = bundle.list("entry")?.iter().map(entry).collect::<Result<_, _>>()?;
    Ok(Searchset { entries, next, self_link })
}

fn entry<'a>(members: &Members<'a>) -> Result<Entry<'a>, BundleError> {
    let resource = members.get("resource").ok_or(BundleError::Malformed)?;
    if !resource.starts_with('{') {
        return Err(BundleError::Malformed);
    }
    let mode = match members.get("search") {
        Some(search) => read::<Members<'a>>(search)?.string("mode")?,
        None => None,
    };
    Ok(Entry {
        full_url: members.string("fullUrl")?.map(Cow::Owned),
        mode: mode.map(Cow::Owned),
        document: None,
        resource,
    })
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, BundleError> {
    serde_json::from_str(text).map_err(|_| BundleError::Malformed)
}

/// The members of one object, each a slice; a name that stands twice is an error.
struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|value| value.get())
    }

    fn string(&self, name: &str) -> Result<Option<String>, BundleError> {
        self.get(name).map(read).transpose()
    }

    fn list(&self, name: &str) -> Result<Vec<Members<'a>>, BundleError> {
        self.get(name).map_or_else(|| Ok(Vec::new()), read)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = BTreeMap<String, &'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = from.next_entry::<String, &RawValue>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("duplicate"));
                    }
                }
                Ok(members)
            }
        }
        from.deserialize_map(Reader).map(Self)
    }
}

#[cfg(test)]
mod agreement;

//! Loads real FHIR Bundles from a directory: transaction and collection Bundles as Synthea and US Core
//! publish them. Ids stay; `urn:uuid:` and conditional references become `Type/id`; where a conditional
//! reference to a Practitioner, Organization or Location has no target, a stub is made. Refuses, with
//! the file and the entry: what is not a Bundle, a resource without a type or id, a `urn:uuid:` that
//! names no entry. The same resource in several files counts once; a different one is a new version.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::error::SandboxError;
use crate::params;
use crate::query;
use crate::routes::is_id;

/// Larger files are not sample data.
const FILE_BYTES: u64 = 512 * 1024 * 1024;

/// A resource and where it came from.
struct Loaded {
    file: PathBuf,
    entry: usize,
    resource: Value,
}

/// The resources of every Bundle of the directory, files in order of their names.
pub(crate) fn load_dir(directory: &Path) -> Result<Vec<Value>, SandboxError> {
    let mut loaded = Vec::new();
    let mut urls: HashMap<String, String> = HashMap::new();
    let files = bundle_files(directory)?;
    if files.is_empty() {
        return Err(SandboxError::Empty { directory: directory.to_owned() });
    }
    for file in files {
        load_file(&file, &mut loaded, &mut urls)?;
    }
    let mut resolver = Resolver { urls, identifiers: HashMap::new(), stubs: BTreeMap::new() };
    for item in &loaded {
        resolver.learn(&item.resource);
    }
    for item in &mut loaded {
        resolver.rewrite(&mut item.resource).map_err(|problem| SandboxError::Entry {
            file: item.file.clone(),
            entry: item.entry,
            problem,
        })?;
    }
    let mut resources: Vec<Value> = resolver.stubs.into_values().collect();
    let mut latest: HashMap<String, usize> = HashMap::new();
    for item in loaded {
        let key = key_of(&item.resource).unwrap_or_default();
        let known = latest.get(&key).and_then(|index| resources.get(*index));
        if known != Some(&item.resource) {
            latest.insert(key, resources.len());
            resources.push(item.resource);
        }
    }
    Ok(resources)
}

fn bundle_files(directory: &Path) -> Result<Vec<PathBuf>, SandboxError> {
    let failed = |source| SandboxError::Read { file: directory.to_owned(), source };
    let mut files = Vec::new();
    for item in fs::read_dir(directory).map_err(failed)? {
        let path = item.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn load_file(
    file: &Path,
    loaded: &mut Vec<Loaded>,
    urls: &mut HashMap<String, String>,
) -> Result<(), SandboxError> {
    let read = |source| SandboxError::Read { file: file.to_owned(), source };
    if fs::metadata(file).map_err(read)?.len() > FILE_BYTES {
        return Err(read(std::io::Error::other("larger than any sample")));
    }
    let bytes = fs::read(file).map_err(read)?;
    let bundle: Value = serde_json::from_slice(&bytes)
        .map_err(|source| SandboxError::Json { file: file.to_owned(), source })?;
    let not_a_bundle = || SandboxError::NotABundle { file: file.to_owned() };
    if bundle.get("resourceType").and_then(Value::as_str) != Some("Bundle") {
        return Err(not_a_bundle());
    }
    let Value::Object(mut bundle) = bundle else { return Err(not_a_bundle()) };
    let Some(Value::Array(entries)) = bundle.remove("entry") else { return Err(not_a_bundle()) };
    for (entry, mut item) in entries.into_iter().enumerate() {
        let fail = |problem: &str| SandboxError::Entry {
            file: file.to_owned(),
            entry,
            problem: problem.to_owned(),
        };
        let full_url = item.get("fullUrl").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut resource = item.get_mut("resource").map(Value::take).unwrap_or_default();
        let Some(object) = resource.as_object_mut() else { return Err(fail("has no resource")) };
        let rtype = object.get("resourceType").and_then(Value::as_str).unwrap_or_default();
        if !params::is_type(rtype) {
            return Err(fail("has no resource type of R4"));
        }
        if !object.contains_key("id") {
            let id = full_url.rsplit([':', '/']).next().unwrap_or_default();
            object.insert("id".into(), id.into());
        }
        if !object.get("id").and_then(Value::as_str).is_some_and(is_id) {
            return Err(fail("has no valid id"));
        }
        if object.get("meta").is_some_and(|meta| !meta.is_object()) {
            return Err(fail("has a meta that is no object"));
        }
        let key = key_of(&resource).unwrap_or_default();
        if !full_url.is_empty()
            && urls.insert(full_url, key.clone()).is_some_and(|other| other != key)
        {
            return Err(fail("has the fullUrl of another resource"));
        }
        loaded.push(Loaded { file: file.to_owned(), entry, resource });
    }
    Ok(())
}

fn key_of(resource: &Value) -> Option<String> {
    let text = |name| resource.get(name).and_then(Value::as_str);
    Some(format!("{}/{}", text("resourceType")?, text("id")?))
}

/// Knows what references mean.
struct Resolver {
    /// `fullUrl` → `Type/id`.
    urls: HashMap<String, String>,
    /// `Type?system|value` → `Type/id`.
    identifiers: HashMap<String, String>,
    /// Made for conditional references, by `Type/id`.
    stubs: BTreeMap<String, Value>,
}

impl Resolver {
    fn learn(&mut self, resource: &Value) {
        let rtype = resource.get("resourceType").and_then(Value::as_str).unwrap_or_default();
        let Some(key) = key_of(resource) else { return };
        let identifiers = resource.get("identifier").and_then(Value::as_array);
        for identifier in identifiers.into_iter().flatten() {
            let text = |name| identifier.get(name).and_then(Value::as_str).unwrap_or_default();
            for token in [format!("{}|{}", text("system"), text("value")), text("value").to_owned()]
            {
                self.identifiers.entry(format!("{rtype}?{token}")).or_insert_with(|| key.clone());
            }
        }
    }

    fn rewrite(&mut self, value: &mut Value) -> Result<(), String> {
        match value {
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.rewrite(item)),
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get_mut("reference") {
                    *reference = self.resolve(reference)?;
                }
                members.values_mut().try_for_each(|member| self.rewrite(member))
            }
            _ => Ok(()),
        }
    }

    fn resolve(&mut self, reference: &str) -> Result<String, String> {
        if let Some(key) = self.urls.get(reference) {
            return Ok(key.clone());
        }
        if reference.starts_with("urn:") {
            return Err(format!("refers to {reference}, which is no entry"));
        }
        let Some((rtype, conditions)) = reference.split_once('?') else {
            return Ok(reference.to_owned());
        };
        let conditions = query::pairs(conditions);
        let [(name, token)] = conditions.as_slice() else {
            return Err(format!("has a conditional reference to {rtype} that is not understood"));
        };
        if name != "identifier" {
            return Err(format!("has a conditional reference to {rtype} by {name}"));
        }
        if let Some(key) = self.identifiers.get(&format!("{rtype}?{token}")) {
            return Ok(key.clone());
        }
        self.stub(rtype, token)
    }

    fn stub(&mut self, rtype: &str, token: &str) -> Result<String, String> {
        let name = match rtype {
            "Practitioner" => json!([{ "text": "Unknown practitioner" }]),
            "Organization" => json!("Unknown organization"),
            "Location" => json!("Unknown location"),
            _ => return Err(format!("has a conditional reference to a {rtype} that is no entry")),
        };
        let (system, value) = token.split_once('|').unwrap_or(("", token));
        let mut identifier = Map::new();
        if !system.is_empty() {
            identifier.insert("system".into(), system.into());
        }
        identifier.insert("value".into(), value.into());
        let id = format!("stub-{}", self.stubs.len() + 1);
        let key = format!("{rtype}/{id}");
        let stub = json!({
            "resourceType": rtype,
            "id": id,
            "meta": { "tag": [{ "system": "https://ward.example/sandbox", "code": "stub" }] },
            "identifier": [identifier],
            "name": name,
        });
        self.identifiers.insert(format!("{rtype}?{token}"), key.clone());
        self.stubs.insert(key.clone(), stub);
        Ok(key)
    }
}

#[cfg(test)]
mod tests;

//! The records in memory: every version of every resource, in creation order, with one index.
//!
//! Each version carries the sequence number of its write, so that a search can be answered as of an
//! earlier moment (*horizon*): a page token names the horizon of its first page, and concurrent writes
//! neither repeat nor lose a match. The index holds every string leaf of a resource (references also
//! as `Type/id`); it yields candidates for literal criteria, which the search then verifies.
//! Refuses to hold more than [`MAX_RECORDS`] resources or [`MAX_VERSIONS`] versions of one.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::{Map, Value};
use ward_core::Timestamp;

use crate::element::reference_key;

/// Most resources held at once.
pub(crate) const MAX_RECORDS: usize = 1_000_000;
/// Most versions kept of one resource; older ones give way.
pub(crate) const MAX_VERSIONS: usize = 100;
/// Longer strings are narrative or attachments; nobody searches for them literally.
pub(crate) const MAX_LEAF: usize = 256;

/// One version of a resource; a deletion has no body.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) seq: u64,
    pub(crate) number: u64,
    pub(crate) at: Timestamp,
    pub(crate) body: Option<Arc<str>>,
}

/// All versions of one resource, oldest first.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: String,
    versions: Vec<Version>,
}

impl Record {
    pub(crate) fn newest(&self) -> Option<&Version> {
        self.versions.last()
    }

    pub(crate) fn version(&self, number: u64) -> Option<&Version> {
        self.versions.iter().find(|version| version.number == number)
    }

    /// The version that was current at `horizon`, unless it was deleted or not yet there.
    pub(crate) fn at(&self, horizon: u64) -> Option<&Version> {
        let version = self.versions.iter().rev().find(|version| version.seq <= horizon)?;
        version.body.is_some().then_some(version)
    }
}

#[derive(Debug, Default)]
struct Table {
    records: Vec<Record>,
    by_id: HashMap<String, usize>,
    leaves: HashMap<u64, Vec<u32>>,
}

/// All resources, by type.
#[derive(Debug, Default)]
pub(crate) struct Store {
    seq: u64,
    records: usize,
    live: usize,
    assigned: u64,
    tables: BTreeMap<String, Table>,
}

/// The result of a write.
#[derive(Debug)]
pub(crate) enum Put {
    Created(Version),
    Updated(Version),
    /// The store is full, or the resource has no type or id.
    Refused,
}

impl Store {
    /// The moment after the latest write.
    pub(crate) fn horizon(&self) -> u64 {
        self.seq
    }

    pub(crate) fn len(&self) -> usize {
        self.live
    }

    pub(crate) fn ids(&self, rtype: &str) -> Vec<String> {
        let records = self.tables.get(rtype).map(|table| table.records.as_slice());
        records
            .unwrap_or_default()
            .iter()
            .filter(|record| record.newest().is_some_and(|version| version.body.is_some()))
            .map(|record| record.id.clone())
            .collect()
    }

    pub(crate) fn record(&self, rtype: &str, id: &str) -> Option<&Record> {
        let table = self.tables.get(rtype)?;
        table.records.get(*table.by_id.get(id)?)
    }

    pub(crate) fn current(&self, rtype: &str, id: &str) -> Option<Value> {
        let body = self.record(rtype, id)?.newest()?.body.as_deref()?;
        serde_json::from_str(body).ok()
    }

    /// Records in creation order; with `keys`, only those that hold one of these leaves or ids.
    pub(crate) fn candidates(&self, rtype: &str, keys: Option<&[String]>) -> Vec<&Record> {
        let Some(table) = self.tables.get(rtype) else { return Vec::new() };
        let Some(keys) = keys else { return table.records.iter().collect() };
        let mut slots: Vec<usize> = Vec::new();
        for key in keys {
            slots.extend(table.by_id.get(key));
            if let Some(posted) = table.leaves.get(&leaf_hash(key)) {
                slots.extend(posted.iter().filter_map(|slot| usize::try_from(*slot).ok()));
            }
        }
        slots.sort_unstable();
        slots.dedup();
        slots.into_iter().filter_map(|slot| table.records.get(slot)).collect()
    }

    /// An id that no resource of the type has.
    pub(crate) fn assign_id(&mut self, rtype: &str) -> String {
        loop {
            self.assigned += 1;
            let id = format!("new-{}", self.assigned);
            if self.record(rtype, &id).is_none() {
                return id;
            }
        }
    }

    /// Stores a resource of the population: `meta.lastUpdated` stays if there is one.
    pub(crate) fn load(&mut self, resource: Value, default: Timestamp) -> Put {
        let stamp = resource.pointer("/meta/lastUpdated").and_then(Value::as_str);
        let at = stamp.and_then(Timestamp::parse_rfc3339).unwrap_or(default);
        self.put(resource, at)
    }

    /// Stores a new resource or a new version, stamped `now`.
    pub(crate) fn put(&mut self, mut resource: Value, now: Timestamp) -> Put {
        let member = |name| resource.get(name).and_then(Value::as_str).map(str::to_owned);
        let (Some(rtype), Some(id)) = (member("resourceType"), member("id")) else {
            return Put::Refused;
        };
        let number = self
            .record(&rtype, &id)
            .and_then(Record::newest)
            .map_or(1, |version| version.number + 1);
        if number == 1 && self.records >= MAX_RECORDS {
            return Put::Refused;
        }
        let Some(object) = resource.as_object_mut() else { return Put::Refused };
        let meta = object.entry("meta").or_insert_with(|| Value::Object(Map::new()));
        let Some(meta) = meta.as_object_mut() else { return Put::Refused };
        meta.insert("versionId".into(), number.to_string().into());
        meta.insert("lastUpdated".into(), now.to_rfc3339().into());

        self.seq += 1;
        let body: Arc<str> = resource.to_string().into();
        let version = Version { seq: self.seq, number, at: now, body: Some(body) };
        let mut leaves = Vec::new();
        collect_leaves(&resource, &mut leaves);
        if self.append(&rtype, id, version.clone(), leaves) {
            Put::Created(version)
        } else {
            Put::Updated(version)
        }
    }

    /// Deletes a resource; false if it is not there.
    pub(crate) fn delete(&mut self, rtype: &str, id: &str, now: Timestamp) -> bool {
        let newest = self.record(rtype, id).and_then(Record::newest);
        let Some(number) = newest.filter(|version| version.body.is_some()).map(|v| v.number) else {
            return false;
        };
        self.seq += 1;
        let version = Version { seq: self.seq, number: number + 1, at: now, body: None };
        self.append(rtype, id.to_owned(), version, Vec::new());
        true
    }

    /// True if the resource is new.
    fn append(&mut self, rtype: &str, id: String, version: Version, mut leaves: Vec<u64>) -> bool {
        let table = self.tables.entry(rtype.to_owned()).or_default();
        let known = table.by_id.get(&id).copied();
        let slot = known.unwrap_or(table.records.len());
        let was_live = known
            .and_then(|slot| table.records.get(slot))
            .and_then(Record::newest)
            .is_some_and(|newest| newest.body.is_some());
        match (was_live, version.body.is_some()) {
            (false, true) => self.live += 1,
            (true, false) => self.live = self.live.saturating_sub(1),
            _ => {}
        }
        leaves.sort_unstable();
        leaves.dedup();
        let short = u32::try_from(slot).unwrap_or(u32::MAX);
        for leaf in leaves {
            let posted = table.leaves.entry(leaf).or_default();
            if posted.last() != Some(&short) {
                posted.push(short);
            }
        }
        if let Some(record) = table.records.get_mut(slot) {
            if record.versions.len() >= MAX_VERSIONS {
                record.versions.remove(0);
            }
            record.versions.push(version);
            return false;
        }
        table.by_id.insert(id.clone(), slot);
        table.records.push(Record { id, versions: vec![version] });
        self.records += 1;
        true
    }
}

fn leaf_hash(leaf: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    leaf.hash(&mut hasher);
    hasher.finish()
}

fn collect_leaves(value: &Value, into: &mut Vec<u64>) {
    match value {
        Value::String(text) if text.len() <= MAX_LEAF => into.push(leaf_hash(text)),
        Value::Bool(flag) => into.push(leaf_hash(if *flag { "true" } else { "false" })),
        Value::Array(items) => items.iter().for_each(|item| collect_leaves(item, into)),
        Value::Object(members) => {
            for (name, member) in members {
                if name == "reference"
                    && let Some(key) = member.as_str().and_then(reference_key)
                {
                    into.push(leaf_hash(&key));
                }
                collect_leaves(member, into);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn horizon_hides_later_writes() {
        let mut store = Store::default();
        let at = Timestamp::from_seconds(0);
        store.put(json!({"resourceType":"Patient","id":"a","gender":"male"}), at);
        let before = store.horizon();
        store.put(json!({"resourceType":"Patient","id":"a","gender":"female"}), at);
        store.put(json!({"resourceType":"Patient","id":"b"}), at);
        store.delete("Patient", "a", at);
        let record = store.record("Patient", "a").unwrap();
        assert_eq!(record.at(before).unwrap().number, 1);
        assert!(record.at(store.horizon()).is_none());
        assert!(store.record("Patient", "b").unwrap().at(before).is_none());
        assert_eq!(store.len(), 1);
        assert_eq!(store.ids("Patient"), ["b"]);
    }

    #[test]
    fn index_finds_references_in_any_form() {
        let mut store = Store::default();
        let at = Timestamp::from_seconds(0);
        for (id, reference) in [
            ("1", "Patient/p"),
            ("2", "http://other/fhir/Patient/p"),
            ("3", "Patient/p/_history/2"),
            ("4", "Patient/q"),
        ] {
            let subject = json!({ "reference": reference });
            store.put(json!({"resourceType":"Observation","id":id,"subject":subject}), at);
        }
        let found = store.candidates("Observation", Some(&["Patient/p".to_owned()]));
        let ids: Vec<_> = found.iter().map(|record| record.id.as_str()).collect();
        assert_eq!(ids, ["1", "2", "3"]);
    }
}

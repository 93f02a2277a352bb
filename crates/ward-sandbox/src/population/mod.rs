//! A synthetic hospital and its people, from a seeded generator: the same seed gives the same bytes, on
//! any machine and any day. No person is real. Names, numbers and addresses say so: MRNs are in a
//! system of `ward.example`, practitioner numbers have the shape and check digit of an NPI but begin
//! with 9, which is never issued.
//!
//! Patient `k` is the same whatever the number of patients, except for the cross-links of `traps`.

mod chart;
mod codes;
mod draw;
mod people;
mod staff;
mod traps;

use serde_json::{Value, json};
use ward_core::Timestamp;

pub use traps::Trap;

use draw::Draw;

/// The day of the synthetic hospital, 2026-11-01T08:00:00Z: the generator knows no other.
pub const TODAY: Timestamp = Timestamp::from_seconds(1_793_520_000);

/// Most patients that are generated.
pub const MAX_PATIENTS: usize = 9_000;

/// The system of the medical record numbers.
pub const MRN_SYSTEM: &str = "https://hospital.ward.example/synthetic-mrn";

/// Synthetic resources, in an order in which every reference points backwards or within one patient.
#[derive(Debug, Clone, PartialEq)]
pub struct Population {
    /// Complete resources with ids and `meta.lastUpdated`.
    pub resources: Vec<Value>,
    /// Records that a careless reader would show to the wrong organisation.
    pub traps: Vec<Trap>,
}

impl Population {
    /// A hospital with `patients` patients (at most [`MAX_PATIENTS`]) as of [`TODAY`].
    pub fn generate(seed: u64, patients: usize) -> Self {
        Self::generate_at(seed, patients, TODAY)
    }

    /// The same on another day: every date is relative to `today`.
    pub fn generate_at(seed: u64, patients: usize, today: Timestamp) -> Self {
        let mut resources = Vec::new();
        let traps = generate_into(seed, patients, today, &mut |resource| resources.push(resource));
        Self { resources, traps }
    }

    /// The ids of the patients, in order.
    pub fn patient_ids(&self) -> Vec<String> {
        self.resources
            .iter()
            .filter(|resource| resource.get("resourceType") == Some(&json!("Patient")))
            .filter_map(|resource| resource.get("id")?.as_str().map(str::to_owned))
            .collect()
    }
}

/// Hands every resource to `sink` as it is made, because a thousand charts at once fill a gigabyte.
pub(crate) fn generate_into(
    seed: u64,
    patients: usize,
    today: Timestamp,
    sink: &mut dyn FnMut(Value),
) -> Vec<Trap> {
    let patients = patients.min(MAX_PATIENTS);
    let mut builder = Builder { sink, today };
    let staff = staff::generate(&mut builder, &Draw::new(seed, 0));
    for index in 0..patients {
        let draw = Draw::new(seed, index + 1);
        let linked = traps::partner(index, patients);
        let person = people::generate(&mut builder, &draw, &staff, index, linked);
        chart::generate(&mut builder, &draw, &staff, &person);
    }
    traps::generate(&mut builder, patients)
}

/// Writes resources.
struct Builder<'a> {
    sink: &'a mut dyn FnMut(Value),
    today: Timestamp,
}

impl Builder<'_> {
    /// Adds a resource that was last changed `days` ago.
    fn add(&mut self, rtype: &str, id: &str, days: i64, mut body: Value) {
        if let Some(object) = body.as_object_mut() {
            object.insert("resourceType".into(), rtype.into());
            object.insert("id".into(), id.into());
            let meta = object.entry("meta").or_insert_with(|| json!({}));
            if let Some(meta) = meta.as_object_mut() {
                meta.insert("lastUpdated".into(), self.instant(days, 9).into());
            }
        }
        (self.sink)(body);
    }

    /// An instant on the day that is `days` before today, at `hour` (may exceed 24).
    fn instant(&self, days: i64, hour: i64) -> String {
        let seconds = self.midnight(days) + hour * 3600;
        Timestamp::from_seconds(seconds.min(self.today.as_seconds())).to_rfc3339()
    }

    /// The date that is `days` before today.
    fn date(&self, days: i64) -> String {
        let text = Timestamp::from_seconds(self.midnight(days)).to_rfc3339();
        text.split('T').next().unwrap_or_default().to_owned()
    }

    fn midnight(&self, days: i64) -> i64 {
        (i64::from(self.today.day()) - days) * 86_400
    }
}

fn reference(target: &str) -> Value {
    json!({ "reference": target })
}

fn concept(system: &str, code: &str, display: &str) -> Value {
    json!({
        "coding": [{ "system": system, "code": code, "display": display }],
        "text": display,
    })
}

/// The literal references that name no resource of the list, for tests: `Type/id: reference`.
#[cfg(test)]
pub(crate) fn dangling_references(resources: &[Value]) -> Vec<String> {
    fn references(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| references(item, into)),
            Value::Object(members) => {
                into.extend(members.get("reference").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| references(member, into));
            }
            _ => {}
        }
    }
    let text =
        |resource: &Value, name: &str| resource[name].as_str().unwrap_or_default().to_owned();
    let key =
        |resource: &Value| format!("{}/{}", text(resource, "resourceType"), text(resource, "id"));
    let known: std::collections::HashSet<String> = resources.iter().map(key).collect();
    let mut dangling = Vec::new();
    for resource in resources {
        let mut found = Vec::new();
        references(resource, &mut found);
        found.retain(|reference| {
            let contained = reference.starts_with('#');
            !contained
                && !crate::element::reference_key(reference).is_some_and(|key| known.contains(&key))
        });
        dangling
            .extend(found.into_iter().map(|reference| format!("{}: {reference}", key(resource))));
    }
    dangling
}

#[cfg(test)]
mod tests;

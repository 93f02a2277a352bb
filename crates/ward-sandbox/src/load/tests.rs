use super::*;
use crate::Sandbox;

fn bundle(entries: &Value) -> String {
    json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries }).to_string()
}

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, files: &[(&str, String)]) -> Self {
        let path = std::env::temp_dir().join(format!("ward-sandbox-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        for (file, text) in files {
            fs::write(path.join(file), text).unwrap();
        }
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn rewrites_references_across_files() {
    let patient =
        json!({ "fullUrl": "urn:uuid:a", "resource": { "resourceType": "Patient", "id": "p1" } });
    let doctor = json!({ "fullUrl": "urn:uuid:d", "resource": {
        "resourceType": "Practitioner", "id": "d1",
        "identifier": [{ "system": "http://hl7.org/fhir/sid/us-npi", "value": "999" }],
    } });
    let encounter = json!({ "fullUrl": "urn:uuid:e", "resource": {
        "resourceType": "Encounter", "id": "e1",
        "subject": { "reference": "urn:uuid:a" },
        "participant": [
            { "individual": { "reference": "Practitioner?identifier=http://hl7.org/fhir/sid/us-npi|999" } },
            { "individual": { "reference": "Practitioner?identifier=http://hl7.org/fhir/sid/us-npi|111" } },
        ],
        "serviceProvider": { "reference": "Organization?identifier=https://x|7" },
        "contained": [{ "resourceType": "Basic", "id": "c" }],
        "basedOn": [{ "reference": "#c" }, { "reference": "ServiceRequest/9" }],
    } });
    let scratch = Scratch::new(
        "rewrite",
        &[
            ("1.json", bundle(&json!([encounter, patient]))),
            ("2.json", bundle(&json!([doctor, patient]))),
            ("notes.txt", "not a bundle".into()),
        ],
    );
    let sandbox = Sandbox::load_dir(&scratch.0).unwrap();
    assert_eq!(sandbox.patient_ids(), ["p1"]);
    let encounter = sandbox.resource("Encounter", "e1").unwrap();
    let at = |pointer| encounter.pointer(pointer).and_then(Value::as_str).unwrap();
    assert_eq!(at("/subject/reference"), "Patient/p1");
    assert_eq!(at("/participant/0/individual/reference"), "Practitioner/d1");
    assert_eq!(at("/basedOn/0/reference"), "#c");
    assert_eq!(at("/basedOn/1/reference"), "ServiceRequest/9");
    let (rtype, id) = at("/participant/1/individual/reference").split_once('/').unwrap();
    let stub = sandbox.resource(rtype, id).unwrap();
    assert_eq!(stub.pointer("/identifier/0/value"), Some(&json!("111")));
    let (rtype, id) = at("/serviceProvider/reference").split_once('/').unwrap();
    assert!(sandbox.resource(rtype, id).is_some());
    // Twice the same patient is one version.
    assert_eq!(
        sandbox.resource("Patient", "p1").unwrap().pointer("/meta/versionId"),
        Some(&json!("1"))
    );
}

#[test]
fn errors_name_file_and_entry() {
    let patient = |id: Value| json!({ "fullUrl": "urn:uuid:a", "resource": { "resourceType": "Patient", "id": id } });
    for (name, text, problem) in [
        ("json", "{".to_owned(), "x.json is not JSON"),
        (
            "nobundle",
            json!({ "resourceType": "Patient" }).to_string(),
            "x.json is not a FHIR Bundle",
        ),
        ("noentry", json!({ "resourceType": "Bundle" }).to_string(), "x.json is not a FHIR Bundle"),
        (
            "type",
            bundle(&json!([patient(json!("1")), { "resource": { "resourceType": "Alien" } }])),
            "x.json entry 1: has no resource type",
        ),
        ("id", bundle(&json!([patient(json!("a/b"))])), "x.json entry 0: has no valid id"),
        (
            "same",
            bundle(&json!([patient(json!("1")), patient(json!("2"))])),
            "x.json entry 1: has the fullUrl of another",
        ),
        (
            "urn",
            bundle(
                &json!([{ "resource": { "resourceType": "Basic", "id": "b", "subject": { "reference": "urn:uuid:q" } } }]),
            ),
            "x.json entry 0: refers to urn:uuid:q",
        ),
        (
            "cond",
            bundle(
                &json!([{ "resource": { "resourceType": "Basic", "id": "b", "subject": { "reference": "Patient?identifier=a|b" } } }]),
            ),
            "x.json entry 0: has a conditional reference to a Patient",
        ),
    ] {
        let scratch = Scratch::new(name, &[("x.json", text)]);
        let error = load_dir(&scratch.0).unwrap_err().to_string();
        assert!(error.contains(problem), "{name}: {error}");
    }
    let empty = Scratch::new("empty", &[]);
    assert!(matches!(load_dir(&empty.0), Err(SandboxError::Empty { .. })));
    assert!(matches!(load_dir(Path::new("/no/such/place")), Err(SandboxError::Read { .. })));
}

/// Every literal reference of the shared samples resolves, and none of the entries is lost.
#[test]
#[expect(clippy::disallowed_macros, reason = "a skipped test says so where the person looks")]
fn loads_the_shared_samples() {
    for (folder, patients, at_least) in [("synthea-r4", 24, 5000), ("us-core-r4", 4, 740)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(folder);
        if !path.is_dir() {
            eprintln!("SKIPPED: {} is not here, the loader is not tested on it", path.display());
            continue;
        }
        let sandbox = Sandbox::load_dir(&path).unwrap();
        assert_eq!(sandbox.patient_ids().len(), patients, "{folder}");
        assert!(sandbox.len() > at_least, "{folder}: {}", sandbox.len());
        // Each patient's observations by search are each patient's observations.
        let store = sandbox.store.read().unwrap();
        let found: usize = sandbox
            .patient_ids()
            .iter()
            .map(|id| {
                let pairs = [("patient".to_owned(), id.clone())];
                let search = crate::search::Search::parse("Observation", &pairs, true).unwrap();
                search.run(&store, store.horizon(), "http://x", 0).len()
            })
            .sum();
        assert_eq!(found, sandbox.ids("Observation").len(), "{folder}");
        let resources = load_dir(&path).unwrap();
        let dangling = crate::population::dangling_references(&resources);
        assert_eq!(dangling, Vec::<String>::new(), "{folder}");
    }
}

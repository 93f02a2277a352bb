//! What is decided is what the plain way decides: on the sample patients, on the corpus of the fuzzer
//! (the one that it found beside the committed one, if there is any), on mutations of both and on
//! documents made at random, with names escaped, doubled and in any order.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;
use ward_core::json::Unescaped;
use ward_core::{Rng as _, SeededRng};

use super::*;

/// Changes of each seed. `WARD_AGREEMENT=1000` for a long run.
fn mutations() -> usize {
    std::env::var("WARD_AGREEMENT").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

/// What a record is made of, and what breaks one.
const WORDS: &[&str] = &[
    r#""reference""#,
    r#""referenc\u0065""#,
    r#""type""#,
    r#""subject""#,
    r#""subj\u0065ct""#,
    r#""performer""#,
    r#""identifier""#,
    r#""display""#,
    r#""contained""#,
    r#""meta""#,
    r#""security""#,
    r#""system""#,
    r#""code""#,
    r#""versionId""#,
    r#""id""#,
    r#""resourceType""#,
    r#""actor""#,
    r#""participant""#,
    r#""who""#,
    r#""agent""#,
    r#""extension""#,
    r#""valueReference""#,
    r#""_subject""#,
    r#""entry""#,
    r#""resource""#,
    r#""search""#,
    r#""mode""#,
    r#""link""#,
    r#""Observation""#,
    r#""Patient""#,
    r#""Device""#,
    r#""Bundle""#,
    r#""searchset""#,
    r#""Patient/A""#,
    r#""Patient/B/_history/1""#,
    r##""#d""##,
    r##""#""##,
    r#""\u0050atient\/B""#,
    r#""Group/1""#,
    r#""urn:uuid:1""#,
    r#""http://127.0.0.1:8080/fhir/Patient/C""#,
    r#""https://GW.example:443/default/fhir/Patient/D""#,
    r#""https://other.example/Patient/B""#,
    r#""https://other.example/fhir/Device/1""#,
    r#""Device/7""#,
    r#""patient/B""#,
    r#""Patient/\t""#,
    r#""é\u00e9𝄞""#,
    r#""\ud834\udd1e""#,
    r#""\ud800""#,
    r#""\x""#,
    r#""\u12""#,
    "\"\u{1}\"",
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\n",
    "\t",
    "\u{feff}",
    "\u{a0}",
    "null",
    "true",
    "false",
    "nul",
    "0",
    "-0",
    "-",
    "01",
    "1.5",
    "1.",
    ".5",
    "1e5",
    "1E+05",
    "1e9999",
    "-1e-9999",
    "12345678901234567890",
    "123456789012345678901234567890",
    "1e",
    "+1",
    "NaN",
    "[[[[[[[[",
    "]]]]]]]]",
    "{\"a\":",
    "{}",
    "[]",
    r#"{"reference":"Patient/B"}"#,
    r#"{"reference":"Patient/A","type":"Patient"}"#,
    r#"[{"resourceType":"Device","id":"d"}]"#,
    r#"{"type":"Patient","display":"x"}"#,
];

fn below(rng: &SeededRng, n: usize) -> usize {
    usize::try_from(rng.next_u64() % (n.max(1) as u64)).unwrap()
}

/// One to four small changes.
fn mutated(seed: &[u8], rng: &SeededRng) -> Vec<u8> {
    let mut out = seed.to_vec();
    for _ in 0..=below(rng, 4) {
        let at = below(rng, out.len() + 1);
        let word = WORDS[below(rng, WORDS.len())].bytes();
        let end = (at + below(rng, 24)).min(out.len());
        match below(rng, 7) {
            0 => out.truncate(at),
            1 => out.insert(at, u8::try_from(below(rng, 256)).unwrap()),
            2 if at < out.len() => out[at] ^= 1 << below(rng, 8),
            3 => drop(out.drain(at..end)),
            4 => drop(out.splice(at..end, word)),
            5 => drop(out.splice(at..at, word)),
            _ => {
                let piece = out[at..end].to_vec();
                let to = below(rng, out.len() + 1);
                out.splice(to..to, piece);
            }
        }
    }
    out
}

/// A value with more of what matters than chance would give; often not quite well-formed.
fn made(rng: &SeededRng, depth: usize, out: &mut String) {
    let space = |out: &mut String| {
        if below(rng, 6) == 0 {
            out.push_str([" ", "\n", "\t\r", "  "][below(rng, 4)]);
        }
    };
    space(out);
    let strings = WORDS.iter().filter(|word| word.starts_with('"') && word.len() > 2);
    match below(rng, 10) {
        0..=3 if depth > 0 => {
            out.push('{');
            for at in 0..below(rng, 6) {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(strings.clone().nth(below(rng, 24)).unwrap());
                out.push(':');
                made(rng, depth - 1, out);
            }
            out.push('}');
        }
        4 if depth > 0 => {
            out.push('[');
            for at in 0..below(rng, 4) {
                if at > 0 {
                    out.push(',');
                }
                made(rng, depth - 1, out);
            }
            out.push(']');
        }
        5 if below(rng, 8) == 0 => out.push_str(WORDS[below(rng, WORDS.len())]),
        6 => out.push_str(["null", "true", "7", "-1.5e3"][below(rng, 4)]),
        _ => out.push_str(strings.clone().nth(below(rng, strings.clone().count())).unwrap()),
    }
    space(out);
}

/// How often something was believed, and how often refused.
#[derive(Default)]
struct Tally(usize, usize);

impl Tally {
    fn add(&mut self, believed: bool) {
        if believed { self.0 += 1 } else { self.1 += 1 }
    }
}

fn bases() -> ReferenceBases {
    ReferenceBases {
        public: "https://gw.example/default/fhir".to_owned(),
        upstream: "http://127.0.0.1:8080/fhir/".to_owned(),
    }
}

fn record(text: &str, tally: &mut Tally) {
    let bases = bases();
    // Bounds of both sizes: most samples are flat.
    for depth in [Limits::default().upstream_json_depth, 4] {
        let limits = Limits { upstream_json_depth: depth, ..Limits::default() };
        let mine = ResourceView::parse(text, &bases, &limits);
        let plain = view(text, &bases, &limits);
        match (&mine, &plain) {
            (Err(ViewError::Json(_)) | Ok(_), _) | (_, Err(ViewError::Json(_)) | Ok(_)) => {
                assert_eq!(mine, plain, "{text}");
            }
            // Of several faults either may be named: the plain way goes by name, not by place.
            (Err(_), Err(_)) => {}
        }
        tally.add(mine.is_ok());
        if let Ok(value) = json::parse(text.as_bytes(), depth) {
            // In the order of names both must name the same.
            let sorted = value.to_string();
            let mine = ResourceView::parse(&sorted, &bases, &limits);
            assert_eq!(mine, view(&sorted, &bases, &limits), "{sorted}");
        }
    }
}

fn page(bytes: &[u8], tally: &mut Tally) {
    let limits = Limits::default();
    let kept = Unescaped::default();
    let (mut mine, plain) = (Searchset::parse(bytes, &kept, &limits), searchset(bytes, &limits));
    for entry in mine.iter_mut().flat_map(|page| &mut page.entries) {
        let bases = bases();
        let whole = ResourceView::parse(entry.resource, &bases, &limits);
        assert_eq!(entry.view(&bases, &limits), whole, "{}", entry.resource);
        // Whatever parses was parsed on the way.
        let depth = limits.upstream_json_depth;
        let parses = json::parse(entry.resource.as_bytes(), depth).is_ok();
        assert_eq!(entry.document.is_some(), parses, "{}", entry.resource);
        entry.document = None;
    }
    if mine.is_ok() || plain.is_ok() {
        assert_eq!(mine, plain, "{}", String::from_utf8_lossy(bytes));
    }
    tally.add(mine.is_ok());
    for entry in mine.iter().flat_map(|page| &page.entries) {
        record(entry.resource, &mut Tally::default());
    }
}

fn both(bytes: &[u8], pages: &mut Tally, records: &mut Tally) {
    page(bytes, pages);
    if let Ok(text) = std::str::from_utf8(bytes) {
        record(text, records);
    }
}

fn files(dir: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir).into_iter().flatten().map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn on_the_corpus_of_the_fuzzer_and_around_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let mut seeds = files(&root.join("corpus/bundle"));
    assert!(seeds.len() >= 3);
    let committed = seeds.len();
    seeds.extend(files(&root.join("target/corpus/bundle")));
    let rng = SeededRng::new(31);
    let (mut pages, mut records) = (Tally::default(), Tally::default());
    for (at, seed) in seeds.iter().enumerate() {
        both(seed, &mut pages, &mut records);
        for _ in 0..if at < committed { 60 * mutations() } else { mutations() } {
            both(&mutated(seed, &rng), &mut pages, &mut records);
        }
    }
    let enough = |tally: &Tally| tally.0 >= 10 && tally.1 >= 10;
    assert!(enough(&pages) && enough(&records), "{} {}", pages.0, records.0);
}

#[test]
fn on_documents_made_at_random() {
    let rng = SeededRng::new(32);
    let (mut pages, mut records) = (Tally::default(), Tally::default());
    for _ in 0..500 * mutations() {
        let mut inner = String::new();
        for name in ["subject", "performer", "contained", "meta", "x", "participant"] {
            if below(&rng, 2) == 0 {
                inner.extend([",\"", name, "\":"]);
                made(&rng, 4, &mut inner);
            }
        }
        let rtype = ["Observation", "Patient", "Appointment", "Device"][below(&rng, 4)];
        let id = r#""id":"1""#;
        let text = if below(&rng, 2) == 0 {
            format!(r#"{{"resourceType":"{rtype}",{id}{inner}}}"#)
        } else {
            format!(r#"{{{id}{inner},"resourceType":"{rtype}"}}"#)
        };
        both(text.as_bytes(), &mut pages, &mut records);
        let mut extra = String::new();
        made(&rng, 3, &mut extra);
        let bundle = format!(
            r#"{{"type":"searchset","entry":[{{"resource":{text},"x":{extra}}}],"resourceType":"Bundle"}}"#
        );
        both(bundle.as_bytes(), &mut pages, &mut records);
        both(&mutated(bundle.as_bytes(), &rng), &mut pages, &mut records);
    }
    assert!(pages.0 > 100 && pages.1 > 100, "pages {} {}", pages.0, pages.1);
    assert!(records.0 > 100 && records.1 > 100, "records {} {}", records.0, records.1);
}

/// The records as they lie there, with their URNs, and as a server would keep them.
#[test]
fn on_the_sample_patients_and_around_them() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let rng = SeededRng::new(33);
    let (mut pages, mut records) = (Tally::default(), Tally::default());
    for folder in ["synthea-r4", "us-core-r4"] {
        for file in files(&data.join(folder)) {
            page(&file, &mut pages);
            let bundle: Value = serde_json::from_slice(&file).unwrap();
            let entries = bundle["entry"].as_array().unwrap();
            let mut places = BTreeMap::new();
            for entry in entries {
                let (rtype, id) = (&entry["resource"]["resourceType"], &entry["resource"]["id"]);
                let place = format!("{}/{}", rtype.as_str().unwrap(), id.as_str().unwrap_or("x"));
                places.insert(entry["fullUrl"].as_str().unwrap_or_default(), place);
            }
            for entry in entries {
                let text = entry["resource"].to_string();
                record(&text, &mut records);
                // Longer ones cost a debug build too much.
                if text.len() > 4000 {
                    continue;
                }
                let mut placed = text;
                for (url, place) in &places {
                    if !url.is_empty() && placed.contains(url) {
                        placed = placed.replace(url, place);
                    }
                }
                record(&placed, &mut records);
                if below(&rng, 16) < mutations() {
                    for _ in 0..mutations().div_ceil(8) {
                        let changed = mutated(placed.as_bytes(), &rng);
                        both(&changed, &mut pages, &mut records);
                    }
                }
            }
        }
    }
    assert!(!data.join("synthea-r4").is_dir() || records.0 > 3000, "{}", records.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn on_references(parts in prop::collection::vec(prop_oneof![
        prop::sample::select(vec![
            "Patient", "patient", "Device", "/", "//", ":", "://", "_history", "1", "..", "?", "#", "%", "\\",
            " ", "\u{a0}", "\u{85}", "é", "http", "HTTPS", "gw.example", "GW.example", ":443", ":80", "127.0.0.1",
            ":8080", "/fhir", "/default/fhir", "urn:", "uRN:", "https://gw.example/default/fhir/",
            "http://127.0.0.1:8080/fhir/",
        ]).prop_map(str::to_owned),
        ".{0,3}",
    ], 0..7)) {
        let text = parts.concat();
        let bases = ["https://gw.example/default/fhir", "http://127.0.0.1:8080/fhir/"];
        prop_assert_eq!(Reference::parse(&text, &bases), parse_reference(&text, &bases), "{}", text);
        prop_assert_eq!(crate::reference::is_surely_no_patient(&text), is_surely_no_patient(&text));
    }
}

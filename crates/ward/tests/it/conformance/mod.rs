//! Every requirement of `udap.md` §2, §3, §6 and §7 that is due, and of `enforcement.md` §2.A–2.B, is in exactly one
//! place: proven by a row or a named test, or listed as not yet, with the reason. None can disappear without failing
//! here; the message says which line to add or to remove.
//!
//! `docs/conformance` is written from this by `WARD_BLESS=1 cargo test -p ward --test it conformance`.

mod inferno;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which page, which id. Both pages have a B10.
type Key = (String, String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    page: String,
    section: String,
    id: String,
    /// SHALL, SHOULD, MAY as in the source; OUR: a decision of this project where nothing is written.
    #[serde(default)]
    level: String,
    what: String,
    #[serde(default)]
    answer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    page: String,
    id: String,
    /// A test, and its file.
    #[serde(default)]
    file: String,
    #[serde(default)]
    test: String,
    /// Or other ids of the page, whose own rows and tests are the proof.
    #[serde(default)]
    by: Vec<String>,
}

#[derive(Deserialize, Serialize, Clone)]
#[serde(deny_unknown_fields)]
struct NotYet {
    #[serde(skip_serializing)]
    page: String,
    #[serde(skip_serializing)]
    id: String,
    /// What of the requirement; all of it if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<String>,
    reason: String,
    issue: String,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    what: String,
}

/// A file of `tests/data` whose every row is a proof of its id, and the test that drives it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    page: String,
    rows: String,
    file: String,
    test: String,
}

/// What proves a requirement.
#[derive(Default, Serialize)]
struct Entry {
    /// Place in `ids.jsonl`, which has the order of the reference.
    #[serde(skip)]
    place: usize,
    section: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    level: String,
    what: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    answer: String,
    /// File of data and test: rows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    rows: BTreeMap<String, Vec<String>>,
    /// `file::test`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    tests: BTreeSet<String>,
    /// Ids whose proofs are this one's.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    by: BTreeSet<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_yet: Vec<NotYet>,
}

/// How many requirements each section of the reference has.
const SECTIONS: [(&str, &str, usize, &str); 22] = [
    ("udap", "2.1", 29, "discovery"),
    ("udap", "2.2", 11, "signed metadata"),
    ("udap", "2.3", 7, "communities"),
    ("udap", "2.4", 14, "signed tokens in general"),
    ("udap", "2.5", 17, "certificates"),
    ("udap", "2.6", 56, "registration, changes, certifications"),
    ("udap", "2.8", 28, "token endpoint"),
    ("udap", "2.9", 37, "client credentials and the extension objects"),
    ("udap", "2.11", 19, "resource server, transport, SMART, consent, operation"),
    ("udap", "3", 30, "the client"),
    ("udap", "6.1", 22, "what a community decides and operates"),
    ("udap", "6.2", 5, "portable trust"),
    ("udap", "6.3", 6, "the directory"),
    ("udap", "7.1", 42, "bad input: registration, envelope and statement"),
    ("udap", "7.2", 26, "bad input: registration, parameters"),
    ("udap", "7.3", 48, "bad input: certificates"),
    ("udap", "7.4", 15, "bad input: certifications"),
    ("udap", "7.6", 36, "bad input: token endpoint"),
    ("udap", "7.7", 34, "bad input: hl7-b2b and its siblings"),
    ("udap", "7.9", 24, "bad input: metadata shown to the client"),
    ("enforcement", "2.A", 27, "transport"),
    ("enforcement", "2.B", 11, "parsers"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The lines of a data file, each as it stands and as it is read.
fn lines<T: serde::de::DeserializeOwned>(path: &str) -> Vec<(String, T)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines()
        .map(|line| {
            let read = serde_json::from_str(line);
            (line.to_owned(), read.unwrap_or_else(|e| panic!("{}: {line}: {e}", path.display())))
        })
        .collect()
}

/// Whether the file has this test, and the test speaks of the id.
fn stands(file: &str, test: &str, id: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(root().join(file)).map_err(|e| format!("{file}: {e}"))?;
    let lines: Vec<&str> = text.lines().collect();
    let head = format!("fn {test}(");
    let found = lines.iter().position(|line| line.contains(&head));
    let at = found.ok_or_else(|| format!("{file} has no test {test}"))?;
    let above = lines[..at].iter().rev().take_while(|line| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with("#[") || line.ends_with(")]")
    });
    let start = at - above.count();
    if !lines[start..at].iter().any(|line| line.contains("test]") || line.contains("test(")) {
        return Err(format!("{file}: {test} is no test"));
    }
    let indent = lines[at].len() - lines[at].trim_start().len();
    let close = format!("{}}}", " ".repeat(indent));
    let end = lines[at..].iter().position(|line| *line == close).map_or(lines.len(), |n| at + n);
    let of_an_id = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let spoken = |line: &&str| line.split(|c: char| !of_an_id(c)).any(|word| word == id);
    // The head of a file may say it for the one test that it has.
    let top = lines.iter().take_while(|line| line.starts_with("//!"));
    if lines[start..end].iter().any(spoken) || top.copied().any(|line| spoken(&line)) {
        Ok(())
    } else {
        Err(format!("{file}: {test} does not speak of {id}; name it in its doc comment"))
    }
}

const DATA: &str = "crates/ward/tests/data/requirements";

/// Everything known, and what is wrong with it.
fn gather() -> (BTreeMap<Key, Entry>, Vec<String>) {
    let (mut entries, mut wrong) = (BTreeMap::new(), vec![]);
    for (place, (_, one)) in lines::<Requirement>("requirements/ids.jsonl").into_iter().enumerate()
    {
        let key = (one.page, one.id);
        let entry = Entry {
            place,
            section: one.section,
            level: one.level,
            what: one.what,
            answer: one.answer,
            ..Entry::default()
        };
        if entries.insert(key.clone(), entry).is_some() {
            wrong.push(format!("{key:?} stands twice in {DATA}/ids.jsonl: remove one line"));
        }
    }
    for (_, Table { page, rows, file, test }) in lines::<Table>("requirements/tables.jsonl") {
        let source = std::fs::read_to_string(root().join(&file)).unwrap_or_default();
        if !source.contains(&format!("data/{rows}\")")) || !source.contains(&format!("fn {test}("))
        {
            wrong.push(format!("{file}: {test} does not read {rows} (tables.jsonl says so)"));
        }
        let place = format!("{file}::{test} ({rows})");
        for (_, row) in lines::<Row>(&rows) {
            // A table may hold rows of the other page too; those of no section that is listed are good to have.
            let known = [page.as_str(), "udap"].map(|page| (page.to_owned(), row.id.clone()));
            let key = known.into_iter().find(|key| entries.contains_key(key));
            if let Some(entry) = key.and_then(|key| entries.get_mut(&key)) {
                entry.rows.entry(place.clone()).or_default().push(row.what);
            }
        }
    }
    for (line, one) in lines::<Proof>("requirements/proofs.jsonl") {
        let Some(entry) = entries.get_mut(&(one.page.clone(), one.id.clone())) else {
            wrong.push(format!("no such requirement: remove from proofs.jsonl: {line}"));
            continue;
        };
        if one.by.is_empty() {
            entry.tests.insert(format!("{}::{}", one.file, one.test));
            if let Err(why) = stands(&one.file, &one.test, &one.id) {
                wrong.push(format!("{why}; or remove from {DATA}/proofs.jsonl: {line}"));
            }
        } else {
            entry.by.extend(one.by);
        }
    }
    for ((page, id), entry) in &entries {
        for other in &entry.by {
            let proof = entries.get(&(page.clone(), other.clone()));
            if !proof.is_some_and(|proof| !proof.rows.is_empty() || !proof.tests.is_empty()) {
                wrong
                    .push(format!("{page} {id} rests on {other}, which no row and no test proves"));
            }
        }
    }
    let open = lines::<NotYet>("requirements/not-yet.jsonl");
    for (line, one) in &open {
        match entries.get_mut(&(one.page.clone(), one.id.clone())) {
            Some(entry) => entry.not_yet.push(one.clone()),
            None => wrong.push(format!("no such requirement: remove from not-yet.jsonl: {line}")),
        }
    }
    for ((page, id), entry) in &entries {
        let proven = !entry.rows.is_empty() || !entry.tests.is_empty() || !entry.by.is_empty();
        let whole = entry.not_yet.iter().any(|one| one.part.is_none());
        let parts = entry.not_yet.iter().any(|one| one.part.is_some());
        let stated = |line: &&(String, NotYet)| line.1.page == *page && line.1.id == *id;
        let stated = || open.iter().find(stated).map_or("", |(line, _)| line.as_str());
        match (proven, whole, parts) {
            (false, false, _) => wrong.push(format!(
                "{page} {id} is proven nowhere: {}\n  add to {DATA}/proofs.jsonl: \
                 {{\"page\":\"{page}\",\"id\":\"{id}\",\"file\":\"crates/…\",\"test\":\"…\"}}\n  or to \
                 not-yet.jsonl: {{\"page\":\"{page}\",\"id\":\"{id}\",\"reason\":\"…\",\"issue\":\"…\"}}",
                entry.what
            )),
            (true, true, _) => wrong.push(format!(
                "{page} {id} is proven and listed as not yet: remove from {DATA}/not-yet.jsonl: {} \
                 (or give it a \"part\" that says what is still open)",
                stated()
            )),
            (false, true, true) => wrong.push(format!("{page} {id}: a part of nothing: {}", stated())),
            _ => {}
        }
    }
    (entries, wrong)
}

#[test]
fn every_requirement_is_in_exactly_one_place() {
    let (entries, mut wrong) = gather();
    for (page, section, count, _) in SECTIONS {
        let found =
            entries.iter().filter(|((of, _), one)| of == page && one.section == section).count();
        if found != count {
            wrong.push(format!("{page} §{section}: {found} requirements instead of {count}"));
        }
    }
    let (kit, wrong_of_kit) = inferno::gather(&entries);
    wrong.extend(wrong_of_kit);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let mut map: BTreeMap<&str, BTreeMap<&str, &Entry>> = BTreeMap::new();
    for ((page, id), entry) in &entries {
        map.entry(page).or_default().insert(id, entry);
    }
    let folder = root().join("docs/conformance");
    let files = [
        ("udap.md", page::shown(&entries, "udap") + &inferno::shown(&kit)),
        ("enforcement.md", page::shown(&entries, "enforcement")),
        ("map.json", serde_json::to_string_pretty(&map).unwrap() + "\n"),
        ("inferno.json", serde_json::to_string_pretty(&kit).unwrap() + "\n"),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        if std::env::var_os("WARD_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == text,
            "{name} is out of date: WARD_BLESS=1 cargo test -p ward --test it conformance"
        );
    }
}

/// The parts of the reference that list ids: page, from, to, and the letters that an id of the part starts with.
const PARTS: [(&str, &str, &str, &[&str]); 13] = [
    ("udap", "### 2.1", "### 2.2", &["DSC-"]),
    ("udap", "### 2.2", "### 2.3", &["SMD-"]),
    ("udap", "### 2.3", "### 2.4", &["COM-"]),
    ("udap", "### 2.4", "### 2.5", &["JWT-"]),
    ("udap", "### 2.5", "### 2.6", &["PKI-"]),
    ("udap", "### 2.6", "### 2.7", &["REG-", "MOD-", "CRT-"]),
    ("udap", "### 2.8", "### 2.10", &["TOK-", "B2B-", "TEF-"]),
    ("udap", "### 2.11", "## 3.", &["RSV-", "TLS-", "SMT-", "CNS-", "OPS-"]),
    ("udap", "## 3.", "## 4.", &["CLI-"]),
    ("udap", "### 7.1", "### 7.5", &["R", "P", "X", "C"]),
    ("udap", "### 7.6", "### 7.8", &["T", "B"]),
    ("udap", "### 7.9", "### 7.10", &["M"]),
    ("enforcement", "### 2.A", "### 2.C", &["A", "B"]),
];

/// The list of ids agrees with the reference page, where that is at hand.
#[test]
fn the_list_of_requirements_is_the_references() {
    let reference = root().join("../shared/reference");
    if !reference.is_dir() {
        println!("skipped: {} is not here", reference.display());
        return;
    }
    let page = |name: &str| std::fs::read_to_string(reference.join(format!("{name}.md"))).unwrap();
    let mut found = BTreeSet::new();
    for (name, from, to, letters) in PARTS {
        let text = page(name);
        let text =
            &text[text.find(&format!("\n{from}")).unwrap()..text.find(&format!("\n{to}")).unwrap()];
        for line in text.lines() {
            let line = line.strip_prefix("| ").unwrap_or(line);
            // Several in one line stand between dots.
            for piece in line.split(" · ") {
                let id = piece.split([' ', ':']).next().unwrap();
                let number = letters.iter().find_map(|letters| id.strip_prefix(letters));
                if number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) {
                    found.insert((name.to_owned(), id.to_owned()));
                }
            }
        }
    }
    // The reference gives these as a span, and the rows of its §6 without ids.
    found.extend((1..=6).map(|n| ("udap".to_owned(), format!("USR-{n:02}"))));
    let ours = |id: &str| ["COMM-", "PORT-", "NDH-"].iter().any(|of| id.starts_with(of));
    let listed: BTreeSet<Key> = gather().0.into_keys().filter(|(_, id)| !ours(id)).collect();
    assert_eq!(listed, found);
}

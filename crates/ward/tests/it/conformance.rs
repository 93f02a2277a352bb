//! Every requirement of `udap.md` §7.1–7.3, 7.6, 7.7 and `enforcement.md` §2.A–2.B is in exactly one place: proven
//! by a row or a named test, or listed as not yet, with the reason. None can disappear without failing here.
//!
//! `docs/conformance` is written from this by `WARD_BLESS=1 cargo test -p ward --test it conformance`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
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
    what: String,
    #[serde(default)]
    answer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    page: String,
    id: String,
    file: String,
    test: String,
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

/// What proves a requirement.
#[derive(Default, Serialize)]
struct Entry {
    section: String,
    what: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    answer: String,
    /// File of data and test: rows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    rows: BTreeMap<String, Vec<String>>,
    /// `file::test`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    tests: BTreeSet<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_yet: Vec<NotYet>,
}

/// (page, file of rows, the test that drives them)
const TABLES: [(&str, &str, &str, &str); 4] = [
    ("udap", "registration.jsonl", "bad_input.rs", "registration_table"),
    ("udap", "token.jsonl", "bad_input.rs", "token_table"),
    ("udap", "certificates.jsonl", "bad_certificates.rs", "certificate_table"),
    ("enforcement", "gateway.jsonl", "bad_input.rs", "gateway_table"),
];

/// How many requirements each section of the reference has.
const SECTIONS: [(&str, &str, usize); 7] = [
    ("enforcement", "2.A", 27),
    ("enforcement", "2.B", 11),
    ("udap", "7.1", 42),
    ("udap", "7.2", 26),
    ("udap", "7.3", 48),
    ("udap", "7.6", 36),
    ("udap", "7.7", 34),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn lines<T: serde::de::DeserializeOwned>(path: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect()
}

/// Whether the file has this test, and speaks of the id.
fn stands(file: &str, test: &str, id: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(root().join(file)).map_err(|e| format!("{file}: {e}"))?;
    let lines: Vec<&str> = text.lines().collect();
    let head = format!("fn {test}(");
    let found = lines.iter().position(|line| line.contains(&head));
    let at = found.ok_or_else(|| format!("{file} has no test {test}"))?;
    let before = &lines[at.saturating_sub(4)..at];
    if !before.iter().any(|line| line.contains("test]") || line.contains("test(")) {
        return Err(format!("{file}: {test} is no test"));
    }
    let word = |text: &str| text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == id);
    if word(&text) { Ok(()) } else { Err(format!("{file} does not speak of {id}")) }
}

/// Everything known, and what is wrong with it.
fn gather() -> (BTreeMap<Key, Entry>, Vec<String>) {
    let (mut entries, mut wrong) = (BTreeMap::new(), vec![]);
    for one in lines::<Requirement>("requirements/ids.jsonl") {
        let key = (one.page, one.id);
        let entry =
            Entry { section: one.section, what: one.what, answer: one.answer, ..Entry::default() };
        if entries.insert(key.clone(), entry).is_some() {
            wrong.push(format!("{key:?} stands twice in ids.jsonl"));
        }
    }
    for (page, file, driver, test) in TABLES {
        let driver = format!("crates/ward/tests/it/{driver}");
        let source = std::fs::read_to_string(root().join(&driver)).unwrap();
        if !source.contains(&format!("data/{file}\")")) || !source.contains(&format!("fn {test}("))
        {
            wrong.push(format!("{driver}: {test} does not read {file}"));
        }
        let place = format!("{driver}::{test} ({file})");
        for row in lines::<Row>(file) {
            // Rows of other sections are good to have, and not counted here.
            if let Some(entry) = entries.get_mut(&(page.to_owned(), row.id)) {
                entry.rows.entry(place.clone()).or_default().push(row.what);
            }
        }
    }
    for one in lines::<Proof>("requirements/proofs.jsonl") {
        if let Err(why) = stands(&one.file, &one.test, &one.id) {
            wrong.push(format!("{}: {why}", one.id));
        }
        match entries.get_mut(&(one.page, one.id.clone())) {
            Some(entry) => drop(entry.tests.insert(format!("{}::{}", one.file, one.test))),
            None => wrong.push(format!("{} of proofs.jsonl is no requirement here", one.id)),
        }
    }
    for one in lines::<NotYet>("requirements/not-yet.jsonl") {
        match entries.get_mut(&(one.page.clone(), one.id.clone())) {
            Some(entry) => entry.not_yet.push(one),
            None => wrong.push(format!("{} of not-yet.jsonl is no requirement here", one.id)),
        }
    }
    for ((page, id), entry) in &entries {
        let proven = !entry.rows.is_empty() || !entry.tests.is_empty();
        let whole = entry.not_yet.iter().any(|one| one.part.is_none());
        let parts = entry.not_yet.iter().any(|one| one.part.is_some());
        match (proven, whole, parts) {
            (false, false, _) => {
                wrong.push(format!("{page} {id} is proven nowhere: {}", entry.what));
            }
            (true, true, _) => wrong.push(format!("{page} {id} is proven and listed as not yet")),
            (false, true, true) => wrong.push(format!("{page} {id}: a part of nothing")),
            _ => {}
        }
    }
    (entries, wrong)
}

fn ordered(entries: &BTreeMap<Key, Entry>, page: &str) -> Vec<(String, String)> {
    let mut keys: Vec<(String, usize, String)> = entries
        .iter()
        .filter(|((of, _), _)| of == page)
        .map(|((_, id), entry)| (entry.section.clone(), id[1..].parse().unwrap(), id.clone()))
        .collect();
    keys.sort();
    keys.into_iter().map(|(section, _, id)| (section, id)).collect()
}

fn title(page: &str) -> &'static str {
    match page {
        "udap" => {
            "HL7 FAST Security (UDAP), inputs that must be refused, and those that must not be"
        }
        _ => "requests that could leak, transport to parsers",
    }
}

/// One page for people.
fn shown(entries: &BTreeMap<Key, Entry>, page: &str) -> String {
    let of = || entries.iter().filter(|((of, _), _)| of == page).map(|(_, entry)| entry);
    let (all, rows) = (of().count(), of().map(|e| e.rows.values().map(Vec::len).sum::<usize>()));
    let open = of().filter(|e| e.not_yet.iter().any(|one| one.part.is_none())).count();
    let parts = of().filter(|e| e.not_yet.iter().any(|one| one.part.is_some())).count();
    let mut text = format!(
        "# Conformance: {}\n\n\
         Sections and ids are those of the project's reference page `{page}.md`.\n\
         Written by a test from the tables that drive the tests (`WARD_BLESS=1 cargo test -p ward --test it conformance`);\n\
         it fails when a requirement loses its proof. As data: [map.json](map.json).\n\n\
         {all} requirements, {} proven ({parts} of them in part), {open} not yet; {} rows over sockets.\n",
        title(page),
        all - open,
        rows.sum::<usize>(),
    );
    let mut last = String::new();
    for (section, id) in ordered(entries, page) {
        let entry = &entries[&(page.to_owned(), id.clone())];
        if section != last {
            write!(
                text,
                "\n## §{section}\n\n| id | input | proven by | not yet |\n|---|---|---|---|\n"
            )
            .unwrap();
            last = section;
        }
        let mut proofs: Vec<String> = entry
            .rows
            .iter()
            .map(|(place, rows)| {
                let test = place.rsplit("::").next().unwrap();
                format!("`{test}`: {}", rows.join("; "))
            })
            .collect();
        proofs.extend(entry.tests.iter().map(|test| {
            let (file, name) = test.rsplit_once("::").unwrap();
            format!("`{name}` ({})", file.strip_prefix("crates/").unwrap_or(file))
        }));
        let open: Vec<String> = entry
            .not_yet
            .iter()
            .map(|one| match &one.part {
                Some(part) => format!("{part}: {} (issue: {})", one.reason, one.issue),
                None => format!("{} (issue: {})", one.reason, one.issue),
            })
            .collect();
        let cell = |text: String| text.replace('|', "\\|");
        writeln!(
            text,
            "| {id} | {} | {} | {} |",
            cell(entry.what.clone()),
            cell(proofs.join("<br>")),
            cell(open.join("<br>"))
        )
        .unwrap();
    }
    text
}

#[test]
fn every_requirement_is_in_exactly_one_place() {
    let (entries, mut wrong) = gather();
    for (page, section, count) in SECTIONS {
        let found =
            entries.iter().filter(|((of, _), one)| of == page && one.section == section).count();
        if found != count {
            wrong.push(format!("{page} §{section}: {found} requirements instead of {count}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let mut map: BTreeMap<&str, BTreeMap<&str, &Entry>> = BTreeMap::new();
    for ((page, id), entry) in &entries {
        map.entry(page).or_default().insert(id, entry);
    }
    let folder = root().join("docs/conformance");
    let files = [
        ("udap.md", shown(&entries, "udap")),
        ("enforcement.md", shown(&entries, "enforcement")),
        ("map.json", serde_json::to_string_pretty(&map).unwrap() + "\n"),
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

/// The list of ids agrees with the reference page, where that is at hand.
#[test]
fn the_list_of_requirements_is_the_references() {
    let reference = root().join("../shared/reference");
    if !reference.is_dir() {
        println!("skipped: {} is not here", reference.display());
        return;
    }
    let page = |name: &str| std::fs::read_to_string(reference.join(name)).unwrap();
    let (udap, enforcement) = (page("udap.md"), page("enforcement.md"));
    let mut found = BTreeSet::new();
    let parts = [
        ("udap", &udap, "### 7.1", "### 7.4", "RPX"),
        ("udap", &udap, "### 7.6", "### 7.8", "TB"),
        ("enforcement", &enforcement, "### 2.A", "### 2.C", "AB"),
    ];
    for (name, text, from, to, letters) in parts {
        let text = &text[text.find(from).unwrap()..text.find(to).unwrap()];
        for line in text.lines().filter_map(|line| line.strip_prefix("| ")) {
            // Several in one line stand between dots.
            for piece in line.split(" · ") {
                let id = piece.split([' ', ':']).next().unwrap();
                let (letter, number) = id.split_at(id.chars().next().map_or(0, char::len_utf8));
                let several = letters.contains(letter) && !letter.is_empty();
                if several && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
                    found.insert((name.to_owned(), id.to_owned()));
                }
            }
        }
    }
    let listed: BTreeSet<Key> = gather().0.into_keys().collect();
    assert_eq!(listed, found);
}

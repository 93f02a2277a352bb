//! Each test of Inferno's UDAP kit (`udap.md` §4), with what of ours proves what it asserts.
//!
//! A row names requirements, whose proofs are its own, or tests of ours, or says why neither is there yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::page::{cell, named, said};
use super::{DATA, Entry, Key, lines, root};

/// Sends what the kit sends.
const REPLAY: &str =
    "crates/ward/tests/it/inferno.rs::the_kits_requests_meet_the_instance_of_the_page";

/// Rows of the server suite and of the client suite.
const COUNTS: [(&str, usize); 2] = [("server", 71), ("client", 28)];

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    suite: String,
    /// Groups of the kit that have the test.
    group: String,
    number: String,
    /// The kit's id.
    id: String,
    asserts: String,
    #[serde(default)]
    by: Vec<String>,
    /// `file::test`.
    #[serde(default)]
    tests: Vec<String>,
    #[serde(default)]
    not_yet: Option<NotYet>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct NotYet {
    /// What of the test; all of it if absent.
    #[serde(default)]
    part: Option<String>,
    reason: String,
    issue: String,
}

impl Row {
    /// As the kit numbers it, in the last of its groups.
    fn short(&self) -> String {
        let group = self.group.rsplit(", ").next().unwrap_or_default();
        format!("{group}.{}", self.number)
    }
}

/// Everything known of the kit, and what is wrong with it.
pub(super) fn gather(entries: &BTreeMap<Key, Entry>) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut wrong) = (vec![], vec![]);
    let mut seen = BTreeSet::new();
    for (line, row) in lines::<Row>("requirements/inferno.jsonl") {
        let mut complain = |why: String| wrong.push(format!("{DATA}/inferno.jsonl: {why}: {line}"));
        if !seen.insert((row.suite.clone(), row.group.clone(), row.number.clone())) {
            complain("twice".to_owned());
        }
        for id in &row.by {
            let entry = entries.get(&("udap".to_owned(), id.clone()));
            let proven = |e: &Entry| !e.rows.is_empty() || !e.tests.is_empty() || !e.by.is_empty();
            if !entry.is_some_and(proven) {
                complain(format!("{id} is proven by nothing"));
            }
        }
        for test in &row.tests {
            let (file, name) = test.rsplit_once("::").unwrap();
            let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
            if !text.contains(&format!("fn {name}(")) || !text.contains(&row.short()) {
                complain(format!("{file} has no {name}, or does not speak of {}", row.short()));
            }
        }
        let proven = !row.by.is_empty() || !row.tests.is_empty();
        let part = row.not_yet.as_ref().map(|one| one.part.is_some());
        if part != Some(false) && !proven || part == Some(false) && proven {
            complain("either `by` or `tests`, or `not_yet`; both if `not_yet` has a `part`".into());
        }
        rows.push(row);
    }
    for (suite, count) in COUNTS {
        let found = rows.iter().filter(|row| row.suite == suite).count();
        if found != count {
            wrong.push(format!("inferno.jsonl: {found} tests of the {suite} suite, not {count}"));
        }
    }
    (rows, wrong)
}

/// The second part of the page.
pub(super) fn shown(rows: &[Row]) -> String {
    let whole = |row: &&Row| row.not_yet.as_ref().is_some_and(|one| one.part.is_none());
    let open = rows.iter().filter(whole).count();
    let replayed = rows.iter().filter(|row| !row.tests.is_empty()).count();
    let mut text = format!(
        "\n# The Inferno UDAP kit, test by test\n\n\
         `inferno-framework/udap-security-test-kit` 0.12.2 tests the edition STU 1.0.0; its third group is questions to a person.\n\
         Which instance it is to be run against, and how: [inferno.md](../inferno.md). The kit itself is not run by our tests\n\
         (its packages are not to be had there); what it sends in the groups 2.1 to 2.3 is, to exactly that instance.\n\n\
         {} tests, {} answered, {open} not yet; {replayed} are replayed by `the_kits_requests_meet_the_instance_of_the_page`\n\
         (ward/tests/it/inferno.rs).\n",
        rows.len(),
        rows.len() - open,
    );
    for (suite, _) in COUNTS {
        write!(
            text,
            "\n## Its {suite} suite\n\n| test | asserts | proven by | not yet |\n|---|---|---|---|\n"
        )
        .unwrap();
        for row in rows.iter().filter(|row| row.suite == suite) {
            let by = (!row.by.is_empty()).then(|| row.by.join(", "));
            let tests = row.tests.iter().map(|one| match one.as_str() {
                REPLAY => "replayed".to_owned(),
                other => named(other),
            });
            let proofs: Vec<String> = tests.chain(by).collect();
            let open = row
                .not_yet
                .as_ref()
                .map_or_else(String::new, |one| said(one.part.as_deref(), &one.reason, &one.issue));
            writeln!(
                text,
                "| {} {} `{}` | {} | {} | {} |",
                row.group,
                row.number,
                row.id,
                cell(&row.asserts),
                proofs.join("<br>"),
                cell(&open)
            )
            .unwrap();
        }
    }
    text
}

/// The tests that the reference page lists are all there.
#[test]
fn every_test_of_the_kit_is_there() {
    let path = root().join("../shared/reference/udap.md");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: {} is not here", path.display());
        return;
    };
    let rows = gather(&super::gather().0).0;
    let known: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let text = &text[text.find("\n### 4.1").unwrap()..text.find("\n### 4.2").unwrap()];
    let mut named = BTreeSet::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, first, second, ..] = cells[..] {
            if first.ends_with("_group`") {
                let names = second.split(',').map(|name| name.trim().trim_matches('`'));
                named.extend(names.map(|name| {
                    let prefix = if name.starts_with("oidc_") { "" } else { "udap_security_" };
                    format!("{prefix}{name}")
                }));
            } else if first.starts_with(|c: char| c.is_ascii_digit()) {
                // `udap_certifications_supported_field` / `_required_field` share a line.
                let id = second.trim_start_matches('`').split('`').next().unwrap();
                named.insert(id.to_owned());
            }
        }
    }
    assert!(named.len() >= 66, "{}", named.len());
    let missing: Vec<&String> = named.iter().filter(|id| !known.contains(id.as_str())).collect();
    assert!(missing.is_empty(), "inferno.jsonl lacks {missing:?}");
}

//! One page for people from what is known of the requirements.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Entry, Key, SECTIONS};

/// The ids of a page, in the order of the reference.
fn ordered<'a>(entries: &'a BTreeMap<Key, Entry>, page: &str) -> Vec<(&'a str, &'a Entry)> {
    let mut all: Vec<(&str, &Entry)> = entries
        .iter()
        .filter(|((of, _), _)| of == page)
        .map(|((_, id), entry)| (id.as_str(), entry))
        .collect();
    all.sort_by_key(|(_, entry)| entry.place);
    all
}

fn title(page: &str) -> &'static str {
    match page {
        "udap" => {
            "HL7 FAST Security (UDAP): what it demands, and inputs that must be refused or must not be"
        }
        _ => "requests that could leak, transport to parsers",
    }
}

pub(super) fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// `` `test` (file) ``, from `file::test`.
pub(super) fn named(test: &str) -> String {
    let (file, name) = test.rsplit_once("::").unwrap();
    format!("`{name}` ({})", file.strip_prefix("crates/").unwrap_or(file))
}

fn proofs(entry: &Entry) -> String {
    let rows = entry.rows.iter().map(|(place, rows)| {
        let test = place.rsplit("::").next().unwrap();
        format!("`{test}`: {}", rows.join("; "))
    });
    let tests = entry.tests.iter().map(|test| named(test));
    let by: Vec<&str> = entry.by.iter().map(String::as_str).collect();
    let by = (!by.is_empty()).then(|| format!("as {}", by.join(", ")));
    rows.chain(tests).chain(by).collect::<Vec<String>>().join("<br>")
}

/// What is not proven, why, and which issue brings it; none, if none ever will.
pub(super) fn said(part: Option<&str>, reason: &str, issue: &str) -> String {
    let part = part.map_or_else(String::new, |part| format!("{part}: "));
    let issue = if issue == "none" { String::new() } else { format!(" (issue: {issue})") };
    format!("{part}{reason}{issue}")
}

fn open(entry: &Entry) -> String {
    let open = entry.not_yet.iter().map(|one| said(one.part.as_deref(), &one.reason, &one.issue));
    open.collect::<Vec<String>>().join("<br>")
}

/// One page for people.
pub(super) fn shown(entries: &BTreeMap<Key, Entry>, page: &str) -> String {
    let all = ordered(entries, page);
    let rows = all.iter().map(|(_, e)| e.rows.values().map(Vec::len).sum::<usize>());
    let whole = |e: &Entry| e.not_yet.iter().any(|one| one.part.is_none());
    let count = all.iter().filter(|(_, e)| whole(e)).count();
    let parts = all.iter().filter(|(_, e)| e.not_yet.iter().any(|one| one.part.is_some())).count();
    let mut text = format!(
        "# Conformance: {}\n\n\
         Sections and ids are those of the project's reference page `{page}.md`.\n\
         Written by a test from the tables that drive the tests (`WARD_BLESS=1 cargo test -p ward --test it conformance`);\n\
         it fails when a requirement loses its proof. As data: [map.json](map.json).\n\n\
         {} requirements, {} proven ({parts} of them in part), {count} not yet; {} rows over sockets.\n",
        title(page),
        all.len(),
        all.len() - count,
        rows.sum::<usize>(),
    );
    for (of, section, _, what) in SECTIONS {
        if of != page {
            continue;
        }
        let here: Vec<_> = all.iter().filter(|(_, entry)| entry.section == section).collect();
        let levels = here.iter().any(|(_, entry)| !entry.level.is_empty());
        let open_here = here.iter().filter(|(_, e)| whole(e)).count();
        let proven = here.len() - open_here;
        writeln!(text, "\n## §{section} {what}\n\n{proven} of {} proven.\n", here.len()).unwrap();
        text += if levels {
            "| id | level | rule | proven by | not yet |\n|---|---|---|---|---|\n"
        } else {
            "| id | input | proven by | not yet |\n|---|---|---|---|\n"
        };
        for (id, entry) in here {
            let level = if levels { format!("{} | ", cell(&entry.level)) } else { String::new() };
            writeln!(
                text,
                "| {id} | {level}{} | {} | {} |",
                cell(&entry.what),
                cell(&proofs(entry)),
                cell(&open(entry))
            )
            .unwrap();
        }
    }
    text
}

//! No crate reaches up or sideways, and ARCHITECTURE.md names every room (house §2).

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The table of ARCHITECTURE.md: crate → (floor, sentence). The roof is above all floors.
fn rooms() -> BTreeMap<String, (u32, String)> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    text.lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [floor, name, sentence] = cells.as_slice() else { return None };
            let floor = if *floor == "roof" { Some(u32::MAX) } else { floor.parse().ok() }?;
            let name = name.strip_prefix('`')?.strip_suffix('`')?;
            Some((name.to_owned(), (floor, (*sentence).to_owned())))
        })
        .collect()
}

/// Names under `[dependencies]` of a manifest that are rooms.
fn uses(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = vec![];
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && line.starts_with("ward-") {
            found.push(line.split(['.', ' ', '=']).next().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn no_crate_reaches_up() {
    let rooms = rooms();
    let mut seen = 0;
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let dir = entry.unwrap().path();
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        let (floor, sentence) =
            rooms.get(&name).unwrap_or_else(|| panic!("ARCHITECTURE.md does not name {name}"));
        assert!(!sentence.is_empty(), "{name} has no sentence");
        for used in uses(&manifest) {
            let (below, _) = &rooms[&used];
            assert!(below < floor, "{name} (floor {floor}) uses {used} (floor {below})");
        }
        seen += 1;
    }
    assert_eq!(seen, rooms.len(), "ARCHITECTURE.md names rooms that do not exist");
}

#[test]
fn every_crate_says_its_sentence_first() {
    for (name, (_, sentence)) in rooms() {
        let dir = root().join("crates").join(&name).join("src");
        let lib = fs::read_to_string(dir.join("lib.rs")).unwrap();
        let first = lib.lines().next().unwrap();
        let begin: String = sentence.chars().take(12).collect();
        assert!(
            first.contains(begin.trim_end_matches(['.', ':'])),
            "{name}/src/lib.rs should open with “{sentence}”, not {first:?}"
        );
    }
}

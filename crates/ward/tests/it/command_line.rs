//! The program as a person or a script runs it.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::TempDir;

const STEPS: [&str; 14] = [
    "community",
    "discovery",
    "registration",
    "token",
    "read",
    "search",
    "beyond-scope",
    "outside-roster",
    "replay",
    "revoked-certificate",
    "smuggled-path",
    "scrape",
    "proof",
    "tampering",
];

fn ward(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ward")).args(arguments).output().unwrap()
}

fn steps(output: &Output) -> Vec<Value> {
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect()
}

fn failed(output: &Output) -> BTreeSet<String> {
    steps(output)
        .iter()
        .filter(|step| step["ok"] != true)
        .map(|step| step["step"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_demo_ends_0_with_all_steps() {
    let output = ward(&["demo", "--exit", "--json"]);
    let names: Vec<String> =
        steps(&output).iter().map(|s| s["step"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, STEPS, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(failed(&output), BTreeSet::new());
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.is_empty(), "a good run is quiet on standard error: {stderr}");
}

#[test]
fn a_broken_step_ends_1_and_is_named() {
    for (sabotage, step) in [("roster", "outside-roster"), ("ceiling", "scrape")] {
        let output = ward(&["demo", "--exit", "--json", "--sabotage", sabotage]);
        assert!(failed(&output).contains(step), "{sabotage}: {:?}", failed(&output));
        assert_eq!(output.status.code(), Some(1), "{sabotage}");
    }
    let output = ward(&["demo", "--exit", "--sabotage", "roster"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("not as expected: ") && text.contains("outside-roster"), "{text}");
}

#[test]
fn the_demo_serves_real_bundles() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/");
    for folder in ["synthea-r4", "us-core-r4"] {
        let dir = format!("{data}{folder}");
        if !std::path::Path::new(&dir).is_dir() {
            println!("SKIPPED: {dir} is not here, so the demo was not run over real bundles");
            continue;
        }
        let output = ward(&["demo", "--exit", "--json", "--load", &dir]);
        assert_eq!(failed(&output), BTreeSet::new(), "{folder}");
        assert_eq!(output.status.code(), Some(0), "{folder}");
    }
}

/// A kept directory comes back with its state; `ward log` reads it; a cut or altered log is noticed and named.
#[test]
fn a_kept_log_is_shown_proven_and_verified() {
    let dir = TempDir::new("kept");
    let data = dir.0.join("data");
    let data = data.to_str().unwrap();
    let output = ward(&["demo", "--exit", "--json", "--data", data]);
    assert_eq!(output.status.code(), Some(0));
    let kept = dir.0.join("checkpoint-elsewhere");
    std::fs::copy(format!("{data}/log/checkpoint"), &kept).unwrap();
    let kept = kept.to_str().unwrap();

    let verified = ward(&["log", "verify", "--data", data, "--checkpoint", kept]);
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success() && text.contains("verified:"), "{text}");

    let shown = ward(&["log", "show", "--data", data, "--count", "500"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    for word in ["access", "registration", "token", "revocation", "finding", "incident"] {
        assert!(text.contains(word), "{word} is not in the log:\n{text}");
    }
    let raw = ward(&["log", "show", "--data", data, "--count", "500", "--json"]);
    let raw = String::from_utf8_lossy(&raw.stdout).into_owned();
    for line in raw.lines() {
        assert!(line.len() <= 2048, "a leaf is at most 2 KiB");
        assert!(!line.contains("pt-0"), "no patient id in a leaf: {line}");
    }

    let key = format!("{data}/vault.key");
    let proven = ward(&["log", "prove", "--data", data, "4", "--key-file", &key]);
    let text = String::from_utf8_lossy(&proven.stdout).into_owned();
    assert!(proven.status.success() && text.contains("AuditEvent"), "{text}");

    // The second run comes back by itself, with the same log.
    let again = ward(&["demo", "--exit", "--json", "--data", data]);
    assert_eq!(failed(&again), BTreeSet::new());
    let registration = &steps(&again)[2];
    assert!(
        registration["got"].as_str().unwrap().starts_with("200 registered again"),
        "{registration}"
    );
    let verified = ward(&["log", "verify", "--data", data, "--checkpoint", kept]);
    assert!(verified.status.success());

    // Another log that nobody signed into: the checkpoint kept elsewhere does not fit.
    let other = dir.0.join("other");
    let other = other.to_str().unwrap();
    assert_eq!(ward(&["demo", "--exit", "--json", "--data", other]).status.code(), Some(0));
    let foreign = ward(&["log", "verify", "--data", other, "--checkpoint", kept]);
    assert_eq!(foreign.status.code(), Some(1));
    let said = String::from_utf8_lossy(&foreign.stderr).into_owned();
    assert!(said.contains("a checkpoint of another log"), "{said}");

    // One byte altered, and a log cut back: noticed by `verify`, and `show` does not pretend.
    let segment = std::fs::read_dir(format!("{data}/log/segments"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max()
        .unwrap();
    let whole = std::fs::read(&segment).unwrap();
    let mut altered = whole.clone();
    altered[whole.len() / 3] ^= 1;
    for damaged in [&altered[..], &whole[..whole.len() / 3]] {
        std::fs::write(&segment, damaged).unwrap();
        let verified = ward(&["log", "verify", "--data", data, "--checkpoint", kept]);
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert_eq!(verified.status.code(), Some(3), "{said}");
        assert!(said.contains("NOT the log that was written") && said.contains("entr"), "{said}");
        let shown = ward(&["log", "show", "--data", data]);
        assert_eq!(shown.status.code(), Some(1));
        let said = String::from_utf8_lossy(&shown.stderr).into_owned();
        assert!(said.contains("are signed, only"), "{said}");
    }
}

#[test]
fn mistakes_get_a_way_out() {
    let none = ward(&["log", "show", "--data", "/nonexistent-ward"]);
    assert_eq!(none.status.code(), Some(1));
    let text = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(text.contains("/nonexistent-ward") && text.contains("--data"), "{text}");
    let typo = ward(&["demo", "--exti"]);
    assert_eq!(typo.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&typo.stderr).contains("--exit"), "suggests the right flag");
    let empty = TempDir::new("empty");
    let load = ward(&["demo", "--exit", "--load", empty.0.to_str().unwrap()]);
    assert_eq!(load.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&load.stderr).contains("--load"));
    for help in
        [&["--help"][..], &["demo", "--help"], &["log", "--help"], &["log", "verify", "--help"]]
    {
        assert!(ward(help).status.success());
    }
}

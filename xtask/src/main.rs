//! Generates and checks the committed FHIR tables of `ward-fhir`.
//!
//! `cargo run -p xtask -- tables [--check] --data ../shared/data` reads the official definitions and
//! writes `crates/ward-fhir/src/generated/r4.rs`; with `--check` it only compares. Refuses
//! definitions that it does not fully understand where that would lose a compartment membership.

mod elements;
mod expression;
mod tables;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo run -p xtask -- tables [--check] [--data DIR]";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(done) => {
            let _ = writeln!(std::io::stdout(), "{done}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<String, String> {
    if arguments.next().as_deref() != Some("tables") {
        return Err(USAGE.to_owned());
    }
    let mut check = false;
    let mut data = root().join("../shared/data");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--check" => check = true,
            "--data" => data = arguments.next().ok_or(USAGE)?.into(),
            _ => return Err(USAGE.to_owned()),
        }
    }
    let fresh = tables::generate(&data)?;
    let path = generated();
    if check {
        let committed = read(&path)?;
        if committed != fresh.as_bytes() {
            return Err(format!(
                "{} differs from what {} gives; run\n    cargo run -p xtask -- tables --data {}",
                path.display(),
                data.display(),
                data.display()
            ));
        }
        return Ok(format!("{} is up to date", path.display()));
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    std::fs::write(&path, fresh).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(format!("wrote {}", path.display()))
}

/// The workspace's folder.
fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The committed table.
fn generated() -> PathBuf {
    root().join("crates/ward-fhir/src/generated/r4.rs")
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The committed table is what the generator makes of the official definitions today.
    #[test]
    fn the_committed_tables_have_not_drifted() {
        let data = root().join("../shared/data");
        if !data.join("fhir/r4").is_dir() {
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: no official definitions at {}, drift of the FHIR tables is NOT checked",
                data.display()
            );
            return;
        }
        let arguments = ["tables", "--check", "--data"].map(str::to_owned).into_iter();
        let done = run(arguments.chain([data.to_string_lossy().into_owned()]));
        assert!(done.is_ok(), "{done:?}");
    }

    #[test]
    fn unknown_words_are_refused() {
        for words in [&["table"][..], &["tables", "--fix"], &["tables", "--data"], &[]] {
            assert!(run(words.iter().map(ToString::to_string)).is_err(), "{words:?}");
        }
    }
}

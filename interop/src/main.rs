//! Ward in front of FHIR servers of others, as an operator and a partner use it: the built `ward` and `curl`, and
//! nothing of Ward's code.
//!
//! `ward-interop hfs`: helios-hfs 0.2.7. Every step asserts status and content; the first one that is off ends
//! the run with status 1. The transcript is written only when all went as it should.

mod compare;
mod guard;
mod hfs;
mod mask;
mod read;
mod transcript;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use guard::Guard;
use hfs::Hfs;
use transcript::Transcript;

/// Whatever went wrong; it ends the run.
pub type Error = Box<dyn std::error::Error>;

/// Says something to whoever runs this.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A directory that goes with the run.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(words: &[&str]) -> Result<(), Error> {
    let ["hfs", rest @ ..] = words else {
        return Err("ward-interop hfs [--data DIR] [--transcript FILE]".into());
    };
    let option = |name: &str, default: &str| -> PathBuf {
        let at = rest.iter().position(|word| *word == name);
        at.and_then(|at| rest.get(at + 1)).map_or(default, |word| word).into()
    };
    let data = option("--data", "../shared/data");
    if !data.join("fhir").is_dir() {
        return Err(format!(
            "{} holds no patients; say where they are: --data DIR",
            data.display()
        )
        .into());
    }
    let out = std::env::current_dir()?.join(option("--transcript", "interop/transcript-hfs.md"));
    let scratch =
        Scratch(std::env::temp_dir().join(format!("ward-interop-{}", std::process::id())));
    fs::create_dir_all(&scratch.0)?;
    let binary = Hfs::find()?;
    let mut script = Transcript::new(&scratch.0);
    let mut hfs = Hfs::start(&binary, &data, &scratch.0)?;
    script.name(&hfs.base, "http://127.0.0.1:HFS");
    script.title("Ward in front of helios-hfs: `just interop-hfs`")?;
    hfs.load(&data, &mut script)?;
    Guard::walk(&hfs, &scratch.0, &mut script)?;
    fs::write(&out, script.text())?;
    say(&format!("all as it should be; the transcript is in {}", out.display()));
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("\nNOT as it should be: {error}"));
            ExitCode::FAILURE
        }
    }
}

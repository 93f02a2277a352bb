//! Runs commands, asserts what they say, and keeps both as Markdown.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::mask::mask;
use crate::{Error, say};

/// Longest output that is shown, characters.
const SHOWN: usize = 1800;

/// The steps so far.
pub struct Transcript {
    dir: PathBuf,
    text: String,
    /// What is shown instead of something else, in this order.
    names: Vec<(String, String)>,
}

/// What a command did.
pub struct Said {
    pub good: bool,
    pub text: String,
    /// Standard output alone.
    pub out: String,
}

impl Said {
    pub fn json(&self) -> Result<Value, Error> {
        serde_json::from_str(&self.out).map_err(|error| format!("{error}: {}", self.text).into())
    }
}

impl Transcript {
    /// Commands run in `dir`.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf(), text: String::new(), names: vec![] }
    }

    /// Shows `name` where `text` stands.
    pub fn name(&mut self, text: &str, name: &str) {
        self.names.push((text.to_owned(), name.to_owned()));
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    fn shown(&self, text: &str) -> String {
        let named =
            self.names.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        mask(&named)
    }

    fn add(&mut self, line: &str) {
        say(line);
        self.text += line;
        self.text.push('\n');
    }

    /// What this is, when, and of which sources.
    pub fn title(&mut self, title: &str) -> Result<(), Error> {
        let date = self.quietly(&["date", "--utc", "+%F"], "")?.out;
        let here = env!("CARGO_MANIFEST_DIR");
        let commit = self
            .quietly(&["git", "-C", here, "describe", "--always", "--dirty", "--exclude", "*"], "")?
            .out;
        self.add(&format!(
            "# {title}\n\nWritten by the run of {}, Ward {}. Ids, times, ports and secrets are replaced by words; what a line \
             with ✓ says was asserted.",
            date.trim(),
            commit.trim()
        ));
        Ok(())
    }

    /// A heading.
    pub fn part(&mut self, title: &str) {
        self.add(&format!("\n## {title}\n"));
    }

    /// A sentence.
    pub fn tell(&mut self, sentence: &str) {
        let shown = self.shown(sentence);
        self.add(&format!("{shown}\n"));
    }

    /// Something that was said, as it was.
    pub fn show(&mut self, text: &str) {
        let shown = self.shown(text.trim_end());
        self.add(&format!("```\n{shown}\n```"));
    }

    /// A table, as it is.
    pub fn table(&mut self, rows: &str) {
        self.add(rows);
    }

    /// Runs a command in the scratch directory and shows it and what it said, unless `quiet`.
    pub fn run(&mut self, words: &[&str]) -> Result<Said, Error> {
        self.run_with(words, "", None)
    }

    /// The same with standard input, and with a part of what it said shown instead of all.
    pub fn run_with(
        &mut self,
        words: &[&str],
        input: &str,
        part: Option<&str>,
    ) -> Result<Said, Error> {
        let said = self.quietly(words, input)?;
        let mut line = String::from("$");
        for word in words {
            let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=".contains(c));
            let _ = if plain && !word.is_empty() {
                write!(line, " {word}")
            } else {
                write!(line, " '{word}'")
            };
        }
        let body = part.unwrap_or(said.text.trim_end());
        let mut shown = self.shown(body);
        if let Some((at, _)) = shown.char_indices().nth(SHOWN) {
            shown.truncate(at);
            shown += " […]";
        }
        let line = self.shown(&line);
        let status = if said.good { "" } else { "\n(status: failed)" };
        let gap = if shown.is_empty() { "" } else { "\n" };
        self.add(&format!("```\n{line}{gap}{shown}{status}\n```"));
        Ok(said)
    }

    /// Runs a command and shows nothing.
    pub fn quietly(&self, words: &[&str], input: &str) -> Result<Said, Error> {
        use std::io::Write as _;
        let [program, arguments @ ..] = words else { return Err("no command".into()) };
        let program =
            if *program == "ward" { ward()?.display().to_string() } else { (*program).to_owned() };
        let mut child = Command::new(&program)
            .args(arguments)
            .current_dir(&self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        child.stdin.take().ok_or("no input")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let text = out.clone() + &String::from_utf8_lossy(&output.stderr);
        Ok(Said { good: output.status.success(), text, out })
    }

    /// What must be so; the transcript says that it is.
    pub fn ensure(&mut self, is: bool, what: &str) -> Result<(), Error> {
        let shown = self.shown(what);
        if !is {
            return Err(shown.into());
        }
        self.add(&format!("* ✓ {shown}"));
        Ok(())
    }

    /// What was said must hold each of these.
    pub fn holds(&mut self, said: &Said, words: &[&str]) -> Result<(), Error> {
        for word in words {
            if !said.text.contains(word) {
                return Err(format!("“{word}” is not in: {}", said.text).into());
            }
            self.ensure(true, &format!("it says “{word}”"))?;
        }
        Ok(())
    }
}

/// The program under test: beside this one.
pub fn ward() -> Result<PathBuf, Error> {
    let binary = std::env::current_exe()?.with_file_name("ward");
    if binary.exists() {
        Ok(binary)
    } else {
        Err(format!("{} is not built", binary.display()).into())
    }
}

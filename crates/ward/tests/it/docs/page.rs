//! A page as steps: what a reader would do, and what the page tells the runner in comments that readers do not see.
//!
//! `<!-- test: setup NAME -->` runs tests/data/docs/NAME.md first; `<!-- test: run … -->` hidden commands;
//! `background NAME until="…"` the next block is one command that stays up; `stop NAME` Ctrl-C for it;
//! `await NAME "…"` waits for what it says; `stdin NAME after="…"` types the word that NAME said after that text;
//! `fails` the next block must fail; `skip reason="…"` it cannot be run here. Reasons are printed and counted.
//!
//! A `text` block after an `sh` block is what must be printed: its lines, in order, `…` for anything.
//! Refused: directives that speak of no block, and fences in which a command could hide.

/// Fences that hold no commands. Any other but `sh` is refused, so that no command can hide in one.
const INERT: [&str; 7] = ["text", "toml", "json", "nginx", "haproxy", "yaml", ""];

/// How a block is run.
#[derive(Debug, Clone, Default)]
pub struct How {
    pub skip: Option<String>,
    pub background: Option<(String, String)>,
    pub stdin: Option<(String, String)>,
    pub fails: bool,
}

#[derive(Debug, Clone)]
pub enum Step {
    Sh { line: usize, text: String, expect: Vec<String>, how: How, hidden: bool },
    Setup(String),
    Stop(String),
    Await(String, String),
}

/// The words of a directive; what stands in quotes is one word, `name="…"` included.
fn words(text: &str) -> Vec<String> {
    let (mut out, mut word, mut quoted) = (vec![], String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        out.push(word);
    }
    out
}

/// The steps of a page.
pub fn parse(name: &str, page: &str) -> Vec<Step> {
    let mut steps = vec![];
    let mut how = How::default();
    let mut waiting = false;
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let at = at + 1;
        let text = line.trim_start();
        if let Some(start) = text.strip_prefix("<!-- test:") {
            let mut body = start.to_owned();
            while !body.contains("-->") {
                let (_, next) = lines.next().unwrap_or_else(|| panic!("{name}:{at}: no -->"));
                body = body + "\n" + next;
            }
            let body = body.split("-->").next().unwrap().trim().to_owned();
            if let Some(script) = body.strip_prefix("run\n") {
                let text = script.to_owned();
                let step =
                    Step::Sh { line: at, text, expect: vec![], how: how.clone(), hidden: true };
                (how, waiting) = (How::default(), false);
                steps.push(step);
                continue;
            }
            let given = words(&body);
            let given: Vec<&str> = given.iter().map(String::as_str).collect();
            let value = |word: &str, key: &str| {
                let value = word.strip_prefix(key).and_then(|rest| rest.strip_prefix('='));
                value.unwrap_or_else(|| panic!("{name}:{at}: {key}=\"…\" is missing")).to_owned()
            };
            waiting = true;
            match given[..] {
                ["skip", reason] => how.skip = Some(value(reason, "reason")),
                ["background", who, until] => {
                    how.background = Some((who.to_owned(), value(until, "until")));
                }
                ["stdin", who, after] => how.stdin = Some((who.to_owned(), value(after, "after"))),
                ["fails"] => how.fails = true,
                ["setup", what] => {
                    steps.push(Step::Setup(what.to_owned()));
                    waiting = false;
                }
                ["stop", who] => {
                    steps.push(Step::Stop(who.to_owned()));
                    waiting = false;
                }
                ["await", who, what] => {
                    steps.push(Step::Await(who.to_owned(), what.to_owned()));
                    waiting = false;
                }
                _ => panic!("{name}:{at}: no directive of the runner: {body}"),
            }
            continue;
        }
        let Some(kind) = text.strip_prefix("```") else { continue };
        let indent = line.len() - text.len();
        let mut body = String::new();
        loop {
            let (_, next) =
                lines.next().unwrap_or_else(|| panic!("{name}:{at}: the fence is open"));
            if next.trim() == "```" {
                break;
            }
            body += next.get(indent..).unwrap_or_default();
            body += "\n";
        }
        match (kind.trim(), steps.last_mut()) {
            ("sh", _) => {
                let how = std::mem::take(&mut how);
                waiting = false;
                steps.push(Step::Sh { line: at, text: body, expect: vec![], how, hidden: false });
            }
            ("text", Some(Step::Sh { expect, hidden: false, .. })) if expect.is_empty() => {
                *expect = body.lines().map(|line| line.trim().to_owned()).collect();
                expect.retain(|line| !line.is_empty());
            }
            (kind, _) if INERT.contains(&kind) => {}
            (kind, _) => panic!("{name}:{at}: a fence of {kind:?} is not run; write ```sh"),
        }
    }
    assert!(!waiting, "{name}: the last directive speaks of no block");
    steps
}

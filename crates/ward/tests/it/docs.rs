//! Every command in README and docs/ is run: a page's fenced `sh` blocks, in order, in an empty folder, with the
//! built `ward` in PATH and real processes on loopback.
//!
//! What a page may say to this runner, in comments that readers do not see:
//! `<!-- test: setup NAME -->` runs tests/data/docs/NAME.md first; `<!-- test: run … -->` hidden commands;
//! `background NAME until="…"` the next block is one command that stays up; `stop NAME` Ctrl-C for it;
//! `await NAME "…"` waits for what it says; `stdin NAME after="…"` types the word that NAME said after that text;
//! `fails` the next block must fail; `skip reason="…"` it cannot be run here. Reasons are printed and counted.
//!
//! A `text` block after an `sh` block is what must be printed: its lines, in order, `…` for anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::TempDir;
use crate::place::free_port;

/// How often something is looked at, and how many times on a busy machine: three minutes in all.
const TURN: Duration = Duration::from_millis(20);
const TURNS: u32 = 9000;
/// Blocks that cannot be run here, all pages together.
const MAX_SKIPS: usize = 6;
/// Ports that the pages name, each exchanged for a free one: FHIR server, community, Ward, its admin listener.
const PORTS: [&str; 4] = ["8080", "8083", "8443", "8444"];
/// What else is exchanged before a command is run: names of a network that is not here.
const NAMES: [(&str, &str); 5] = [
    ("https://ward.hospital.example", "https://localhost:8443"),
    ("10.0.0.7:8080", "127.0.0.1:8080"),
    ("cargo run --release -- ", "ward "),
    ("/var/backups/", "@/"),
    ("/etc/ward/", "@/"),
];
/// Fences that hold no commands. Any other but `sh` is refused, so that no command can hide in one.
const INERT: [&str; 7] = ["text", "toml", "json", "nginx", "haproxy", "yaml", ""];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// How a block is run.
#[derive(Debug, Clone, Default)]
struct How {
    skip: Option<String>,
    background: Option<(String, String)>,
    stdin: Option<(String, String)>,
    fails: bool,
}

#[derive(Debug, Clone)]
enum Step {
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
fn parse(name: &str, page: &str) -> Vec<Step> {
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

/// What came of a page.
#[derive(Debug, Default)]
pub struct Ran {
    /// Commands as they stand on the page, with what they printed, in order.
    pub transcript: Vec<(String, String)>,
    pub asserted: usize,
    pub hidden: usize,
    pub skipped: Vec<String>,
}

struct Background {
    child: Child,
    said: PathBuf,
    heard: usize,
}

/// A folder in which a page is followed.
pub struct Folder {
    dir: TempDir,
    ports: Vec<(String, String)>,
    up: BTreeMap<String, Background>,
    ran: Ran,
    next: usize,
}

impl Drop for Folder {
    fn drop(&mut self) {
        for one in self.up.values_mut() {
            let _ = one.child.kill();
            let _ = one.child.wait();
        }
    }
}

impl Folder {
    fn new(name: &str) -> Self {
        let dir = TempDir::new(&format!("docs-{}", name.replace(['/', '.'], "-")));
        let ports: Vec<(String, String)> =
            PORTS.iter().map(|port| ((*port).to_owned(), free_port().to_string())).collect();
        let folder = Self { dir, ports, up: BTreeMap::new(), ran: Ran::default(), next: 0 };
        fs::create_dir_all(folder.place()).unwrap();
        fs::create_dir_all(folder.tool("")).unwrap();
        let admin = &folder.ports[3].1;
        // The page's `ward` talks to the admin listener's usual port; here it has another.
        folder.install("ward", &format!(
            "case \" $* \" in\n*' --url '*) ;;\n*) case \"$1\" in\n\
             admin) shift; set -- admin --url http://127.0.0.1:{admin} \"$@\" ;;\n\
             init) '{ward}' \"$@\" || exit; exec sed -i 's/^#address = \"127.0.0.1:8444\"/address = \"127.0.0.1:{admin}\"/' \"$2/ward.toml\" ;;\n\
             esac ;;\nesac\nexec '{ward}' \"$@\"\n",
            ward = env!("CARGO_BIN_EXE_ward"),
        ));
        // What systemd does with Ward, for the process that the page calls `serve`.
        folder.install("systemctl", &format!(
            "case \"$*\" in 'reload ward') kill -HUP \"$(cat '{pid}')\" ;; *) echo \"not here: systemctl $*\" >&2; exit 1 ;; esac\n",
            pid = folder.tool("serve.pid").display(),
        ));
        folder
    }

    fn place(&self) -> PathBuf {
        self.dir.0.join("folder")
    }

    fn tool(&self, name: &str) -> PathBuf {
        self.dir.0.join("tools").join(name)
    }

    fn install(&self, name: &str, script: &str) {
        let path = self.tool(name);
        fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A page's text for this folder.
    fn here(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (from, to) in NAMES {
            text = text.replace(from, &to.replace('@', &self.place().display().to_string()));
        }
        for (from, to) in &self.ports {
            text = text.replace(from, to);
        }
        text
    }

    fn shell(&mut self, script: &str) -> (Command, PathBuf) {
        self.next += 1;
        let said = self.tool(&format!("said-{}", self.next));
        let out = fs::File::create(&said).unwrap();
        let tools = self.tool("");
        let mut command = Command::new("sh");
        command
            .args(["-e", "-c", script])
            .current_dir(self.place())
            .env_clear()
            .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", tools.display()))
            .env("HOME", self.place())
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .process_group(0);
        (command, said)
    }

    /// Waits until one that stays up has said this, and forgets what it said before.
    fn hear(&mut self, place: &str, who: &str, what: &str) {
        let what = self.here(what);
        let one = self.up.get_mut(who).unwrap_or_else(|| panic!("{place}: no {who} is up"));
        let mut turns = 0;
        loop {
            let said = fs::read_to_string(&one.said).unwrap_or_default();
            let new = said.get(one.heard..).unwrap_or_default();
            if let Some(at) = new.find(&what) {
                one.heard += at + what.len();
                return;
            }
            let ended = one.child.try_wait().unwrap();
            assert!(
                ended.is_none() && turns < TURNS,
                "{place}: {who} did not say {what:?} ({ended:?}):\n{said}"
            );
            turns += 1;
            std::thread::sleep(TURN);
        }
    }

    /// The word after a text in what one that stays up has said, last time that it said it.
    fn word_after(&mut self, place: &str, who: &str, after: &str) -> String {
        self.up.get_mut(who).unwrap_or_else(|| panic!("{place}: no {who} is up")).heard = 0;
        self.hear(place, who, after);
        let said = fs::read_to_string(&self.up[who].said).unwrap();
        let (_, rest) = said.rsplit_once(after).unwrap();
        rest.split_whitespace().next().unwrap_or_default().to_owned()
    }

    fn follow(&mut self, name: &str, page: &str) {
        for step in parse(name, page) {
            match step {
                Step::Setup(what) => {
                    let path = format!("crates/ward/tests/data/docs/{what}.md");
                    let setup = fs::read_to_string(root().join(&path)).unwrap();
                    let before = self.ran.transcript.len();
                    self.follow(&path, &setup);
                    self.ran.hidden += self.ran.transcript.drain(before..).count();
                }
                Step::Stop(who) => {
                    let mut one =
                        self.up.remove(&who).unwrap_or_else(|| panic!("{name}: no {who}"));
                    let pid = one.child.id();
                    let kill = Command::new("kill").args(["-INT", &pid.to_string()]).status();
                    assert!(kill.unwrap().success());
                    assert!(one.child.wait().unwrap().code().is_some(), "{name}: {who} was killed");
                }
                Step::Await(who, what) => self.hear(name, &who, &what),
                Step::Sh { line, text, expect, how, hidden } => {
                    self.block(&format!("{name}:{line}"), &text, &expect, how, hidden);
                }
            }
        }
    }

    fn block(&mut self, place: &str, text: &str, expect: &[String], how: How, hidden: bool) {
        if let Some(reason) = how.skip {
            assert!(reason.len() > 10, "{place}: say why it is skipped");
            self.ran.skipped.push(format!("{place}: {reason}"));
            return;
        }
        let script = self.here(text);
        if let Some((who, until)) = how.background {
            let (mut command, said) = self.shell(&format!("exec {}", script.trim()));
            let child = command.stdin(Stdio::null()).spawn().unwrap();
            fs::write(self.tool(&format!("{who}.pid")), child.id().to_string()).unwrap();
            self.up.insert(who.clone(), Background { child, said: said.clone(), heard: 0 });
            self.hear(place, &who, &until);
            let printed = fs::read_to_string(said).unwrap();
            self.compare(place, &printed, expect);
            self.done(text, printed, hidden);
            return;
        }
        let typed = how.stdin.map(|(who, after)| self.word_after(place, &who, &after));
        let (mut command, said) = self.shell(&script);
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        if let Some(typed) = typed {
            let _ = stdin.write_all(format!("{typed}\n").as_bytes());
        }
        drop(stdin);
        let mut turns = 0;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            turns += 1;
            if turns > TURNS {
                let _ = child.kill();
                panic!(
                    "{place}: takes too long:\n{script}\n{}",
                    fs::read_to_string(&said).unwrap()
                );
            }
            std::thread::sleep(TURN);
        };
        let printed = String::from_utf8_lossy(&fs::read(said).unwrap()).into_owned();
        assert!(
            status.success() != how.fails && status.code().is_some(),
            "{place}: {status}, demanded {}:\n{script}\n{printed}{}",
            if how.fails { "a failure" } else { "success" },
            self.said(),
        );
        self.compare(place, &printed, expect);
        self.done(text, printed, hidden);
    }

    /// What those that stay up have said, for a failure.
    fn said(&self) -> String {
        let mut all = String::new();
        for (who, one) in &self.up {
            let said = fs::read_to_string(&one.said).unwrap_or_default();
            all += &format!("\n-- {who} said:\n{said}");
        }
        all
    }

    fn done(&mut self, text: &str, printed: String, hidden: bool) {
        if hidden {
            self.ran.hidden += 1;
        } else {
            self.ran.transcript.push((text.to_owned(), printed));
        }
    }

    /// Every line that the page shows is in what was printed, in order.
    fn compare(&mut self, place: &str, printed: &str, expect: &[String]) {
        let mut rest = printed.lines();
        for wanted in expect {
            let parts = self.here(wanted);
            let parts: Vec<&str> = parts.split('…').map(str::trim).collect();
            let fits = |line: &str| {
                let mut from = line;
                parts.iter().all(|part| {
                    from.split_once(part).is_some_and(|(_, after)| {
                        from = after;
                        true
                    })
                })
            };
            assert!(
                rest.any(fits),
                "{place}: not printed, or not in this order: {wanted}\n{printed}"
            );
            self.ran.asserted += 1;
        }
    }
}

/// Follows a page from an empty folder.
pub fn follow(name: &str) -> Ran {
    let page = fs::read_to_string(root().join(name)).unwrap();
    follow_text(name, &page)
}

/// Follows this text as a page.
pub fn follow_text(name: &str, page: &str) -> Ran {
    let mut folder = Folder::new(name);
    folder.follow(name, page);
    let ran = std::mem::take(&mut folder.ran);
    println!(
        "{name}: {} blocks run, {} lines of output compared, {} hidden, {} skipped",
        ran.transcript.len(),
        ran.asserted,
        ran.hidden,
        ran.skipped.len()
    );
    for skipped in &ran.skipped {
        println!("SKIPPED: {skipped}");
    }
    ran
}

/// For whoever writes a page: `WARD_PAGE=docs/admin.md cargo test -p ward --test it docs::one -- --nocapture` shows
/// what its commands print.
#[test]
fn one_page_by_name() {
    let Ok(page) = std::env::var("WARD_PAGE") else { return };
    for (command, printed) in follow(&page).transcript {
        println!("$ {}\n{printed}", command.trim());
    }
}

/// A test a page, and the list of them.
macro_rules! pages {
    ($($test:ident: $page:literal,)*) => {
        const PAGES: &[&str] = &[$($page),*];
        $(#[test]
        fn $test() {
            follow($page);
        })*
    };
}

pages! {
    readme: "README.md",
    install: "docs/install.md",
    admin: "docs/admin.md",
    read_the_log: "docs/read-the-log.md",
    rotate_keys: "docs/rotate-keys.md",
    load_balancer: "docs/load-balancer.md",
    when_something_is_down: "docs/when-something-is-down.md",
    hapi: "docs/in-front-of/hapi.md",
    helios: "docs/in-front-of/helios.md",
    blaze: "docs/in-front-of/blaze.md",
    cloud: "docs/in-front-of/cloud.md",
    backup: "docs/operate/backup.md",
    downtime: "docs/operate/downtime.md",
}
/// Pages that other tests of this binary follow.
const ELSEWHERE: [&str; 1] = ["docs/first-guard.md"];

/// Every page of the documentation.
fn written() -> BTreeSet<String> {
    let mut found = BTreeSet::from(["README.md".to_owned()]);
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "md") {
                found.insert(path.to_str().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn every_page_is_followed_by_a_test_and_few_blocks_are_skipped() {
    let followed: BTreeSet<String> =
        PAGES.iter().chain(&ELSEWHERE).map(|page| (*page).to_owned()).collect();
    let mut skipped = vec![];
    for page in written() {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        let steps = parse(&page, &text);
        assert!(
            steps.is_empty() || followed.contains(&page),
            "{page} has commands that nobody runs: add it to `pages!`"
        );
        for step in steps {
            if let Step::Sh { line, how: How { skip: Some(reason), .. }, .. } = step {
                skipped.push(format!("{page}:{line}: {reason}"));
            }
        }
    }
    println!("{} blocks are not run:\n{}", skipped.len(), skipped.join("\n"));
    assert!(skipped.len() <= MAX_SKIPS, "too many: run them, or say in prose what they do");
}

/// Commands in running text exist, and links lead somewhere.
#[test]
fn commands_and_links_in_running_text_exist() {
    let mut commands = BTreeSet::new();
    let mut wrong = vec![];
    for page in written() {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        let mut fenced = false;
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            }
            if fenced {
                continue;
            }
            for code in line.split('`').skip(1).step_by(2) {
                let Some(rest) = code.strip_prefix("ward ") else { continue };
                let is_word =
                    |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
                let path: Vec<&str> = rest
                    .split_whitespace()
                    .take_while(|word| is_word(word) && !word.starts_with('-'))
                    .collect();
                commands.insert((path.join(" "), page.clone()));
            }
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let file = link.split('#').next().unwrap_or_default();
                if file.is_empty() || link.contains("://") {
                    continue;
                }
                if !root().join(&page).parent().unwrap().join(file).exists() {
                    wrong.push(format!("{page}: the link {link} leads nowhere"));
                }
            }
        }
    }
    assert!(commands.len() > 5);
    for (path, page) in &commands {
        let shown = Command::new(env!("CARGO_BIN_EXE_ward"))
            .args(path.split_whitespace())
            .arg("--help")
            .output()
            .unwrap();
        if !shown.status.success() {
            wrong.push(format!("{page}: there is no command `ward {path}`"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// The runner itself notices: a command that fails, output that is not printed, a block that hides.
#[test]
fn a_page_that_does_not_hold_fails() {
    let holds = |page: &str| {
        let page = page.to_owned();
        std::panic::catch_unwind(move || follow_text("made-up.md", &page)).is_ok()
    };
    assert!(holds("```sh\necho one two\n```\n```text\none …\n```\n"));
    assert!(holds("<!-- test: fails -->\n```sh\nfalse\n```\n"));
    assert!(holds(
        "<!-- test: background it until=\"ready\" -->\n```sh\nsh -c 'echo ready; sleep 60'\n```\n"
    ));
    for page in [
        "```sh\nfalse\necho one\n```\n",
        "```sh\nward no-such-command\n```\n",
        "```sh\necho one\n```\n```text\ntwo\n```\n",
        "```sh\necho one; echo two\n```\n```text\ntwo\none\n```\n",
        "<!-- test: fails -->\n```sh\ntrue\n```\n",
        "```console\n$ echo one\n```\n",
        "```sh\necho one\n",
        "<!-- test: jump -->\n",
        "<!-- test: skip reason=\"\" -->\n```sh\nfalse\n```\n",
        "<!-- test: background it until=\"never\" -->\n```sh\necho ready\n```\n",
    ] {
        assert!(!holds(page), "{page}");
    }
}

//! A folder in which a page is followed: a shell, the built `ward` in PATH, and what stays up meanwhile.
//!
//! The only things that differ from a reader's machine are [`PORTS`] and [`NAMES`], and that `systemctl reload ward`
//! reaches the process that the page calls `serve`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::page::{How, Step, parse};
use super::root;
use crate::harness::TempDir;
use crate::place::free_port;

/// How often something is looked at, and how many times on a busy machine: three minutes in all.
const TURN: Duration = Duration::from_millis(20);
const TURNS: u32 = 9000;
/// Ports that the pages name, each exchanged for a free one: FHIR server, community, Ward, its admin listener, status of
/// certifications.
const PORTS: [&str; 5] = ["8080", "8083", "8443", "8444", "8445"];
/// What else is exchanged before a command is run: names of a network that is not here.
const NAMES: [(&str, &str); 5] = [
    ("https://ward.hospital.example", "https://localhost:8443"),
    ("10.0.0.7:8080", "127.0.0.1:8080"),
    ("cargo run --release -- ", "ward "),
    ("/var/backups/", "@/"),
    ("/etc/ward/", "@/"),
];
/// What came of a page.
#[derive(Debug, Default)]
pub struct Ran {
    /// Commands as they stand on the page, with what they printed, in order.
    pub transcript: Vec<(String, String)>,
    pub asserted: usize,
    pub hidden: usize,
    pub skipped: Vec<String>,
}

/// A free port whose digits hold none of those that are exchanged: it would be exchanged again.
fn quiet_port() -> u16 {
    loop {
        let port = free_port();
        if PORTS.iter().all(|named| !port.to_string().contains(named)) {
            return port;
        }
    }
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
    pub ran: Ran,
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
    pub fn new(name: &str) -> Self {
        let dir = TempDir::new(&format!("docs-{}", name.replace(['/', '.'], "-")));
        let ports: Vec<(String, String)> =
            PORTS.iter().map(|port| ((*port).to_owned(), quiet_port().to_string())).collect();
        let folder = Self { dir, ports, up: BTreeMap::new(), ran: Ran::default(), next: 0 };
        fs::create_dir_all(folder.place()).unwrap();
        fs::create_dir_all(folder.tool("")).unwrap();
        let admin = &folder.ports[3].1;
        // The page's `ward` talks to the admin listener's usual port; here it has another.
        folder.install("ward", &format!(
            "case \" $* \" in\n*' --url '*) ;;\n*) case \"$1\" in\n\
             admin) shift; set -- admin --url http://127.0.0.1:{admin} \"$@\" ;;\n\
             passport) shift; set -- passport --url http://127.0.0.1:{admin} \"$@\" ;;\n\
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

    pub fn place(&self) -> PathBuf {
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
    pub fn here(&self, text: &str) -> String {
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

    pub fn follow(&mut self, name: &str, page: &str) {
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

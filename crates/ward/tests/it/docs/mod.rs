//! Every command in README and docs/ is run: a page's fenced `sh` blocks, in order, in an empty folder, with the
//! built `ward` in PATH and real processes on loopback. [`page`] says how to write one.

pub mod folder;
mod page;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use folder::{Folder, Ran};
use page::{How, Step, parse};

/// Blocks that cannot be run here, all pages together.
const MAX_SKIPS: usize = 6;
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
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
    observe: "docs/observe.md",
    client: "docs/client.md",
    certifications: "docs/certifications.md",
    community: "docs/community.md",
    load_balancer: "docs/load-balancer.md",
    passport: "docs/passport.md",
    profiles: "docs/profiles.md",
    when_something_is_down: "docs/when-something-is-down.md",
    hapi: "docs/in-front-of/hapi.md",
    helios: "docs/in-front-of/helios.md",
    blaze: "docs/in-front-of/blaze.md",
    cloud: "docs/in-front-of/cloud.md",
    backup: "docs/operate/backup.md",
    downtime: "docs/operate/downtime.md",
}
/// Pages that other tests of this binary follow.
const ELSEWHERE: [&str; 2] = ["docs/first-guard.md", "docs/inferno.md"];

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

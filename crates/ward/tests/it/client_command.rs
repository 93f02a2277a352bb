//! `ward client` as a stranger runs it, against the demo: the printed lines work, and every fault is named (CLI-28).

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::harness::TempDir;

/// A demo that serves until it is dropped.
struct Demo {
    child: Child,
    ready: Value,
    data: PathBuf,
}

impl Demo {
    fn start(dir: &TempDir) -> Self {
        let data = dir.0.join("data");
        let mut child = Command::new(env!("CARGO_BIN_EXE_ward"))
            .args(["demo", "--no-walk", "--json", "--patients", "30", "--data"])
            .arg(&data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, ready: serde_json::from_str(&line).unwrap(), data }
    }

    /// The arguments of a printed line, as a shell reads them; with time for a busy machine.
    fn printed(&self, at: usize) -> Vec<String> {
        let line = self.ready["as_a_partner"][at].as_str().unwrap();
        let words = line.split_whitespace().skip(1).map(|word| word.replace('\'', ""));
        let mut words: Vec<String> = words.collect();
        words.splice(2..2, ["--timeout", "120"].map(ToOwned::to_owned));
        words
    }

    fn partner(&self, name: &str) -> PathBuf {
        self.data.join("partner").join(name)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ward(arguments: &[String], more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ward")).args(arguments).args(more).output().unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn words(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

/// The same arguments with one option's value exchanged.
fn with(arguments: &[String], option: &str, value: &str) -> Vec<String> {
    let at = arguments.iter().position(|one| one == option).unwrap();
    let mut out = arguments.to_vec();
    value.clone_into(&mut out[at + 1]);
    out
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_stranger_discovers_registers_gets_a_token_and_reads() {
    let dir = TempDir::new("client");
    let demo = Demo::start(&dir);
    let (discover, register, get) = (demo.printed(0), demo.printed(1), demo.printed(2));

    // Discovery, with what was checked.
    let found = ward(&discover, &[]);
    let text = words(&found);
    assert_eq!(found.status.code(), Some(0), "{text}");
    for rule in ["CLI-01", "M03", "M08", "M10", "passed", "registration endpoint"] {
        assert!(text.contains(rule), "{rule}: {text}");
    }
    let found = json(&ward(&discover, &["--json"]));
    assert!(found["ok"] == true && found["checks"].as_array().unwrap().len() >= 15, "{found}");

    // Nothing works before there is a registration, and it says so.
    let early = ward(&get, &[]);
    assert_eq!(early.status.code(), Some(1));
    assert!(words(&early).contains("ward client register"), "{}", words(&early));

    let registered = json(&ward(&register, &["--json"]));
    assert_eq!(registered["standing"], "new", "{registered}");
    assert_eq!(mode(&demo.partner("visitor.json")), 0o600);
    let again = json(&ward(&register, &["--json"]));
    assert_eq!(
        (&again["standing"], &again["client_id"]),
        (&"modified".into(), &registered["client_id"])
    );

    // Read: status, headers, body.
    let read = ward(&get, &[]);
    let text = words(&read);
    assert_eq!(read.status.code(), Some(0), "{text}");
    assert!(text.contains("200") && text.contains("\"resourceType\":\"Patient\""), "{text}");
    let read = json(&ward(&get, &["--json", "--explain"]));
    assert_eq!((&read["status"], &read["body"]["resourceType"]), (&200.into(), &"Patient".into()));

    // A token: into a file that is its owner's, or alone on standard output.
    let mut token: Vec<String> = get[..get.len() - 1].to_vec();
    token[1] = "token".to_owned();
    let file = demo.partner("token.txt");
    let quiet = ward(&token, &["--to", file.to_str().unwrap()]);
    assert_eq!(quiet.status.code(), Some(0), "{}", words(&quiet));
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(!words(&quiet).contains(kept.trim()) && mode(&file) == 0o600);
    let shown = ward(&token, &["--show"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.lines().count(), 1, "{shown}");
    let used = ward(&get, &["--token", file.to_str().unwrap()]);
    assert_eq!(used.status.code(), Some(0), "{}", words(&used));

    // What the server refuses is an answer and a failure.
    let stranger = demo.ready["outside_roster"][0].as_str().unwrap().to_owned();
    let mut other = get.clone();
    *other.last_mut().unwrap() = format!("/Patient/{stranger}");
    let refused = ward(&other, &["--json"]);
    assert_eq!((refused.status.code(), json(&refused)["status"].as_u64()), (Some(1), Some(404)));

    // Cancelled: the state file forgets it, the token is dead (CLI-17).
    let cancelled = json(&ward(&register, &["--cancel", "--json"]));
    assert_eq!(cancelled["standing"], "cancelled");
    assert_eq!(ward(&get, &[]).status.code(), Some(1));
    let dead = ward(&get, &["--token", file.to_str().unwrap()]);
    assert_eq!(dead.status.code(), Some(1));
    assert!(words(&dead).contains("401"), "{}", words(&dead));

    faults(&dir, &demo, &discover, &register);
}

/// One fault each: the exit status, and words that say what to do.
fn faults(dir: &TempDir, demo: &Demo, discover: &[String], register: &[String]) {
    let scratch = |name: &str| dir.0.join(name).to_str().unwrap().to_owned();
    let (tls, root) = (demo.data.join("tls/tls-ca.pem"), demo.data.join("community/root.pem"));
    let (tls, root) = (tls.to_str().unwrap(), root.to_str().unwrap());
    let check = |name: &str, output: Output, code: i32, says: &[&str]| {
        let text = words(&output);
        assert_eq!(output.status.code(), Some(code), "{name}: {text}");
        for word in says {
            assert!(text.contains(word), "{name}: {word} is not in {text}");
        }
        assert!(!text.contains("PRIVATE KEY"), "{name}");
    };

    let base = &discover[discover.iter().position(|one| one == "--base").unwrap() + 1];
    let run = |arguments: &[String]| ward(arguments, &[]);
    check("slash", run(&with(discover, "--base", &format!("{base}/"))), 5, &["M03", "FAILED"]);
    check(
        "no udap",
        run(&with(discover, "--base", &base.replace("/fhir", "/else"))),
        3,
        &["(CLI-01)", "check the URL"],
    );
    check(
        "plain http",
        run(&with(discover, "--base", &base.replace("https", "http"))),
        2,
        &["CLI-05"],
    );
    check(
        "community",
        run(&with(discover, "--community-uri", "https://x.example/c")),
        4,
        &["(CLI-03)"],
    );
    check("anchor", run(&with(discover, "--anchor", tls)), 5, &["M10", "--anchor"]);
    // A member's certificate is no root: nothing is asked.
    let member = &register[register.iter().position(|one| one == "--certificate").unwrap() + 1];
    check("member", run(&with(discover, "--anchor", member)), 2, &["--anchor", "of no use"]);
    check("tls", run(&with(discover, "--tls-ca", root)), 6, &["--tls-ca"]);
    let mut careful = discover.to_vec();
    careful.retain(|one| !one.starts_with("--allow-private"));
    check("egress", run(&careful), 6, &["egress refused", "--allow-private"]);
    careful.push(format!("--allow-private={}", base.split('/').nth(2).unwrap()));
    check(
        "lists",
        run(&careful),
        5,
        &["M10", "revocation list http://127.0.0.1", "--allow-private"],
    );
    careful.push("--allow-private".to_owned());
    check("anywhere", run(&careful), 0, &["passed"]);

    check("no file", run(&with(register, "--key", "/nonexistent")), 2, &["no such file"]);
    check(
        "no pem",
        run(&with(register, "--certificate", "/etc/hostname")),
        2,
        &["BEGIN CERTIFICATE"],
    );
    let open = scratch("open.pem");
    std::fs::copy(demo.partner("visitor-key.pem"), &open).unwrap();
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o644)).unwrap();
    let chmod = format!("run: chmod 600 {open}");
    check("open key", run(&with(register, "--key", &open)), 2, &["mode 0644", &chmod]);
    let sec1 = scratch("sec1.pem");
    std::fs::write(&sec1, "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n")
        .unwrap();
    std::fs::set_permissions(&sec1, PermissionsExt::from_mode(0o600)).unwrap();
    check("no pkcs8", run(&with(register, "--key", &sec1)), 2, &["openssl pkcs8 -topk8"]);
    check("other key", run(&with(register, "--certificate", tls)), 2, &["--certificate"]);
    check("contact", run(&with(register, "--contact", "x")), 2, &["REG-15"]);
    check("uri", ward(register, &["--client-uri", "https://x.example/a"]), 2, &["REG-06"]);
    check("scope", ward(register, &["--scope", "system/*.cruds"]), 1, &["CLI-13"]);
    check("usage", ward(&["client".to_owned(), "get".to_owned()], &[]), 2, &["--base"]);
    let state = demo.partner("visitor.json");
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o644)).unwrap();
    check("open state", run(register), 2, &["chmod 600"]);
}

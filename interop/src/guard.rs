//! From an empty folder to a guarded server: what an operator and a partner do, in their order.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::Error;
use crate::hfs::{Hfs, free_port, get};
use crate::transcript::{Transcript, ward};

const COMMUNITY: &str = "https://community.example/trust";
pub const ORGANIZATION: &str = "https://partner.example/organization";
const CLIENT: &str = "https://partner.example/app";
const SCOPE: &str =
    "system/Patient.rs system/Observation.rs system/Encounter.rs system/Practitioner.rs";

/// Patients in the roster, of those whose ids are known; all others are outside.
pub const ROSTER: [&str; 2] = ["355", "85"];
pub const OUTSIDE: &str = "907";

/// A process that ends with the run.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Ward in front of a server of others.
pub struct Guard<'a> {
    pub dir: PathBuf,
    pub hfs: &'a Hfs,
    pub base: String,
    admin: String,
    _lists: Running,
    serving: Option<Running>,
}

fn replace(path: &Path, changes: &[(&str, &str)]) -> Result<(), Error> {
    let mut text = fs::read_to_string(path)?;
    for (from, to) in changes {
        if !text.contains(from) {
            return Err(format!("{from} is not in {}", path.display()).into());
        }
        text = text.replacen(from, to, 1);
    }
    Ok(fs::write(path, text)?)
}

impl<'a> Guard<'a> {
    /// The whole walk.
    pub fn walk(hfs: &'a Hfs, dir: &Path, script: &mut Transcript) -> Result<(), Error> {
        let mut guard = Self::settle(hfs, dir, script)?;
        guard.check(script)?;
        guard.serve(script)?;
        guard.join(script)?;
        guard.roster(script)?;
        guard.token(script)?;
        guard.observe(script)?;
        guard.enforce(script)?;
        guard.read(script)?;
        guard.traps(script)?;
        guard.compare(script)?;
        guard.verify(script)
    }

    /// The community, `ward init`, the certificate.
    fn settle(hfs: &'a Hfs, dir: &Path, script: &mut Transcript) -> Result<Self, Error> {
        let (port, admin, lists) =
            (free_port()?.to_string(), free_port()?.to_string(), free_port()?.to_string());
        let origin = format!("https://localhost:{port}");
        for (number, name) in [(&port, "WARD"), (&admin, "ADMIN"), (&lists, "LISTS")] {
            script.name(&format!(":{number}"), &format!(":{name}"));
            script.name(&format!(" {number}"), &format!(" {name}"));
        }
        script.part("`ward init`, and the community's certificate");
        script.run(&[
            "ward",
            "sandbox",
            "community",
            "make",
            "community",
            "--uri",
            COMMUNITY,
            "--port",
            &lists,
        ])?;
        let lists_server = Running(
            Command::new(ward()?)
                .args(["sandbox", "community", "serve", "community"])
                .current_dir(dir)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?,
        );
        let listen = format!("127.0.0.1:{port}");
        let init = [
            "ward",
            "init",
            "w",
            "--origin",
            &origin,
            "--upstream",
            &hfs.base,
            "--community",
            COMMUNITY,
        ];
        let said =
            script.run(&[&init[..], &["--listen", &listen, "--self-signed-tls"]].concat())?;
        script.ensure(said.good, "it is made, and asks for nothing")?;
        let server =
            ["--request", "w/community/request.pem", "--out", "w/community/certificate.pem"];
        let said = script.run(
            &[&["ward", "sandbox", "community", "server", "community"][..], &server].concat(),
        )?;
        script.ensure(said.good, "the community signs the request")?;
        fs::copy(dir.join("community/root.pem"), dir.join("w/community/anchors.pem"))?;
        let (line, address) = (
            format!("allow_private = [\"127.0.0.1:{lists}\"]"),
            format!("address = \"127.0.0.1:{admin}\""),
        );
        let toml = dir.join("w/ward.toml");
        replace(
            &toml,
            &[("#allow_private = []", &line), ("#address = \"127.0.0.1:8444\"", &address)],
        )?;
        Ok(Self {
            dir: dir.to_path_buf(),
            hfs,
            base: format!("{origin}/default/fhir"),
            admin: format!("http://127.0.0.1:{admin}"),
            _lists: lists_server,
            serving: None,
        })
    }

    fn check(&self, script: &mut Transcript) -> Result<(), Error> {
        script.part("`ward check`");
        let said = script.run(&["ward", "check", "--config", "w/ward.toml"])?;
        script.ensure(said.good, "its status is 0")?;
        let helios = format!("{} answers: Helios FHIR Server 0.2.7", self.hfs.base);
        let words = [
            helios.as_str(),
            "FHIR 4.0.1 (R4)",
            "searches can be narrowed to a partner's patients",
            "refuses search parameters that it does not know",
            "its paging links work",
        ];
        script.holds(&said, &words)
    }

    fn serve(&mut self, script: &mut Transcript) -> Result<(), Error> {
        script.part("`ward serve`");
        let stderr = self.dir.join("ward.stderr");
        let child = Command::new(ward()?)
            .args(["serve", "--config", "w/ward.toml"])
            .current_dir(&self.dir)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&stderr)?)
            .spawn()?;
        self.serving = Some(Running(child));
        self.until(|said| said.contains("works once: "))?;
        let said = fs::read_to_string(&stderr)?;
        let code = said
            .rsplit_once("works once: ")
            .and_then(|(_, rest)| rest.lines().next())
            .ok_or("no code")?;
        let shown = said.replace(code, "CODE");
        script.tell("In a terminal of its own, `ward serve --config w/ward.toml` says:");
        script.show(&shown);
        let admin = ["ward", "admin", "--url", &self.admin, "--key-file", "operator.key"];
        let said = script.run_with(
            &[&admin[..], &["bootstrap", "--name", "alice"]].concat(),
            code,
            None,
        )?;
        script.ensure(said.good, "the code makes the first operator")
    }

    /// Waits until `ward serve` has said something.
    fn until(&self, it: impl Fn(&str) -> bool) -> Result<(), Error> {
        for _ in 0..600 {
            if it(&fs::read_to_string(self.dir.join("ward.stderr"))?) {
                return Ok(());
            }
            sleep(Duration::from_millis(100));
        }
        Err(fs::read_to_string(self.dir.join("ward.stderr"))?.into())
    }

    /// What all commands of `ward client` need; whose key, if there is one.
    pub fn client<'w>(&'w self, command: &'w str, own: bool) -> Vec<&'w str> {
        let mut words =
            vec!["ward", "client", command, "--base", &self.base, "--community-uri", COMMUNITY];
        words.extend([
            "--anchor",
            "community/root.pem",
            "--tls-ca",
            "w/tls/certificate.pem",
            "--allow-private",
        ]);
        if own {
            words.extend(["--certificate", "partner/certificate.pem", "--key", "partner/key.pem"]);
            words.extend(["--state", "partner/state.json"]);
        }
        words
    }

    /// The partner: its certificate, discovery, registration.
    fn join(&self, script: &mut Transcript) -> Result<(), Error> {
        script.part("A partner: `discover`, `register`");
        let said = script.run(&[
            "ward",
            "sandbox",
            "community",
            "client",
            "community",
            CLIENT,
            "--out",
            "partner",
        ])?;
        script.ensure(said.good, "the community admits a partner")?;
        let said = script.run(&self.client("discover", false))?;
        script.ensure(said.good, "the signed metadata is believed")?;
        script.holds(&said, &["udap_dcr udap_authn udap_authz", "client_credentials"])?;
        let more = ["--scope", SCOPE, "--contact", "mailto:ops@partner.example"];
        let said = script.run(&[&self.client("register", true)[..], &more].concat())?;
        script.ensure(said.good, "the partner is registered")?;
        script.holds(&said, &["standing       new"])
    }

    fn roster(&self, script: &mut Transcript) -> Result<(), Error> {
        let rows: String = ROSTER.iter().map(|id| format!("{id} TREAT\n")).collect();
        fs::write(self.dir.join("roster"), rows)?;
        let admin = [
            "ward",
            "admin",
            "--url",
            &self.admin,
            "--key-file",
            "operator.key",
            "roster",
            "import",
        ];
        let more = ["--organization", ORGANIZATION, "--member", COMMUNITY, CLIENT, "roster"];
        let said = script.run(&[&admin[..], &more].concat())?;
        script.ensure(said.good, "whose patients the partner's organisation may see is imported")
    }

    pub fn token(&self, script: &mut Transcript) -> Result<(), Error> {
        let more = ["--organization", ORGANIZATION, "--purpose", "TREAT", "--to", "partner/token"];
        let said = script.run(&[&self.client("token", true)[..], &more].concat())?;
        script.ensure(said.good, "the partner gets an access token")?;
        let token = fs::read_to_string(self.dir.join("partner/token"))?.trim().to_owned();
        script.ensure(!said.text.contains(&token), "which is in the file and not on the screen")?;
        script.name(&token, "TOKEN");
        Ok(())
    }

    /// Everything is decided and logged, nothing is blocked.
    fn observe(&self, script: &mut Transcript) -> Result<(), Error> {
        script.part("Observe first");
        script.tell("`ward init` begins with `mode = \"observe\"`: everything is decided and logged, nothing is blocked.");
        for path in ["/Patient/907", "/Condition?patient=355", "/Patient/355/$everything"] {
            let (status, body) = self.get(script, path)?;
            let (_, direct) = get(&format!("{}{path}", self.hfs.base))?;
            let entries =
                |body: &Value| body.pointer("/entry").and_then(Value::as_array).map(Vec::len);
            let same = if entries(&direct).is_some() {
                entries(&body) == entries(&direct)
            } else {
                body == direct
            };
            let many =
                entries(&direct).map_or(String::new(), |many| format!(", with all {many} entries"));
            script.ensure(status == 200 && same, &format!("passes as hfs answers it{many}"))?;
        }
        let said = script.run(&["ward", "report", "would-refuse", "--config", "w/ward.toml"])?;
        script.ensure(said.good, "the report tells what enforcement would have stopped")?;
        script.holds(&said, &[CLIENT, "ROSTER", "1 × GET Patient/{id}"])?;
        // A moment or an id of Ward's may well hold these digits.
        let named = ["/355", "=355", "/907"].iter().any(|patient| said.text.contains(patient));
        script.ensure(!named, "and names no patient")
    }

    /// The switch, while it serves.
    fn enforce(&self, script: &mut Transcript) -> Result<(), Error> {
        script.part("Enforce");
        replace(&self.dir.join("w/ward.toml"), &[("mode = \"observe\"", "mode = \"enforce\"")])?;
        let serving = self.serving.as_ref().ok_or("ward does not run")?;
        Command::new("kill").args(["-HUP", &serving.0.id().to_string()]).status()?;
        self.until(|said| said.contains("was read again and is in force"))?;
        script
            .ensure(true, "`mode = \"enforce\"` and SIGHUP: the same process enforces from now on")
    }

    /// SIGTERM, and the log.
    fn verify(&mut self, script: &mut Transcript) -> Result<(), Error> {
        script.part("`ward log verify`");
        fs::copy(self.dir.join("w/data/log/checkpoint"), self.dir.join("kept-checkpoint"))?;
        let mut serving = self.serving.take().ok_or("ward does not run")?;
        Command::new("kill").arg(serving.0.id().to_string()).status()?;
        let ended = serving.0.wait()?;
        script.ensure(
            ended.success(),
            "SIGTERM: Ward signs the last checkpoint and ends with status 0",
        )?;
        let said = script.run(&[
            "ward",
            "log",
            "verify",
            "--data",
            "w/data",
            "--checkpoint",
            "kept-checkpoint",
        ])?;
        script.ensure(said.good, "the log verifies, and continues the checkpoint that was kept")?;
        let shown =
            script.quietly(&["ward", "log", "show", "--data", "w/data", "--count", "500"], "")?;
        let last: Vec<&str> = shown.out.lines().rev().take(12).collect();
        let part = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        let said = script.run_with(
            &["ward", "log", "show", "--data", "w/data", "--count", "500"],
            "",
            Some(&part),
        )?;
        script.ensure(
            said.good && !said.text.contains("Observation/") && !said.text.contains("Patient/"),
            "and names no patient",
        )
    }
}

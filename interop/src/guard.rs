//! From an empty folder to a guarded server: what an operator and a partner do, in their order.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::Error;
use crate::hfs::{Hfs, free_port, get};
use crate::transcript::{Said, Transcript, ward};

const COMMUNITY: &str = "https://community.example/trust";
const ORGANIZATION: &str = "https://partner.example/organization";
const CLIENT: &str = "https://partner.example/app";
const SCOPE: &str =
    "system/Patient.rs system/Observation.rs system/Encounter.rs system/Practitioner.rs";

/// Patients in the roster, of those whose ids are known; all others are outside.
const ROSTER: [&str; 2] = ["355", "85"];
const OUTSIDE: &str = "907";

/// The same question to both, for the patients of the roster: `{}` is where hfs is told of them.
const COMPARED: [(&str, &str); 14] = [
    ("Patient", "Patient?_id=355,85"),
    ("Patient?gender=male", "Patient?gender=male&_id=355,85"),
    (
        "Patient?birthdate=lt1950&_sort=birthdate",
        "Patient?birthdate=lt1950&_sort=birthdate&_id=355,85",
    ),
    ("Observation", "Observation?patient=355,85"),
    ("Observation?patient=355&_count=17", "Observation?patient=355&_count=17"),
    (
        "Observation?patient=85&_count=50&_total=accurate",
        "Observation?patient=85&_count=50&_total=accurate",
    ),
    (
        "Observation?code=http://loinc.org%7C8302-2&_sort=date",
        "Observation?code=http://loinc.org%7C8302-2&_sort=date&patient=355,85",
    ),
    (
        "Observation?patient=355&_sort=-date&_count=10",
        "Observation?patient=355&_sort=-date&_count=10",
    ),
    ("Observation?category=laboratory", "Observation?category=laboratory&patient=355,85"),
    ("Observation?date=ge2015&date=lt2021", "Observation?date=ge2015&date=lt2021&patient=355,85"),
    ("Observation?value-quantity=gt100", "Observation?value-quantity=gt100&patient=355,85"),
    (
        "Observation?code:not=8302-2&_count=100",
        "Observation?code:not=8302-2&_count=100&patient=355,85",
    ),
    ("Encounter?_count=7", "Encounter?patient=355,85&_count=7"),
    ("Practitioner?_count=7", "Practitioner?_count=7"),
];

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
    dir: PathBuf,
    hfs: &'a Hfs,
    base: String,
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

fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// `Type/id` of the entries of a page, and its next link.
fn page(value: &Value) -> (Vec<String>, Option<String>) {
    let entries = at(value, "/entry").as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |entry: &Value| {
        let (rtype, id) = (at(entry, "/resource/resourceType"), at(entry, "/resource/id"));
        Some(format!("{}/{}", rtype.as_str()?, id.as_str()?))
    };
    let links = at(value, "/link").as_array().map(Vec::as_slice).unwrap_or_default();
    let next = links.iter().find(|link| at(link, "/relation") == "next");
    let next = next.and_then(|link| Some(at(link, "/url").as_str()?.to_owned()));
    (entries.iter().filter_map(name).collect(), next)
}

/// Everything that a search finds, page by page.
fn all(
    mut get: impl FnMut(&str) -> Result<(u16, Value), Error>,
    first: &str,
) -> Result<Vec<String>, Error> {
    let (mut found, mut url) = (vec![], first.to_owned());
    for _ in 0..500 {
        let (status, value) = get(&url)?;
        if status != 200 {
            return Err(format!("{url}: status {status}: {value}").into());
        }
        let (names, next) = page(&value);
        found.extend(names);
        match next {
            Some(next) => url = next,
            None => return Ok(found),
        }
    }
    Err(format!("{first}: more than 500 pages").into())
}

impl<'a> Guard<'a> {
    /// The whole walk.
    pub fn walk(hfs: &'a Hfs, dir: &Path, script: &mut Transcript) -> Result<(), Error> {
        let mut guard = Self::settle(hfs, dir, script)?;
        guard.check(script)?;
        guard.serve(script)?;
        guard.join(script)?;
        guard.roster(script)?;
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
    fn client<'w>(&'w self, command: &'w str, own: bool) -> Vec<&'w str> {
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

    fn token(&self, script: &mut Transcript) -> Result<(), Error> {
        let more = ["--organization", ORGANIZATION, "--purpose", "TREAT", "--to", "partner/token"];
        let said = script.run(&[&self.client("token", true)[..], &more].concat())?;
        script.ensure(said.good, "the partner gets an access token")?;
        let token = fs::read_to_string(self.dir.join("partner/token"))?.trim().to_owned();
        script.ensure(!said.text.contains(&token), "which is in the file and not on the screen")?;
        script.name(&token, "TOKEN");
        Ok(())
    }

    /// `ward client get`, shown in part; its JSON.
    fn get(&self, script: &mut Transcript, path: &str) -> Result<(u64, Value), Error> {
        let mut words = self.client("get", true);
        words.extend(["--organization", ORGANIZATION, "--token", "partner/token", "--json", path]);
        let said = script.quietly(&words, "")?;
        let json = said.json()?;
        let status = at(&json, "/status").as_u64().ok_or_else(|| said.text.clone())?;
        let body = at(&json, "/body").clone();
        script.tell(&format!("`ward client get … --token partner/token '{path}'` → **{status}**"));
        Ok((status, body))
    }

    /// `curl` with the token, on a connection of its own.
    fn curl(
        &self,
        script: &Transcript,
        path: &str,
        more: &[&str],
    ) -> Result<(u16, Value, String), Error> {
        let token = fs::read_to_string(self.dir.join("partner/token"))?;
        let bearer = format!("authorization: Bearer {}", token.trim());
        let url = if path.starts_with("https:") {
            path.to_owned()
        } else {
            format!("{}/{path}", self.base)
        };
        let words = [
            "curl",
            "--silent",
            "--max-time",
            "30",
            "--cacert",
            "w/tls/certificate.pem",
            "--write-out",
            "\n%{http_code}",
        ];
        let said: Said =
            script.quietly(&[&words[..], &["--header", &bearer], more, &[&url]].concat(), "")?;
        let (body, status) = said.out.rsplit_once('\n').ok_or("curl said nothing")?;
        Ok((status.parse()?, serde_json::from_str(body).unwrap_or(Value::Null), body.to_owned()))
    }

    fn read(&self, script: &mut Transcript) -> Result<(), Error> {
        script.part("`token`, read, search");
        self.token(script)?;
        let (status, body) = self.get(script, "/Patient/355")?;
        let (_, direct) = get(&format!("{}/Patient/355", self.hfs.base))?;
        script.ensure(
            status == 200 && body == direct,
            "the record is the one that hfs has, member by member",
        )?;
        let (status, body) =
            self.get(script, "/Observation?patient=355&_count=5&_total=accurate")?;
        let (names, next) = page(&body);
        let whose = at(&body, "/entry").as_array().map(Vec::as_slice).unwrap_or_default();
        let whose =
            whose.iter().all(|entry| at(entry, "/resource/subject/reference") == "Patient/355");
        script.ensure(
            status == 200 && names.len() == 5 && whose,
            "five of the patient's observations",
        )?;
        let (_, direct) =
            get(&format!("{}/Observation?patient=355&_summary=count", self.hfs.base))?;
        let (total, counted) = (at(&body, "/total"), at(&direct, "/total"));
        script.ensure(total == counted, &format!("their total, {total}, is what hfs counts"))?;
        let next = next.ok_or("there is no next link")?;
        script.ensure(next.starts_with(&self.base), "the next link is Ward's own")?;
        let (status, second, _) = self.curl(script, &next, &[])?;
        let (more, _) = page(&second);
        script.ensure(
            status == 200 && more.len() == 5 && more.iter().all(|one| !names.contains(one)),
            "and leads to five others",
        )?;

        script.part("Refused");
        let (status, refused) = self.get(script, &format!("/Patient/{OUTSIDE}"))?;
        script.ensure(
            status == 404,
            "a patient outside the roster is not found, though hfs has it",
        )?;
        let (status, absent) = self.get(script, "/Patient/nobody")?;
        script.ensure(
            status == 404 && absent == refused,
            "and the answer is the one to a patient that nobody has",
        )?;
        let (status, body) = self.get(script, &format!("/Observation?patient={OUTSIDE}"))?;
        script.ensure(
            status == 200 && page(&body).0.is_empty(),
            "a search for its records finds nothing",
        )?;
        let (status, body) = self.get(script, "/Condition?patient=355")?;
        script.ensure(
            status == 403 && at(&body, "/issue/0/code") == "forbidden",
            "a type that the scopes do not name is forbidden",
        )?;
        let url = format!("{}/Patient/355", self.base);
        let words = [
            "curl",
            "--silent",
            "--cacert",
            "w/tls/certificate.pem",
            "--write-out",
            "\n%{http_code}",
            &url,
        ];
        let said = script.quietly(&words, "")?;
        script.ensure(said.out.ends_with("\n401"), "without a token the answer is 401")
    }

    /// What hfs is known to do otherwise than one would think.
    fn traps(&self, script: &mut Transcript) -> Result<(), Error> {
        script.part("What this server does otherwise than others");
        let (_, _, raw) = self.curl(script, "Patient/355", &[])?;
        let direct =
            script.quietly(&["curl", "--silent", &format!("{}/Patient/355", self.hfs.base)], "")?;
        let place =
            |text: &str| text.find("\"resourceType\"").is_some_and(|at| at > text.len() / 2);
        script.ensure(
            place(&direct.out) && !raw.is_empty(),
            "`resourceType` stands last in its records; they are judged and released all the same",
        )?;
        let (with, empty) =
            (["--header", "X-Tenant-ID: elsewhere"], format!("{}/Patient/355", self.hfs.base));
        let lost = script.quietly(
            &[
                &["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"][..],
                &with,
                &[&empty],
            ]
            .concat(),
            "",
        )?;
        let (status, ..) = self.curl(script, "Patient/355", &with)?;
        script.ensure(
            lost.out == "404" && status == 200,
            "`X-Tenant-ID` switches hfs to an empty tenant (404); through Ward it does not arrive (200)",
        )?;
        let (status, body, _) = self.curl(script, "Observation?patient=355&_count=1", &[])?;
        script.ensure(
            status == 200 && page(&body).0.len() == 1,
            "it counts nothing unless asked; a page without `total` is understood",
        )?;
        let (status, body, _) = self.curl(script, "Patient?_ID=907", &[])?;
        let (names, _) = page(&body);
        let told = body.to_string().contains("_ID");
        let inside = names
            .iter()
            .filter(|one| one.starts_with("Patient/"))
            .all(|one| ROSTER.iter().any(|id| one.ends_with(&format!("/{id}"))));
        script.ensure(
            status == 200 && told && inside,
            "`_ID` in the wrong case is ignored by hfs, which answers with every patient; Ward names it, and shows the roster only",
        )?;
        let strict = ["--header", "Prefer: handling=strict"];
        let (status, body, _) = self.curl(script, "Patient?favourite-colour=red", &strict)?;
        script.ensure(
            status == 400 && at(&body, "/resourceType") == "OperationOutcome",
            "under `Prefer: handling=strict` an unknown parameter is refused with 400",
        )?;
        let form = ["--data", "_count=3", "--request", "POST"];
        let (status, body, _) = self.curl(script, "Observation/_search?patient=907", &form)?;
        let (names, _) = page(&body);
        script.ensure(
            status == 200 && names.is_empty(),
            "hfs ignores the query of a POST search; Ward reads it, and the patient outside the roster stays unseen",
        )?;
        for (path, expected) in [
            ("Patient/355/", 200),
            ("Patient%2F355", 400),
            ("/Patient/355", 400),
            ("Patient/355?_format=xml", 406),
        ] {
            let (status, ..) = self.curl(script, path, &[])?;
            script.ensure(status == expected, &format!("`{path}` → {status}"))?;
        }
        Ok(())
    }

    /// For the patients of the roster Ward finds what hfs finds, in its order.
    fn compare(&self, script: &mut Transcript) -> Result<(), Error> {
        script.part("Ward finds what hfs finds");
        let mut rows = String::from(
            "| search through Ward | hfs was asked | records of both |\n|---|---|---|\n",
        );
        for (asked, direct) in COMPARED {
            let through = all(
                |url| self.curl(script, url, &[]).map(|(status, body, _)| (status, body)),
                asked,
            )?;
            let there = all(get, &format!("{}/{direct}", self.hfs.base))?;
            if through != there {
                return Err(format!("{asked}: Ward finds {through:?}, hfs {there:?}").into());
            }
            rows += &format!("| `{asked}` | `{direct}` | {} |\n", there.len());
        }
        script.table(&rows);
        script.ensure(true, "the same records in the same order, page by page")
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

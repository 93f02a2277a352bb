//! What the partner gets, and what it does not get.

use std::fs;

use serde_json::Value;

use crate::Error;
use crate::guard::{Guard, ORGANIZATION, OUTSIDE, ROSTER};
use crate::hfs::get;
use crate::transcript::{Said, Transcript};

pub fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// `Type/id` of the entries of a page, and its next link.
pub fn page(value: &Value) -> (Vec<String>, Option<String>) {
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

impl Guard<'_> {
    /// `ward client get`, shown in part; its JSON.
    pub fn get(&self, script: &mut Transcript, path: &str) -> Result<(u64, Value), Error> {
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
    pub fn curl(
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

    pub fn read(&self, script: &mut Transcript) -> Result<(), Error> {
        script.part("Read and search");
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
    pub fn traps(&self, script: &mut Transcript) -> Result<(), Error> {
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
}

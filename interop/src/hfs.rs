//! helios-hfs of crates.io: found or installed, with the data files that its package lacks, and loaded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::transcript::Transcript;
use crate::{Error, say};

const VERSION: &str = "0.2.7";

/// A server that runs until it is dropped.
pub struct Hfs {
    child: Child,
    pub base: String,
    /// All patients, newest first, as it gave them their ids.
    pub patients: Vec<String>,
}

pub fn free_port() -> Result<u16, Error> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The body of a GET by `curl`, and its status.
pub fn get(url: &str) -> Result<(u16, Value), Error> {
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "30", "--write-out", "\n%{http_code}", url])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let (body, status) = text.rsplit_once('\n').ok_or("curl said nothing")?;
    Ok((status.parse()?, serde_json::from_str(body).unwrap_or(Value::Null)))
}

impl Hfs {
    /// `HFS=/path/to/hfs`, or the one in the cache directory; installs it there if there is none.
    pub fn find() -> Result<PathBuf, Error> {
        if let Some(path) = std::env::var_os("HFS").filter(|path| !path.is_empty()) {
            return Ok(path.into());
        }
        let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
            || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
            PathBuf::from,
        );
        let root = cache.join(format!("ward-interop/helios-hfs-{VERSION}"));
        let binary = root.join("bin/hfs");
        if binary.exists() {
            return Ok(binary);
        }
        say(&format!(
            "installing helios-hfs {VERSION} into {}: 20 to 45 minutes, once",
            root.display()
        ));
        let installed = Command::new("cargo")
            .args(["install", "helios-hfs", "--version", VERSION, "--locked"])
            .args(["--no-default-features", "--features", "R4,sqlite", "--root"])
            .arg(&root)
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "32")
            .env("RUST_MIN_STACK", "16777216")
            // Beside what it installs, so that an interrupted build goes on where it was.
            .env("CARGO_TARGET_DIR", root.join("build"))
            .status()?;
        if !installed.success() {
            return Err("helios-hfs could not be installed".into());
        }
        fs::remove_dir_all(root.join("build"))?;
        Ok(binary)
    }

    /// Starts it with an empty database in a folder.
    pub fn start(binary: &Path, data: &Path, scratch: &Path) -> Result<Self, Error> {
        let dir = scratch.join("hfs");
        fs::create_dir_all(&dir)?;
        // Without these two it starts with ten search parameters and no includes, and only warns.
        for (from, to) in [
            ("search-parameters.json", "search-parameters-r4.json"),
            ("compartment.json", "compartment-definitions-r4.json"),
        ] {
            fs::write(dir.join(to), fs::read(data.join("fhir/r4").join(from))?)?;
        }
        let port = free_port()?;
        let base = format!("http://127.0.0.1:{port}");
        let child = Command::new(binary)
            .args(["--port", &port.to_string(), "--log-level", "warn"])
            .arg("--data-dir")
            .arg(&dir)
            .arg("--database-url")
            .arg(dir.join("fhir.db"))
            .env("HFS_UI_ENABLED", "false")
            .env("HFS_BASE_URL", &base)
            .current_dir(&dir)
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("stderr"))?)
            .spawn()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let mut hfs = Self { child, base, patients: vec![] };
        for _ in 0..600 {
            if hfs.child.try_wait()?.is_some() {
                return Err(fs::read_to_string(dir.join("stderr"))?.into());
            }
            if get(&format!("{}/metadata", hfs.base)).is_ok_and(|(status, _)| status == 200) {
                return Ok(hfs);
            }
            sleep(Duration::from_millis(200));
        }
        Err("hfs did not come up within two minutes".into())
    }

    /// Loads all patients of the folder and learns their ids.
    pub fn load(&mut self, data: &Path, script: &mut Transcript) -> Result<(), Error> {
        script.part(&format!("helios-hfs {VERSION} and its patients"));
        let (_, statement) = get(&format!("{}/metadata", self.base))?;
        let version = statement.pointer("/software/version").and_then(Value::as_str);
        script.ensure(
            version == Some(VERSION),
            &format!("it is version {VERSION}, built with SQLite"),
        )?;
        let mut files = 0;
        for folder in ["us-core-r4", "synthea-r4"] {
            let mut paths: Vec<_> = fs::read_dir(data.join(folder))?
                .map(|entry| Ok(entry?.path()))
                .collect::<Result<_, Error>>()?;
            paths.sort();
            for path in paths {
                let body = format!("@{}", fs::canonicalize(&path)?.display());
                let output = Command::new("curl")
                    .args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"])
                    .args([
                        "--header",
                        "content-type: application/fhir+json",
                        "--data-binary",
                        &body,
                        &self.base,
                    ])
                    .output()?;
                let status = String::from_utf8_lossy(&output.stdout).into_owned();
                if status != "200" {
                    return Err(format!("{} was answered with {status}", path.display()).into());
                }
                files += 1;
            }
        }
        script
            .ensure(true, &format!("{files} transaction Bundles are loaded, each answered 200"))?;
        let (status, page) = get(&format!("{}/Patient?_elements=id&_count=200", self.base))?;
        let entries = page.get("entry").and_then(Value::as_array).ok_or("no patients")?;
        let id = |entry: &Value| {
            entry.pointer("/resource/id").and_then(Value::as_str).map(str::to_owned)
        };
        self.patients = entries.iter().filter_map(id).collect();
        let known = ["355", "85", "907", "908"];
        let there = known.iter().all(|id| self.patients.iter().any(|one| one == id));
        script.ensure(
            status == 200 && self.patients.len() == files && there,
            &format!(
                "it has {files} patients; those of US Core kept their ids {}",
                known.join(", ")
            ),
        )
    }
}

impl Drop for Hfs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

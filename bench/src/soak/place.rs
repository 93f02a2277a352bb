//! What is soaked: Ward as an operator runs it, `ward serve --config`, with the release binary beside this one.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ward_community::pem;

use crate::load::{Target, get};
use crate::surroundings::{COMMUNITY, ORGANIZATION, Surroundings, client_uri};
use crate::{Error, moment};

/// A file that only its owner can read.
fn keep(path: &Path, text: impl AsRef<[u8]>) -> Result<(), Error> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_ref())?)
}

fn chain(ders: &[Vec<u8>]) -> String {
    ders.iter().map(|der| pem("CERTIFICATE", der)).collect()
}

/// A directory with a configuration and all that it names.
pub struct Place {
    dir: PathBuf,
    binary: PathBuf,
    admin: u16,
}

/// `ward serve`, until it is stopped or dropped.
pub struct Serving {
    child: Child,
    said: PathBuf,
}

impl Place {
    /// Writes everything. Detection's ceiling is out of reach, since a load is an incident; all other bounds are
    /// the shipped ones.
    pub fn make(
        dir: &Path,
        port: u16,
        admin: u16,
        upstream: &str,
        around: &Surroundings,
    ) -> Result<Self, Error> {
        fs::create_dir_all(dir)?;
        let lists = around.lists_url.trim_start_matches("http://");
        let text = format!(
            r#"mode = "enforce"
data = "data"
[listen]
address = "127.0.0.1:{port}"
origin = "https://localhost:{port}"
certificate = "tls.pem"
key = "tls.key"
[upstream]
base = "{upstream}"
allow_private = true
[[community]]
uri = "{COMMUNITY}"
anchors = "anchors.pem"
certificate = "certificate.pem"
key = "certificate.key"
allow_private = ["{lists}"]
[scopes]
supported = ["system/Patient.rs", "system/Observation.rs"]
[detection]
patients = 4294967295
[admin]
address = "127.0.0.1:{admin}"
[keys]
passphrase_file = "passphrase"
"#
        );
        keep(&dir.join("ward.toml"), text)?;
        keep(&dir.join("passphrase"), "a passphrase for one soak\n")?;
        keep(&dir.join("anchors.pem"), chain(&around.anchors))?;
        for (name, (certificates, key)) in [("tls", &around.tls), ("certificate", &around.identity)]
        {
            keep(&dir.join(format!("{name}.pem")), chain(certificates))?;
            keep(&dir.join(format!("{name}.key")), pem("PRIVATE KEY", key))?;
        }
        let binary = std::env::current_exe()?.with_file_name("ward");
        if !binary.exists() {
            return Err(
                format!("{} is missing: build ward in release mode", binary.display()).into()
            );
        }
        Ok(Self { dir: dir.to_path_buf(), binary, admin })
    }

    /// Ward's data.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(&self.dir);
        command
    }

    /// Runs a command of Ward's; what it said. Status 0 is demanded.
    pub fn ward(&self, arguments: &[&str], input: &str) -> Result<String, Error> {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().ok_or("no input")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!("{arguments:?}: {said}").into())
        }
    }

    /// Starts `ward serve` and waits for its first answer.
    pub async fn serve(&self, target: &Target) -> Result<Serving, Error> {
        let said = self.dir.join("stderr");
        let child = self
            .command(&["serve", "--config", "ward.toml"])
            .stdout(Stdio::null())
            .stderr(fs::File::create(&said)?)
            .spawn()?;
        let mut serving = Serving { child, said };
        let (begun, request) = (moment(), get(target.port, "/default/fhir/metadata", None));
        while !target.once(&request).await.is_ok_and(|answer| answer.status == 200) {
            if serving.child.try_wait()?.is_some() || begun.elapsed() > Duration::from_mins(1) {
                return Err(format!("ward serve did not come up: {}", serving.said()).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(serving)
    }

    /// Makes the first operator and imports a roster for these clients.
    pub fn roster(
        &self,
        serving: &Serving,
        clients: &[String],
        patients: &[String],
    ) -> Result<(), Error> {
        let said = serving.said();
        let (_, code) = said.rsplit_once("works once: ").ok_or("no code for the first operator")?;
        let url = format!("http://127.0.0.1:{}", self.admin);
        let admin = ["admin", "--url", &url, "--key-file", "operator.key"];
        let code = code.lines().next().unwrap_or_default();
        self.ward(&[&admin[..], &["bootstrap", "--name", "soak"]].concat(), code)?;
        let mut rows = String::new();
        for patient in patients {
            writeln!(rows, "{patient} TREAT")?;
        }
        keep(&self.dir.join("roster"), rows)?;
        let uris: Vec<String> = clients.iter().map(|name| client_uri(name)).collect();
        let members: Vec<&str> =
            uris.iter().flat_map(|uri| ["--member", COMMUNITY, uri.as_str()]).collect();
        let import = ["roster", "import", "--organization", ORGANIZATION];
        self.ward(&[&admin[..], &import, &members, &["roster"]].concat(), "")?;
        Ok(())
    }
}

impl Serving {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said on standard error.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// SIGTERM, and waits; true if it ended with status 0.
    pub fn stop(mut self) -> Result<bool, Error> {
        Command::new("kill").arg(self.pid().to_string()).status()?;
        Ok(self.child.wait()?.success())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

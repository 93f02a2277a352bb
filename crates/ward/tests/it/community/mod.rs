//! `ward community` as its operator and its members meet it: the built program, and what it serves over sockets.

mod authorities;
mod certifications;
mod members;
mod ocsp;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use ward_core::{Clock as _, SystemClock};
use ward_trust::ocsp::{self as ocsp_wire, CertificateStatus, OcspResponse};
use ward_trust::{Certificate, OcspError};

use crate::harness::TempDir;

const URI: &str = "https://community.example/trust";
const PARTNER: &str = "https://partner.example/app";

/// A folder with a community, and members' files beside it.
struct Desk {
    dir: TempDir,
}

impl Desk {
    /// A community whose root's key is in `safe/` already.
    fn new(name: &str) -> Self {
        let desk = Self { dir: TempDir::new(&format!("community-{name}")) };
        desk.ok(&[
            "init",
            "c",
            "--uri",
            URI,
            "--public",
            "http://127.0.0.1:8083",
            "--root-vault",
            "safe",
            "--root-key-file",
            "safe.key",
        ]);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.0.join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ward"))
            .arg("community")
            .args(args)
            .current_dir(&self.dir.0)
            .output()
            .unwrap()
    }

    /// What it printed.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    /// Why it refused.
    #[track_caller]
    fn no(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    fn request(&self, uri: &str, out: &str) -> String {
        self.ok(&["request", "--uri", uri, "--out", out]);
        format!("{out}/request.pem")
    }

    /// A client with a key and certificate in a directory of its own.
    fn client(&self, uri: &str, out: &str) -> Certificate {
        let request = self.request(uri, out);
        let to = format!("{out}/certificate.pem");
        self.ok(&[
            "issue",
            "c",
            "--request",
            &request,
            "--profile",
            "client",
            "--uri",
            uri,
            "--out",
            &to,
        ]);
        self.certificate(&to)
    }

    fn certificate(&self, name: &str) -> Certificate {
        let der = CertificateDer::from_pem_file(self.path(name)).unwrap();
        Certificate::from_der(&der).unwrap()
    }

    fn serve(&self, name: &str) -> Served {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ward"))
            .args(["community", "serve", name, "--listen", "127.0.0.1:0"])
            .current_dir(&self.dir.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let rest = line.split_once("http://").unwrap_or_else(|| panic!("{line:?}")).1;
        let address = rest.split(';').next().unwrap().to_owned();
        Served { child, address }
    }
}

/// A community that serves.
struct Served {
    child: Child,
    address: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer, as it came.
struct Heard {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Heard {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Served {
    fn send(&self, head: &str, body: &[u8]) -> Heard {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let head = format!("{head}\r\nHost: {}\r\nConnection: close\r\n", self.address);
        stream.write_all(head.as_bytes()).unwrap();
        // Refused beforehand, a long body need not be read by the other side.
        let _ = stream.write_all(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        let _ = stream.write_all(body);
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("no answer");
        let head = String::from_utf8(all[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Heard { status, head, body: all[end + 4..].to_vec() }
    }

    fn get(&self, path: &str) -> Heard {
        self.send(&format!("GET {path} HTTP/1.1"), b"")
    }

    fn post(&self, body: &[u8]) -> Heard {
        self.send("POST /ocsp HTTP/1.1\r\nContent-Type: application/ocsp-request", body)
    }

    /// What the responder says of a certificate, to a member.
    fn ask(
        &self,
        leaf: &Certificate,
        issuer: &Certificate,
    ) -> Result<CertificateStatus, OcspError> {
        let heard = self.post(&ocsp_wire::request(leaf, issuer, None).unwrap());
        assert_eq!(heard.status, 200, "{}", heard.head);
        assert_eq!(heard.header("content-type"), Some("application/ocsp-response"));
        let now = SystemClock.now();
        let answer = OcspResponse::from_der(&heard.body)?.about(leaf, issuer, now)?;
        assert!(answer.this_update <= now.plus(Duration::from_secs(1)));
        assert!(answer.next_update > now);
        Ok(answer.status)
    }
}

//! Certifications from the command line, and their status as servers ask for it (CE §8; CRT-05, CRT-06, CRT-12 to CRT-15).

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use ward_core::{Limits, SystemClock};
use ward_net::client::{Egress, HttpClient};
use ward_net::tls::client_config;
use ward_net::{CertificationStatus, StatusError};
use ward_trust::certification::read_status;
use ward_trust::{Alg, Jws, SignedBundle, Verified};

use super::{Desk, PARTNER, Served, URI};

const PROGRAMME: &str = "https://community.example/programmes/vetted";

/// `ward community certify c --subject …` and what is usual beside.
fn certify<'a>(subject: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let usual = ["--subject", subject, "--uri", PROGRAMME, "--name", "Vetted", "--out", out];
    [&["certify", "c"][..], &usual, more].concat()
}

fn read(desk: &Desk, name: &str) -> Verified {
    let text = fs::read_to_string(desk.path(name)).unwrap();
    Jws::parse(text.trim(), &Limits::default()).unwrap().verify(&Alg::ALL).unwrap()
}

/// The community while it serves, with a listener for the status of certifications.
struct Telling {
    child: Child,
    status: String,
    lists: Served,
}

impl Drop for Telling {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn telling(desk: &Desk, options: &[&str]) -> Telling {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ward"))
        .args(["community", "serve", "c", "--listen", "127.0.0.1:0"])
        .args(options)
        .current_dir(&desk.dir.0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    let status = next().split_once(" on ").unwrap().1.to_owned();
    let lists = next();
    let address = lists.split_once("http://").unwrap().1.split(';').next().unwrap().to_owned();
    // The one process serves both.
    let lists = Served { child: Command::new("true").spawn().unwrap(), address };
    Telling { child, status, lists }
}

/// A TLS certificate for this machine; its DER.
fn tls(desk: &Desk) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    fs::write(desk.path("tls.pem"), certificate.pem()).unwrap();
    fs::write(desk.path("tls.key"), key.serialize_pem()).unwrap();
    fs::set_permissions(desk.path("tls.key"), fs::Permissions::from_mode(0o600)).unwrap();
    certificate.der().to_vec()
}

/// As a Ward asks that was shown a certification; each time anew.
fn asking(root: &[u8]) -> impl AsyncFn(&str) -> Result<bool, StatusError> {
    // A busy machine may take its time.
    let patient = Duration::from_mins(1);
    let limits = Limits { connect_timeout: patient, crl_timeout: patient, ..Limits::default() };
    let (limits, clock) = (Arc::new(limits), Arc::new(SystemClock));
    let tls = client_config([root]).unwrap();
    async move |url| {
        let client = HttpClient::new(Egress::anywhere(), tls.clone(), limits.clone());
        CertificationStatus::new(client, clock.clone(), limits.clone()).is_valid(url).await
    }
}

/// CRT-12: told over TLS, as fresh as the register, to whoever asks; CRT-05, CRT-13, CRT-15: what stands in it.
/// COMM-17.
#[tokio::test(flavor = "multi_thread")]
async fn a_certification_is_issued_told_and_revoked() {
    let desk = Desk::new("certify");
    desk.client(PARTNER, "partner");
    let root = tls(&desk);
    let options = [
        "--status-listen",
        "127.0.0.1:0",
        "--status-certificate",
        "tls.pem",
        "--status-key",
        "tls.key",
    ];
    let telling = telling(&desk, &options);
    assert!(telling.status.starts_with("https://"), "{}", telling.status);
    let scope = "system/Patient.rs system/Condition.rs";
    let more = ["--scope", scope, "--status-endpoint", &telling.status, "--operator", "Alice"];
    desk.ok(&["bundle", "publish", "c"]);
    let said = desk.ok(&certify(PARTNER, "c.jwt", &more));
    // Members learn whose word counts, once.
    assert!(said.contains("bundle 2"), "{said}");
    let bundle = telling.lists.get("/bundle.jwt").body;
    let bundle = SignedBundle::parse(&bundle, &Limits::default()).unwrap();
    assert_eq!(bundle.bundle().certifiers, [format!("{URI}/certifications")]);
    let again = desk.ok(&certify("https://p.example", "other.jwt", &[]));
    assert!(!again.contains("bundle") && again.contains("note: no member"), "{again}");
    assert!(
        said.contains("certified https://partner.example/app") && !said.contains("note:"),
        "{said}"
    );
    let jws = read(&desk, "c.jwt");
    let claims = jws.claims();
    assert_eq!(claims["iss"], format!("{URI}/certifications"));
    assert_eq!(claims["sub"], PARTNER);
    assert_eq!(claims["certification_issuer"], URI);
    assert_eq!(claims["scope"], scope);
    let id = claims["jti"].as_str().unwrap().to_owned();
    let listed = desk.ok(&["certification", "list", "c"]);
    assert!(
        listed.contains(&id) && listed.contains(" good ") && listed.contains("2 certified"),
        "{listed}"
    );
    let listed = desk.ok(&["certification", "list", "c", "--json"]);
    let listed: Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&listed["subject"], &listed["uris"][0]),
        (&claims["sub"], &claims["certification_uris"][0])
    );

    let ask = asking(&root);
    let url = format!("{}?jti={id}&exp={}", telling.status, claims["exp"]);
    assert_eq!(ask(&url).await, Ok(true));
    assert_eq!(ask(&format!("{}?jti={id}&exp=1", telling.status)).await, Ok(false));
    assert_eq!(
        ask(&format!("{}?jti=other&exp={}", telling.status, claims["exp"])).await,
        Ok(false)
    );
    assert_eq!(ask(&format!("{}?jti={id}", telling.status)).await, Err(StatusError::Status(400)));
    assert_eq!(ask(&url.replace("/status", "/other")).await, Err(StatusError::Status(404)));
    // Not in the clear: neither on that port nor beside the lists.
    let port = telling.status.split('/').nth(2).unwrap().to_owned();
    let question = format!("/certifications/status?jti={id}&exp={}", claims["exp"]);
    let mut clear = TcpStream::connect(port).unwrap();
    clear.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    // The listener may close before it has read everything.
    let _ =
        write!(clear, "GET {question} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut heard = Vec::new();
    let _ = clear.read_to_end(&mut heard);
    assert!(!String::from_utf8_lossy(&heard).contains("valid"), "{heard:?}");
    assert_eq!(telling.lists.get(&question).status, 404);

    let reason = ["--reason", "privilege-withdrawn"];
    let said = desk.ok(&[&["certification", "revoke", "c", "--id", &id][..], &reason].concat());
    assert!(said.contains("its status says so from now on"), "{said}");
    assert_eq!(ask(&url).await, Ok(false), "at once");
    let list = ward_trust::Crl::from_der(&telling.lists.get("/crl/issuing.crl").body).unwrap();
    assert!(list.is_revoked(jws.leaf().serial()), "and to who follows the lists");
    let issuer = desk.certificate("c/issuing.pem");
    let told = telling.lists.ask(jws.leaf(), &issuer);
    assert_eq!(told, Ok(ward_trust::ocsp::CertificateStatus::Revoked));
    let again = desk.no(&[&["certification", "revoke", "c", "--id", &id][..], &reason].concat());
    assert!(again.contains("revoked already"), "{again}");
    assert!(desk.ok(&["certification", "list", "c"]).contains("revoked privilege-withdrawn"));
    let log = Command::new(env!("CARGO_BIN_EXE_ward"))
        .args(["log", "show", "--data", "c"])
        .current_dir(&desk.dir.0)
        .output()
        .unwrap();
    let log = String::from_utf8(log.stdout).unwrap();
    for (act, who) in [("certification-issued", "Alice"), ("certification-revoked", "")] {
        let line = log.lines().find(|line| line.contains(act)).unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains(&format!("  by {who}")), "{line}");
    }
}

/// A reverse proxy on the same machine speaks TLS with servers; without one nothing is told in the clear.
#[test]
fn a_reverse_proxy_is_told_on_this_machine_only() {
    let desk = Desk::new("proxy");
    desk.ok(&certify(PARTNER, "c.jwt", &[]));
    let claims = read(&desk, "c.jwt").claims().clone();
    let telling = telling(&desk, &["--status-behind-proxy", "127.0.0.1:0"]);
    let address = telling.status.split('/').nth(2).unwrap().to_owned();
    let proxy = Served { child: Command::new("true").spawn().unwrap(), address };
    let jti = claims["jti"].as_str().unwrap();
    let heard = proxy.get(&format!("/certifications/status?jti={jti}&exp={}", claims["exp"]));
    assert_eq!((heard.status, read_status(&heard.body)), (200, Some(true)));
    assert_eq!(heard.header("content-type"), Some("application/json"));
    assert_eq!(heard.header("cache-control"), Some("no-store"));
    let post = "POST /certifications/status?jti=a&exp=1 HTTP/1.1";
    assert_eq!(proxy.send(post, b"").status, 405);
    drop(telling);
    let serve = ["serve", "c", "--listen", "127.0.0.1:0"];
    let said = desk.no(&[&serve[..], &["--status-behind-proxy", "0.0.0.0:0"]].concat());
    assert!(said.contains("is not on this machine"), "{said}");
    let said = desk.no(&[&serve[..], &["--status-listen", "127.0.0.1:0"]].concat());
    assert!(said.contains("--status-certificate"), "{said}");
}

/// Each refusal says in plain words what is wrong, and nothing is certified.
#[test]
fn what_no_server_would_take_is_not_certified() {
    let desk = Desk::new("certify-bad");
    let own = desk.client(PARTNER, "partner");
    let files = ["--certificate", "partner/certificate.pem", "--key", "partner/key.pem"];
    for (subject, more, words) in [
        ("https://p.example", &["--days", "1097"][..], "1097"),
        ("https://p.example", &["--certifier", PARTNER], "belongs to another holder"),
        ("https://p.example", &["--certifier", URI], "is the community itself"),
        ("https://p.example", &["--certifier", "urn:oid:1.2"], "https URL"),
        ("https://p.example", &["--status-endpoint", "http://a.example"], "no https URL"),
        ("https://p.example", &["--scope", "a\"b"], "scope"),
        ("https://p.example", &files, "--profile certification-issuer"),
        ("no uri", &[], "--subject"),
    ] {
        let said = desk.no(&certify(subject, "x.jwt", more));
        assert!(said.contains(words), "{more:?}: {said}");
        assert!(!desk.path("x.jwt").exists());
    }
    fs::set_permissions(desk.path("partner/key.pem"), fs::Permissions::from_mode(0o640)).unwrap();
    let said = desk.no(&certify("https://p.example", "x.jwt", &files));
    assert!(said.contains("chmod 600"), "{said}");
    assert!(desk.ok(&["certification", "list", "c"]).starts_with("0 certified"));
    let said = desk.no(&["certification", "revoke", "c", "--id", "00", "--reason", "superseded"]);
    assert!(said.contains("no such certification"), "{said}");

    // A certifier with a certificate of its own.
    let request = desk.request("https://certifier.example/", "certifier");
    let to = ["--profile", "certification-issuer", "--uri", "https://certifier.example/"];
    let out = ["--request", &request, "--out", "certifier/certificate.pem"];
    desk.ok(&[&["issue", "c"][..], &to, &out].concat());
    let files = [
        "--certificate",
        "certifier/certificate.pem",
        "--key",
        "certifier/key.pem",
        "--days",
        "30",
    ];
    let said = desk.ok(&certify("https://p.example", "own.jwt", &files));
    assert!(
        said.contains("certifier https://certifier.example/") && said.contains("note: no member"),
        "{said}"
    );
    assert_ne!(read(&desk, "own.jwt").leaf(), &own);
}

//! `ward community` as its operator and its members meet it: the built program, and what it serves over sockets.
//!
//! OCSP answers are judged by `ward-trust`, as members do, and by `openssl` where that is installed.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use ward_core::{Clock as _, SystemClock};
use ward_trust::ocsp::{self, CertificateStatus, OcspResponse};
use ward_trust::{Certificate, Crl, KeyKind, OcspError};

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
        let heard = self.post(&ocsp::request(leaf, issuer, None).unwrap());
        assert_eq!(heard.status, 200, "{}", heard.head);
        assert_eq!(heard.header("content-type"), Some("application/ocsp-response"));
        let now = SystemClock.now();
        let answer = OcspResponse::from_der(&heard.body)?.about(leaf, issuer, now)?;
        assert!(answer.this_update <= now.plus(Duration::from_secs(1)));
        assert!(answer.next_update > now);
        Ok(answer.status)
    }
}

/// PKI-05, X22: answers that members believe, and as fresh as the register.
#[test]
fn ocsp_tells_good_revoked_and_unknown_and_members_believe_it() {
    let desk = Desk::new("ocsp");
    let good = desk.client(PARTNER, "partner");
    let bad = desk.client("https://other.example/app", "other");
    let issuer = desk.certificate("c/issuing.pem");
    // The same issuing authority, in a copy of the directory: what it issues, this register does not know.
    let copied = Command::new("cp").args(["-a", "c", "copy"]).current_dir(&desk.dir.0).status();
    assert!(copied.unwrap().success());
    let request = desk.request("https://stranger.example/app", "stranger");
    desk.ok(&[
        "issue",
        "copy",
        "--request",
        &request,
        "--profile",
        "client",
        "--uri",
        "https://stranger.example/app",
        "--out",
        "stranger/certificate.pem",
    ]);
    let stranger = desk.certificate("stranger/certificate.pem");

    let served = desk.serve("c");
    assert_eq!(served.ask(&good, &issuer), Ok(CertificateStatus::Good));
    assert_eq!(served.ask(&bad, &issuer), Ok(CertificateStatus::Good));
    assert_eq!(served.ask(&stranger, &issuer), Ok(CertificateStatus::Unknown));
    let number = |served: &Served| {
        let heard = served.get("/crl/issuing.crl");
        assert_eq!(heard.header("content-type"), Some("application/pkix-crl"));
        let list = Crl::from_der(&heard.body).unwrap();
        (list.is_revoked(good.serial()), list.is_revoked(bad.serial()))
    };
    assert_eq!(number(&served), (false, false));

    // While it serves, and at once.
    desk.ok(&[
        "revoke",
        "c",
        "--certificate",
        "other/certificate.pem",
        "--reason",
        "key-compromise",
    ]);
    assert_eq!(served.ask(&bad, &issuer), Ok(CertificateStatus::Revoked));
    assert_eq!(served.ask(&good, &issuer), Ok(CertificateStatus::Good));
    assert_eq!(number(&served), (false, true));

    // Another issuer's certificates are not its business; an answer does not do for another certificate.
    let root = desk.certificate("c/root.pem");
    assert_eq!(served.ask(&good, &root), Err(OcspError::NoAnswer(6)));
    let heard = served.post(&ocsp::request(&good, &issuer, None).unwrap());
    let answer = OcspResponse::from_der(&heard.body).unwrap();
    assert_eq!(answer.about(&bad, &issuer, SystemClock.now()), Err(OcspError::Other));
    // A nonce comes back.
    let heard = served.post(&ocsp::request(&good, &issuer, Some(&[7; 32])).unwrap());
    let answer = OcspResponse::from_der(&heard.body).unwrap();
    assert_eq!(answer.check_nonce(&[7; 32]), Ok(()));
    assert_eq!(answer.check_nonce(&[8; 32]), Err(OcspError::Nonce));
    openssl_agrees(&desk, &served);
}

/// What a second implementation makes of the same answers, over HTTP/1.0 and with either hash.
fn openssl_agrees(desk: &Desk, served: &Served) {
    if Command::new("openssl").arg("version").output().is_err() {
        println!(
            "SKIPPED: openssl is not installed, so no second implementation judged the answers"
        );
        return;
    }
    let url = format!("http://{}/ocsp", served.address);
    let mut asked = 0;
    for hash in ["-sha1", "-sha256"] {
        for (who, says) in [("partner", "good"), ("other", "revoked"), ("stranger", "unknown")] {
            let certificate = format!("{who}/certificate.pem");
            let output = Command::new("openssl")
                .args(["ocsp", hash, "-issuer", "c/issuing.pem", "-cert", &certificate])
                .args(["-url", &url, "-CAfile", "c/root.pem", "-verify_other", "c/issuing.pem"])
                .current_dir(&desk.dir.0)
                .output()
                .unwrap();
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(said.contains("Response verify OK"), "{who}: {said}");
            assert!(said.contains(&format!("{certificate}: {says}")), "{who}: {said}");
            assert!(who != "other" || said.contains("keyCompromise"), "{said}");
            asked += 1;
        }
    }
    println!("openssl agreed {asked} times");
}

/// RFC 5019 §5, §6: what caches are told; RFC 6960 A.1: GET.
#[test]
fn ocsp_by_get_says_for_how_long_it_holds() {
    let desk = Desk::new("cache");
    let leaf = desk.client(PARTNER, "partner");
    let issuer = desk.certificate("c/issuing.pem");
    let served = desk.serve("c");
    let asked = ocsp::request(&leaf, &issuer, None).unwrap();
    let path = |der: &[u8]| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
    };
    let first = served.get(&format!("/ocsp/{}", path(&asked)));
    assert_eq!(first.status, 200, "{}", first.head);
    let answer = OcspResponse::from_der(&first.body).unwrap();
    assert_eq!(
        answer.about(&leaf, &issuer, SystemClock.now()).unwrap().status,
        CertificateStatus::Good
    );
    let control = first.header("cache-control").unwrap();
    let age: u64 = control.split(['=', ',']).nth(1).unwrap().parse().unwrap();
    assert!((1..=300).contains(&age), "{control}");
    for word in ["public", "no-transform", "must-revalidate"] {
        assert!(control.contains(word), "{control}");
    }
    assert!(first.header("last-modified").unwrap().ends_with(" GMT"));
    assert!(first.header("expires").unwrap().ends_with(" GMT"));
    // The same answer to who asks again, and none to who has it.
    let again = served.get(&format!("/ocsp/{}", path(&asked)));
    assert_eq!(again.body, first.body);
    let tag = first.header("etag").unwrap();
    let head = format!("GET /ocsp/{} HTTP/1.1\r\nIf-None-Match: {tag}", path(&asked));
    let unchanged = served.send(&head, b"");
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    // What was asked with a nonce, or by POST, is for nobody else.
    let own = ocsp::request(&leaf, &issuer, Some(&[1; 16])).unwrap();
    for heard in [served.get(&format!("/ocsp/{}", path(&own))), served.post(&asked)] {
        assert_eq!(heard.status, 200);
        assert_eq!(heard.header("cache-control"), Some("no-store"));
    }
    // A revocation is told at once, whatever was handed out before.
    desk.ok(&["revoke", "c", "--certificate", "partner/certificate.pem", "--reason", "superseded"]);
    let heard = served.get(&format!("/ocsp/{}", path(&asked)));
    let answer = OcspResponse::from_der(&heard.body).unwrap();
    let status = answer.about(&leaf, &issuer, SystemClock.now()).unwrap().status;
    assert_eq!(status, CertificateStatus::Revoked);
    // Lists and authorities have validators too.
    let list = served.get("/crl/issuing.crl");
    let head =
        format!("GET /crl/issuing.crl HTTP/1.1\r\nIf-None-Match: {}", list.header("etag").unwrap());
    assert_eq!(served.send(&head, b"").status, 304);
    assert_eq!(served.get("/ca/issuing.cer").body, issuer.der());
}

/// Rule 12: nothing that is sent makes it answer otherwise than plainly.
#[test]
fn what_is_no_request_gets_a_plain_refusal() {
    let desk = Desk::new("bad");
    let leaf = desk.client(PARTNER, "partner");
    let issuer = desk.certificate("c/issuing.pem");
    let served = desk.serve("c");
    let asked = ocsp::request(&leaf, &issuer, None).unwrap();
    let malformed = |heard: &Heard| {
        assert_eq!(heard.status, 200, "{}", heard.head);
        assert_eq!(heard.header("cache-control"), Some("no-store"));
        assert_eq!(OcspResponse::from_der(&heard.body).unwrap_err(), OcspError::NoAnswer(1));
    };
    let mut longer = asked.clone();
    longer.push(0);
    for body in [&b""[..], b"not der", &asked[..asked.len() - 1], &longer, &[0x30, 0x00]] {
        malformed(&served.post(body));
    }
    for path in ["/ocsp/%%%", "/ocsp/AAAA", "/ocsp/MA==", "/ocsp/x%2", "/ocsp/%00"] {
        malformed(&served.get(path));
    }
    let huge = served.post(&vec![0x30; 1024 * 1024]);
    assert_eq!(huge.status, 413);
    assert_eq!(served.post(&vec![0x30; 4097]).status, 413);
    malformed(&served.post(&vec![0x30; 4096]));
    let long = served.get(&format!("/ocsp/{}", "A".repeat(100_000)));
    assert!(matches!(long.status, 414 | 431), "{}", long.status);
    let plain = served.send("POST /ocsp HTTP/1.1\r\nContent-Type: text/plain", &asked);
    assert_eq!(plain.status, 415);
    for (head, status) in [
        ("GET /ocsp HTTP/1.1", 405),
        ("PUT /ocsp/AAAA HTTP/1.1", 405),
        ("POST /crl/issuing.crl HTTP/1.1", 405),
        ("GET /register.json HTTP/1.1", 404),
        ("GET /crl/../register.json HTTP/1.1", 404),
        ("GET /ca/../../vault/vault.json HTTP/1.1", 404),
        ("GET /ocspx HTTP/1.1", 404),
    ] {
        assert_eq!(served.send(head, b"").status, status, "{head}");
    }
    assert_eq!(served.ask(&leaf, &issuer), Ok(CertificateStatus::Good));
}

/// Each refusal says in plain words what is wrong, and nothing is issued.
#[test]
fn what_no_member_would_accept_is_refused_in_plain_words() {
    let desk = Desk::new("lint");
    let request = desk.request(PARTNER, "partner");
    let issue = |profile: &str, uri: &str, request: &str| {
        desk.no(&[
            "issue",
            "c",
            "--request",
            request,
            "--profile",
            profile,
            "--uri",
            uri,
            "--out",
            "x.pem",
        ])
    };
    for (profile, uri, words) in [
        ("server", PARTNER, "the key must be RSA-2048 or stronger"),
        ("idp", PARTNER, "the key must be RSA-2048 or stronger"),
        ("client", "https://partner.example/*", "no wildcard, query or fragment"),
        ("client", "partner.example", "must be absolute"),
        (
            "client",
            "https://else.example/app",
            "the request asks for https://partner.example/app, which you did not name",
        ),
        ("server", "urn:oid:1.2.3", "must be an https URL"),
        ("certification-issuer", "http://certifier.example", "must be an https URL"),
    ] {
        let said = issue(profile, uri, &request);
        assert!(said.contains(words), "{profile} {uri}: {said}");
    }
    assert!(issue("client", PARTNER, "partner/key.pem").contains("no request in PEM"));
    // Not signed by its own key: an octet of the signature is another.
    let text = fs::read_to_string(desk.path(&request)).unwrap();
    let at = text.rfind("\n-----END").unwrap() - 6;
    let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
    let mut altered = text;
    altered.replace_range(at..=at, other);
    fs::write(desk.path("altered.pem"), altered).unwrap();
    let said = issue("client", PARTNER, "altered.pem");
    assert!(
        said.contains("not signed by the key") || said.contains("not a certificate request"),
        "{said}"
    );

    assert!(desk.ok(&["list", "c"]).starts_with("0 issued"));
    desk.ok(&[
        "issue",
        "c",
        "--request",
        &request,
        "--profile",
        "client",
        "--uri",
        PARTNER,
        "--out",
        "partner/certificate.pem",
    ]);
    // A URI is who a member is, and a key is one holder's.
    let thief = desk.request("https://partner.example/app/", "thief");
    let said = desk.no(&[
        "issue",
        "c",
        "--request",
        &thief,
        "--profile",
        "client",
        "--uri",
        "https://partner.example/app/",
        "--name",
        "Thief",
        "--out",
        "x.pem",
    ]);
    assert!(said.contains("belongs to another holder"), "{said}");
    assert!(issue("client", PARTNER, &request).contains("renew or re-key"));
    let said = desk.no(&[
        "issue",
        "c",
        "--request",
        &request,
        "--profile",
        "client",
        "--uri",
        PARTNER,
        "--uri",
        "https://second.example",
        "--name",
        "Second",
        "--out",
        "x.pem",
    ]);
    assert!(said.contains("belongs to another holder"), "{said}");
    assert!(!desk.path("x.pem").exists());

    for (args, words) in [
        (vec!["init", "c", "--uri", URI, "--public", "http://a.example"], "already"),
        (vec!["init", "d", "--uri", URI, "--public", "https://a.example"], "not plain http"),
        (vec!["init", "d", "--uri", "x y", "--public", "http://a.example"], "--uri"),
        (
            vec!["init", "d", "--uri", URI, "--public", "http://a.example", "--admit", "https://a"],
            "must end in",
        ),
        (vec!["lists", "publish", "nowhere"], "there is no community here"),
        (vec!["list", "nowhere"], "holds no community"),
        (vec!["revoke", "c", "--serial", "00", "--reason", "superseded"], "no such certificate"),
        (vec!["revoke", "c", "--serial", "00", "--reason", "boredom"], "key-compromise"),
    ] {
        let said = desk.no(&args);
        assert!(said.contains(words), "{args:?}: {said}");
    }
}

/// The URIs that a community admits, and those it does not (amendment §8.5).
#[test]
fn a_community_admits_uris_by_their_beginning() {
    let desk = Desk { dir: TempDir::new("community-admit") };
    desk.ok(&[
        "init",
        "c",
        "--uri",
        URI,
        "--public",
        "http://127.0.0.1:8083",
        "--admit",
        "https://partner.example/",
    ]);
    desk.client(PARTNER, "partner");
    let request = desk.request("https://partner.example.evil/app", "evil");
    let said = desk.no(&[
        "issue",
        "c",
        "--request",
        &request,
        "--profile",
        "client",
        "--uri",
        "https://partner.example.evil/app",
        "--out",
        "evil/certificate.pem",
    ]);
    assert!(said.contains("begins with none of the prefixes"), "{said}");
}

/// With the root's key away members are issued, renewed and revoked; an authority is not made.
#[test]
fn the_roots_key_can_be_away() {
    let desk = Desk::new("root");
    assert!(!desk.path("c/root-vault").exists(), "the root's key is elsewhere from the start");
    let before = desk.certificate("c/issuing.pem");
    let leaf = desk.client(PARTNER, "partner");
    desk.ok(&["renew", "c", "--certificate", "partner/certificate.pem", "--out", "next.pem"]);
    let said = desk.no(&["authority", "renew", "c"]);
    assert!(said.contains("the root's key is not here"), "{said}");
    let said = desk.ok(&["lists", "publish", "c"]);
    assert!(
        said.contains("issuing list  number 2") && said.contains("the root's key is away"),
        "{said}"
    );
    assert_eq!(desk.certificate("c/issuing.pem"), before);

    let root = ["--root-vault", "safe", "--root-key-file", "safe.key"];
    desk.ok(&[&["authority", "renew", "c"][..], &root].concat());
    let said = desk.ok(&[&["lists", "publish", "c"][..], &root].concat());
    assert!(said.contains("root list  number 2"), "{said}");
    let after = desk.certificate("c/issuing.pem");
    assert_ne!(after, before);
    assert_eq!(after.key_bits(), before.key_bits());
    // Members of before and their answers go on under the new one.
    let served = desk.serve("c");
    assert_eq!(served.ask(&leaf, &after), Ok(CertificateStatus::Good));
    assert_eq!(served.ask(&leaf, &before), Ok(CertificateStatus::Good));
}

/// What a certificate says, and what replaces it.
#[test]
fn certificates_name_their_places_and_are_renewed_and_rekeyed() {
    let desk = Desk::new("renew");
    let first = desk.client(PARTNER, "partner");
    assert_eq!(first.ocsp_urls(), ["http://127.0.0.1:8083/ocsp"]);
    assert_eq!(first.ca_issuer_urls(), ["http://127.0.0.1:8083/ca/issuing.cer"]);
    assert_eq!(first.crl_urls(), ["http://127.0.0.1:8083/crl/issuing.crl"]);
    let old = "partner/certificate.pem";
    desk.ok(&["renew", "c", "--certificate", old, "--days", "30", "--out", "next.pem"]);
    let next = desk.certificate("next.pem");
    assert_eq!((next.key_bits(), next.san_uris()), (first.key_bits(), first.san_uris()));
    assert_ne!(next.serial(), first.serial());
    assert!(next.not_after() < first.not_after());

    let said = desk.no(&[
        "rekey",
        "c",
        "--certificate",
        old,
        "--request",
        "partner/request.pem",
        "--out",
        "x.pem",
    ]);
    assert!(said.contains("the same key"), "{said}");
    desk.ok(&["request", "--uri", PARTNER, "--rsa", "--out", "new"]);
    let serial = ward_core::crypto::hex(first.serial());
    desk.ok(&[
        "rekey",
        "c",
        "--serial",
        &serial,
        "--request",
        "new/request.pem",
        "--out",
        "new/c.pem",
    ]);
    let rekeyed = desk.certificate("new/c.pem");
    assert_eq!(rekeyed.subject_key(), KeyKind::Rsa { bits: 2048 });
    assert_eq!(rekeyed.san_uris(), [PARTNER]);

    // A key that was lost does not come back.
    desk.ok(&["revoke", "c", "--serial", &serial, "--reason", "key-compromise"]);
    assert!(
        desk.no(&["revoke", "c", "--serial", &serial, "--reason", "superseded"])
            .contains("revoked already")
    );
    assert!(desk.no(&["renew", "c", "--serial", &serial, "--out", "x.pem"]).contains("is revoked"));
    let said = desk.no(&["renew", "c", "--certificate", "next.pem", "--out", "x.pem"]);
    assert!(said.contains("is revoked"), "{said}");
    let again = ["--request", "partner/request.pem", "--out", "x.pem"];
    let said = desk.no(&[&["rekey", "c", "--certificate", "new/c.pem"][..], &again].concat());
    assert!(said.contains("revoked as compromised"), "{said}");
    let said = desk.no(&["request", "--uri", PARTNER, "--out", "new"]);
    assert!(said.contains("no key is overwritten"), "{said}");

    let listed = desk.ok(&["list", "c", "--json"]);
    let listed: Vec<serde_json::Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[0]["revoked"]["reason"], "key-compromise");
    // The renewed one has the same key, so it went with it; the new key stands.
    assert_eq!(listed[1]["revoked"]["reason"], "key-compromise");
    assert_eq!(listed[2]["revoked"], serde_json::Value::Null);

    // Every act is in a log that verifies, and that notices when it is changed.
    let log = |command: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_ward"))
            .args(["log", command, "--data", "c"])
            .current_dir(&desk.dir.0)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (_, shown) = log("show");
    for (act, times) in [
        ("created", 1),
        ("responder-issued", 1),
        ("issued", 1),
        ("renewed", 1),
        ("rekeyed", 1),
        ("revoked", 2),
    ] {
        assert_eq!(shown.matches(&format!(" {act} ")).count(), times, "{act}: {shown}");
    }
    let (holds, said) = log("verify");
    assert!(holds && said.contains("verified:"), "{said}");
}

/// The vaults open by passphrases too, and by no other.
#[test]
fn vaults_open_by_passphrase() {
    let desk = Desk { dir: TempDir::new("community-passphrase") };
    let secret = |name: &str, text: &str, mode: u32| {
        let path: &Path = &desk.path(name);
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    secret("daily", "correct horse battery\n", 0o600);
    secret("root", "a staple for the safe\n", 0o600);
    secret("wrong", "incorrect horse battery\n", 0o600);
    secret("short", "horse\n", 0o600);
    secret("open", "correct horse battery\n", 0o644);
    let init = |daily: &str| {
        desk.run(&[
            "init",
            "c",
            "--uri",
            URI,
            "--public",
            "http://127.0.0.1:8083",
            "--passphrase-file",
            daily,
            "--root-passphrase-file",
            "root",
        ])
    };
    assert!(!init("short").status.success());
    assert!(!init("open").status.success());
    let made = init("daily");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(!desk.path("c/vault.key").exists() && !desk.path("c/root.key").exists());
    let publish = |daily: &str, root: &str| {
        desk.run(&[
            "lists",
            "publish",
            "c",
            "--passphrase-file",
            daily,
            "--root-passphrase-file",
            root,
        ])
    };
    assert!(publish("daily", "root").status.success());
    assert!(!publish("wrong", "root").status.success());
    assert!(!publish("daily", "daily").status.success(), "the root has a passphrase of its own");
}

//! The OCSP responder over sockets. Its answers are judged by `ward-trust`, as members do, and by `openssl` where that is
//! installed.

use std::process::Command;

use ward_core::{Clock as _, SystemClock};
use ward_trust::ocsp::{self, CertificateStatus, OcspResponse};
use ward_trust::{Crl, OcspError};

use super::{Desk, Heard, PARTNER, Served};

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
/// COMM-15.
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

//! Members' certificates and the authorities' from the command line: what is issued, what is refused, and the log of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use ward_trust::KeyKind;
use ward_trust::ocsp::CertificateStatus;

use super::{Desk, PARTNER, URI};
use crate::harness::TempDir;

/// Each refusal says in plain words what is wrong, and nothing is issued.
/// COMM-01, COMM-10.
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
/// COMM-12.
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
/// COMM-13, COMM-22.
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
    // By whoever acted, by name; what nobody is named for is the account's.
    desk.ok(&["lists", "publish", "c", "--operator", "Alice Example"]);
    assert!(desk.no(&["lists", "publish", "c", "--operator", "a\nb"]).contains("--operator"));
    let (_, shown) = log("show");
    assert!(shown.contains("  by Alice Example"), "{shown}");
    assert!(
        shown
            .lines()
            .filter(|line| line.contains(" community "))
            .all(|line| line.contains("  by "))
    );
    let (holds, said) = log("verify");
    assert!(holds && said.contains("verified:"), "{said}");
}

/// The vaults open by passphrases too, and by no other.
/// COMM-12.
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

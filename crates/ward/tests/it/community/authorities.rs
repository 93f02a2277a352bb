//! New keys for the authorities from the command line, while the community serves (PKI-16).

use ward_core::Limits;
use ward_trust::ocsp::CertificateStatus;
use ward_trust::{Crl, SignedBundle};

use super::{Desk, PARTNER, Served};

const ROOT: [&str; 4] = ["--root-vault", "safe", "--root-key-file", "safe.key"];

fn bundle(served: &Served) -> ward_trust::Bundle {
    let heard = served.get("/bundle.jwt");
    assert_eq!(heard.status, 200, "{}", heard.head);
    SignedBundle::parse(&heard.body, &Limits::default()).unwrap().bundle().clone()
}

/// Lists, authorities, OCSP answers and bundles of all that vouch for somebody, at once and without a restart.
/// COMM-16.
#[test]
fn the_next_authorities_serve_beside_the_former() {
    let desk = Desk::new("rollover");
    let before = desk.client(PARTNER, "partner");
    let served = desk.serve("c");
    assert_eq!(served.get("/bundle.jwt").status, 404);
    desk.ok(&["bundle", "publish", "c"]);
    assert_eq!(bundle(&served).anchors.len(), 1);
    let issuing = desk.certificate("c/issuing.pem");
    let root = desk.certificate("c/root.pem");

    let said = desk.no(&["authority", "rekey", "c"]);
    assert!(said.contains("the root's key is not here"), "{said}");
    let said = desk.ok(&[&["authority", "rekey", "c"][..], &ROOT].concat());
    assert!(
        said.contains("issuing-2 signs members from now on") && said.contains("bundle 2"),
        "{said}"
    );
    let next = desk.certificate("c/issuing.pem");
    assert_ne!(next.key_bits(), issuing.key_bits());
    let after = desk.client("https://late.example/app", "late");
    assert_eq!(served.ask(&before, &issuing), Ok(CertificateStatus::Good));
    assert_eq!(served.ask(&after, &next), Ok(CertificateStatus::Good));
    assert_eq!(served.get("/ca/issuing-2.cer").body, next.der());
    let list = |served: &Served, name: &str| {
        let heard = served.get(&format!("/crl/{name}.crl"));
        assert_eq!(heard.status, 200, "{name}: {}", heard.head);
        Crl::from_der(&heard.body).unwrap()
    };
    for (member, which) in [("partner", "issuing"), ("late", "issuing-2")] {
        let file = format!("{member}/certificate.pem");
        desk.ok(&["revoke", "c", "--certificate", &file, "--reason", "superseded"]);
        let serial = desk.certificate(&file).serial().to_vec();
        for name in ["issuing", "issuing-2"] {
            assert_eq!(list(&served, name).is_revoked(&serial), name == which, "{member} {name}");
        }
    }
    assert_eq!(served.ask(&before, &issuing), Ok(CertificateStatus::Revoked));
    assert_eq!(served.ask(&after, &next), Ok(CertificateStatus::Revoked));
    // One authority does not speak for the other's.
    assert!(served.ask(&before, &root).is_err());

    let said = desk.ok(&[&["authority", "next-root", "c"][..], &ROOT].concat());
    assert!(said.contains("root-2 made") && said.contains("bundle 3  2 anchors"), "{said}");
    let next_root = desk.certificate("c/root.pem");
    assert_eq!(bundle(&served).anchors, [next_root.clone(), root]);
    assert_eq!(served.get("/ca/root-2.cer").body, next_root.der());
    assert!(list(&served, "root-2").next_update() > list(&served, "root-2").this_update());
    let said = desk.ok(&[&["lists", "publish", "c"][..], &ROOT].concat());
    for name in ["root list", "root-2 list", "issuing list", "issuing-2 list"] {
        assert!(said.contains(name), "{said}");
    }
    // The elder root goes without any root's key, but not twice.
    let said = desk.ok(&["authority", "retire-root", "c"]);
    assert!(
        said.contains("root-2 is the only root now") && said.contains("bundle 4  1 anchors"),
        "{said}"
    );
    assert_eq!(bundle(&served).anchors, [next_root]);
    assert!(desk.no(&["authority", "retire-root", "c"]).contains("one root only"));
    assert_eq!(served.ask(&before, &issuing), Ok(CertificateStatus::Revoked));
    let said = desk.ok(&["list", "c"]);
    assert!(said.contains("2 issued in all"), "{said}");
}

/// The key that signs members is stolen: another one signs, the stolen one's authority goes on the root's list with all that it
/// signed, members are renewed with the keys that they have.
#[test]
fn an_authority_whose_key_is_stolen_is_revoked() {
    let desk = Desk::new("stolen");
    let before = desk.client(PARTNER, "partner");
    let served = desk.serve("c");
    let issuing = desk.certificate("c/issuing.pem");
    let revoke = ["authority", "revoke", "c", "--name", "issuing"];
    let said = desk.no(&[&revoke[..], &ROOT].concat());
    assert!(said.contains("authority rekey"), "{said}");
    desk.ok(&[&["authority", "rekey", "c"][..], &ROOT].concat());
    let said = desk.no(&revoke);
    assert!(said.contains("the root's key is not here"), "{said}");
    for name in ["root", "issuing-9"] {
        let other = ["authority", "revoke", "c", "--name", name];
        let said = desk.no(&[&other[..], &ROOT].concat());
        assert!(said.contains("no such issuing authority"), "{name}: {said}");
    }
    let said = desk.ok(&[&revoke[..], &ROOT].concat());
    assert!(said.contains("issuing revoked: 1 certificates"), "{said}");
    let root = Crl::from_der(&served.get("/crl/root.crl").body).unwrap();
    assert!(root.is_revoked(issuing.serial()));
    // Its own last list, for who looks at that one first.
    let last = Crl::from_der(&served.get("/crl/issuing.crl").body).unwrap();
    assert!(last.is_revoked(before.serial()));
    assert!(served.ask(&before, &issuing).is_err(), "nobody answers for it");
    let listed = desk.ok(&["list", "c"]);
    assert!(listed.contains("revoked ca-compromise"), "{listed}");
    let renew = ["renew", "c", "--certificate", "partner/certificate.pem", "--out", "next.pem"];
    desk.ok(&renew);
    let (next, now) = (desk.certificate("next.pem"), desk.certificate("c/issuing.pem"));
    assert_eq!(next.key_bits(), before.key_bits());
    assert_eq!(served.ask(&next, &now), Ok(CertificateStatus::Good));
}

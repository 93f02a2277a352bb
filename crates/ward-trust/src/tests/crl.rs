//! Rows X15..X18: lists that must not be taken for complete ones.

use rcgen::SigningKey as _;

use super::pki::{Ca, NOW, World, at, tlv};
use crate::{Crl, CrlError};

const ECDSA_SHA256: [u8; 10] = [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

/// Extension with a two-octet OID below 2.5.29.
fn extension(last: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    tlv(0x30, &[&[0x06, 3, 0x55, 0x1d, last], critical, &tlv(0x04, &[value])])
}

fn number() -> Vec<u8> {
    extension(20, false, &[2, 1, 1])
}

fn list(ca: &Ca, next_update: bool, extensions: &[Vec<u8>]) -> Vec<u8> {
    let algorithm = tlv(0x30, &[&ECDSA_SHA256]);
    let extensions = extensions.concat();
    let next: &[u8] = if next_update { b"\x17\x0d270116080000Z" } else { b"" };
    let tbs = tlv(
        0x30,
        &[
            &[2, 1, 1],
            &algorithm,
            ca.certificate.subject_der(),
            b"\x17\x0d270115070000Z",
            next,
            &tlv(0xa0, &[&tlv(0x30, &[&extensions])]),
        ],
    );
    let signature = ca.issuer.key().sign(&tbs).unwrap();
    tlv(0x30, &[&tbs, &algorithm, &tlv(0x03, &[&[0], &signature])])
}

#[test]
fn lists_of_kinds_that_are_not_complete_are_refused() {
    let ca = Ca::root("Root");
    let point = |more: &[u8]| {
        let name = tlv(0xa0, &[&tlv(0xa0, &[&tlv(0x86, &[b"http://crl.test/Root.crl"])])]);
        extension(28, true, &tlv(0x30, &[&name, more]))
    };
    let good = list(&ca, true, &[number()]);
    let crl = Crl::from_der(&good).unwrap();
    assert!(crl.signed_by(&ca.certificate));
    assert_eq!(crl.next_update().as_seconds(), NOW + 86_400);
    assert_eq!(crl.this_update().as_seconds(), NOW - 3600);

    let mut trailing = good.clone();
    trailing.push(0);
    let cut = good[..good.len() - 1].to_vec();
    for (row, der, want) in [
        (
            "X18 delta",
            list(&ca, true, &[number(), extension(27, true, &[2, 1, 1])]),
            CrlError::Unsupported,
        ),
        (
            "X18 delta, not critical",
            list(&ca, true, &[number(), extension(27, false, &[2, 1, 1])]),
            CrlError::Unsupported,
        ),
        (
            "X18 indirect",
            list(&ca, true, &[number(), point(&[0x84, 1, 0xff])]),
            CrlError::Unsupported,
        ),
        (
            "X18 some reasons",
            list(&ca, true, &[number(), point(&[0x83, 2, 0, 0x40])]),
            CrlError::Unsupported,
        ),
        (
            "X18 attribute certificates",
            list(&ca, true, &[number(), point(&[0x85, 1, 0xff])]),
            CrlError::Malformed,
        ),
        (
            "X18 no point",
            list(&ca, true, &[number(), extension(28, true, &tlv(0x30, &[]))]),
            CrlError::Unsupported,
        ),
        (
            "unknown critical extension",
            list(&ca, true, &[number(), extension(99, true, &[5, 0])]),
            CrlError::Unsupported,
        ),
        ("no nextUpdate", list(&ca, false, &[number()]), CrlError::Malformed),
        ("trailing octet", trailing, CrlError::Malformed),
        ("cut short", cut, CrlError::Malformed),
        ("empty", vec![], CrlError::Malformed),
        ("a certificate", ca.certificate.der().to_vec(), CrlError::Malformed),
    ] {
        assert_eq!(Crl::from_der(&der).err(), Some(want), "{row}");
    }
}

#[test]
fn a_list_speaks_for_its_key_and_its_entries_only() {
    let world = World::new();
    let (leaf, other) = (&world.leaf.certificate, world.issuing.leaf().certificate);
    let crl = world.issuing.list_with(&[leaf], |list| list.next_update = at(NOW + 1));
    assert!(crl.is_revoked(leaf.serial()));
    assert!(!crl.is_revoked(other.serial()));
    assert!(!crl.is_revoked(&[]));
    let namesake = Ca::root("Issuing");
    for _ in 0..2 {
        // The second time the verdict is remembered.
        assert!(crl.signed_by(&world.issuing.certificate));
        assert!(!crl.signed_by(&namesake.certificate));
        assert!(!crl.signed_by(&world.root.certificate));
    }
}

#[test]
fn no_octet_of_a_list_can_change_unnoticed() {
    let ca = Ca::root("Root");
    let good = list(&ca, true, &[number()]);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut altered = good.clone();
            altered[at] ^= 1 << bit;
            let accepted = Crl::from_der(&altered).is_ok_and(|crl| crl.signed_by(&ca.certificate));
            assert!(!accepted, "octet {at}, bit {bit}");
        }
    }
}

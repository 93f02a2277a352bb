//! Rows X11, X21 and X22 of udap.md §7.3: what OCSP answers decide, and what they are not believed.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    CertificateParams, CustomExtension, ExtendedKeyUsagePurpose as Eku, KeyPair, KeyUsagePurpose,
    SigningKey as _,
};
use ward_core::Timestamp;

use super::pki::{Ca, Leaf, NOW, World, at, extension, now, p256, tlv};
use crate::ocsp::{OcspError, Respond, request, respond};
use crate::path::first_unrevoked;
use crate::{Certificate, CertificateStatus, OcspAnswer, OcspResponse, PathError, candidate_paths};

const HOUR: i64 = 3600;
const OCSP_URL: &str = "http://ocsp.test/";

/// authorityInfoAccess with an OCSP responder.
fn asked_at() -> CustomExtension {
    let method = [0x06, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 1];
    let place = tlv(0x30, &[&method, &tlv(0x86, &[OCSP_URL.as_bytes()])]);
    extension(&[1, 3, 6, 1, 5, 5, 7, 1, 1], false, tlv(0x30, &[&place]))
}

/// A responder's certificate, edited.
fn responder(by: &Ca, edit: impl FnOnce(&mut CertificateParams)) -> Leaf {
    by.leaf_with(p256(), |p| {
        p.distinguished_name.push(rcgen::DnType::CommonName, "Responder");
        p.subject_alt_names = vec![];
        p.extended_key_usages = vec![Eku::OcspSigning];
        p.custom_extensions = vec![extension(&[1, 3, 6, 1, 5, 5, 7, 48, 1, 5], false, vec![5, 0])];
        edit(p);
    })
}

struct Lab {
    world: World,
    leaf: Certificate,
}

/// Who signs.
struct Signer<'a> {
    certificate: &'a Certificate,
    key: &'a KeyPair,
    send: bool,
}

fn signed(key: &KeyPair, tbs: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let ecdsa_sha256 = tlv(0x30, &[&[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
    (ecdsa_sha256, key.sign(tbs).unwrap())
}

fn answer(status: CertificateStatus, from: i64, to: i64) -> OcspAnswer {
    let at = Timestamp::from_seconds;
    OcspAnswer { status, this_update: at(from), next_update: at(to) }
}

fn good() -> OcspAnswer {
    answer(CertificateStatus::Good, NOW - HOUR, NOW + HOUR)
}

impl Lab {
    fn new() -> Self {
        let world = World::new();
        let leaf = world.issuing.leaf_with(p256(), |p| {
            p.crl_distribution_points = vec![];
            p.custom_extensions = vec![asked_at()];
        });
        Self { leaf: leaf.certificate, world }
    }

    fn by_issuer(&self) -> Signer<'_> {
        Signer {
            certificate: &self.world.issuing.certificate,
            key: self.world.issuing.issuer.key(),
            send: false,
        }
    }

    fn by(responder: &Leaf) -> Signer<'_> {
        Signer { certificate: &responder.certificate, key: &responder.key, send: true }
    }

    fn der(
        &self,
        about: &Certificate,
        signer: &Signer<'_>,
        answer: OcspAnswer,
        nonce: Option<&[u8]>,
    ) -> Vec<u8> {
        let certificates: &[&Certificate] = if signer.send { &[signer.certificate] } else { &[] };
        let about = Respond {
            serial: about.serial(),
            issuer: &self.world.issuing.certificate,
            answer,
            responder: signer.certificate,
            certificates,
            nonce,
        };
        respond(&about, |tbs| Ok(signed(signer.key, tbs))).unwrap()
    }

    fn reply(&self, signer: &Signer<'_>, answer: OcspAnswer) -> Arc<OcspResponse> {
        let der = self.der(&self.leaf, signer, answer, None);
        Arc::new(OcspResponse::from_der(&der).unwrap())
    }

    /// With this answer for the leaf and a good list for its issuer.
    fn judged(
        &self,
        replies: &[Arc<OcspResponse>],
        lists: &[Arc<crate::Crl>],
        grace: Duration,
    ) -> Result<bool, PathError> {
        let community = self.world.community();
        let extra = [self.world.issuing.certificate.clone()];
        let paths = candidate_paths(&self.leaf, &extra, &community, now()).unwrap();
        let lists: Vec<_> = lists.iter().cloned().chain([self.world.root.list(&[])]).collect();
        first_unrevoked(paths, &community, &lists, replies, now(), grace).map(|chain| chain.stale)
    }
}

#[test]
fn an_answer_decides_or_is_as_good_as_none() {
    let lab = Lab::new();
    let issuing = &lab.world.issuing;
    let (sound, expired) =
        (responder(issuing, |_| {}), responder(issuing, |p| p.not_after = at(NOW - 1)));
    let no_usage = responder(issuing, |p| p.extended_key_usages = vec![Eku::ClientAuth]);
    let any_usage = responder(issuing, |p| p.extended_key_usages = vec![Eku::Any]);
    let checked = responder(issuing, |p| p.custom_extensions = vec![]);
    let may_not_sign =
        responder(issuing, |p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
    let of_the_root = responder(&lab.world.root, |_| {});
    let double = Ca::root("Issuing");
    let of_a_namesake = responder(&double, |_| {});
    let status = |status| answer(status, NOW - HOUR, NOW + HOUR);
    let said = |from, to| answer(CertificateStatus::Good, from, to);
    let unknown = Err(PathError::RevocationUnknown);
    let signer = Err(PathError::RevocationSigner);
    for (row, by, answer, want) in [
        ("signed by the issuer", lab.by_issuer(), good(), Ok(false)),
        ("signed by its responder", Lab::by(&sound), good(), Ok(false)),
        ("X11", lab.by_issuer(), status(CertificateStatus::Revoked), Err(PathError::Revoked)),
        (
            "X11 by its responder",
            Lab::by(&sound),
            status(CertificateStatus::Revoked),
            Err(PathError::Revoked),
        ),
        ("X22 unknown", lab.by_issuer(), status(CertificateStatus::Unknown), unknown),
        ("X22 responder without the key usage", Lab::by(&no_usage), good(), signer),
        ("X22 any key usage is not enough", Lab::by(&any_usage), good(), signer),
        ("X22 responder to be checked itself", Lab::by(&checked), good(), signer),
        ("X22 responder that may not sign", Lab::by(&may_not_sign), good(), signer),
        ("X22 responder expired", Lab::by(&expired), good(), signer),
        ("X22 responder of the authority above", Lab::by(&of_the_root), good(), signer),
        ("X22 responder of a namesake", Lab::by(&of_a_namesake), good(), signer),
        (
            "X22 a namesake of the issuer",
            Signer { certificate: &double.certificate, key: double.issuer.key(), send: true },
            good(),
            signer,
        ),
        (
            "X22 an impostor cannot revoke",
            Lab::by(&of_a_namesake),
            status(CertificateStatus::Revoked),
            signer,
        ),
        (
            "X22 stale",
            lab.by_issuer(),
            said(NOW - 2 * HOUR, NOW - 1),
            Err(PathError::RevocationStale),
        ),
        ("the last second", lab.by_issuer(), said(NOW - HOUR, NOW), Ok(false)),
        ("X17", lab.by_issuer(), said(NOW + 61, NOW + HOUR), Err(PathError::RevocationFuture)),
        ("within the skew", lab.by_issuer(), said(NOW + 60, NOW + HOUR), Ok(false)),
    ] {
        assert_eq!(lab.judged(&[lab.reply(&by, answer)], &[], Duration::ZERO), want, "{row}");
    }
    assert_eq!(lab.judged(&[], &[], Duration::ZERO), unknown, "X14: not asked yet");
    let stale = lab.reply(&lab.by_issuer(), said(NOW - 2 * HOUR, NOW - HOUR));
    assert_eq!(
        lab.judged(&[stale], &[], Duration::from_hours(2)),
        Ok(true),
        "within the grace, and flagged"
    );
    let old = answer(CertificateStatus::Revoked, NOW - 2 * HOUR, NOW - HOUR);
    let old = lab.reply(&lab.by_issuer(), old);
    assert_eq!(
        lab.judged(&[old], &[], Duration::ZERO),
        Err(PathError::Revoked),
        "whatever its age"
    );
}

#[test]
fn an_answer_speaks_for_one_certificate_of_one_issuer() {
    let lab = Lab::new();
    let issuer = &lab.world.issuing.certificate;
    let other = lab.world.issuing.leaf().certificate;
    let about_other = lab.der(&other, &lab.by_issuer(), good(), None);
    let about_other = OcspResponse::from_der(&about_other).unwrap();
    assert_eq!(about_other.about(&lab.leaf, issuer, now()), Err(OcspError::Other));
    assert_eq!(
        about_other.about(&other, issuer, now()).map(|one| one.status),
        Ok(CertificateStatus::Good)
    );
    let root = &lab.world.root.certificate;
    assert_eq!(
        about_other.about(&other, root, now()),
        Err(OcspError::Other),
        "same serial, other issuer"
    );
}

#[test]
fn lists_and_answers_stand_for_each_other() {
    let lab = Lab::new();
    let issuing = &lab.world.issuing;
    let good = lab.reply(&lab.by_issuer(), good());
    let bad =
        lab.reply(&lab.by_issuer(), answer(CertificateStatus::Revoked, NOW - HOUR, NOW + HOUR));
    let (clean, names) = (issuing.list(&[]), issuing.list(&[&lab.leaf]));
    let old = issuing.list_with(&[], |list| list.next_update = at(NOW - 1));
    for (row, replies, lists, want) in [
        ("PKI-05 a list alone", vec![], vec![clean.clone()], Ok(false)),
        ("PKI-05 an answer alone", vec![good.clone()], vec![], Ok(false)),
        ("an answer where the list is stale", vec![good.clone()], vec![old.clone()], Ok(false)),
        ("X10 the list says no", vec![good], vec![names], Err(PathError::Revoked)),
        ("X11 the answer says no", vec![bad.clone()], vec![clean], Err(PathError::Revoked)),
        ("X11 and the list is stale", vec![bad], vec![old.clone()], Err(PathError::Revoked)),
        (
            "both are missing but for a stale list",
            vec![],
            vec![old],
            Err(PathError::RevocationStale),
        ),
    ] {
        assert_eq!(lab.judged(&replies, &lists, Duration::ZERO), want, "{row}");
    }
    assert_eq!(lab.leaf.ocsp_urls(), [OCSP_URL]);
}

#[test]
fn what_is_no_answer_is_refused() {
    let lab = Lab::new();
    let sound = lab.der(&lab.leaf, &lab.by_issuer(), good(), Some(b"mine"));
    let read = |der: &[u8]| OcspResponse::from_der(der).map(|_| ());
    assert_eq!(read(&sound), Ok(()));
    for (status, want) in [(1, 1), (2, 2), (3, 3), (5, 5), (6, 6)] {
        assert_eq!(read(&[0x30, 3, 0x0a, 1, status]), Err(OcspError::NoAnswer(want)));
    }
    let mut longer = sound.clone();
    longer.push(0);
    for (row, der) in [
        ("nothing", &[][..]),
        ("a page", b"<html>"),
        ("no such status", &[0x30, 3, 0x0a, 1, 4]),
        ("successful without an answer", &[0x30, 3, 0x0a, 1, 0]),
        ("cut off", &sound[..sound.len() - 1]),
        ("octets behind it", &longer),
    ] {
        assert_eq!(read(der), Err(OcspError::Malformed), "{row}");
    }
    // Every single octet of the signed part counts.
    let issuer = &lab.world.issuing.certificate;
    for place in 0..sound.len() {
        let mut changed = sound.clone();
        changed[place] ^= 1;
        let believed =
            OcspResponse::from_der(&changed).and_then(|one| one.about(&lab.leaf, issuer, now()));
        if let Ok(answer) = believed {
            assert_eq!(answer, good(), "octet {place}");
        }
    }
    let sound = OcspResponse::from_der(&sound).unwrap();
    assert_eq!(sound.check_nonce(b"mine"), Ok(()));
    assert_eq!(sound.check_nonce(b"another"), Err(OcspError::Nonce), "X22");
    let without = lab.reply(&lab.by_issuer(), good());
    assert_eq!(without.check_nonce(b"mine"), Ok(()), "a responder may prepare its answers");
}

#[test]
fn a_request_names_one_certificate() {
    let lab = Lab::new();
    let der = request(&lab.leaf, &lab.world.issuing.certificate, Some(b"12345678")).unwrap();
    let serial = tlv(0x02, &[lab.leaf.serial()]);
    assert!(der.windows(serial.len()).any(|part| part == serial));
    assert!(der.windows(8).any(|part| part == b"12345678"));
    let plain = request(&lab.leaf, &lab.world.issuing.certificate, None).unwrap();
    assert!(plain.len() < der.len());
}

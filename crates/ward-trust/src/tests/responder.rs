//! A responder's side of OCSP: what it reads of a request, and that its answers are the ones that members believe.

use std::time::Duration;

use rcgen::SigningKey as _;

use super::pki::{World, now, p256, tlv};
use crate::ocsp::{Question, Refusal, Responder, Revoked, Said, ecdsa_with_sha256, request};
use crate::{Certificate, CertificateStatus, OcspError, OcspResponse};

const SHA1: &[u8] = &[0x30, 9, 0x06, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0];

fn leaf(world: &World) -> Certificate {
    world.issuing.leaf_with(p256(), |_| {}).certificate
}

/// `CertID` with hashes of zeros and this serial number.
fn named(serial: &[u8]) -> Vec<u8> {
    let hash = tlv(0x04, &[&[0; 20]]);
    tlv(0x30, &[SHA1, &hash, &hash, &tlv(0x02, &[serial])])
}

fn asking(requests: &[Vec<u8>], rest: &[u8]) -> Vec<u8> {
    let list = tlv(0x30, &[&requests.concat()]);
    tlv(0x30, &[&tlv(0x30, &[&list, rest])])
}

fn with(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[0x01, 1, 0xff] } else { &[] };
    let one = tlv(0x30, &[&tlv(0x06, &[oid]), critical, &tlv(0x04, &[value])]);
    tlv(0xa2, &[&tlv(0x30, &[&one])])
}

#[test]
fn requests_are_read_within_bounds() {
    const NONCE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2];
    const OTHER: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 4];
    let one = tlv(0x30, &[&named(&[7])]);
    let nonce = |octets: usize| with(NONCE, false, &tlv(0x04, &[&vec![1; octets]]));
    let read = |der: &[u8]| Question::from_der(der);
    for (count, plain) in [(1, true), (8, false)] {
        let question = read(&asking(&vec![one.clone(); count], &[])).unwrap();
        assert_eq!(question.serials().collect::<Vec<_>>(), vec![&[7][..]; count]);
        assert_eq!(question.is_plain(), plain);
    }
    for count in [0, 9] {
        let refused = read(&asking(&vec![one.clone(); count], &[])).unwrap_err();
        assert_eq!(refused, OcspError::Malformed, "{count}");
    }
    for (octets, sound) in [(0, false), (1, true), (128, true), (129, false)] {
        let question = read(&asking(std::slice::from_ref(&one), &nonce(octets)));
        assert_eq!(question.is_ok(), sound, "a nonce of {octets}");
        assert!(question.is_err() || !question.unwrap().is_plain());
    }
    let extended =
        |critical| read(&asking(std::slice::from_ref(&one), &with(OTHER, critical, &[])));
    assert!(extended(false).is_ok());
    assert_eq!(extended(true).unwrap_err(), OcspError::Unsupported);
    // Another version, a nonce that is none, and every way to cut it short.
    let odd = with(NONCE, false, &[0xff]);
    assert_eq!(read(&asking(std::slice::from_ref(&one), &odd)).unwrap_err(), OcspError::Malformed);
    let list = tlv(0x30, &[&one]);
    let second = tlv(0x30, &[&tlv(0x30, &[&tlv(0xa0, &[&[2, 1, 1]]), &list])]);
    assert_eq!(read(&second).unwrap_err(), OcspError::Unsupported);
    let whole = asking(&[one], &nonce(16));
    for end in 0..whole.len() {
        assert!(read(&whole[..end]).is_err(), "{end}");
    }
    assert!(read(&[whole, vec![0]].concat()).is_err());
}

#[test]
fn members_believe_the_answer_and_each_refusal_has_its_number() {
    let world = World::new();
    let issuer = &world.issuing.certificate;
    let (good, bad, strange) = (leaf(&world), leaf(&world), leaf(&world));
    let responder = Responder {
        issuer,
        certificate: issuer,
        this_update: now(),
        next_update: now().plus(Duration::from_hours(1)),
    };
    let revoked = Revoked { at: now().minus(Duration::from_hours(5)), reason: Some(1) };
    let say = |serial: &[u8]| match serial {
        serial if serial == good.serial() => Said::Good,
        serial if serial == bad.serial() => Said::Revoked(revoked),
        _ => Said::Unknown,
    };
    let sign =
        |tbs: &[u8]| Ok((ecdsa_with_sha256()?, world.issuing.issuer.key().sign(tbs).unwrap()));
    for (certificate, status) in [
        (&good, CertificateStatus::Good),
        (&bad, CertificateStatus::Revoked),
        (&strange, CertificateStatus::Unknown),
    ] {
        let asked = request(certificate, issuer, Some(&[9; 16])).unwrap();
        let question = Question::from_der(&asked).unwrap();
        assert!(question.is_about(issuer));
        let der = responder.answer(&question, say, sign).unwrap();
        let answer = OcspResponse::from_der(&der).unwrap();
        assert_eq!(answer.about(certificate, issuer, now()).unwrap().status, status);
        assert_eq!(answer.check_nonce(&[9; 16]), Ok(()));
        assert_eq!(answer.check_nonce(&[8; 16]), Err(OcspError::Nonce));
    }
    // Nothing is signed for another issuer, not even beside one's own.
    let root = &world.root.certificate;
    let asked = request(&good, root, None).unwrap();
    let question = Question::from_der(&asked).unwrap();
    let never = |_: &[u8]| -> Result<(Vec<u8>, Vec<u8>), OcspError> { panic!("signed") };
    assert_eq!(responder.answer(&question, say, never), Err(OcspError::Other));
    for (refusal, number) in [
        (Refusal::Malformed, 1),
        (Refusal::Internal, 2),
        (Refusal::TryLater, 3),
        (Refusal::Unauthorized, 6),
    ] {
        let der = refusal.to_der().unwrap();
        assert_eq!(OcspResponse::from_der(&der).unwrap_err(), OcspError::NoAnswer(number));
    }
}

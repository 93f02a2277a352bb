//! Pools of certificates that a stranger sends along to make path building costly. The work is counted, not
//! timed: signatures verified, chains given to webpki and the certificates in them.

use rcgen::{BasicConstraints, IsCa, KeyPair, KeyUsagePurpose};

use super::pki::{Ca, World, community, now, p256, uri};
use crate::build::{MAX_EXTRA, MAX_TRIED, Work};
use crate::path::candidate_paths_counted;
use crate::{Certificate, Community, PathError};

/// Nine authorities of one name, each under its own key, all self-signed.
fn namesakes(name: &str) -> Vec<Certificate> {
    (0..9).map(|_| Ca::root(name).certificate).collect()
}

/// Number of certificates below the anchor of the best path, and the work.
fn attempt(
    leaf: &Certificate,
    extra: &[Certificate],
    community: &Community,
) -> (Result<usize, PathError>, Work) {
    let mut work = Work::default();
    let found = candidate_paths_counted(leaf, extra, community, now(), &mut work)
        .map(|paths| paths[0].certificates.len());
    let members = MAX_EXTRA + community.intermediates.len();
    // The leaf under each possible issuer, and each of the pool under each that could have signed it.
    let bound = (members + 1) * (community.anchors.len() + members);
    assert!(work.signatures <= bound, "{work:?}, bound {bound}");
    assert!(work.chains <= MAX_TRIED && work.certificates <= MAX_TRIED * 7, "{work:?}");
    (found, work)
}

#[test]
fn nine_certificates_that_name_each_other_cost_a_stranger_nothing_but_his_own_time() {
    let world = World::new();
    let loner = Ca::root("X");
    let leaf = loner.leaf().certificate;
    let (found, work) = attempt(&leaf, &namesakes("X"), &world.community());
    assert_eq!(found, Err(PathError::Untrusted));
    assert_eq!(work, Work::default(), "not one signature, and webpki never asked");
}

#[test]
fn nine_certificates_with_the_anchors_name_cost_one_signature_each() {
    let world = World::new();
    for (what, mut trusted) in [("one", world.community()), ("three", world.community())] {
        if what == "three" {
            let further = ["Root", "Root"].map(|name| Ca::root(name).certificate);
            trusted.anchors.extend(further);
        }
        // Under a name of the stranger's, each "signed" by the anchor as far as its issuer field goes.
        let claimed = Ca::root("Root");
        let extra: Vec<_> = (0..9).map(|_| claimed.child("X").certificate).collect();
        let leaf = Ca::root("X").leaf().certificate;
        let (found, work) = attempt(&leaf, &extra, &trusted);
        assert_eq!(found, Err(PathError::Signature), "{what}");
        let wanted = Work { signatures: 9 * trusted.anchors.len(), ..Work::default() };
        assert_eq!(work, wanted, "{what}");
        // And with the anchor's own name, which no path needs unless an anchor signed it.
        let leaf = Ca::root("Root").leaf().certificate;
        let (found, work) = attempt(&leaf, &namesakes("Root"), &trusted);
        assert_eq!(found, Err(PathError::Signature), "{what}");
        let anchors = trusted.anchors.len();
        let own = if anchors > 1 { anchors } else { 0 };
        assert_eq!(work.signatures, 9 * anchors + own, "{what}");
        assert!(work.chains <= 1, "{what}: {work:?}");
    }
}

#[test]
fn namesakes_of_an_honest_members_issuer_do_not_keep_it_out() {
    let world = World::new();
    for name in ["Issuing", "Root", "X"] {
        let mut extra = namesakes(name);
        extra.push(world.issuing.certificate.clone());
        let (found, work) = attempt(&world.leaf.certificate, &extra, &world.community());
        assert_eq!(found, Ok(2), "{name}");
        assert_eq!((work.chains, work.certificates), (1, 2), "{name}");
    }
    // The issuing authority is known: what is sent is not needed at all, and what is past R20 not looked at.
    let mut known = world.community();
    known.intermediates.push(world.issuing.certificate.clone());
    let many: Vec<_> = (0..5).flat_map(|_| namesakes("Issuing")).collect();
    let (found, first) = attempt(&world.leaf.certificate, &many, &known);
    assert_eq!(found, Ok(2));
    // What a configured certificate has proven once is not verified again.
    let (_, again) = attempt(&world.leaf.certificate, &many, &known);
    assert!(again.signatures < first.signatures, "{again:?}, {first:?}");
}

#[test]
fn what_a_member_signs_with_its_own_certificate_vouches_for_nothing() {
    // A true member, whose key signs nine authorities of its own name, each of which signs the next.
    let world = World::new();
    let member = world.issuing.child_with("Member", p256(), |p| {
        p.is_ca = IsCa::NoCa;
        p.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        p.subject_alt_names = vec![uri("https://member.example/")];
    });
    let mut extra: Vec<_> =
        (0..8).map(|_| member.child_with("Member", p256(), |_| {}).certificate).collect();
    extra.push(member.certificate.clone());
    extra.push(world.issuing.certificate.clone());
    let (found, work) = attempt(&member.leaf().certificate, &extra, &world.community());
    assert_eq!(found, Err(PathError::NotAuthority));
    // The issuing authority under the root, the member under the issuing authority, and nothing below.
    assert_eq!((work.signatures, work.chains, work.certificates), (2, 1, 3));
}

#[test]
fn a_true_authority_that_turns_hostile_is_bounded_too() {
    // One authority below the anchor has certified nine others, all under one name and each by each.
    let root = Ca::root("Root");
    let keys: Vec<KeyPair> = (0..3).map(|_| p256()).collect();
    let copy = |key: &KeyPair| KeyPair::try_from(key.serialized_der()).unwrap();
    let first: Vec<Ca> =
        keys.iter().map(|key| root.child_with("Mesh", copy(key), |_| {})).collect();
    let mut extra: Vec<_> = first.iter().map(|ca| ca.certificate.clone()).collect();
    for signer in &first {
        for key in keys.iter().skip(1) {
            let edit = |p: &mut rcgen::CertificateParams| {
                p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            };
            extra.push(signer.child_with("Mesh", copy(key), edit).certificate);
        }
    }
    let (found, work) = attempt(&first[0].leaf().certificate, &extra, &community(&[&root]));
    assert_eq!(found, Ok(2));
    assert!(work.signatures > 0 && work.chains > 0);
}

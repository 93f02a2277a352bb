//! Rows X10..X21 of udap.md §7.3 as amended: what lists decide, and what the want of one means.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CrlDistributionPoint, CrlScope, RevocationReason};

use super::path::{Case, case, leaf_case, run, scope, two_paths};
use super::pki::{Ca, NOW, World, at, crl_url, entry, now, p256};
use crate::{Crl, PathError, crl_urls_needed, validate, validate_within};

#[test]
fn revocation_decides_or_is_missing() {
    let world = World::new();
    let (leaf, issuing) = (&world.leaf.certificate, &world.issuing.certificate);
    let with = |row, want, lists: Vec<Arc<Crl>>| Case { lists, ..case(row, &world, want) };
    let good_root = || world.root.list(&[]);
    let hold = |reason| {
        world.issuing.list_with(&[], |l| l.revoked_certs = vec![entry(leaf, Some(reason))])
    };
    let impostor = Ca::root("Issuing");
    let mut cases = vec![
        with("X10", Err(PathError::Revoked), vec![good_root(), world.issuing.list(&[leaf])]),
        with(
            "X12",
            Err(PathError::Revoked),
            vec![world.root.list(&[issuing]), world.issuing.list(&[])],
        ),
        with(
            "X12 though the leaf's list is missing",
            Err(PathError::Revoked),
            vec![world.root.list(&[issuing])],
        ),
        with(
            "X13 on hold",
            Err(PathError::Revoked),
            vec![good_root(), hold(RevocationReason::CertificateHold)],
        ),
        with(
            "X13 key compromise",
            Err(PathError::Revoked),
            vec![good_root(), hold(RevocationReason::KeyCompromise)],
        ),
        with("X14 no list", Err(PathError::RevocationUnknown), vec![]),
        with("X14 leaf's list", Err(PathError::RevocationUnknown), vec![good_root()]),
        with("X14 issuer's list", Err(PathError::RevocationUnknown), vec![world.issuing.list(&[])]),
        with(
            "X15",
            Err(PathError::RevocationStale),
            vec![good_root(), world.issuing.list_with(&[], |l| l.next_update = at(NOW - 1))],
        ),
        with(
            "X15 a stale list that names the leaf",
            Err(PathError::Revoked),
            vec![
                good_root(),
                world.issuing.list(&[]),
                world.issuing.list_with(&[leaf], |l| l.next_update = at(NOW - 1)),
            ],
        ),
        with("X16", Err(PathError::RevocationSigner), vec![good_root(), impostor.list(&[])]),
        with(
            "X16 an impostor cannot revoke",
            Ok(2),
            vec![good_root(), impostor.list(&[leaf]), world.issuing.list(&[])],
        ),
        with(
            "X17",
            Err(PathError::RevocationFuture),
            vec![good_root(), world.issuing.list_with(&[], |l| l.this_update = at(NOW + 61))],
        ),
        with(
            "X17 within the skew",
            Ok(2),
            vec![good_root(), world.issuing.list_with(&[], |l| l.this_update = at(NOW + 60))],
        ),
        with(
            "X18 a list for CAs only",
            Err(PathError::RevocationUnknown),
            vec![
                good_root(),
                world.issuing.list_with(&[], |l| {
                    l.issuing_distribution_point =
                        Some(scope("Issuing", Some(CrlScope::CaCertsOnly)));
                }),
            ],
        ),
        with(
            "X18 a list of another point",
            Err(PathError::RevocationUnknown),
            vec![
                good_root(),
                world.issuing.list_with(&[], |l| {
                    l.issuing_distribution_point = Some(scope("Elsewhere", None));
                }),
            ],
        ),
        leaf_case("X21 with one", &world, Ok(2), |p| p.crl_distribution_points = vec![]),
    ];
    let mut silent = leaf_case("X21", &world, Err(PathError::NoRevocationSource), |p| {
        p.crl_distribution_points = vec![];
    });
    silent.lists.truncate(1);
    cases.push(silent);
    cases.push(with(
        "X15 the last second",
        Ok(2),
        vec![good_root(), world.issuing.list_with(&[], |l| l.next_update = at(NOW))],
    ));
    cases.push(revoked_beside_an_issuer_without_lists());
    let mut soft = with(
        "PKI-04 soft, but revoked",
        Err(PathError::Revoked),
        vec![world.issuing.list(&[leaf])],
    );
    soft.community.require_revocation = false;
    cases.push(soft);
    let mut x44 =
        two_paths("X44 want of a list outweighs a revoked path", Err(PathError::RevocationUnknown));
    x44.lists.remove(1);
    cases.push(x44);
    run(cases);
}

/// Two certificates for one issuing CA; by the one its list revokes the leaf, by the other it has no list.
fn revoked_beside_an_issuer_without_lists() -> Case {
    let mut case = two_paths("X10 outweighs want of a list", Err(PathError::Revoked));
    let (one, two) = (Ca::root("One"), Ca::root("Two"));
    let issuing = one.child("Issuing");
    let key = rcgen::KeyPair::try_from(issuing.issuer.key().serialized_der()).unwrap();
    let silent = two.child_with("Issuing", key, |p| {
        p.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    });
    case.leaf = issuing.leaf().certificate;
    case.lists = vec![one.list(&[]), two.list(&[]), issuing.list(&[&case.leaf])];
    case.extra = vec![silent.certificate, issuing.certificate];
    case.community = super::pki::community(&[&one, &two]);
    case
}

#[test]
fn an_anchor_sent_along_makes_no_path_of_its_own() {
    let world = World::new();
    let extra = [world.root.certificate.clone(), world.issuing.certificate.clone()];
    let leaf = &world.leaf.certificate;
    let paths = crate::candidate_paths(leaf, &extra, &world.community(), now()).unwrap();
    assert_eq!(paths.len(), 1);
    assert_eq!(paths[0].certificates.len(), 2);
}

#[test]
fn only_a_certificate_known_to_be_bad_is_refused() {
    for (error, unavailable) in [
        (PathError::RevocationUnknown, true),
        (PathError::RevocationStale, true),
        (PathError::RevocationSigner, true),
        (PathError::RevocationFuture, true),
        (PathError::Revoked, false),
        (PathError::NoRevocationSource, false),
        (PathError::Untrusted, false),
        (PathError::Expired, false),
    ] {
        assert_eq!(error.is_unavailable(), unavailable, "{error:?}");
    }
}

#[test]
fn a_grace_stretches_the_last_good_list_and_says_so() {
    let world = World::new();
    let extra = [world.issuing.certificate.clone()];
    let stale = world.issuing.list_with(&[], |l| l.next_update = at(NOW - 3600));
    let lists = [world.root.list(&[]), stale];
    let check = |grace| {
        let (leaf, community) = (&world.leaf.certificate, world.community());
        validate_within(leaf, &extra, &community, &lists, now(), Duration::from_secs(grace))
            .map(|chain| chain.stale)
    };
    assert_eq!(check(3600), Ok(true));
    assert_eq!(check(3599), Err(PathError::RevocationStale));
    let due = world.issuing.list_with(&[], |l| l.next_update = at(NOW));
    let fresh = [world.root.list(&[]), due];
    let chain = validate(&world.leaf.certificate, &extra, &world.community(), &fresh, now());
    assert!(!chain.unwrap().stale);
}

#[test]
fn only_certificates_on_a_path_cause_a_fetch() {
    let world = World::new();
    let stranger = Ca::root("Stranger");
    let extra = [
        stranger.child("Evil").certificate,
        world.issuing.certificate.clone(),
        stranger.leaf().certificate,
    ];
    let urls = crl_urls_needed(&world.leaf.certificate, &extra, &world.community(), now()).unwrap();
    assert_eq!(urls, [crl_url("Issuing"), crl_url("Root")]);
    let leaf = stranger.leaf();
    let refused = crl_urls_needed(&leaf.certificate, &extra, &world.community(), now());
    assert_eq!(refused, Err(PathError::Untrusted));
}

#[test]
fn urls_that_may_not_be_fetched_are_not_listed() {
    let world = World::new();
    let leaf = world.issuing.leaf_with(p256(), |p| {
        p.crl_distribution_points = ["file:///etc/passwd", "ldap://x/", "http://a/", "https://b/"]
            .map(|uri| CrlDistributionPoint { uris: vec![uri.to_owned()] })
            .into();
    });
    assert_eq!(leaf.certificate.crl_urls(), ["http://a/", "https://b/"]);
}

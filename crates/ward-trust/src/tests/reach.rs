//! Which certificates a path may go through, and what a list names: never fewer than the path builder finds.

use super::pki::{Ca, World, community, now};
use crate::{Certificate, Crl, candidate_paths, reach, reach_digest};

fn names(all: &[Certificate]) -> Vec<String> {
    all.iter().map(Certificate::subject_text).collect()
}

#[test]
fn every_certificate_of_every_path_is_reached_whoever_brings_it() {
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    let issuing = root.child("Issuing");
    let leaf = issuing.leaf().certificate;
    let sent = [issuing.certificate.clone()];
    let mut both = community(&[&root, &other]);
    for community in [community(&[&root]), both.clone()] {
        let reached = reach(&leaf, &sent, &[], Some(&community));
        for chain in candidate_paths(&leaf, &sent, &community, now()).unwrap() {
            for one in chain.certificates.iter().chain([&chain.anchor]) {
                assert!(reached.contains(one), "{:?}", names(&reached));
            }
        }
        assert!(!reached.contains(&other.certificate), "nothing of it is below that");
    }
    // Configured instead of sent; found elsewhere; or with nothing above at all.
    both.intermediates = sent.to_vec();
    let wanted = [leaf.clone(), issuing.certificate.clone(), root.certificate.clone()];
    assert_eq!(reach(&leaf, &[], &[], Some(&both)), wanted);
    assert_eq!(reach(&leaf, &[], &wanted, None), wanted);
    assert_eq!(reach(&leaf, &sent, &[], None), wanted[..2]);
}

#[test]
fn the_digest_tells_whose_authorities_it_was() {
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    let one = community(&[&root]);
    let mut more = one.clone();
    more.intermediates = vec![root.child("Issuing").certificate];
    let digests = [&one, &more, &community(&[&root, &other])].map(reach_digest);
    assert_eq!(digests[0], reach_digest(&community(&[&root])));
    assert!(digests[0] != digests[1] && digests[0] != digests[2] && digests[1] != digests[2]);
}

#[test]
fn a_list_tells_which_serial_numbers_it_names() {
    let world = World::new();
    let issuing = &world.issuing;
    let others: Vec<_> = (0..40).map(|_| issuing.leaf().certificate).collect();
    for named in [&others[..0], &others[..1], &others[..]] {
        let named: Vec<&Certificate> = named.iter().collect();
        let list: std::sync::Arc<Crl> = issuing.list(&named);
        let mut told = list.serials().unwrap();
        let mut wanted: Vec<_> = named.iter().map(|one| one.serial().to_vec()).collect();
        assert!(told.iter().all(|serial| list.is_revoked(serial)));
        told.sort();
        wanted.sort();
        assert_eq!(told, wanted);
    }
}

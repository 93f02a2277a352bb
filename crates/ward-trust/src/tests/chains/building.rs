//! Ways to an anchor: several anchors, cross-certificates, renewed keys, certificates that lead nowhere.

use super::super::pki::{Ca, NOW, World, at, p256, uri};
use super::{Sample, copy, honest};

pub(super) fn all() -> Vec<Sample> {
    let mut samples = vec![honest::depth("seven-authorities", 7)];
    samples.extend(accepted());
    samples.extend(refused());
    samples
}

fn accepted() -> Vec<Sample> {
    let world = World::new();
    let leaf = &world.leaf.certificate;
    let stranger = Ca::root("Stranger");
    let mut samples = vec![Sample::new(
        "strangers-beside-the-path",
        &[&world.root],
        &[&stranger, &world.issuing, &Ca::root("Issuing")],
        leaf,
    )];
    samples.push(Sample::new(
        "anchor-sent-along",
        &[&world.root],
        &[&world.root, &world.issuing],
        leaf,
    ));
    let new = Ca::root("New root");
    samples.push(Sample::new("two-anchors", &[&new, &world.root], &[&world.issuing], leaf));

    // The issuing authority has a certificate of each root; only one of them is an anchor, whichever comes first.
    let again = new.child_with("Issuing", copy(world.issuing.issuer.key()), |_| {});
    samples.push(Sample::new(
        "cross-certified-authority",
        &[&new],
        &[&world.issuing, &again],
        leaf,
    ));
    // The old root certifies the new one; members still trust the old one.
    let key = || copy(new.issuer.key());
    let link = world.root.child_with("New root", key(), |_| {});
    let below = new.child("Below");
    let member = below.leaf();
    samples.push(Sample::new(
        "new-root-under-the-old",
        &[&world.root],
        &[&below, &link],
        &member.certificate,
    ));
    samples.push(Sample::new(
        "new-root-and-its-link",
        &[&new],
        &[&link, &below],
        &member.certificate,
    ));

    // One of two ways has expired.
    let old = world
        .root
        .child_with("Issuing", copy(world.issuing.issuer.key()), |p| p.not_after = at(NOW - 1));
    samples.push(Sample::new(
        "one-of-two-ways-expired",
        &[&world.root],
        &[&old, &world.issuing],
        leaf,
    ));

    // An authority with a new key: the certificates of both are sent.
    let renewed = world.root.child("Issuing");
    samples.push(Sample::new(
        "authority-with-two-keys",
        &[&world.root],
        &[&renewed, &world.issuing],
        leaf,
    ));
    samples.push(Sample::new(
        "authority-under-its-new-key",
        &[&world.root],
        &[&world.issuing, &renewed],
        &renewed.leaf().certificate,
    ));

    // The issuing authority is itself an anchor.
    samples.push(Sample::new("issuing-authority-as-anchor", &[&world.issuing], &[], leaf));
    let mut known = Sample::new("issuing-authority-is-known", &[&world.root], &[], leaf);
    known.community.intermediates = vec![world.issuing.certificate.clone()];
    samples.push(known);
    samples
}

fn refused() -> Vec<Sample> {
    let world = World::new();
    let leaf = &world.leaf.certificate;
    let other = World::new();
    let unknown = Ca::root("Unknown");
    let alone = Ca::root_with("Client", p256(), |p| {
        p.is_ca = rcgen::IsCa::NoCa;
        p.key_usages = vec![];
        p.subject_alt_names = vec![uri("https://client.example/udap")];
    });
    // Two authorities that certify each other, and nobody else does.
    let one = Ca::root("One");
    let two = one.child("Two");
    let back = two.child_with("One", copy(one.issuer.key()), |_| {});
    let lost = two.leaf();
    let mut selected = vec![
        Sample::new("self-signed-leaf", &[&world.root], &[], &alone.certificate),
        Sample::new("unknown-root", &[&world.root], &[], &unknown.leaf().certificate),
        Sample::new(
            "stranger-sends-a-root",
            &[&world.root],
            &[&unknown],
            &unknown.leaf().certificate,
        ),
        Sample::new("root-of-another-community", &[&Ca::root("Other")], &[&world.issuing], leaf),
        Sample::new("namesake-of-the-root", &[&other.root], &[&world.issuing], leaf),
        Sample::new(
            "namesake-of-the-authority",
            &[&world.root],
            &[&world.root.child("Issuing")],
            leaf,
        ),
        Sample::new("missing-authority", &[&world.root], &[], leaf),
        Sample::new("authorities-in-a-circle", &[&world.root], &[&two, &back], &lost.certificate),
    ];
    let mut foreign =
        Sample::new("outside-the-uri-prefixes", &[&world.root], &[&world.issuing], leaf);
    foreign.community.uri_prefixes = vec!["https://elsewhere.example/".to_owned()];
    selected.push(foreign);
    let mut pinned =
        Sample::new("other-issuing-authority", &[&world.root], &[&world.issuing], leaf);
    pinned.community.issuing = vec![world.root.certificate.thumbprint()];
    selected.push(pinned);
    selected
}

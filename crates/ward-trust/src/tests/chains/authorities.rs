//! Authorities and anchors that must be refused.

use rcgen::{BasicConstraints, IsCa, KeyUsagePurpose};

use super::super::pki::{Ca, NOW, World, at, extension, p256, patched, rsa, uri};
use super::{Edit, Sample, issuing, sound, three};

pub(super) fn all() -> Vec<Sample> {
    let root = |name, edit: Edit<'_>| three(name, edit, &sound, &sound);
    let unknown = |p: &mut rcgen::CertificateParams| {
        p.custom_extensions = vec![extension(&[1, 2, 3, 4], true, vec![5, 0])];
    };
    let mut samples = vec![
        issuing("authority-expired", &|p| p.not_after = at(NOW - 1)),
        issuing("authority-not-yet-valid", &|p| p.not_before = at(NOW + 1)),
        issuing("authority-without-basic-constraints", &|p| p.is_ca = IsCa::NoCa),
        issuing("authority-says-ca-false", &|p| p.is_ca = IsCa::ExplicitNoCa),
        issuing("authority-without-cert-sign", &|p| {
            p.key_usages = vec![KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        }),
        issuing("authority-critical-unknown-extension", &unknown),
        issuing("authority-key-usage-unreadable", &|p| {
            p.key_usages = vec![];
            p.custom_extensions = vec![extension(&[2, 5, 29, 15], true, vec![5, 0])];
        }),
        root("anchor-expired", &|p| p.not_after = at(NOW - 1)),
        root("anchor-not-yet-valid", &|p| p.not_before = at(NOW + 1)),
        root("anchor-without-basic-constraints", &|p| p.is_ca = IsCa::NoCa),
        root("anchor-says-ca-false", &|p| p.is_ca = IsCa::ExplicitNoCa),
        root("anchor-without-cert-sign", &|p| p.key_usages = vec![KeyUsagePurpose::CrlSign]),
        root("anchor-path-length-0", &|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
    ];
    samples.push(path_length());
    samples.push(leaf_as_issuer());
    samples.extend(fields());
    samples.extend(old_hashes());
    samples
}

fn path_length() -> Sample {
    let root = Ca::root("Root");
    let first =
        root.child_with("First", p256(), |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let second = first.child("Second");
    let leaf = second.leaf();
    Sample::new("path-length-exceeded", &[&root], &[&second, &first], &leaf.certificate)
}

/// A member signs a certificate with its own.
fn leaf_as_issuer() -> Sample {
    let world = World::new();
    let member = world.issuing.child_with("Member", p256(), |p| {
        p.is_ca = IsCa::NoCa;
        p.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        p.subject_alt_names = vec![uri("https://member.example/")];
    });
    let forged = member.leaf();
    let extra = [&member, &world.issuing];
    Sample::new("leaf-as-issuer", &[&world.root], &extra, &forged.certificate)
}

/// Certificates of authorities that no library would issue.
fn fields() -> Vec<Sample> {
    let world = World::new();
    let sample = |name, issuing: Vec<u8>| Sample {
        extra: vec![issuing],
        ..Sample::new(name, &[&world.root], &[], &world.leaf.certificate)
    };
    let mut flipped = world.issuing.certificate.der().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let changed = |name, edit: &dyn Fn(&mut Vec<Vec<u8>>)| {
        sample(name, world.root.resigned(&world.issuing.certificate, edit))
    };
    vec![
        sample("authority-signature-changed", flipped),
        changed("authority-version-1", &|fields| {
            fields.truncate(7);
            fields.remove(0);
        }),
        changed("authority-serial-zero", &|fields| fields[1] = vec![2, 1, 0]),
    ]
}

/// The issuing authority's certificate says that it was signed with an old hash.
fn old_hashes() -> Vec<Sample> {
    let root = Ca::root_with("Root", rsa(1), |_| {});
    let issuing = root.child("Issuing");
    let leaf = issuing.leaf();
    let sha256 = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
    [("signed-with-sha1", 5), ("signed-with-md5", 4)]
        .into_iter()
        .map(|(name, other)| {
            let mut weak = sha256;
            weak[8] = other;
            Sample {
                extra: vec![patched(&issuing.certificate, &sha256, &weak).der().to_vec()],
                ..Sample::new(name, &[&root], &[], &leaf.certificate)
            }
        })
        .collect()
}

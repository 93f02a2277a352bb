//! Chains that must be accepted.

use rcgen::{
    BasicConstraints, DistinguishedName, ExtendedKeyUsagePurpose as Eku, IsCa, KeyPair, SanType,
    SerialNumber,
};

use super::super::pki::{CLIENT, Ca, DAY, NOW, World, at, extension, p256, p384, rsa, uri};
use super::{Sample, copy, issuing, leaf, sound, three};

pub(super) fn all() -> Vec<Sample> {
    let plain = |name, key| {
        let world = World::with_key(key);
        Sample::new(name, &[&world.root], &[&world.issuing], &world.leaf.certificate)
    };
    let eku = |name, usage: Eku| leaf(name, &|p| p.extended_key_usages = vec![usage.clone()]);
    let mut samples = vec![
        plain("plain-p256", p256()),
        plain("plain-p384", p384()),
        plain("plain-rsa-2048", rsa(0)),
        eku("eku-server", Eku::ServerAuth),
        eku("eku-client", Eku::ClientAuth),
        eku("eku-any", Eku::Any),
        eku("eku-private", Eku::Other(vec![1, 3, 6, 1, 4, 1, 9])),
        leaf("leaf-without-key-usage", &|p| p.key_usages = vec![]),
        leaf("two-uris-and-a-host", &|p| {
            p.subject_alt_names = vec![
                uri(CLIENT),
                SanType::DnsName("client.example".try_into().unwrap()),
                uri("https://client.example/two"),
            ];
        }),
        leaf("uri-with-a-star", &|p| p.subject_alt_names = vec![uri("https://*.example/")]),
        leaf("first-second-of-validity", &|p| p.not_before = at(NOW)),
        leaf("last-second-of-validity", &|p| p.not_after = at(NOW)),
        leaf("valid-beyond-2050", &|p| p.not_after = at(NOW + 40 * 365 * DAY)),
        leaf("unknown-extension", &|p| {
            p.custom_extensions = vec![extension(&[1, 2, 3, 4], false, vec![5, 0])];
        }),
        leaf("empty-subject", &|p| p.distinguished_name = DistinguishedName::new()),
        leaf("serial-of-20-octets", &|p| {
            p.serial_number = Some(SerialNumber::from_slice(&[0x7f; 20]));
        }),
        issuing("path-length-0", &|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
        three(
            "path-length-1-at-the-root",
            &|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(1)),
            &sound,
            &sound,
        ),
        issuing("authority-without-key-usage", &|p| p.key_usages = vec![]),
    ];
    samples.push(rsa_authorities());
    samples.push(depth("six-authorities", 6));
    samples.push(under_the_root());
    samples.push(self_issued());
    samples
}

/// Signatures with RSA and SHA-512 over a leaf with a P-256 key.
fn rsa_authorities() -> Sample {
    let key = |which| {
        let der = rsa(which).serialize_der();
        let der = rustls_pki_types::PrivatePkcs8KeyDer::from(der);
        KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_RSA_SHA512).unwrap()
    };
    let root = Ca::root_with("Root", key(0), |_| {});
    let issuing = root.child_with("Issuing", key(1), |_| {});
    let leaf = issuing.leaf();
    Sample::new("rsa-sha512-authorities", &[&root], &[&issuing], &leaf.certificate)
}

/// So many authorities between anchor and leaf, sent in the wrong order.
pub(super) fn depth(name: &'static str, authorities: usize) -> Sample {
    let root = Ca::root("Root");
    let mut chain: Vec<Ca> = Vec::new();
    for at in 0..authorities {
        let above = chain.last().unwrap_or(&root);
        let next = above.child(&format!("Authority {at}"));
        chain.push(next);
    }
    let leaf = chain.last().unwrap().leaf();
    let extra: Vec<&Ca> = chain.iter().collect();
    Sample::new(name, &[&root], &extra, &leaf.certificate)
}

fn under_the_root() -> Sample {
    let root = Ca::root("Root");
    let leaf = root.leaf();
    Sample::new("leaf-under-the-root", &[&root], &[], &leaf.certificate)
}

/// An authority that may have none below it has changed its key: its self-issued certificate does not count.
fn self_issued() -> Sample {
    let none_below = |p: &mut rcgen::CertificateParams| {
        p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    };
    let root = Ca::root("Root");
    let old = root.child_with("Issuing", p256(), none_below);
    let new = old.child_with("Issuing", p256(), none_below);
    let leaf = new.leaf_with(copy(&p256()), |_| {});
    Sample::new("self-issued-key-change", &[&root], &[&old, &new], &leaf.certificate)
}

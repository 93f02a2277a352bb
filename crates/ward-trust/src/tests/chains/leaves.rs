//! Leaves that must be refused.

use der::Decode as _;
use der::asn1::AnyRef;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Eku,
    IsCa, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};

use super::super::pki::{
    CLIENT, NOW, World, at, children, ec_spki, extension, patched, rsa_spki, tlv, uri,
};
use super::{Sample, leaf};

pub(super) fn all() -> Vec<Sample> {
    let usage =
        |name, usages: &'static [KeyUsagePurpose]| leaf(name, &|p| p.key_usages = usages.to_vec());
    let san = |name, names: Vec<SanType>| leaf(name, &|p| p.subject_alt_names.clone_from(&names));
    let raw = |name, oid: &'static [u64], critical, content: Vec<u8>| {
        leaf(name, &|p: &mut CertificateParams| {
            p.subject_alt_names = vec![uri(CLIENT)];
            if oid == SAN {
                p.subject_alt_names = vec![];
            }
            if oid == KEY_USAGE {
                p.key_usages = vec![];
            }
            p.custom_extensions = vec![extension(oid, critical, content.clone())];
        })
    };
    let dns = || SanType::DnsName("client.example".try_into().unwrap());
    let mut samples = vec![
        leaf("leaf-expired", &|p| p.not_after = at(NOW - 1)),
        leaf("leaf-not-yet-valid", &|p| p.not_before = at(NOW + 1)),
        leaf("validity-ends-before-it-begins", &|p| {
            p.not_before = at(NOW + 10);
            p.not_after = at(NOW - 10);
        }),
        raw("leaf-critical-unknown-extension", &[1, 2, 3, 4], true, vec![5, 0]),
        usage("key-usage-encipherment", &[KeyUsagePurpose::KeyEncipherment]),
        usage("key-usage-content-commitment", &[KeyUsagePurpose::ContentCommitment]),
        raw("key-usage-unreadable", KEY_USAGE, true, vec![0x05, 0]),
        san("san-missing", vec![]),
        san("san-host-only", vec![dns()]),
        leaf("uri-in-common-name", &|p| {
            p.subject_alt_names = vec![];
            p.distinguished_name = DistinguishedName::new();
            p.distinguished_name.push(DnType::CommonName, CLIENT);
        }),
        san("san-uri-with-nul", vec![uri("https://client.example\0.evil.example/")]),
        raw(
            "san-uri-not-ascii",
            SAN,
            false,
            tlv(0x30, &[&tlv(0x86, &["https://cli\u{e9}nt.example/".as_bytes()])]),
        ),
        raw(
            "san-one-bad-uri",
            SAN,
            false,
            tlv(0x30, &[&tlv(0x86, &[CLIENT.as_bytes()]), &tlv(0x86, &[b"a b"])]),
        ),
        raw("san-empty", SAN, false, vec![0x30, 0]),
        raw("san-not-der", SAN, false, vec![0x30, 9, 1]),
        leaf("leaf-is-an-authority", &|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        leaf("serial-zero", &|p| p.serial_number = Some(SerialNumber::from_slice(&[0]))),
        raw("extended-key-usage-unreadable", &[2, 5, 29, 37], false, tlv(0x30, &[&[5, 0]])),
        raw("extended-key-usage-empty", &[2, 5, 29, 37], false, tlv(0x30, &[])),
        leaf("eku-for-ocsp-only", &|p| p.extended_key_usages = vec![Eku::OcspSigning]),
    ];
    samples.extend(keys());
    samples.extend(fields());
    samples
}

const SAN: &[u64] = &[2, 5, 29, 17];
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];

fn keys() -> Vec<Sample> {
    let world = World::new();
    let secp256k1 = [0x2b, 0x81, 0x04, 0x00, 0x0a];
    let p192 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 1];
    let sample = |name, leaf: &_| Sample::new(name, &[&world.root], &[&world.issuing], leaf);
    let mut samples: Vec<_> = [
        ("rsa-1024", rsa_spki(128, &[1, 0, 1])),
        ("rsa-2040", rsa_spki(255, &[1, 0, 1])),
        ("rsa-exponent-3", rsa_spki(256, &[3])),
        ("rsa-exponent-1", rsa_spki(256, &[1])),
        ("rsa-exponent-even", rsa_spki(256, &[1, 0, 0])),
        ("curve-secp256k1", ec_spki(&secp256k1, 64)),
        ("curve-p192", ec_spki(&p192, 48)),
    ]
    .into_iter()
    .map(|(name, spki)| sample(name, &world.issuing.leaf_for(spki)))
    .collect();
    for (name, algorithm) in
        [("key-ed25519", &rcgen::PKCS_ED25519), ("curve-p521", &rcgen::PKCS_ECDSA_P521_SHA512)]
    {
        let key = KeyPair::generate_for(algorithm).unwrap();
        samples.push(sample(name, &world.issuing.leaf_with(key, |_| {}).certificate));
    }
    samples
}

/// Certificates that no library would issue: made from a sound one, field by field.
fn fields() -> Vec<Sample> {
    let world = World::new();
    let sound = &world.leaf.certificate;
    let sample = |name, leaf: Vec<u8>| Sample {
        leaf,
        ..Sample::new(name, &[&world.root], &[&world.issuing], sound)
    };
    let changed =
        |name, edit: &dyn Fn(&mut Vec<Vec<u8>>)| sample(name, world.issuing.resigned(sound, edit));
    let ecdsa = |last| tlv(0x30, &[&[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, last]]);
    let mut flipped = sound.der().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let mut longer = sound.der().to_vec();
    longer.push(0);
    vec![
        changed("serial-negative", &|fields| fields[1] = vec![2, 1, 0x81]),
        changed("serial-of-21-octets", &|fields| fields[1] = tlv(2, &[&[0x7f; 21]])),
        changed("version-2", &|fields| fields[0] = vec![0xa0, 3, 2, 1, 1]),
        changed("version-1-with-extensions", &|fields| {
            fields.remove(0);
        }),
        changed("version-7", &|fields| fields[0] = vec![0xa0, 3, 2, 1, 7]),
        changed("two-signature-algorithms", &|fields| fields[2] = ecdsa(3)),
        changed("leaf-without-extensions", &|fields| fields.truncate(7)),
        changed("extension-twice", &|fields| {
            let list = AnyRef::from_der(&fields[7]).unwrap().value().to_vec();
            let mut list = children(&list);
            list.push(list[0].clone());
            fields[7] = tlv(0xa3, &[&tlv(0x30, &[&list.concat()])]);
        }),
        sample("signature-changed", flipped),
        sample("octets-behind-the-certificate", longer),
        sample(
            "content-changed",
            patched(sound, b"client.example", b"victim.example").der().to_vec(),
        ),
    ]
}

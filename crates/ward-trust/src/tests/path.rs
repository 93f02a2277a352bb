//! Rows X01..X46 of udap.md §7.3 and their honest counterparts, each with a chain made for it.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CidrSubnet, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope,
    DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose,
    NameConstraints, SanType,
};
use ward_core::Timestamp;

use super::pki::{
    CLIENT, Ca, DAY, NOW, World, at, community, crl_url, ec_spki, extension, now, p256, p384,
    patched, rsa, rsa_spki, tlv, uri,
};
use crate::{Certificate, Community, Crl, PathError, validate};

pub(super) struct Case {
    pub(super) row: &'static str,
    pub(super) leaf: Certificate,
    pub(super) extra: Vec<Certificate>,
    pub(super) community: Community,
    pub(super) lists: Vec<Arc<Crl>>,
    pub(super) want: Result<usize, PathError>,
}

/// The world's own leaf, chain and lists; `want` is the number of certificates below the anchor.
pub(super) fn case(row: &'static str, world: &World, want: Result<usize, PathError>) -> Case {
    Case {
        row,
        leaf: world.leaf.certificate.clone(),
        extra: vec![world.issuing.certificate.clone()],
        community: world.community(),
        lists: world.lists(),
        want,
    }
}

/// Another leaf under the world's issuing CA.
pub(super) fn leaf_case(
    row: &'static str,
    world: &World,
    want: Result<usize, PathError>,
    edit: impl FnOnce(&mut rcgen::CertificateParams),
) -> Case {
    let leaf = world.issuing.leaf_with(p256(), edit).certificate;
    Case { leaf, ..case(row, world, want) }
}

/// Another issuing CA and a leaf under it.
pub(super) fn issuing_case(
    row: &'static str,
    want: Result<usize, PathError>,
    edit: impl FnOnce(&mut rcgen::CertificateParams),
) -> Case {
    let root = Ca::root("Root");
    let issuing = root.child_with("Issuing", p256(), edit);
    let leaf = issuing.leaf();
    let lists = vec![root.list(&[]), Ca::list_of(&issuing)];
    Case {
        row,
        leaf: leaf.certificate,
        extra: vec![issuing.certificate],
        community: community(&[&root]),
        lists,
        want,
    }
}

impl Ca {
    /// An empty list, also of a CA that may not sign lists: made under its name and key all the same.
    fn list_of(ca: &Self) -> Arc<Crl> {
        if ca.issuer.key_usages().contains(&KeyUsagePurpose::CrlSign) {
            return ca.list(&[]);
        }
        let key = KeyPair::try_from(ca.issuer.key().serialized_der()).unwrap();
        Self::root_with(&ca.name, key, |_| {}).list(&[])
    }
}

pub(super) fn run(cases: Vec<Case>) {
    for case in cases {
        let got = validate(&case.leaf, &case.extra, &case.community, &case.lists, now())
            .map(|chain| chain.certificates.len());
        assert_eq!(got, case.want, "{}", case.row);
    }
}

#[test]
fn honest_chains_are_accepted() {
    let world = World::new();
    let mut cases = vec![
        case("plain", &world, Ok(2)),
        case("P-384", &World::with_key(p384()), Ok(2)),
        case("RSA", &World::with_key(rsa(0)), Ok(2)),
        leaf_case("EKU serverAuth", &world, Ok(2), |p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }),
        leaf_case("EKU any", &world, Ok(2), |p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
        }),
        leaf_case("EKU private", &world, Ok(2), |p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, 9])];
        }),
        leaf_case("no keyUsage", &world, Ok(2), |p| p.key_usages = vec![]),
        leaf_case("two URIs and a host", &world, Ok(2), |p| {
            p.subject_alt_names = vec![
                uri(CLIENT),
                SanType::DnsName("client.example".try_into().unwrap()),
                uri("https://client.example/two"),
            ];
        }),
        leaf_case("X42 a wildcard is taken literally", &world, Ok(2), |p| {
            p.subject_alt_names = vec![uri("https://*.example/")];
        }),
        leaf_case("valid from this second on", &world, Ok(2), |p| p.not_before = at(NOW)),
        leaf_case("valid to this second", &world, Ok(2), |p| p.not_after = at(NOW)),
        leaf_case("unknown extension, not critical", &world, Ok(2), |p| {
            p.custom_extensions = vec![extension(&[1, 2, 3, 4], false, vec![5, 0])];
        }),
        issuing_case("pathLen 0", Ok(2), |p| {
            p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        }),
        issuing_case("PKI-10 URI inside the subtree", Ok(2), |p| {
            p.custom_extensions = vec![uri_constraint("client.example")];
        }),
        issuing_case("a constraint on hosts does not bind URIs", Ok(2), |p| {
            p.name_constraints = Some(NameConstraints {
                permitted_subtrees: vec![GeneralSubtree::DnsName("elsewhere.example".into())],
                excluded_subtrees: vec![],
            });
        }),
    ];

    let leaf = world.root.leaf();
    let lists = vec![world.root.list(&[])];
    let community = world.community();
    cases.push(Case {
        row: "leaf under the root",
        leaf: leaf.certificate,
        extra: vec![],
        community,
        lists,
        want: Ok(1),
    });

    let second = world.issuing.child("Second");
    let third = second.child("Third");
    let leaf = third.leaf();
    cases.push(Case {
        row: "PKI-08 order does not matter",
        extra: vec![
            third.certificate.clone(),
            world.issuing.certificate.clone(),
            second.certificate.clone(),
        ],
        leaf: leaf.certificate,
        community: world.community(),
        lists: vec![
            world.root.list(&[]),
            world.issuing.list(&[]),
            second.list(&[]),
            third.list(&[]),
        ],
        want: Ok(4),
    });

    let mut junk = case("PKI-09 junk is ignored", &world, Ok(2));
    let stranger = Ca::root("Stranger");
    junk.extra.insert(0, stranger.certificate.clone());
    junk.extra.insert(0, stranger.leaf().certificate);
    junk.extra.push(world.root.certificate.clone());
    junk.extra.push(world.leaf.certificate.clone());
    cases.push(junk);

    let mut cached = case("PKI-07 the issuing CA is known", &world, Ok(2));
    cached.community.intermediates = std::mem::take(&mut cached.extra);
    cases.push(cached);

    let mut rolled = case("PKI-16 old and new anchor", &world, Ok(2));
    rolled.community.anchors.insert(0, Ca::root("New root").certificate);
    cases.push(rolled);

    let root_key = || KeyPair::try_from(world.root.issuer.key().serialized_der()).unwrap();
    let old = Ca::root_with("Root", root_key(), |p| p.not_after = at(NOW - 1));
    let mut renewed = case("X04 an anchor renewed under the same key", &world, Ok(2));
    renewed.community.anchors.insert(0, old.certificate);
    cases.push(renewed);

    let named = |p: &mut rcgen::CertificateParams| {
        let policies = tlv(0x30, &[&tlv(0x30, &[&tlv(0x06, &[&[0x2a, 3, 4]])])]);
        p.custom_extensions = vec![extension(&[2, 5, 29, 32], false, policies)];
    };
    let root = Ca::root("Root");
    let issuing = root.child_with("Issuing", p256(), named);
    let mut policy = Case {
        row: "PKI-14 policy",
        leaf: issuing.leaf_with(p256(), named).certificate,
        extra: vec![issuing.certificate.clone()],
        community: super::pki::community(&[&root]),
        lists: vec![root.list(&[]), issuing.list(&[])],
        want: Ok(2),
    };
    policy.community.policies = vec!["1.2.3.4".to_owned()];
    cases.push(policy);

    let mut prefix = case("URI prefix", &world, Ok(2));
    prefix.community.uri_prefixes = vec!["https://client.example/".to_owned()];
    cases.push(prefix);

    let mut soft = case("PKI-04 soft by configuration", &world, Ok(2));
    soft.lists.clear();
    soft.community.require_revocation = false;
    cases.push(soft);

    let mut both = case("an old and a new list", &world, Ok(2));
    both.lists.insert(0, world.issuing.list_with(&[], |l| l.next_update = at(NOW - 60)));
    cases.push(both);

    let mut scoped = case("list with a scope", &world, Ok(2));
    scoped.lists[1] = world.issuing.list_with(&[], |l| {
        l.issuing_distribution_point = Some(scope("Issuing", Some(CrlScope::UserCertsOnly)));
    });
    cases.push(scoped);
    cases.push(two_paths("X44 one of two paths is revoked", Ok(2)));

    run(cases);
}

/// Two certificates for one issuing CA, under two anchors; the first is revoked.
pub(super) fn two_paths(row: &'static str, want: Result<usize, PathError>) -> Case {
    let (one, two) = (Ca::root("One"), Ca::root("Two"));
    let issuing = one.child("Issuing");
    let key = || KeyPair::try_from(issuing.issuer.key().serialized_der()).unwrap();
    let again = two.child_with("Issuing", key(), |_| {});
    Case {
        row,
        leaf: issuing.leaf().certificate,
        lists: vec![one.list(&[&issuing.certificate]), two.list(&[]), issuing.list(&[])],
        extra: vec![issuing.certificate, again.certificate],
        community: community(&[&one, &two]),
        want,
    }
}

pub(super) fn scope(issuer: &str, scope: Option<CrlScope>) -> CrlIssuingDistributionPoint {
    CrlIssuingDistributionPoint {
        distribution_point: CrlDistributionPoint { uris: vec![crl_url(issuer)] },
        scope,
    }
}

#[test]
fn leaves_that_must_be_refused() {
    let world = World::new();
    let raw_san = |content: Vec<u8>| {
        move |p: &mut rcgen::CertificateParams| {
            p.subject_alt_names = vec![];
            p.custom_extensions = vec![extension(&[2, 5, 29, 17], false, content)];
        }
    };
    let mut cases = vec![
        leaf_case("X01", &world, Err(PathError::Expired), |p| p.not_after = at(NOW - 1)),
        leaf_case("X02", &world, Err(PathError::NotYetValid), |p| p.not_before = at(NOW + 1)),
        leaf_case("X32", &world, Err(PathError::CriticalExtension), |p| {
            p.custom_extensions = vec![extension(&[1, 2, 3, 4], true, vec![5, 0])];
        }),
        leaf_case("X33 keyEncipherment only", &world, Err(PathError::KeyUsage), |p| {
            p.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
        }),
        leaf_case("X33 contentCommitment only", &world, Err(PathError::KeyUsage), |p| {
            p.key_usages = vec![KeyUsagePurpose::ContentCommitment];
        }),
        leaf_case("X38", &world, Err(PathError::NoUri), |p| p.subject_alt_names = vec![]),
        leaf_case("X39", &world, Err(PathError::NoUri), |p| {
            p.subject_alt_names = vec![SanType::DnsName("client.example".try_into().unwrap())];
        }),
        leaf_case("X40", &world, Err(PathError::NoUri), |p| {
            p.subject_alt_names = vec![];
            p.distinguished_name.push(DnType::CommonName, CLIENT);
        }),
        leaf_case("X41 NUL", &world, Err(PathError::MalformedUri), |p| {
            p.subject_alt_names = vec![uri("https://client.example\0.evil.example/")];
        }),
        leaf_case(
            "X41 not ASCII",
            &world,
            Err(PathError::MalformedUri),
            raw_san(tlv(0x30, &[&tlv(0x86, &["https://cli\u{e9}nt.example/".as_bytes()])])),
        ),
        leaf_case(
            "X41 one bad URI beside a good one",
            &world,
            Err(PathError::MalformedUri),
            raw_san(tlv(0x30, &[&tlv(0x86, &[CLIENT.as_bytes()]), &tlv(0x86, &[b"a b"])])),
        ),
        leaf_case("X41 empty", &world, Err(PathError::MalformedUri), raw_san(vec![0x30, 0])),
        leaf_case("X41 no DER", &world, Err(PathError::MalformedUri), raw_san(vec![0x30, 9, 1])),
        leaf_case("leaf is a CA", &world, Err(PathError::LeafIsAuthority), |p| {
            p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }),
        leaf_case("keyUsage that does not decode", &world, Err(PathError::Malformed), |p| {
            p.key_usages = vec![];
            p.custom_extensions = vec![extension(&[2, 5, 29, 15], true, vec![0x05, 0])];
        }),
    ];
    let secp256k1 = [0x2b, 0x81, 0x04, 0x00, 0x0a];
    let p192 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 1];
    let e65537 = [1, 0, 1];
    for (row, spki, want) in [
        ("X34 RSA-1024", rsa_spki(128, &e65537), Err(PathError::WeakKey)),
        ("X34 RSA-2040", rsa_spki(255, &e65537), Err(PathError::WeakKey)),
        ("X34 RSA-16384", rsa_spki(2048, &e65537), Err(PathError::WeakKey)),
        ("X35 exponent 3", rsa_spki(256, &[3]), Err(PathError::WeakKey)),
        ("X35 exponent 1", rsa_spki(256, &[1]), Err(PathError::WeakKey)),
        ("X35 exponent 65535", rsa_spki(256, &[0, 0xff, 0xff]), Err(PathError::WeakKey)),
        ("X35 even exponent", rsa_spki(256, &[1, 0, 0]), Err(PathError::WeakKey)),
        ("X36 secp256k1", ec_spki(&secp256k1, 64), Err(PathError::WeakKey)),
        ("X36 P-192", ec_spki(&p192, 48), Err(PathError::WeakKey)),
        ("RSA-2048 is enough", rsa_spki(256, &e65537), Ok(2)),
    ] {
        cases.push(Case { leaf: world.issuing.leaf_for(spki), ..case(row, &world, want) });
    }
    for (row, algorithm) in
        [("X36 Ed25519", &rcgen::PKCS_ED25519), ("X36 P-521", &rcgen::PKCS_ECDSA_P521_SHA512)]
    {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let leaf = world.issuing.leaf_with(key, |_| {}).certificate;
        cases.push(Case { leaf, ..case(row, &world, Err(PathError::WeakKey)) });
    }
    let mut policy = case("X45", &world, Err(PathError::Policy));
    policy.community.policies = vec!["1.2.3.4".to_owned()];
    cases.push(policy);
    let mut prefix = leaf_case("URI prefix", &world, Err(PathError::ForeignUri), |p| {
        p.subject_alt_names = vec![uri(CLIENT), uri("https://elsewhere.example/")];
    });
    prefix.community.uri_prefixes = vec!["https://client.example/".to_owned()];
    cases.push(prefix);
    run(cases);
}

#[test]
fn paths_that_must_be_refused() {
    let world = World::new();
    let mut cases = vec![
        issuing_case("X03", Err(PathError::Expired), |p| p.not_after = at(NOW - 1)),
        issuing_case("X03 not yet valid", Err(PathError::NotYetValid), |p| {
            p.not_before = at(NOW + 1);
        }),
        issuing_case("X27", Err(PathError::NotAuthority), |p| p.is_ca = IsCa::NoCa),
        issuing_case("X27 CA:FALSE", Err(PathError::NotAuthority), |p| {
            p.is_ca = IsCa::ExplicitNoCa;
        }),
        issuing_case("X30", Err(PathError::KeyCertSign), |p| {
            p.key_usages = vec![KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        }),
        issuing_case("X32 in an issuer", Err(PathError::CriticalExtension), |p| {
            p.custom_extensions = vec![extension(&[1, 2, 3, 4], true, vec![5, 0])];
        }),
        issuing_case("X31 URI outside the subtree", Err(PathError::NameConstraint), |p| {
            p.custom_extensions = vec![uri_constraint("elsewhere.example")];
        }),
        issuing_case("the CA may not sign its list", Err(PathError::RevocationSigner), |p| {
            p.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        }),
    ];

    // X31 for a host: the leaf names one outside the permitted subtree.
    let root = Ca::root("Root");
    let issuing = root.child_with("Issuing", p256(), |p| {
        p.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![
                GeneralSubtree::DnsName("client.example".into()),
                GeneralSubtree::IpAddress(CidrSubnet::V4([10, 0, 0, 0], [255, 0, 0, 0])),
            ],
            excluded_subtrees: vec![],
        });
    });
    let leaf = issuing.leaf_with(p256(), |p| {
        p.subject_alt_names =
            vec![uri(CLIENT), SanType::DnsName("elsewhere.example".try_into().unwrap())];
    });
    cases.push(Case {
        row: "X31 host",
        leaf: leaf.certificate,
        lists: vec![root.list(&[]), issuing.list(&[])],
        extra: vec![issuing.certificate],
        community: community(&[&root]),
        want: Err(PathError::NameConstraint),
    });

    // X04: the anchor has expired.
    let root = Ca::root_with("Root", p256(), |p| p.not_after = at(NOW - 1));
    let leaf = root.leaf();
    cases.push(Case {
        row: "X04",
        leaf: leaf.certificate,
        extra: vec![],
        lists: vec![root.list(&[])],
        community: community(&[&root]),
        want: Err(PathError::AnchorExpired),
    });

    // X05: self-signed.
    let selfsigned = Ca::root_with("Client", p256(), |p| {
        p.is_ca = IsCa::NoCa;
        p.key_usages = vec![];
        p.subject_alt_names = vec![uri(CLIENT)];
    });
    let mut x05 = case("X05", &world, Err(PathError::Untrusted));
    x05.leaf = selfsigned.certificate;
    cases.push(x05);

    let stranger = World::new();
    let mut x06 = case("X06", &stranger, Err(PathError::Signature));
    x06.community = world.community(); // A root of the same name, but not the same key.
    cases.push(x06);
    let unknown = Ca::root("Unknown");
    let leaf = unknown.leaf();
    cases.push(Case {
        leaf: leaf.certificate,
        extra: vec![unknown.certificate.clone()],
        lists: vec![unknown.list(&[])],
        ..case("X07 the attacker sends a root along", &world, Err(PathError::Untrusted))
    });
    let mut x08 = case("X08, X09 no such anchor", &world, Err(PathError::Untrusted));
    x08.community.anchors = vec![Ca::root("Other").certificate];
    cases.push(x08);
    let mut none = case("no anchor at all", &world, Err(PathError::Untrusted));
    none.community.anchors.clear();
    cases.push(none);
    let mut x26 = case("X26", &world, Err(PathError::Untrusted));
    x26.extra.clear();
    cases.push(x26);

    // X28: a member's leaf signs another leaf.
    let member = Ca::child_with(&world.issuing, "Member", p256(), |p| {
        p.is_ca = IsCa::NoCa;
        p.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        p.subject_alt_names = vec![uri("https://member.example/")];
    });
    let forged = member.leaf();
    cases.push(Case {
        leaf: forged.certificate,
        extra: vec![member.certificate.clone(), world.issuing.certificate.clone()],
        ..case("X28", &world, Err(PathError::NotAuthority))
    });

    // X29: pathLen 0 with a CA below.
    let root = Ca::root("Root");
    let first = root.child_with("First", p256(), |p| {
        p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let second = first.child("Second");
    let leaf = second.leaf();
    cases.push(Case {
        row: "X29",
        leaf: leaf.certificate,
        lists: vec![root.list(&[]), first.list(&[]), second.list(&[])],
        extra: vec![second.certificate, first.certificate],
        community: community(&[&root]),
        want: Err(PathError::PathLength),
    });

    // X37: the issuing CA's certificate says that it is signed with SHA-1 or MD5.
    let root = Ca::root_with("Root", rsa(1), |_| {});
    let issuing = root.child("Issuing");
    let leaf = issuing.leaf();
    let sha256 = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
    for (row, other) in [("X37 SHA-1", 5), ("X37 MD5", 4)] {
        let mut weak = sha256;
        weak[8] = other;
        cases.push(Case {
            row,
            leaf: leaf.certificate.clone(),
            extra: vec![patched(&issuing.certificate, &sha256, &weak)],
            lists: vec![root.list(&[]), issuing.list(&[])],
            community: community(&[&root]),
            want: Err(PathError::WeakSignature),
        });
    }
    cases.push(Case {
        row: "RSA root, SHA-256",
        leaf: leaf.certificate.clone(),
        lists: vec![root.list(&[]), issuing.list(&[])],
        extra: vec![issuing.certificate],
        community: community(&[&root]),
        want: Ok(2),
    });

    // X43: a CA with the name of the issuing CA and another key.
    let double = world.root.child("Issuing");
    let mut x43 = case("X43", &world, Err(PathError::Signature));
    x43.extra = vec![double.certificate];
    cases.push(x43);
    run(cases);
}

fn uri_constraint(host: &str) -> rcgen::CustomExtension {
    let subtree = tlv(0x30, &[&tlv(0x86, &[host.as_bytes()])]);
    extension(&[2, 5, 29, 30], true, tlv(0x30, &[&tlv(0xa0, &[&subtree])]))
}

#[test]
fn time_is_an_argument() {
    let world = World::new();
    let extra = [world.issuing.certificate.clone()];
    let lists = [
        world.root.list_with(&[], |l| l.next_update = at(NOW + 9999 * DAY)),
        world.issuing.list_with(&[], |l| l.next_update = at(NOW + 9999 * DAY)),
    ];
    for (seconds, want) in [
        (NOW - DAY - 1, Err(PathError::NotYetValid)),
        (NOW, Ok(())),
        (NOW + 365 * DAY, Ok(())),
        (NOW + 365 * DAY + 1, Err(PathError::Expired)),
        (-1, Err(PathError::NotYetValid)),
    ] {
        let now = Timestamp::from_seconds(seconds);
        let got = validate(&world.leaf.certificate, &extra, &world.community(), &lists, now);
        assert_eq!(got.map(|_| ()), want, "{seconds}");
    }
}

//! What selects a community (COM-07, §8.5 as amended): policies, issuing authorities, URI prefixes, and when
//! two communities could both claim one certificate.

use rcgen::{BasicConstraints, IsCa, KeyPair, KeyUsagePurpose};
use ward_core::Thumbprint;

use super::path::leaf_case;
use super::path::{Case, case, issuing_case, run};
use super::pki::{Ca, World, community, extension, now, p256, rsa, tlv, uri};
use crate::{CommunityFault, PathError, validate};

#[test]
fn communities_that_no_certificate_could_tell_apart_overlap() {
    let (one, two) = (Ca::root("One"), Ca::root("Two"));
    let base = community(&[&one]);
    let with = |prefixes: &[&str], policies: &[&str]| {
        let mut community = community(&[&two, &one]);
        community.uri_prefixes = prefixes.iter().map(|&p| p.to_owned()).collect();
        community.policies = policies.iter().map(|&p| p.to_owned()).collect();
        community
    };
    assert!(!base.overlaps(&community(&[&two])));
    assert!(base.overlaps(&with(&[], &[])));
    assert!(base.overlaps(&with(&["https://a/"], &["1.2"])));
    assert!(with(&["https://a/"], &[]).overlaps(&with(&["https://a/b"], &[])));
    assert!(!with(&["https://a/"], &[]).overlaps(&with(&["https://b/"], &[])));
    // One certificate can carry both policies: by them alone nothing is told apart.
    assert!(with(&[], &["1.2"]).overlaps(&with(&[], &["1.3"])));
    // One's anchor is an authority below the other's.
    let below = one.child("Below");
    let mut upper = community(&[&one]);
    assert!(!upper.overlaps(&community(&[&below])), "nothing is known of it");
    upper.intermediates.push(below.certificate.clone());
    assert!(upper.overlaps(&community(&[&below])) && community(&[&below]).overlaps(&upper));
}

#[test]
fn issuing_authorities_tell_communities_apart_by_their_keys() {
    let root = Ca::root("Root");
    let (first, second) = (root.child("First"), root.child("Second"));
    let key = KeyPair::try_from(first.issuer.key().serialized_der()).unwrap();
    let again = root.child_with("First", key, |_| {});
    let by = |known: &[&Ca], issuing: &[&Ca], policies: &[&str]| {
        let mut community = community(&[&root]);
        community.intermediates = known.iter().map(|ca| ca.certificate.clone()).collect();
        community.issuing = issuing.iter().map(|ca| ca.certificate.thumbprint()).collect();
        community.policies = policies.iter().map(|&p| p.to_owned()).collect();
        community
    };
    let ours = by(&[&first], &[&first], &[]);
    for (what, other, overlap) in [
        ("another authority", by(&[&second], &[&second], &[]), false),
        ("the same", by(&[&first], &[&first], &[]), true),
        ("one of two", by(&[&first, &second], &[&first, &second], &[]), true),
        ("any", by(&[&second], &[], &[]), true),
        ("one of which nothing is known", by(&[], &[&second], &[]), true),
        ("another certificate for the same key", by(&[&again], &[&again], &[]), true),
        ("the same, which names no policies", by(&[&first], &[&first], &["1.2"]), true),
        ("the root", by(&[], &[&root], &[]), false),
    ] {
        assert_eq!(ours.overlaps(&other), overlap, "{what}");
        assert_eq!(other.overlaps(&ours), overlap, "{what}");
    }
    // An authority whose certificate allows one policy cannot issue under the other.
    let bound =
        root.child_with("Bound", p256(), |p| p.custom_extensions = vec![policies(&[0x2a, 3, 4])]);
    let with = |oid: &str| by(&[&bound], &[&bound], &[oid]);
    assert!(!with("1.2.3.4").overlaps(&with("1.2.3.5")));
    assert!(with("1.2.3.4").overlaps(&with("1.2.3.4")));
}

#[test]
fn members_come_from_the_issuing_authorities_of_their_community() {
    let world = World::new();
    let other = world.root.child("Other");
    let pinned = |row, want, ca: &Ca| {
        let mut case = case(row, &world, want);
        case.community.issuing = vec![ca.certificate.thumbprint()];
        case
    };
    let mut direct = pinned("issued by the root itself", Ok(1), &world.root);
    direct.leaf = world.root.leaf().certificate;
    let mut below =
        pinned("COM-07 an authority below", Err(PathError::ForeignIssuer), &world.issuing);
    let sub = world.issuing.child("Sub");
    below.leaf = sub.leaf().certificate;
    below.extra.push(sub.certificate);
    run(vec![
        pinned("its own", Ok(2), &world.issuing),
        pinned("COM-07 another", Err(PathError::ForeignIssuer), &other),
        pinned("COM-07 the root alone", Err(PathError::ForeignIssuer), &world.root),
        direct,
        below,
    ]);
}

#[test]
fn a_policy_is_worth_what_every_authority_above_says() {
    let (p1, p2, any): (&[u8], &[u8], &[u8]) =
        (&[0x2a, 3, 4], &[0x2a, 3, 5], &[0x55, 0x1d, 0x20, 0]);
    let none: &[u8] = &[];
    let mapping = || {
        let oid = |content: &[u8]| tlv(0x06, &[content]);
        tlv(0x30, &[&tlv(0x30, &[&oid(p2), &oid(p1)])])
    };
    let wanted = vec!["1.2.3.4".to_owned(), "1.2.3.9".to_owned()];
    let listed = |oid: &[u8]| if oid.is_empty() { vec![] } else { vec![policies(oid)] };
    let mut cases = Vec::new();
    for (row, top, middle, extra, want) in [
        ("X45 no authority names policies", none, none, None, Err(PathError::Policy)),
        ("X45 the upper names none", none, p1, None, Err(PathError::Policy)),
        ("both name it", p1, p1, None, Ok(3)),
        ("anyPolicy", any, any, None, Ok(3)),
        (
            "X45 the issuing authority may issue under another alone",
            any,
            p2,
            None,
            Err(PathError::Policy),
        ),
        ("X45 an authority further up", p2, p1, None, Err(PathError::Policy)),
        ("X45 anyPolicy below another", p2, any, None, Err(PathError::Policy)),
        ("a mapping is not followed", any, p2, Some(false), Err(PathError::Policy)),
        ("a critical mapping is understood", any, p1, Some(true), Ok(3)),
    ] {
        let root = Ca::root("Root");
        let first = root.child_with("First", p256(), |p| p.custom_extensions = listed(top));
        let second = first.child_with("Second", p256(), |p| {
            p.custom_extensions = listed(middle);
            if let Some(critical) = extra {
                p.custom_extensions.push(extension(&[2, 5, 29, 33], critical, mapping()));
            }
        });
        let leaf = second.leaf_with(p256(), |p| p.custom_extensions = listed(p1));
        let mut trusted = community(&[&root]);
        trusted.policies.clone_from(&wanted);
        cases.push(Case {
            row,
            leaf: leaf.certificate,
            lists: vec![root.list(&[]), first.list(&[]), second.list(&[])],
            extra: vec![first.certificate, second.certificate],
            community: trusted,
            want,
        });
    }
    // requireExplicitPolicy: 0
    cases.push(issuing_case("an explicit policy is needed", Err(PathError::Policy), |p| {
        p.custom_extensions =
            vec![extension(&[2, 5, 29, 36], true, tlv(0x30, &[&tlv(0x80, &[&[0]])]))];
    }));
    cases.push(issuing_case("an empty list of policies", Err(PathError::Malformed), |p| {
        p.custom_extensions = vec![extension(&[2, 5, 29, 32], false, tlv(0x30, &[]))];
    }));
    // The anchor's own policies count as any authority's.
    let root = Ca::root_with("Root", p256(), |p| p.custom_extensions = listed(p2));
    let leaf = root.leaf_with(p256(), |p| p.custom_extensions = listed(p1)).certificate;
    let mut trusted = community(&[&root]);
    trusted.policies = wanted;
    let lists = vec![root.list(&[])];
    let want = Err(PathError::Policy);
    cases.push(Case {
        row: "X45 the anchor",
        leaf,
        extra: vec![],
        community: trusted,
        lists,
        want,
    });
    run(cases);
}

/// certificatePolicies with one OID (contents only).
fn policies(oid: &[u8]) -> rcgen::CustomExtension {
    extension(&[2, 5, 29, 32], false, tlv(0x30, &[&tlv(0x30, &[&tlv(0x06, &[oid])])]))
}

/// Name, how the root is spoilt, what [`crate::Community::check`] says of it, and what a path of three gives.
type AnchorRow = (&'static str, Edit, Option<PathError>, Result<usize, PathError>);
type Edit = Box<dyn FnOnce(&mut rcgen::CertificateParams)>;

#[test]
fn an_anchor_is_held_to_what_its_certificate_says() {
    let copy = |key: &KeyPair| KeyPair::try_from(key.serialized_der()).unwrap();
    let length = |most| {
        move |p: &mut rcgen::CertificateParams| {
            p.is_ca = IsCa::Ca(BasicConstraints::Constrained(most));
        }
    };
    let sign = |usages: &'static [KeyUsagePurpose]| {
        move |p: &mut rcgen::CertificateParams| {
            p.key_usages = usages.to_vec();
        }
    };
    let rows: Vec<AnchorRow> = vec![
        ("X29 pathLen 0", Box::new(length(0)), None, Err(PathError::PathLength)),
        ("X29 pathLen 1", Box::new(length(1)), None, Err(PathError::PathLength)),
        ("pathLen 2", Box::new(length(2)), None, Ok(3)),
        (
            "X30 no keyCertSign",
            Box::new(sign(&[KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign])),
            Some(PathError::KeyCertSign),
            Err(PathError::KeyCertSign),
        ),
        (
            "X27 CA:FALSE",
            Box::new(|p| p.is_ca = IsCa::ExplicitNoCa),
            Some(PathError::NotAuthority),
            Err(PathError::NotAuthority),
        ),
        (
            "X27 no basicConstraints",
            Box::new(|p| p.is_ca = IsCa::NoCa),
            Some(PathError::NotAuthority),
            Err(PathError::NotAuthority),
        ),
    ];
    for (row, edit, fault, want) in rows {
        let key = p256();
        let root = Ca::root_with("Root", copy(&key), edit);
        // The list is signed under the same name and key, whatever the certificate says.
        let signer = Ca::root_with("Root", key, |_| {});
        let first = root.child("First");
        let second = first.child("Second");
        let trusted = community(&[&root]);
        let anchor = root.certificate.thumbprint();
        assert_eq!(
            trusted.check().err(),
            fault.map(|f| CommunityFault::Anchor(anchor, f)),
            "{row}"
        );
        let lists = [signer.list(&[]), first.list(&[]), second.list(&[])];
        let leaf = second.leaf().certificate;
        let extra = [first.certificate, second.certificate];
        let got = validate(&leaf, &extra, &trusted, &lists, now()).map(|c| c.certificates.len());
        assert_eq!(got, want, "{row}");
    }
}

#[test]
fn an_authority_that_changes_its_key_takes_none_of_the_anchors_path_length() {
    // Old root, new root signed by the old one, issuing authority, leaf: one authority that is not self-issued.
    let old =
        Ca::root_with("Root", rsa(0), |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(1)));
    let new = old.child_with("Root", p256(), |_| {});
    let issuing = new.child("Issuing");
    let leaf = issuing.leaf().certificate;
    let lists = [old.list(&[]), new.list(&[]), issuing.list(&[])];
    let extra = [new.certificate, issuing.certificate];
    let chain = validate(&leaf, &extra, &community(&[&old]), &lists, now());
    assert_eq!(chain.map(|chain| chain.certificates.len()), Ok(3));
}

#[test]
fn a_prefix_ends_where_a_name_ends() {
    let world = World::new();
    let mut cases = Vec::new();
    for (prefix, name, want) in [
        ("https://clinic.example/", "https://clinic.example/udap", Ok(2)),
        ("https:", "https://clinic.example/udap", Ok(2)),
        ("urn:oid:", "urn:oid:1.2.3", Ok(2)),
        // The attacker's own domain, user information, and port.
        ("https://clinic.example", "https://clinic.example.evil.net/", Err(PathError::ForeignUri)),
        ("https://clinic.example", "https://clinic.example@evil.net/", Err(PathError::ForeignUri)),
        (
            "https://clinic.example:",
            "https://clinic.example:x@evil.net/",
            Err(PathError::ForeignUri),
        ),
        ("https://clinic.example/", "https://clinic.example.evil.net/", Err(PathError::ForeignUri)),
        ("", "https://clinic.example/", Err(PathError::ForeignUri)),
    ] {
        let mut case = leaf_case(prefix, &world, want, |p| p.subject_alt_names = vec![uri(name)]);
        case.community.uri_prefixes = vec![prefix.to_owned()];
        let sound = prefix.ends_with('/') || matches!(prefix, "https:" | "urn:oid:");
        let fault = (!sound).then(|| CommunityFault::Prefix(prefix.to_owned()));
        assert_eq!(case.community.check().err(), fault, "{prefix}");
        cases.push(case);
    }
    run(cases);
}

#[test]
fn communities_that_cannot_be_relied_on_are_named() {
    let world = World::new();
    let mut none = world.community();
    none.anchors.clear();
    assert_eq!(none.check(), Err(CommunityFault::NoAnchor));
    let mut pinned = world.community();
    pinned.issuing = vec![world.issuing.certificate.thumbprint()];
    assert_eq!(pinned.check(), Err(CommunityFault::Issuing(pinned.issuing[0])));
    pinned.intermediates.push(world.issuing.certificate.clone());
    assert_eq!(pinned.check(), Ok(()));
    pinned.issuing.push(Thumbprint([7; 32]));
    assert_eq!(pinned.check(), Err(CommunityFault::Issuing(Thumbprint([7; 32]))));
}

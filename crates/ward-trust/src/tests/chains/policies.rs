//! Certificate policies, their mappings and constraints (RFC 5280 §6.1; PKI-14, X45).

use super::super::pki::{Ca, extension, p256, tlv};
use super::Sample;

type Extensions = Vec<rcgen::CustomExtension>;

/// 1.2.3.4, 1.2.3.5, anyPolicy: contents.
const ONE: &[u8] = &[0x2a, 3, 4];
const TWO: &[u8] = &[0x2a, 3, 5];
const ANY: &[u8] = &[0x55, 0x1d, 0x20, 0];

fn named(critical: bool, oids: &[&[u8]]) -> rcgen::CustomExtension {
    let infos: Vec<_> = oids.iter().map(|oid| tlv(0x30, &[&tlv(6, &[oid])])).collect();
    let infos: Vec<_> = infos.iter().map(Vec::as_slice).collect();
    extension(&[2, 5, 29, 32], critical, tlv(0x30, &infos))
}

fn under(oids: &[&[u8]]) -> Extensions {
    vec![named(false, oids)]
}

fn mapping(from: &[u8], to: &[u8]) -> rcgen::CustomExtension {
    let pair = tlv(0x30, &[&tlv(6, &[from]), &tlv(6, &[to])]);
    extension(&[2, 5, 29, 33], true, tlv(0x30, &[&pair]))
}

/// policyConstraints: 0x80 requireExplicitPolicy, 0x81 inhibitPolicyMapping.
fn constraint(tag: u8, skip: u8) -> rcgen::CustomExtension {
    extension(&[2, 5, 29, 36], true, tlv(0x30, &[&tlv(tag, &[&[skip]])]))
}

/// policyConstraints: requireExplicitPolicy 0, inhibitPolicyMapping 0.
fn no_mapping() -> rcgen::CustomExtension {
    extension(&[2, 5, 29, 36], true, tlv(0x30, &[&tlv(0x80, &[&[0]]), &tlv(0x81, &[&[0]])]))
}

fn inhibit_any(skip: u8) -> rcgen::CustomExtension {
    extension(&[2, 5, 29, 54], true, tlv(2, &[&[skip]]))
}

/// Root, two authorities and a leaf with these extensions, in a community that demands 1.2.3.4, or nothing.
fn four(name: &'static str, demand: bool, extensions: [Extensions; 4]) -> Sample {
    let [top, first, second, bottom] = extensions;
    let root = Ca::root_with("Root", p256(), |p| p.custom_extensions = top);
    let first = root.child_with("First", p256(), |p| p.custom_extensions = first);
    let second = first.child_with("Second", p256(), |p| p.custom_extensions = second);
    let leaf = second.leaf_with(p256(), |p| p.custom_extensions = bottom);
    let mut sample = Sample::new(name, &[&root], &[&first, &second], &leaf.certificate);
    if demand {
        sample.community.policies = vec!["1.2.3.4".to_owned(), "1.2.3.9".to_owned()];
    }
    sample
}

pub(super) fn all() -> Vec<Sample> {
    let with = |mut base: Extensions, more: rcgen::CustomExtension| {
        base.push(more);
        base
    };
    let (one, two, any) = (|| under(&[ONE]), || under(&[TWO]), || under(&[ANY]));
    let none = Vec::new;
    let demanded = |name, extensions| four(name, true, extensions);
    let free = |name, extensions| four(name, false, extensions);
    vec![
        demanded("policy-through-the-path", [none(), one(), one(), one()]),
        demanded(
            "policy-one-of-several",
            [none(), under(&[TWO, ONE]), under(&[ONE, TWO]), under(&[TWO, ONE])],
        ),
        demanded("policy-under-any", [none(), any(), any(), one()]),
        demanded("policy-any-in-the-leaf", [none(), one(), one(), any()]),
        demanded(
            "policy-critical",
            [
                none(),
                vec![named(true, &[ONE])],
                vec![named(true, &[ONE])],
                vec![named(true, &[ONE])],
            ],
        ),
        demanded("policy-absent-everywhere", [none(), none(), none(), none()]),
        demanded("policy-absent-in-the-leaf", [none(), one(), one(), none()]),
        demanded("policy-absent-in-an-authority", [none(), one(), none(), one()]),
        demanded("policy-absent-at-the-top", [none(), none(), one(), one()]),
        demanded("policy-other-in-the-leaf", [none(), one(), one(), two()]),
        demanded("policy-other-in-an-authority", [none(), two(), one(), one()]),
        demanded("policy-any-below-another", [none(), two(), any(), one()]),
        demanded("policy-other-at-the-anchor", [two(), one(), one(), one()]),
        demanded("policy-of-the-anchor", [one(), one(), one(), one()]),
        demanded("policy-mapped", [none(), one(), with(under(&[ONE]), mapping(ONE, TWO)), two()]),
        demanded(
            "policy-mapped-from-another",
            [none(), two(), with(under(&[TWO]), mapping(TWO, ONE)), one()],
        ),
        demanded(
            "policy-mapped-to-any",
            [none(), one(), with(under(&[ONE]), mapping(ONE, ANY)), one()],
        ),
        demanded(
            "any-policy-inhibited",
            [none(), with(under(&[ONE]), inhibit_any(0)), any(), one()],
        ),
        demanded(
            "any-policy-inhibited-later",
            [none(), with(under(&[ONE]), inhibit_any(1)), any(), one()],
        ),
        demanded(
            "any-policy-inhibited-but-named",
            [none(), with(under(&[ONE]), inhibit_any(0)), one(), one()],
        ),
        free("policies-not-asked-for", [none(), two(), one(), one()]),
        free(
            "explicit-policy-without-policies",
            [none(), vec![constraint(0x80, 0)], none(), none()],
        ),
        free(
            "explicit-policy-with-policies",
            [none(), with(under(&[ONE]), constraint(0x80, 0)), one(), one()],
        ),
        free(
            "explicit-policy-broken-off",
            [none(), with(under(&[ONE]), constraint(0x80, 0)), one(), two()],
        ),
        free(
            "explicit-policy-beyond-the-path",
            [none(), vec![constraint(0x80, 9)], none(), none()],
        ),
        free(
            "explicit-policy-of-the-anchor",
            [with(one(), constraint(0x80, 0)), one(), one(), two()],
        ),
        free("explicit-policy-of-the-leaf", [none(), none(), none(), vec![constraint(0x80, 0)]]),
        free(
            "explicit-policy-mapped",
            [
                none(),
                with(under(&[ONE]), constraint(0x80, 0)),
                with(under(&[ONE]), mapping(ONE, TWO)),
                two(),
            ],
        ),
        free(
            "explicit-policy-mapping-inhibited",
            [
                none(),
                with(under(&[ONE]), no_mapping()),
                with(under(&[ONE]), mapping(ONE, TWO)),
                two(),
            ],
        ),
        free(
            "mapping-inhibited-and-no-policy-needed",
            [
                none(),
                with(under(&[ONE]), constraint(0x81, 0)),
                with(under(&[ONE]), mapping(ONE, TWO)),
                two(),
            ],
        ),
        free(
            "policies-empty",
            [none(), none(), vec![extension(&[2, 5, 29, 32], false, tlv(0x30, &[]))], none()],
        ),
        free("policy-twice", [none(), under(&[ONE, ONE]), one(), one()]),
        free(
            "policy-constraints-empty",
            [none(), vec![extension(&[2, 5, 29, 36], true, tlv(0x30, &[]))], none(), none()],
        ),
        free(
            "inhibit-any-policy-unreadable",
            [none(), vec![extension(&[2, 5, 29, 54], true, vec![5, 0])], none(), none()],
        ),
    ]
}

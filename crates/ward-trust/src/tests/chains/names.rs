//! Name constraints (RFC 5280 §4.2.1.10; PKI-10, X31).

use rcgen::{DistinguishedName, DnType, SanType};

use super::super::pki::{CLIENT, Ca, extension, p256, tlv, uri};
use super::{Edit, Sample, sound, three};

/// Tags of GeneralName.
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const DIRECTORY: u8 = 0xa4;
const URI: u8 = 0x86;
const IP: u8 = 0x87;
const REGISTERED_ID: u8 = 0x88;

const PERMITTED: u8 = 0xa0;
const EXCLUDED: u8 = 0xa1;

/// The extension with one subtree.
fn constraint(list: u8, tag: u8, base: &[u8]) -> rcgen::CustomExtension {
    constraints(true, &[(list, &[&tlv(0x30, &[&tlv(tag, &[base])])])])
}

fn constraints(critical: bool, lists: &[(u8, &[&[u8]])]) -> rcgen::CustomExtension {
    let lists: Vec<_> = lists.iter().map(|(tag, subtrees)| tlv(*tag, subtrees)).collect();
    let lists: Vec<_> = lists.iter().map(Vec::as_slice).collect();
    extension(&[2, 5, 29, 30], critical, tlv(0x30, &lists))
}

/// A chain whose issuing authority is constrained and whose leaf has these names.
fn bound(name: &'static str, list: u8, tag: u8, base: &[u8], names: &[SanType]) -> Sample {
    three(name, &sound, &|p| p.custom_extensions = vec![constraint(list, tag, base)], &|p| {
        p.subject_alt_names = names.to_vec();
    })
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn email(name: &str) -> SanType {
    SanType::Rfc822Name(name.try_into().unwrap())
}

/// DER of a Name with one UTF8String organisation.
fn organisation(name: &str) -> Vec<u8> {
    attribute(&[0x55, 4, 10], 0x0c, name)
}

fn attribute(oid: &[u8], tag: u8, text: &str) -> Vec<u8> {
    let one = tlv(0x30, &[&tlv(0x06, &[oid]), &tlv(tag, &[text.as_bytes()])]);
    tlv(0x30, &[&tlv(0x31, &[&one])])
}

fn of(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, name);
    subject.push(DnType::CommonName, "Client");
    subject
}

pub(super) fn all() -> Vec<Sample> {
    let mut samples = uris();
    samples.extend(hosts());
    samples.extend(directory());
    samples.extend(places());
    samples
}

fn uris() -> Vec<Sample> {
    let client = [uri(CLIENT)];
    let one = |name, text: &str| bound(name, PERMITTED, URI, b"client.example", &[uri(text)]);
    vec![
        bound("uri-permitted-host", PERMITTED, URI, b"client.example", &client),
        bound("uri-permitted-domain", PERMITTED, URI, b".example", &client),
        bound("uri-outside-the-host", PERMITTED, URI, b"elsewhere.example", &client),
        bound("uri-host-is-no-domain", PERMITTED, URI, b"example", &client),
        bound("uri-domain-is-not-its-own-host", PERMITTED, URI, b".client.example", &client),
        bound("uri-domain-ends-at-a-label", PERMITTED, URI, b".ient.example", &client),
        bound("uri-excluded-host", EXCLUDED, URI, b"client.example", &client),
        bound("uri-excluded-domain", EXCLUDED, URI, b".example", &client),
        bound("uri-excluded-elsewhere", EXCLUDED, URI, b"elsewhere.example", &client),
        bound(
            "uri-one-of-two-outside",
            PERMITTED,
            URI,
            b"client.example",
            &[uri(CLIENT), uri("https://elsewhere.example/")],
        ),
        one("uri-in-other-case", "https://CLIENT.example/"),
        one("uri-with-port", "https://client.example:8443/x"),
        one("uri-with-user", "https://elsewhere.example@client.example/"),
        one("uri-host-in-user-part", "https://client.example@elsewhere.example/"),
        one("uri-host-in-path", "https://elsewhere.example/client.example"),
        one("uri-with-address", "https://192.0.2.1/"),
        one("uri-without-host", "urn:oid:1.2.3"),
        one("uri-with-backslash", "https://elsewhere.example\\@client.example/"),
    ]
}

fn hosts() -> Vec<Sample> {
    let with = |name: SanType| [uri(CLIENT), name];
    let v4 = |a| SanType::IpAddress(std::net::IpAddr::V4(a));
    let net = [10, 0, 0, 0, 255, 0, 0, 0];
    let person = [with(email("one@client.example")), with(email("one@elsewhere.example"))];
    vec![
        bound("host-constraint-binds-no-uri", PERMITTED, DNS, b"elsewhere.example", &[uri(CLIENT)]),
        bound("host-permitted", PERMITTED, DNS, b"example", &with(dns("client.example"))),
        bound("host-outside", PERMITTED, DNS, b"elsewhere.example", &with(dns("client.example"))),
        bound("host-excluded", EXCLUDED, DNS, b"example", &with(dns("client.example"))),
        bound(
            "host-excluded-elsewhere",
            EXCLUDED,
            DNS,
            b"elsewhere.example",
            &with(dns("client.example")),
        ),
        bound(
            "host-ends-at-a-label",
            PERMITTED,
            DNS,
            b"ient.example",
            &with(dns("client.example")),
        ),
        bound("host-star-permitted", PERMITTED, DNS, b"example", &with(dns("*.client.example"))),
        bound(
            "host-star-covers-excluded",
            EXCLUDED,
            DNS,
            b"a.client.example",
            &with(dns("*.client.example")),
        ),
        bound("address-permitted", PERMITTED, IP, &net, &with(v4([10, 1, 2, 3].into()))),
        bound("address-outside", PERMITTED, IP, &net, &with(v4([11, 1, 2, 3].into()))),
        bound("address-excluded", EXCLUDED, IP, &net, &with(v4([10, 1, 2, 3].into()))),
        bound("email-permitted", PERMITTED, EMAIL, b"client.example", &person[0]),
        bound("email-outside", PERMITTED, EMAIL, b"client.example", &person[1]),
        bound("email-mailbox", PERMITTED, EMAIL, b"two@client.example", &person[0]),
        bound("email-excluded-domain", EXCLUDED, EMAIL, b".example", &person[0]),
    ]
}

fn directory() -> Vec<Sample> {
    let one = |name, list, base: &[u8], subject: &str| {
        three(
            name,
            &sound,
            &|p| p.custom_extensions = vec![constraint(list, DIRECTORY, base)],
            &|p| p.distinguished_name = of(subject),
        )
    };
    let clinic = organisation("Clinic");
    let printable = attribute(&[0x55, 4, 10], 0x13, "Clinic");
    vec![
        one("directory-permitted", PERMITTED, &clinic, "Clinic"),
        one("directory-outside", PERMITTED, &clinic, "Practice"),
        one("directory-excluded", EXCLUDED, &clinic, "Clinic"),
        one("directory-excluded-elsewhere", EXCLUDED, &clinic, "Practice"),
        one("directory-excluded-in-other-case", EXCLUDED, &clinic, "CLINIC"),
        one("directory-excluded-in-other-string-type", EXCLUDED, &printable, "Clinic"),
        one("directory-everything-permitted", PERMITTED, &tlv(0x30, &[]), "Clinic"),
    ]
}

/// Where constraints stand, and how they are written.
fn places() -> Vec<Sample> {
    let here = |base: &'static [u8]| {
        move |p: &mut rcgen::CertificateParams| {
            p.custom_extensions = vec![constraint(PERMITTED, URI, base)];
        }
    };
    let subtree = |base: &[u8], more: &[u8]| tlv(0x30, &[&tlv(URI, &[base]), more]);
    let written = |name, critical, subtrees: &[&[u8]]| {
        three(
            name,
            &sound,
            &|p| p.custom_extensions = vec![constraints(critical, &[(PERMITTED, subtrees)])],
            &sound,
        )
    };
    let (own, elsewhere) = (subtree(b"client.example", &[]), subtree(b"elsewhere.example", &[]));
    let mut samples = vec![
        three("anchor-constrained-inside", &here(b"client.example"), &sound, &sound),
        three("anchor-constrained-outside", &here(b"elsewhere.example"), &sound, &sound),
        three("two-constraints-agree", &here(b".example"), &here(b"client.example"), &sound),
        three(
            "two-constraints-exclude-all",
            &here(b"elsewhere.example"),
            &here(b"client.example"),
            &sound,
        ),
        written("constraint-not-critical", false, &[&elsewhere]),
        written("one-of-two-subtrees", true, &[&elsewhere, &own]),
        written("subtree-with-a-minimum", true, &[&subtree(b"client.example", &[0x80, 1, 1])]),
        written("subtree-with-a-maximum", true, &[&subtree(b"client.example", &[0x81, 1, 9])]),
        three(
            "constraint-empty",
            &sound,
            &|p| p.custom_extensions = vec![constraints(true, &[])],
            &sound,
        ),
        three(
            "constraint-of-another-form",
            &sound,
            &|p| p.custom_extensions = vec![constraint(PERMITTED, REGISTERED_ID, &[0x2a, 3])],
            &sound,
        ),
        registered("registered-id-constrained"),
    ];
    samples.push(below("constraint-two-above", &here(b"elsewhere.example")));
    samples.push(between("constraint-binds-authorities"));
    samples
}

/// A name of a form that is constrained and that Ward does not compare.
fn registered(name: &'static str) -> Sample {
    let names = tlv(0x30, &[&tlv(URI, &[CLIENT.as_bytes()]), &tlv(REGISTERED_ID, &[&[0x2a, 3]])]);
    three(
        name,
        &sound,
        &|p| p.custom_extensions = vec![constraint(PERMITTED, REGISTERED_ID, &[0x2a, 3])],
        &|p| {
            p.subject_alt_names = vec![];
            p.custom_extensions = vec![extension(&[2, 5, 29, 17], false, names.clone())];
        },
    )
}

fn below(name: &'static str, first: Edit<'_>) -> Sample {
    let root = Ca::root("Root");
    let first = root.child_with("First", p256(), first);
    let second = first.child("Second");
    let leaf = second.leaf();
    Sample::new(name, &[&root], &[&first, &second], &leaf.certificate)
}

/// The authority in between has another name than the one above allows; the leaf's would do.
fn between(name: &'static str) -> Sample {
    let root = Ca::root("Root");
    let clinic = organisation("Clinic");
    let first = root.child_with("First", p256(), |p| {
        p.custom_extensions = vec![constraint(PERMITTED, DIRECTORY, &clinic)];
    });
    let second = first.child("Second");
    let leaf = second.leaf_with(p256(), |p| p.distinguished_name = of("Clinic"));
    Sample::new(name, &[&root], &[&first, &second], &leaf.certificate)
}

//! Name constraints (RFC 5280 §4.2.1.10, §6.1.3 (b) and (c); PKI-10, X31).
//!
//! URI, DNS, mailbox, address and directory names are compared; a name of another form that is constrained is
//! refused, and so is a name that cannot be compared with certainty: constraints fail closed. The constraints of
//! every authority bind all certificates below it, authorities included; self-issued ones are exempt, as the
//! RFC says, but the leaf is not. That an extension is not critical does not weaken it.

use der::Decode as _;
use der::asn1::{Any, ObjectIdentifier};
use x509_cert::ext::pkix::NameConstraints;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::{GeneralName, GeneralNames};
use x509_cert::name::{Name, RelativeDistinguishedName};

use crate::{Certificate, PathError};

/// Comparisons of a name with a subtree for one path; webpki's own bound.
const MAX_COMPARISONS: usize = 250_000;
/// The mailbox in a subject (RFC 5280 §4.1.2.6), which constraints on mailboxes bind too.
const EMAIL_ADDRESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");

/// Reads the extension. `None`: unreadable, empty, or with a minimum or maximum, which have no meaning.
pub(crate) fn read(value: &[u8]) -> Option<NameConstraints> {
    let constraints = NameConstraints::from_der(value).ok()?;
    let (permitted, excluded) = (&constraints.permitted_subtrees, &constraints.excluded_subtrees);
    if permitted.is_none() && excluded.is_none() {
        return None;
    }
    let lists = || permitted.iter().chain(excluded);
    let plain =
        |one: &GeneralSubtree| one.minimum == 0 && one.maximum.is_none() && sound(&one.base);
    (lists().all(|list| !list.is_empty()) && lists().flatten().all(plain)).then_some(constraints)
}

/// Whether webpki compares all the forms that are constrained here.
pub(crate) fn is_known_to_webpki(constraints: &NameConstraints) -> bool {
    let lists = constraints.permitted_subtrees.iter().chain(&constraints.excluded_subtrees);
    lists
        .flatten()
        .all(|one| matches!(one.base, GeneralName::DnsName(_) | GeneralName::IpAddress(_)))
}

/// Whether a base can be compared with anything.
fn sound(base: &GeneralName) -> bool {
    match base {
        GeneralName::IpAddress(net) => network(net.as_bytes()).is_some(),
        GeneralName::UniformResourceIdentifier(base) => {
            is_host(base.as_str().trim_start_matches('.'))
        }
        GeneralName::DnsName(base) => {
            base.as_str().is_empty() || is_host(base.as_str().trim_start_matches('.'))
        }
        GeneralName::Rfc822Name(base) => {
            let (local, host) = base.as_str().rsplit_once('@').unwrap_or(("all", base.as_str()));
            !local.is_empty() && is_host(host.trim_start_matches('.'))
        }
        _ => true,
    }
}

/// Holds a path, anchor first and leaf last, to all constraints on it.
pub(crate) fn check(path: &[&Certificate]) -> Result<(), PathError> {
    let mut left = MAX_COMPARISONS;
    for (at, authority) in path.iter().enumerate() {
        let Some(constraints) = authority.name_constraints() else { continue };
        for (depth, certificate) in path.iter().enumerate().skip(at + 1) {
            if certificate.is_self_issued() && depth + 1 < path.len() {
                continue;
            }
            for name in names(certificate)? {
                permits(constraints, &name, &mut left)?;
            }
        }
    }
    Ok(())
}

/// All names of a certificate: its subject, the mailboxes in it, and its alternative names.
fn names(certificate: &Certificate) -> Result<Vec<GeneralName>, PathError> {
    let mut names = Vec::new();
    if let Some(value) = certificate.alternative_names() {
        names.extend(GeneralNames::from_der(value).map_err(|_| PathError::NameConstraint)?);
    }
    let subject = Name::from_der(certificate.subject_der()).map_err(|_| PathError::Malformed)?;
    for attribute in subject.iter().filter(|one| one.oid == EMAIL_ADDRESS) {
        let text = text(&attribute.value).ok_or(PathError::NameConstraint)?;
        let text = der::asn1::Ia5String::new(&text).map_err(|_| PathError::NameConstraint)?;
        names.push(GeneralName::Rfc822Name(text));
    }
    if !subject.is_empty() {
        names.push(GeneralName::DirectoryName(subject));
    }
    Ok(names)
}

fn permits(
    constraints: &NameConstraints,
    name: &GeneralName,
    left: &mut usize,
) -> Result<(), PathError> {
    let mut compare = |base: &GeneralName, strict: bool| {
        *left = left.checked_sub(1).ok_or(PathError::TooComplex)?;
        Ok::<_, PathError>(within(name, base, strict))
    };
    for subtree in constraints.excluded_subtrees.iter().flatten() {
        // Undecided is as good as excluded.
        if !matches!(compare(&subtree.base, false)?, Verdict::Outside | Verdict::OtherForm) {
            return Err(PathError::NameConstraint);
        }
    }
    let (mut bound, mut inside) = (false, false);
    for subtree in constraints.permitted_subtrees.iter().flatten() {
        match compare(&subtree.base, true)? {
            Verdict::OtherForm => {}
            Verdict::Inside => (bound, inside) = (true, true),
            Verdict::Outside => bound = true,
            Verdict::Undecided => return Err(PathError::NameConstraint),
        }
    }
    if bound && !inside { Err(PathError::NameConstraint) } else { Ok(()) }
}

/// How a name lies to a subtree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Inside,
    Outside,
    /// The subtree is of another form and says nothing of the name.
    OtherForm,
    /// It cannot be told; refused.
    Undecided,
}

impl From<Option<bool>> for Verdict {
    fn from(inside: Option<bool>) -> Self {
        match inside {
            Some(true) => Self::Inside,
            Some(false) => Self::Outside,
            None => Self::Undecided,
        }
    }
}

/// `strict`: inside must mean the whole of what the name stands for, otherwise a part of it is enough.
fn within(name: &GeneralName, base: &GeneralName, strict: bool) -> Verdict {
    use GeneralName as Form;
    match (name, base) {
        (Form::UniformResourceIdentifier(uri), Form::UniformResourceIdentifier(base)) => {
            host_of(uri.as_str()).map(|host| uri_host(&host, base.as_str())).into()
        }
        (Form::DnsName(name), Form::DnsName(base)) => {
            dns(name.as_str(), base.as_str(), strict).into()
        }
        (Form::Rfc822Name(name), Form::Rfc822Name(base)) => {
            mailbox(name.as_str(), base.as_str(), strict).into()
        }
        (Form::IpAddress(name), Form::IpAddress(base)) => {
            address(name.as_bytes(), base.as_bytes()).into()
        }
        (Form::DirectoryName(name), Form::DirectoryName(base)) => directory(name, base).into(),
        (Form::OtherName(_), Form::OtherName(_))
        | (Form::EdiPartyName(_), Form::EdiPartyName(_))
        | (Form::RegisteredId(_), Form::RegisteredId(_)) => Verdict::Undecided,
        _ => Verdict::OtherForm,
    }
}

/// Lower case, without a last dot.
fn plain_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    host.strip_suffix('.').unwrap_or(&host).to_owned()
}

/// Labels of letters, digits, `-` and `_`, the last one not a number: no IPv4 address.
fn is_host(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    host.split('.').all(label)
        && host
            .rsplit('.')
            .next()
            .is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The host name in a URI (RFC 3986 §3.2.2). `None`: there is none, it is an address, or what stands there is no URI.
fn host_of(uri: &str) -> Option<String> {
    // Readers differ on where the host begins behind a `\` and its like.
    if uri.bytes().any(|byte| !byte.is_ascii_graphic() || b"\"<>\\^`{|}".contains(&byte)) {
        return None;
    }
    let (_, rest) = uri.split_once("://").filter(|(scheme, _)| {
        scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.split_once('@') {
        Some((_, host)) => host,
        None => authority,
    };
    let (host, port) = host.split_once(':').unwrap_or((host, ""));
    // A second `@` is no character of a host.
    (is_host(host) && port.bytes().all(|byte| byte.is_ascii_digit())).then(|| plain_host(host))
}

/// A leading dot: the hosts below; otherwise the host itself and no other.
fn uri_host(host: &str, base: &str) -> bool {
    let base = plain_host(base);
    if base.starts_with('.') {
        host.len() > base.len() && host.ends_with(&base)
    } else {
        host == base
    }
}

/// Whether a host is this domain or lies below it. A base with a leading dot: below it only.
fn below(host: &str, base: &str) -> bool {
    if base.is_empty() || (!base.starts_with('.') && host == base) {
        return true;
    }
    let dotted = if base.starts_with('.') { base.to_owned() } else { format!(".{base}") };
    host.len() > dotted.len() && host.ends_with(&dotted)
}

fn dns(name: &str, base: &str, strict: bool) -> Option<bool> {
    let (name, base) = (plain_host(name), plain_host(base));
    let Some(stem) = name.strip_prefix("*.") else {
        return is_host(&name).then(|| below(&name, &base));
    };
    // A star stands for any label: for one that is excluded as well.
    let meets = || below(base.trim_start_matches('.'), stem);
    is_host(stem).then(|| below(stem, base.trim_start_matches('.')) || (!strict && meets()))
}

/// A base is a mailbox, a host, or with a leading dot the hosts below. Only a hostile reading of an excluded
/// mailbox ignores the case of its local part.
fn mailbox(name: &str, base: &str, strict: bool) -> Option<bool> {
    let (local, host) = name.rsplit_once('@')?;
    let host = Some(plain_host(host)).filter(|host| is_host(host))?;
    Some(match base.rsplit_once('@') {
        Some((wanted, at)) => {
            let same = if strict { local == wanted } else { local.eq_ignore_ascii_case(wanted) };
            same && host == plain_host(at)
        }
        None => uri_host(&host, base),
    })
}

/// Address and mask of a network, the mask without gaps.
fn network(base: &[u8]) -> Option<(&[u8], &[u8])> {
    let (address, mask) =
        base.split_at_checked(base.len() / 2).filter(|_| matches!(base.len(), 8 | 32))?;
    let bits = mask.iter().fold(String::new(), |bits, octet| format!("{bits}{octet:08b}"));
    (!bits.contains("01")).then_some((address, mask))
}

fn address(name: &[u8], base: &[u8]) -> Option<bool> {
    let (net, mask) = network(base)?;
    if !matches!(name.len(), 4 | 16) {
        return None;
    }
    let inside =
        name.iter().zip(net).zip(mask).all(|((name, net), mask)| name & mask == net & mask);
    Some(name.len() == net.len() && inside)
}

/// Whether a base is a prefix of a name, part by part.
fn directory(name: &Name, base: &Name) -> Option<bool> {
    if name.len() < base.len() {
        return Some(false);
    }
    let mut undecided = false;
    for (part, wanted) in name.iter_rdn().zip(base.iter_rdn()) {
        match same_part(part, wanted) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => undecided = true,
        }
    }
    if undecided { None } else { Some(true) }
}

fn same_part(one: &RelativeDistinguishedName, two: &RelativeDistinguishedName) -> Option<bool> {
    if one.len() != two.len() {
        return Some(false);
    }
    let mut undecided = false;
    for attribute in one.iter() {
        let Some(wanted) = two.iter().find(|wanted| wanted.oid == attribute.oid) else {
            return Some(false);
        };
        match same_value(&attribute.value, &wanted.value) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => undecided = true,
        }
    }
    if undecided { None } else { Some(true) }
}

/// Compared as text, without case and with single spaces (RFC 5280 §7.1). Texts outside ASCII that are not the
/// same octet by octet stay undecided: the RFC's preparation of strings is not done here.
fn same_value(one: &Any, two: &Any) -> Option<bool> {
    if one == two {
        return Some(true);
    }
    let (one, two) = (text(one)?, text(two)?);
    if !one.is_ascii() || !two.is_ascii() {
        return if one == two { Some(true) } else { None };
    }
    let fold = |text: &str| {
        text.to_ascii_lowercase().split_ascii_whitespace().collect::<Vec<_>>().join(" ")
    };
    Some(fold(&one) == fold(&two))
}

/// A directory string; `None` for anything that is not text.
fn text(value: &Any) -> Option<String> {
    use der::{Tag, Tagged as _};
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            String::from_utf8(value.value().to_vec()).ok()
        }
        Tag::TeletexString => Some(value.value().iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let units = value.value().chunks(2).map(|pair| match pair {
                [high, low] => Some(u16::from_be_bytes([*high, *low])),
                _ => None,
            });
            String::from_utf16(&units.collect::<Option<Vec<_>>>()?).ok()
        }
        _ => None,
    }
}

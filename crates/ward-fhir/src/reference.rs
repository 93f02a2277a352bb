//! Literal references (R4 §2.3.0.1) and their spellings (D4): relative, versioned, absolute.
//!
//! Used by the request grammar and by the membership function alike, so that both read one reference
//! in one way. Refuses to guess: what is none of the known spellings is [`Reference::Unclear`].

use crate::{FhirId, ResourceType};

/// Bases under which an absolute reference is local.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceBases {
    /// The FHIR base that clients use.
    pub public: String,
    /// The FHIR base of the upstream.
    pub upstream: String,
}

/// What a `Reference.reference` points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A resource of this server.
    Local {
        /// Its type.
        rtype: ResourceType,
        /// Its id.
        id: FhirId,
        /// The version, if one is named.
        version: Option<FhirId>,
    },
    /// `#…`: a resource contained in the same one.
    Contained,
    /// `urn:uuid:…`, `urn:oid:…`.
    Urn,
    /// An absolute URL elsewhere.
    Foreign {
        /// Whether it says, or may hide, `Patient` anywhere.
        patient: bool,
    },
    /// None of these: a conditional reference, a wrong-case type, stray characters, ….
    Unclear,
}

impl Reference {
    /// Reads a reference; absolute ones are local under one of the bases. Scheme and host are compared
    /// without case and default ports are left out (RFC 3986 §6.2.2.1, §6.2.3).
    pub fn parse(text: &str, bases: &[&str]) -> Self {
        match Meaning::of(text, bases) {
            Meaning::Local { rtype, id, version } => {
                // Both are well-formed; were they not, nothing is guessed.
                let version = version.map(FhirId::parse).transpose();
                match (FhirId::parse(id), version) {
                    (Ok(id), Ok(version)) => Self::Local { rtype, id, version },
                    _ => Self::Unclear,
                }
            }
            Meaning::Contained => Self::Contained,
            Meaning::Urn => Self::Urn,
            Meaning::Foreign { patient } => Self::Foreign { patient },
            Meaning::Unclear => Self::Unclear,
        }
    }
}

/// A [`Reference`] as slices of its text: what [`Reference::parse`] and the membership function share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    Local { rtype: ResourceType, id: &'a str, version: Option<&'a str> },
    Contained,
    Urn,
    Foreign { patient: bool },
    Unclear,
}

impl<'a> Meaning<'a> {
    pub(crate) fn of(text: &'a str, bases: &[&str]) -> Self {
        // Nearly all references are a type and an id; none of those is anything else.
        if let Some(local) = Self::plain(text) {
            return local;
        }
        if text.starts_with('#') {
            return Self::Contained;
        }
        if text.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("urn:")) {
            return Self::Urn;
        }
        if is_strange(text) {
            return Self::Unclear;
        }
        let Some(absolute) = Url::split(text) else { return Self::local(text) };
        let known = bases.iter().filter_map(|base| Url::split(base.trim_end_matches('/')));
        for base in known {
            if let Some(rest) = absolute.below(&base) {
                return Self::local(rest);
            }
        }
        Self::Foreign { patient: may_say_patient(text) }
    }

    fn plain(text: &'a str) -> Option<Self> {
        let slash = text.bytes().position(|octet| octet == b'/')?;
        let (name, id) = (text.get(..slash)?, text.get(slash.checked_add(1)?..)?);
        let rtype = ResourceType::from_name(name)?;
        FhirId::well_formed(id).then_some(Self::Local { rtype, id, version: None })
    }

    fn local(text: &'a str) -> Self {
        let mut words = text.split('/');
        let target = words.next().and_then(ResourceType::from_name);
        let id = words.next().filter(|id| FhirId::well_formed(id));
        let version = match (words.next(), words.next(), words.next()) {
            (None, None, None) => None,
            (Some("_history"), Some(version), None) if FhirId::well_formed(version) => {
                Some(version)
            }
            _ => return Self::Unclear,
        };
        match (target, id) {
            (Some(rtype), Some(id)) => Self::Local { rtype, id, version },
            _ => Self::Unclear,
        }
    }

    /// The id of the patient of ours that it points to.
    pub(crate) fn patient(self) -> Option<&'a str> {
        match self {
            Self::Local { rtype, id, .. } if rtype.is_patient() => Some(id),
            _ => None,
        }
    }
}

/// Whether an unclear reference surely means something else than a patient: it begins with another
/// type and neither says nor hides `Patient`.
pub(crate) fn is_surely_no_patient(text: &str) -> bool {
    let head = text.split(['/', '?']).next().and_then(ResourceType::from_name);
    head.is_some_and(|rtype| !rtype.is_patient()) && !may_say_patient(text) && !is_strange(text)
}

/// Whether a text says `Patient`, in any case, or may hide it behind percent-encoding.
fn may_say_patient(text: &str) -> bool {
    let word = b"patient";
    text.contains('%')
        || text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

/// Characters that no reference has and that others may read as a slash, or leave out.
fn is_strange(text: &str) -> bool {
    // Nearly all are plain ASCII, and looked at octet by octet.
    !text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'\\')
        && text
            .chars()
            .any(|letter| letter == '\\' || letter.is_whitespace() || letter.is_control())
}

#[derive(Clone, Copy)]
struct Url<'a> {
    scheme: &'a str,
    /// Without the default port.
    authority: &'a str,
    path: &'a str,
}

impl<'a> Url<'a> {
    fn split(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let rest = rest.strip_prefix("//")?;
        if !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')) {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let default_port = if scheme.eq_ignore_ascii_case("http") { ":80" } else { ":443" };
        let authority = authority.strip_suffix(default_port).unwrap_or(authority);
        Some(Self { scheme, authority, path })
    }

    /// The rest of the path below `base`.
    fn below(&self, base: &Url<'_>) -> Option<&'a str> {
        if !self.scheme.eq_ignore_ascii_case(base.scheme)
            || !self.authority.eq_ignore_ascii_case(base.authority)
        {
            return None;
        }
        self.path.strip_prefix(base.path)?.strip_prefix('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASES: [&str; 2] = ["https://gw.example/default/fhir", "http://127.0.0.1:8080/fhir/"];

    fn patient(id: &str, version: Option<&str>) -> Reference {
        Reference::Local {
            rtype: ResourceType::from_name("Patient").unwrap(),
            id: FhirId::parse(id).unwrap(),
            version: version.map(|version| FhirId::parse(version).unwrap()),
        }
    }

    #[test]
    fn five_spellings_are_one_reference() {
        for text in [
            "Patient/B",
            "https://gw.example/default/fhir/Patient/B",
            "HTTPS://GW.example:443/default/fhir/Patient/B",
            "http://127.0.0.1:8080/fhir/Patient/B",
        ] {
            assert_eq!(Reference::parse(text, &BASES), patient("B", None), "{text}");
        }
        for text in ["Patient/B/_history/1", "http://127.0.0.1:8080/fhir/Patient/B/_history/1"] {
            assert_eq!(Reference::parse(text, &BASES), patient("B", Some("1")), "{text}");
        }
    }

    #[test]
    fn nothing_is_guessed() {
        for (text, want) in [
            ("#p", Reference::Contained),
            ("urn:uuid:85b6b5cc", Reference::Urn),
            ("URN:uuid:85b6b5cc", Reference::Urn),
            ("https://other.example/fhir/Patient/B", Reference::Foreign { patient: true }),
            ("https://other.example/fhir/Device/B", Reference::Foreign { patient: false }),
            ("https://gw.example/default/fhirPatient/B", Reference::Foreign { patient: true }),
            ("https://gw.example/default/FHIR/Patient/B", Reference::Foreign { patient: true }),
            ("https://x.example?ref=Patient/B", Reference::Foreign { patient: true }),
            ("https://x.example/Patient|B", Reference::Foreign { patient: true }),
            ("https://x.example/a?q=patient:B", Reference::Foreign { patient: true }),
            ("https://other.example/%50atient/B", Reference::Foreign { patient: true }),
            ("https://u@gw.example/default/fhir/Patient/B", Reference::Foreign { patient: true }),
        ] {
            assert_eq!(Reference::parse(text, &BASES), want, "{text}");
        }
        for text in [
            "",
            "B",
            "patient/B",
            "Patient/",
            "Patient/B/",
            "/Patient/B",
            "Patient//B",
            "Patient/B ",
            " Patient/B",
            "Patient/B?x=1",
            "Patient?identifier=x",
            "Patient/B/_history",
            "Patient/B/_history/",
            "Patient/B/_history/1/2",
            "Patient/..",
            "Patient/B#x",
            "Foo/1",
            "Patient/%42",
            "https://gw.example/default/fhir//Patient/B",
            "http://127.0.0.1:8080/fhir\\Patient\\B",
            "http:\\\\127.0.0.1:8080\\fhir\\Patient\\B",
            "http://127.0.0.1:8080/fhir/Pat\tient/B",
            "http://127.0.0.1:8080/fhir/Pat\u{a0}ient/B",
            "http://127.0.0.1:8080/fhir/Pat\u{0}ient/B",
            "https://other.example/Device/B ",
            "https://gw.example/default/fhir/x/../Patient/B",
        ] {
            assert_eq!(Reference::parse(text, &BASES), Reference::Unclear, "{text}");
        }
    }

    #[test]
    fn only_what_surely_is_no_patient_is_passed_over() {
        for text in ["Practitioner?identifier=urn:x|1", "Device/a_b", "Group/1/2"] {
            assert!(is_surely_no_patient(text), "{text}");
        }
        for text in
            ["", "B", "Patient?identifier=x", "./Patient/B", "Device/../Patient/B", "patient/B"]
        {
            assert!(!is_surely_no_patient(text), "{text}");
        }
        for text in ["Device/%2e%2e/x", "Device/..\\Pat/B", "Device/ x", "Device/\u{7}x"] {
            assert!(!is_surely_no_patient(text), "{text}");
        }
    }
}

//! A trust community as this server or client sees it (IG §2.4, §8.5 as amended, COM-01..COM-07).
//!
//! Nothing in a request names its community: the chain decides (PKI-09). So a community carries what
//! selects it (anchors, issuing CAs, policy OIDs, SAN-URI prefixes) beside what it allows. Anchors come from here
//! only; a certificate that a caller sends is never an anchor (X07).

use ward_core::{CommunityUri, Purpose, Thumbprint, Timestamp};

use crate::context::{ContextRules, UserObject, tefca};
use crate::{Certificate, PathError};

/// Which edition of the IG a community holds its members to. Never lenient on signature, chain, SAN
/// binding, life of a JWT or redirect URIs (§8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// STU 1.0.0: `scope` is optional in statements and token requests. Nothing else is lenient.
    Stu1,
    /// STU 2.0.0.
    #[default]
    Stu2,
    /// STU 2.0.0 with the rules of TEFCA (TEF rows of udap.md §2.9). They rest on third-party sources: **unverified**.
    Tefca,
}

impl Profile {
    /// All of them, with the words that name them.
    pub const ALL: [(Self, &str); 3] =
        [(Self::Stu1, "stu1"), (Self::Stu2, "stu2"), (Self::Tefca, "tefca")];

    /// The word that names it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stu1 => "stu1",
            Self::Stu2 => "stu2",
            Self::Tefca => "tefca",
        }
    }

    /// Whether `scope` may be left out of statements and token requests (REG-19, B2B-12).
    pub const fn scope_is_optional(self) -> bool {
        matches!(self, Self::Stu1)
    }
}

/// Why a community cannot be relied on as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommunityFault {
    /// It has no anchor, and so no members.
    #[error("it has no trust anchor")]
    NoAnchor,
    /// Paths may not end at one of its anchors: no CA (`CA:TRUE` is missing), no keyCertSign although it limits
    /// its key usage, a weak key, or a malformed certificate.
    #[error("the anchor {0} is of no use: {1}")]
    Anchor(Thumbprint, PathError),
    /// A prefix that does not end where a name ends.
    #[error("the URI prefix {0} must end in '/' (or be a scheme or part of a URN and end in ':')")]
    Prefix(String),
    /// An issuing authority whose certificate is not configured.
    #[error("the issuing authority {0} is not among its anchors and intermediates")]
    Issuing(Thumbprint),
}

/// One trust community.
#[derive(Debug, Clone)]
pub struct Community {
    /// Its name, compared as an exact string (IG §7.1.5).
    pub uri: CommunityUri,
    /// The certificates at which paths may end.
    pub anchors: Vec<Certificate>,
    /// Certificates known beforehand from which a path may be completed (PKI-07). Not trusted as such.
    pub intermediates: Vec<Certificate>,
    /// The edition that its members follow.
    pub profile: Profile,
    /// Purposes of use that its members may assert (B14). Empty: none.
    pub purposes: Vec<Purpose>,
    /// Prefixes that an `organization_id` must have one of, as `urn:oid:` or `https:` (B2B-08). Empty: none.
    pub organization_schemes: Vec<String>,
    /// At most this many purposes of use in one `hl7-b2b` (B16); `None`: no bound of its own.
    pub max_purposes: Option<usize>,
    /// What else its members may assert, and must.
    pub context: ContextRules,
    /// The authorities that issue to members: certificates of which one must have signed the leaf, each also
    /// among [`Self::intermediates`] or [`Self::anchors`] (§8.5 as amended). Empty: any below an anchor.
    pub issuing: Vec<Thumbprint>,
    /// Dotted certificate-policy OIDs: the leaf must name one that every authority below the anchor asserts, by name
    /// or as anyPolicy (RFC 5280 §6.1; PKI-14, X45). Mappings are not followed to one. Empty: no demand; then an
    /// authority may still demand that there is one policy through the path.
    pub policies: Vec<String>,
    /// Prefixes of which every SAN URI of a leaf must have one (§8.5 as amended). Empty: no demand. A prefix
    /// ends in `/`, or is a scheme or the beginning of a URN and ends in `:`; any other admits nothing, for
    /// `https://clinic.example` is also the beginning of `https://clinic.example.evil.example/`.
    pub uri_prefixes: Vec<String>,
    /// Whether every certificate below the anchor needs a current revocation list (PKI-03, PKI-04).
    /// Without it a certificate that no list speaks of passes; one known to be revoked never does.
    pub require_revocation: bool,
    /// Last second of the trust bundle that says all this (PKI-16); `None`: it was configured by hand and does not end. Later
    /// no path holds, but within the grace that a caller allows, as for a revocation list.
    pub trusted_until: Option<Timestamp>,
}

impl Community {
    /// A community with the shipped defaults: STU2, treatment only, `urn:oid:` and `https:`
    /// organisations, revocation demanded.
    pub fn new(uri: CommunityUri, anchors: Vec<Certificate>) -> Self {
        Self {
            uri,
            anchors,
            intermediates: Vec::new(),
            profile: Profile::default(),
            purposes: vec![Purpose::Treatment],
            organization_schemes: vec!["urn:oid:".to_owned(), "https:".to_owned()],
            max_purposes: None,
            context: ContextRules::default(),
            issuing: Vec::new(),
            policies: Vec::new(),
            uri_prefixes: Vec::new(),
            require_revocation: true,
            trusted_until: None,
        }
    }

    /// Refuses a configuration that would trust too much or nothing. For start-up: paths are held to the same.
    pub fn check(&self) -> Result<(), CommunityFault> {
        if self.anchors.is_empty() {
            return Err(CommunityFault::NoAnchor);
        }
        for anchor in &self.anchors {
            if let Some(fault) = anchor.anchor_fault() {
                return Err(CommunityFault::Anchor(anchor.thumbprint(), fault));
            }
        }
        if let Some(prefix) =
            self.uri_prefixes.iter().find(|prefix| !ends_where_a_name_ends(prefix))
        {
            return Err(CommunityFault::Prefix(prefix.clone()));
        }
        let known = |wanted: &&Thumbprint| self.authorities().any(|ca| ca.thumbprint() == **wanted);
        match self.issuing.iter().find(|wanted| !known(wanted)) {
            Some(wanted) => Err(CommunityFault::Issuing(*wanted)),
            None => Ok(()),
        }
    }

    /// Authorization extension objects that it knows (DSC-09).
    pub fn extensions_supported(&self) -> Vec<&'static str> {
        let mut all = vec!["hl7-b2b"];
        if self.context.user != UserObject::Unknown {
            all.push("hl7-b2b-user");
        }
        if self.profile == Profile::Tefca {
            all.push(tefca::IAS);
        }
        all
    }

    /// Those without which no client-credentials request is granted (DSC-10, DSC-11; §8.9).
    pub fn extensions_required(&self) -> Vec<&'static str> {
        if self.context.user == UserObject::Required {
            vec!["hl7-b2b", "hl7-b2b-user"]
        } else {
            vec!["hl7-b2b"]
        }
    }

    /// Whether a member may have this SAN URI, as far as [`Self::uri_prefixes`] say.
    pub(crate) fn admits_uri(&self, uri: &str) -> bool {
        self.uri_prefixes.is_empty()
            || self
                .uri_prefixes
                .iter()
                .any(|prefix| ends_where_a_name_ends(prefix) && uri.starts_with(prefix.as_str()))
    }

    /// Whether some certificate could belong to both communities, for then it would decide nothing:
    /// a start-up error (COM-07 as amended). Sharing an anchor alone is none, as long as URI prefixes or
    /// issuing authorities tell the members apart.
    ///
    /// Different policies alone do not: a certificate can carry both. They do where an authority that both
    /// name has a certificate that does not allow the policies of one of them.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.reaches(other)
            && !apart(&self.uri_prefixes, &other.uri_prefixes, |one, two| {
                one.starts_with(two.as_str()) || two.starts_with(one.as_str())
            })
            && !self.issuers_apart(other)
    }

    /// Whether a path for one may also be a path for the other: an anchor of one is an anchor, or an
    /// authority, of the other.
    fn reaches(&self, other: &Self) -> bool {
        let meet = |one: &Self, two: &Self| {
            one.anchors
                .iter()
                .any(|anchor| two.authorities().any(|known| anchor.same_entity(known)))
        };
        meet(self, other) || meet(other, self)
    }

    fn authorities(&self) -> impl Iterator<Item = &Certificate> {
        self.anchors.iter().chain(&self.intermediates)
    }

    /// The certificates of [`Self::issuing`], as far as they are known.
    fn issuing_certificates(&self) -> Vec<&Certificate> {
        self.authorities().filter(|one| self.issuing.contains(&one.thumbprint())).collect()
    }

    /// Whether no authority can issue one certificate for both: each names its own, all of them known. Keys
    /// count, not certificates, for an authority can have several.
    fn issuers_apart(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.issuing_certificates(), other.issuing_certificates());
        let known = |one: &Self, found: &[&Certificate]| {
            let found = |wanted: &Thumbprint| found.iter().any(|ca| ca.thumbprint() == *wanted);
            !one.issuing.is_empty() && one.issuing.iter().all(found)
        };
        let may = |one: &Self, ca: &Certificate| {
            one.policies.is_empty() || one.policies.iter().any(|oid| ca.allows_policy(oid))
        };
        known(self, &ours)
            && known(other, &theirs)
            && !ours.iter().filter(|ca| may(self, ca)).any(|ca| {
                theirs.iter().filter(|two| may(other, two)).any(|two| two.same_entity(ca))
            })
    }
}

/// Whether no name can go on where the prefix ends. After `//` comes a host, which only `/` ends: behind a `:`
/// could stand a password and another host.
fn ends_where_a_name_ends(prefix: &str) -> bool {
    prefix.ends_with('/') || (prefix.ends_with(':') && !prefix.contains("//"))
}

/// Whether two selectors admit nothing in common; an empty one admits everything.
fn apart(one: &[String], two: &[String], meet: impl Fn(&String, &String) -> bool) -> bool {
    !one.is_empty() && !two.is_empty() && !one.iter().any(|a| two.iter().any(|b| meet(a, b)))
}

//! A trust community as this server or client sees it (IG §2.4, §8.5 as amended, COM-01..COM-07).
//!
//! Nothing in a request names its community: the chain decides (PKI-09). So a community carries what
//! selects it (anchors, policy OIDs, SAN-URI prefixes) beside what it allows. Anchors come from here
//! only; a certificate that a caller sends is never an anchor (X07).

use ward_core::{CommunityUri, Purpose};

use crate::Certificate;

/// Which edition of the IG a community holds its members to. Never lenient on signature, chain, SAN
/// binding, life of a JWT or redirect URIs (§8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// STU 1.0.0: `scope` is optional in statements and token requests.
    Stu1,
    /// STU 2.0.0.
    #[default]
    Stu2,
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
    /// Dotted certificate-policy OIDs of which the leaf must carry at least one (PKI-14, X45). Empty: no demand.
    pub policies: Vec<String>,
    /// Prefixes of which every SAN URI of a leaf must have one (§8.5 as amended). Empty: no demand.
    pub uri_prefixes: Vec<String>,
    /// Whether every certificate below the anchor needs a current revocation list (PKI-03, PKI-04).
    /// Without it a certificate that no list speaks of passes; one known to be revoked never does.
    pub require_revocation: bool,
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
            policies: Vec::new(),
            uri_prefixes: Vec::new(),
            require_revocation: true,
        }
    }

    /// Whether some certificate could belong to both communities, for then it would decide nothing:
    /// a start-up error (COM-07 as amended). Sharing an anchor alone is none, as long as the policies or
    /// the URI prefixes tell the members apart.
    pub fn overlaps(&self, other: &Self) -> bool {
        let shared =
            self.anchors.iter().any(|one| other.anchors.iter().any(|two| one.same_entity(two)));
        let policies_differ = !self.policies.is_empty()
            && !other.policies.is_empty()
            && !self.policies.iter().any(|oid| other.policies.contains(oid));
        let one_in_another = |one: &String, two: &String| {
            one.starts_with(two.as_str()) || two.starts_with(one.as_str())
        };
        let prefixes_differ = !self.uri_prefixes.is_empty()
            && !other.uri_prefixes.is_empty()
            && !self
                .uri_prefixes
                .iter()
                .any(|one| other.uri_prefixes.iter().any(|two| one_in_another(one, two)));
        shared && !policies_differ && !prefixes_differ
    }
}

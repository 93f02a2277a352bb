//! The register: what the community issued and revoked, the numbers of its lists, and events that
//! still wait for the log. One JSON file, replaced whole, so that state and waiting events change
//! together (rule 4).

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use ward_core::{CommunityUri, Event, TenantId, Timestamp};

use crate::{
    AuthorityId, CertificateRequest, CommunityError, IssuedCertification, KeySpec, Profile,
};

/// Why a certificate is revoked (RFC 5280 §5.3.1). There is no hold: once revoked is for good
/// (amendment PKI-04).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// No reason given.
    Unspecified,
    /// The private key is known, or suspected, to be in other hands.
    KeyCompromise,
    /// The holder's name or affiliation changed.
    AffiliationChanged,
    /// Another certificate replaces it.
    Superseded,
    /// It is no longer needed.
    CessationOfOperation,
    /// The holder is no longer entitled.
    PrivilegeWithdrawn,
    /// The authority's key is in other hands, and the authority was revoked with all that it signed. The holder's key is as good as before:
    /// its certificate is renewed.
    CaCompromise,
}

impl Reason {
    /// The word of the register and of events, as `key-compromise`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::PrivilegeWithdrawn => "privilege-withdrawn",
            Self::CaCompromise => "ca-compromise",
        }
    }

    /// `CRLReason` of an OCSP answer; as in the list.
    pub(crate) const fn number(self) -> Option<u8> {
        match self {
            Self::Unspecified => None,
            Self::KeyCompromise => Some(1),
            Self::CaCompromise => Some(2),
            Self::AffiliationChanged => Some(3),
            Self::Superseded => Some(4),
            Self::CessationOfOperation => Some(5),
            Self::PrivilegeWithdrawn => Some(9),
        }
    }

    /// The reason with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// All that a certificate can be revoked for by itself.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// `reasonCode`; *unspecified* is expressed by its absence (RFC 5280 §5.3.1).
    pub(crate) const fn code(self) -> Option<rcgen::RevocationReason> {
        use rcgen::RevocationReason as Code;
        match self {
            Self::Unspecified => None,
            Self::KeyCompromise => Some(Code::KeyCompromise),
            Self::AffiliationChanged => Some(Code::AffiliationChanged),
            Self::Superseded => Some(Code::Superseded),
            Self::CessationOfOperation => Some(Code::CessationOfOperation),
            Self::PrivilegeWithdrawn => Some(Code::PrivilegeWithdrawn),
            Self::CaCompromise => Some(Code::CaCompromise),
        }
    }
}

/// A revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// One certificate that was issued to a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// SHA-256 of its DER, hexadecimal.
    pub thumbprint: String,
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// Server or client.
    pub profile: Profile,
    /// The holder's name, as in the subject.
    pub name: String,
    /// Its URIs.
    pub san_uris: Vec<String>,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// SHA-256 of its key, hexadecimal; older registers do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Which issuing authority signed it, by its generation.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub issuer: u32,
    /// Whether and why it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
}

pub(crate) const fn first() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub(crate) const fn is_first(generation: &u32) -> bool {
    *generation == 1
}

/// The last list of an authority. The hash tells whether the list's file is that one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LastList {
    /// `cRLNumber`, from 1.
    pub(crate) number: u64,
    /// SHA-256 of its DER, hexadecimal.
    pub(crate) sha256: String,
}

/// An authority after the first of its kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Later {
    pub(crate) id: AuthorityId,
    pub(crate) list: LastList,
}

/// A certificate that a root signed for an authority below it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vouched {
    pub(crate) id: AuthorityId,
    /// The root, by its generation.
    pub(crate) by: u32,
    /// Serial number, hexadecimal.
    pub(crate) serial: String,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revoked: Option<Timestamp>,
}

/// The file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Register {
    /// Version of the format.
    pub(crate) v: u32,
    pub(crate) tenant: TenantId,
    pub(crate) uri: CommunityUri,
    /// The name in the authorities' subjects.
    pub(crate) name: String,
    /// Where lists and authorities are handed out, without a slash at the end.
    pub(crate) base_url: String,
    pub(crate) ca_key: KeySpec,
    pub(crate) root_list: LastList,
    pub(crate) issuing_list: LastList,
    /// Authorities after the first two, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) later: Vec<Later>,
    /// Every certificate that a root signed for an authority.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) vouched: Vec<Vouched>,
    /// Authorities that vouch for nobody any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ended: Vec<AuthorityId>,
    pub(crate) members: Vec<Member>,
    /// Certifications that were issued.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) certifications: Vec<IssuedCertification>,
    /// Days that the root's list is good for.
    #[serde(default = "default_root_list_days")]
    pub(crate) root_list_days: u32,
    /// Whether an OCSP responder answers for members, so that certificates name it.
    #[serde(default)]
    pub(crate) ocsp: bool,
    /// What members' URIs begin with; empty: anything.
    #[serde(default)]
    pub(crate) uri_prefixes: Vec<String>,
    /// Events that are not known to be in the log.
    pub(crate) unlogged: Vec<Event>,
}

pub(crate) const fn default_root_list_days() -> u32 {
    14
}

/// The version that this program reads and writes.
pub(crate) const VERSION: u32 = 1;
/// Certificates in one register.
pub(crate) const MAX_MEMBERS: usize = 20_000;
/// Events that may wait for the log; then acts are refused until it works again.
pub(crate) const MAX_UNLOGGED: usize = 1_000;
/// Bytes of the file.
pub(crate) const MAX_BYTES: u64 = 64 * 1024 * 1024;

impl Member {
    /// Whether its holder gave it up: it is revoked for a reason that says so.
    fn is_given_up(&self) -> bool {
        self.revoked.is_some_and(|revoked| {
            matches!(revoked.reason, Reason::AffiliationChanged | Reason::CessationOfOperation)
        })
    }

    fn is_dead(&self, now: Timestamp) -> bool {
        self.revoked.is_some() || self.not_after < now
    }
}

/// URIs that people and programs could take for one: compared without case and a last slash.
pub(crate) fn look_alike(one: &str, two: &str) -> bool {
    one.trim_end_matches('/').eq_ignore_ascii_case(two.trim_end_matches('/'))
}

impl Register {
    /// Refuses URIs that another holder has, and those of the same holder unless it asks for a renewal: a URI is
    /// who a member is (PKI-12, REG-06).
    pub(crate) fn check_uris(
        &self,
        request: &CertificateRequest,
        now: Timestamp,
    ) -> Result<(), CommunityError> {
        for uri in &request.san_uris {
            if crate::bundle::is_reserved(&self.uri, uri) {
                return Err(CommunityError::UriReserved(uri.clone()));
            }
            let bears = |member: &&Member| member.san_uris.iter().any(|has| look_alike(has, uri));
            let holders: BTreeSet<&str> =
                self.members.iter().filter(bears).map(|member| member.name.as_str()).collect();
            for holder in holders {
                let theirs = || self.members.iter().filter(bears).filter(|one| one.name == holder);
                // A lost key, a withdrawn privilege or the end of its life free no URI: who got it next would be
                // taken for the holder by servers that know the holder by it.
                let free = theirs().next_back().is_some_and(Member::is_given_up)
                    && theirs().all(|one| one.is_dead(now));
                match (free, holder == request.name) {
                    (true, _) => {}
                    (false, false) => return Err(CommunityError::UriTaken(uri.clone())),
                    (false, true) if request.renewal => {}
                    (false, true) => return Err(CommunityError::UriHeld(uri.clone())),
                }
            }
        }
        Ok(())
    }

    /// Refuses URIs outside of what the community admits (amendment §8.5).
    pub(crate) fn check_prefixes(&self, uris: &[String]) -> Result<(), CommunityError> {
        let admitted =
            |uri: &String| self.uri_prefixes.iter().any(|prefix| uri.starts_with(prefix));
        match uris.iter().find(|uri| !self.uri_prefixes.is_empty() && !admitted(uri)) {
            Some(uri) => Err(CommunityError::UriForeign(uri.clone(), self.uri_prefixes.join(", "))),
            None => Ok(()),
        }
    }

    /// Refuses a key that is another holder's, or was given up as compromised.
    pub(crate) fn check_key(&self, holder: &str, key: &str) -> Result<(), CommunityError> {
        for member in self.members.iter().filter(|member| member.key.as_deref() == Some(key)) {
            if member.revoked.is_some_and(|revoked| revoked.reason == Reason::KeyCompromise) {
                return Err(CommunityError::KeyCompromised);
            }
            if member.name != holder {
                return Err(CommunityError::KeyShared(member.name.clone()));
            }
        }
        Ok(())
    }
}

/// Everything that the community in this directory has issued, oldest first; read without opening it.
pub fn members_of(dir: &Path) -> Result<Vec<Member>, CommunityError> {
    Ok(crate::publish::read_register(dir)?.members)
}

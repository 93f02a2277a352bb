//! The register: what the community issued and revoked, the numbers of its lists, and events that
//! still wait for the log. One JSON file, replaced whole, so that state and waiting events change
//! together (rule 4).

use serde::{Deserialize, Serialize};
use ward_core::{CommunityUri, Event, TenantId, Timestamp};

use crate::{Authority, KeySpec, Profile};

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
        }
    }

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
    /// Whether and why it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
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
    pub(crate) members: Vec<Member>,
    /// Events that are not known to be in the log.
    pub(crate) unlogged: Vec<Event>,
}

/// The version that this program reads and writes.
pub(crate) const VERSION: u32 = 1;
/// Certificates in one register.
pub(crate) const MAX_MEMBERS: usize = 20_000;
/// Events that may wait for the log; then acts are refused until it works again.
pub(crate) const MAX_UNLOGGED: usize = 1_000;
/// Bytes of the file.
pub(crate) const MAX_BYTES: u64 = 64 * 1024 * 1024;

impl Register {
    pub(crate) const fn last_list(&mut self, authority: Authority) -> &mut LastList {
        match authority {
            Authority::Root => &mut self.root_list,
            Authority::Issuing => &mut self.issuing_list,
        }
    }
}

//! What a community lets its members assert in authorization extension objects (IG §5.2.1.1–§5.2.1.3: naming systems,
//! roles, purposes and policies are the community's to constrain; B14–B20, B26, B27, TEF-08).
//!
//! Where a community says nothing, what its members assert is recorded and decides nothing.

use std::time::Duration;

use super::identity::Keys;

/// NUCC Health Care Provider Taxonomy, as FHIR and as HL7 v3 name it.
const NUCC: [&str; 2] = ["http://nucc.org/provider-taxonomy#", "urn:oid:2.16.840.1.113883.6.101#"];

/// Whether a server wants to know the person for whom a machine asks (`hl7-b2b-user`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UserObject {
    /// It does not know the object: an unknown extension (B27).
    #[default]
    Unknown,
    /// The object is checked where it is sent.
    Supported,
    /// No client-credentials request is granted without (USR-01).
    Required,
}

impl UserObject {
    /// All of them, with the words that name them.
    pub const ALL: [(Self, &str); 3] =
        [(Self::Unknown, "off"), (Self::Supported, "supported"), (Self::Required, "required")];
}

/// A demand for consent: what is told to a client that asserts none (TEF-08, unverified).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentDemand {
    /// Policies of which `consent_policy` must name one: URIs, at least one.
    pub policies: Vec<String>,
    /// Where a form for it is found: an absolute https URL.
    pub form: Option<String>,
}

/// Who vouches for persons in `tefca_ias` (TEF-09, unverified): a credential service provider.
#[derive(Debug, Clone)]
pub struct IdentityProvider {
    /// Its `iss`, compared as an exact string.
    pub issuer: String,
    /// Its keys.
    pub keys: Keys,
    /// Audiences that its tokens may have: home community ids, as `urn:oid:…`.
    pub audiences: Vec<String>,
    /// How long after its making (`iat`) a token is good, whatever its own end.
    pub max_age: Duration,
}

/// What a community's trust bundle says of assertions and of scopes, for all its servers alike (IG §1, the list of what a
/// community decides; COMM-05, COMM-06, COMM-08).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValueSets {
    /// As [`ContextRules::subject_id_systems`].
    pub subject_id_systems: Vec<String>,
    /// As [`ContextRules::subject_roles`].
    pub subject_roles: Vec<String>,
    /// As [`ContextRules::consent_policies`].
    pub consent_policies: Vec<String>,
    /// Scopes that each server supports at least. Empty: none is asked for.
    pub scopes: Vec<String>,
}

/// What members of a community may assert.
#[derive(Debug, Clone, Default)]
pub struct ContextRules {
    /// Naming systems of which `subject_id` must have one, as `SYSTEM#ID` (B2B-05, B18). Empty: any.
    pub subject_id_systems: Vec<String>,
    /// Values of which `subject_role` must be one; an entry that ends in `#` is a code system and admits all its
    /// codes (B2B-06, B20). Empty: any.
    pub subject_roles: Vec<String>,
    /// Whether a purpose may be a code without its code system, as `TREAT` (B15).
    pub bare_purposes: bool,
    /// Policies that `consent_policy` may name (B26). Empty: any.
    pub consent_policies: Vec<String>,
    /// Whether, and which, consent must be asserted.
    pub consent: Option<ConsentDemand>,
    /// Whether an extension object of unknown name is a refusal (B27, B2B-13).
    pub refuse_unknown: bool,
    /// The person for whom a machine asks.
    pub user: UserObject,
    /// Who vouches for persons. Empty: nobody, and no individual access is granted.
    pub identity_providers: Vec<IdentityProvider>,
    /// What the trust bundle says beside: a naming system, a role or a policy must be admitted by both.
    pub of_bundle: ValueSets,
}

impl ContextRules {
    /// Whether `subject_id` is of an admitted naming system.
    pub(crate) fn admits_subject(&self, id: &str) -> bool {
        let of = |system: &String| {
            id.strip_prefix(system.trim_end_matches('#'))
                .and_then(|rest| rest.strip_prefix('#'))
                .is_some_and(|rest| !rest.is_empty())
        };
        let within = |set: &[String]| set.is_empty() || set.iter().any(of);
        within(&self.subject_id_systems) && within(&self.of_bundle.subject_id_systems)
    }

    /// Whether `subject_role` is in the value set.
    pub(crate) fn admits_role(&self, role: &str) -> bool {
        let of = |known: &String| {
            if !known.ends_with('#') {
                return role == known;
            }
            role.strip_prefix(known.as_str()).is_some_and(|code| {
                if NUCC.contains(&known.as_str()) { is_nucc(code) } else { !code.is_empty() }
            })
        };
        let within = |set: &[String]| set.is_empty() || set.iter().any(of);
        within(&self.subject_roles) && within(&self.of_bundle.subject_roles)
    }

    /// Whether every policy is an admitted one.
    pub(crate) fn admits_policies(&self, policies: &[String]) -> bool {
        let within =
            |set: &[String]| set.is_empty() || policies.iter().all(|one| set.contains(one));
        within(&self.consent_policies) && within(&self.of_bundle.consent_policies)
    }

    /// Whether the consent that is demanded is asserted.
    pub(super) fn is_consented(&self, policies: &[String]) -> bool {
        self.consent
            .as_ref()
            .is_none_or(|demand| policies.iter().any(|one| demand.policies.contains(one)))
    }
}

/// A code of the NUCC taxonomy: nine digits or capital letters and an `X`.
fn is_nucc(code: &str) -> bool {
    code.len() == 10
        && code.ends_with('X')
        && code.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

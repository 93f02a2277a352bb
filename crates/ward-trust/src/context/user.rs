//! `hl7-b2b-user`: the person for whom a machine asks (Identity Matching IG 2.0.0, "B2B with User Authorization
//! Extension Object"; USR-01..USR-06, B34). It stands beside `hl7-b2b`, under the same technical requirements.
//!
//! The person is looked at and let go: what is kept is a digest.

use std::fmt;

use serde_json::Value;
use ward_core::Purpose;

use super::{B2bError, Hl7B2b, b2b, consents, fault, person};
use crate::Community;

/// Its name among the extensions.
pub(super) const NAME: &str = "hl7-b2b-user";

/// The B2B-with-user authorization extension object, version 1.
#[derive(Clone, PartialEq, Eq)]
pub struct Hl7B2bUser {
    /// Why the person asks: the same as in `hl7-b2b`.
    pub purposes: Vec<Purpose>,
    /// Policies under which consent was given.
    pub consent_policy: Vec<String>,
    /// Where the consent can be read. Never fetched here.
    pub consent_reference: Vec<String>,
    /// SHA-256 of the FHIR Person, as JSON with sorted names and no blanks.
    pub person: [u8; 32],
}

impl Hl7B2bUser {
    /// By the rules of the community, beside this `hl7-b2b`.
    pub(super) fn parse(
        object: &Value,
        beside: &Hl7B2b,
        community: &Community,
    ) -> Result<Self, B2bError> {
        let object = object.as_object().ok_or(fault("B34", "hl7-b2b-user is no object"))?;
        if object.get("version").and_then(Value::as_str) != Some("1") {
            return Err(fault("USR-02", "version is not \"1\""));
        }
        let (purposes, _) = b2b::purposes(object, community)?;
        let same = |one: &[Purpose], two: &[Purpose]| one.iter().all(|p| two.contains(p));
        if !same(&purposes, &beside.purposes) || !same(&beside.purposes, &purposes) {
            // Else it would be open for which of them the person asked.
            return Err(fault("USR-03", "purpose_of_use differs from that of hl7-b2b"));
        }
        let (consent_policy, consent_reference) = consents(object, &community.context)?;
        let user = object.get("user_person").ok_or(fault("B34", "user_person is missing"))?;
        let person = person::person(user)?;
        Ok(Self { purposes, consent_policy, consent_reference, person })
    }
}

impl fmt::Debug for Hl7B2bUser {
    /// Without the person and the consents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hl7B2bUser").field("purposes", &self.purposes).finish_non_exhaustive()
    }
}

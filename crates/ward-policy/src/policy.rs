//! The policy in force, as far as it is text: its hash and the notice that it demands.

use ward_core::{Purpose, crypto};

use crate::Principal;

/// The rules of this room in words. Whoever changes a rule changes this text, and with it the hash
/// that every event and cursor carries.
const POLICY: &str = "\
ward-policy/2
GRANT: read and vread need R, search needs S, on the exact type.
TYPE: Patient compartment types and directory types; every other type is denied.
C17: Provenance, AuditEvent and List are denied until their targets are judged.
ROSTER: a compartment record is visible iff it says whom it is about, has owners, and all of them, and \
every patient to whom any of its elements refers, are on the organisation's roster for all asserted purposes.
C9: a record that contains a Patient is not visible.
DIRECTORY: visible by type grant, if it refers to no patient outside the roster.
C3: a version is visible iff it and the current version are.
D1-D8, D10: membership criteria are intersected with the roster; modifiers on \
them are denied; _security is denied.
";

/// What every answer to a treatment principal carries (amendments, "Care comes first").
pub const INCOMPLETE_NOTICE: &str = "may be incomplete";

/// SHA-256, hexadecimal, of the policy in force.
pub fn policy_hash() -> String {
    crypto::hex(&crypto::sha256(&[POLICY.as_bytes()]))
}

/// The notice that silence must not be read as "no allergies". Computed from the principal and the
/// policy, never from data: the roster could withhold records of any compartment type, so every
/// treatment principal gets it on every answer, 404 included.
pub fn notice(principal: &Principal) -> Option<&'static str> {
    principal.purposes.contains(&Purpose::Treatment).then_some(INCOMPLETE_NOTICE)
}

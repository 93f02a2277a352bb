//! What the profile of a community demands of a registration beyond what all demand (TEF-03, TEF-04).
//!
//! The TEF rows rest on third-party sources: **unverified**.

use ward_trust::certification::Tefca;
use ward_trust::{ExchangePurpose, Profile, SoftwareStatement};

use crate::errors::{Answer, Refusal};

/// Under `tefca`: the client's URI carries an exchange purpose, and its certifications are for that one.
pub(crate) fn admit<'a>(
    profile: Profile,
    statement: &SoftwareStatement,
    certified: impl IntoIterator<Item = &'a Tefca>,
) -> Result<(), Refusal> {
    if profile != Profile::Tefca {
        return Ok(());
    }
    let carried = ExchangePurpose::of_uri(statement.iss.as_str())
        .ok_or(Refusal::new(Answer::InvalidSoftwareStatement, "TEF-04"))?;
    if certified.into_iter().any(|one| one.exchange_purpose != carried.code()) {
        return Err(Refusal::new(Answer::InvalidCertification, "TEF-03"));
    }
    Ok(())
}

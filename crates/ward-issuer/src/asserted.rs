//! What a client asserted of its context, as it is remembered and refused (B2B-15..B2B-18, TEF-08).
//!
//! The log keeps why, for whom and by which policy it was asked: identifiers that the community's rules admitted, and
//! digests. Names, persons and places of consents are never kept: a place can name a patient.

use serde_json::json;
use ward_core::{Event, Limits, crypto};
use ward_store::Certified;
use ward_trust::context::CONSENT_NEEDED;
use ward_trust::{B2bError, Community, Context, Jws};

use crate::errors::{Answer, Refusal};

/// The event with what was asserted.
pub(crate) fn record(mut event: Event, context: &Context) -> Event {
    let b2b = &context.b2b;
    event.purposes.clone_from(&b2b.purposes);
    event = event.with("organization", b2b.organization_id.as_str());
    if let Some(purpose) = context.exchange_purpose {
        event = event.with("exchange_purpose", purpose.code());
    }
    for (name, value) in [("subject_id", &b2b.subject_id), ("subject_role", &b2b.subject_role)] {
        if let Some(value) = value {
            event = event.with(name, value.as_str());
        }
    }
    event = consents(event, "", &b2b.consent_policy, &b2b.consent_reference);
    if let Some(user) = &context.user {
        event = event.with("user_person_sha256", crypto::hex(&user.person));
        event = consents(event, "user_", &user.consent_policy, &user.consent_reference);
    }
    if let Some(ias) = &context.ias {
        event = event
            .with("ias_user_sha256", crypto::hex(&ias.user))
            .with("ias_patient_sha256", crypto::hex(&ias.patient))
            .with("ias_vouched_by", ias.vouched_by.as_str())
            .with("ias_id_token_sha256", ias.id_token.as_str());
        event = consents(event, "ias_", &ias.consent_policy, &ias.consent_reference);
    }
    event
}

fn consents(mut event: Event, of: &str, policies: &[String], references: &[String]) -> Event {
    if !policies.is_empty() {
        event = event.with(format!("{of}consent_policy"), policies.join(" "));
    }
    if !references.is_empty() {
        let digests = references.iter().map(|one| crypto::hex(&crypto::sha256(&[one.as_bytes()])));
        let digests: Vec<String> = digests.collect();
        event = event.with(format!("{of}consent_reference_sha256"), digests.join(" "));
    }
    event
}

/// Whether the client may show what vouches for an individual: a token for the home community that its own certification
/// names, where one does (TEF-03, TEF-09, B33). Else one provider could use what was made for another.
pub(crate) fn is_its_own(context: &Context, shown: &[Certified], limits: &Limits) -> bool {
    let Some(ias) = &context.ias else { return true };
    let homes: Vec<String> = shown
        .iter()
        .filter_map(|one| {
            let jws = Jws::parse(&one.jwt, limits).ok()?;
            Some(jws.claims().get("home_community_id")?.as_str()?.to_owned())
        })
        .collect();
    homes.is_empty() || homes.contains(&ias.audience)
}

/// `invalid_grant`; where a consent would mend it, the answer says which (TEF-08, unverified).
pub(crate) fn refusal(error: B2bError, community: &Community) -> Refusal {
    let rule = error.0.rule;
    let refusal = Refusal::new(Answer::InvalidGrant, rule);
    match &community.context.consent {
        Some(demand) if rule == CONSENT_NEEDED => {
            let mut object = json!({ "consent_required": demand.policies });
            if let (Some(form), Some(members)) = (&demand.form, object.as_object_mut()) {
                members.insert("consent_form".to_owned(), json!(form));
            }
            refusal.with_extensions(json!({ "hl7-b2b": object }))
        }
        _ => refusal,
    }
}

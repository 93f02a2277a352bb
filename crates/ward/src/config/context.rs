//! What `ward.toml` says about what members of a community may assert: profile, value sets, consents, persons.

use serde::de::{Deserialize, Deserializer, Error as _};
use ward_core::ClientUri;
use ward_trust::Profile;
use ward_trust::context::{ConsentDemand, ContextRules, IdentityProvider, Keys, UserObject, tefca};

use super::{Community, Config, Problem, Unknown, material};

/// Reads a word of a closed list.
fn word<'de, D: Deserializer<'de>, T: Copy>(from: D, all: &[(T, &str)]) -> Result<T, D::Error> {
    let text = String::deserialize(from)?;
    let found = all.iter().find(|(_, word)| *word == text);
    found.map(|(value, _)| *value).ok_or_else(|| D::Error::custom("not one of the known words"))
}

/// Reads `profile`.
pub(super) fn profile<'de, D: Deserializer<'de>>(from: D) -> Result<Profile, D::Error> {
    word(from, &Profile::ALL)
}

/// Reads `hl7_b2b_user`.
pub(super) fn user_object<'de, D: Deserializer<'de>>(from: D) -> Result<UserObject, D::Error> {
    word(from, &UserObject::ALL)
}

/// What makes no sense, as far as the file alone can tell.
pub(super) fn problems(config: &Config, at: usize, one: &Community, found: &mut Vec<Problem>) {
    let mut refuse = |name: &str, what: String, way: &str| {
        found.push(config.problem(&format!("community[{at}].{name}"), what, way));
    };
    for (name, uris) in [
        ("subject_id_systems", &one.subject_id_systems),
        ("consent_policies", &one.consent_policies),
        ("consent_required", &one.consent_required),
    ] {
        for uri in uris.iter().filter(|uri| ClientUri::parse(uri).is_err()) {
            refuse(
                name,
                format!("holds \"{uri}\", which is no URI"),
                "write it exactly as the community does, as \"urn:oid:2.16…\" or \"https://…\"",
            );
        }
    }
    let known =
        |policy: &&String| one.consent_policies.is_empty() || one.consent_policies.contains(policy);
    if let Some(policy) = one.consent_required.iter().find(|policy| !known(policy)) {
        refuse(
            "consent_required",
            format!("holds \"{policy}\", which consent_policies does not admit"),
            "add it there, or take it out here",
        );
    }
    if let Some(form) = &one.consent_form {
        if !form.starts_with("https://") || ClientUri::parse(form).is_err() {
            refuse("consent_form", "is no https URL".to_owned(), "write the URL of the form");
        }
        if one.consent_required.is_empty() {
            let what = "is never told, for no consent is required".to_owned();
            refuse("consent_form", what, "set consent_required too, or take it out");
        }
    }
    if one.profile == Profile::Tefca {
        if one.max_purposes.is_some_and(|most| most > 1) {
            let what = "is more than the profile tefca admits".to_owned();
            refuse("max_purposes", what, "take it out: it is always 1 there");
        }
        if one.bare_purposes {
            let what = "is set, but TEFCA's purposes have their code system".to_owned();
            refuse("bare_purposes", what, "take it out");
        }
    } else if !one.identity_provider.is_empty() {
        let what = "has no use outside of the profile tefca".to_owned();
        refuse("identity_provider", what, "set profile = \"tefca\", or take it out");
    }
    for (nth, provider) in one.identity_provider.iter().enumerate() {
        let earlier = one.identity_provider.iter().take(nth);
        let name = |field: &str| format!("identity_provider[{nth}].{field}");
        if !provider.issuer.starts_with("https://") || ClientUri::parse(&provider.issuer).is_err() {
            refuse(&name("issuer"), "is no https URL".to_owned(), "write it as the tokens do");
        }
        if earlier.clone().any(|other| other.issuer == provider.issuer) {
            refuse(&name("issuer"), "stands twice".to_owned(), "keep one table for each issuer");
        }
        let oid = |text: &&String| text.starts_with("urn:oid:") && ClientUri::parse(text).is_ok();
        if provider.audiences.is_empty() || !provider.audiences.iter().all(|one| oid(&one)) {
            let what = "names no home community ids".to_owned();
            refuse(&name("audiences"), what, "write each as \"urn:oid:2.16…\"");
        }
    }
}

/// What members of the community may assert, with the keys of those who vouch for persons.
pub(super) fn rules(config: &Config, at: usize) -> Result<ContextRules, Vec<Problem>> {
    let Some(one) = config.community.get(at) else { return Ok(ContextRules::default()) };
    let (mut providers, mut wrong) = (Vec::new(), Vec::new());
    for (nth, provider) in one.identity_provider.iter().enumerate() {
        let key = format!("community[{at}].identity_provider[{nth}].jwks");
        let read = material::bytes(config, &key, &provider.jwks).and_then(|bytes| {
            Keys::parse(&bytes, &config.limits).map_err(|error| {
                let what = format!("names {}, which is {error}", provider.jwks.display());
                config.problem(&key, what, "fetch it anew from the provider's jwks_uri")
            })
        });
        match read {
            Ok(keys) => providers.push(IdentityProvider {
                issuer: provider.issuer.clone(),
                keys,
                audiences: provider.audiences.clone(),
                max_age: provider.max_age.0,
            }),
            Err(problem) => wrong.push(problem),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let consent = (!one.consent_required.is_empty()).then(|| ConsentDemand {
        policies: one.consent_required.clone(),
        form: one.consent_form.clone(),
    });
    Ok(ContextRules {
        subject_id_systems: one.subject_id_systems.clone(),
        subject_roles: one.subject_roles.clone(),
        bare_purposes: one.bare_purposes,
        consent_policies: one.consent_policies.clone(),
        consent,
        refuse_unknown: one.unknown_extensions == Unknown::Refuse,
        user: one.hl7_b2b_user,
        identity_providers: providers,
    })
}

/// What an operator should know of each community's profile, as `ward check` says it.
pub(super) fn notes(one: &Community) -> Vec<String> {
    let mut notes = Vec::new();
    match one.profile {
        Profile::Stu1 => notes.push(
            "profile stu1: members may leave scope out of statements and token requests and then get all that they may have; \
             nothing else is lenient"
                .to_owned(),
        ),
        Profile::Stu2 => {}
        Profile::Tefca => {
            notes.push(
                "profile tefca: its rules rest on third-party readings of TEFCA's SOPs and are unverified; hold them against \
                 the SOPs before relying on them (docs/profiles.md)"
                    .to_owned(),
            );
            if one.uri != tefca::COMMUNITY {
                notes.push(format!("profile tefca, but the community is not {}", tefca::COMMUNITY));
            }
            if one.identity_provider.is_empty() {
                notes.push(
                    "no identity_provider: every request for individual access (T-IAS) is refused"
                        .to_owned(),
                );
            }
        }
    }
    notes
}

//! What `ward.toml` says about what members of a community may assert: profile, value sets, consents, persons.

use serde::de::{Deserialize, Deserializer, Error as _};
use ward_core::ClientUri;
use ward_trust::Profile;
use ward_trust::context::tefca::{BASIC_CERTIFICATION, COMMUNITY};
use ward_trust::context::{
    ConsentDemand, ContextRules, IdentityProvider, Keys, UserObject, ValueSets,
};

use super::{Certification, Community, Config, Problem, Unknown, material};

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
        let basic = |known: &Certification| known.required && known.uri == BASIC_CERTIFICATION;
        if one.bundle.is_none() && !one.certification.iter().any(basic) {
            let what = "lacks TEFCA's basic certification (TEF-02)".to_owned();
            let way = "add [[community.certification]] with required = true and this uri: https://rce.sequoiaproject.org/udap/profiles/basic-app-certification";
            refuse("certification", what, way);
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
        of_bundle: ValueSets::default(),
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
            if one.uri != COMMUNITY {
                notes.push(format!("profile tefca, but the community is not {COMMUNITY}"));
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

#[cfg(test)]
mod tests {
    use ward_core::Purpose;

    use super::*;

    const REST: &str = r#"
[listen]
address = "127.0.0.1:8443"
origin = "https://ward.example.org"
certificate = "tls/certificate.pem"
key = "tls/key.pem"
[upstream]
base = "http://127.0.0.1:8080/fhir"
[scopes]
supported = ["system/Patient.rs"]
[keys]
key_file = "vault.key"
[[community]]
uri = "https://community.example/trust"
anchors = "community/anchors.pem"
certificate = "community/certificate.pem"
key = "community/key.pem"
"#;
    const BASIC: &str = r#"
[[community.certification]]
uri = "https://rce.sequoiaproject.org/udap/profiles/basic-app-certification"
required = true
"#;

    fn read(keys: &str) -> Result<Config, Vec<Problem>> {
        let config = Config::parse(&format!("{REST}{keys}"))?;
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    #[test]
    fn a_community_says_its_rules() {
        let config = read("").unwrap();
        let plain = rules(&config, 0).unwrap();
        assert_eq!(config.community[0].profile, Profile::Stu2);
        assert!(!plain.bare_purposes && !plain.refuse_unknown && plain.consent.is_none());
        assert_eq!(plain.user, UserObject::Unknown);
        assert!(notes(&config.community[0]).is_empty());
        let config = read(
            r#"profile = "stu1"
purposes = ["SYSDEV", "ELIGDTRM"]
max_purposes = 1
bare_purposes = true
subject_id_systems = ["urn:oid:2.16.840.1.113883.4.6"]
subject_roles = ["http://nucc.org/provider-taxonomy#"]
consent_policies = ["urn:oid:1.2.3", "urn:oid:1.2.4"]
consent_required = ["urn:oid:1.2.3"]
consent_form = "https://hospital.example/consent"
unknown_extensions = "refuse"
hl7_b2b_user = "required"
"#,
        )
        .unwrap();
        let one = &config.community[0];
        let all = rules(&config, 0).unwrap();
        assert_eq!((one.profile, one.max_purposes), (Profile::Stu1, Some(1)));
        assert_eq!(one.purposes, [Purpose::SystemDevelopment, Purpose::Eligibility]);
        assert!(all.bare_purposes && all.refuse_unknown);
        assert_eq!(all.user, UserObject::Required);
        assert_eq!(all.subject_roles.len() + all.subject_id_systems.len(), 2);
        assert_eq!(all.consent.unwrap().form.as_deref(), Some("https://hospital.example/consent"));
        assert!(notes(one)[0].contains("scope"));
    }

    /// TEF-01, TEF-02: a community of the profile demands the basic certification, and what is unverified is said.
    #[test]
    fn tefca_says_that_it_is_unverified_and_wants_its_certification() {
        let problems = read("profile = \"tefca\"\n").unwrap_err();
        assert_eq!(problems[0].key, "community[0].certification");
        assert!(problems[0].way.contains(BASIC_CERTIFICATION));
        let optional = BASIC.replace("true", "false");
        assert!(read(&format!("profile = \"tefca\"\n{optional}")).is_err());
        let config = read(&format!("profile = \"tefca\"\n{BASIC}")).unwrap();
        let said = notes(&config.community[0]).join("\n");
        for word in ["unverified", COMMUNITY, "T-IAS"] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    #[test]
    fn what_makes_no_sense_names_its_key() {
        const PROVIDER: &str = r#"
[[community.identity_provider]]
issuer = "https://csp.example"
jwks = "csp.json"
audiences = ["urn:oid:1.2.3"]
"#;
        let tefca =
            |keys: &str, tables: &str| format!("profile = \"tefca\"\n{keys}\n{BASIC}{tables}");
        for (key, text) in [
            ("stu1", "stu1 = true".to_owned()),
            ("profile", "profile = \"stu3\"".to_owned()),
            ("max_purposes", "max_purposes = 0".to_owned()),
            ("subject_id_systems", "subject_id_systems = [\"npi\"]".to_owned()),
            ("consent_policies", "consent_policies = [\"yes\"]".to_owned()),
            (
                "consent_required",
                "consent_policies = [\"urn:x:1\"]\nconsent_required = [\"urn:x:2\"]".to_owned(),
            ),
            ("consent_form", "consent_form = \"https://a.example/\"".to_owned()),
            (
                "consent_form",
                "consent_required = [\"urn:x:2\"]\nconsent_form = \"a.html\"".to_owned(),
            ),
            ("identity_provider", PROVIDER.to_owned()),
            ("max_purposes", tefca("max_purposes = 2", "")),
            ("bare_purposes", tefca("bare_purposes = true", "")),
            ("identity_provider[1].issuer", tefca("", &PROVIDER.repeat(2))),
            ("identity_provider[0].issuer", tefca("", &PROVIDER.replace("https:", "http:"))),
            ("identity_provider[0].audiences", tefca("", &PROVIDER.replace("urn:oid:", "x"))),
        ] {
            let problems = read(&text).unwrap_err();
            let named = problems.iter().any(|one| one.key == format!("community[0].{key}"));
            assert!(named && problems.iter().all(|one| !one.way.is_empty()), "{key}: {problems:?}");
        }
        // A key file that is none is said when it is opened.
        let config = read(&tefca("", PROVIDER)).unwrap();
        assert_eq!(rules(&config, 0).unwrap_err()[0].key, "community[0].identity_provider[0].jwks");
    }
}

//! `[[community.certification]]`: which certifications a community's clients may or must show, whose word counts for each,
//! and what each unlocks (CRT-01, CRT-02, CRT-07). What a trust bundle demands is demanded, configured here or not.

use std::path::PathBuf;

use serde::Deserialize;
use ward_core::ClientUri;
use ward_fhir::ScopeSet;
use ward_issuer::{CertificationRule, Certifiers};
use ward_trust::{Bundle, Community};

use super::{Config, Problem, material};

/// `[[community.certification]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented in spec.rs")]
pub struct Certification {
    pub uri: String,
    #[serde(default)]
    pub required: bool,
    #[serde(default)]
    pub declared: bool,
    pub anchors: Option<PathBuf>,
    #[serde(default)]
    pub certifiers: Vec<String>,
    #[serde(default)]
    pub unlocks: Vec<String>,
}

impl Certification {
    /// What it means, in a line for a person.
    pub fn note(&self) -> String {
        let who = if self.declared {
            "signed by the client itself".to_owned()
        } else if !self.certifiers.is_empty() {
            format!("signed by {}", self.certifiers.join(", "))
        } else if self.anchors.is_some() {
            "signed by anybody under its anchors".to_owned()
        } else {
            "signed by the community or who its trust bundle names".to_owned()
        };
        let need = if self.required { "without it nobody gets in" } else { "may be shown" };
        let opens = if self.unlocks.is_empty() {
            String::new()
        } else {
            format!("; opens {}", self.unlocks.join(" "))
        };
        format!("certification {}: {need}; {who}{opens}", self.uri)
    }
}

/// What makes no sense, as far as the file alone can tell.
pub(super) fn problems(
    config: &Config,
    at: usize,
    all: &[Certification],
    found: &mut Vec<Problem>,
) {
    for (which, one) in all.iter().enumerate() {
        let mut refuse = |name: &str, what: String, way: &str| {
            let key = format!("community[{at}].certification[{which}].{name}");
            found.push(config.problem(&key, what, way));
        };
        if ClientUri::parse(&one.uri).is_err() {
            refuse(
                "uri",
                "is no absolute URI".to_owned(),
                "write it exactly as the programme does, as \"https://community.example/certifications/gold\"",
            );
        }
        if all.iter().take(which).any(|earlier| earlier.uri == one.uri) {
            refuse(
                "uri",
                "stands twice".to_owned(),
                "put everything of a certification into one table",
            );
        }
        if one.declared && (one.anchors.is_some() || !one.certifiers.is_empty()) {
            refuse(
                "declared",
                "is set, and certifiers are named: a client's own word, or a third party's"
                    .to_owned(),
                "take out declared, or anchors and certifiers",
            );
        }
        for name in one.certifiers.iter().filter(|name| ClientUri::parse(name).is_err()) {
            refuse(
                "certifiers",
                format!("holds \"{name}\", which is no URI"),
                "write the certifier's URI as it stands in its certificate and in `iss`",
            );
        }
        let (unlocks, refused) = ScopeSet::parse(&one.unlocks.join(" "));
        for token in &refused {
            refuse(
                "unlocks",
                format!("holds \"{token}\", which is no system scope"),
                "write as \"system/*.rs\": a FHIR type or *, and letters of cruds in this order",
            );
        }
        let (supported, _) = ScopeSet::parse(&config.scopes.supported.join(" "));
        if refused.is_empty() && !unlocks.is_empty() && supported.contains(&unlocks) {
            refuse(
                "unlocks",
                "grants nothing that scopes.supported does not grant to everybody".to_owned(),
                "take it out, or take these scopes out of scopes.supported",
            );
        }
    }
}

/// The rules of a community that is ready but for them, with what its bundle demands.
pub(super) fn rules(
    config: &Config,
    at: usize,
    community: &Community,
    bundle: Option<&Bundle>,
) -> Result<Vec<CertificationRule>, Vec<Problem>> {
    let Some(settings) = config.community.get(at) else { return Ok(Vec::new()) };
    // Whom the community names as its certifiers counts under its own anchors only.
    let named = bundle.map(|bundle| bundle.certifiers.clone()).unwrap_or_default();
    let (mut rules, mut problems) = (Vec::new(), Vec::new());
    for (which, one) in settings.certification.iter().enumerate() {
        let key = |name: &str| format!("community[{at}].certification[{which}].{name}");
        let certifiers = match &one.anchors {
            _ if one.declared => Certifiers::Declared,
            None => {
                let names = one.certifiers.iter().chain(&named).cloned().collect();
                Certifiers::of_community(community, names)
            }
            Some(path) => match material::certificates(config, &key("anchors"), path) {
                Ok(anchors) => {
                    let mut trust = Community::new(community.uri.clone(), anchors);
                    trust.require_revocation = settings.require_revocation;
                    if let Err(fault) = trust.check() {
                        let what = format!("is of no use: {fault}");
                        let way = "name the root certificates of those who certify";
                        problems.push(config.problem(&key("anchors"), what, way));
                    }
                    let shared = trust.anchors.iter().any(|one| community.anchors.contains(one));
                    if shared && one.certifiers.is_empty() {
                        problems.push(config.problem(
                            &key("anchors"),
                            "holds a root of the community itself, so every member could certify",
                            "take it out, and name the certifiers in `certifiers`",
                        ));
                    }
                    Certifiers::under(trust, one.certifiers.clone())
                }
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            },
        };
        let demanded = bundle.is_some_and(|bundle| bundle.certifications.contains(&one.uri));
        rules.push(CertificationRule {
            uri: one.uri.clone(),
            required: one.required || demanded,
            certifiers,
            unlocks: ScopeSet::parse(&one.unlocks.join(" ")).0,
        });
    }
    for uri in bundle.into_iter().flat_map(|bundle| &bundle.certifications) {
        if rules.iter().any(|rule| rule.uri == *uri) {
            continue;
        }
        if named.is_empty() {
            // Taken as it is, nobody could register.
            problems.push(config.problem(
                &format!("community[{at}].bundle"),
                format!("demands the certification {uri}, and neither it nor this file says who certifies"),
                "add [[community.certification]] with this uri and its anchors or certifiers, or have the community's operator name its certifiers in the bundle",
            ));
        } else {
            rules.push(CertificationRule {
                uri: uri.clone(),
                required: true,
                certifiers: Certifiers::of_community(community, named.clone()),
                unlocks: ScopeSet::default(),
            });
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

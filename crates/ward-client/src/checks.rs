//! What each step checks, in the order in which it does, with the ids of the rules (CLI-28): for people who want
//! to see why a server was believed, or which check ended the exchange. It repeats in words what the steps do;
//! a test walks servers with one fault each through both.

use crate::error::ClientError;

/// Stands for the exchange itself where an error has no rule of its own: no answer, or a refusal.
pub const EXCHANGE: &str = "exchange";

/// One check, or a few that are made together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// Ids of its rules.
    pub rules: &'static [&'static str],
    /// What holds when it has passed.
    pub text: &'static str,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It held.
    Passed,
    /// It did not, and ended the step.
    Failed,
    /// An earlier one ended the step.
    NotReached,
}

const fn check(rules: &'static [&'static str], text: &'static str) -> Check {
    Check { rules, text }
}

/// Of [`crate::PartnerClient::discover`].
pub const DISCOVERY: &[Check] = &[
    check(&["CLI-05"], "the base is an https URL without user, query or fragment"),
    check(&[EXCHANGE], "the server answered over TLS with a certificate that the machine trusts"),
    check(&["CLI-01"], "it supports UDAP at this base URL"),
    check(&["CLI-03"], "it serves the trust community"),
    check(&["M14"], "it did not redirect"),
    check(
        &["M17", "M19", "DSC-02"],
        "the metadata is one JSON object of sane size, no member twice",
    ),
    check(&["M11"], "it has signed metadata"),
    check(&["M01", "M02"], "their RS256 signature is that of the certificate they carry"),
    check(&["M03"], "iss is the base URL, character by character"),
    check(&["M04"], "the certificate names the base URL"),
    check(
        &["M05", "M06", "M07", "SMD-05", "SMD-06"],
        "sub is iss, jti is there, the signed metadata are in force and live at most a year",
    ),
    check(&["M12"], "udap_versions_supported is [\"1\"]"),
    check(&["M13"], "clients authenticate by private_key_jwt"),
    check(
        &["SMD-07", "M08", "M09", "M15"],
        "the endpoints stand in the signed part, are https URLs, and the plain ones do not differ",
    ),
    check(
        &["M10"],
        "the certificate has a path to an anchor of the community, in force, not revoked on fresh lists",
    ),
];

/// Of [`crate::PartnerClient::register`].
pub const REGISTRATION: &[Check] = &[
    check(&["SMD-05"], "the server's signed metadata are in force"),
    check(&["REG-06"], "the client URI is a SAN URI of the own certificate"),
    check(&["REG-11"], "client_name is a short text"),
    check(&["REG-15"], "contacts have a mailto: URI"),
    check(&["REG-16"], "logo_uri is an https URL, if there is one"),
    check(&["CRT-02"], "the server demands no certification"),
    check(&["REG-19"], "at least one scope is asked for"),
    check(&["CLI-04"], "the server supports client_credentials and signatures of this kind of key"),
    check(&["CLI-13"], "a wildcard scope is asked for only if the server lists it"),
    check(&["CLI-18"], "the server has not refused this certificate before"),
    check(&["DSC-20"], "the registration endpoint is a URL"),
    check(&[EXCHANGE], "the server accepted the signed software statement"),
    check(&["M14"], "it did not redirect"),
    check(&["REG-22"], "its answer is one JSON object"),
    check(&["M21"], "it assigned a client_id"),
    check(&["CLI-17"], "it did what was asked: registered, or cancelled"),
];

/// Of [`crate::PartnerClient::token`].
pub const TOKEN: &[Check] = &[
    check(&["CLI-17"], "the registration has not been cancelled"),
    check(&["CLI-04"], "the server supports hl7-b2b and signatures of this kind of key"),
    check(&["B2B-09"], "the purpose of use is one that is known"),
    check(&["B2B-08"], "the organisation is named by a URI"),
    check(&["SMD-05"], "the server's signed metadata are in force"),
    check(&["DSC-17"], "the token endpoint is a URL"),
    check(&[EXCHANGE], "the server accepted the signed authentication token"),
    check(&["M14"], "it did not redirect"),
    check(&["M24", "TOK-17"], "its answer is a bearer token that fits into a header"),
];

/// Of [`crate::PartnerClient::get`].
pub const CALL: &[Check] = &[
    check(&["CLI-24"], "the token is for this base, and the path stays below it"),
    check(&["TOK-17"], "the token fits into a header"),
    check(&[EXCHANGE], "the server answered"),
];

/// How each check of a step ended. An error that no check of the step stands for leaves all unreached.
pub fn verdicts(
    step: &'static [Check],
    error: Option<&ClientError>,
) -> Vec<(&'static Check, Verdict)> {
    let failed = error.map(|error| {
        let rule = error.rule().unwrap_or(EXCHANGE);
        step.iter().position(|check| check.rules.contains(&rule)).unwrap_or(0)
    });
    let known = error.is_none_or(|error| {
        let rule = error.rule().unwrap_or(EXCHANGE);
        step.iter().any(|check| check.rules.contains(&rule))
    });
    step.iter()
        .enumerate()
        .map(|(at, check)| {
            let verdict = match failed {
                _ if !known => Verdict::NotReached,
                None => Verdict::Passed,
                Some(failed) if at < failed => Verdict::Passed,
                Some(failed) if at == failed => Verdict::Failed,
                Some(_) => Verdict::NotReached,
            };
            (check, verdict)
        })
        .collect()
}

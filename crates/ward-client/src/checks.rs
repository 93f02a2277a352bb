//! What each step checks, in the order in which it does, with the ids of the rules (CLI-28): for people who want
//! to see why a server was believed, or which check ended the exchange. It repeats in words what the steps do;
//! a test walks servers with one fault each through both.

use crate::error::{ClientError, Origin};

/// Stands for the exchange itself where an error has no rule of its own: no answer, or a refusal.
pub const EXCHANGE: &str = "exchange";

/// Stands for the rules of udap.md §7.1 and §7.2, which a server applies to a software statement.
pub const STATEMENT: &str = "CLI-11";
/// Stands for the rules of udap.md §7.7, which a server applies to `hl7-b2b`.
pub const CONTEXT: &str = "CLI-22";

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
    check(&["REG-06"], "the client URI is a SAN URI of the own certificate"),
    check(&["REG-11"], "client_name is a short text"),
    check(&["REG-15"], "contacts have a mailto: URI"),
    check(&["REG-16"], "logo_uri is an https URL, if there is one"),
    check(&["REG-19"], "at least one scope is asked for"),
    check(&["REG-13"], "redirect_uris are https URLs, for the authorization code"),
    check(&[STATEMENT], "a server of ours would take the software statement"),
    check(&["SMD-05"], "the server's signed metadata are in force"),
    check(&["M10"], "and their certificate still holds"),
    check(&["CRT-02"], "the server demands no certification, or one is shown"),
    check(&["CLI-04"], "the server supports the grant and signatures of this kind of key"),
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
    check(
        &["CLI-04"],
        "the server supports client_credentials, hl7-b2b and signatures of this kind of key",
    ),
    check(&["B2B-09"], "the purpose of use is one that is known"),
    check(&["B2B-08"], "the organisation is named by a URI"),
    check(
        &[CONTEXT],
        "hl7-b2b has all that the community asks of it, and the server requires no other extension",
    ),
    check(&["SMD-05"], "the server's signed metadata are in force"),
    check(&["M10"], "and their certificate still holds"),
    check(&["CLI-21"], "at least one scope is asked for"),
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

/// The check that stands for an error. A rule of a server that was applied beforehand is one of several.
fn place(step: &[Check], error: &ClientError) -> Option<usize> {
    let at = |rule| step.iter().position(|check| check.rules.contains(&rule));
    let beforehand = || {
        let local = error.origin() == Origin::Us;
        local.then(|| at(STATEMENT).or_else(|| at(CONTEXT))).flatten()
    };
    at(error.rule().unwrap_or(EXCHANGE)).or_else(beforehand)
}

/// How each check of a step ended. An error that no check of the step stands for leaves all unreached.
pub fn verdicts(
    step: &'static [Check],
    error: Option<&ClientError>,
) -> Vec<(&'static Check, Verdict)> {
    let failed = error.map(|error| place(step, error));
    let known = failed.is_none_or(|place| place.is_some());
    let failed = failed.flatten();
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

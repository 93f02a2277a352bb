//! What `ward client` says at the end, gathered while working: for people or as one JSON object; and the exit status.

use std::process::ExitCode;

use serde_json::{Map, Value, json};
use ward_client::checks::{self, Check, Verdict};
use ward_client::{ClientError, Origin, PassedOver, Stopped};

use super::advice::advice;
use super::parts::Parts;
use crate::ui::{self, Ui};

/// Exit status by what happened; `ward client --help` says the same.
pub(super) mod code {
    /// The server refused, or a call was not answered with success.
    pub(in super::super) const REFUSED: u8 = 1;
    /// The command line or a file is wrong, or what was asked cannot be sent.
    pub(in super::super) const USAGE: u8 = 2;
    /// No UDAP at this base URL (CLI-01).
    pub(in super::super) const NO_UDAP: u8 = 3;
    /// None of the communities is served, or no certificate is trusted (CLI-03, CLI-18).
    pub(in super::super) const NO_COMMUNITY: u8 = 4;
    /// What the server says does not hold (CLI-06).
    pub(in super::super) const NOT_BELIEVED: u8 = 5;
    /// No answer.
    pub(in super::super) const NO_ANSWER: u8 = 6;
}

/// The exit status that an error of the library ends with.
fn status_of(error: &ClientError) -> u8 {
    match error {
        ClientError::NoUdap => code::NO_UDAP,
        ClientError::CommunityNotServed | ClientError::Unapproved => code::NO_COMMUNITY,
        ClientError::Refused { code, .. } if code == "unapproved_software_statement" => {
            code::NO_COMMUNITY
        }
        ClientError::Metadata(_) | ClientError::Redirected | ClientError::Answer { .. } => {
            code::NOT_BELIEVED
        }
        ClientError::Local { .. } | ClientError::OtherBase | ClientError::Sign(_) => code::USAGE,
        ClientError::Fetch(_) => code::NO_ANSWER,
        ClientError::Refused { .. } | ClientError::NotSupported { .. } => code::REFUSED,
    }
}

/// Why the command ended without doing what was asked.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) text: String,
    pub(super) advice: String,
    rule: Option<&'static str>,
    origin: Option<&'static str>,
}

impl Failure {
    pub(super) fn usage(text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { code: code::USAGE, ..Self::refused(text, advice) }
    }

    pub(super) fn refused(text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            code: code::REFUSED,
            text: text.into(),
            advice: advice.into(),
            rule: None,
            origin: None,
        }
    }

    /// An error of a step in words.
    pub(super) fn of(step: &str, error: &ClientError, parts: &Parts) -> Self {
        Self {
            code: status_of(error),
            text: format!("{step}: {error}"),
            advice: advice(error, parts),
            rule: error.rule(),
            origin: Some(match error.origin() {
                Origin::Us => "client",
                Origin::Server => "server",
                Origin::Network => "network",
            }),
        }
    }
}

/// What is said at the end.
pub(super) struct Talk {
    pub(super) ui: Ui,
    explain: bool,
    checks: Vec<(&'static str, &'static Check, Verdict)>,
    pub(super) facts: Vec<(&'static str, Value)>,
    warnings: Vec<String>,
    /// Printed after everything else, as it is: a token, a body.
    pub(super) after: String,
    /// Exit status if nothing failed.
    pub(super) status: u8,
}

impl Talk {
    pub(super) fn new(json: bool, explain: bool) -> Self {
        Self {
            ui: Ui::new(json),
            explain,
            checks: Vec::new(),
            facts: Vec::new(),
            warnings: Vec::new(),
            after: String::new(),
            status: 0,
        }
    }

    pub(super) fn fact(&mut self, name: &'static str, value: impl Into<Value>) {
        self.facts.push((name, value.into()));
    }

    /// Something that works and should not stay so.
    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        let warning = warning.into();
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Notes how the checks of a step ended.
    pub(super) fn checked(
        &mut self,
        name: &'static str,
        step: &'static [Check],
        error: Option<&ClientError>,
    ) {
        for (check, verdict) in checks::verdicts(step, error) {
            self.checks.push((name, check, verdict));
        }
    }

    /// Notes how the checks of a step ended, and turns its error into words.
    pub(super) fn step<T>(
        &mut self,
        name: &'static str,
        step: &'static [Check],
        parts: &Parts,
        result: Result<T, ClientError>,
    ) -> Result<T, Failure> {
        self.checked(name, step, result.as_ref().err());
        result.map_err(|error| Failure::of(name, &error, parts))
    }

    /// The communities that were tried before.
    pub(super) fn passed_over(&mut self, passed: &[PassedOver]) {
        if !passed.is_empty() {
            let said = passed.iter().map(|(uri, why)| format!("{}: {why}", uri.as_str()));
            self.fact("passed_over", said.collect::<Vec<_>>());
        }
    }

    /// A search over the communities that led nowhere, in words.
    pub(super) fn stopped(&mut self, stopped: &Stopped, parts: &Parts) -> Failure {
        self.passed_over(&stopped.passed_over);
        let error = &stopped.error;
        let name = match stopped.step {
            ward_client::Step::Discovery => {
                self.checked("discovery", checks::DISCOVERY, Some(error));
                "discovery"
            }
            ward_client::Step::Registration => {
                self.checked("discovery", checks::DISCOVERY, None);
                self.checked("registration", checks::REGISTRATION, Some(error));
                "registration"
            }
        };
        Failure::of(name, error, parts)
    }

    pub(super) fn close(self, command: &str, ended: Result<(), Failure>) -> ExitCode {
        let failure = ended.err();
        let code = failure.as_ref().map_or(self.status, |failure| failure.code);
        if self.ui.json() {
            self.ui.line(&self.as_json(command, failure.as_ref()).to_string());
            return ExitCode::from(code);
        }
        for (name, value) in &self.facts {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Array(many) => {
                    many.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
                }
                other => other.to_string(),
            };
            if !text.is_empty() {
                let name = format!("{:<14}", name.replace('_', " "));
                self.ui.line(&format!("{} {}", self.ui.bold(&name), printable(&text)));
            }
        }
        if self.explain {
            for (step, check, verdict) in &self.checks {
                let mark = match verdict {
                    Verdict::Passed => self.ui.good("passed"),
                    Verdict::Failed => self.ui.bad("FAILED"),
                    Verdict::NotReached => self.ui.dim("not reached"),
                };
                let rules = check.rules.join(" ");
                self.ui.line(&format!("{mark} {step}: {} ({rules})", check.text));
            }
        }
        if !self.after.is_empty() {
            self.ui.line(&self.after);
        }
        for warning in &self.warnings {
            ui::error(&printable(&format!("WARNING: {warning}")));
        }
        if let Some(Failure { text, advice, .. }) = failure {
            ui::error(&printable(&text));
            if !advice.is_empty() {
                ui::error(&printable(&advice));
            }
        }
        ExitCode::from(code)
    }

    fn as_json(&self, command: &str, failure: Option<&Failure>) -> Value {
        let mut out = Map::new();
        out.insert("command".into(), json!(command));
        out.insert("ok".into(), json!(failure.is_none() && self.status == 0));
        for (name, value) in &self.facts {
            out.insert((*name).to_owned(), value.clone());
        }
        out.insert("warnings".into(), json!(self.warnings));
        if self.explain {
            let verdict = |verdict: &Verdict| match verdict {
                Verdict::Passed => "passed",
                Verdict::Failed => "failed",
                Verdict::NotReached => "not-reached",
            };
            let checks = self.checks.iter().map(|(step, check, how)| {
                json!({ "step": step, "rules": check.rules, "check": check.text, "verdict": verdict(how) })
            });
            out.insert("checks".into(), checks.collect());
        }
        if let Some(Failure { text, advice, rule, origin, .. }) = failure {
            out.insert(
                "error".into(),
                json!({ "text": text, "advice": advice, "rule": rule, "origin": origin }),
            );
        }
        Value::Object(out)
    }
}

/// What came from elsewhere without the characters that move a terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

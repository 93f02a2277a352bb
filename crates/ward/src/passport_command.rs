//! `ward passport`: asks the admin listener who trusts whom, what would stop with a certificate and what ends soon, and
//! says it to a person or a script. Questions only: nothing is changed, and every question is in the log.

mod words;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use ward_core::crypto;

use crate::admin_command::{AskError, certificates, read_key, send, usage};
use crate::cli_admin::Place;
use crate::ui::{self, Ui};

/// Show who trusts whom, through which chain, until when, and what hangs on it.
///
/// Each certificate from a client to its anchor with its dates, what list or OCSP answer it was last checked against, and
/// the registrations and live grants that rest on it. Asks a running Ward over its admin listener with an operator's
/// key; any role may ask. Nothing is changed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Passport {
    /// A client's URI or id, a certificate's SHA-256 thumbprint, a community's URI, or an organisation. Without it: an
    /// overview of at most 100 clients.
    #[arg(value_name = "ENTITY")]
    pub(crate) entity: Option<String>,
    /// Tell what would stop if this certificate were revoked: a SHA-256 thumbprint, a serial number in hexadecimal, or a
    /// PEM file; a client's own or an authority's.
    #[arg(long, num_args = 2, value_names = ["revoke", "CERT"], conflicts_with_all = ["entity", "expiring"])]
    pub(crate) what_if: Option<Vec<String>>,
    /// Tell what ends within this time (`30d`, `6w`): certificates, bundles, lists; with the contacts to write to, as
    /// `mailto:`. Ward sends no mail itself.
    #[arg(long, value_name = "TIME", conflicts_with = "entity")]
    pub(crate) expiring: Option<String>,
    #[command(flatten)]
    pub(crate) place: Place,
}

const EXAMPLES: &str = "Examples:\n  \
    ward passport --key-file me.key https://partner.example/app\n  \
    ward passport --key-file me.key --what-if revoke issuing-ca.pem\n  \
    ward passport --key-file me.key --expiring 30d";

/// Runs `ward passport`.
pub(crate) async fn run(command: &Passport) -> ExitCode {
    let ui = Ui::new(command.place.json);
    match ask(command, ui).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui::error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn ask(command: &Passport, ui: Ui) -> Result<(), AskError> {
    let (word, fields) = request_of(command)?;
    let key = read_key(&command.place)?;
    let answer = send(&command.place, word, Some(&key), &fields).await?;
    if ui.json() {
        ui.line(&answer.to_string());
        return Ok(());
    }
    for line in words::lines(&answer) {
        ui.line(&line);
    }
    Ok(())
}

/// The command's word and fields.
fn request_of(command: &Passport) -> Result<(&'static str, Value), AskError> {
    if let Some(time) = &command.expiring {
        return Ok(("expiring", json!({ "days": days(time)? })));
    }
    let Some(what_if) = &command.what_if else {
        return Ok(("passport", json!({ "entity": command.entity })));
    };
    let [act, certificate] = what_if.as_slice() else {
        return Err(usage("write: --what-if revoke CERT"));
    };
    if act != "revoke" {
        return Err(usage(format!("--what-if knows `revoke`, not `{act}`")));
    }
    Ok(("passport-what-if", json!({ "certificate": meant(certificate)? })))
}

/// The thumbprint of a PEM file's first certificate; else what was typed.
fn meant(typed: &str) -> Result<String, AskError> {
    let path = PathBuf::from(typed);
    if !path.is_file() {
        return Ok(typed.to_owned());
    }
    thumbprint(&path)
}

fn thumbprint(path: &Path) -> Result<String, AskError> {
    let all = certificates(path)?;
    let first = all.first().ok_or_else(|| {
        usage(format!("{}: no certificate in PEM (-----BEGIN CERTIFICATE-----)", path.display()))
    })?;
    Ok(crypto::hex(&crypto::sha256(&[first])))
}

/// Days of `30d`, `6w` or `30`.
fn days(text: &str) -> Result<u64, AskError> {
    let text = text.trim();
    let (number, each) = match text.strip_suffix('w') {
        Some(weeks) => (weeks, 7),
        None => (text.strip_suffix('d').unwrap_or(text), 1),
    };
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(each))
        .ok_or_else(|| usage(format!("{text} is no time in days; write 30d or 6w")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_days_or_weeks() {
        for (text, wanted) in [("30d", Some(30)), ("6w", Some(42)), ("7", Some(7)), ("0d", Some(0))]
        {
            assert_eq!(days(text).ok(), wanted, "{text}");
        }
        for text in ["", "d", "-1d", "1m", "1.5d", "99999999999999999999w"] {
            assert!(days(text).is_err(), "{text}");
        }
    }
}

//! `ward log`: reads, verifies and proves the log of a data directory, with or without a server.

use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;

use ward_audit::{Leaf, LogError, Reader, RealDisk, Tampered, leaf_hash, verify};
use ward_core::{KeyVault, Outcome};

use crate::cli::{Log, LogPlace, LogProve, LogShow, LogVerify};
use crate::house::{open_vault_with_key_file, system};
use crate::paths::Paths;
use crate::ui::Ui;

/// Why a log command ended without doing what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogCommandError {
    /// The log could not be opened or read.
    #[error("{dir}: {source}{}", hint(source))]
    Log {
        /// The data directory.
        dir: String,
        /// The cause.
        source: LogError,
    },
    /// A file named on the command line could not be read.
    #[error("{what} {path}: {source}")]
    File {
        /// Which option.
        what: &'static str,
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The vault did not open.
    #[error("--key-file: {0}")]
    Vault(#[from] ward_store::StoreError),
}

fn hint(source: &LogError) -> &'static str {
    match source {
        LogError::Absent => "; name a data directory that `ward demo --data DIR` has made",
        _ => "",
    }
}

pub(crate) async fn run(ui: Ui, command: &Log) -> Result<ExitCode, Box<dyn std::error::Error>> {
    Ok(match command {
        Log::Show(show) => self::show(ui, show)?,
        Log::Verify(wanted) => verify_log(ui, wanted)?,
        Log::Prove(prove) => self::prove(ui, prove).await?,
    })
}

fn reader(place: &LogPlace, vault: Option<Arc<dyn KeyVault>>) -> Result<Reader, LogCommandError> {
    Reader::open_dir(&Paths::new(&place.data).log(), vault).map_err(|e| named(place, e))
}

fn named(place: &LogPlace, source: LogError) -> LogCommandError {
    LogCommandError::Log { dir: place.data.display().to_string(), source }
}

fn show(ui: Ui, show: &LogShow) -> Result<ExitCode, LogCommandError> {
    let reader = reader(&show.place, None)?;
    let size = reader.size();
    let first = show.from.unwrap_or(size.saturating_sub(show.count)).min(size);
    let end = first.saturating_add(show.count).min(size);
    for entry in reader.leaves(first..end) {
        let (index, leaf) = entry.map_err(|e| named(&show.place, e))?;
        if show.json {
            let bytes = reader.leaf_bytes(index).map_err(|e| named(&show.place, e))?;
            ui.line(&String::from_utf8_lossy(&bytes));
        } else {
            ui.line(&one_line(ui, index, &leaf));
        }
    }
    if !show.json {
        ui.line(&ui.dim(&format!("{size} entries in all")));
    }
    Ok(ExitCode::SUCCESS)
}

/// One entry on one line, from the leaf alone.
pub(crate) fn one_line(ui: Ui, index: u64, leaf: &Leaf) -> String {
    let kind = serde_json::to_value(leaf.kind)
        .ok()
        .and_then(|kind| kind.as_str().map(ToOwned::to_owned))
        .unwrap_or_default();
    let mut line = format!("{index:>6}  {}  {kind:<12} {:<12}", leaf.at.to_rfc3339(), leaf.action);
    if let Some(transfer) = &leaf.transfer {
        let _ = write!(
            line,
            " {} {} {} · {} records of {} patients",
            transfer.interaction,
            transfer.resource_type,
            transfer.status,
            transfer.resources,
            transfer.patients
        );
    }
    for purpose in &leaf.purposes {
        let _ = write!(line, " {purpose}");
    }
    match (leaf.outcome, &leaf.rule) {
        (Outcome::Success, None) => {}
        (Outcome::Success, Some(rule)) => {
            let _ = write!(line, "  {rule}");
        }
        (Outcome::Refused, rule) => {
            let said = format!("refused {}", rule.as_deref().unwrap_or_default());
            let _ = write!(line, "  {}", ui.bad(&said));
        }
        (Outcome::Failed, _) => {
            let _ = write!(line, "  {}", ui.bad("failed"));
        }
    }
    if let Some(operator) = &leaf.actor.operator {
        let _ = write!(line, "  by {operator}");
    } else if let Some(client) = &leaf.actor.client {
        let _ = write!(line, "  {}", ui.dim(&format!("client {client}")));
    }
    line
}

fn verify_log(ui: Ui, wanted: &LogVerify) -> Result<ExitCode, LogCommandError> {
    let paths = Paths::new(&wanted.place.data);
    let read = |what, path: &std::path::Path| {
        fs::read_to_string(path).map_err(|source| LogCommandError::File {
            what,
            path: path.display().to_string(),
            source,
        })
    };
    let key = match &wanted.key {
        Some(key) => key.clone(),
        None => read("verifier key", &paths.verifier_key())?,
    };
    let checkpoint = match &wanted.checkpoint {
        Some(path) => Some(read("--checkpoint", path)?),
        None => None,
    };
    let disk = RealDisk::new(paths.log());
    match verify(&disk, key.trim(), checkpoint.as_deref()) {
        Ok(report) => {
            ui.line(&format!(
                "{} {} entries, root {}, {} of them signed",
                ui.good("verified:"),
                report.size,
                ward_core::crypto::hex(&report.root),
                report.signed
            ));
            if checkpoint.is_some() {
                ui.line("the log continues the checkpoint that you kept");
            } else {
                ui.line(&ui.dim(
                    "only checked against itself: give --checkpoint FILE, kept on another machine, \
                     to prove that nothing was cut back",
                ));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(LogError::Tampered(Tampered { place, what })) => {
            ui.line(&format!("{} at {place}: {what}", ui.bad("NOT the log that was written:")));
            Ok(ExitCode::FAILURE)
        }
        Err(source) => Err(named(&wanted.place, source)),
    }
}

async fn prove(ui: Ui, prove: &LogProve) -> Result<ExitCode, LogCommandError> {
    let vault = match &prove.key_file {
        Some(file) => {
            let paths = Paths::new(&prove.place.data);
            let vault = open_vault_with_key_file(&paths.vault(), file, &system())?;
            Some(vault as Arc<dyn KeyVault>)
        }
        None => None,
    };
    let reader = reader(&prove.place, vault)?;
    let fail = |e| named(&prove.place, e);
    let size = reader.size();
    let leaf = reader.leaf(prove.index).map_err(fail)?;
    let bytes = reader.leaf_bytes(prove.index).map_err(fail)?;
    ui.line(&ui.bold("Entry"));
    ui.line(&String::from_utf8_lossy(&bytes));
    ui.line(&format!(
        "leaf hash {} (SHA-256 of 0x00 and the bytes above)",
        ward_core::crypto::hex(&leaf_hash(&bytes))
    ));
    ui.line("");
    ui.line(&ui.bold(&format!("Proof that entry {} is in the log of {size}", prove.index)));
    ui.line(reader.tlog_proof(prove.index).map_err(fail)?.trim_end());
    ui.line("");
    let body = reader.body(prove.index).await;
    ui.line(&ui.bold("As a FHIR AuditEvent"));
    let view =
        ward_audit::fhir_view::audit_event(&leaf, body.as_ref().ok(), prove.index, &leaf.node);
    ui.line(&serde_json::to_string_pretty(&view).unwrap_or_default());
    if let Err(error) = body {
        ui.line(&ui.dim(&format!("without the sealed body: {error}")));
    }
    Ok(ExitCode::SUCCESS)
}

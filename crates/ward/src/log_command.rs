//! `ward log`: reads, verifies and proves the log of a data directory, with or without a server.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ward_audit::{
    Checkpoint, Leaf, LogError, Reader, RealDisk, Tampered, VerifierKey, leaf_hash, verify,
};
use ward_core::{KeyVault, Outcome};

use crate::cli::{Log, LogPlace, LogProve, LogShow, LogVerify};
use crate::house::{open_vault_with_key_file, system};
use crate::paths::Paths;
use crate::ui::{Ui, counted};

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
    /// A file named on the command line is not what it should be.
    #[error("{what} {path}: {why}")]
    Unfit {
        /// Which option.
        what: &'static str,
        /// The file or text.
        path: String,
        /// What it is, and what it should be.
        why: String,
    },
    /// Fewer entries can be read than were signed.
    #[error(
        "{dir}: NOT the log that was written: {signed} entries are signed, only {readable} can be read; \
         run `ward log verify --data {dir}`"
    )]
    Short {
        /// The data directory.
        dir: String,
        /// What the checkpoint says.
        signed: u64,
        /// What can be read.
        readable: u64,
    },
    /// The entry is there, but nothing signed covers it.
    #[error(
        "entry {index} is kept, but no signed checkpoint covers it yet, so there is no proof; start Ward, which signs one"
    )]
    Unsigned {
        /// Which.
        index: u64,
    },
    /// The vault did not open.
    #[error(
        "--key-file: {0}; it is what `keys.key_file` in ward.toml names (the demo's: DIR/vault.key)"
    )]
    Vault(#[from] ward_store::StoreError),
}

fn hint(source: &LogError) -> &'static str {
    match source {
        LogError::Absent => {
            "; give --data the directory that a Ward keeps: `data` in ward.toml, or the demo's --data"
        }
        LogError::Tampered(_) => "; run `ward log verify`, and restore the log from a backup",
        _ => "",
    }
}

/// How often, and how many times, `ward log prove` looks for a checkpoint that covers a fresh entry.
const LOOK: Duration = Duration::from_millis(250);
const LOOKS: u32 = 20;

/// `ward log verify` found the log altered; other failures end with 1.
const EXIT_ALTERED: u8 = 3;

pub(crate) async fn run(ui: Ui, command: &Log) -> Result<ExitCode, Box<dyn std::error::Error>> {
    Ok(match command {
        Log::Show(show) => self::show(ui, show)?,
        Log::Verify(wanted) => verify_log(ui, wanted)?,
        Log::Prove(prove) => self::prove(ui, prove).await?,
    })
}

fn reader(place: &LogPlace, vault: Option<Arc<dyn KeyVault>>) -> Result<Reader, LogCommandError> {
    let reader =
        Reader::open_dir(&Paths::new(&place.data).log(), vault).map_err(|e| named(place, e))?;
    // What cannot be read any more is missing from the end: the signed size tells.
    let signed = reader.checkpoint().ok().and_then(|note| Checkpoint::parse_unverified(&note));
    match signed {
        Some(signed) if signed.size > reader.size() => Err(LogCommandError::Short {
            dir: place.data.display().to_string(),
            signed: signed.size,
            readable: reader.size(),
        }),
        _ => Ok(reader),
    }
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
    let mut line = format!("{index:>6}  {}  {kind:<12} {:<14}", leaf.at.to_rfc3339(), leaf.action);
    if let Some(transfer) = &leaf.transfer {
        let _ = write!(
            line,
            " {} {} {} · {} of {}",
            transfer.interaction,
            transfer.resource_type,
            transfer.status,
            counted(transfer.resources.into(), "record"),
            counted(transfer.patients.into(), "patient")
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
        (Outcome::Observed, rule) => {
            let said = format!("would refuse {}", rule.as_deref().unwrap_or_default());
            let _ = write!(line, "  {}", ui.bold(&said));
        }
    }
    if let Some(operator) = &leaf.actor.operator {
        let _ = write!(line, "  by {operator}");
    } else if let Some(client) = &leaf.actor.client {
        let _ = write!(line, "  {}", ui.dim(&format!("client …{}", tail(&client.to_string()))));
    }
    line
}

fn verify_log(ui: Ui, wanted: &LogVerify) -> Result<ExitCode, LogCommandError> {
    let paths = Paths::new(&wanted.place.data);
    if !paths.log().is_dir() {
        return Err(named(&wanted.place, LogError::Absent));
    }
    let read = |what, path: &Path| {
        fs::read_to_string(path).map_err(|source| LogCommandError::File {
            what,
            path: path.display().to_string(),
            source,
        })
    };
    let key = match &wanted.key {
        Some(key) => key.trim().to_owned(),
        None => read("the verifier key", &paths.verifier_key())?.trim().to_owned(),
    };
    let verifier = VerifierKey::parse(&key).map_err(|_| LogCommandError::Unfit {
        what: "--key",
        path: key.clone(),
        why: "not a verifier key; give the text of DIR/log-verifier.txt".to_owned(),
    })?;
    let checkpoint = match &wanted.checkpoint {
        Some(path) => {
            let note = read("--checkpoint", path)?;
            fits(&note, path, &verifier)?;
            Some(note)
        }
        None => None,
    };
    match verify(&RealDisk::new(paths.log()), &key, checkpoint.as_deref()) {
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
            Ok(ExitCode::from(EXIT_ALTERED))
        }
        Err(source) => Err(named(&wanted.place, source)),
    }
}

/// Whether a file is a checkpoint of this log at all; its signature is checked later.
fn fits(note: &str, path: &Path, key: &VerifierKey) -> Result<(), LogCommandError> {
    let unfit = |why: String| LogCommandError::Unfit {
        what: "--checkpoint",
        path: path.display().to_string(),
        why,
    };
    match Checkpoint::parse_unverified(note) {
        None => Err(unfit("not a checkpoint; keep a copy of DIR/log/checkpoint".to_owned())),
        Some(other) if other.origin != key.name() => Err(unfit(format!(
            "a checkpoint of another log ({}); this one is {}",
            other.origin,
            key.name()
        ))),
        Some(_) => Ok(()),
    }
}

/// The end of an id, which tells ids of one day apart.
fn tail(id: &str) -> &str {
    id.get(id.len().saturating_sub(8)..).unwrap_or(id)
}

/// A reader of the log in which a signed checkpoint covers the entry: a running Ward signs one each second.
async fn signed_reader(
    prove: &LogProve,
    vault: Option<Arc<dyn KeyVault>>,
) -> Result<Reader, LogCommandError> {
    for _ in 0..LOOKS {
        let reader = reader(&prove.place, vault.clone())?;
        let note = reader.checkpoint().map_err(|e| named(&prove.place, e))?;
        let signed = Checkpoint::parse_unverified(&note).map_or(0, |signed| signed.size);
        if prove.index < signed || prove.index >= reader.size() {
            return Ok(reader);
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(LogCommandError::Unsigned { index: prove.index })
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
    let reader = signed_reader(prove, vault).await?;
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
        ui.line(&ui.dim(&format!(
            "without the sealed body ({error}): give --key-file DIR/vault.key to add who and what"
        )));
    }
    Ok(ExitCode::SUCCESS)
}

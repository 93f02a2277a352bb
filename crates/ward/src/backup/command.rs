//! `ward backup` and `ward restore`.
//!
//! `ward backup` opens the store itself, which only one process may do; where a server has it open, the server makes
//! the backup ([`super::create`], an operator's command). Exit status 0: done; 1: refused; 2: the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use ward_admin::BackupRequest;
use ward_audit::{Log, LogOptions, RealDisk, origin_of};
use ward_core::{KeyVault, Secret, TenantId};
use ward_store::bus::LocalBus;
use ward_store::vault::{FileVault, Unlock};
use ward_store::{Store, StoreError};

use super::{BackupError, Made, Seal, Source, create_from, restore};
use crate::config::{Config, material};
use crate::house::{HouseError, System, node_id, signing_key, system};
use crate::paths::Paths;
use crate::ui::{self, Ui};

/// Longest passphrase file.
const PASSPHRASE_BOUND: u64 = 4096;
/// Shortest passphrase.
const PASSPHRASE_MIN: usize = 12;

/// What seals and opens a backup; not what opens the vault.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct SealedBy {
    /// File with the passphrase of the backup, owner-only, at least 12 characters.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,

    /// File with the key of the backup: 32 random octets, owner-only.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// Back up everything that a server must not lose into one sealed file.
///
/// Store, log and wrapped keys as of one moment. Not in it: the vault's passphrase or key file, TLS and community
/// certificates, ward.toml. Keep the printed checkpoint on another machine.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Configuration of the server; names the data directory and what opens its vault.
    #[arg(long, value_name = "FILE", required_unless_present = "data")]
    config: Option<PathBuf>,

    /// Data directory, instead of --config.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    data: Option<PathBuf>,

    /// Key file of the vault, with --data; without it DIR/vault.key.
    #[arg(long, value_name = "FILE", requires = "data")]
    vault_key: Option<PathBuf>,

    /// The backup to write; must not exist.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,

    #[command(flatten)]
    seal: SealedBy,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Restore a backup into a new data directory, after verifying all of it.
///
/// Nothing is changed unless everything holds: the seal, the log's proof against the backup's checkpoint and the one
/// that you kept, and that store and log agree.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,

    /// Data directory to make; must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    #[command(flatten)]
    seal: SealedBy,

    /// A signed checkpoint that was kept elsewhere; the restored log must continue it.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,

    /// The log's verifier key that was kept elsewhere; without it the one in the backup is used.
    #[arg(long, value_name = "KEY")]
    verifier_key: Option<String>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Why a command ended: its exit status and its words.
struct Failure(u8, String);

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let code = match error {
            BackupError::NotEmpty(_) | BackupError::Exists(_) => 2,
            _ => 1,
        };
        Self(code, error.to_string())
    }
}

impl From<HouseError> for Failure {
    fn from(error: HouseError) -> Self {
        Self(1, error.to_string())
    }
}

fn usage(option: &str, path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure(2, format!("{option} {}: {why}", path.display()))
}

impl SealedBy {
    fn read(&self) -> Result<Seal, Failure> {
        match (&self.passphrase_file, &self.key_file) {
            (Some(path), _) => {
                let bytes = read_private("--passphrase-file", path)?;
                let text = bytes.expose().trim_ascii_end().to_vec();
                if text.len() < PASSPHRASE_MIN {
                    return Err(usage(
                        "--passphrase-file",
                        path,
                        "the passphrase is too short; take 12 characters or more",
                    ));
                }
                Ok(Seal::Passphrase(Secret::new(text)))
            }
            (None, Some(path)) => {
                let bytes = read_private("--key-file", path)?;
                let key = <[u8; 32]>::try_from(bytes.expose().as_slice()).map_err(|_| {
                    let way = format!(
                        "it must hold 32 octets; run: (umask 077; head -c 32 /dev/urandom > {})",
                        path.display()
                    );
                    usage("--key-file", path, way)
                })?;
                Ok(Seal::Key(Secret::new(key)))
            }
            (None, None) => Err(Failure(2, "give --passphrase-file or --key-file".to_owned())),
        }
    }
}

fn read_private(option: &str, path: &Path) -> Result<Secret<Vec<u8>>, Failure> {
    let meta = fs::metadata(path).map_err(|error| usage(option, path, error))?;
    let mode = meta.permissions().mode() & 0o7777;
    if !meta.is_file() || meta.len() > PASSPHRASE_BOUND {
        return Err(usage(option, path, "it is not a small file"));
    }
    if mode.trailing_zeros() < 6 {
        let way = format!("others can use it (mode {mode:04o}); run: chmod 600 {}", path.display());
        return Err(usage(option, path, way));
    }
    fs::read(path).map(Secret::new).map_err(|error| usage(option, path, error))
}

/// A backup on the request of an operator whom `ward-admin` has authorised. The error is in words for the
/// operator.
pub async fn on_request(
    source: &Source,
    asked: &BackupRequest,
    operator: &str,
) -> Result<Made, String> {
    let asked = asked.clone();
    if !asked.to.is_absolute() {
        return Err("give a full path: it is on the server's machine".to_owned());
    }
    // An operator of the listener is not yet one of the machine: Ward's own files are out of reach.
    let folder = asked.to.parent().and_then(|folder| folder.canonicalize().ok());
    let data = source.paths.root().canonicalize().ok();
    if let (Some(folder), Some(data)) = (&folder, &data)
        && folder.starts_with(data)
    {
        return Err("a backup does not belong into the data directory; name another".to_owned());
    }
    let seal = SealedBy { passphrase_file: asked.passphrase_file, key_file: asked.key_file };
    let seal = seal.read().map_err(|Failure(_, text)| text)?;
    create_from(source, seal, &asked.to, operator).await.map_err(|error| error.to_string())
}

fn ended(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, text)) => {
            ui::error(&text);
            ExitCode::from(code)
        }
    }
}

pub(crate) async fn backup(wanted: &Backup) -> ExitCode {
    ended(make(wanted).await)
}

async fn make(wanted: &Backup) -> Result<(), Failure> {
    let seal = wanted.seal.read()?;
    if wanted.to.exists() {
        return Err(BackupError::Exists(wanted.to.clone()).into());
    }
    let (data, unlock) = match (&wanted.config, &wanted.data) {
        (Some(path), _) => {
            let config = Config::load(path).map_err(|error| Failure(2, error.to_string()))?;
            let unlock = material::unlock(&config).map_err(|problem| {
                Failure(2, format!("{}: {}; {}", problem.key, problem.what, problem.way))
            })?;
            (config.data, unlock)
        }
        (None, Some(data)) => {
            let default = Paths::new(data).key_file();
            (data.clone(), Unlock::KeyFile(wanted.vault_key.clone().unwrap_or(default)))
        }
        (None, None) => return Err(Failure(2, "give --config or --data".to_owned())),
    };
    let paths = Paths::new(&data);
    if !paths.store().is_dir() {
        return Err(usage(
            "data directory",
            &data,
            "there is no store here; name the one that Ward serves from",
        ));
    }
    let source = open(paths, &unlock, &system()).await?;
    let made = create_from(&source, seal, &wanted.to, "ward backup").await;
    source.log.close().await;
    let made = made?;
    let ui = Ui::new(wanted.json);
    if ui.json() {
        ui.line(&serde_json::to_string(&made).unwrap_or_default());
        return Ok(());
    }
    ui.line(&format!(
        "{} {}: {} bytes; {} state changes, {} log entries",
        ui.good("backed up:"),
        wanted.to.display(),
        made.bytes,
        made.state_changes,
        made.log_size
    ));
    ui.line("Keep this checkpoint on another machine (ward restore --checkpoint FILE):");
    ui.line(made.checkpoint.trim_end());
    Ok(())
}

/// Opens store and log of a server that does not run.
async fn open(paths: Paths, unlock: &Unlock, system: &System) -> Result<Source, Failure> {
    let System { clock, rng, limits } = system.clone();
    let store_error = |error: StoreError| match error {
        StoreError::InUse(_) => Failure(
            1,
            format!(
                "Ward is serving from {}: have the server make it (ward admin backup --to FILE --backup-key FILE), or stop it first",
                paths.root().display()
            ),
        ),
        other => HouseError::from(other).into(),
    };
    let vault = FileVault::open(&paths.vault(), unlock, rng.clone()).map_err(store_error)?;
    let keys: Arc<dyn KeyVault> = vault.clone();
    let store = Store::open(&paths.store(), keys.clone(), clock.clone(), rng.clone(), &limits)
        .map_err(store_error)?;
    let log = Log::open(LogOptions {
        disk: Arc::new(RealDisk::new(paths.log())),
        origin: origin_of(node_id(&vault, system)?),
        signing_key: signing_key(&vault, system)?,
        vault: keys,
        bus: Arc::new(LocalBus::new(&limits)),
        clock,
        rng,
        limits,
    })
    .map_err(HouseError::from)?;
    log.attach_outbox(store.clone()).await.map_err(HouseError::from)?;
    let tenant = TenantId::default_tenant();
    Ok(Source { paths, store, log, tenant, system: system.clone() })
}

pub(crate) fn restored(wanted: &Restore) -> ExitCode {
    ended(bring_back(wanted))
}

fn bring_back(wanted: &Restore) -> Result<(), Failure> {
    let seal = wanted.seal.read()?;
    let checkpoint = match &wanted.checkpoint {
        Some(path) => {
            Some(fs::read_to_string(path).map_err(|error| usage("--checkpoint", path, error))?)
        }
        None => None,
    };
    let done = restore(
        &wanted.from,
        &seal,
        &wanted.data,
        checkpoint.as_deref(),
        wanted.verifier_key.as_deref(),
        &system(),
    )?;
    let ui = Ui::new(wanted.json);
    if ui.json() {
        ui.line(&serde_json::to_string(&done).unwrap_or_default());
        return Ok(());
    }
    ui.line(&format!(
        "{} {} as of {}: {} state changes, {} log entries ({} signed), root {}",
        ui.good("restored:"),
        wanted.data.display(),
        done.created,
        done.state_changes,
        done.log_size,
        done.signed,
        done.root
    ));
    ui.line(if checkpoint.is_some() {
        "The log continues the checkpoint that you kept."
    } else {
        "Only checked against the backup itself: give --checkpoint FILE, kept on another machine, to prove more."
    });
    ui.line("Before you serve from it: put the vault's key file or passphrase in its place, and revoke again what was");
    ui.line("revoked after the backup (docs/operate/downtime.md).");
    Ok(())
}

//! `ward vault rewrap`: wraps the vault's keys anew, so that another key file or passphrase opens it.
//!
//! Refused: while Ward serves from the data directory, and to write over anything. The vault as it was stays beside
//! the new one until a person removes it: a step that fails half-way loses nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use ward_core::KeyVault;
use ward_store::vault::{FileVault, create_key_file};
use ward_store::{Store, StoreError};

use crate::config::material::unlock;
use crate::config::{Config, ConfigError, Keys};
use crate::paths::Paths;
use crate::serve::system_of;
use crate::ui::Ui;

/// What opens the vault of Ward's keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Vault {
    Rewrap(Rewrap),
}

/// Wrap the vault's keys anew, so that another key file or passphrase opens it.
///
/// Stop Ward first. Afterwards set [keys] in ward.toml as it says, start Ward, and remove what opened the vault
/// before. Backups that were made earlier still open with the former one.
#[derive(Debug, Args)]
pub(crate) struct Rewrap {
    /// The configuration; it says where the vault is and what opens it now.
    #[arg(long, value_name = "FILE", default_value = "ward.toml")]
    config: PathBuf,

    /// Key file to make; must not exist.
    #[arg(long, value_name = "FILE", required_unless_present = "new_passphrase_file")]
    new_key_file: Option<PathBuf>,

    /// File with the new passphrase: at least 12 characters, readable by its owner only.
    #[arg(long, value_name = "FILE", conflicts_with = "new_key_file")]
    new_passphrase_file: Option<PathBuf>,
}

/// Why the vault is as it was.
#[derive(Debug, thiserror::Error)]
enum RewrapError {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Ward serves.
    #[error("Ward serves from {}: stop it first", .0.display())]
    Serving(PathBuf),
    /// There is no vault, or it did not open, or could not be written.
    #[error(transparent)]
    Vault(StoreError),
    /// A directory could not take the other's place.
    #[error("{}: {source}; the vault as it was is complete, in vault or vault.before", path.display())]
    Place {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl From<StoreError> for RewrapError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InUse(path) => Self::Serving(path),
            other => Self::Vault(other),
        }
    }
}

pub(crate) fn run(ui: Ui, command: &Vault) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let Vault::Rewrap(options) = command;
    rewrap(ui, options)?;
    Ok(ExitCode::SUCCESS)
}

fn rewrap(ui: Ui, options: &Rewrap) -> Result<(), RewrapError> {
    let config = Config::load(&options.config)?;
    let system = system_of(&config);
    let paths = Paths::new(&config.data);
    let (vault, next, before) =
        (paths.vault(), paths.root().join("vault.new"), paths.root().join("vault.before"));
    let place = |path: &Path| {
        let path = path.to_path_buf();
        move |source| RewrapError::Place { path, source }
    };
    if !vault.join("vault.json").exists() {
        let why = "there is no vault here yet; `ward serve` makes it".to_owned();
        return Err(RewrapError::Vault(StoreError::BadVault(format!(
            "{}: {why}",
            vault.display()
        ))));
    }
    if before.exists() {
        let what = std::io::Error::other("left from an earlier time; remove it once all is well");
        return Err(place(&before)(what));
    }
    let faulty = |config: &Config, problem| RewrapError::from(config.faulty(vec![problem]));
    let now = unlock(&config).map_err(|problem| faulty(&config, problem))?;
    let old = FileVault::open(&vault, &now, system.rng.clone())?;
    // Held until the end: nobody makes keys meanwhile.
    let keys: std::sync::Arc<dyn KeyVault> = old.clone();
    let limits = &system.limits;
    let held = Store::open(&paths.store(), keys, system.clock.clone(), system.rng.clone(), limits)?;

    if let Some(path) = &options.new_key_file {
        create_key_file(path, &*system.rng)?;
    }
    let mut wanted = config.clone();
    wanted.keys = Keys {
        key_file: options.new_key_file.clone(),
        passphrase_file: options.new_passphrase_file.clone(),
    };
    let new = unlock(&wanted).map_err(|problem| faulty(&wanted, problem))?;
    let done = old.rewrap_into(&next, &new, system.rng.clone())?;
    std::fs::rename(&vault, &before).map_err(place(&vault))?;
    std::fs::rename(&next, &vault).map_err(place(&next))?;
    drop(held);

    ui.line(&format!("wrapped anew: {} keys, {} secrets", done.keys, done.secrets));
    match (&options.new_key_file, &options.new_passphrase_file) {
        (Some(path), _) => ui.line(&format!("set in [keys]: key_file = \"{}\"", shown(path))),
        (None, Some(path)) => {
            ui.line(&format!("set in [keys]: passphrase_file = \"{}\"", shown(path)));
        }
        (None, None) => {}
    }
    ui.line(&format!("then start Ward; when it serves, remove {}", before.display()));
    Ok(())
}

fn shown(path: &Path) -> String {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf()).display().to_string()
}

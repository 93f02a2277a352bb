//! Why something could not be kept or found. No variant carries a record's content.

use std::io;
use std::path::{Path, PathBuf};

use ward_core::VaultError;

/// What the store and the vault refuse.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The expected state was not there any more: someone else was faster. Read again and decide anew.
    #[error("the record was changed by someone else")]
    Conflict,
    /// The one-time value was claimed before, or its time is over. Nothing was changed.
    #[error("the value was used before")]
    Replayed,
    /// Record and event name different tenants; a fault of the caller.
    #[error("the record and its event belong to different tenants")]
    Tenant,
    /// A roster that names no client that may speak for its organisation.
    #[error("a roster must name at least one client that may speak for its organisation")]
    Unbound,
    /// The record is larger than its bound.
    #[error("{what} exceeds the bound of {bound}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The bound, in its own unit.
        bound: usize,
    },
    /// A stored record does not open or does not parse: altered, or from another key.
    #[error(
        "a record of `{table}` is damaged or was altered; restore the data directory from a backup"
    )]
    Damaged {
        /// Its table.
        table: &'static str,
    },
    /// The records of this tenant were sealed with the keys of another vault.
    #[error("the vault is not the one that this store was written with; restore the two together")]
    WrongVault,
    /// The key that protects the record cannot be had.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The database refused or failed: disk full, I/O error, closed. Nothing was changed.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Another process has this data directory open.
    #[error("{} is in use by another process; stop it first, or use another data directory", .0.display())]
    InUse(PathBuf),
    /// The schema is not one that this version can use. The text says what to do.
    #[error("{0}")]
    Schema(String),
    /// Others on the machine can read a file that must be private.
    #[error("{} can be used by others (mode {mode:04o}); run: chmod {want:o} {}", path.display(), path.display())]
    Permissive {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The bits that it should have.
        want: u32,
    },
    /// The passphrase or key file does not open this vault.
    #[error("the {0} does not open this vault")]
    WrongUnlock(&'static str),
    /// The vault's files are not what they should be. The text says what to do.
    #[error("{0}")]
    BadVault(String),
    /// A file operation failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    /// An [`StoreError::Io`] at `path`, for `map_err`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    /// Whether trying again later can help (503 rather than a refusal).
    pub fn is_unavailable(&self) -> bool {
        !matches!(
            self,
            Self::Conflict | Self::Replayed | Self::Tenant | Self::Unbound | Self::TooLarge { .. }
        )
    }
}

impl From<rusqlite::Error> for StoreError {
    /// SQLite's texts name statements and columns, never values, for the codes that can occur here.
    fn from(error: rusqlite::Error) -> Self {
        match error {
            // A key that exists already: someone else was faster.
            rusqlite::Error::SqliteFailure(code, _)
                if matches!(
                    code.extended_code,
                    rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
                        | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
                ) =>
            {
                Self::Conflict
            }
            rusqlite::Error::SqliteFailure(code, detail) => {
                Self::Unavailable(detail.unwrap_or_else(|| code.to_string()))
            }
            other => Self::Unavailable(other.to_string()),
        }
    }
}

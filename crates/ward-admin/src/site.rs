//! Acts that only the program itself can do, because they concern files of its machine: reading its
//! configuration again, and backups. Authorised and, where refused, recorded here like every other act.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use ward_core::{BoxFuture, EventKind};

use crate::Operator;
use crate::admin::Admin;
use crate::commands::{AdminError, Done};

/// Longest reason for a refusal that is kept in the log, octets.
const REASON: usize = 1000;

/// A backup that an operator asks for. Paths are on the server's machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// The file to write; absolute, and not there yet.
    pub to: PathBuf,
    /// File with the passphrase that seals it.
    #[serde(default)]
    pub passphrase_file: Option<PathBuf>,
    /// File with the 32 octets that seal it; one of the two.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupMade {
    /// Octets of the file.
    pub bytes: u64,
    /// Entries of the log in it.
    pub log_size: u64,
    /// Of which signed.
    pub signed: u64,
    /// The signed checkpoint to keep elsewhere: `ward restore --checkpoint`.
    pub checkpoint: String,
    /// State changes that the store had made.
    pub state_changes: u64,
}

/// The program around the rooms. What it does it records under the operator's name; why it does not, it says
/// in words for the operator.
pub trait Site: Send + Sync {
    /// Reads the configuration again and takes all of it, or nothing; the names of what changed.
    fn reload<'a>(&'a self, operator: &'a str) -> BoxFuture<'a, Result<Vec<String>, String>>;

    /// The certificate of the partners' listener, DER; none if it is not known.
    fn tls_certificate(&self) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(std::future::ready(None))
    }

    /// Makes a backup while serving goes on.
    fn back_up<'a>(
        &'a self,
        operator: &'a str,
        wanted: &'a BackupRequest,
    ) -> BoxFuture<'a, Result<BackupMade, String>>;
}

impl Admin {
    pub(crate) async fn reload(&self, operator: &Operator) -> Result<Done, AdminError> {
        match self.deps.site.reload(&operator.name).await {
            Ok(changed) => Ok(Done::Reloaded { changed }),
            Err(why) => {
                self.not_done(operator, "reload", "RELOAD", &why).await?;
                Err(AdminError::Reload(why))
            }
        }
    }

    pub(crate) async fn back_up(
        &self,
        operator: &Operator,
        wanted: &BackupRequest,
    ) -> Result<Done, AdminError> {
        match self.deps.site.back_up(&operator.name, wanted).await {
            Ok(made) => Ok(Done::BackedUp(made)),
            Err(why) => {
                self.not_done(operator, "backup", "BACKUP", &why).await?;
                Err(AdminError::Backup(why))
            }
        }
    }

    async fn not_done(
        &self,
        operator: &Operator,
        action: &'static str,
        rule: &'static str,
        why: &str,
    ) -> Result<(), AdminError> {
        let end = why.floor_char_boundary(REASON);
        let event = self.event(operator, EventKind::Operator, action);
        let event = event.refused(rule).with("why", why.get(..end).unwrap_or_default());
        self.deps.sink.record(vec![event]).await?;
        Ok(())
    }
}

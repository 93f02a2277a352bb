//! The acts of an operator that need the program itself: backups, and reading the configuration again.

use std::sync::{Arc, OnceLock};

use ward_admin::{BackupMade, BackupRequest, Site};
use ward_core::BoxFuture;

use crate::backup::{Source, on_request};
use crate::serve::Reloader;

/// The program on its machine.
pub struct Machine {
    backup: Source,
    reloader: OnceLock<Arc<Reloader>>,
}

impl Machine {
    /// One that can be backed up.
    pub const fn new(backup: Source) -> Self {
        Self { backup, reloader: OnceLock::new() }
    }

    /// From now on its configuration can be read again; the first one given stays.
    pub fn reload_with(&self, reloader: Arc<Reloader>) {
        let _ = self.reloader.set(reloader);
    }
}

impl Site for Machine {
    fn reload<'a>(&'a self, operator: &'a str) -> BoxFuture<'a, Result<Vec<String>, String>> {
        Box::pin(async move {
            let Some(reloader) = self.reloader.get() else {
                return Err("this Ward was not started from a configuration file".to_owned());
            };
            reloader.reload(Some(operator)).await.map_err(|error| error.to_string())
        })
    }

    fn tls_certificate(&self) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(async move { self.reloader.get()?.tls_certificate().await })
    }

    fn back_up<'a>(
        &'a self,
        operator: &'a str,
        wanted: &'a BackupRequest,
    ) -> BoxFuture<'a, Result<BackupMade, String>> {
        Box::pin(on_request(&self.backup, wanted, operator))
    }
}

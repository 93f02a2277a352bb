//! The listener that tells the status of certifications: over TLS, with a certificate that is read again when it changes, or to a
//! reverse proxy on this machine (CRT-12). Refused: to tell it in the clear to other machines.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::net::TcpListener;
use ward_community::{PublicServer, STATUS_PATH, StatusServer};
use ward_net::server::{Running, Server};
use ward_net::tls::{TlsReload, TlsVersions, server_config};

use super::certify_args::StatusListen;
use super::place::file;
use super::{CommunityCommandError, Result, pem_files};
use crate::house::System;
use crate::ui::Ui;

/// The listener while it serves.
pub(super) struct Status<'a> {
    running: Running,
    tls: Option<(Arc<TlsReload>, &'a Path, &'a Path)>,
    read: std::sync::Mutex<[Option<SystemTime>; 2]>,
}

impl<'a> Status<'a> {
    /// `None`: it is not asked for.
    pub(super) async fn start(
        options: &'a StatusListen,
        public: Arc<PublicServer>,
        ui: Ui,
        system: &System,
    ) -> Result<Option<Self>> {
        let handler = Arc::new(StatusServer::new(public));
        let (address, tls) = match options {
            StatusListen {
                listen: Some(address),
                certificate: Some(chain),
                key: Some(key),
                ..
            } => (
                *address,
                Some((TlsReload::new(config(chain, key)?), chain.as_path(), key.as_path())),
            ),
            StatusListen { behind_proxy: Some(address), .. } if address.ip().is_loopback() => {
                (*address, None)
            }
            StatusListen { behind_proxy: Some(address), .. } => {
                let why = format!(
                    "{address} is not on this machine; use --status-listen with a TLS certificate"
                );
                return Err(CommunityCommandError::Option { flag: "--status-behind-proxy", why });
            }
            _ => return Ok(None),
        };
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| CommunityCommandError::Listen { address, source })?;
        let read = tls.as_ref().map_or([None; 2], |(_, chain, key)| [changed(chain), changed(key)]);
        let reload = tls.as_ref().map(|(reload, ..)| reload.clone());
        let running = Server::start(listener, reload, handler, system.limits.clone())
            .map_err(|source| CommunityCommandError::Listen { address, source })?;
        let at: SocketAddr = running.local_addr();
        let scheme = if tls.is_some() { "https" } else { "http" };
        ui.line(&format!("telling the status of certifications on {scheme}://{at}{STATUS_PATH}"));
        Ok(Some(Self { running, tls, read: read.into() }))
    }

    /// Takes up a TLS certificate that was renewed; the former goes on while the new one is no good.
    pub(super) fn keep_up(&self) -> Result<()> {
        let Some((reload, chain, key)) = &self.tls else { return Ok(()) };
        let now = [changed(chain), changed(key)];
        let mut read = self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *read != now {
            reload.replace(config(chain, key)?);
            *read = now;
        }
        Ok(())
    }

    pub(super) async fn shutdown(self, within: std::time::Duration) {
        self.running.shutdown(within).await;
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|found| found.modified()).ok()
}

fn config(chain: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>> {
    std::fs::metadata(chain).map_err(file(chain))?;
    server_config(&pem_files::chain(chain)?, &pem_files::key(key)?, TlsVersions::default()).map_err(
        |error| CommunityCommandError::Unfit {
            path: chain.to_path_buf(),
            what: format!("does not serve with --status-key: {error}"),
        },
    )
}

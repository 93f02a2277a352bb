//! The listener that tells the status of certifications: over TLS, with a certificate that is read again when it changes, or to a
//! reverse proxy on this machine (CRT-12). Refused: to tell it in the clear to other machines.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use ward_community::STATUS_PATH;
use ward_net::server::{Handler, Running, Server};
use ward_net::tls::{TlsReload, TlsVersions, server_config};

use super::certify_args::StatusListen;
use super::place::file;
use super::{CommunityCommandError, Result, pem_files};
use crate::house::System;
use crate::ui::Ui;

/// What tells whether a file was replaced: inode, length, time of change.
type Stamp = Option<(u64, u64, i64, i64)>;

/// The listener while it serves.
pub(super) struct Status<'a> {
    running: Running,
    tls: Option<(Arc<TlsReload>, &'a Path, &'a Path)>,
    read: std::sync::Mutex<[Stamp; 2]>,
}

impl<'a> Status<'a> {
    /// `None`: it is not asked for.
    pub(super) async fn start(
        options: &'a StatusListen,
        handler: Arc<dyn Handler>,
        ui: Ui,
        system: &System,
    ) -> Result<Option<Self>> {
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

fn changed(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use http::{Request, StatusCode};
    use hyper::body::Incoming;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::ServerName;
    use ward_core::{BoxFuture, Rng as _, SystemRng};
    use ward_net::Peer;
    use ward_net::http::{Body, text};
    use ward_net::tls::client_config;

    use super::*;

    struct Files(PathBuf);

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    impl Files {
        /// Replaces a file as programs that renew certificates do.
        fn put(&self, name: &str, contents: &str) {
            let next = self.0.join("next");
            std::fs::write(&next, contents).unwrap();
            std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o600)).unwrap();
            std::fs::rename(next, self.0.join(name)).unwrap();
        }

        /// A new certificate with a new key; its DER.
        fn renew(&self) -> Vec<u8> {
            let pair = KeyPair::generate().unwrap();
            let made = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let made = made.self_signed(&pair).unwrap();
            self.put("tls.pem", &made.pem());
            self.put("tls.key", &pair.serialize_pem());
            made.der().to_vec()
        }
    }

    /// Whether the listener shows this certificate to who trusts it and nothing else.
    async fn shows(at: SocketAddr, certificate: &[u8]) -> bool {
        let connector = tokio_rustls::TlsConnector::from(client_config([certificate]).unwrap());
        let stream = tokio::net::TcpStream::connect(at).await.unwrap();
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.is_ok()
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_taken_up_and_a_broken_one_is_not() {
        let mut random = [0; 8];
        SystemRng.fill(&mut random);
        let name = format!("ward-status-{:x}", u64::from_le_bytes(random));
        let files = Files(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&files.0).unwrap();
        let first = files.renew();
        let options = StatusListen {
            listen: Some("127.0.0.1:0".parse().unwrap()),
            certificate: Some(files.0.join("tls.pem")),
            key: Some(files.0.join("tls.key")),
            behind_proxy: None,
        };
        let nobody = |_: Request<Incoming>, _: Peer| -> BoxFuture<'static, http::Response<Body>> {
            Box::pin(async { text(StatusCode::NOT_FOUND, "") })
        };
        let patient = std::time::Duration::from_mins(1);
        let limits = ward_core::Limits { header_timeout: patient, ..ward_core::Limits::default() };
        let system = System { limits: Arc::new(limits), ..crate::house::system() };
        let status = Status::start(&options, Arc::new(nobody), Ui::new(true), &system).await;
        let status = status.unwrap().unwrap();
        let at = status.running.local_addr();
        assert!(shows(at, &first).await);
        status.keep_up().unwrap();
        let second = files.renew();
        assert!(shows(at, &first).await && !shows(at, &second).await, "nobody looked yet");
        status.keep_up().unwrap();
        assert!(shows(at, &second).await && !shows(at, &first).await);
        files.put("tls.pem", "broken");
        assert!(status.keep_up().is_err());
        assert!(shows(at, &second).await, "the former goes on");
        let third = files.renew();
        status.keep_up().unwrap();
        assert!(shows(at, &third).await);
        status.shutdown(std::time::Duration::from_secs(1)).await;
    }
}

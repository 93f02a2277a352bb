//! A community in one directory: its vault, its log, its register and lists. The demo's and the sandbox's.
//!
//! The sandbox opens it for one act at a time, under a lock of the directory, so that members can be signed
//! while its lists are served by another process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use ward_audit::{Log, LogOptions, RealDisk};
use ward_community::{Authority, KeySpec, ListServer, Operator, OperatorConfig, OperatorDeps, pem};
use ward_core::crypto::SigningKey;
use ward_core::{BoxFuture, CommunityUri, KeyVault, TenantId};
use ward_net::http::{Body, text};
use ward_net::server::{Handler, Peer};
use ward_store::bus::LocalBus;

use super::SandboxError;
use crate::house::{System, open_or_make_vault, secret};
use crate::private;

/// Where a community lies, and what it is like when it is made.
pub(crate) struct Place {
    dir: PathBuf,
    uri: CommunityUri,
    name: String,
    lists_url: String,
}

impl Place {
    /// `lists_url`: where its lists will be served, without a slash at the end.
    pub(crate) fn new(dir: &Path, uri: &CommunityUri, name: &str, lists_url: &str) -> Self {
        Self {
            dir: dir.to_path_buf(),
            uri: uri.clone(),
            name: name.to_owned(),
            lists_url: lists_url.to_owned(),
        }
    }

    fn config(&self) -> OperatorConfig {
        OperatorConfig {
            tenant: TenantId::default_tenant(),
            uri: self.uri.clone(),
            name: self.name.clone(),
            base_url: self.lists_url.clone(),
            ca_key: KeySpec::P256,
        }
    }
}

/// The community in this place; makes it if there is none.
pub(crate) async fn open_or_make(
    place: &Place,
    system: &System,
) -> Result<(Arc<Operator>, Arc<Log>), SandboxError> {
    let (deps, log) = deps(&place.dir, system)?;
    let ca = place.dir.join("ca");
    Ok((Operator::open_or_create(ca, place.config(), deps).await?, log))
}

/// Its log and vault; the community is an organisation of its own.
fn deps(dir: &Path, system: &System) -> Result<(OperatorDeps, Arc<Log>), SandboxError> {
    const SEED_NAME: &str = "log/signing-seed";
    let fail = |why: String| SandboxError::Community { dir: dir.to_path_buf(), why };
    private::directory(dir).map_err(|error| fail(error.to_string()))?;
    let vault = open_or_make_vault(&dir.join("vault"), &dir.join("vault.key"), system)
        .map_err(|error| fail(error.to_string()))?;
    let seed = secret(&vault, SEED_NAME, system).map_err(|error| fail(error.to_string()))?;
    let keys: Arc<dyn KeyVault> = vault.clone();
    let log = Log::open(LogOptions {
        disk: Arc::new(RealDisk::new(dir.join("log"))),
        origin: "community.example/log".to_owned(),
        signing_key: SigningKey::from_seed(&seed).map_err(|error| fail(error.to_string()))?,
        vault: keys,
        bus: Arc::new(LocalBus::new(&system.limits)),
        clock: system.clock.clone(),
        rng: system.rng.clone(),
        limits: system.limits.clone(),
    })
    .map_err(|error| fail(error.to_string()))?;
    let deps = OperatorDeps {
        vault,
        sink: log.clone(),
        clock: system.clock.clone(),
        rng: system.rng.clone(),
        operator: "ward-sandbox".into(),
    };
    Ok((deps, log))
}

/// Makes a community where there is none; the path of its root in PEM.
pub(crate) async fn create(place: &Place, system: &System) -> Result<PathBuf, SandboxError> {
    let dir = &place.dir;
    private::directory(dir).map_err(|source| SandboxError::File { path: dir.clone(), source })?;
    let _held = hold(dir).await?;
    let (deps, log) = deps(dir, system)?;
    let made = Operator::create(dir.join("ca"), place.config(), deps).await;
    log.close().await;
    let root = dir.join("root.pem");
    let der = made?.certificate(Authority::Root);
    private::write(&root, pem("CERTIFICATE", der.der()).as_bytes(), &*system.rng)
        .map_err(|source| SandboxError::File { path: root.clone(), source })?;
    Ok(root)
}

/// Opens the community for one act.
pub(crate) async fn with_operator<T>(
    dir: &Path,
    system: &System,
    act: impl AsyncFnOnce(&Arc<Operator>) -> Result<T, SandboxError>,
) -> Result<T, SandboxError> {
    if !dir.join("root.pem").exists() {
        let why = "there is none; make it with: ward sandbox community make DIR".to_owned();
        return Err(SandboxError::Community { dir: dir.to_path_buf(), why });
    }
    let _held = hold(dir).await?;
    let (deps, log) = deps(dir, system)?;
    let done = match Operator::open(dir.join("ca"), deps).await {
        Ok(operator) => act(&operator).await,
        Err(error) => Err(error.into()),
    };
    log.close().await;
    done
}

/// Waits until nobody else works in the directory.
async fn hold(dir: &Path) -> Result<File, SandboxError> {
    let path = dir.join("act.lock");
    let name = path.clone();
    let held = tokio::task::spawn_blocking(move || {
        let file = File::options().write(true).create(true).truncate(false).open(&name)?;
        file.lock().map(|()| file)
    })
    .await;
    held.map_err(std::io::Error::other)
        .flatten()
        .map_err(|source| SandboxError::File { path, source })
}

/// Serves the lists of the community in a directory as they are now.
pub(crate) struct Lists {
    dir: PathBuf,
    system: System,
}

impl Lists {
    pub(crate) fn new(dir: &Path, system: &System) -> Self {
        Self { dir: dir.to_path_buf(), system: system.clone() }
    }
}

impl Handler for Lists {
    fn handle(&self, request: Request<Incoming>, _: Peer) -> BoxFuture<'_, Response<Body>> {
        Box::pin(async move {
            let answered = with_operator(&self.dir, &self.system, async |operator| {
                let lists = ListServer::new(operator.clone());
                Ok(lists.answer(request.method(), request.uri().path()).await)
            })
            .await;
            answered.unwrap_or_else(|error| {
                tracing::error!(%error, "the community could not be opened");
                text(StatusCode::INTERNAL_SERVER_ERROR, "see what the server says\n")
            })
        })
    }
}

//! `ward sandbox`: a sample FHIR server and a trust community, for somebody who tries Ward alone.
//!
//! Both listen on loopback and nowhere else. Refused: to make a community where there is one, and to
//! write a partner's key over another.

pub(crate) mod community;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use tokio::net::TcpListener;
use ward_community::{CertificateRequest, Reason, pem};
use ward_core::{CommunityUri, Secret};
use ward_net::server::Server;
use ward_trust::{Certificate, SigningRequest};

use crate::cli_sandbox::{Sandbox, SandboxCommunity, SandboxFhir};
use crate::house::{System, system};
use crate::private;
use crate::ui::Ui;
use community::{Lists, Place, with_operator};

/// Seed of the synthetic patients.
const SEED: u64 = 2026;
/// Largest file that is read.
const MAX_FILE: u64 = 1024 * 1024;

/// Why a sandbox command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {what}", path.display())]
    Unfit {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, and the way out.
        what: String,
    },
    /// A port is taken.
    #[error("port {port} of 127.0.0.1: {source}; end what uses it, or name another with --port")]
    Port {
        /// Which.
        port: u16,
        /// The cause.
        source: std::io::Error,
    },
    /// The URI of the community is none.
    #[error("--uri: {0}; write it as https://community.example/trust")]
    Uri(ward_core::IdError),
    /// The community's vault or log did not open.
    #[error("the community in {}: {why}", dir.display())]
    Community {
        /// Its directory.
        dir: PathBuf,
        /// The cause.
        why: String,
    },
    /// The community refused.
    #[error(transparent)]
    Operator(#[from] ward_community::CommunityError),
    /// The sample FHIR server did not start.
    #[error(transparent)]
    Fhir(#[from] ward_sandbox::SandboxError),
}

pub(crate) async fn run(ui: Ui, command: &Sandbox) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let system = system();
    match command {
        Sandbox::Fhir(options) => fhir(ui, options).await?,
        Sandbox::Community(SandboxCommunity::Make { dir, uri, port }) => {
            make(ui, dir, uri, *port, &system).await?;
        }
        Sandbox::Community(SandboxCommunity::Serve { dir }) => serve(ui, dir, &system).await?,
        Sandbox::Community(SandboxCommunity::Server { dir, request, out }) => {
            server(ui, dir, request, out, &system).await?;
        }
        Sandbox::Community(SandboxCommunity::Client { dir, uri, out }) => {
            client(ui, dir, uri, out, &system).await?;
        }
        Sandbox::Community(SandboxCommunity::Revoke { dir, certificate }) => {
            revoke(ui, dir, certificate, &system).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn fhir(ui: Ui, options: &SandboxFhir) -> Result<(), Box<dyn std::error::Error>> {
    let hospital = match &options.load {
        Some(dir) => ward_sandbox::Sandbox::load_dir(dir).map_err(SandboxError::from)?,
        None => ward_sandbox::Sandbox::generate(SEED, options.patients as usize),
    };
    let listener = listen(options.port).await?;
    let (patients, records) = (hospital.patient_ids(), hospital.len());
    let running = hospital.start(listener).map_err(SandboxError::from)?;
    ui.line(&format!("serving {}", running.base_url));
    let (first, last) = (patients.first(), patients.last());
    if let (Some(first), Some(last)) = (first, last) {
        let count = patients.len();
        ui.line(&format!("{count} patients ({first} … {last}), {records} records; Ctrl-C ends it"));
    }
    Ok(crate::demo::interrupted().await?)
}

async fn listen(port: u16) -> Result<TcpListener, SandboxError> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    bound.map_err(|source| SandboxError::Port { port, source })
}

async fn make(
    ui: Ui,
    dir: &Path,
    uri: &str,
    port: u16,
    system: &System,
) -> Result<(), SandboxError> {
    let uri = CommunityUri::parse(uri).map_err(SandboxError::Uri)?;
    let lists = format!("http://127.0.0.1:{port}");
    let place = Place::new(dir, &uri, "Sandbox Community", &lists);
    let made = community::create(&place, system).await?;
    let shown = dir.display();
    ui.line(&format!("made a trust community for trying out, in {shown}"));
    ui.line(&format!("its URI    {uri}"));
    ui.line(&format!("its root   {}", made.display()));
    ui.line(&format!(
        "its lists  127.0.0.1:{port}, once this runs: ward sandbox community serve {shown}"
    ));
    Ok(())
}

async fn serve(ui: Ui, dir: &Path, system: &System) -> Result<(), Box<dyn std::error::Error>> {
    let base =
        with_operator(dir, system, async |operator| Ok(operator.base_url().to_owned())).await?;
    let port = base.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default();
    let listener = listen(port).await?;
    let lists = Lists::new(dir, system);
    let server = Server::start(listener, None, Arc::new(lists), system.limits.clone())?;
    ui.line(&format!("serving {base}/crl/issuing.crl; Ctrl-C ends it"));
    crate::demo::interrupted().await?;
    server.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, SandboxError> {
    use std::io::Read as _;
    let fail = |source| SandboxError::File { path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

fn unfit(path: &Path, what: impl Into<String>) -> SandboxError {
    SandboxError::Unfit { path: path.to_path_buf(), what: what.into() }
}

fn chain_pem(chain: &[Vec<u8>]) -> String {
    chain.iter().map(|der| pem("CERTIFICATE", der)).collect()
}

async fn server(
    ui: Ui,
    dir: &Path,
    request: &Path,
    out: &Path,
    system: &System,
) -> Result<(), SandboxError> {
    let der = CertificateSigningRequestDer::from_pem_slice(&read(request)?).map_err(|_| {
        unfit(request, "no request in PEM; `ward init` writes community/request.pem")
    })?;
    let asked =
        SigningRequest::from_der(&der).map_err(|error| unfit(request, error.to_string()))?;
    let [base] = asked.san_uris() else {
        return Err(unfit(request, "must ask for one SAN URI, the FHIR base of the server"));
    };
    // The name tells holders apart: who renews must have the same.
    let name: String = base.split('/').nth(2).unwrap_or("server").chars().take(64).collect();
    let wanted = CertificateRequest::server(name, base.as_str()).renewal();
    let chain =
        with_operator(dir, system, async |operator| Ok(operator.certify(&wanted, &asked).await?))
            .await?;
    write(out, chain_pem(&chain).as_bytes(), system)?;
    ui.line(&format!("signed {base}"));
    ui.line(&format!("written {}", out.display()));
    Ok(())
}

async fn client(
    ui: Ui,
    dir: &Path,
    uri: &str,
    out: &Path,
    system: &System,
) -> Result<(), SandboxError> {
    let (certificate, key) = (out.join("certificate.pem"), out.join("key.pem"));
    if key.exists() {
        return Err(unfit(&key, "exists already, and no key is overwritten; name a new directory"));
    }
    private::directory(out)
        .map_err(|source| SandboxError::File { path: out.to_path_buf(), source })?;
    let wanted =
        CertificateRequest::client(uri.chars().take(64).collect::<String>(), uri).renewal();
    let issued =
        with_operator(dir, system, async |operator| Ok(operator.issue(&wanted).await?)).await?;
    let text = Secret::new(pem("PRIVATE KEY", issued.key.expose()));
    write(&key, text.expose().as_bytes(), system)?;
    write(&certificate, chain_pem(&issued.chain).as_bytes(), system)?;
    ui.line(&format!("signed {uri}"));
    ui.line(&format!("written {} {}", certificate.display(), key.display()));
    Ok(())
}

fn write(path: &Path, bytes: &[u8], system: &System) -> Result<(), SandboxError> {
    private::write(path, bytes, &*system.rng)
        .map_err(|source| SandboxError::File { path: path.to_path_buf(), source })
}

async fn revoke(
    ui: Ui,
    dir: &Path,
    certificate: &Path,
    system: &System,
) -> Result<(), SandboxError> {
    let der = CertificateDer::from_pem_slice(&read(certificate)?)
        .map_err(|_| unfit(certificate, "no certificate in PEM"))?;
    let thumbprint = Certificate::from_der(&der)
        .map_err(|error| unfit(certificate, error.to_string()))?
        .thumbprint();
    with_operator(dir, system, async |operator| {
        Ok(operator.revoke(&thumbprint, Reason::PrivilegeWithdrawn).await?)
    })
    .await?;
    ui.line(&format!("revoked {thumbprint}; the next list names it"));
    Ok(())
}

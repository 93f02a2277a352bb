//! `ward community`: a trust community, for who operates one.
//!
//! Each command opens the directory, does one act, records it in the community's log, and ends; `serve` reads what the
//! others write. Refused: to make a community where there is one, to overwrite a key, to issue what members would not
//! accept; and whatever needs the root's key while that is away.

pub(crate) mod args;
mod authority;
mod bundle;
mod certify;
pub(crate) mod certify_args;
mod members;
mod pem_files;
mod place;
mod signals;
mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use ward_community::{
    Authority, CommunityError, CommunityOptions, KeySpec, Operator, OperatorConfig, PublicServer,
    StatusServer,
};
use ward_core::{CommunityUri, TenantId};
use ward_net::server::Server;

use self::args::{BundleAct, Community, DirectoryAct, Init, Lists, Publish, Serve};
use self::place::{Home, file, hold};
use crate::house::{System, system};
use crate::private;
use crate::ui::Ui;

/// Between two looks at what is to be renewed.
const UPKEEP: Duration = Duration::from_mins(1);

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommunityCommandError {
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
    /// There is no community.
    #[error("{}: there is no community here; make one with: ward community init DIR --uri URI --public URL", .0.display())]
    NoCommunity(PathBuf),
    /// There is one already.
    #[error("{}: there is a community here already; name a new directory", .0.display())]
    Exists(PathBuf),
    /// An option does not say what it must.
    #[error("{flag}: {why}")]
    Option {
        /// Which.
        flag: &'static str,
        /// What is wrong, and the way out.
        why: String,
    },
    /// The address is taken or not this machine's.
    #[error("--listen {address}: {source}; end what uses it, or name another")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// A vault did not open.
    #[error("the vault: {0}")]
    Vault(#[from] ward_store::StoreError),
    /// The log's key is unfit.
    #[error("the log's key: {0}")]
    Key(String),
    /// The log did not open.
    #[error("the log: {0}")]
    Log(#[from] ward_audit::LogError),
    /// Ward's own id could not be kept.
    #[error(transparent)]
    House(#[from] crate::house::HouseError),
    /// The community refused.
    #[error(transparent)]
    Operator(#[from] CommunityError),
}

type Result<T> = std::result::Result<T, CommunityCommandError>;

pub(crate) async fn run(
    ui: Ui,
    command: &Community,
) -> std::result::Result<ExitCode, Box<dyn std::error::Error>> {
    let system = system();
    match command {
        Community::Init(options) => init(ui, options, &system).await?,
        Community::Request(options) => members::request(ui, options, &system)?,
        Community::Issue(options) => members::issue(ui, options, &system).await?,
        Community::Renew(options) => members::renew(ui, options, &system).await?,
        Community::Rekey(options) => members::rekey(ui, options, &system).await?,
        Community::Revoke(options) => members::revoke(ui, options, &system).await?,
        Community::List(options) => members::list(ui, options, &system)?,
        Community::Lists(Lists::Publish(options)) => publish(ui, options, &system).await?,
        Community::Authority(act) => authority::run(ui, act, &system).await?,
        Community::Bundle(BundleAct::Publish(options)) => {
            bundle::publish(ui, options, &system).await?;
        }
        Community::Directory(DirectoryAct::Publish(options)) => {
            bundle::directory(ui, options, &system).await?;
        }
        Community::Certify(options) => certify::certify(ui, options, &system).await?,
        Community::Certification(act) => certify::run(ui, act, &system).await?,
        Community::Signals(act) => signals::run(ui, act, &system).await?,
        Community::Serve(options) => serve(ui, options, &system).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Where members reach the community, as it goes into certificates.
fn public_url(text: &str) -> Result<String> {
    let fail = |why: &str| {
        Err(CommunityCommandError::Option { flag: "--public", why: format!("{text} {why}") })
    };
    let url = text.trim_end_matches('/');
    let Ok(parsed) = url.parse::<http::Uri>() else {
        return fail("is no URL; write it as http://lists.community.example");
    };
    if parsed.scheme_str() != Some("http") {
        return fail(
            "is not plain http; what is fetched there is signed, and over https a check of a certificate could wait for itself",
        );
    }
    if parsed.host().is_none_or(str::is_empty) || parsed.query().is_some() {
        return fail("must be a host, with a port and a path if need be");
    }
    Ok(url.to_owned())
}

async fn init(ui: Ui, options: &Init, system: &System) -> Result<()> {
    let dir = &options.place.dir;
    let uri = CommunityUri::parse(&options.uri).map_err(|error| CommunityCommandError::Option {
        flag: "--uri",
        why: format!("{error}; write it as https://community.example/trust"),
    })?;
    let public = public_url(&options.public)?;
    if let Some(bad) = options.admit.iter().find(|one| !one.ends_with(['/', ':'])) {
        let why = format!("{bad} must end in '/' or ':', or a longer name would begin so too");
        return Err(CommunityCommandError::Option { flag: "--admit", why });
    }
    private::directory(dir).map_err(file(dir))?;
    let home = Home::new(&options.place, Some(&options.root), system);
    if home.ca().join("register.json").exists() {
        return Err(CommunityCommandError::Exists(dir.clone()));
    }
    let _held = hold(dir).await?;
    let name = options.name.clone().unwrap_or_else(|| members::host(uri.as_str()));
    if name.is_empty() || name.chars().count() > 50 || name.chars().any(char::is_control) {
        let why = "must be 1 to 50 visible characters".to_owned();
        return Err(CommunityCommandError::Option { flag: "--name", why });
    }
    let config = OperatorConfig {
        tenant: TenantId::default_tenant(),
        uri: uri.clone(),
        name,
        base_url: public.clone(),
        ca_key: KeySpec::P384,
    };
    let extra = CommunityOptions {
        root_list_days: options.root_list_days,
        ocsp: true,
        uri_prefixes: options.admit.clone(),
    };
    let (deps, log) = home.deps(true)?;
    let made: Result<()> = async {
        let operator = Operator::create_with(home.ca(), config, extra, deps).await?;
        home.write_authorities(&operator)?;
        Ok(operator.keep_responder().await?)
    }
    .await;
    log.close().await;
    made?;
    let shown = dir.display();
    ui.line(&format!("made the trust community {uri} in {shown}"));
    ui.line(&format!(
        "its root   {shown}/root.pem: give it to members, over a way that they trust"
    ));
    ui.line(&format!("its places {public}/crl/issuing.crl and {public}/ocsp, once it serves"));
    ui.line(&format!(
        "the root's key is in {}: take it and what opens it offline now; it is needed again within {} days",
        options.root.vault.clone().unwrap_or_else(|| dir.join("root-vault")).display(),
        options.root_list_days / 2,
    ));
    ui.line("keep copies of the vaults and of what opens them, apart from each other");
    Ok(())
}

async fn publish(ui: Ui, options: &Publish, system: &System) -> Result<()> {
    let home = Home::new(&options.place, Some(&options.root), system);
    home.act(async |operator| {
        operator.publish_now(Authority::Issuing).await?;
        say_lists(ui, operator, Authority::Issuing);
        match operator.publish_now(Authority::Root).await {
            Ok(()) => say_lists(ui, operator, Authority::Root),
            Err(CommunityError::RootAway) => {
                let until = operator.list(Authority::Root).list.next_update().to_rfc3339();
                ui.line(&format!("root list  not signed: the root's key is away; the last one is good until {until}"));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    })
    .await
}

fn say_lists(ui: Ui, operator: &Operator, of: Authority) {
    for id in operator.authorities().into_iter().filter(|id| id.of == of) {
        if let Some(list) = operator.list_of(id) {
            let until = list.list.next_update().to_rfc3339();
            ui.line(&format!("{id} list  number {}, good until {until}", list.number));
        }
    }
}

async fn serve(
    ui: Ui,
    options: &Serve,
    system: &System,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let home = Home::new(&options.place, None, system).by_itself("ward-community-serve");
    keep_up(&home).await?;
    let keys = home.vault(false)?;
    let public = PublicServer::new(home.ca(), keys, system.clock.clone())
        .map_err(CommunityCommandError::from)?;
    let public = Arc::new(public);
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(|source| CommunityCommandError::Listen { address: options.listen, source })?;
    let server = Server::start(listener, None, public.clone(), system.limits.clone())?;
    let address = server.local_addr();
    let telling = Arc::new(StatusServer::new(public.clone()));
    let status = status::Status::start(&options.status, telling, ui, system).await?;
    ui.line(&format!(
        "serving lists, authorities and OCSP answers on http://{address}; Ctrl-C ends it"
    ));
    let upkeep = async {
        loop {
            tokio::time::sleep(UPKEEP).await;
            if let Err(error) = renew_what_is_due(&public, &home).await {
                tracing::error!(%error, "lists, responder or bundle could not be renewed; members will refuse each other when they lapse");
            }
            if let Some(Err(error)) = status.as_ref().map(status::Status::keep_up) {
                tracing::error!(%error, "the status listener's certificate could not be read again; the former goes on");
            }
        }
    };
    let pushing = signals::push(signals::pusher(&home, &options.reach, system)?, &home);
    let interrupted = crate::demo::interrupted();
    tokio::select! {
        () = upkeep => {}
        () = pushing => {}
        ended = interrupted => ended?,
    }
    server.shutdown(Duration::from_secs(1)).await;
    if let Some(status) = status {
        status.shutdown(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn renew_what_is_due(public: &PublicServer, home: &Home<'_>) -> Result<()> {
    if public.is_due().await? { keep_up(home).await } else { Ok(()) }
}

/// Opening signs lists that are past half of their life.
async fn keep_up(home: &Home<'_>) -> Result<()> {
    home.act(async |operator| {
        operator.keep_responder().await?;
        Ok(operator.keep_bundle().await?)
    })
    .await
}

/// Reads a file that somebody sent, up to a bound.
fn read(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    const MAX_FILE: u64 = 1024 * 1024;
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path).map_err(file(path))?;
    opened.take(MAX_FILE).read_to_end(&mut bytes).map_err(file(path))?;
    Ok(bytes)
}

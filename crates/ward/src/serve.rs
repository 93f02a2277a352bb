//! `ward serve`: guards a FHIR server as `ward.toml` says, until it is told to stop.
//!
//! `SIGTERM` and Ctrl-C drain: no new connections, running requests end, the last checkpoint is signed.
//! `SIGHUP` reads the configuration again, all or nothing: what is wrong, or can only be changed by a
//! restart, is named, and everything stays as it was. Renewed files of certificates and credentials are
//! taken up by themselves. Running connections go on in every case.

pub(crate) mod named;
mod reload;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use ward_core::Timestamp;
use ward_net::HttpClient;
use ward_net::tls::TlsReload;
use ward_store::vault::FileVault;
use ward_trust::Certificate;

use crate::bundle_pull::Puller;
use crate::cli_serve::Serve;
use crate::config::material::{Material, gather, unlock};
use crate::config::{Config, ConfigError, Diagnostics, Mode};
use crate::house::{House, HouseConfig, HouseError, Outward, System, system};
use crate::paths::Paths;
use crate::ui::counted;
use crate::{ops, private, ui};

pub use reload::Reloader;

/// How often files of certificates and credentials are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// A certificate that ends within this is spoken of.
const SOON: Duration = Duration::from_hours(30 * 24);
/// How often the dates are looked at.
const DAILY: Duration = Duration::from_hours(24);

/// Why Ward does not serve, or a reload was refused.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file or socket is not usable.
    #[error("{what}: {source}; {way}")]
    System {
        /// Which.
        what: String,
        /// The cause.
        source: std::io::Error,
        /// What to do about it.
        way: &'static str,
    },
    /// The vault did not open.
    #[error("the vault in {}: {source}{}", dir.display(), way_out(source))]
    Vault {
        /// Where.
        dir: PathBuf,
        /// The cause.
        source: ward_store::StoreError,
    },
    /// The house did not come up, or refused a change.
    #[error(transparent)]
    House(#[from] HouseError),
    /// A reload wants what only a restart can change.
    #[error("these can only be changed by a restart, so nothing was changed: {}", .0.join(", "))]
    NeedsRestart(Vec<String>),
}

/// What to do about a vault that does not open, if its error does not say.
const fn way_out(source: &ward_store::StoreError) -> &'static str {
    match source {
        ward_store::StoreError::WrongUnlock(_) => {
            "; `keys` must name the one of the first start, or of the last `ward vault rewrap`: put your copy back"
        }
        _ => "",
    }
}

/// What the diagnostics look like before anything is served; the defaults if the file does not say.
pub(crate) fn diagnostics(path: &Path) -> Diagnostics {
    Config::read(path).map(|config| config.diagnostics).unwrap_or_default()
}

/// Reads a configuration and everything that it names.
pub(crate) fn read(path: &Path) -> Result<(Config, Material), ConfigError> {
    let config = Config::read(path)?;
    let material = gather(&config).map_err(|problems| config.faulty(problems))?;
    Ok((config, material))
}

/// Time, randomness and the bounds of a configuration.
pub fn system_of(config: &Config) -> System {
    System { limits: Arc::new(config.limits.clone()), ..system() }
}

/// Opens the vault of a configuration; makes it on the first start.
pub fn open_vault(config: &Config, system: &System) -> Result<Arc<FileVault>, ServeError> {
    let unlock = unlock(config).map_err(|problem| config.faulty(vec![problem]))?;
    let dir = Paths::new(&config.data).vault();
    FileVault::open(&dir, &unlock, system.rng.clone())
        .map_err(|source| ServeError::Vault { dir, source })
}

/// What a house is made of, from what its configuration says.
pub fn house_config(config: &Config, material: Material, tls: Arc<TlsReload>) -> HouseConfig {
    HouseConfig {
        tenant: config.tenant(),
        origin: config.listen.origin.clone(),
        upstream: config.upstream.base.clone(),
        communities: material.communities,
        scopes: material.scopes,
        ceilings: material.ceilings,
        outward: Outward {
            upstream: material.reach.egress,
            upstream_roots: material.reach.roots,
            authorization: material.reach.authorization,
            lists: material.list_egress,
            list_roots: material.list_roots,
        },
        tls,
        enforcement: config.enforcement(),
    }
}

/// Runs until a signal ends it.
pub(crate) async fn run(options: &Serve) -> Result<ExitCode, Box<dyn std::error::Error>> {
    // Before anything can fail: a signal that comes early must not be lost.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let (config, material) = read(&options.config)?;
    let system = system_of(&config);
    private::directory(&config.data).map_err(|source| ServeError::System {
        what: "data".to_owned(),
        source,
        way: "choose another directory in `data`, or mend this one",
    })?;
    let vault = open_vault(&config, &system)?;
    let address = config.listen.address;
    let listener = TcpListener::bind(address).await.map_err(|source| ServeError::System {
        what: format!("`listen.address` {address}"),
        source,
        way: "end what uses it, choose another, or give Ward CAP_NET_BIND_SERVICE for ports below 1024",
    })?;
    warn_of_dates(&material, system.clock.now());
    let tls = TlsReload::new(material.tls.clone());
    let outward = ward_net::tls::client_config(material.list_roots.iter().map(Vec::as_slice))
        .map_err(HouseError::Tls)?;
    let bundles = HttpClient::new(material.list_egress.clone(), outward, system.limits.clone());
    let communities = material.communities.len();
    let house = House::open(
        &Paths::new(&config.data),
        vault,
        house_config(&config, material, tls),
        listener,
        &system,
    )
    .await
    .map_err(ServeError::House)?;
    tracing::info!(
        address = %house.address(),
        base = config.fhir_base(),
        upstream = config.upstream.base,
        communities,
        mode = config.mode.word(),
        "Ward {} is up",
        env!("CARGO_PKG_VERSION"),
    );

    warn_of_mode(&config);
    let registrations = house.repositories.registrations.clone();
    named::warn_of_nobody(&config, &*registrations).await;
    let desk = open_desk(&config, &house, options.recover_operators).await?;
    let drain = config.limits.upstream_timeout + Duration::from_secs(5);
    let reloader =
        Reloader::new(&options.config, config, house.knobs.clone(), system.clone(), registrations);
    let reloader = Arc::new(reloader);
    house.machine.reload_with(reloader.clone());
    let pulling = tokio::spawn(Puller::new(reloader.clone(), &house, bundles, system).run());
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut daily = tokio::time::interval(DAILY);
    daily.reset();
    let signal = loop {
        tokio::select! {
            _ = hangup.recv() => {
                if let Err(error) = reloader.reload(None).await {
                    tracing::error!("reload refused, the old configuration stays: {error}");
                }
            }
            _ = look.tick() => reloader.look().await,
            _ = daily.tick() => reloader.dates().await,
            _ = terminate.recv() => break "SIGTERM",
            _ = interrupt.recv() => break "SIGINT",
        }
    };
    pulling.abort();
    tracing::info!(signal, "draining: no new connections, running requests end");
    desk.drain();
    house.close_within(drain).await;
    desk.close().await;
    tracing::info!("the last checkpoint is signed; Ward is down");
    Ok(ExitCode::SUCCESS)
}

/// Opens the admin listener, and shows the code for the first operator on the console of the machine.
async fn open_desk(
    config: &Config,
    house: &House,
    recover: bool,
) -> Result<ops::Running, Box<dyn std::error::Error>> {
    let address = config.admin.address;
    let listener = TcpListener::bind(address).await.map_err(|source| ServeError::System {
        what: format!("`admin.address` {address}"),
        source,
        way: "end what uses it, or choose another",
    })?;
    // Off this machine it speaks TLS, with the certificate of the partners' listener.
    let tls = (!address.ip().is_loopback()).then(|| house.tls.clone());
    let desk = ops::start(listener, tls, house.ops.clone()).await?;
    let (at, life) = (desk.local_addr(), config.limits.bootstrap_life);
    tracing::info!(address = %at, "admin listener: /healthz /readyz /metrics");
    let first = house.admin.offer_bootstrap().await?;
    let none = first.is_some();
    let code = match first {
        None if recover => Some(house.admin.offer_recovery().await?),
        first => first,
    };
    if let Some(code) = code {
        let why = if none { "no operator yet" } else { "one more security officer can be made" };
        // Not a diagnostic: a secret for whoever sits here, once, and in no log.
        ui::notice(&format!(
            "{why}. Within {} minutes: ward admin bootstrap --name NAME --key-file FILE\n\
             and type this code, which works once: {}",
            life.as_secs().div_ceil(60),
            code.expose(),
        ));
    }
    Ok(desk)
}

/// Says in a line that nobody overlooks that nothing is blocked.
fn warn_of_mode(config: &Config) {
    if config.mode == Mode::Observe {
        let named = |modes: &BTreeMap<String, Mode>| {
            modes.values().filter(|mode| **mode == Mode::Enforce).count()
        };
        tracing::warn!(
            enforced_clients = named(&config.observe.clients),
            enforced_rules = named(&config.observe.rules),
            "OBSERVE MODE: Ward decides and logs but BLOCKS NOTHING; read `ward report would-refuse`, \
             then set mode = \"enforce\""
        );
    }
}

/// Certificates of this server that are not valid, or not for long: (which, what).
pub(crate) fn dates(material: &Material, now: Timestamp) -> Vec<(String, bool, String)> {
    let tls = material.tls_chain.first().map(|leaf| ("the TLS certificate".to_owned(), leaf));
    let communities = material.communities.iter().flat_map(|one| {
        let uri = &one.community.uri;
        let anchors =
            one.community.anchors.iter().map(move |anchor| (format!("a root of {uri}"), anchor));
        let certifiers = one.certifications.iter().filter_map(|rule| rule.certifiers.trust());
        let certifiers = certifiers.flat_map(|trust| &trust.anchors);
        let certifiers = certifiers.filter(|anchor| !one.community.anchors.contains(anchor));
        let certifiers =
            certifiers.map(move |anchor| (format!("a certifiers' root of {uri}"), anchor));
        let own = (format!("the certificate for {uri}"), one.identity.leaf());
        anchors.chain(certifiers).chain([own])
    });
    tls.into_iter().chain(communities).filter_map(|(which, one)| spoken(which, one, now)).collect()
}

fn spoken(which: String, one: &Certificate, now: Timestamp) -> Option<(String, bool, String)> {
    let end = one.not_after().to_rfc3339();
    if now < one.not_before() {
        let what = format!("is valid only from {}", one.not_before().to_rfc3339());
        return Some((which, true, what));
    }
    if !one.is_valid_at(now) {
        return Some((which, true, format!("ended on {end}")));
    }
    let days = one.not_after().since(now).as_secs() / 86_400;
    (now.plus(SOON) > one.not_after())
        .then(|| (which, false, format!("ends on {end}, in {}", counted(days, "day"))))
}

fn warn_of_dates(material: &Material, now: Timestamp) {
    for (which, over, what) in dates(material, now) {
        if over {
            tracing::error!("{which} {what}: partners refuse it; have it renewed now");
        } else {
            tracing::warn!("{which} {what}: have it renewed");
        }
    }
}

/// For the tests of this file.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_under_another_key_says_which_is_wanted() {
        let source = ward_store::StoreError::WrongUnlock("passphrase");
        let text = ServeError::Vault { dir: "data/vault".into(), source }.to_string();
        assert!(text.contains("the passphrase does not open this vault; `keys` must"), "{text}");
        assert!(text.ends_with("put your copy back"), "{text}");
    }

    #[test]
    fn a_refused_reload_names_what_needs_a_restart() {
        let error = ServeError::NeedsRestart(vec!["upstream".into(), "limits.page_max".into()]);
        assert!(error.to_string().ends_with("nothing was changed: upstream, limits.page_max"));
    }
}

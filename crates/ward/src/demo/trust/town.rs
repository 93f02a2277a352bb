//! Everything that stands while `ward demo trust` runs: two communities, a hospital in both, a clinic in one, a partner of
//! the first and an organisation abroad that knows the second only. Each has keys, vault and log of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Mutex;
use ward_admin::{Command, Operator as Person, Role};
use ward_audit::Log;
use ward_community::{CertificateRequest, ListServer, Operator, SignalPusher, tls_identity};
use ward_core::{ClientUri, CommunityUri, OrganizationUri, PatientId, Purpose, TenantId};
use ward_fhir::ScopeSet;
use ward_issuer::{CertificationRule, Certifiers, ServedCommunity};
use ward_net::client::{Egress, HttpClient};
use ward_net::server::{Running, Server};
use ward_net::tls::{TlsReload, TlsVersions, client_config, server_config};
use ward_sandbox::Sandbox;
use ward_store::RosterRow;
use ward_watch::{Ceiling, Ceilings};

use super::super::hospital::{authority, listen};
use super::super::partner::{App, Partner};
use super::super::{DemoError, doing};
use super::Sabotage;
use crate::house::{House, HouseConfig, Outward, System, open_or_make_vault};
use crate::paths::Paths;
use crate::private;
use crate::sandbox_command::community::{Place, open_or_make};

/// The partner's organisation and application.
pub(super) const PARTNER: (&str, &str) =
    ("https://partner.example/organization", "https://partner.example/apps/care");
/// Those of the organisation abroad.
pub(super) const ABROAD: (&str, &str) =
    ("https://abroad.example/organization", "https://abroad.example/apps/care");
/// What the partner's application is certified for, and who says so.
pub(super) const PROGRAMME: &str = "https://region.example/programmes/vetted";
pub(super) const CERTIFIER: &str = "https://region.example/udap/certifications";
/// What a server grants to every member.
const EVERYBODY: &str = "system/Condition.rs system/Encounter.rs system/Patient.rs";
/// What it grants beside that to those who are certified.
pub(super) const UNLOCKED: &str = "system/Observation.rs";
const HOME_COMMUNITY: &str = "https://region.example/udap";
const ABROAD_COMMUNITY: &str = "https://abroad.example/udap";
/// Seed of the synthetic population.
const SEED: u64 = 2026;
/// Patients of each server.
const PATIENTS: usize = 12;

/// A community with what serves its lists.
pub(super) struct Network {
    pub(super) operator: Arc<Operator>,
    lists_url: String,
    log: Arc<Log>,
    server: Running,
}

impl Network {
    async fn open(dir: &Path, uri: &str, name: &str, system: &System) -> Result<Self, DemoError> {
        let listener = listen(0, "a community's lists").await?;
        let lists_url = format!("http://127.0.0.1:{}", port(&listener)?);
        let uri = CommunityUri::parse(uri).map_err(doing("reading a community URI"))?;
        let place = Place::new(dir, &uri, name, &lists_url);
        let (operator, log) =
            open_or_make(&place, system).await.map_err(doing("opening a community"))?;
        let handler = Arc::new(ListServer::new(operator.clone()));
        let server = Server::start(listener, None, handler, system.limits.clone())
            .map_err(doing("serving a community's lists"))?;
        Ok(Self { operator, lists_url, log, server })
    }

    async fn close(self) {
        self.server.shutdown(Duration::from_secs(1)).await;
        self.log.close().await;
    }
}

/// A Ward with a FHIR server behind it.
pub(super) struct Site {
    pub(super) house: House,
    pub(super) base: String,
    patients: Vec<String>,
    sandbox: ward_sandbox::Running,
    ca: Vec<u8>,
}

impl Site {
    async fn open(
        dir: &Path,
        name: &str,
        networks: &[&Network],
        system: &System,
    ) -> Result<Self, DemoError> {
        private::directory(dir).map_err(doing("a server's directory"))?;
        let paths = Paths::new(dir);
        let population = Sandbox::generate(SEED, PATIENTS);
        let mut patients = population.patient_ids();
        patients.sort();
        let sandbox = population
            .start(listen(0, "a FHIR server").await?)
            .map_err(doing("starting a FHIR server"))?;
        let listener = listen(0, "a Ward").await?;
        let origin = format!("https://localhost:{}", port(&listener)?);
        let tenant = TenantId::default_tenant();
        let base = format!("{origin}/{tenant}/fhir");
        let vault = open_or_make_vault(&paths.vault(), &paths.key_file(), system)
            .map_err(doing("opening a vault"))?;
        let tls = tls_identity(
            &paths.tls(),
            &vault,
            &["localhost"],
            &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
            &*system.clock,
            &*system.rng,
        )
        .map_err(doing("making a TLS certificate"))?;
        let mut communities = Vec::new();
        let mut reach = vec![authority(&sandbox.base_url)];
        for network in networks {
            let issued = network
                .operator
                .issue(&CertificateRequest::server(name, base.as_str()))
                .await
                .map_err(doing("issuing a server's certificate"))?;
            let identity = issued.identity().map_err(doing("loading a server's certificate"))?;
            let trust = network.operator.trust();
            let certification = CertificationRule {
                uri: PROGRAMME.to_owned(),
                required: false,
                certifiers: Certifiers::of_community(&trust, vec![CERTIFIER.to_owned()]),
                unlocks: ScopeSet::parse(UNLOCKED).0,
            };
            let mut served = ServedCommunity::new(trust, Arc::new(identity));
            served.certifications.push(certification);
            communities.push(served);
            reach.push(authority(&network.lists_url));
        }
        let config = HouseConfig {
            tenant,
            origin,
            upstream: sandbox.base_url.clone(),
            communities,
            scopes: ScopeSet::parse(EVERYBODY).0,
            ceilings: Ceilings::uniform(Ceiling { patients: 100, window: Duration::from_mins(1) }),
            outward: Outward::plain(Egress::allowing(reach)),
            tls: TlsReload::new(
                server_config(&tls.chain, &tls.key, TlsVersions::default())
                    .map_err(doing("configuring TLS"))?,
            ),
            enforcement: ward_policy::Enforcement::full(),
        };
        let house = House::open(&paths, vault, config, listener, system)
            .await
            .map_err(doing("starting a Ward"))?;
        Ok(Self { house, base, patients, sandbox, ca: tls.ca.clone() })
    }

    /// The organisation's patients here: data of this server, not trust.
    async fn attribute(&self, community: &str, who: (&str, &str)) -> Result<(), DemoError> {
        let read = |_| doing::<&str>("reading the demo's names")("a name is not well-formed");
        let row = |id: &String| {
            let patient = PatientId::parse(id).map_err(read)?;
            Ok(RosterRow { patient, purposes: vec![Purpose::Treatment] })
        };
        let rows = self.patients.iter().map(row).collect::<Result<_, DemoError>>()?;
        let command = Command::ImportRoster {
            organization: OrganizationUri::parse(who.0).map_err(read)?,
            members: vec![(
                CommunityUri::parse(community).map_err(read)?,
                ClientUri::parse(who.1).map_err(read)?,
            )],
            rows,
        };
        self.house.admin.execute(&officer(), command).await.map_err(doing("importing a roster"))?;
        Ok(())
    }

    /// One of them.
    pub(super) fn patient(&self) -> &str {
        self.patients.first().map_or("none", String::as_str)
    }

    async fn close(self) {
        self.house.close().await;
        self.sandbox.stop();
    }
}

/// Who asks the passport.
pub(super) fn officer() -> Person {
    Person { name: "demo-security-officer".into(), role: Role::SecurityOfficer }
}

/// All of it.
pub(super) struct Town {
    pub(super) home: Network,
    pub(super) abroad: Network,
    pub(super) hospital: Site,
    pub(super) clinic: Site,
    pub(super) partner: App,
    pub(super) visitor: App,
    /// Of the first community: both servers asked to be told.
    pusher: Mutex<SignalPusher>,
}

/// Rounds in which signals are to arrive; there is nobody who is down.
const ROUNDS: usize = 20;

impl Town {
    /// The first community tells its members what it has done.
    pub(super) async fn tell(&self) -> Result<(), DemoError> {
        let operator = &self.home.operator;
        let mut waiting = operator.signal().await.map_err(doing("queueing signals"))?;
        let mut pusher = self.pusher.lock().await;
        for _ in 0..ROUNDS {
            if waiting == 0 {
                return Ok(());
            }
            let done = pusher.round().await.map_err(doing("pushing signals"))?;
            waiting = waiting.saturating_sub(done.len());
            operator.settle_signals(&done).await.map_err(doing("recording signals"))?;
        }
        Err(doing::<&str>("pushing signals")("a member did not take a signal"))
    }

    pub(super) async fn open(
        dir: &Path,
        sabotage: Option<Sabotage>,
        system: &System,
    ) -> Result<Self, DemoError> {
        let home = Network::open(&dir.join("region"), HOME_COMMUNITY, "Region", system).await?;
        let abroad = Network::open(&dir.join("abroad"), ABROAD_COMMUNITY, "Abroad", system).await?;
        let both = [&home, &abroad];
        let hospital = Site::open(&dir.join("hospital"), "Hospital", &both, system).await?;
        let of_clinic = if sabotage == Some(Sabotage::Clinic) { &both[..] } else { &both[..1] };
        let clinic = Site::open(&dir.join("clinic"), "Clinic", of_clinic, system).await?;
        for site in [&hospital, &clinic] {
            site.attribute(HOME_COMMUNITY, PARTNER).await?;
            site.attribute(ABROAD_COMMUNITY, ABROAD).await?;
        }
        let reach = [&hospital.base, &clinic.base, &home.lists_url, &abroad.lists_url];
        let http = HttpClient::new(
            Egress::allowing(reach.map(|url| authority(url))),
            client_config([hospital.ca.as_slice(), clinic.ca.as_slice()])
                .map_err(doing("configuring the partners' TLS"))?,
            system.limits.clone(),
        );
        let app = async |name: &str, uri: &str, network: &Network| {
            let operator = network.operator.clone();
            let partner = Partner::open(&dir.join(name), http.clone(), operator, system)?;
            partner.app("care", uri, true).await
        };
        let partner = app("partner", PARTNER.1, &home).await?;
        let visitor = app("visitor", ABROAD.1, &abroad).await?;
        let mut tried = 0;
        for site in [&hospital, &clinic] {
            let told = home.operator.subscribe(&site.base, None).await;
            told.map_err(doing("telling members"))?;
            tried += 1;
        }
        let mut pusher = home.operator.signal_pusher(http, system.limits.clone());
        // A first signal tries the way to each.
        let done = pusher.round().await.map_err(doing("pushing signals"))?;
        home.operator.settle_signals(&done).await.map_err(doing("recording signals"))?;
        if done.len() != tried {
            return Err(doing::<&str>("pushing signals")("a member does not take signals"));
        }
        let pusher = Mutex::new(pusher);
        Ok(Self { home, abroad, hospital, clinic, partner, visitor, pusher })
    }

    pub(super) async fn close(self) {
        self.hospital.close().await;
        self.clinic.close().await;
        self.home.close().await;
        self.abroad.close().await;
    }
}

fn port(listener: &TcpListener) -> Result<u16, DemoError> {
    listener.local_addr().map(|at| at.port()).map_err(doing("reading a port"))
}

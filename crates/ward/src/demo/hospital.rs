//! The sample hospital and its surroundings: a trust community, a FHIR server, Ward in front of it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use ward_admin::{Command, Operator as Person, Role};
use ward_audit::Log;
use ward_community::{CertificateRequest, ListServer, Operator, tls_identity};
use ward_core::{ClientUri, CommunityUri, OrganizationUri, PatientId, Purpose, Rng, TenantId};
use ward_fhir::ScopeSet;
use ward_issuer::ServedCommunity;
use ward_net::client::{Egress, HttpClient};
use ward_net::server::{Running, Server};
use ward_net::tls::{TlsReload, TlsVersions, client_config, server_config};
use ward_sandbox::Sandbox;
use ward_store::RosterRow;
use ward_watch::{Ceiling, Ceilings};

use super::partner::{App, CARE_APP, LOST_APP, ORGANIZATION, Partner, SYNC_APP, VISITOR_APP};
use super::{DemoError, doing};
use crate::cli::{Demo, Sabotage};
use crate::house::{House, HouseConfig, Outward, System, open_or_make_vault};
use crate::paths::Paths;
use crate::private;
use crate::sandbox_command::community::{Place, open_or_make};
use crate::ui::Ui;

/// URI of the demo's trust community.
const COMMUNITY: &str = "https://community.example/udap/demo";
/// Seed of the synthetic population.
const SEED: u64 = 2026;
/// Detection's window in the demo.
const WINDOW: Duration = Duration::from_mins(1);
/// What the hospital supports.
const SCOPES: &str = "system/*.rs system/AllergyIntolerance.rs system/Condition.rs \
    system/Encounter.rs system/Immunization.rs system/MedicationRequest.rs system/Observation.rs \
    system/Organization.rs system/Patient.rs system/Practitioner.rs system/PractitionerRole.rs";

/// What a kept data directory must remember, since certificates name it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Remembered {
    port: u16,
    lists_port: u16,
}

/// Everything that stands while the demo runs.
pub(crate) struct Hospital {
    pub(crate) system: System,
    pub(crate) paths: Paths,
    pub(crate) house: House,
    pub(crate) operator: Arc<Operator>,
    pub(crate) fhir_base: String,
    pub(crate) care: App,
    pub(crate) sync: App,
    pub(crate) lost: App,
    /// Patients in the partner's roster, and patients of the hospital that are not.
    pub(crate) roster: Vec<String>,
    pub(crate) strangers: Vec<String>,
    pub(crate) ceiling: u32,
    pub(crate) records: usize,
    sandbox: ward_sandbox::Running,
    lists_server: Running,
    community_log: Arc<Log>,
    /// The officer who acts in the walk.
    pub(crate) officer: Person,
}

impl Hospital {
    pub(crate) async fn open(
        options: &Demo,
        paths: &Paths,
        system: &System,
    ) -> Result<Self, DemoError> {
        let sandbox = match &options.load {
            Some(dir) => Sandbox::load_dir(dir).map_err(doing("loading --load"))?,
            None => Sandbox::generate(SEED, options.patients as usize),
        };
        let listener = listen(0, "the FHIR server").await?;
        let running = sandbox.start(listener).map_err(doing("starting the FHIR server"))?;

        let remembered = recall(paths)?;
        let port = match (remembered.port, options.port) {
            (0, wanted) => wanted.unwrap_or(0),
            (made_for, None) => made_for,
            (made_for, Some(wanted)) if made_for == wanted => made_for,
            (made_for, Some(_)) => {
                return Err(DemoError {
                    what: "--port",
                    why: format!(
                        "this data directory was made for port {made_for}, which its certificates name; \
                         leave --port out, or use another --data"
                    ),
                });
            }
        };
        let listener = listen(port, "Ward (--port)").await?;
        let lists_listener = listen(remembered.lists_port, "the community's lists").await?;
        let local = |l: &TcpListener| {
            l.local_addr().map(|addr| addr.port()).map_err(doing("reading a port"))
        };
        let remembered =
            Remembered { port: local(&listener)?, lists_port: local(&lists_listener)? };
        remember(paths, &remembered, &*system.rng)?;
        let lists_url = format!("http://127.0.0.1:{}", remembered.lists_port);
        let origin = format!("https://localhost:{}", remembered.port);

        let (operator, community_log) = open_community(paths, &lists_url, system).await?;
        let list_handler = Arc::new(ListServer::new(operator.clone()));
        let lists_server = Server::start(lists_listener, None, list_handler, system.limits.clone())
            .map_err(doing("serving the community's lists"))?;

        let tenant = TenantId::default_tenant();
        let fhir_base = format!("{origin}/{tenant}/fhir");
        let server = operator
            .issue(&CertificateRequest::server("Sample Hospital", fhir_base.as_str()).renewal())
            .await
            .map_err(doing("issuing the hospital's certificate"))?;
        let identity = server.identity().map_err(doing("loading the hospital's certificate"))?;
        let vault = open_or_make_vault(&paths.vault(), &paths.key_file(), system)
            .map_err(doing("opening the vault"))?;
        let localhost = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let tls = tls_identity(
            &paths.tls(),
            &vault,
            &["localhost"],
            &localhost,
            &*system.clock,
            &*system.rng,
        )
        .map_err(doing("making the TLS certificate"))?;

        let (roster, strangers) = split(&sandbox, options.sabotage);
        let ceiling = match options.sabotage {
            Some(Sabotage::Ceiling) => u32::MAX,
            _ => u32::try_from(roster.len() / 2).unwrap_or(u32::MAX).clamp(2, 25),
        };
        let (scopes, _) = ScopeSet::parse(SCOPES);
        let upstream_authority = authority(&running.base_url);
        let config = HouseConfig {
            tenant,
            origin: origin.clone(),
            upstream: running.base_url.clone(),
            communities: vec![ServedCommunity::new(operator.trust(), Arc::new(identity))],
            scopes,
            ceilings: Ceilings::uniform(Ceiling { patients: ceiling, window: WINDOW }),
            outward: Outward::plain(Egress::allowing([upstream_authority, authority(&lists_url)])),
            tls: TlsReload::new(
                server_config(&tls.chain, &tls.key, TlsVersions::default())
                    .map_err(doing("configuring TLS"))?,
            ),
            enforcement: ward_policy::Enforcement::full(),
        };
        let house = House::open(paths, vault, config, listener, system)
            .await
            .map_err(doing("starting Ward"))?;

        let officer = Person { name: "demo-security-officer".into(), role: Role::SecurityOfficer };
        import_roster(&house, &officer, &roster).await?;
        release_sync_app(&house, &officer).await?;

        let http = HttpClient::new(
            Egress::allowing([authority(&origin), authority(&lists_url)]),
            client_config([tls.ca.as_slice()]).map_err(doing("configuring the partner's TLS"))?,
            system.limits.clone(),
        );
        let partner = Partner::open(&paths.partner(), http, operator.clone(), system)?;
        let care = partner.app("care", CARE_APP, true).await?;
        let sync = partner.app("sync", SYNC_APP, true).await?;
        let lost = partner.app("lost", LOST_APP, false).await?;
        partner.hand_out(&paths.partner(), "visitor", VISITOR_APP).await?;
        for anchor in operator.trust().anchors {
            let root = ward_community::pem("CERTIFICATE", anchor.der());
            private::write(&paths.community().join("root.pem"), root.as_bytes(), &*system.rng)
                .map_err(doing("the community's root in PEM"))?;
        }

        Ok(Self {
            system: system.clone(),
            paths: paths.clone(),
            house,
            operator,
            fhir_base,
            care,
            sync,
            lost,
            records: sandbox.len(),
            roster,
            strangers,
            ceiling,
            sandbox: running,
            lists_server,
            community_log,
            officer,
        })
    }

    /// Whether there are patients enough to show what the walk shows.
    pub(crate) fn fit_for_the_walk(&self) -> Result<(), DemoError> {
        let roster = u32::try_from(self.roster.len()).unwrap_or(u32::MAX);
        if roster > self.ceiling.min(25) && !self.strangers.is_empty() {
            return Ok(());
        }
        Err(DemoError {
            what: "--load",
            why: format!(
                "{} patients; the walk needs at least 4, with Observations: add bundles, or use \
                 --no-walk to serve these",
                self.roster.len() + self.strangers.len()
            ),
        })
    }

    /// Says where everything is and how to try it.
    pub(crate) async fn stay(
        &self,
        ui: Ui,
        paths: &Paths,
        ephemeral: bool,
    ) -> Result<(), DemoError> {
        self.write_token(paths).await?;
        let (base, ca) = (&self.fhir_base, paths.tls().join("tls-ca.pem"));
        let (ca, token) = (ca.display(), paths.token());
        let token = token.display();
        let (mine, other) = (first(&self.roster), first(&self.strangers));
        if ui.json() {
            let ready = serde_json::json!({
                "ready": true, "fhir_base": base, "tls_ca": ca.to_string(),
                "token_file": token.to_string(), "in_roster": self.roster,
                "outside_roster": self.strangers, "as_a_partner": self.as_a_partner(paths),
            });
            ui.line(&ready.to_string());
            return Ok(());
        }
        ui.line("");
        ui.line(&format!("{} {base}", ui.bold("FHIR base    ")));
        ui.line(&format!("{} {}", ui.bold("community    "), self.operator.base_url()));
        ui.line(&format!(
            "{} {} patients, {} records, {} of the patients in the partner's roster",
            ui.bold("behind it    "),
            self.roster.len() + self.strangers.len(),
            self.records,
            self.roster.len()
        ));
        ui.line(&format!("{} {}", ui.bold("data         "), self.data_note(ephemeral)));
        ui.line("");
        ui.line(&ui.bold("Try it (the token file is kept fresh while this runs):"));
        let curl = format!("curl -sS --cacert '{ca}'");
        let bearer = format!("-H \"Authorization: Bearer $(cat '{token}')\"");
        for (expect, command) in [
            ("200, signed metadata", format!("{curl} '{base}/.well-known/udap'")),
            ("200, in the roster", format!("{curl} {bearer} '{base}/Patient/{mine}'")),
            (
                "200, a search",
                format!("{curl} {bearer} '{base}/Observation?patient=Patient/{mine}&_count=2'"),
            ),
            ("404, not in the roster", format!("{curl} {bearer} -i '{base}/Patient/{other}'")),
            ("403, beyond the scopes", format!("{curl} {bearer} -i '{base}/MedicationRequest'")),
        ] {
            ui.line(&ui.dim(&format!("  # {expect}")));
            ui.line(&format!("  {command}"));
        }
        ui.line("");
        ui.line(
            &ui.bold("Be a partner yourself (keys, registration and token in the data directory):"),
        );
        for command in self.as_a_partner(paths) {
            ui.line(&format!("  {command}"));
        }
        ui.line("");
        ui.line("Ctrl-C ends it.");
        Ok(())
    }

    /// The other side of the wire, step by step, for a stranger's hands.
    fn as_a_partner(&self, paths: &Paths) -> [String; 3] {
        let (base, lists) = (&self.fhir_base, authority(self.operator.base_url()));
        let (root, tls) = (paths.community().join("root.pem"), paths.tls().join("tls-ca.pem"));
        let dir = paths.partner();
        let ward = std::env::current_exe().unwrap_or_else(|_| "ward".into());
        let ward = format!("'{}'", ward.display());
        let server = format!(
            "--base '{base}' --community-uri '{COMMUNITY}' --anchor '{}' --tls-ca '{}' \
             --allow-private={} --allow-private={lists}",
            root.display(),
            tls.display(),
            authority(base),
        );
        let me = format!(
            "--certificate '{0}/visitor.pem' --key '{0}/visitor-key.pem' --state '{0}/visitor.json'",
            dir.display()
        );
        let mine = first(&self.roster);
        [
            format!("{ward} client discover {server} --explain"),
            format!("{ward} client register {server} {me} --contact mailto:you@partner.example"),
            format!(
                "{ward} client get {server} {me} --organization '{ORGANIZATION}' /Patient/{mine}"
            ),
        ]
    }

    fn data_note(&self, ephemeral: bool) -> String {
        let dir = self.paths.root().display();
        if ephemeral {
            format!("{dir} (removed at the end; --data DIR keeps it)")
        } else {
            format!("{dir}; try: cargo run --release -- log show --data '{dir}'")
        }
    }

    /// Renews the token file long before the token ends; ends only by being dropped.
    pub(crate) async fn keep_token_fresh(&self, paths: &Paths) {
        let pause = self.system.limits.access_token_life / 2;
        loop {
            tokio::time::sleep(pause).await;
            if let Err(error) = self.write_token(paths).await {
                tracing::error!(%error, "the token file could not be renewed");
            }
        }
    }

    async fn write_token(&self, paths: &Paths) -> Result<(), DemoError> {
        let (server, registered, token) = self.care.establish(&self.fhir_base).await?;
        // The client caches tokens; a fresh one lives its whole life from now on.
        self.care.client.forget(&token);
        let token = self.care.token(&server, &registered).await?;
        private::write(&paths.token(), token.expose().as_bytes(), &*self.system.rng)
            .map_err(doing("the token file"))
    }

    pub(crate) async fn close(self) {
        self.house.close().await;
        self.lists_server.shutdown(Duration::from_secs(1)).await;
        self.sandbox.stop();
        self.community_log.close().await;
    }
}

fn first(ids: &[String]) -> &str {
    ids.first().map_or("none", String::as_str)
}

/// `host:port` of a URL that has both.
pub(super) fn authority(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}

pub(super) async fn listen(port: u16, what: &'static str) -> Result<TcpListener, DemoError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| DemoError {
        what,
        why: format!(
            "port {port} of 127.0.0.1: {error}; end what uses it (another ward on the same --data?), \
             or use another --data"
        ),
    })
}

fn recall(paths: &Paths) -> Result<Remembered, DemoError> {
    match fs::read(paths.demo()) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(doing("reading demo.json")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Remembered::default()),
        Err(error) => Err(doing("reading demo.json")(error)),
    }
}

fn remember(paths: &Paths, remembered: &Remembered, rng: &dyn Rng) -> Result<(), DemoError> {
    let json = serde_json::to_string(remembered).map_err(doing("writing demo.json"))?;
    private::write(&paths.demo(), json.as_bytes(), rng).map_err(doing("demo.json"))
}

/// The community is another organisation: its own vault, its own log.
async fn open_community(
    paths: &Paths,
    lists_url: &str,
    system: &System,
) -> Result<(Arc<Operator>, Arc<Log>), DemoError> {
    let uri = CommunityUri::parse(COMMUNITY).map_err(doing("reading the community URI"))?;
    let place = Place::new(&paths.community(), &uri, "Demo Community", lists_url);
    open_or_make(&place, system).await.map_err(doing("opening the community"))
}

/// Three of five patients are attributed to the partner.
fn split(sandbox: &Sandbox, sabotage: Option<Sabotage>) -> (Vec<String>, Vec<String>) {
    let ids: BTreeSet<String> = sandbox.patient_ids().into_iter().collect();
    let mut roster = Vec::new();
    let mut strangers = Vec::new();
    for (index, id) in ids.into_iter().enumerate() {
        // The generator plants cross-links between neighbours: one of them is in, the other out. Who links
        // to somebody outside is hidden (C12), so the one that is in is the one linked to.
        if matches!(index % 5, 1..=3) { roster.push(id) } else { strangers.push(id) }
    }
    if sabotage == Some(Sabotage::Roster) {
        roster.extend(strangers.iter().cloned());
    }
    (roster, strangers)
}

/// On a kept data directory the last walk left an application contained: an officer lets it go on, as
/// an operator would, and the log has it.
async fn release_sync_app(house: &House, officer: &Person) -> Result<(), DemoError> {
    let tenant = TenantId::default_tenant();
    let holds = house.repositories.holds.list(&tenant, 100).await;
    for hold in holds.map_err(doing("reading holds"))? {
        if hold.uri.as_str() == SYNC_APP {
            let reason = "the demo begins anew".to_owned();
            let command = Command::ReleaseClient { client: hold.client, reason };
            house.admin.execute(officer, command).await.map_err(doing("releasing a hold"))?;
        }
    }
    Ok(())
}

async fn import_roster(
    house: &House,
    officer: &Person,
    roster: &[String],
) -> Result<(), DemoError> {
    let rows = roster
        .iter()
        .map(|id| {
            let patient = PatientId::parse(id)?;
            Ok(RosterRow { patient, purposes: vec![Purpose::Treatment, Purpose::Payment] })
        })
        .collect::<Result<Vec<_>, ward_core::IdError>>()
        .map_err(doing("reading patient ids"))?;
    let organization =
        OrganizationUri::parse(ORGANIZATION).map_err(doing("reading the organisation URI"))?;
    let community = CommunityUri::parse(COMMUNITY).map_err(doing("reading the community URI"))?;
    // Who speaks for the organisation: an assertion of its name alone is nobody's roster.
    let members = [CARE_APP, SYNC_APP, LOST_APP, VISITOR_APP]
        .into_iter()
        .map(|uri| Ok((community.clone(), ClientUri::parse(uri)?)))
        .collect::<Result<Vec<_>, ward_core::IdError>>()
        .map_err(doing("reading client URIs"))?;
    let command = Command::ImportRoster { organization, members, rows };
    house.admin.execute(officer, command).await.map_err(doing("importing the roster"))?;
    Ok(())
}

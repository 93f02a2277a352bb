//! Ward itself, in a process of its own: the house as `ward serve` wires it, with the shipped bounds but
//! two, and with detection's ceiling out of the way.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use ward::house::{House, HouseConfig, Outward, System, open_or_make_vault, system};
use ward::paths::Paths;
use ward_admin::{Command, Operator, Role};
use ward_core::{
    ClientUri, CommunityUri, Limits, OrganizationUri, PatientId, Purpose, Secret, TenantId,
};
use ward_fhir::ScopeSet;
use ward_issuer::ServedCommunity;
use ward_net::client::Egress;
use ward_net::tls::{TlsReload, TlsVersions, server_config};
use ward_store::RosterRow;
use ward_trust::{Certificate, Community, SigningIdentity};
use ward_watch::{Ceiling, Ceilings};

use crate::surroundings::{CLIENTS, COMMUNITY, ORGANIZATION, SCOPES, client_uri};
use crate::{Error, child};

/// All that Ward is told, DER where it is certificates and keys.
#[derive(Serialize, Deserialize)]
pub struct Spec {
    pub data: String,
    pub port: u16,
    pub upstream: String,
    pub lists: String,
    pub anchors: Vec<Vec<u8>>,
    pub identity: (Vec<Vec<u8>>, Vec<u8>),
    pub tls: (Vec<Vec<u8>>, Vec<u8>),
    pub patients: Vec<String>,
    /// Rosters of all patients beside the one of the partner: organisation, and clients that it names.
    #[serde(default)]
    pub rosters: Vec<(String, Vec<String>)>,
}

fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Serves until the parent lets go.
pub async fn serve(path: &str) -> Result<(), Error> {
    let spec: Spec = serde_json::from_slice(&std::fs::read(path)?)?;
    let limits = Limits {
        // One address plays many partners; and the incident that a load is must not end the run.
        registrations_per_minute: u32::MAX,
        tokens_per_client_per_minute: u32::MAX,
        ..Limits::default()
    };
    let system = System { limits: Arc::new(limits), ..system() };
    let paths = Paths::new(std::path::Path::new(&spec.data));
    let vault = open_or_make_vault(&paths.vault(), &paths.key_file(), &system)?;
    let anchors =
        spec.anchors.iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>()?;
    let community = Community::new(CommunityUri::parse(COMMUNITY)?, anchors);
    let (chain, key) = &spec.identity;
    let identity = SigningIdentity::from_pkcs8(chain, &Secret::new(key.clone()))?;
    let config = HouseConfig {
        tenant: TenantId::default_tenant(),
        origin: format!("https://localhost:{}", spec.port),
        upstream: spec.upstream.clone(),
        communities: vec![ServedCommunity::new(community, Arc::new(identity))],
        scopes: ScopeSet::parse(SCOPES).0,
        ceilings: Ceilings::uniform(Ceiling { patients: u32::MAX, window: Duration::from_mins(1) }),
        outward: Outward::plain(Egress::allowing([
            authority(&spec.upstream),
            authority(&spec.lists),
        ])),
        tls: TlsReload::new(server_config(
            &spec.tls.0,
            &Secret::new(spec.tls.1.clone()),
            TlsVersions::default(),
        )?),
        enforcement: ward_policy::Enforcement::full(),
    };
    let listener = TcpListener::bind(("127.0.0.1", spec.port)).await?;
    let house = House::open(&paths, vault, config, listener, &system).await?;
    if !spec.patients.is_empty() {
        let rows = spec
            .patients
            .iter()
            .map(|id| {
                Ok(RosterRow { patient: PatientId::parse(id)?, purposes: vec![Purpose::Treatment] })
            })
            .collect::<Result<Vec<_>, ward_core::IdError>>()?;
        let officer = Operator { name: "bench".into(), role: Role::SecurityOfficer };
        let known = CLIENTS.iter().map(|name| (*name).to_owned()).collect();
        for (organization, names) in [(ORGANIZATION.to_owned(), known)].iter().chain(&spec.rosters)
        {
            let organization = OrganizationUri::parse(organization)?;
            let members = names
                .iter()
                .map(|name| {
                    let client = ClientUri::parse(&client_uri(name))?;
                    Ok((CommunityUri::parse(COMMUNITY)?, client))
                })
                .collect::<Result<_, ward_core::IdError>>()?;
            let rows = rows.clone();
            house
                .admin
                .execute(&officer, Command::ImportRoster { organization, members, rows })
                .await?;
        }
    }
    child::until_let_go().await;
    house.close().await;
    Ok(())
}

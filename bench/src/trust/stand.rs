//! One Ward in a process of its own, that can be stopped and started again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Ground;
use crate::child::Server;
use crate::load::{self, Outcome, Phase, Target};
use crate::procfs::Processes;
use crate::run::{free_port, start_ward};
use crate::surroundings::Client;
use crate::ward_child::Spec;
use crate::{Error, run};

/// A client and the id that it has here.
pub struct Known {
    pub client: Arc<Client>,
    pub id: String,
}

pub struct Stand {
    pub target: Target,
    pub data: PathBuf,
    spec: PathBuf,
    ward: Option<Server>,
}

impl Stand {
    /// Starts a Ward with an empty data directory and these rosters.
    pub async fn raise(
        ground: &Ground,
        name: &str,
        rosters: Vec<(String, Vec<String>)>,
    ) -> Result<Self, Error> {
        let port = free_port().await?;
        let surroundings = &ground.surroundings;
        let data = ground.dir.0.join(name);
        std::fs::create_dir_all(&data)?;
        let mut told = Spec {
            data: data.display().to_string(),
            port,
            upstream: ground.about.base_url.clone(),
            lists: surroundings.lists_url.clone(),
            anchors: surroundings.anchors.clone(),
            identity: surroundings.server(port).await?,
            tls: surroundings.tls.clone(),
            patients: ground.about.patients.clone(),
            rosters,
        };
        let spec = ground.dir.0.join(format!("{name}.json"));
        std::fs::write(&spec, serde_json::to_vec(&told)?)?;
        let target = Target::new(port, &surroundings.tls_authority)?;
        let (ward, _) = start_ward(&spec, &target).await?;
        // The rosters are imported once.
        told.patients.clear();
        std::fs::write(&spec, serde_json::to_vec(&told)?)?;
        Ok(Self { target, data, spec, ward: Some(ward) })
    }

    pub fn base(&self) -> String {
        format!("https://localhost:{}/default/fhir", self.target.port)
    }

    pub fn stop(&mut self) -> Result<(), Error> {
        self.ward.take().map_or(Ok(()), Server::close)
    }

    pub async fn start(&mut self) -> Result<(), Error> {
        self.ward = Some(run::start_ward(&self.spec, &self.target).await?.0);
        Ok(())
    }

    pub fn processes(&self) -> Result<Processes, Error> {
        Processes::of(self.ward.as_ref().ok_or("Ward does not run")?.pid())
    }

    /// Registers the clients.
    pub async fn register(&self, clients: &[Arc<Client>]) -> Result<Vec<Known>, Error> {
        let mut known = vec![];
        for client in clients {
            let id = client.register(&self.target).await?;
            known.push(Known { client: client.clone(), id });
        }
        Ok(known)
    }

    /// So many token requests, signed now, by these clients in turn.
    pub fn tokens(&self, known: &[Known], count: usize) -> Result<Vec<Vec<u8>>, Error> {
        let port = self.target.port;
        let of = |one: &Known| one.client.token_request(port, &one.id);
        known.iter().cycle().take(count).map(of).collect()
    }

    /// So many registration requests, signed now, by these clients in turn: all but the first of each replace what is there.
    pub fn registrations(&self, known: &[Known], count: usize) -> Result<Vec<Vec<u8>>, Error> {
        let port = self.target.port;
        known.iter().cycle().take(count).map(|one| one.client.registration(port)).collect()
    }

    /// Sends each request once, so many side by side.
    pub async fn once(
        &self,
        connections: usize,
        requests: Vec<Vec<u8>>,
        statuses: &'static [u16],
    ) -> Result<Outcome, Error> {
        let server = self.processes()?;
        let phase = Phase {
            target: &self.target,
            server: &server,
            upstream: &server,
            connections,
            warm: Duration::ZERO,
            time: Duration::ZERO,
            once: true,
        };
        load::run(&phase, Arc::new(requests), statuses).await
    }
}

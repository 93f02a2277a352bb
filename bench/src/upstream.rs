//! The FHIR server behind both: the sample hospital, in a process of its own.

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use ward_sandbox::Sandbox;

use crate::{Error, child, say};

const SEED: u64 = 2026;
const PATIENTS: usize = 200;

/// What the upstream says of itself.
#[derive(Debug, Serialize, Deserialize)]
pub struct Upstream {
    /// `http://127.0.0.1:PORT/fhir`.
    pub base_url: String,
    pub patients: Vec<String>,
    /// Searches of 100 entries and more, relative to the base.
    pub searches: Vec<String>,
    pub records: usize,
}

/// Serves on a port (0: any) until the parent lets go.
pub async fn serve(port: u16) -> Result<(), Error> {
    let sandbox = Sandbox::generate(SEED, PATIENTS);
    let running = sandbox.start(TcpListener::bind(("127.0.0.1", port)).await?)?;
    let patients = sandbox.patient_ids();
    let observations: Vec<String> = sandbox
        .ids("Observation")
        .iter()
        .filter_map(|id| {
            let resource = sandbox.resource("Observation", id)?;
            Some(resource.pointer("/subject/reference")?.as_str()?.to_owned())
        })
        .collect();
    let mut searches = vec![];
    let (mut some, mut entries) = (vec![], 0);
    for patient in &patients {
        let reference = format!("Patient/{patient}");
        entries += observations.iter().filter(|subject| **subject == reference).count();
        some.push(reference);
        if entries >= 110 {
            searches.push(format!("Observation?patient={}&_count=100", some.join(",")));
            some.clear();
            entries = 0;
        }
    }
    let records = sandbox.len();
    let told = Upstream { base_url: running.base_url.clone(), patients, searches, records };
    say(&serde_json::to_string(&told)?);
    child::until_let_go().await;
    running.stop();
    Ok(())
}

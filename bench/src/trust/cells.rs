//! Tokens, registrations and metadata on one Ward, by algorithm and by whether the client's chain is known.
//!
//! *Warm*: the path from the client's certificate to the anchor was built before and is remembered. *Cold*: so many clients take
//! turns that each path is forgotten again before its client comes back, and is built anew.

use std::sync::Arc;
use std::time::Duration;

use ward_community::KeySpec;

use super::stand::{Known, Stand};
use super::{Ground, LOADING};
use crate::Error;
use crate::load::{self, Outcome, Phase, get};
use crate::surroundings::Client;

pub const ALGS: [(&str, KeySpec); 3] =
    [("RS256", KeySpec::Rsa2048), ("ES256", KeySpec::P256), ("ES384", KeySpec::P384)];
/// Requests side by side: Ward is busy, and what it makes durable is made durable for many at once.
pub const CONNECTIONS: usize = 64;
/// Clients that take turns in a cold cell: more than Ward remembers paths of, also with requests side by side.
const MANY: usize = 128 + CONNECTIONS + 16;

/// What was asked for.
pub struct Cell {
    pub what: &'static str,
    pub alg: &'static str,
    pub warm: bool,
    pub outcome: Outcome,
}

pub struct Cells {
    pub cells: Vec<Cell>,
    pub metadata: Outcome,
}

fn name(alg: &str, n: usize) -> String {
    format!("{}-{n}", alg.to_ascii_lowercase())
}

/// Certificates for all of them; keys are made side by side.
async fn clients(ground: &Ground, alg: &str, key: KeySpec) -> Result<Vec<Arc<Client>>, Error> {
    let mut all = vec![];
    for some in (0..MANY).collect::<Vec<_>>().chunks(4) {
        let one = |n: usize| {
            let name = name(alg, n);
            async move { ground.surroundings.client(&name, key).await }
        };
        match *some {
            [a, b, c, d] => {
                let (a, b, c, d) = tokio::join!(one(a), one(b), one(c), one(d));
                all.extend([a?, b?, c?, d?]);
            }
            ref fewer => {
                for n in fewer {
                    all.push(one(*n).await?);
                }
            }
        }
    }
    let loading = |client| Arc::new(Client { organization: LOADING.to_owned(), ..client });
    Ok(all.into_iter().map(loading).collect())
}

pub async fn measure(ground: &Ground, requests: usize) -> Result<Cells, Error> {
    let members = ALGS.iter().flat_map(|(alg, _)| (0..MANY).map(|n| name(alg, n))).collect();
    let stand = Stand::raise(ground, "cells", vec![(LOADING.to_owned(), members)]).await?;
    let mut cells = vec![];
    for (alg, key) in ALGS {
        let known = stand.register(&clients(ground, alg, key).await?).await?;
        for warm in [true, false] {
            let some = known.get(..if warm { CONNECTIONS } else { MANY }).unwrap_or_default();
            for what in ["token", "registration"] {
                if warm {
                    // Their paths are remembered, and its own code has run.
                    cell(&stand, what, some, 5 * CONNECTIONS).await?;
                }
                let outcome = cell(&stand, what, some, requests).await?;
                cells.push(Cell { what, alg, warm, outcome });
            }
        }
    }
    let server = stand.processes()?;
    let phase = Phase {
        target: &stand.target,
        server: &server,
        upstream: &server,
        connections: CONNECTIONS,
        warm: Duration::from_millis(300),
        time: Duration::from_secs(2),
        once: false,
    };
    let document = get(stand.target.port, "/default/fhir/.well-known/udap", None);
    let metadata = load::run(&phase, Arc::new(vec![document]), &[200]).await?;
    Ok(Cells { cells, metadata })
}

async fn cell(stand: &Stand, what: &str, known: &[Known], count: usize) -> Result<Outcome, Error> {
    if what == "token" {
        stand.once(CONNECTIONS, stand.tokens(known, count)?, &[200]).await
    } else {
        stand.once(CONNECTIONS, stand.registrations(known, count)?, &[200, 201]).await
    }
}

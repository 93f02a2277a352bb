//! `ward-bench trust`: what it costs to establish trust and to use it. Registrations, tokens and metadata as a share of the
//! bound that their own signature operations set in the same run; the same with few and with many registered clients; and
//! the time from "never heard of each other" to first data.
//!
//! What is counted is the CPU time of Ward's process by the requests of a cell, so a second of it is a second of one core. Prints
//! one markdown page at the end, and nothing else.

mod cells;
mod fill;
mod partners;
mod stand;
mod table;

use std::fs;

use crate::child::Server;
use crate::procfs::{load_average, machine};
use crate::run::{Scratch, free_port};
use crate::surroundings::Surroundings;
use crate::upstream::Upstream;
use crate::{Error, say, signatures};

/// The organisation of those that load Ward.
pub const LOADING: &str = "https://partner.example/loading";
/// The organisation of partners that come new.
pub const COMING: &str = "https://partner.example/coming";

/// What all stands have in common.
pub struct Ground {
    pub surroundings: Surroundings,
    _upstream: Server,
    pub about: Upstream,
    pub dir: Scratch,
}

/// `--requests N` a cell (2000), `--partners N` in a row (1000), `--clients N` at most (100000), `--jtis N` (1000000).
pub async fn run(words: &[&str]) -> Result<(), Error> {
    let option = |name: &str, default: usize| -> Result<usize, Error> {
        let at = words.iter().position(|word| *word == name);
        let given = at.and_then(|at| words.get(at + 1));
        Ok(given.map_or(Ok(default), |word| word.parse())?)
    };
    let requests = option("--requests", 2000)?;
    let partners = option("--partners", 1000)?;
    let clients = option("--clients", 100_000)?;
    let jtis = option("--jtis", 1_000_000)?;

    let before = load_average();
    // Beside the build, not in /tmp, which may be memory: the volume of store and log shall be a disk.
    let dir = std::env::current_exe()?.with_file_name(format!("trust-{}", std::process::id()));
    let dir = Scratch(dir);
    fs::create_dir_all(&dir.0)?;
    let mut upstream = Server::again(&["upstream"])?;
    let about: Upstream = serde_json::from_str(&upstream.line()?)?;
    let surroundings = Surroundings::raise(&dir.0.join("community"), free_port().await?).await?;
    let ground = Ground { surroundings, _upstream: upstream, about, dir };

    let costs = signatures::measure()?;
    let cells = cells::measure(&ground, requests).await?;
    let coming = partners::measure(&ground, partners).await?;
    let growth = fill::measure(&ground, requests, clients, jtis).await?;
    let again = signatures::measure()?;
    say(&table::Page {
        machine: machine(),
        load: (before, load_average()),
        costs: [costs, again],
        cells,
        coming,
        growth,
    }
    .markdown());
    Ok(())
}

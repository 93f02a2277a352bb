//! Growth: the same work with few and with many registered clients and one-time values. Stores are filled through their own
//! repositories, with Ward stopped; then rounds go from one Ward to the next, so that what else the machine does falls on all.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use ward::house::{open_or_make_vault, system};
use ward::paths::Paths;
use ward_community::KeySpec;
use ward_core::{
    ClientId, ClientUri, CommunityUri, CorrelationId, Event, EventKind, TenantId, Thumbprint,
    crypto,
};
use ward_store::{Expected, Mark, Reach, Repositories, Store};
use ward_trust::{Certificate, Community, reach_digest};

use super::stand::{Known, Stand};
use super::{Ground, LOADING};
use crate::load::Outcome;
use crate::surroundings::{COMMUNITY, Client};
use crate::{Error, moment};

/// Clients that ask, side by side: all there are in the smallest.
const ASKING: usize = 10;
/// Changes under way at once while a store is filled.
const ABREAST: usize = 1024;
/// Rounds over all sizes.
const ROUNDS: usize = 3;

/// What one size measured.
pub struct Size {
    pub clients: usize,
    pub jtis: usize,
    pub tokens: Outcome,
    pub registrations: Outcome,
    /// MiB of Ward's process after the load.
    pub memory: f64,
    /// MiB of the store's files.
    pub disk: f64,
    /// How long filling took.
    pub seconds: f64,
}

pub async fn measure(
    ground: &Ground,
    requests: usize,
    clients: usize,
    jtis: usize,
) -> Result<Vec<Size>, Error> {
    // The same clients at every size: which of them wait for each other goes by their URIs.
    let names: Vec<_> = (0..ASKING).map(|n| format!("asking-{n}")).collect();
    let mut asking = vec![];
    for name in &names {
        let client = ground.surroundings.client(name, KeySpec::P256).await?;
        asking.push(Arc::new(Client { organization: LOADING.to_owned(), ..client }));
    }
    let mut sizes = vec![];
    for (clients, jtis) in [(ASKING, 0), (clients / 100, jtis / 100), (clients, jtis)] {
        let rosters = vec![(LOADING.to_owned(), names.clone())];
        let mut stand = Stand::raise(ground, &format!("size-{clients}"), rosters).await?;
        let known = stand.register(&asking).await?;
        stand.stop()?;
        let begun = moment();
        fill(ground, &stand, clients.saturating_sub(ASKING), jtis).await?;
        let seconds = begun.elapsed().as_secs_f64();
        stand.start().await?;
        let (tokens, registrations) = (Outcome::default(), Outcome::default());
        let size = Size { clients, jtis, tokens, registrations, memory: 0.0, disk: 0.0, seconds };
        sizes.push((stand, known, size));
    }
    for round in 0..=ROUNDS {
        for (stand, known, size) in &mut sizes {
            let count = if round == 0 { ASKING * 10 } else { requests / 2 };
            let (tokens, registrations) = work(stand, known, count).await?;
            // The first round warms.
            if round > 0 {
                size.tokens.add(tokens);
                size.registrations.add(registrations);
            }
        }
    }
    let mut measured = vec![];
    for (stand, _, mut size) in sizes {
        size.memory = stand.processes()?.rss();
        let store = Paths::new(&stand.data).store();
        for entry in std::fs::read_dir(store)?.flatten() {
            size.disk += entry.metadata()?.len() as f64 / 1024.0 / 1024.0;
        }
        measured.push(size);
    }
    Ok(measured)
}

async fn work(stand: &Stand, known: &[Known], count: usize) -> Result<(Outcome, Outcome), Error> {
    let tokens = stand.once(ASKING, stand.tokens(known, count)?, &[200]).await?;
    let registrations = stand.once(ASKING, stand.registrations(known, count)?, &[200, 201]).await?;
    Ok((tokens, registrations))
}

/// Registers so many clients like the first one there, and claims so many one-time values for the next hour.
async fn fill(ground: &Ground, stand: &Stand, clients: usize, jtis: usize) -> Result<(), Error> {
    let system = system();
    let paths = Paths::new(&stand.data);
    let vault = open_or_make_vault(&paths.vault(), &paths.key_file(), &system)?;
    let store = Store::open(
        &paths.store(),
        vault,
        system.clock.clone(),
        system.rng.clone(),
        &system.limits,
    )?;
    let all = store.repositories();
    let tenant = TenantId::default_tenant();
    let first = all.registrations.list(&tenant, None, 1).await?.into_iter().next();
    let first = first.ok_or("nobody is registered")?;
    // The community as Ward is told of it, so that nothing is marked anew.
    let anchors = ground.surroundings.anchors.iter().map(|der| Certificate::from_der(der));
    let anchors = anchors.collect::<Result<_, _>>()?;
    let under = reach_digest(&Community::new(CommunityUri::parse(COMMUNITY)?, anchors));
    let now = system.clock.now();
    let mut changes: JoinSet<Result<(), ward_store::StoreError>> = JoinSet::new();
    for number in 0..clients {
        let thumbprint = Thumbprint(crypto::sha256(&[b"filled", &number.to_be_bytes()]));
        let mark = |thumbprint| Mark {
            thumbprint,
            issuer: [9; 32],
            serial: number.to_be_bytes().to_vec(),
        };
        let marks = vec![mark(thumbprint), mark(Thumbprint([7; 32])), mark(Thumbprint([8; 32]))];
        let reach = Reach { under, ends: now.plus(Duration::from_hours(9000)), marks };
        let mut one = first.clone();
        one.client = ClientId::new(&*system.clock, &*system.rng);
        one.uri = ClientUri::parse(&format!("https://filled.example/apps/{number}"))?;
        one.thumbprint = thumbprint;
        let id = CorrelationId::new(&*system.clock, &*system.rng);
        let event = Event::new(EventKind::Registration, "registered", tenant.clone(), now, id);
        let all: Repositories = all.clone();
        changes.spawn(async move {
            let put =
                all.registrations.put_marked(one, Expected::Absent, Some(reach), event).await?;
            let _ = put;
            Ok(())
        });
        room(&mut changes).await?;
    }
    let until = now.plus(Duration::from_hours(1));
    for number in 0..jtis {
        let key = crypto::sha256(&[b"jti", &number.to_be_bytes()]);
        let (replays, tenant) = (all.replays.clone(), tenant.clone());
        changes.spawn(async move { replays.claim(&tenant, key, until).await.map(drop) });
        room(&mut changes).await?;
    }
    while let Some(change) = changes.join_next().await {
        change??;
    }
    Ok(())
}

/// Waits until another change may go.
async fn room(changes: &mut JoinSet<Result<(), ward_store::StoreError>>) -> Result<(), Error> {
    while changes.len() >= ABREAST {
        if let Some(change) = changes.join_next().await {
            change??;
        }
    }
    Ok(())
}

//! The table of `docs/faults.md`, row by row: each fault with honest callers beside it. What is asserted everywhere:
//! honest callers see only the stated statuses, every answer that was acknowledged is in the log, and Ward comes back
//! without a restart. Each test prints what it counted. The heavy ones are ignored here; `just faults` runs them.

mod clock;
mod disk;
mod floods;
mod idle;
mod junk;
mod renewal;
mod slow;
mod tls;
mod upstream;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use ward::house::system;
use ward::paths::Paths;
use ward_audit::Reader;
use ward_core::{Clock, EventKind, Limits, Outcome};
use ward_sandbox::Sandbox;

use crate::harness::{ISS, Setup, World};
use crate::pki::Member;

/// A Ward with one partner that may read one patient.
struct Stage {
    world: World,
    upstream: ward_sandbox::Running,
    member: Member,
    client: String,
    token: String,
    /// A target that is answered with 200.
    good: String,
    /// All who are in the roster.
    patients: Vec<String>,
}

impl Stage {
    async fn set(limits: Limits) -> Self {
        Self::set_on(limits, 1000, system().clock, |_| {}).await
    }

    /// With a ceiling of patients a minute, a clock, and something done to the data directory first.
    async fn set_on(
        limits: Limits,
        ceiling: u32,
        clock: Arc<dyn Clock>,
        prepare: impl FnOnce(&Paths),
    ) -> Self {
        let sandbox = Sandbox::generate(7, 20);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut patients = sandbox.patient_ids();
        patients.sort();
        let upstream = sandbox.start(listener).unwrap();
        let setup = Setup {
            upstream: upstream.base_url.clone(),
            roster: patients.clone(),
            limits,
            ceiling,
        };
        let mut world = World::raise_with(setup, clock, prepare).await;
        let member = world.pki.client(ISS);
        let client = world.register_client(&member, ISS).await;
        let token = world.access_token(&member, &client).await;
        let good = format!("{}/Patient/{}", world.path(&world.base), patients[0]);
        Self { world, upstream, member, client, token, good, patients }
    }

    /// The head of a good read; more header lines can follow.
    fn read(&self, target: &str) -> String {
        let (port, token) = (self.world.port, &self.token);
        format!(
            "GET {target} HTTP/1.1\r\nhost: localhost:{port}\r\nauthorization: Bearer {token}\r\n"
        )
    }

    /// Honest callers beside a fault, until it is over; then each once more.
    async fn beside<T>(&self, callers: usize, fault: impl Future<Output = T>) -> (Tally, T) {
        let over = AtomicBool::new(false);
        let call = async || {
            let mut tally = Tally::default();
            loop {
                let last = over.load(Ordering::SeqCst);
                tally.ask(&self.world, &self.good, &self.token).await;
                if last {
                    return tally;
                }
            }
        };
        let all = async {
            let mut all = Tally::default();
            // As many as are called for, in one task.
            let mut calls: Vec<_> = (0..callers).map(|_| Box::pin(call())).collect();
            for tally in join_all(&mut calls).await {
                all.add(tally);
            }
            all
        };
        let fault = async {
            let result = fault.await;
            over.store(true, Ordering::SeqCst);
            result
        };
        tokio::join!(all, fault)
    }

    /// Waits until nothing but `most` connections is open.
    async fn drained(&self, most: u64) {
        let stats = &self.world.house.ops.server;
        until("connections end", async || stats.snapshot().open <= most).await;
    }
}

/// All of them, each polled when anyone wakes: they are few.
async fn join_all<T>(calls: &mut [std::pin::Pin<Box<impl Future<Output = T>>>]) -> Vec<T> {
    let mut done: Vec<Option<T>> = calls.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (call, done) in calls.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(result) = call.as_mut().poll(cx)
            {
                *done = Some(result);
            }
        }
        if done.iter().all(Option::is_some) {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    })
    .await;
    done.into_iter().flatten().collect()
}

/// Waits for a condition, for a minute.
async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    for _ in 0..6000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within a minute");
}

/// What honest callers saw.
#[derive(Debug, Default)]
struct Tally {
    /// Answers by status; 0 for none, or a broken one.
    statuses: BTreeMap<u16, usize>,
    /// Correlation ids of the answers that released something.
    acknowledged: HashSet<String>,
}

impl Tally {
    async fn ask(&mut self, world: &World, target: &str, token: &str) -> u16 {
        let answer = world.get(target, token).await;
        *self.statuses.entry(answer.status).or_default() += 1;
        if answer.status == 200 {
            let id = answer.header("x-correlation-id").unwrap().to_owned();
            assert!(self.acknowledged.insert(id), "a correlation id twice");
        }
        answer.status
    }

    fn add(&mut self, other: Self) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.acknowledged.extend(other.acknowledged);
    }

    /// Only these statuses were seen, 200 among them.
    #[track_caller]
    fn only(&self, stated: &[u16]) {
        assert!(self.statuses.keys().all(|status| stated.contains(status)), "{self}");
        assert!(self.statuses.contains_key(&200), "{self}");
    }

    /// Whatever was acknowledged is in the log.
    #[track_caller]
    fn is_in(&self, log: &Logged) {
        let missing: Vec<_> = self.acknowledged.difference(&log.accesses).collect();
        assert!(missing.is_empty(), "acknowledged but not in the log: {missing:?}");
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        for (status, count) in &self.statuses {
            let _ = write!(text, "{}{count} × {status}", if text.is_empty() { "" } else { ", " });
        }
        f.write_str(&text)
    }
}

/// What the log holds.
#[derive(Debug, Default)]
struct Logged {
    accesses: HashSet<String>,
    registrations: usize,
    tokens: usize,
}

fn logged(world: &World) -> Logged {
    let reader = Reader::open_dir(&world.house.paths.log(), None).unwrap();
    let mut logged = Logged::default();
    for entry in reader.leaves(0..reader.size()) {
        let (_, leaf) = entry.unwrap();
        match leaf.kind {
            EventKind::Access => drop(logged.accesses.insert(leaf.correlation.to_string())),
            EventKind::Registration if leaf.outcome == Outcome::Success => {
                logged.registrations += 1;
            }
            EventKind::Token if leaf.outcome == Outcome::Success => logged.tokens += 1,
            _ => {}
        }
    }
    logged
}

/// TLS to Ward over a socket of the caller's, with these protocols.
async fn shake(
    world: &World,
    tcp: TcpStream,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(world.tls_root.clone())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").unwrap(), tcp)
        .await
}

/// Resident memory of a process, KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Every test that `docs/faults.md` names is there, and every one that is here is named.
#[test]
fn the_table_names_the_tests() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let read = |path: &str| std::fs::read_to_string(format!("{root}/{path}")).unwrap();
    let page = read("docs/faults.md");
    let mut named = 0;
    for name in page.split('`').filter_map(|text| text.strip_prefix("test:")) {
        let (path, function) = name.rsplit_once(' ').unwrap();
        assert!(read(path).contains(&format!("fn {function}(")), "{name}");
        named += 1;
    }
    let here = format!("{root}/crates/ward/tests/it/fault_table");
    for file in std::fs::read_dir(here).unwrap() {
        let path = file.unwrap().path();
        if path.ends_with("mod.rs") {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        for test in text.split("#[tokio::test").skip(1) {
            let name = test.split("async fn ").nth(1).unwrap().split('(').next().unwrap();
            assert!(page.contains(name), "docs/faults.md does not name {name}");
        }
    }
    assert!(named >= 15, "{named}");
}

async fn dial(world: &World) -> TcpStream {
    TcpStream::connect(("127.0.0.1", world.port)).await.unwrap()
}

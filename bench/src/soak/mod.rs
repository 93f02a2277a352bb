//! `just soak`: `ward serve --config` at half of its measured maximum for a long time, while its upstream is killed
//! and comes back. Does it keep its memory, its files, its log and its word?
//!
//! Fails if an answer came that is not stated, an acknowledged exchange is missing in the log, the log does not
//! verify against a checkpoint kept from the beginning, or memory, threads or open files grow.

mod log;
mod place;
mod samples;
mod tally;
mod traffic;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ward_community::KeySpec;

use crate::child::Server;
use crate::load::Target;
use crate::procfs::{Processes, load_average, machine};
use crate::run::{Scratch, free_port};
use crate::surroundings::Surroundings;
use crate::upstream::Upstream;
use crate::{Error, moment, say};
use place::Place;
use samples::{Sample, Trend};
use tally::{Kind, Tally, Told};
use traffic::Shared;

/// Connections that are kept busy.
const WORKERS: u64 = 16;
const VISITORS: usize = 10;
/// The upstream is killed so often, and is away so long.
const OUTAGE_EVERY: Duration = Duration::from_secs(90);
const OUTAGE: Duration = Duration::from_secs(5);
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// How long the maximum is measured.
const MEASURE: Duration = Duration::from_secs(50);
/// What memory may grow by over the last two thirds, by the fitted line, as a part of its mean, beyond what the
/// caches of the store may have come to hold: they have a bound, which a small store has not reached.
const GROWTH: f64 = 0.05;

struct Options {
    time: Duration,
    /// Requests a second at most, whatever was measured; the machine may be somebody else's as well.
    most: f64,
    /// Between two visitors, who register, read and cancel.
    visit: Duration,
    out: Option<String>,
}

impl Options {
    fn of(words: &[&str]) -> Result<Self, Error> {
        let option = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1).copied()
        };
        let minutes: f64 = option("--minutes").unwrap_or("30").parse()?;
        Ok(Self {
            time: Duration::from_secs_f64(minutes * 60.0),
            most: option("--most").map_or(Ok(f64::INFINITY), str::parse)?,
            visit: Duration::from_secs_f64(option("--visit").unwrap_or("5").parse()?),
            out: option("--out").map(str::to_owned),
        })
    }
}

/// The upstream, which is killed and comes back on the same port.
async fn outages(
    shared: Arc<Shared>,
    port: u16,
    mut upstream: Option<Server>,
) -> Result<(), Error> {
    let port = port.to_string();
    let mut last = moment();
    while !shared.over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if shared.gap.load(Ordering::Relaxed) == 0 || last.elapsed() < OUTAGE_EVERY {
            continue;
        }
        shared.tally.away();
        // SIGKILL: it says good-bye to nobody.
        drop(upstream.take());
        tokio::time::sleep(OUTAGE).await;
        let mut back = Server::again(&["upstream", &port])?;
        let back = tokio::task::spawn_blocking(move || back.line().map(|_| back)).await??;
        upstream = Some(back);
        shared.tally.back();
        last = moment();
    }
    Ok(())
}

/// Everything that is found out.
struct Findings {
    told: Told,
    first: f64,
    rate: f64,
    seconds: f64,
    cpu: f64,
    samples: Vec<Sample>,
    idle_files: (u64, u64),
    log: log::Compared,
    clean_end: bool,
    verified: String,
}

/// `ward-bench soak [--minutes N] [--most REQUESTS_A_SECOND] [--visit SECONDS] [--out FILE]`.
pub async fn run(words: &[&str]) -> Result<(), Error> {
    let options = Options::of(words)?;
    let dir = std::env::current_exe()?.with_file_name(format!("soak-{}", std::process::id()));
    let dir = Scratch(dir);
    let (port, admin, upstream_port) = (free_port().await?, free_port().await?, free_port().await?);
    let mut upstream = Server::again(&["upstream", &upstream_port.to_string()])?;
    let about: Upstream = serde_json::from_str(&upstream.line()?)?;
    let around = Surroundings::raise(&dir.0.join("community"), port).await?;
    let target = Target::new(port, &around.tls_authority)?;
    let place = Place::make(&dir.0.join("ward"), port, admin, &about.base_url, &around)?;
    let serving = place.serve(&target).await?;

    let mut visitors = vec![];
    for at in 0..VISITORS {
        visitors.push(around.client(&format!("visitor-{at}"), KeySpec::P256).await?);
    }
    let names: Vec<String> = (0..VISITORS).map(|at| format!("visitor-{at}")).collect();
    let (roster, outside) = about.patients.split_at(about.patients.len() * 3 / 4);
    place.roster(&serving, &[names, vec!["soak".to_owned()]].concat(), roster)?;
    let client = Arc::new(around.client("soak", KeySpec::P256).await?);
    let client_id: Arc<str> = client.register(&target).await?.into();
    let kept = dir.0.join("checkpoint");
    std::fs::copy(place.data().join("log/checkpoint"), &kept)?;

    let shared = Arc::new(Shared {
        target,
        tally: Tally::default(),
        roster: roster.to_vec(),
        outside: outside.to_vec(),
        gap: AtomicU64::new(0),
        over: AtomicBool::new(false),
        visit: options.visit,
    });
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(outages(shared.clone(), upstream_port, Some(upstream)));
    tasks.spawn(traffic::visit(shared.clone(), visitors));
    tasks.spawn(traffic::hang_up(shared.clone(), client.clone(), client_id.clone()));
    let before = samples::files(serving.pid())?;
    for _ in 0..WORKERS {
        tasks.spawn(traffic::work(shared.clone(), client.clone(), client_id.clone()));
    }

    say(&format!("measuring what it can do, {} s", MEASURE.as_secs()));
    tokio::time::sleep(MEASURE / 5).await;
    let (begun, answers) = (moment(), shared.tally.answers());
    tokio::time::sleep(MEASURE * 4 / 5).await;
    let first = (shared.tally.answers() - answers) as f64 / begun.elapsed().as_secs_f64();
    let rate = (first / 2.0).min(options.most);
    shared.gap.store((WORKERS as f64 / rate * 1e6) as u64, Ordering::Relaxed);
    say(&format!("{first:.0} answers a second; from now on {rate:.0}"));

    let process = Processes::of(serving.pid())?;
    let (begun, cpu, answers) = (moment(), process.cpu(), shared.tally.answers());
    let mut samples = vec![];
    while begun.elapsed() < options.time {
        tokio::time::sleep(SAMPLE_EVERY).await;
        let sample = Sample::of(serving.pid(), &process, &place.data(), begun)?;
        if samples.len() % 6 == 5 {
            say(&format!("{sample}, {} answers", shared.tally.answers()));
        }
        samples.push(sample);
        if tasks.try_join_next().is_some() {
            return Err("a part of the load ended by itself".into());
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let (cpu, rate) = (process.cpu() - cpu, (shared.tally.answers() - answers) as f64 / seconds);
    shared.over.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }

    // Nobody is there any more: what was opened for callers is closed.
    let settled = moment();
    let mut idle = samples::files(serving.pid())?;
    while idle > before + samples::SPARE_FILES && settled.elapsed() < Duration::from_mins(1) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        idle = samples::files(serving.pid())?;
    }
    let told = shared.tally.take();
    let clean_end = serving.stop()?;
    let kept = kept.display().to_string();
    let data = place.data().display().to_string();
    let verify = ["log", "verify", "--data", &data, "--checkpoint", &kept];
    let verified = place.ward(&verify, "")?;
    let log = log::compare(&place.data().join("log"), &told.acknowledged)?;
    let idle_files = (before, idle);
    let findings =
        Findings { told, first, rate, seconds, cpu, samples, idle_files, log, clean_end, verified };
    let (report, wrong) = findings.report();
    say(&report);
    if let Some(out) = &options.out {
        std::fs::write(out, &report)?;
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
}

/// Growth that the store's caches do not explain, as a part of the mean.
fn rest(memory: &Trend, cache: &Trend) -> f64 {
    (memory.growth - cache.growth.max(0.0)) / memory.mean
}

impl Findings {
    fn count(&self, kind: Kind) -> u64 {
        let of_kind =
            self.told.answers.iter().filter(|((one, status), _)| *one == kind && *status < 300);
        of_kind.map(|(_, n)| n).sum()
    }

    /// What is wrong; nothing, if all is well.
    fn wrong(&self, memory: &Trend, cache: &Trend) -> Vec<String> {
        let mut wrong = vec![];
        let mut demand = |good: bool, what: String| {
            if !good {
                wrong.push(what);
            }
        };
        let (told, log) = (&self.told, &self.log);
        demand(
            told.faulty == 0,
            format!("{} answers or connections were not as stated", told.faulty),
        );
        demand(told.outages > 0, "the upstream was never away".to_owned());
        demand(
            log.missing == 0,
            format!("{} acknowledged exchanges are not in the log", log.missing),
        );
        for (what, said, kept) in [
            ("tokens", self.count(Kind::Token), log.tokens),
            // One more of each was asked for before anything was counted.
            (
                "registrations",
                self.count(Kind::Register) + self.count(Kind::Cancel),
                log.registrations,
            ),
        ] {
            demand(kept >= said, format!("{said} {what} were acknowledged, {kept} are in the log"));
        }
        let part = rest(memory, cache);
        demand(part <= GROWTH, format!("memory grew by {:.1} %", part * 100.0));
        let threads = |samples: &[Sample]| samples.iter().map(|one| one.threads).max().unwrap_or(0);
        let third = self.samples.len() / 3;
        let (early, late) = self.samples.split_at(third);
        demand(threads(late) <= threads(early), "threads grew".to_owned());
        let (before, idle) = self.idle_files;
        demand(
            idle <= before + samples::SPARE_FILES,
            format!("{before} files were open before the load, {idle} after it"),
        );
        demand(self.clean_end, "ward serve did not end with status 0".to_owned());
        wrong
    }

    /// In Markdown, and what is wrong.
    fn report(&self) -> (String, Vec<String>) {
        let third = self.samples.len() / 3;
        let late = self.samples.get(third..).unwrap_or_default();
        let (memory, cache) = (Trend::of(late, |one| one.memory), Trend::of(late, |one| one.cache));
        let wrong = self.wrong(&memory, &cache);
        let mut text = String::new();
        let told = &self.told;
        let total: u64 = told.answers.values().sum();
        let quantile = |part: f64| {
            let at = (told.micros.len() as f64 * part) as usize;
            told.micros.get(at).copied().unwrap_or(0)
        };
        let _ = writeln!(
            text,
            "{}; load average {}. {:.1} minutes at {:.0} answers a second, half of the {:.0} measured first; {:.2} cores of CPU, \
             {:.0} µs an answer; reads p50 {} µs, p99 {} µs. {} connections, of which {} hung up in the middle. The upstream was \
             killed {} times.\n",
            machine(),
            load_average(),
            self.seconds / 60.0,
            self.rate,
            self.first,
            self.cpu / self.seconds,
            self.cpu * 1e6 / (self.rate * self.seconds),
            quantile(0.5),
            quantile(0.99),
            told.connections,
            told.rude,
            told.outages,
        );
        text += "| asked | answers by status |\n|---|---|\n";
        let mut kinds: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
        for ((kind, status), n) in &told.answers {
            kinds.entry(*kind).or_default().push(format!("{status}: {n}"));
        }
        for (kind, counts) in kinds {
            let _ = writeln!(text, "| {} | {} |", kind.word(), counts.join(", "));
        }
        text += "\n| minute | Pss, MiB | store's caches at most, MiB | threads | open files |\n|---|---|---|---|---|\n";
        let step = (self.samples.len() / 12).max(1);
        for sample in self.samples.iter().step_by(step) {
            let _ = writeln!(text, "{}", sample.row());
        }
        let log = &self.log;
        let _ = writeln!(
            text,
            "\n| what | found | |\n|---|---|---|\n\
             | memory over the last two thirds, fitted | {:.2} MiB, {:+.2} MiB; the store's caches grew by at most {:.2} MiB, the rest is {:+.1} % (at most {:.0} %) | {} |\n\
             | open files before and after the load | {}, {} | |\n\
             | answers and connections that are not stated | {} of {total} | |\n\
             | acknowledged exchanges that the log does not hold | {} of {} ({} entries in the log; {} accesses of which no answer was read) | |\n\
             | tokens, registrations and cancellations acknowledged; in the log | {}, {}; {}, {} | |\n\
             | `ward log verify` against the first checkpoint | {} | |\n",
            memory.mean,
            memory.growth,
            cache.growth,
            rest(&memory, &cache) * 100.0,
            GROWTH * 100.0,
            if rest(&memory, &cache) <= GROWTH { "flat" } else { "**grows**" },
            self.idle_files.0,
            self.idle_files.1,
            told.faulty,
            log.missing,
            told.acknowledged.len(),
            log.entries,
            log.unread,
            self.count(Kind::Token),
            self.count(Kind::Register) + self.count(Kind::Cancel),
            log.tokens,
            log.registrations,
            self.verified.lines().next().unwrap_or_default(),
        );
        for fault in &told.faults {
            let _ = writeln!(text, "* {fault}");
        }
        let verdict = if wrong.is_empty() { "All is well.".to_owned() } else { wrong.join("; ") };
        let _ = writeln!(text, "**{verdict}**");
        (text, wrong)
    }
}

//! What is measured, in which order.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use ward_community::KeySpec;

use crate::child::Server;
use crate::load::{self, Outcome, Phase, Target, get};
use crate::nginx::Nginx;
use crate::procfs::{Processes, load_average, machine};
use crate::report::{Pair, Report};
use crate::surroundings::{Client, Surroundings};
use crate::upstream::Upstream;
use crate::ward_child::Spec;
use crate::{Error, moment, say, signatures};

pub const CONNECTIONS: [usize; 3] = [1, 16, 64];

/// A directory that goes with the run.
pub struct Scratch(pub PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Everything that stands during a run.
pub struct World {
    surroundings: Surroundings,
    upstream: Server,
    about: Upstream,
    ward: Option<Server>,
    spec: PathBuf,
    target: Target,
    client: Client,
    client_id: String,
    dir: Scratch,
}

pub async fn free_port() -> Result<u16, Error> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}

/// Starts Ward; milliseconds until its first answer.
pub async fn start_ward(spec: &Path, target: &Target) -> Result<(Server, f64), Error> {
    let begun = moment();
    let server = Server::again(&["ward", &spec.display().to_string()])?;
    let request = get(target.port, "/default/fhir/metadata", None);
    loop {
        let told = match target.once(&request).await {
            Ok(answer) if answer.status == 200 => {
                return Ok((server, begun.elapsed().as_secs_f64() * 1e3));
            }
            Ok(answer) => format!("status {}", answer.status),
            Err(error) => error.to_string(),
        };
        if begun.elapsed() > Duration::from_secs(30) {
            return Err(format!("Ward did not answer within 30 s: {told}").into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl World {
    /// Raises everything; Ward is started once, so that its data directory exists.
    pub async fn raise() -> Result<Self, Error> {
        // Beside the build, not in /tmp, which may be memory: the log's volume shall be a disk.
        let dir = std::env::current_exe()?.with_file_name(format!("bench-{}", std::process::id()));
        let dir = Scratch(dir);
        fs::create_dir_all(&dir.0)?;
        let mut upstream = Server::again(&["upstream"])?;
        let about: Upstream = serde_json::from_str(&upstream.line()?)?;
        let port = free_port().await?;
        let surroundings = Surroundings::raise(&dir.0.join("community"), port).await?;
        let target = Target::new(port, &surroundings.tls_authority)?;
        let mut told = Spec {
            data: dir.0.join("ward").display().to_string(),
            port,
            upstream: about.base_url.clone(),
            lists: surroundings.lists_url.clone(),
            anchors: surroundings.anchors.clone(),
            identity: surroundings.identity.clone(),
            tls: surroundings.tls.clone(),
            patients: about.patients.clone(),
            rosters: vec![],
        };
        let spec = dir.0.join("spec.json");
        fs::create_dir_all(&told.data)?;
        fs::write(&spec, serde_json::to_vec(&told)?)?;
        let (ward, _) = start_ward(&spec, &target).await?;
        // The roster is imported once.
        told.patients.clear();
        fs::write(&spec, serde_json::to_vec(&told)?)?;
        let client = surroundings.client("bench", KeySpec::P256).await?;
        let client_id = client.register(&target).await?;
        Ok(Self {
            surroundings,
            upstream,
            about,
            ward: Some(ward),
            spec,
            target,
            client,
            client_id,
            dir,
        })
    }

    async fn token(&self) -> Result<String, Error> {
        self.client.token(&self.target, &self.client_id).await
    }

    fn reads(&self, port: u16, prefix: &str, token: Option<&str>) -> Arc<Vec<Vec<u8>>> {
        let path = |id: &String| get(port, &format!("{prefix}/Patient/{id}"), token);
        Arc::new(self.about.patients.iter().map(path).collect())
    }

    fn searches(&self, port: u16, prefix: &str, token: Option<&str>) -> Arc<Vec<Vec<u8>>> {
        let path = |query: &String| get(port, &format!("{prefix}/{query}"), token);
        Arc::new(self.about.searches.iter().map(path).collect())
    }

    fn ward(&self) -> Result<&Server, Error> {
        self.ward.as_ref().ok_or_else(|| "Ward does not run".into())
    }
}

/// Raises Ward and loads it with one kind of request, for a profiler: `hold reads|searches|tokens SECONDS CONNECTIONS`.
pub async fn hold(words: &[&str]) -> Result<(), Error> {
    let [kind, seconds, connections] = words else {
        return Err("hold reads|searches|tokens SECONDS CONNECTIONS".into());
    };
    let world = World::raise().await?;
    let token = world.token().await?;
    say(&format!("Ward is process {}", world.ward()?.pid()));
    let seconds: u64 = seconds.parse()?;
    let requests = match *kind {
        // Each is signed before and good once: so many that they last about as long.
        "tokens" => {
            let id = &world.client_id;
            let one = |_| world.client.token_request(world.target.port, id);
            Arc::new((0..seconds * 1500).map(one).collect::<Result<_, _>>()?)
        }
        "searches" => world.searches(world.target.port, "/default/fhir", Some(&token)),
        _ => world.reads(world.target.port, "/default/fhir", Some(&token)),
    };
    let (server, upstream) =
        (Processes::of(world.ward()?.pid())?, Processes::of(world.upstream.pid())?);
    let phase = Phase {
        target: &world.target,
        server: &server,
        upstream: &upstream,
        connections: connections.parse()?,
        warm: Duration::from_millis(500),
        time: Duration::from_secs(seconds),
        once: *kind == "tokens",
    };
    let outcome = load::run(&phase, requests, &[200]).await?;
    say(&format!("{:.0} requests/s, {:.1} µs CPU each", outcome.rate(), outcome.cpu_each()));
    Ok(())
}

/// The whole run; `--seconds S` a phase and round, `--rounds N`, `--out FILE`.
pub async fn all(words: &[&str]) -> Result<(), Error> {
    let option = |name: &str, default: &str| -> String {
        let at = words.iter().position(|word| *word == name);
        at.and_then(|at| words.get(at + 1)).map_or(default, |word| word).to_owned()
    };
    let time = Duration::from_secs_f64(option("--seconds", "3").parse()?);
    let rounds: usize = option("--rounds", "3").parse()?;
    let load_before = load_average();
    let mut world = World::raise().await?;
    let costs = signatures::measure()?;
    let fsync = fsync(&world.dir.0)?;

    // Start-up on a data directory that exists, and idle memory.
    let (mut starts, mut idle) = (vec![], f64::NAN);
    for _ in 0..5 {
        if let Some(ward) = world.ward.take() {
            ward.close()?;
        }
        let (ward, millis) = start_ward(&world.spec, &world.target).await?;
        starts.push(millis);
        tokio::time::sleep(Duration::from_secs(1)).await;
        idle = Processes::of(ward.pid())?.rss();
        world.ward = Some(ward);
    }
    starts.sort_by(f64::total_cmp);

    let nginx_port = free_port().await?;
    let nginx = Nginx::start(
        &world.dir.0.join("nginx"),
        nginx_port,
        &world.about.base_url,
        &world.surroundings.tls,
    )?;
    let plain = Target::new(nginx_port, &world.surroundings.tls_authority)?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let upstream = Processes::of(world.upstream.pid())?;
    let ward = Processes::of(world.ward()?.pid())?;
    let nginx_processes = Processes::of(nginx.pid())?;

    // The same answers from both, before anything is counted.
    let token = world.token().await?;
    let (mine, theirs) = (
        world.searches(world.target.port, "/default/fhir", Some(&token)),
        world.searches(nginx_port, "/fhir", None),
    );
    for (one, two) in mine.iter().zip(theirs.iter()) {
        for answer in [world.target.once(one).await?, plain.once(two).await?] {
            let json = answer.json()?;
            let entries = json.get("entry").and_then(|entry| entry.as_array()).map_or(0, Vec::len);
            if entries != 100 {
                return Err(format!(
                    "a search of 100 has {entries} entries: {}",
                    String::from_utf8_lossy(&answer.body)
                )
                .into());
            }
        }
    }
    let read = plain.once(theirs_read(&world, nginx_port).as_slice()).await?.body.len();
    let search = plain.once(theirs.first().ok_or("no searches")?).await?.body.len();

    let mut pairs = vec![];
    for (work, searches) in [("read", false), ("search", true)] {
        for connections in CONNECTIONS {
            let mut pair =
                Pair { work, connections, ward: Outcome::default(), nginx: Outcome::default() };
            for _ in 0..rounds {
                let token = world.token().await?;
                let warm = Duration::from_millis(500);
                for guarded in [false, true] {
                    let (target, server, prefix, token) = if guarded {
                        (&world.target, &ward, "/default/fhir", Some(token.as_str()))
                    } else {
                        (&plain, &nginx_processes, "/fhir", None)
                    };
                    let phase = Phase {
                        target,
                        server,
                        upstream: &upstream,
                        connections,
                        warm,
                        time,
                        once: false,
                    };
                    let requests = if searches {
                        world.searches(target.port, prefix, token)
                    } else {
                        world.reads(target.port, prefix, token)
                    };
                    let outcome = load::run(&phase, requests, &[200]).await?;
                    if guarded { pair.ward.add(outcome) } else { pair.nginx.add(outcome) }
                }
            }
            say(&pair.line());
            pairs.push(pair);
        }
    }

    // Tokens and registrations: each request is signed before and good once.
    let mut endpoints = vec![];
    for (alg, key) in [("ES256", KeySpec::P256), ("RS256", KeySpec::Rsa2048)] {
        let client =
            world.surroundings.client(&format!("bench-{}", alg.to_ascii_lowercase()), key).await?;
        let id = client.register(&world.target).await?;
        let port = world.target.port;
        let count = 1500;
        let tokens =
            (0..count).map(|_| client.token_request(port, &id)).collect::<Result<_, _>>()?;
        // Registrations of one client wait for each other, so there are as many clients as connections.
        let mut others = vec![];
        for n in 0..16 {
            others.push(world.surroundings.client(&format!("other-{alg}-{n}"), key).await?);
        }
        let registrations = others
            .iter()
            .cycle()
            .take(count)
            .map(|client| client.registration(port))
            .collect::<Result<_, _>>()?;
        for (what, requests, statuses) in
            [("token", tokens, &[200_u16][..]), ("registration", registrations, &[200, 201][..])]
        {
            let phase = Phase {
                target: &world.target,
                server: &ward,
                upstream: &upstream,
                connections: 16,
                warm: Duration::ZERO,
                time,
                once: true,
            };
            let outcome = load::run(&phase, Arc::new(requests), statuses).await?;
            say(&format!(
                "{what} {alg}: {:.0}/s, {:.0} µs CPU each",
                outcome.rate(),
                outcome.cpu_each()
            ));
            endpoints.push((what, alg, outcome));
        }
    }
    let fsync_after = self::fsync(&world.dir.0)?;
    let report = Report {
        machine: machine(),
        nginx: Nginx::version(),
        load: (load_before, load_average()),
        seconds: time.as_secs_f64() * rounds as f64,
        records: world.about.records,
        bytes: (read, search),
        fsync: [fsync, fsync_after],
        starts,
        idle,
        pairs,
        endpoints,
        costs,
    };
    let text = report.markdown();
    say(&text);
    let out = option("--out", "");
    if !out.is_empty() {
        fs::write(out, text)?;
    }
    if let Some(ward) = world.ward.take() {
        ward.close()?;
    }
    Ok(())
}

fn theirs_read(world: &World, port: u16) -> Vec<u8> {
    get(
        port,
        &format!("/fhir/Patient/{}", world.about.patients.first().map_or("", String::as_str)),
        None,
    )
}

/// Appends of 1 KiB, each made durable as the log does it: the median and p99 in microseconds.
fn fsync(dir: &Path) -> Result<(f64, f64), Error> {
    let path = dir.join("fsync");
    let mut file = File::create(&path)?;
    let mut micros = vec![];
    for _ in 0..400 {
        let begun = moment();
        file.write_all(&[7; 1024])?;
        file.sync_data()?;
        micros.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    fs::remove_file(path)?;
    micros.sort_by(f64::total_cmp);
    let at = |index: usize| micros.get(index).copied().unwrap_or(f64::NAN);
    Ok((at(200), at(396)))
}

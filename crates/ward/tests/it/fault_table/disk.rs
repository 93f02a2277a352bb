//! A volume that is full, and has room again: a small tmpfs under the log, and one under the store. Needs root, since
//! it mounts; `durability.rs` fills a disk by a file-size limit, without.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use ward_audit::{RealDisk, verify};

use super::*;
use crate::ops::{admin_listener, ask};

/// A small volume; unmounted when dropped.
struct Volume(PathBuf);

impl Volume {
    /// `None` where this process may not mount.
    fn mount(at: &Path, kib: u32) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k,mode=0700"), "tmpfs"])
            .arg(at)
            .output();
        mounted.is_ok_and(|said| said.status.success()).then(|| Self(at.to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Leaves no octet free.
    fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.ballast()).unwrap();
        let zeros = [0; 4096];
        while file.write_all(&zeros).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// A stage whose log or store lies on a volume of its own.
async fn stage_on(which: fn(&Paths) -> PathBuf, ceiling: u32) -> Option<(Stage, Volume)> {
    let mut volume = None;
    let limits = Limits { probe_age: Duration::ZERO, ..crate::bad_input::generous() };
    let prepare = |paths: &Paths| volume = Volume::mount(&which(paths), 8 * 1024);
    let stage = Stage::set_on(limits, ceiling, system().clock, prepare).await;
    if volume.is_none() {
        println!("SKIPPED: this process may not mount a tmpfs");
    }
    Some((stage, volume?))
}

/// Which parts `/readyz` calls broken.
async fn broken(to: std::net::SocketAddr) -> Vec<String> {
    let answer = ask(to, "GET", "/readyz", "", "").await;
    let report = answer.json();
    let parts = report["components"].as_object().unwrap();
    let bad = parts.iter().filter(|(_, part)| part["ok"] != Value::Bool(true));
    let bad: Vec<_> = bad.map(|(name, _)| name.clone()).collect();
    assert_eq!(answer.status, if bad.is_empty() { 200 } else { 503 }, "{report}");
    bad
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_volume_that_is_full_shuts_the_door_and_opens_it_again() {
    let Some((stage, volume)) = stage_on(Paths::log, 1000).await else { return };
    let world = &stage.world;
    let admin = admin_listener(world).await;
    let to = admin.local_addr();
    let rounds = 3;
    let (tally, own) = stage
        .beside(2, async {
            let mut own = Tally::default();
            for _ in 0..rounds {
                assert_eq!(broken(to).await, Vec::<String>::new());
                volume.fill();
                let mut shut = 0;
                for _ in 0..100_000 {
                    shut = if own.ask(world, &stage.good, &stage.token).await == 503 {
                        shut + 1
                    } else {
                        0
                    };
                    // The door stays shut.
                    if shut == 20 {
                        break;
                    }
                }
                assert_eq!(shut, 20, "a full log was not met");
                until("it says so", async || broken(to).await == ["log"]).await;
                volume.free();
                until("the door opens", async || {
                    let mut once = Tally::default();
                    once.ask(world, &stage.good, &stage.token).await == 200
                })
                .await;
            }
            own
        })
        .await;
    assert_eq!(broken(to).await, Vec::<String>::new());
    let mut all = own;
    all.add(tally);
    all.only(&[200, 503]);
    let log = logged(world);
    all.is_in(&log);
    let key = std::fs::read_to_string(world.house.paths.verifier_key()).unwrap();
    verify(&RealDisk::new(world.house.paths.log()), key.trim(), None).unwrap();
    println!(
        "log volume full: {rounds} times full and freed; {all}; {} events in the log, none missing",
        log.accesses.len()
    );
    drop((stage, volume));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_volume_that_is_full_stops_tokens_but_neither_reads_nor_containment() {
    let Some((stage, volume)) = stage_on(Paths::store, 5).await else { return };
    let token_of = async |world: &World, member: &Member, client: &str| {
        let words = world.words(ISS, client);
        let claims = world.assertion_claims(client);
        let assertion = crate::rows::jwt(&World::good_row(), &words, claims, member, member);
        let body = crate::rows::form(&World::token_form(&assertion));
        world.post(&world.token, "application/x-www-form-urlencoded", &body, &[]).await
    };
    let admin = admin_listener(&stage.world).await;
    let to = admin.local_addr();
    let world = &stage.world;
    volume.fill();
    let mut refused = 0;
    until("a full store refuses", async || {
        token_of(world, &stage.member, &stage.client).await.status == 503
    })
    .await;
    for _ in 0..5 {
        let answer = token_of(world, &stage.member, &stage.client).await;
        assert_eq!(answer.status, 503, "a token that the store does not know");
        assert!(answer.header("retry-after").is_some(), "it says when to come again");
        refused += 1;
    }
    until("it says so", async || broken(to).await == ["store"]).await;
    // Reads go on with the token that is there, recorded as ever.
    let mut tally = Tally::default();
    for _ in 0..10 {
        tally.ask(world, &stage.good, &stage.token).await;
    }
    tally.only(&[200]);
    tally.is_in(&logged(world));
    // And a scrape is stopped, though nothing of that can be written to the store.
    let base = world.path(&world.base);
    let mut seen = 0;
    let mut stopped = 0;
    for round in 0..6000 {
        let id = &stage.patients[round % stage.patients.len()];
        let status = world.get(&format!("{base}/Patient/{id}"), &stage.token).await.status;
        seen += usize::from(status == 200);
        if status == 401 {
            stopped = status;
            break;
        }
    }
    assert_eq!(stopped, 401, "a scrape went on while the store was full");
    volume.free();
    until("the store is well again", async || broken(to).await.is_empty()).await;
    // The hold outlives the fault; the officer sees the incident.
    let answer = token_of(world, &stage.member, &stage.client).await;
    assert_eq!((answer.status, answer.error().as_deref()), (400, Some("unauthorized_client")));
    let tenant = ward_core::TenantId::default_tenant();
    until("the incident is kept", async || {
        let incidents = world.house.repositories.incidents.list(&tenant, 10).await;
        incidents.is_ok_and(|list| list.iter().any(|incident| incident.held))
    })
    .await;
    println!(
        "store volume full: {refused} token requests answered 503; reads {tally}; a scrape stopped after {seen} records; back without a restart"
    );
    drop((stage, volume));
}

//! Thousands of connections that shake hands and say nothing, against a Ward of its own process.

use super::resident;
use crate::pki::Pki;
use crate::place::{Place, Serving, replaced, sandbox};

/// How many files this process may have open, after it has asked for `wanted`.
fn files(wanted: usize) -> usize {
    let soft = || {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
    };
    if soft() < wanted {
        // Other tests of this process have their files open, too.
        let pid = std::process::id().to_string();
        let _ = std::process::Command::new("prlimit")
            .args(["--pid", &pid, &format!("--nofile={wanted}:")])
            .output();
    }
    soft()
}

async fn idle(count: usize, places: usize) {
    let may = files(count + 2000);
    let count = if may < count + 1000 {
        println!(
            "SKIPPED: {count} connections: this process may have {may} files open; {} instead",
            may / 2
        );
        may / 2
    } else {
        count
    };
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = Place::init(&upstream.base_url);
    place.join(&mut pki);
    place.edit(|text| {
        let text = replaced(&text, "#connections = 4096", &format!("connections = {places}"));
        replaced(&text, "#header_timeout = \"10s\"", "header_timeout = \"1m\"")
    });
    let serving = Serving::start(&place).await;
    assert_eq!(place.discover().await.0, 200);
    let before = resident(serving.child.id());
    let mut crowd = Vec::with_capacity(count);
    let mut served = 0;
    for n in 0..count {
        crowd.push(place.connect().await.1);
        if n % (count / 10) == 0 {
            // An honest caller in the midst of it.
            assert_eq!(place.discover().await.0, 200, "with {n} idle connections");
            served += 1;
        }
    }
    let with = resident(serving.child.id());
    for _ in 0..10 {
        assert_eq!(place.discover().await.0, 200);
        served += 1;
    }
    let held = count.min(places);
    let each = with.saturating_sub(before) / u64::try_from(held).unwrap();
    println!(
        "{count} idle: {places} places; {served} honest callers served meanwhile; memory {before} KiB before, {with} KiB with {held} held, {each} KiB each"
    );
    assert!(each < 256, "{each} KiB for an idle connection");
    drop(crowd);
    assert_eq!(place.discover().await.0, 200);
    assert!(!serving.said().contains("panicked"), "{}", serving.said());
}

/// Four times as many as there are places.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_beyond_the_bound_keep_nobody_out() {
    idle(600, 150).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "just faults: ten thousand handshakes"]
async fn ten_thousand_idle_connections_with_the_shipped_bound() {
    idle(10_000, 4096).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "just faults: ten thousand handshakes"]
async fn ten_thousand_idle_connections_that_all_have_a_place() {
    idle(10_000, 12_000).await;
}

//! Crash and fail at every operation of the disk: nothing acknowledged is lost, log and outbox agree, and the log
//! comes back by itself.

use std::sync::{Arc, Mutex};

use ward_core::{Event, EventSink as _};

use super::{House, Store};
use crate::testing::{Fault, MemoryDisk, Survival};
use crate::{Log, Reader, verify};

/// What was acknowledged: the index of the first of these events.
type Acknowledged = Mutex<Vec<(u64, Vec<Event>)>>;

/// Concurrent records and state changes; ends when everything is done or refused. Returns the last checkpoint.
async fn work(
    house: &Arc<House>,
    log: &Arc<Log>,
    store: &Arc<Store>,
    acknowledged: &Arc<Acknowledged>,
) -> Option<String> {
    let mut tasks = Vec::new();
    for task in 0..3 {
        let (house, log, store) = (house.clone(), log.clone(), store.clone());
        let acknowledged = acknowledged.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..3 {
                let name = format!("{task}-{round}");
                let events: Vec<_> = (0..31).map(|n| house.event(&format!("{name}-{n}"))).collect();
                if let Ok(receipt) = log.record(events.clone()).await {
                    assert_eq!(receipt.count, 31);
                    acknowledged.lock().unwrap().push((receipt.first, events));
                }
                let seq = store.change(house.event(&format!("change-{name}")));
                let _ = log.settle(seq).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    log.checkpoint().await.ok()
}

/// Reopens what is left and holds it against what was acknowledged.
async fn hold(
    house: &House,
    disk: &MemoryDisk,
    store: &Arc<Store>,
    acknowledged: &Acknowledged,
    kept: Option<&str>,
    what: &str,
) {
    let log = house.open(disk).unwrap_or_else(|error| panic!("{what}: does not open: {error}"));
    log.attach_outbox(store.clone()).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(store.waiting(), 0, "{what}");
    let receipt = log.record(vec![house.event("after")]).await.unwrap();
    let key = log.verifier_key();
    log.close().await;
    let report = verify(disk, &key, kept).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(report.size, receipt.first + 1, "{what}");
    assert_eq!((report.signed, report.torn_bytes), (report.size, 0), "{what}");
    let reader = Reader::open(Arc::new(disk.clone()), Some(house.vault.clone())).unwrap();
    let acknowledged = acknowledged.lock().unwrap().clone();
    for (first, events) in &acknowledged {
        for (index, event) in (*first..).zip(events) {
            assert_eq!(&reader.event(index).await.unwrap().event, event, "{what}: entry {index}");
        }
    }
    let mut logged = Vec::new();
    for leaf in reader.leaves(0..u64::MAX) {
        let (index, leaf) = leaf.unwrap();
        if let Some(seq) = leaf.outbox {
            assert_eq!(seq, logged.len() as u64 + 1, "{what}: the outbox is logged once, in order");
            logged.push(reader.event(index).await.unwrap().event);
        }
    }
    assert_eq!(logged, store.changes(), "{what}: log and state agree");
}

async fn at_every_operation(fault: Fault, survivals: &[Survival]) {
    let mut n = 0;
    loop {
        n += 1;
        let disk = MemoryDisk::new();
        disk.fail_at(n, fault);
        let house = Arc::new(House::new(n));
        let store = Arc::new(Store::default());
        let acknowledged = Arc::new(Acknowledged::default());
        let mut kept = None;
        if let Ok(log) = house.open(&disk) {
            // A crash before the outbox is attached, too.
            let _ = log.attach_outbox(store.clone()).await;
            kept = work(&house, &log, &store, &acknowledged).await;
            log.close().await;
        }
        let reached = disk.operations() >= n;
        for survival in survivals {
            let survival = match survival {
                Survival::Some(seed) => Survival::Some(seed + n * 7),
                other => *other,
            };
            let what = format!("{fault:?} at operation {n}, {survival:?}");
            let twin = Arc::new(Store::default());
            *twin.mark.lock().unwrap() = store.mark.lock().unwrap().clone();
            *twin.changes.lock().unwrap() = store.changes();
            *twin.rows.lock().unwrap() = store.rows.lock().unwrap().clone();
            let after = disk.crash(survival);
            hold(&house, &after, &twin, &acknowledged, kept.as_deref(), &what).await;
        }
        if !reached {
            assert_eq!(
                acknowledged.lock().unwrap().len(),
                9,
                "without a fault all is acknowledged"
            );
            assert!(n > 60, "the workload has too few operations: {n}");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    let survivals = [
        Survival::Nothing,
        Survival::Everything,
        Survival::Some(1),
        Survival::Some(2),
        Survival::Some(3),
    ];
    at_every_operation(Fault::Crash, &survivals).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_of_any_operation_loses_nothing_acknowledged() {
    at_every_operation(Fault::Error, &[Survival::Everything, Survival::Nothing]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_during_recovery_is_recovered_from() {
    for n in 1..30 {
        let disk = MemoryDisk::new();
        let house = Arc::new(House::new(n));
        let (store, acknowledged) = (Arc::new(Store::default()), Arc::new(Acknowledged::default()));
        disk.fail_at(40, Fault::Crash);
        if let Ok(log) = house.open(&disk) {
            let _ = log.attach_outbox(store.clone()).await;
            let _ = work(&house, &log, &store, &acknowledged).await;
            log.close().await;
        }
        let second = disk.crash(Survival::Some(n));
        second.fail_at(n, Fault::Crash);
        if let Ok(log) = house.open(&second) {
            let _ = log.attach_outbox(store.clone()).await;
            log.close().await;
        }
        let third = second.crash(Survival::Some(n + 1));
        hold(&house, &third, &store, &acknowledged, None, &format!("twice, {n}")).await;
    }
}

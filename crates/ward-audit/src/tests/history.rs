//! The log read back for detection and response, while keys go, clocks step and the log grows (reviews 5, 6, 7).

use std::sync::atomic::Ordering;
use std::time::Duration;

use ward_core::{Clock as _, EventBody, EventKind, EventSink as _, History as _, KeyPurpose};
use ward_core::{KeyVault as _, TenantId, Wants};

use super::House;
use crate::LogHistory;
use crate::testing::MemoryDisk;

const ALL: Wants = |_| true;

#[tokio::test]
async fn events_whose_key_was_destroyed_or_does_not_fit_come_with_an_empty_body() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    let yesterday = house.clock.now().day();
    log.record(vec![house.event("yesterday")]).await.unwrap();
    house.clock.advance(Duration::from_hours(24));
    log.record(vec![house.event("today")]).await.unwrap();
    let history = LogHistory::new(log.clone());
    let tenant = TenantId::default_tenant();
    house.vault.destroy(&tenant, KeyPurpose::LogBody(yesterday)).await.unwrap();
    let batch = history.read(0, 10, ALL).await.unwrap();
    assert_eq!((batch.events.len(), batch.next), (2, 2));
    assert_eq!(batch.events[0].event.body, EventBody::default());
    assert_eq!(batch.events[0].event.action, "released");
    assert_eq!(batch.events[1].event.body.detail["name"], "today");
    // Another vault's keys: an alarm, and the event all the same.
    house.vault.swapped.store(true, Ordering::SeqCst);
    let batch = history.read(0, 10, ALL).await.unwrap();
    assert_eq!(batch.events.len(), 2);
    assert_eq!(batch.events[1].event.body, EventBody::default());
    house.vault.swapped.store(false, Ordering::SeqCst);
    // A vault that cannot be reached is no reason to go on without the body.
    house.vault.down.store(true, Ordering::SeqCst);
    assert!(history.read(0, 10, ALL).await.is_err());
    house.vault.down.store(false, Ordering::SeqCst);
    assert_eq!(
        history.read(1, 10, ALL).await.unwrap().events[0].event.body.detail["name"],
        "today"
    );
    log.close().await;
}

#[tokio::test]
async fn a_past_with_a_clock_that_was_set_back_is_read_whole() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    let began = house.clock.now();
    let many = |n| (0..n).map(|k: u64| house.event(&k.to_string())).collect::<Vec<_>>();
    log.record(many(1500)).await.unwrap();
    house.clock.advance(Duration::from_hours(1));
    let since = house.clock.now();
    // 1500 .. 1525 within the window, one read dated 90 seconds back, and the clock forward again.
    log.record(many(25)).await.unwrap();
    house.clock.set_back(Duration::from_secs(90));
    log.record(many(1)).await.unwrap();
    log.close().await;
    for (since, first) in [
        (began, 0),
        (began.plus(Duration::from_millis(1)), 1500),
        (since, 1500),
        (since.plus(Duration::from_millis(1)), 1526),
    ] {
        let log = house.open(&disk).unwrap();
        let history = LogHistory::new(log.clone());
        assert_eq!(history.first_since(since).await.unwrap(), first, "{since:?}");
        log.close().await;
    }
    // The clock a minute back, and more than a block written so: all of it is later than what stands before.
    let log = house.open(&disk).unwrap();
    log.record(many(3000)).await.unwrap();
    log.close().await;
    let log = house.open(&disk).unwrap();
    assert_eq!(LogHistory::new(log.clone()).first_since(since).await.unwrap(), 1500);
    log.close().await;
}

#[tokio::test]
async fn a_long_log_is_read_in_bounded_batches_and_only_what_is_wanted_is_opened() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    for n in 0..40_u64 {
        let mut events: Vec<_> = (0..250).map(|k: u64| house.event(&format!("{n}-{k}"))).collect();
        events[7].kind = EventKind::Finding;
        log.record(events).await.unwrap();
    }
    let history = LogHistory::new(log.clone());
    let asked = house.vault.asked.load(Ordering::SeqCst);
    let (mut from, mut found, mut rounds) = (0, vec![], 0);
    loop {
        let batch = history.read(from, 5, |kind| kind == EventKind::Finding).await.unwrap();
        assert!(batch.events.len() <= 5);
        if batch.next == from {
            break;
        }
        found.extend(batch.events.iter().map(|recorded| recorded.index));
        (from, rounds) = (batch.next, rounds + 1);
    }
    assert_eq!(found, (0..40).map(|n| n * 250 + 7).collect::<Vec<u64>>());
    assert_eq!(house.vault.asked.load(Ordering::SeqCst) - asked, 40, "bodies of findings only");
    assert!(rounds <= 10, "{rounds}");
    let batch = history.read(100, 256, ALL).await.unwrap();
    assert_eq!((batch.events.len(), batch.next), (256, 356));
    assert_eq!(history.read(u64::MAX, 256, ALL).await.unwrap().next, u64::MAX);
    log.close().await;
}

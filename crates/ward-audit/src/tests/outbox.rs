//! The store's outbox and the log (rule 4): each state change is logged once, whoever waits, fails or hangs up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ward_core::{EventSink as _, OutboxSeq, SinkError};

use super::{House, Store};
use crate::testing::MemoryDisk;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_settles_share_drains_and_log_each_row_once() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    let store = Arc::new(Store::default());
    assert!(matches!(log.settle(OutboxSeq(1)).await, Err(SinkError::Outbox(_))), "none attached");
    log.attach_outbox(store.clone()).await.unwrap();
    let seqs: Vec<_> = (0..200).map(|n| store.change(house.event(&n.to_string()))).collect();
    let tasks: Vec<_> = seqs
        .into_iter()
        .map(|seq| {
            let log = log.clone();
            tokio::spawn(async move { log.settle(seq).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!((log.size(), store.waiting()), (200, 0));
    let reads = store.reads.load(Ordering::SeqCst);
    assert!(reads <= 10, "{reads} reads of the outbox for 200 settles");
    assert!(matches!(log.settle(OutboxSeq(201)).await, Err(SinkError::Outbox(_))), "not there");
    log.close().await;
}

#[tokio::test]
async fn rows_that_nobody_waits_for_any_more_are_taken_along() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    let store = Arc::new(Store::default());
    log.attach_outbox(store.clone()).await.unwrap();
    disk.set_capacity(Some(disk.used()));
    let seq = store.change(house.event("change"));
    assert!(matches!(log.settle(seq).await, Err(SinkError::Unwritable(_))));
    disk.set_capacity(None);
    // An ordinary record, not the settle, brings the row into the log.
    let receipt = log.record(vec![house.event("read")]).await.unwrap();
    assert_eq!((receipt.first, store.waiting()), (1, 0));
    log.settle(seq).await.unwrap();
    // The store fails to mark its rows: they are logged once all the same, also over a restart.
    store.forgets_to_drain.store(true, Ordering::SeqCst);
    let seq = store.change(house.event("second"));
    log.settle(seq).await.unwrap();
    log.close().await;
    assert_eq!(store.waiting(), 1);
    store.forgets_to_drain.store(false, Ordering::SeqCst);
    let log = house.open(&disk).unwrap();
    assert_eq!(log.outbox_high(), seq);
    log.attach_outbox(store.clone()).await.unwrap();
    assert_eq!((log.size(), store.waiting()), (3, 0));
    log.close().await;
}

#[tokio::test]
async fn a_caller_that_goes_away_while_its_row_is_written_does_not_double_it() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    let store = Arc::new(Store::default());
    log.attach_outbox(store.clone()).await.unwrap();
    for n in 0..100 {
        let seq = store.change(house.event(&n.to_string()));
        tokio::select! {
            biased;
            settled = log.settle(seq) => settled.unwrap(),
            () = std::future::ready(()) => {} // the caller hangs up with the row in the queue
        }
        log.settle(seq).await.unwrap();
    }
    assert_eq!((log.size(), store.waiting()), (100, 0));
    log.close().await;
    let told = house.told.0.lock().unwrap();
    assert!(told.iter().map(|t| &t.event).eq(&store.changes()));
}

#[tokio::test]
async fn what_does_not_fit_into_a_leaf_is_refused_but_a_state_change_is_logged_in_short() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    let mut large = house.event("large");
    large.action = "x".repeat(2048).into();
    assert_eq!(log.record(vec![large.clone()]).await, Err(SinkError::TooLarge(2048)));
    let mut heavy = house.event("heavy");
    heavy.body.detail.insert("reason".into(), "y".repeat(2 * 1024 * 1024));
    assert!(matches!(log.record(vec![heavy]).await, Err(SinkError::TooLarge(_))));
    assert_eq!(log.size(), 0);
    let store = Arc::new(Store::default());
    log.attach_outbox(store.clone()).await.unwrap();
    let seq = store.change(large.clone());
    log.settle(seq).await.unwrap();
    let logged = log.reader().unwrap().event(0).await.unwrap().event;
    assert_eq!((logged.kind, logged.correlation), (large.kind, large.correlation));
    assert_eq!(logged.action, "too-large");
    log.close().await;
}

#[tokio::test]
async fn a_store_older_than_the_log_is_refused_with_the_way_out() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    let (store, older) = (Arc::new(Store::default()), Arc::new(Store::default()));
    log.attach_outbox(store.clone()).await.unwrap();
    for n in 0..3 {
        let seq = store.change(house.event(&n.to_string()));
        log.settle(seq).await.unwrap();
    }
    log.close().await;
    let log = house.open(&disk).unwrap();
    let _ = older.change(house.event("0"));
    let refused = log.attach_outbox(older.clone()).await.unwrap_err();
    assert_eq!(refused, SinkError::StoreBehind { store: 1, log: 3 });
    assert!(refused.to_string().contains("ward restore"), "{refused}");
    // It is not attached: nothing of it is taken for logged.
    assert!(matches!(log.settle(OutboxSeq(4)).await, Err(SinkError::Outbox(_))));
    log.attach_outbox(store).await.unwrap();
    log.close().await;
}

/// The attacker's cases: `rm -rf log`, and the log put back to an earlier state of its own with its own history.
#[tokio::test]
async fn a_log_that_lacks_what_the_store_knows_is_refused_with_the_way_out() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    let store = Arc::new(Store::default());
    log.attach_outbox(store.clone()).await.unwrap();
    let seq = store.change(house.event("first"));
    log.settle(seq).await.unwrap();
    log.close().await;
    let early = disk.copy();
    let log = house.open(&disk).unwrap();
    log.attach_outbox(store.clone()).await.unwrap();
    log.record(vec![house.event("read")]).await.unwrap();
    log.close().await;
    let read = disk.copy();
    let log = house.open(&disk).unwrap();
    log.attach_outbox(store.clone()).await.unwrap();
    let seq = store.change(house.event("second"));
    log.settle(seq).await.unwrap();
    log.close().await;
    let other = MemoryDisk::new();
    let log = house.open(&other).unwrap();
    let twin = Arc::new(Store::default());
    log.attach_outbox(twin.clone()).await.unwrap();
    for name in ["x", "y", "z"] {
        let seq = twin.change(house.event(name));
        log.settle(seq).await.unwrap();
    }
    log.close().await;
    twin.mark.lock().unwrap().signed = store.mark.lock().unwrap().signed.clone();
    let cases = [
        ("deleted", MemoryDisk::new(), &store, "up to 2, and has them up to 0"),
        ("put back", early.clone(), &store, "up to 2, and has them up to 1"),
        ("put back, reads only", read, &store, "up to 2, and has them up to 1"),
        ("another of its own", other, &twin, "first 3 entries are not those"),
    ];
    for (what, disk, store, why) in cases {
        let log = house.open(&disk).unwrap();
        let refused = log.attach_outbox(store.clone()).await.unwrap_err();
        assert!(matches!(refused, SinkError::LogBehind(_)), "{what}: {refused}");
        let said = refused.to_string();
        assert!(said.contains(why) && said.contains("ward restore"), "{what}: {said}");
        assert!(matches!(log.settle(OutboxSeq(9)).await, Err(SinkError::Outbox(_))), "{what}");
        log.close().await;
    }
    // Only reads were cut off: the signed size tells.
    store.mark.lock().unwrap().drained = 1;
    let log = house.open(&early).unwrap();
    let refused = log.attach_outbox(store.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("3 of its entries were signed, and it has 1"), "{refused}");
    log.close().await;
    let log = house.open(&disk).unwrap();
    log.attach_outbox(store).await.unwrap();
    log.close().await;
}

#[tokio::test]
async fn rows_that_were_taken_away_are_told_and_hold_up_nobody() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let seldom = crate::writer::Tuning {
        checkpoint_every: std::time::Duration::from_hours(1),
        ..super::EAGER
    };
    let options = house.options(Arc::new(disk.clone()));
    let log = crate::Log::open_tuned(options, seldom).unwrap();
    let store = Arc::new(Store::default());
    log.attach_outbox(store.clone()).await.unwrap();
    let seqs: Vec<_> = (0..5).map(|n| store.change(house.event(&n.to_string()))).collect();
    store.rows.lock().unwrap().retain(|row| ![2, 3].contains(&row.seq.0));
    log.settle(seqs[4]).await.unwrap();
    // Also where the gap is not signed yet when the next start checks the places.
    let log = house.open(&disk.crash(crate::testing::Survival::Everything)).unwrap();
    let reader = log.reader().unwrap();
    let logged: Vec<_> = reader
        .leaves(0..9)
        .map(|leaf| leaf.unwrap().1)
        .map(|leaf| (leaf.outbox.unwrap(), leaf.action))
        .collect();
    let want = [(1, "released"), (3, "outbox-gap"), (4, "released"), (5, "released")];
    assert_eq!(logged, want.map(|(place, action)| (place, action.to_owned())));
    assert_eq!(reader.event(1).await.unwrap().event.body.detail["first"], "2");
    log.close().await;
}

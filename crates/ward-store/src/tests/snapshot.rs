//! Copies of the store made beside running work.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ward_core::{EventKind, OutboxSeq};
use ward_policy::Subject;

use super::House;
use crate::{StoreError, check_snapshot};

/// Waits until the load has written more.
async fn goes_on(seen: &mut tokio::sync::watch::Receiver<OutboxSeq>, before: OutboxSeq) {
    let more = seen.wait_for(|seen| *seen > before);
    let more = tokio::time::timeout(std::time::Duration::from_mins(2), more).await;
    more.expect("the load went on").expect("the load runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_under_load_is_one_moment_of_the_store() {
    let house = House::new();
    let store = house.try_open(&house.dir()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let subject = Subject::Client(house.world.client());
    let (seen, mut seen_here) = tokio::sync::watch::channel(OutboxSeq(0));
    let load = tokio::spawn({
        let (store, stop, subject) = (store.clone(), stop.clone(), subject.clone());
        let tenant = house.world.tenant.clone();
        let event = house.world.event(EventKind::Revocation, "bumped");
        async move {
            let epochs = store.repositories().epochs;
            while !stop.load(Ordering::SeqCst) {
                let subjects = std::slice::from_ref(&subject);
                let seq = epochs.bump(&tenant, subjects, event.clone()).await.unwrap();
                let _ = seen.send_replace(seq);
            }
        }
    });
    let mut before = OutboxSeq(0);
    for n in 0..5 {
        goes_on(&mut seen_here, before).await;
        let to = house.scratch.path(&format!("copy-{n}.db"));
        let copy = store.snapshot(&to).await.unwrap();
        assert!(copy.highest > before, "{copy:?}");
        assert_eq!((copy.pending, copy.first_pending), (copy.highest.0, copy.highest.0.min(1)));
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        // The epoch and its outbox rows are of the same moment.
        let db = rusqlite::Connection::open(&to).unwrap();
        let epoch: i64 = db
            .query_row("SELECT coalesce(max(epoch), 0) FROM epochs", [], |row| row.get(0))
            .unwrap();
        assert_eq!(epoch.cast_unsigned(), copy.highest.0);
        before = copy.highest;
        let again = store.snapshot(&to).await.unwrap_err();
        assert!(matches!(again, StoreError::Io { .. }), "never over a file: {again}");
    }
    goes_on(&mut seen_here, before).await;
    stop.store(true, Ordering::SeqCst);
    load.await.unwrap();
    // A copy is a store: it opens and goes on.
    let elsewhere = house.scratch.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o700)).unwrap();
    fs::copy(house.scratch.path("copy-4.db"), elsewhere.join("ward.db")).unwrap();
    let copy = house.try_open(&elsewhere).unwrap();
    let event = house.world.event(EventKind::Revocation, "bumped");
    let bump = copy.repositories().epochs;
    let seq = bump.bump(&house.world.tenant, &[subject], event).await.unwrap();
    assert_eq!(seq.0, before.0 + 1);
}

#[tokio::test]
async fn a_damaged_copy_or_another_program_s_file_is_refused() {
    let house = House::new();
    let store = house.try_open(&house.dir()).unwrap();
    let to = house.scratch.path("copy.db");
    store.snapshot(&to).await.unwrap();
    let good = fs::read(&to).unwrap();
    assert_eq!(check_snapshot(&to).unwrap().highest, OutboxSeq(0));
    fs::write(&to, &good[..good.len() / 2]).unwrap();
    assert!(check_snapshot(&to).is_err());
    fs::write(&to, b"another program's file").unwrap();
    assert!(check_snapshot(&to).is_err());
    fs::write(&to, b"").unwrap();
    assert!(matches!(check_snapshot(&to), Err(StoreError::Schema(_))));
}

//! A part of the log from its beginning, for backups.

use std::sync::Arc;

use ward_core::{EventSink as _, OutboxSeq};

use super::{EAGER, House, Store};
use crate::disk::Disk;
use crate::testing::MemoryDisk;
use crate::{Log, Prefix, prefix, verify};

/// Another disk with what the prefix says.
fn copied(from: &MemoryDisk, part: &Prefix) -> MemoryDisk {
    let to = MemoryDisk::new();
    to.create_dir("segments").unwrap();
    for (path, octets) in &part.segments {
        let bytes = from.read(path).unwrap().unwrap();
        to.write(path, &bytes[..usize::try_from(*octets).unwrap()]).unwrap();
    }
    to.write("checkpoints", part.history.as_bytes()).unwrap();
    to.write("checkpoint", part.checkpoint.as_bytes()).unwrap();
    to
}

#[tokio::test]
async fn a_prefix_ends_before_what_the_store_does_not_know_and_is_a_log_by_itself() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    let store = Arc::new(Store::default());
    log.attach_outbox(store.clone()).await.unwrap();
    let mut kept = Vec::new();
    // Entries 3n and 3n+1 are reads, 3n+2 is the state change n+1; several segments.
    for n in 0..60 {
        for name in ["a", "b"] {
            let _ = log.record(vec![house.event(&format!("{name}{n}"))]).await.unwrap();
        }
        let seq = store.change(house.event(&format!("change {n}")));
        log.settle(seq).await.unwrap();
        if n % 20 == 0 {
            kept.push(log.checkpoint().await.unwrap());
        }
    }
    let key = log.verifier_key();
    for upto in 0..=60_u64 {
        let part = prefix(&disk, &key, log.size(), OutboxSeq(upto)).unwrap();
        // The reads before the first change that is unknown are part of it.
        let size = if upto == 60 { 180 } else { upto * 3 + 2 };
        assert_eq!((part.size, part.outbox_high), (size, upto));
        assert!(part.signed <= part.size);
        let copy = copied(&disk, &part);
        let report = verify(&copy, &key, Some(&part.checkpoint)).unwrap();
        assert_eq!((report.size, report.outbox_high, report.signed), (size, upto, part.signed));
        for old in &kept {
            let covers = old.lines().nth(1).unwrap().parse::<u64>().unwrap() <= size;
            assert_eq!(verify(&copy, &key, Some(old)).is_ok(), covers, "{upto}");
        }
        if upto % 10 == 7 {
            let again = Log::open_tuned(house.options(Arc::new(copy.clone())), EAGER).unwrap();
            assert_eq!((again.size(), again.outbox_high()), (size, OutboxSeq(upto)));
            let _ = again.record(vec![house.event("after")]).await.unwrap();
            again.close().await;
            assert_eq!(verify(&copy, &key, Some(&part.checkpoint)).unwrap().size, size + 1);
        }
    }
    // What is not durable yet is left out, what is missing is told.
    assert_eq!(prefix(&disk, &key, 7, OutboxSeq(60)).unwrap().size, 7);
    assert!(prefix(&disk, &key, 181, OutboxSeq(60)).is_err());
    log.close().await;
}

//! Whoever can write to the log's directory while Ward is down gets nothing signed (review 3).

use std::sync::Arc;
use std::time::Duration;

use ward_core::EventSink as _;

use super::{EAGER, House, Store, signing_key, written};
use crate::format::{Frame, SEGMENT_HEAD, segment_path};
use crate::leaf::open as open_body;
use crate::segments::frames;
use crate::testing::{MemoryDisk, Survival};
use crate::writer::Tuning;
use crate::{Leaf, Log, LogError, Reader, verify};

/// A log that was killed with entries that no checkpoint covers: `read`, a state change, `read`.
async fn killed(house: &House) -> (MemoryDisk, String) {
    let disk = MemoryDisk::new();
    let seldom = Tuning { checkpoint_every: Duration::from_hours(1), ..EAGER };
    let log = Log::open_tuned(house.options(Arc::new(disk.clone())), seldom).unwrap();
    let store = Arc::new(Store::default());
    log.attach_outbox(store.clone()).await.unwrap();
    log.record(vec![house.event("a")]).await.unwrap();
    let seq = store.change(house.event("change"));
    log.settle(seq).await.unwrap();
    log.record(vec![house.event("b")]).await.unwrap();
    (disk.crash(Survival::Everything), log.verifier_key())
}

type Forge = fn(&mut Leaf, &mut Frame<'_>);

fn parts(bytes: &[u8], index: usize) -> (Leaf, Vec<u8>) {
    let frame = frames(bytes).nth(index).unwrap();
    (Leaf::parse(frame.leaf).unwrap(), frame.sealed.to_vec())
}

#[tokio::test]
async fn frames_that_somebody_else_wrote_are_refused_and_left_as_they_are() {
    let house = House::new(1);
    let (disk, key) = killed(&house).await;
    let path = segment_path(0);
    let mut good = disk.files()[&path].clone();
    good.truncate(written(&good));
    let own = signing_key();
    let cases: [(&str, usize, bool, Forge); 5] = [
        ("an access made a finding", 2, false, |leaf, _| {
            leaf.kind = ward_core::EventKind::Finding;
        }),
        ("a body that is another's", 2, false, |leaf, _| leaf.body = "0".repeat(64)),
        ("an entry repeated", 2, false, |_, _| ()),
        // As if the attacker had the key, too: numbers are checked all the same.
        ("the last place of all outboxes", 1, true, |leaf, _| leaf.outbox = Some(u64::MAX)),
        ("a place that leaves others out", 1, true, |leaf, _| leaf.outbox = Some(3)),
    ];
    for (what, from, tagged, forge) in cases {
        let disk = disk.crash(Survival::Everything);
        let (mut leaf, sealed) = parts(&good, from);
        let was = frames(&good).nth(from).unwrap().tag;
        let mut bytes = good.clone();
        let mut frame = Frame { index: 3, durable: 3, leaf: b"", sealed: &sealed, tag: was };
        forge(&mut leaf, &mut frame);
        let leaf = serde_json::to_vec(&leaf).unwrap();
        frame.leaf = &leaf;
        if tagged {
            frame.tag = frame.tag_under(&own);
        }
        frame.write(&mut bytes);
        disk.plant(&path, bytes);
        let before = disk.files();
        let refused = house.open(&disk).err().unwrap_or_else(|| panic!("{what}: signed"));
        let LogError::NotAuthentic { entry, segment, keep, .. } = &refused else {
            panic!("{what}: {refused}")
        };
        assert_eq!((*entry, segment, *keep), (3, &path, good.len() as u64), "{what}");
        let said = refused.to_string();
        assert!(said.contains("entry 3") && said.contains("truncate -s"), "{said}");
        assert_eq!(disk.files(), before, "{what}: it is left as it is");
        // Without the key the tag cannot be checked, the numbers can.
        assert_eq!(verify(&disk, &key, None).is_err(), tagged, "{what}");
        assert_eq!(Reader::open(Arc::new(disk.clone()), None).unwrap().size(), 4);
        // The way out that the message names.
        disk.plant(&path, before[&path][..usize::try_from(*keep).unwrap()].to_vec());
        let log = house.open(&disk).unwrap();
        assert_eq!(log.size(), 3, "{what}");
        log.close().await;
    }
    // What Ward wrote itself is continued and signed.
    let log = house.open(&disk.crash(Survival::Everything)).unwrap();
    assert!(log.checkpoint().await.unwrap().lines().nth(1) == Some("3"));
    log.close().await;
}

#[tokio::test]
async fn a_body_opens_beside_its_own_header_only() {
    let house = House::new(1);
    let (disk, _) = killed(&house).await;
    let bytes = disk.files()[&segment_path(0)].clone();
    assert!(bytes.len() > SEGMENT_HEAD);
    let (leaf, sealed) = parts(&bytes, 0);
    let (day, id) = crate::leaf::key_of(&sealed).unwrap();
    let purpose = ward_core::KeyPurpose::LogBody(day);
    let key = ward_core::KeyVault::by_id(&*house.vault, &leaf.tenant, purpose, id).await.unwrap();
    assert!(open_body(&leaf, &sealed, &key).is_some());
    let changes: [fn(&mut Leaf); 5] = [
        |leaf| leaf.kind = ward_core::EventKind::Finding,
        |leaf| leaf.at = leaf.at.plus(Duration::from_millis(1)),
        |leaf| leaf.outbox = Some(9),
        |leaf| leaf.action = "other".into(),
        |leaf| leaf.actor.operator = Some("mallory".into()),
    ];
    for change in changes {
        let mut altered = leaf.clone();
        change(&mut altered);
        assert!(open_body(&altered, &sealed, &key).is_none(), "{altered:?}");
    }
}

//! The log in use: order, group commit, full disks, destroyed keys, bounds, the outbox, other people's tools.

use std::sync::Arc;

use ward_core::{
    ClientId, EventBody, EventKind, EventSink as _, GrantId, KeyPurpose, KeyVault as _, Purpose,
    SinkError, TenantId, Transfer,
};

use super::{EAGER, House, ORIGIN};
use crate::disk::{Disk as _, RealDisk};
use crate::testing::{Fault, MemoryDisk, Survival};
use crate::{
    BodyError, Checkpoint, Log, LogError, Place, Reader, Tampered, VerifierKey, fhir_view,
    leaf_hash, verify,
};

#[tokio::test]
async fn what_is_recorded_is_read_back_proved_and_told_in_order() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    let mut events = Vec::new();
    for n in 0..60_u64 {
        let batch: Vec<_> = (0..5).map(|k| house.event(&format!("{n}-{k}"))).collect();
        let receipt = log.record(batch.clone()).await.unwrap();
        assert_eq!((receipt.first, receipt.count), (n * 5, 5));
        events.extend(batch);
    }
    assert_eq!(log.record(Vec::new()).await.unwrap().count, 0);
    let note = log.checkpoint().await.unwrap();
    assert_eq!(note, log.checkpoint().await.unwrap(), "nothing new, nothing signed");
    let key = VerifierKey::parse(&log.verifier_key()).unwrap();
    let said = Checkpoint::verify(&note, &key).unwrap();
    assert_eq!((said.origin.as_str(), said.size), (ORIGIN, 300));
    let reader = log.reader().unwrap();
    assert_eq!(reader.root(300).unwrap(), said.root);
    for index in [0, 1, 255, 256, 299] {
        let leaf = reader.leaf_bytes(index).unwrap();
        assert!(leaf.len() <= 2048);
        assert!(!String::from_utf8_lossy(&leaf).contains("Observation"), "no record ids in a leaf");
        let proof = reader.prove_inclusion(index, 300).unwrap();
        assert_eq!(proof.verify(&leaf_hash(&leaf), &said.root), Ok(()));
        let text = reader.tlog_proof(index).unwrap();
        assert!(text.starts_with(&format!("c2sp.org/tlog-proof@v1\nindex {index}\n")));
        assert!(text.ends_with(&note));
    }
    for first in [0, 1, 7, 256, 299, 300] {
        let proof = reader.prove_consistency(first, 300).unwrap();
        assert_eq!(proof.verify(&reader.root(first).unwrap(), &said.root), Ok(()), "{first}");
    }
    for (index, event) in (0..).zip(&events) {
        assert_eq!(&reader.event(index).await.unwrap().event, event);
    }
    assert!(matches!(reader.leaf(300), Err(LogError::NoEntry { index: 300, size: 300 })));
    assert!(reader.prove_inclusion(300, 301).is_err());
    log.close().await;
    assert!(matches!(log.record(vec![house.event("late")]).await, Err(SinkError::Unwritable(_))));
    let told = house.told.0.lock().unwrap();
    assert!(told.iter().map(|t| t.index).eq(0..300));
    assert!(told.iter().map(|t| &t.event).eq(&events));
}

#[tokio::test]
async fn other_peoples_tools_find_tiles_and_bundles() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    for _ in 0..30 {
        log.record((0..10).map(|n| house.event(&n.to_string())).collect()).await.unwrap();
    }
    log.close().await;
    let files = disk.files();
    let reader = Reader::open(Arc::new(disk.clone()), None).unwrap();
    assert_eq!(files["tile/0/000"].len(), 8192);
    assert!(files.keys().all(|path| !path.starts_with("tile/0/000.p")), "full, so not partial");
    assert_eq!(files["tile/0/001.p/44"].len(), 44 * 32);
    assert_eq!(files["tile/1/000.p/1"].len(), 32);
    let (mut rest, mut index) = (files["tile/entries/000"].as_slice(), 0);
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (leaf, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        assert_eq!(leaf, reader.leaf_bytes(index).unwrap());
        assert_eq!(
            leaf_hash(leaf),
            files["tile/0/000"][usize::try_from(index).unwrap() * 32..][..32]
        );
        (rest, index) = (after, index + 1);
    }
    assert_eq!(index, 256);
    // They can be lost, and altered, and come back.
    let want: Vec<_> = files.iter().filter(|(path, _)| path.starts_with("tile/")).collect();
    disk.steal("tile/0/000");
    let mut bad = files["tile/1/000.p/1"].clone();
    bad[3] ^= 1;
    disk.plant("tile/1/000.p/1", bad);
    house.open(&disk).unwrap().close().await;
    let now = disk.files();
    for (path, bytes) in want {
        if path != "tile/tmp" && !path.contains(".p/") {
            assert_eq!(now.get(path), Some(bytes), "{path}");
        }
    }
    assert_eq!(now["tile/1/000.p/1"], files["tile/1/000.p/1"]);
    assert!(verify(&disk, &log.verifier_key(), None).is_ok());
}

#[tokio::test]
async fn a_full_disk_shuts_the_door_until_space_is_freed() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    log.record(vec![house.event("before")]).await.unwrap();
    disk.set_capacity(Some(disk.used() + 300));
    for _ in 0..3 {
        // Larger than the room that may have been written ahead.
        let large = house.event("refused").with("large", "x".repeat(6_000));
        let refused = log.record(vec![large]).await.unwrap_err();
        let SinkError::Unwritable(why) = &refused else { panic!("{refused}") };
        assert!(why.contains("the disk is full"), "{why}");
        assert_eq!(log.healthy(), Err(why.clone()));
    }
    assert_eq!(log.size(), 1);
    disk.set_capacity(None);
    let receipt = log.record(vec![house.event("after")]).await.unwrap();
    assert_eq!(receipt.first, 1);
    assert_eq!(log.healthy(), Ok(()));
    log.close().await;
    let report = verify(&disk, &log.verifier_key(), None).unwrap();
    assert_eq!((report.size, report.signed, report.torn_bytes), (2, 2, 0));
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_written_until_the_log_is_opened_again() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    disk.fail_at(2, Fault::Error); // the append works, its sync does not
    assert!(log.record(vec![house.event("a")]).await.is_err());
    let SinkError::Unwritable(why) = log.record(vec![house.event("b")]).await.unwrap_err() else {
        panic!("refused for another reason")
    };
    assert!(why.contains("sync"), "{why}");
    log.close().await;
    let log = house.open(&disk).unwrap();
    log.record(vec![house.event("c")]).await.unwrap();
    log.close().await;
    let after = disk.crash(Survival::Nothing);
    assert!(verify(&after, &log.verifier_key(), None).is_ok());
}

#[tokio::test]
async fn a_destroyed_key_takes_the_body_and_leaves_the_leaf() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    log.record(vec![house.event("a")]).await.unwrap();
    house.clock.advance(std::time::Duration::from_hours(24));
    log.record(vec![house.event("b")]).await.unwrap();
    let note = log.checkpoint().await.unwrap();
    let reader = log.reader().unwrap();
    assert!(reader.body(0).await.is_ok());
    let day = reader.leaf(0).unwrap().at.day();
    house.vault.destroy(&TenantId::default_tenant(), KeyPurpose::LogBody(day)).await.unwrap();
    assert!(matches!(reader.body(0).await, Err(BodyError::Destroyed)));
    assert!(reader.body(1).await.is_ok());
    let closed = Reader::open(Arc::new(disk.clone()), None).unwrap();
    assert!(matches!(closed.body(1).await, Err(BodyError::NoKeys)));
    log.close().await;
    assert!(verify(&disk, &log.verifier_key(), Some(&note)).is_ok());
    let event = fhir_view::audit_event(&reader.leaf(0).unwrap(), None, 0, ORIGIN);
    assert_eq!(event["resourceType"], "AuditEvent");
}

#[tokio::test]
async fn an_idle_log_signs_its_last_entries_without_being_asked() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let tuning =
        crate::writer::Tuning { checkpoint_every: std::time::Duration::from_millis(50), ..EAGER };
    let log = Log::open_tuned(house.options(Arc::new(disk.clone())), tuning).unwrap();
    log.record(vec![house.event("a")]).await.unwrap();
    for _ in 0..6000 {
        let note = log.reader().unwrap().checkpoint().unwrap();
        if Checkpoint::parse_unverified(&note).unwrap().size == 1 {
            log.close().await;
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("no checkpoint within a minute");
}

#[tokio::test]
async fn a_real_directory_holds_a_log_and_one_writer() {
    let dir = std::env::temp_dir().join(format!("ward-audit-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let house = House::new(1);
    let open = || Log::open_tuned(house.options(Arc::new(RealDisk::new(&dir))), EAGER);
    let log = open().unwrap();
    assert!(matches!(open(), Err(LogError::Locked)));
    for n in 0..300 {
        log.record(vec![house.event(&n.to_string())]).await.unwrap();
    }
    let note = log.checkpoint().await.unwrap();
    log.close().await;
    let log = open().unwrap();
    assert_eq!(log.size(), 300);
    log.record(vec![house.event("more")]).await.unwrap();
    log.close().await;
    let disk = RealDisk::new(&dir);
    let key = log.verifier_key();
    assert_eq!(verify(&disk, &key, Some(&note)).unwrap().size, 301);
    assert!(disk.list("segments").unwrap().len() > 2);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &str| std::fs::metadata(dir.join(path)).unwrap().permissions().mode();
        assert_eq!(mode("checkpoint") & 0o777, 0o600);
        assert_eq!(mode("segments") & 0o777, 0o700);
    }
    let reader = Reader::open_dir(&dir, Some(house.vault.clone())).unwrap();
    assert_eq!(reader.event(300).await.unwrap().event.body.detail["name"], "more");
    // One octet of one entry.
    let path = dir.join("segments/00000000000000000000.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let want = Tampered { place: Place::Entry(0), what: "its bytes are altered" };
    for error in [verify(&disk, &key, None).unwrap_err(), open().err().unwrap()] {
        assert!(matches!(&error, LogError::Tampered(got) if *got == want), "{error}");
    }
    assert!(matches!(Reader::open_dir(&dir.join("none"), None), Err(LogError::Absent)));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn an_access_becomes_an_audit_event_in_the_balp_shape() {
    let house = House::new(1);
    let mut event = house.event("9");
    let client = ClientId::new(&*house.clock, &*house.rng);
    let grant = GrantId::new(&*house.clock, &*house.rng);
    (event.actor.client, event.actor.grant) = (Some(client), Some(grant));
    event.purposes = vec![Purpose::Treatment];
    event.body.policy = Some("ab".repeat(32));
    event.transfer = Some(Transfer {
        interaction: "read".into(),
        resource_type: "Observation".into(),
        status: 200,
        resources: 1,
        patients: 1,
        bytes: 77,
        window: None,
    });
    event.incident = Some(ward_core::IncidentId::new(&*house.clock, &*house.rng));
    event.actor.community = Some(ward_core::CommunityUri::parse("https://c.example").unwrap());
    let key = ward_core::DataKey { id: ward_core::KeyId(1), key: ward_core::Secret::new([1; 32]) };
    let leaf = |event: &ward_core::Event| {
        let entry = crate::leaf::seal(event, None, ORIGIN, 3, &key, &*house.rng).unwrap();
        let leaf = crate::Leaf::parse(&entry.leaf).unwrap();
        assert_eq!(serde_json::to_vec(&leaf).unwrap(), entry.leaf, "it has one spelling");
        assert_eq!(
            leaf.sealed,
            ward_core::crypto::hex(&ward_core::crypto::sha256(&[&entry.sealed]))
        );
        leaf
    };
    let view = fhir_view::audit_event(&leaf(&event), Some(&event.body), 4, ORIGIN);
    for (pointer, want) in [
        ("/type/code", "rest"),
        ("/subtype/0/code", "read"),
        ("/action", "R"),
        ("/outcome", "0"),
        ("/recorded", event.at.to_rfc3339().as_str()),
        ("/purposeOfEvent/0/coding/0/code", "TREAT"),
        ("/agent/0/who/identifier/value", &format!("urn:uuid:{client}")),
        ("/agent/0/policy/0", &format!("urn:uuid:{grant}")),
        ("/source/observer/display", ORIGIN),
        ("/entity/2/what/reference", "Observation/9/_history/1"),
        ("/entity/2/type/code", "Observation"),
        ("/entity/3/what/reference", "Patient/p1"),
        ("/entity/3/role/code", "1"),
    ] {
        assert_eq!(view.pointer(pointer).and_then(|v| v.as_str()), Some(want), "{pointer}");
    }
    event.body = EventBody::default();
    let denied = event.refused("ROSTER");
    let view = fhir_view::audit_event(&leaf(&denied), Some(&denied.body), 5, ORIGIN);
    assert_eq!(
        (&view["outcome"], &view["outcomeDesc"]),
        (&"4".into(), &"Refused by a rule: ROSTER".into())
    );
    assert!(!view.to_string().contains("Patient/"), "a denial names no patient");
    let mut other = denied;
    (other.kind, other.transfer) = (EventKind::Revocation, None);
    let view = fhir_view::audit_event(&leaf(&other), Some(&other.body), 6, ORIGIN);
    assert_eq!(view["subtype"][0]["code"], "revocation/released");
}

#[tokio::test]
async fn without_a_checkpoint_only_the_last_commit_can_pass_for_a_torn_write() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let seldom =
        || crate::writer::Tuning { checkpoint_every: std::time::Duration::from_hours(1), ..EAGER };
    let log = Log::open_tuned(house.options(Arc::new(disk.clone())), seldom()).unwrap();
    for n in 0..3 {
        log.record((0..2).map(|k| house.event(&format!("{n}-{k}"))).collect()).await.unwrap();
    }
    let files = disk.crash(Survival::Nothing).files();
    let path = crate::format::segment_path(0);
    let bytes = &files[&path];
    let mut starts = vec![crate::format::SEGMENT_HEAD];
    for frame in crate::segments::frames(bytes) {
        starts.push(starts.last().unwrap() + frame.octets());
    }
    for (entry, at) in (0_u64..).zip(&starts[..6]) {
        for part in [2, 20, 27, 40] {
            let after = disk.crash(Survival::Nothing);
            let mut altered = bytes.clone();
            altered[at + part] ^= 1;
            after.plant(&path, altered);
            let opened = house.open(&after);
            match (entry, opened) {
                (0..4, Err(LogError::Tampered(found))) => {
                    assert_eq!(found.place, Place::Entry(entry));
                }
                (4.., Ok(log)) => assert_eq!(log.size(), entry),
                (_, opened) => panic!("entry {entry}, octet {part}: {:?}", opened.err()),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_can_be_verified_and_read_while_it_is_written() {
    let (house, disk) = (Arc::new(House::new(1)), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    let writing = {
        let (log, house) = (log.clone(), house.clone());
        tokio::spawn(async move {
            for n in 0..150 {
                log.record((0..4).map(|k| house.event(&format!("{n}-{k}"))).collect())
                    .await
                    .unwrap();
            }
        })
    };
    let (key, mut rounds) = (log.verifier_key(), 0);
    while !writing.is_finished() || rounds == 0 {
        let (disk, key, reader) = (disk.clone(), key.clone(), log.reader().unwrap());
        tokio::task::spawn_blocking(move || verify(&disk, &key, None).unwrap()).await.unwrap();
        assert_eq!(reader.leaves(0..u64::MAX).filter(Result::is_err).count(), 0);
        rounds += 1;
    }
    writing.await.unwrap();
    log.close().await;
}

struct Broken;

impl ward_core::Bus for Broken {
    fn publish(&self, _: ward_core::Message) {
        panic!("the bus is broken (this panic belongs to the test)");
    }

    fn subscribe(&self) -> Box<dyn ward_core::Subscription> {
        Box::new(super::Deaf)
    }
}

#[tokio::test]
async fn nobody_waits_for_a_writer_that_is_gone() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let mut options = house.options(Arc::new(disk.clone()));
    options.bus = Arc::new(Broken);
    let log = Log::open(options).unwrap();
    log.record(vec![house.event("durable before the bus hears of it")]).await.unwrap();
    let wait = std::time::Duration::from_mins(1);
    let refused = tokio::time::timeout(wait, log.record(vec![house.event("late")])).await.unwrap();
    assert!(matches!(refused, Err(SinkError::Unwritable(_))));
    tokio::time::timeout(wait, log.close()).await.unwrap();
    assert!(log.healthy().is_err());
    assert_eq!(house.open(&disk).unwrap().size(), 1);
}

#[tokio::test]
async fn with_a_full_disk_the_log_starts_and_comes_back_when_there_is_space() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    log.record(vec![house.event("a")]).await.unwrap();
    let disk = disk.crash(Survival::Nothing);
    disk.set_capacity(Some(disk.used()));
    let log = house.open(&disk).unwrap();
    assert!(matches!(log.record(vec![house.event("b")]).await, Err(SinkError::Unwritable(_))));
    disk.set_capacity(None);
    assert_eq!(log.record(vec![house.event("b")]).await.unwrap().first, 1);
    log.close().await;
    assert_eq!(verify(&disk, &log.verifier_key(), None).unwrap().signed, 2);
}

/// The attacker's case: NTP steps the clock back under load, and what is not signed can be cut off unnoticed.
#[tokio::test]
async fn a_clock_that_was_set_back_does_not_put_off_checkpoints() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let tuning =
        crate::writer::Tuning { checkpoint_every: std::time::Duration::from_hours(1), ..EAGER };
    let log = Log::open_tuned(house.options(Arc::new(disk.clone())), tuning).unwrap();
    let signed = || {
        let note = log.reader().unwrap().checkpoint().unwrap();
        Checkpoint::parse_unverified(&note).unwrap().size
    };
    log.record(vec![house.event("a")]).await.unwrap();
    assert_eq!(signed(), 0, "not due");
    house.clock.set_back(std::time::Duration::from_secs(200));
    log.record(vec![house.event("b")]).await.unwrap();
    // Signed behind the answer.
    for _ in 0..6000 {
        if signed() >= 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(signed() >= 1, "signed again although the clock is behind");
    log.close().await;
}

/// The attacker's case: Ward is restarted while the log's volume is full, and stays down for good.
#[tokio::test]
async fn a_restart_on_a_full_disk_comes_up_refuses_and_recovers_by_itself() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let store = Arc::new(super::Store::default());
    let log = house.open(&disk).unwrap();
    assert!(log.wake(store.clone(), house.event("started")).await.unwrap().is_none());
    let before = store.change(house.event("change"));
    log.settle(before).await.unwrap();
    let _ = store.change(house.event("nobody waited for it"));
    let disk = disk.crash(Survival::Nothing);
    // The room behind the last frame is given back at the start.
    let segment = &disk.files()[&crate::format::segment_path(0)];
    disk.set_capacity(Some(disk.used() - segment.len() + super::written(segment)));
    let log = house.open(&disk).unwrap();
    let owed = log.wake(store.clone(), house.event("started again")).await.unwrap().unwrap();
    assert!(matches!(log.record(vec![house.event("read")]).await, Err(SinkError::Unwritable(_))));
    assert!(log.healthy().is_err());
    disk.set_capacity(None);
    tokio::time::timeout(std::time::Duration::from_mins(1), owed).await.unwrap().unwrap();
    assert_eq!((log.size(), store.waiting()), (4, 0));
    assert_eq!(
        log.reader().unwrap().event(3).await.unwrap().event.body.detail["name"],
        "started again"
    );
    log.close().await;
    // What must be refused is refused, not tried again.
    let log = house.open(&MemoryDisk::new()).unwrap();
    let refused = log.wake(store, house.event("started")).await.err().unwrap();
    assert!(matches!(refused, SinkError::LogBehind(_)), "{refused}");
    log.close().await;
}

#[tokio::test]
async fn nothing_is_sealed_before_there_is_room_for_it() {
    let (house, disk) = (House::new(1), MemoryDisk::new());
    let log = house.open(&disk).unwrap();
    let mut heavy = house.event("heavy");
    heavy.body.detail.insert("reason".into(), "y".repeat(900 * 1024));
    let estimate = crate::leaf::draft_octets(&heavy);
    let entry = log.seal(&heavy, None).await.unwrap();
    assert!(estimate.abs_diff(entry.sealed.len()) < 1024, "{estimate}");
    // All room is taken (log_queue is 64 places of 64 KiB): a caller waits with its draft unsealed.
    let room = log.shared.reserve(std::iter::once(63 * 64 * 1024)).await.unwrap();
    let asked = house.vault.asked.load(std::sync::atomic::Ordering::SeqCst);
    let wait = std::time::Duration::from_millis(50);
    let waiting = log.record(vec![heavy.clone()]);
    assert!(tokio::time::timeout(wait, waiting).await.is_err());
    assert_eq!(house.vault.asked.load(std::sync::atomic::Ordering::SeqCst), asked);
    drop(room);
    log.record(vec![heavy]).await.unwrap();
    log.close().await;
}

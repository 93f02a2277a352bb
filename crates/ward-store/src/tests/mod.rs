//! The repositories on SQLite: the common suite, and what only a store in files can get wrong.

mod hanging;
mod kill;
mod operators;
mod snapshot;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use ward_core::{EventKind, KeyPurpose, KeyVault, Limits, OutboxSeq, Purpose, Rng, SystemRng};
use ward_policy::{Roster, Subject};

use crate::suite::{self, World, row};
use crate::vault::{FileVault, Unlock, create_key_file};
use crate::{Expected, IncidentStatus, Repositories, Store, StoreError};

/// A directory of its own that goes with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ward-store-{}-{count}-{:x}", std::process::id(), SystemRng.next_u64());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct House {
    scratch: Scratch,
    world: World,
    vault: Arc<FileVault>,
}

impl House {
    fn new() -> Self {
        let scratch = Scratch::new();
        create_key_file(&scratch.path("root.key"), &SystemRng).unwrap();
        Self::at(scratch)
    }

    /// The house in a directory that has its key file.
    fn at(scratch: Scratch) -> Self {
        let unlock = Unlock::KeyFile(scratch.path("root.key"));
        let vault = FileVault::open(&scratch.path("vault"), &unlock, Arc::new(SystemRng)).unwrap();
        Self { scratch, world: World::new(), vault }
    }

    fn dir(&self) -> PathBuf {
        self.scratch.path("store")
    }

    fn try_open(&self, dir: &Path) -> Result<Arc<Store>, StoreError> {
        let (vault, clock) = (self.vault.clone(), self.world.clock.clone());
        Store::open(dir, vault, clock, Arc::new(SystemRng), &Limits::default())
    }

    fn open(&self) -> Repositories {
        self.try_open(&self.dir()).unwrap().repositories()
    }

    /// Another program's hand in the database.
    fn meddle(&self, sql: &str) {
        Connection::open(self.dir().join("ward.db")).unwrap().execute_batch(sql).unwrap();
    }
}

#[tokio::test]
async fn the_suite_holds_before_and_after_a_restart() {
    let house = House::new();
    let store = house.open();
    let mut written = suite::fill(&store, &house.world).await;
    suite::check(&store, &house.world, &written).await;
    drop(store);
    assert!(!house.dir().join("ward.db-wal").exists(), "folded in when closed");
    let store = house.open();
    suite::check(&store, &house.world, &written).await;
    suite::drain(&store, &house.world, &mut written).await;
    drop(store);
    let store = house.open();
    assert!(store.outbox.pending(OutboxSeq(0), 10).await.unwrap().is_empty());
    let _ = suite::bump_next(&store, &house.world, written.last()).await;
}

#[tokio::test]
async fn what_was_acknowledged_is_on_disk_when_the_process_is_killed() {
    let house = House::new();
    let store = house.open();
    let written = suite::fill(&store, &house.world).await;
    // The files as a kill would leave them: the WAL is not folded in, the index is gone.
    let copy = house.scratch.path("copy");
    fs::create_dir(&copy).unwrap();
    for name in ["ward.db", "ward.db-wal"] {
        fs::copy(house.dir().join(name), copy.join(name)).unwrap();
    }
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).unwrap();
    let revived = house.try_open(&copy).unwrap().repositories();
    suite::check(&revived, &house.world, &written).await;
    drop(store);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_have_one_winner() {
    let house = House::new();
    let store = house.open();
    suite::race_registrations(&store, &house.world).await;
    suite::race_claims(&store, &house.world).await;
    suite::claim_with_changes(&store, &house.world).await;
}

#[tokio::test]
async fn state_and_event_stand_or_fall_together() {
    let house = House::new();
    let world = &house.world;
    drop(house.open());
    // First the event's row fails, then the state's.
    for table in ["outbox", "registrations", "grants", "epochs", "rosters", "incidents", "holds"] {
        house.meddle(&format!(
            "CREATE TRIGGER fail BEFORE INSERT ON {table} BEGIN SELECT RAISE(FAIL, 'test'); END"
        ));
        let store = house.open();
        let all = table == "outbox";
        let event = |kind| world.event(kind, "test");
        let (registration, incident) = (world.registration("x"), world.incident());
        let grant = world.grant(registration.client);
        let subject = Subject::Client(registration.client);

        if all || table == "registrations" {
            let put = store.registrations.put(
                registration.clone(),
                Expected::Absent,
                event(EventKind::Registration),
            );
            assert!(put.await.unwrap_err().is_unavailable());
            let found = store.registrations.by_client(&world.tenant, registration.client);
            assert_eq!(found.await.unwrap(), None);
        }
        if all || table == "grants" {
            assert!(store.grants.put(&grant, event(EventKind::Token)).await.is_err());
            assert_eq!(store.grants.get(&world.tenant, grant.id).await.unwrap(), None);
        }
        if all || table == "epochs" {
            let bump = [subject.clone()];
            let bump = store.epochs.bump(&world.tenant, &bump, event(EventKind::Revocation));
            assert!(bump.await.is_err());
            assert_eq!(store.epochs.current(&world.tenant, &subject), 0);
        }
        if all || table == "rosters" {
            let rows = vec![row("p1", &[Purpose::Treatment])];
            let event = event(EventKind::Roster);
            let import = store.rosters.import(
                &world.tenant,
                &world.organization,
                vec![world.member()],
                rows,
                event,
            );
            assert!(import.await.is_err());
            let purposes = [Purpose::Treatment];
            let (community, uri) = &world.member();
            let member = (community, uri);
            let roster =
                store.rosters.roster(&world.tenant, &world.organization, member, &purposes);
            assert_eq!(roster.await.unwrap(), Roster::Unknown);
        }
        if all || table == "incidents" {
            assert!(store.incidents.open(incident, event(EventKind::Incident)).await.is_err());
            assert!(store.incidents.list(&world.tenant, 10).await.unwrap().is_empty());
        }
        if all || table == "holds" {
            let hold = world.hold("x", registration.client);
            let event = event(EventKind::Revocation);
            assert!(store.holds.put(hold, vec![], event).await.is_err());
            assert!(store.holds.list(&world.tenant, 10).await.unwrap().is_empty());
            assert_eq!(store.epochs.current(&world.tenant, &subject), 0);
        }
        assert!(store.outbox.pending(OutboxSeq(0), 10).await.unwrap().is_empty());
        drop(store);
        house.meddle("DROP TRIGGER fail");
        let store = house.open();
        assert_eq!(store.epochs.current(&world.tenant, &subject), 0);
        assert!(store.outbox.pending(OutboxSeq(0), 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn at_rest_nothing_sealed_can_be_read() {
    let house = House::new();
    let store = house.open();
    let _written = suite::fill(&store, &house.world).await;
    let found = |needle: &str| {
        let mut files = 0;
        for entry in fs::read_dir(house.dir()).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            files += 1;
            if bytes.windows(needle.len()).any(|window| window == needle.as_bytes()) {
                return true;
            }
        }
        assert!(files >= 2, "the database and its lock at least");
        false
    };
    let sealed = ["secret-patient-", "secret-summary", "secret-statement", "secret-contact"];
    // While the WAL is there, and when it was folded in.
    assert!(house.dir().join("ward.db-wal").exists());
    for secret in sealed {
        assert!(!found(secret), "{secret}");
    }
    assert!(found("urn:oid:1.2.3.4"), "the search does find what is in clear");
    drop(store);
    assert!(!house.dir().join("ward.db-wal").exists());
    for secret in sealed {
        assert!(!found(secret), "{secret}");
    }
    assert!(found("urn:oid:1.2.3.4"));
}

#[tokio::test]
async fn records_that_were_moved_or_altered_do_not_open() {
    let house = House::new();
    let world = &house.world;
    let store = house.open();
    let (a, b) = (world.registration("a"), world.registration("b"));
    for registration in [&a, &b] {
        let event = world.event(EventKind::Registration, "registered");
        let put = store.registrations.put(registration.clone(), Expected::Absent, event);
        let _ = put.await.unwrap();
    }
    drop(store);
    house.meddle(
        "UPDATE registrations SET sealed = (SELECT sealed FROM registrations r
         WHERE r.uri <> registrations.uri) WHERE uri LIKE '%/a';
         UPDATE registrations SET uri = 'https://client.example/c' WHERE uri LIKE '%/b';
         UPDATE outbox SET seq = 7 WHERE seq = 1",
    );
    let store = house.open();
    let damaged = store.registrations.by_client(&world.tenant, a.client).await;
    assert!(matches!(damaged, Err(StoreError::Damaged { .. })));
    let c = world.registration("c").uri;
    let damaged = store.registrations.by_uri(&world.tenant, &world.community, &c).await;
    assert!(matches!(damaged, Err(StoreError::Damaged { .. })));
    let rows = store.outbox.pending(OutboxSeq(2), 10).await.unwrap();
    assert_eq!((rows.len(), rows[0].seq), (1, OutboxSeq(7)));
    assert_eq!(rows[0].event.action, "outbox-damaged", "the moved row does not open");
}

/// The attacker's case: one junk row, and no state change is ever acknowledged again.
#[tokio::test]
async fn a_damaged_row_of_the_outbox_holds_up_nobody() {
    let house = House::new();
    let world = &house.world;
    let store = house.open();
    let put = |name: &str| {
        let event = world.event(EventKind::Registration, "registered");
        store.registrations.put(world.registration(name), Expected::Absent, event)
    };
    let _ = put("a").await.unwrap();
    for row in [
        "('default', 1, zeroblob(64))",
        "('default', 1, x'')",
        "('default', 99, zeroblob(64))",
        "('default', -1, zeroblob(64))",
        "('default', 9223372036854775807, zeroblob(64))",
        "('No Such Tenant', 1, zeroblob(64))",
    ] {
        house.meddle(&format!("INSERT INTO outbox (tenant, key_id, sealed) VALUES {row}"));
    }
    let last = put("b").await.unwrap();
    // As the log asks: for what follows on what it has, until there is no more.
    let mut rows: Vec<ward_core::OutboxRow> = Vec::new();
    loop {
        let after = rows.last().map_or(OutboxSeq(0), |row| row.seq);
        let more = store.outbox.pending(after, 100).await.unwrap();
        if more.is_empty() {
            break;
        }
        rows.extend(more);
    }
    let actions: Vec<_> = rows.iter().map(|row| row.event.action.to_string()).collect();
    let lost = vec!["outbox-damaged"; 6];
    assert_eq!(actions, [vec!["registered"], lost, vec!["registered"]].concat());
    assert!(rows.iter().map(|row| row.seq.0).eq(1..=8));
    assert_eq!((last, &*rows[3].event.body.detail["place"]), (OutboxSeq(8), "4"));
}

#[tokio::test]
async fn what_the_log_held_is_remembered_and_never_less() {
    let house = House::new();
    let store = house.open();
    assert_eq!(store.outbox.mark("ward/log/a").await.unwrap(), ward_core::LogMark::default());
    let tree = |size| ward_core::SignedTree { origin: "ward/log/a".into(), size, root: [7; 32] };
    for (drained, size) in [(3, 9), (2, 8)] {
        store.outbox.drained(OutboxSeq(drained)).await.unwrap();
        store.outbox.signed(tree(size)).await.unwrap();
    }
    drop(store);
    let store = house.open();
    let want = ward_core::LogMark { drained: 3, signed: Some(tree(9)) };
    assert_eq!(store.outbox.mark("ward/log/a").await.unwrap(), want);
    assert_eq!(store.outbox.mark("ward/log/b").await.unwrap().signed, None);
}

#[tokio::test]
async fn without_the_record_key_nothing_opens_and_nothing_is_written() {
    let house = House::new();
    let world = &house.world;
    let store = house.open();
    let registration = world.registration("a");
    let event = || world.event(EventKind::Registration, "registered");
    let put = store.registrations.put(registration.clone(), Expected::Absent, event());
    let _ = put.await.unwrap();
    house.vault.destroy(&world.tenant, KeyPurpose::Record).await.unwrap();
    let found = store.registrations.by_client(&world.tenant, registration.client).await;
    assert!(matches!(found, Err(StoreError::Vault(_))));
    let put = store.registrations.put(world.registration("b"), Expected::Absent, event());
    assert!(matches!(put.await, Err(StoreError::Vault(_))));
}

#[test]
fn a_foreign_changed_or_newer_schema_is_refused_with_advice() {
    for (sql, want) in [
        ("UPDATE schema_migrations SET checksum = 'x'", "0001_first_light was applied in another"),
        ("INSERT INTO schema_migrations VALUES (99, '0099_later', 'x', 0)", "newer one"),
        ("PRAGMA application_id = 7", "not a store of Ward"),
    ] {
        let house = House::new();
        drop(house.try_open(&house.dir()).unwrap());
        house.meddle(sql);
        let error = house.try_open(&house.dir()).err().unwrap().to_string();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn the_files_are_private_and_one_process_owns_them() {
    let house = House::new();
    let store = house.try_open(&house.dir()).unwrap();
    assert!(matches!(house.try_open(&house.dir()), Err(StoreError::InUse(_))));
    for entry in fs::read_dir(house.dir()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
    drop(store);
    let path = house.dir().join("ward.db");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = house.try_open(&house.dir()).err().unwrap().to_string();
    assert!(error.contains("mode 0640") && error.contains("chmod 600"), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(house.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let error = house.try_open(&house.dir()).err().unwrap().to_string();
    assert!(error.contains("chmod 700"), "{error}");
}

#[tokio::test]
async fn what_expired_is_removed_in_bounded_steps() {
    let house = House::new();
    let world = &house.world;
    let store = house.open();
    let until = world.now().plus(Duration::from_mins(6));
    for key in 0..100 {
        assert!(store.replays.claim(&world.tenant, [key; 32], until).await.unwrap());
    }
    let client = world.client();
    for _ in 0..40 {
        let event = world.event(EventKind::Token, "issued");
        let _ = store.grants.put(&world.grant(client), event).await.unwrap();
    }
    let token = Subject::Token(suite_token(world));
    let event = world.event(EventKind::Revocation, "revoked");
    let _ = store.epochs.bump(&world.tenant, std::slice::from_ref(&token), event).await.unwrap();
    let count = |table: &str| -> i64 {
        let db = Connection::open(house.dir().join("ward.db")).unwrap();
        db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    // A clock that is set a day ahead and back again frees nothing that is still within its time.
    world.clock.advance(Duration::from_hours(24));
    let ahead = world.now().plus(Duration::from_mins(6));
    assert!(store.replays.claim(&world.tenant, [199; 32], ahead).await.unwrap());
    world.clock.set_back(Duration::from_hours(24));
    for key in 0..100 {
        assert!(!store.replays.claim(&world.tenant, [key; 32], until).await.unwrap(), "used");
    }
    world.clock.advance(Duration::from_hours(50));
    let until = world.now().plus(Duration::from_mins(6));
    assert!(store.replays.claim(&world.tenant, [200; 32], until).await.unwrap());
    assert_eq!(count("replays"), 102 - 16);
    for key in 201..=210 {
        assert!(store.replays.claim(&world.tenant, [key; 32], until).await.unwrap());
    }
    assert_eq!(count("replays"), 11);
    for _ in 0..4 {
        let event = world.event(EventKind::Token, "issued");
        let _ = store.grants.put(&world.grant(client), event).await.unwrap();
    }
    assert_eq!(count("grants"), 4);
    assert_eq!(store.epochs.current(&world.tenant, &token), 1);
    drop(store);
    let store = house.open();
    assert_eq!(store.epochs.current(&world.tenant, &token), 0, "dead of old age");
}

fn suite_token(world: &World) -> ward_core::TokenId {
    ward_core::TokenId::new(world.clock.as_ref(), &SystemRng)
}

#[tokio::test]
async fn what_exceeds_its_bound_is_refused() {
    let house = House::new();
    let world = &house.world;
    let store = house.open();
    let long = "x".repeat(1024 * 1024);
    let mut registration = world.registration("long");
    registration.statement.clone_from(&long);
    let event = || world.event(EventKind::Registration, "registered");
    let put = store.registrations.put(registration, Expected::Absent, event()).await;
    assert!(matches!(put, Err(StoreError::TooLarge { .. })));
    let mut incident = world.incident();
    incident.status = IncidentStatus::Closed;
    let open = store.incidents.open(incident, event().with("note", long)).await;
    assert!(matches!(open, Err(StoreError::TooLarge { .. })));
    let client = Subject::Client(world.client());
    let many: Vec<Subject> = std::iter::repeat_n(client, 10_001).collect();
    let bump = store.epochs.bump(&world.tenant, &many, event()).await;
    assert!(matches!(bump, Err(StoreError::TooLarge { .. })));
    assert!(store.outbox.pending(OutboxSeq(0), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_full_disk_refuses_changes_and_recovers() {
    let house = House::new();
    let world = &house.world;
    drop(house.open());
    let store = house.try_open(&house.dir()).unwrap();
    store.limit_pages(Some(60)).await;
    let repositories = store.repositories();
    let put = |name: String| {
        let mut registration = world.registration(&name);
        registration.statement = "s".repeat(20_000);
        let event = world.event(EventKind::Registration, "registered");
        repositories.registrations.put(registration, Expected::Absent, event)
    };
    let mut kept = 0;
    let error = loop {
        match put(format!("n{kept}")).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 100, "the limit works");
    };
    assert!(error.is_unavailable() && error.to_string().contains("full"), "{error}");
    let list = repositories.registrations.list(&world.tenant, None, 1000).await.unwrap();
    assert_eq!(list.len(), kept, "what was acknowledged, and only that");
    let rows = repositories.outbox.pending(OutboxSeq(0), 1000).await.unwrap();
    assert_eq!(rows.len(), kept);
    store.limit_pages(None).await;
    let _ = put("after".to_owned()).await.unwrap();
}

#[tokio::test]
async fn a_vault_of_another_store_is_refused_before_anything_is_written() {
    let mut house = House::new();
    let store = house.open();
    let registration = house.world.registration("a");
    let event = house.world.event(EventKind::Registration, "registered");
    let _ = store.registrations.put(registration, Expected::Absent, event).await.unwrap();
    drop(store);
    let unlock = Unlock::KeyFile(house.scratch.path("root.key"));
    let fresh = house.scratch.path("fresh");
    house.vault = FileVault::open(&fresh, &unlock, Arc::new(SystemRng)).unwrap();
    // Once without keys, once with a key of the same number.
    for _ in 0..2 {
        let store = house.open();
        let registration = house.world.registration("b");
        let event = house.world.event(EventKind::Registration, "registered");
        let put = store.registrations.put(registration, Expected::Absent, event).await;
        assert!(matches!(put, Err(StoreError::WrongVault)));
    }
}

#[tokio::test]
async fn a_renewed_path_is_kept_while_a_grant_rests_on_it() {
    let house = House::new();
    let store = house.open();
    let (tenant, now) = (house.world.tenant.clone(), house.world.now());
    let leaf = ward_core::Thumbprint(ward_core::crypto::sha256(&[b"leaf"]));
    let (path, other) = (vec![b"leaf".to_vec(), b"issuer".to_vec()], vec![b"other".to_vec()]);
    let (soon, late) = (now.plus(Duration::from_mins(5)), now.plus(Duration::from_mins(10)));
    store.presented.keep(&tenant, path.clone(), late).await.unwrap();
    // A shorter time does not shorten it.
    store.presented.keep(&tenant, path.clone(), soon).await.unwrap();
    store.presented.keep(&tenant, Vec::new(), late).await.unwrap();
    assert_eq!(store.presented.path(&tenant, leaf).await.unwrap(), path);
    assert!(store.presented.path(&house.world.other, leaf).await.unwrap().is_empty());
    let long = vec![vec![0; 8]; 9];
    assert!(store.presented.keep(&tenant, long, late).await.is_err());
    let large = vec![vec![0; 64 * 1024 + 1]];
    assert!(store.presented.keep(&tenant, large, late).await.is_err());
    drop(store);
    let store = house.open();
    let day = Duration::from_hours(24);
    house.world.clock.advance(day);
    store.presented.keep(&tenant, other.clone(), late.plus(day)).await.unwrap();
    assert_eq!(store.presented.path(&tenant, leaf).await.unwrap(), path, "a day longer");
    house.world.clock.advance(Duration::from_mins(11));
    store.presented.keep(&tenant, other, late.plus(day)).await.unwrap();
    assert!(store.presented.path(&tenant, leaf).await.unwrap().is_empty(), "and then no more");
}

#[tokio::test]
async fn the_log_gets_each_event_once_from_memory_or_from_disk_and_never_one_that_is_not_durable() {
    let house = House::new();
    let world = &house.world;
    let store = house.try_open(&house.dir()).unwrap();
    let all = store.repositories();
    let put = |name: &str| {
        let event = world.event(EventKind::Registration, "registered").with("name", name);
        all.registrations.put(world.registration(name), Expected::Absent, event)
    };
    let names = |rows: &[ward_core::OutboxRow]| -> Vec<(u64, String)> {
        let name = |row: &ward_core::OutboxRow| row.event.body.detail["name"].clone();
        rows.iter().map(|row| (row.seq.0, name(row))).collect()
    };
    for name in ["a", "b", "c"] {
        let _ = put(name).await.unwrap();
    }
    let opened = store.records_opened();
    let kept = all.outbox.pending(OutboxSeq(0), 2).await.unwrap();
    assert_eq!(names(&kept), [(1, "a".into()), (2, "b".into())]);
    assert_eq!(store.records_opened(), opened, "as they were written");
    // The log could not write them and asks again: they are read.
    let again = all.outbox.pending(OutboxSeq(0), 10).await.unwrap();
    assert_eq!(names(&again), [(1, "a".into()), (2, "b".into()), (3, "c".into())]);
    assert_eq!(again[0].event, kept[0].event);
    assert!(store.records_opened() > opened);
    all.outbox.drained(OutboxSeq(2)).await.unwrap();
    assert_eq!(names(&all.outbox.pending(OutboxSeq(0), 10).await.unwrap()), [(3, "c".into())]);
    // What did not become durable was never there.
    store.limit_pages(Some(1)).await;
    let huge = world.event(EventKind::Registration, "registered").with("name", "x".repeat(99_999));
    let put_huge = all.registrations.put(world.registration("x"), Expected::Absent, huge);
    assert!(put_huge.await.is_err());
    store.limit_pages(None).await;
    let last = put("d").await.unwrap();
    assert_eq!(names(&all.outbox.pending(OutboxSeq(3), 10).await.unwrap()), [(4, "d".into())]);
    // Closed before what was drained was cleared by itself: it is cleared all the same.
    all.outbox.drained(last).await.unwrap();
    drop((all, store));
    let store = house.open();
    assert!(store.outbox.pending(OutboxSeq(0), 10).await.unwrap().is_empty());
    assert_eq!(store.outbox.mark("ward/log/a").await.unwrap().drained, last.0);
}

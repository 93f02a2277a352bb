//! Backup and restore: made under load, restored on an empty directory; what was true stays true, and nothing
//! that was altered is restored.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ward::backup::{BackupError, Made, Seal, create, on_request, restore};
use ward::bundle_pull::Kept;
use ward::house::{House, open_or_make_vault};
use ward::paths::Paths;
use ward_admin::{BackupRequest, Command, Operator, Role};
use ward_audit::{Reader, RealDisk, verify};
use ward_core::{ClientId, EventKind, Limits, Rng as _, Secret, SeededRng, TenantId};
use ward_policy::Subject;
use ward_sandbox::Sandbox;
use ward_trust::{BundleError, SignedBundle};

use crate::bundle::bundle;
use crate::harness::{Answer, ISS, Setup, TempDir, World};
use crate::pki::{COMMUNITY, Member};
use crate::rows::{form, jwt};

fn seal() -> Seal {
    Seal::Key(Secret::new([9; 32]))
}

/// A Ward in front of a small hospital, with a member that is registered.
async fn hospital() -> (World, Member, String, Vec<String>, ward_sandbox::Running) {
    let sandbox = Sandbox::generate(11, 20);
    let mut ids = sandbox.patient_ids();
    ids.sort();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = sandbox.start(listener).unwrap();
    let setup = Setup {
        upstream: upstream.base_url.clone(),
        roster: ids.clone(),
        limits: Limits::default(),
        ceiling: 1000,
    };
    let mut world = World::raise(setup).await;
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    (world, member, client, ids, upstream)
}

async fn present(world: &World, assertion: &str) -> Answer {
    let body = form(&World::token_form(assertion));
    world.post(&world.token, "application/x-www-form-urlencoded", &body, &[]).await
}

fn assertion(world: &World, member: &Member, client: &str) -> String {
    let words = world.words(ISS, client);
    jwt(&World::good_row(), &words, world.assertion_claims(client), member, member)
}

fn officer() -> Operator {
    Operator { name: "test-officer".into(), role: Role::SecurityOfficer }
}

/// Ends one of the client's live grants.
async fn revoke_one_grant(world: &World, client: &str) {
    let tenant = TenantId::default_tenant();
    let client = ClientId::parse(client).unwrap();
    let live = world.house.repositories.grants.live_for_client(&tenant, client).await.unwrap();
    let subject = Subject::Grant(live[0].id);
    let revoke = Command::Revoke { subject, reason: "test".into(), incident: None };
    world.house.admin.execute(&officer(), revoke).await.unwrap();
}

fn bring_back(
    world: &World,
    from: &Path,
    data: &Path,
    checkpoint: Option<&str>,
) -> Result<ward::backup::Restored, BackupError> {
    restore(from, &seal(), data, checkpoint, None, &world.system)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_under_load_restores_what_was_true() {
    let dir = TempDir::new("backup");
    let (world, member, client, ids, _upstream) = hospital().await;
    let fhir = world.path(&world.base);
    let patient = format!("{fhir}/Patient/{}", ids[0]);

    // Two tokens, one of them dead; an assertion that was used; an early backup.
    let early = dir.0.join("early.ward");
    create(&world.house, seal(), &early, "test").await.unwrap();
    let tokens =
        [world.access_token(&member, &client).await, world.access_token(&member, &client).await];
    revoke_one_grant(&world, &client).await;
    let (mut live, mut dead) = (None, None);
    for token in tokens {
        match world.get(&patient, &token).await.status {
            200 => live = Some(token),
            401 => dead = Some(token),
            other => panic!("{other}"),
        }
    }
    let (live, dead) = (live.unwrap(), dead.unwrap());
    let used = assertion(&world, &member, &client);
    assert_eq!(present(&world, &used).await.status, 200);
    let kept = world.house.log.checkpoint().await.unwrap();

    // Under load: reads, which the log records, and tokens, which change the state.
    let (world, stop) = (Arc::new(world), Arc::new(AtomicBool::new(false)));
    let (reads, issued) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut load = Vec::new();
    for worker in 0..4 {
        let (world, stop) = (world.clone(), stop.clone());
        let (member, client, live) = (member.clone(), client.clone(), live.clone());
        let (reads, issued, patient) = (reads.clone(), issued.clone(), patient.clone());
        load.push(tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                if worker % 2 == 0 {
                    assert_eq!(world.get(&patient, &live).await.status, 200);
                    reads.fetch_add(1, Ordering::SeqCst);
                } else {
                    let _ = world.access_token(&member, &client).await;
                    issued.fetch_add(1, Ordering::SeqCst);
                }
            }
        }));
    }
    let counted = || (reads.load(Ordering::SeqCst), issued.load(Ordering::SeqCst));
    let mut made: Vec<(PathBuf, Made)> = Vec::new();
    for n in 0..3 {
        let before = counted();
        let to = dir.0.join(format!("under-load-{n}.ward"));
        made.push((to.clone(), create(&world.house, seal(), &to, "test").await.unwrap()));
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        // It served meanwhile, or at least right after.
        while counted().0 == before.0 || counted().1 == before.1 {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::SeqCst);
    for task in load {
        task.await.unwrap();
    }
    let newer = world.house.log.checkpoint().await.unwrap();
    let again = create(&world.house, seal(), &early, "test").await;
    assert!(matches!(again, Err(BackupError::Exists(_))), "never over a file");
    let left = fs::read_dir(world.house.paths.store()).unwrap();
    assert!(left.flatten().all(|entry| !entry.file_name().to_string_lossy().contains("backup")));

    // Each restores, and proves against its own checkpoint and the one that was kept before it was made.
    for (n, (file, made)) in made.iter().enumerate() {
        let data = dir.0.join(format!("restored-{n}"));
        let restored = bring_back(&world, file, &data, Some(&kept)).unwrap();
        assert_eq!(
            (restored.log_size, restored.state_changes),
            (made.log_size, made.state_changes)
        );
        let key = world.house.log.verifier_key();
        verify(&RealDisk::new(Paths::new(&data).log()), &key, Some(&made.checkpoint)).unwrap();
        // A checkpoint from after the backup tells that something is missing.
        let lost = bring_back(&world, file, &dir.0.join("lost"), Some(&newer));
        assert!(matches!(lost, Err(BackupError::Log(_))), "{lost:?}");
        assert!(!dir.0.join("lost").exists());
    }
    let full = bring_back(&world, &made[0].0, &dir.0.join("restored-0"), None);
    assert!(matches!(full, Err(BackupError::NotEmpty(_))));

    // A store older than its log does not start, and says what to do.
    let mixed = dir.0.join("mixed");
    bring_back(&world, &made[2].0, &mixed, None).unwrap();
    let old = dir.0.join("old");
    bring_back(&world, &early, &old, None).unwrap();
    fs::copy(old.join("store/ward.db"), mixed.join("store/ward.db")).unwrap();

    // On the restored directory, at the same place: everything answers as before.
    let world = Arc::into_inner(world).unwrap();
    let vault_key = world.house.paths.key_file();
    fs::copy(&vault_key, Paths::new(&mixed).key_file()).unwrap();
    let refused = open_log_on(&mixed, &world).await;
    assert!(
        refused.contains("older than the log") && refused.contains("ward restore"),
        "{refused}"
    );

    let data = dir.0.join("restored-1");
    let world = world.move_to(&data).await;
    assert_eq!(world.get(&patient, &live).await.status, 200, "old tokens open");
    assert_eq!(world.get(&patient, &dead).await.status, 401, "revoked ones do not");
    let replayed = present(&world, &used).await;
    assert_eq!((replayed.status, replayed.error().as_deref()), (400, Some("invalid_client")));
    let fresh = world.access_token(&member, &client).await;
    assert_eq!(world.get(&patient, &fresh).await.status, 200, "the registration is there");
    let stranger = world.get(&format!("{fhir}/Patient/nobody"), &fresh).await;
    assert_eq!(stranger.status, 404, "so is the roster");
    let disk = RealDisk::new(Paths::new(&data).log());
    let key = world.house.log.verifier_key();
    verify(&disk, &key, Some(&kept)).unwrap();
    verify(&disk, &key, Some(&made[1].1.checkpoint)).unwrap();
    // The log says that it was restored; once.
    let world = world.move_to(&data).await;
    let reader = Reader::open_dir(&Paths::new(&data).log(), None).unwrap();
    let told = reader
        .leaves(0..reader.size())
        .map(Result::unwrap)
        .filter(|(_, leaf)| leaf.kind == EventKind::Operator && leaf.action == "restored")
        .count();
    assert_eq!(told, 1);
    world.house.close().await;
    println!("{:?} reads and tokens during three backups", counted());
}

/// The numbers of trust bundles come back: an older one than the last that was taken is refused after a restore too (PKI-16).
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_remembers_the_trust_bundles_that_were_taken() {
    let dir = TempDir::new("backup-bundles");
    let (mut world, ..) = hospital().await;
    let speaker = world.pki.client(COMMUNITY);
    let community = world.pki.community();
    let root = world.pki.root_der();
    let limits = Limits::default();
    let signed = |number| {
        let text = bundle(number, &[&root], &[]).sign(&speaker.identity).unwrap();
        (SignedBundle::parse(text.as_bytes(), &limits).unwrap(), text)
    };
    let ((older, _), (taken, text), (newer, _)) = (signed(4), signed(5), signed(6));
    let (data, rng) = (world.house.paths.root().to_path_buf(), SeededRng::new(3));
    Kept::write(&data, None, &taken, text.as_bytes(), &community.anchors, &rng).unwrap();
    // What else lies there is none of Ward's.
    fs::write(data.join("bundles/notes.txt"), "x").unwrap();
    let file = dir.0.join("backup.ward");
    create(&world.house, seal(), &file, "test").await.unwrap();
    let back = dir.0.join("back");
    bring_back(&world, &file, &back, None).unwrap();
    let kept = Kept::read(&back, &community.uri, &limits).unwrap().expect("it is in the backup");
    let held = Some(kept.current().held());
    let now = world.system.clock.now();
    assert_eq!(older.accept(&community, held, now, &limits), Err(BundleError::RollBack));
    assert_eq!(newer.accept(&community, held, now, &limits), Ok(()));
    assert!(!back.join("bundles/notes.txt").exists());
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(back.join("bundles")), 0o700);
}

/// Why no log starts on this store; a store that fits gives an empty text.
async fn open_log_on(data: &Path, world: &World) -> String {
    let paths = Paths::new(data);
    let vault = open_or_make_vault(&paths.vault(), &paths.key_file(), &world.system).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    match House::open(&paths, vault, world.config(), listener, &world.system).await {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_altered_or_cut_anywhere_is_refused_and_leaves_nothing() {
    let dir = TempDir::new("altered");
    let (world, _, _, _, _upstream) = hospital().await;
    let good = dir.0.join("good.ward");
    create(&world.house, seal(), &good, "test").await.unwrap();
    let bytes = fs::read(&good).unwrap();
    let place = dir.0.join("place");
    fs::create_dir(&place).unwrap();
    let (file, data) = (place.join("bad.ward"), place.join("data"));
    let refused = |what: &str, bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let done = bring_back(&world, &file, &data, None);
        assert!(done.is_err(), "{what}");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1, "{what}: something was left behind");
    };
    // Every octet of the header, the edges of every chunk, and places in between.
    let chunk = 64 * 1024 + 16;
    let mut places: Vec<usize> = (0..50).collect();
    for edge in (50..bytes.len()).step_by(chunk) {
        places.extend([edge, edge + 1, edge + chunk - 17, edge + chunk - 16, edge + chunk - 1]);
    }
    let rng = SeededRng::new(3);
    for _ in 0..60 {
        places.push(usize::try_from(rng.next_u64() % bytes.len() as u64).unwrap());
    }
    places.push(bytes.len() - 1);
    places.retain(|at| *at < bytes.len());
    for at in &places {
        let mut altered = bytes.clone();
        altered[*at] ^= 1 << (rng.next_u64() % 8);
        refused(&format!("octet {at}"), &altered);
    }
    for cut in places.iter().copied().filter(|at| at % 3 == 0) {
        refused(&format!("cut at {cut}"), &bytes[..cut]);
    }
    let mut longer = bytes.clone();
    longer.push(0);
    refused("appended", &longer);
    refused("empty", b"");
    fs::write(&file, &bytes).unwrap();
    // What the admin listener will hand over.
    let key = dir.0.join("asked.key");
    private(&key, &[8; 32]);
    let asked = dir.0.join("asked.ward");
    let source = world.house.backup_source();
    let wanted = BackupRequest { to: asked, passphrase_file: None, key_file: Some(key) };
    on_request(&source, &wanted, "officer").await.unwrap();
    let twice = on_request(&source, &wanted, "officer").await.unwrap_err();
    assert!(twice.contains("exists already"), "{twice}");
    let open = BackupRequest { key_file: None, to: dir.0.join("open.ward"), ..wanted };
    assert!(on_request(&source, &open, "officer").await.unwrap_err().contains("key-file"));
    let other = Seal::Key(Secret::new([8; 32]));
    let wrong = restore(&file, &other, &data, None, None, &world.system);
    assert!(matches!(wrong, Err(BackupError::WrongSeal)));
    // An empty directory may stand there; the untouched backup takes its place.
    fs::create_dir(&data).unwrap();
    bring_back(&world, &file, &data, None).unwrap();
    println!("{} alterations refused", places.len());
}

/// An operator has the running server back itself up, over the admin listener; it is in the log.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_backs_up_a_running_server() {
    let dir = TempDir::new("asked");
    let (world, _, _, _, _upstream) = hospital().await;
    let admin = crate::ops::admin_listener(&world).await;
    let to = admin.local_addr();
    let post = async |word: &str, key: &str, body: serde_json::Value| {
        let path = format!("/admin/v1/{word}");
        crate::ops::ask(to, "POST", &path, key, &body.to_string()).await
    };
    let code = world.house.admin.offer_bootstrap().await.unwrap().unwrap();
    let first = serde_json::json!({ "code": code.expose(), "name": "alice" });
    let alice = post("bootstrap", "", first).await.json();
    let alice = alice["operator-added"]["key"].as_str().unwrap().to_owned();
    let auditor = serde_json::json!({ "name": "olga", "role": "auditor" });
    let olga = post("add-operator", &alice, auditor).await.json();
    let olga = olga["operator-added"]["key"].as_str().unwrap().to_owned();

    let (key, file) = (dir.0.join("backup.key"), dir.0.join("b.ward"));
    private(&key, &[9; 32]);
    let wanted = serde_json::json!({ "to": file, "key_file": key });
    assert_eq!(post("backup", "", wanted.clone()).await.status, 401);
    assert_eq!(post("backup", &olga, wanted.clone()).await.status, 403);
    let relative = serde_json::json!({ "to": "b.ward", "key_file": key });
    assert_eq!(post("backup", &alice, relative).await.status, 409);
    // Nor among Ward's own files, by whatever way.
    for inside in ["log/b.ward", "b.ward", "store/../vault/b.ward"] {
        let inside = world.house.paths.root().join(inside);
        let into = serde_json::json!({ "to": inside, "key_file": key });
        let refused = post("backup", &alice, into).await;
        assert_eq!(refused.status, 409, "{}", refused.json());
        assert!(refused.json()["message"].as_str().unwrap().contains("data directory"));
        assert!(!inside.exists());
    }
    assert!(!file.exists());
    let made = post("backup", &alice, wanted.clone()).await;
    assert_eq!(made.status, 200, "{}", made.json());
    assert_eq!(post("backup", &alice, wanted).await.status, 409, "never over a file");
    let kept = made.json()["checkpoint"].as_str().unwrap().to_owned();
    bring_back(&world, &file, &dir.0.join("restored"), Some(&kept)).unwrap();
    let reader = world.house.log.reader().unwrap();
    let by: Vec<_> = (0..reader.size())
        .map(|index| reader.leaf(index).unwrap())
        .filter(|leaf| leaf.kind == EventKind::Operator && leaf.action == "backup")
        .map(|leaf| (leaf.actor.operator.unwrap().into_owned(), leaf.rule.unwrap_or_default()))
        .collect();
    let by: Vec<_> = by.iter().map(|(who, rule)| (who.as_str(), rule.as_ref())).collect();
    // By role; a relative path and three among Ward's own; made; never over a file.
    let mut recorded = vec![("olga", "ADMIN-ROLE")];
    recorded.extend([("alice", "BACKUP"); 4]);
    recorded.extend([("alice", ""), ("alice", "BACKUP")]);
    assert_eq!(by, recorded);
    // The command line does not open what the server has open.
    private(&dir.0.join("k"), &[9; 32]);
    let data = world.house.paths.root().to_str().unwrap().to_owned();
    let (to, key) = (dir.0.join("second.ward"), dir.0.join("k"));
    let (to, key) = (to.to_str().unwrap(), key.to_str().unwrap());
    let output = ward(&["backup", "--data", &data, "--to", to, "--key-file", key]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("ward admin backup"), "{}", said(&output));
}

fn ward(arguments: &[&str]) -> Output {
    Process::new(env!("CARGO_BIN_EXE_ward")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

fn private(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The commands, on a server that is stopped.
#[test]
fn the_commands_back_up_and_restore() {
    let dir = TempDir::new("commands");
    let path = |name: &str| dir.0.join(name).to_str().unwrap().to_owned();
    let (data, file, key) = (path("data"), path("b.ward"), path("backup.key"));
    // Only for a directory that a server has left; the walk has tests of its own.
    assert!(ward(&["demo", "--exit", "--json", "--data", &data]).status.code().is_some());
    private(Path::new(&key), &[4; 32]);
    let made = ward(&["backup", "--data", &data, "--to", &file, "--key-file", &key, "--json"]);
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let kept = path("checkpoint");
    fs::write(&kept, made["checkpoint"].as_str().unwrap()).unwrap();

    let new = path("new");
    let restored = ward(&[
        "restore",
        "--from",
        &file,
        "--data",
        &new,
        "--key-file",
        &key,
        "--checkpoint",
        &kept,
    ]);
    assert_eq!(restored.status.code(), Some(0), "{}", said(&restored));
    assert!(said(&restored).contains("continues the checkpoint"), "{}", said(&restored));
    let verified = ward(&["log", "verify", "--data", &new, "--checkpoint", &kept]);
    assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));

    // Mistakes: a usage error is 2, a refusal 1, and each says what to do.
    let passphrase = path("passphrase");
    private(Path::new(&passphrase), b"correct horse battery\n");
    let open = path("open.key");
    fs::write(&open, [4; 32]).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let short = path("short");
    private(Path::new(&short), b"short");
    let elsewhere = path("elsewhere");
    let from = ["restore", "--from", &file, "--data"];
    let rows: [(&[&str], i32, &str); 8] = [
        (&["backup", "--data", &data, "--to", &file, "--key-file", &key], 2, "exists already"),
        (&["backup", "--data", &elsewhere, "--to", &kept, "--key-file", &key], 2, "exists already"),
        (
            &["backup", "--data", &elsewhere, "--to", &elsewhere, "--key-file", &key],
            2,
            "no store here",
        ),
        (&["backup", "--data", &data, "--to", &elsewhere], 2, "--passphrase-file"),
        (&[&from[..], &[&new, "--key-file", &key]].concat(), 2, "not empty"),
        (&[&from[..], &[&elsewhere, "--key-file", &open]].concat(), 2, "chmod 600"),
        (&[&from[..], &[&elsewhere, "--passphrase-file", &short]].concat(), 2, "12 characters"),
        (
            &[&from[..], &[&elsewhere, "--passphrase-file", &passphrase]].concat(),
            1,
            "the other way",
        ),
    ];
    for (arguments, code, says) in rows {
        let output = ward(arguments);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?}: {says} is not in {text}");
    }
    assert!(!Path::new(&elsewhere).exists());
}

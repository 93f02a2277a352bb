//! The vault in files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;
use ward_core::SystemRng;

use super::*;
use crate::tests::Scratch;

const TENANT: fn() -> TenantId = TenantId::default_tenant;

fn key_file(scratch: &Scratch) -> Unlock {
    let path = scratch.path("root.key");
    if !path.exists() {
        create_key_file(&path, &SystemRng).unwrap();
    }
    Unlock::KeyFile(path)
}

fn open(scratch: &Scratch) -> Result<Arc<FileVault>, StoreError> {
    FileVault::open(&scratch.path("vault"), &key_file(scratch), Arc::new(SystemRng))
}

fn refusal(result: Result<Arc<FileVault>, StoreError>) -> String {
    result.err().expect("refused").to_string()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn keys_outlive_the_process_and_differ_by_tenant_and_purpose() {
    let scratch = Scratch::new();
    let vault = open(&scratch).unwrap();
    let other = TenantId::parse("other").unwrap();
    let mut seen = Vec::new();
    for tenant in [&TENANT(), &other] {
        for purpose in
            [KeyPurpose::Token, KeyPurpose::Record, KeyPurpose::LogBody(1), KeyPurpose::LogBody(11)]
        {
            let key = vault.current(tenant, purpose).await.unwrap();
            assert_eq!(key.id, KeyId(1));
            seen.push((tenant.clone(), purpose, *key.key.expose()));
        }
    }
    let distinct: std::collections::BTreeSet<_> = seen.iter().map(|(.., key)| *key).collect();
    assert_eq!(distinct.len(), seen.len());
    drop(vault);
    let vault = open(&scratch).unwrap();
    for (tenant, purpose, key) in seen {
        assert_eq!(*vault.by_id(&tenant, purpose, KeyId(1)).await.unwrap().key.expose(), key);
        assert_eq!(*vault.current(&tenant, purpose).await.unwrap().key.expose(), key);
    }
    let unknown = vault.by_id(&other, KeyPurpose::Token, KeyId(2)).await.err();
    assert_eq!(unknown, Some(VaultError::Unknown));
    let unknown = vault.by_id(&other, KeyPurpose::Cursor, KeyId(1)).await.err();
    assert_eq!(unknown, Some(VaultError::Unknown));
}

#[tokio::test]
async fn rotation_makes_a_new_key_and_keeps_the_old_one() {
    let scratch = Scratch::new();
    let vault = open(&scratch).unwrap();
    let first = vault.current(&TENANT(), KeyPurpose::Token).await.unwrap();
    for next in 2..=11 {
        assert_eq!(vault.rotate(&TENANT(), KeyPurpose::Token).unwrap(), KeyId(next));
    }
    assert_eq!(vault.current(&TENANT(), KeyPurpose::Token).await.unwrap().id, KeyId(11));
    drop(vault);
    let vault = open(&scratch).unwrap();
    // 11 is after 9, though its name sorts before.
    assert_eq!(vault.current(&TENANT(), KeyPurpose::Token).await.unwrap().id, KeyId(11));
    let old = vault.by_id(&TENANT(), KeyPurpose::Token, KeyId(1)).await.unwrap();
    assert_eq!(old.key.expose(), first.key.expose());
}

/// Under a new passphrase everything is there, destroyed stays destroyed, and the old key file opens nothing.
#[tokio::test]
async fn a_vault_wrapped_anew_holds_the_same_under_another_lock() {
    let scratch = Scratch::new();
    let vault = open(&scratch).unwrap();
    let other = TenantId::parse("other").unwrap();
    vault.put_secret("log/signing-seed", &Secret::new(vec![7; 32])).unwrap();
    let purposes = [KeyPurpose::Token, KeyPurpose::Cursor, KeyPurpose::Record];
    for purpose in purposes {
        let _ = vault.current(&TENANT(), purpose).await.unwrap();
    }
    vault.rotate(&TENANT(), KeyPurpose::Token).unwrap();
    let body = vault.current(&other, KeyPurpose::LogBody(20_000)).await.unwrap();
    let _ = vault.current(&other, KeyPurpose::LogBody(3)).await.unwrap();
    vault.destroy(&other, KeyPurpose::LogBody(3)).await.unwrap();

    let new = || Unlock::Passphrase(Secret::new(b"correct horse battery".to_vec()));
    let into = scratch.path("vault.new");
    let done = vault.rewrap_into(&into, &new(), Arc::new(SystemRng)).unwrap();
    assert_eq!(done, Rewrapped { keys: 5, secrets: 1 });
    let wrapped = FileVault::open(&into, &new(), Arc::new(SystemRng)).unwrap();
    for purpose in purposes {
        let (one, two) =
            (vault.current(&TENANT(), purpose).await, wrapped.current(&TENANT(), purpose).await);
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!((one.id, one.key.expose()), (two.id, two.key.expose()), "{purpose}");
    }
    let first = wrapped.by_id(&TENANT(), KeyPurpose::Token, KeyId(1)).await.unwrap();
    assert_eq!(
        first.key.expose(),
        vault.by_id(&TENANT(), KeyPurpose::Token, KeyId(1)).await.unwrap().key.expose()
    );
    let kept = wrapped.by_id(&other, KeyPurpose::LogBody(20_000), KeyId(1)).await.unwrap();
    assert_eq!(kept.key.expose(), body.key.expose());
    let gone = wrapped.current(&other, KeyPurpose::LogBody(3)).await.err();
    assert_eq!(gone, Some(VaultError::Destroyed));
    let seed = wrapped.get_secret("log/signing-seed").unwrap().unwrap();
    assert_eq!(seed.expose(), &vec![7; 32]);

    // The old lock opens nothing of it, and nothing is written over.
    let old = FileVault::open(&into, &key_file(&scratch), Arc::new(SystemRng));
    assert!(refusal(old).contains("passphrase"));
    let twice = vault.rewrap_into(&into, &new(), Arc::new(SystemRng));
    assert!(twice.unwrap_err().to_string().contains("exists already"));
    // What is no file of a vault stops the work rather than being left behind.
    fs::write(scratch.path("vault/keys/default/notes.1.key"), b"?").unwrap();
    let strange = vault.rewrap_into(&scratch.path("third"), &new(), Arc::new(SystemRng));
    assert!(strange.unwrap_err().to_string().contains("notes.1.key"));
}

#[tokio::test]
async fn two_processes_agree_on_the_first_key() {
    let scratch = Scratch::new();
    let (a, b) = (open(&scratch).unwrap(), open(&scratch).unwrap());
    let one = a.current(&TENANT(), KeyPurpose::Cursor).await.unwrap();
    let two = b.current(&TENANT(), KeyPurpose::Cursor).await.unwrap();
    assert_eq!(one.key.expose(), two.key.expose());
}

#[tokio::test]
async fn what_was_destroyed_stays_destroyed() {
    let scratch = Scratch::new();
    let purpose = KeyPurpose::LogBody(20_000);
    let vault = open(&scratch).unwrap();
    let _ = vault.current(&TENANT(), purpose).await.unwrap();
    let _ = vault.current(&TENANT(), KeyPurpose::LogBody(2)).await.unwrap();
    vault.rotate(&TENANT(), purpose).unwrap();
    let dir = scratch.path("vault/keys/default");
    let saved = fs::read(dir.join("log-body-20000.1.key")).unwrap();
    vault.destroy(&TENANT(), purpose).await.unwrap();
    vault.destroy(&TENANT(), purpose).await.unwrap();
    for reopened in [false, true] {
        let vault = if reopened { open(&scratch).unwrap() } else { Arc::clone(&vault) };
        let gone = Some(VaultError::Destroyed);
        assert_eq!(vault.current(&TENANT(), purpose).await.err(), gone);
        assert_eq!(vault.by_id(&TENANT(), purpose, KeyId(1)).await.err(), gone);
        assert_eq!(vault.rotate(&TENANT(), purpose).err(), gone);
        assert!(vault.current(&TENANT(), KeyPurpose::LogBody(2)).await.is_ok(), "only that one");
    }
    assert!(!dir.join("log-body-20000.1.key").exists());
    assert!(!dir.join("log-body-20000.2.key").exists());
    // Power failed after the tombstone, or between a link and its clean-up: the next use finishes.
    for left in ["log-body-20000.1.key", "log-body-20000.1.key.77-0.tmp"] {
        fs::write(dir.join(left), &saved).unwrap();
        mode(&dir.join(left), 0o600);
    }
    let vault = open(&scratch).unwrap();
    let gone = vault.by_id(&TENANT(), purpose, KeyId(1)).await.err();
    assert_eq!(gone, Some(VaultError::Destroyed));
    let left: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_str().unwrap().starts_with("log-body-20000.1")));
}

#[test]
fn a_passphrase_opens_and_a_wrong_one_is_told_at_once() {
    let scratch = Scratch::new();
    let open = |text: &str| {
        let unlock = Unlock::Passphrase(Secret::new(text.as_bytes().to_vec()));
        FileVault::open(&scratch.path("vault"), &unlock, Arc::new(SystemRng))
    };
    assert!(refusal(open("")).contains("empty"));
    let vault = open("correct horse").unwrap();
    vault.put_secret("ca/root", &Secret::new(b"pkcs8".to_vec())).unwrap();
    drop(vault);
    assert!(matches!(open("correct hors"), Err(StoreError::WrongUnlock("passphrase"))));
    let vault = open("correct horse").unwrap();
    assert_eq!(vault.get_secret("ca/root").unwrap().unwrap().expose(), b"pkcs8");
    // Another kind of unlocking is named, an altered header is refused.
    let unlock = key_file(&scratch);
    let error = refusal(FileVault::open(&scratch.path("vault"), &unlock, Arc::new(SystemRng)));
    assert!(error.contains("opens with a passphrase"), "{error}");
    let header = scratch.path("vault/vault.json");
    let text = fs::read_to_string(&header).unwrap();
    assert!(text.contains("600000"));
    for (from, to, want) in [
        ("600000", "1000", "rounds"),
        ("600000", "4000000000", "rounds"),
        ("\"version\": 1", "\"version\": 2", "newer version"),
        ("\"salt\": \"", "\"salt\": \"x", "salt"),
        ("\"version\"", "\"other\"", "not a vault header"),
    ] {
        fs::write(&header, text.replace(from, to)).unwrap();
        let error = refusal(open("correct horse"));
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn a_wrong_missing_or_short_key_file_is_told() {
    let scratch = Scratch::new();
    let path = scratch.path("root.key");
    let vault = open(&scratch).unwrap();
    vault.put_secret("a", &Secret::new(vec![1])).unwrap();
    drop(vault);
    assert!(create_key_file(&path, &SystemRng).unwrap_err().to_string().contains("exists already"));
    let at = |name: &str| {
        let unlock = Unlock::KeyFile(scratch.path(name));
        FileVault::open(&scratch.path("vault"), &unlock, Arc::new(SystemRng))
    };
    create_key_file(&scratch.path("other.key"), &SystemRng).unwrap();
    assert!(matches!(at("other.key"), Err(StoreError::WrongUnlock("key file"))));
    assert!(refusal(at("missing.key")).contains("no key file"));
    fs::write(scratch.path("short.key"), [1; 31]).unwrap();
    mode(&scratch.path("short.key"), 0o600);
    assert!(refusal(at("short.key")).contains("32 octets"));
    // A lost header must not be replaced: that would bury the keys.
    fs::remove_file(scratch.path("vault/vault.json")).unwrap();
    assert!(refusal(at("root.key")).contains("restore it from a backup"));
}

#[tokio::test]
async fn files_that_others_can_read_are_refused_with_the_command_to_run() {
    let scratch = Scratch::new();
    let vault = open(&scratch).unwrap();
    let _ = vault.current(&TENANT(), KeyPurpose::Token).await.unwrap();
    vault.put_secret("a", &Secret::new(vec![1])).unwrap();
    drop(vault);
    for (name, bad, good) in [
        ("root.key", 0o604, 0o600),
        ("vault", 0o750, 0o700),
        ("vault/keys", 0o701, 0o700),
        ("vault/secrets", 0o770, 0o700),
        ("vault/vault.json", 0o644, 0o600),
    ] {
        let path = scratch.path(name);
        let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, good, "{name}");
        mode(&path, bad);
        let error = refusal(open(&scratch));
        let want = format!("run: chmod {good:o} {}", path.display());
        assert!(error.contains(&want) && error.contains(&format!("mode {bad:04o}")), "{error}");
        mode(&path, good);
    }
    let vault = open(&scratch).unwrap();
    mode(&scratch.path("vault/keys/default/token.1.key"), 0o640);
    let error = vault.current(&TENANT(), KeyPurpose::Token).await.err().unwrap().to_string();
    assert!(error.contains("chmod 600"), "{error}");
    mode(&scratch.path("vault/secrets/a.secret"), 0o640);
    assert!(vault.get_secret("a").err().unwrap().to_string().contains("chmod 600"));
    // A link could point anywhere.
    fs::remove_file(scratch.path("vault/secrets/a.secret")).unwrap();
    std::os::unix::fs::symlink(scratch.path("root.key"), scratch.path("vault/secrets/a.secret"))
        .unwrap();
    assert!(vault.get_secret("a").err().unwrap().to_string().contains("not a regular file"));
}

#[tokio::test]
async fn an_altered_or_exchanged_key_does_not_open() {
    let scratch = Scratch::new();
    let vault = open(&scratch).unwrap();
    for purpose in [KeyPurpose::Token, KeyPurpose::Cursor] {
        let _ = vault.current(&TENANT(), purpose).await.unwrap();
    }
    drop(vault);
    let path = |name: &str| scratch.path("vault/keys/default").join(name);
    fs::copy(path("token.1.key"), path("cursor.1.key")).unwrap();
    let vault = open(&scratch).unwrap();
    let error = vault.current(&TENANT(), KeyPurpose::Cursor).await.err().unwrap();
    assert!(matches!(&error, VaultError::Unavailable(why) if why.contains("altered")), "{error}");
    assert!(vault.current(&TENANT(), KeyPurpose::Token).await.is_ok());
}

#[test]
fn secrets_have_names_and_bounds() {
    let scratch = Scratch::new();
    let vault = open(&scratch).unwrap();
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
    for name in ["default/issuer.key", "a", "default/a-b_c"] {
        vault.put_secret(name, &secret(name)).unwrap();
    }
    vault.put_secret("a", &secret("newer")).unwrap();
    assert_eq!(vault.list_secrets().unwrap(), ["a", "default/a-b_c", "default/issuer.key"]);
    assert_eq!(vault.get_secret("a").unwrap().unwrap().expose(), b"newer");
    assert!(vault.get_secret("b").unwrap().is_none());
    assert!(vault.remove_secret("a").unwrap());
    assert!(!vault.remove_secret("a").unwrap());
    assert!(vault.get_secret("a").unwrap().is_none());
    let long = "x".repeat(101);
    for bad in ["", "/", "a/", "../a", ".a", "a/.b", "A", "a+b", "a b", "a\0", &long] {
        assert!(vault.put_secret(bad, &secret("x")).is_err(), "{bad:?}");
    }
    let large = Secret::new(vec![0; SECRET_BOUND + 1]);
    assert!(matches!(vault.put_secret("a", &large), Err(StoreError::TooLarge { .. })));
    // A secret cannot take another's place.
    fs::copy(
        scratch.path("vault/secrets/default+issuer.key.secret"),
        scratch.path("vault/secrets/default+a-b_c.secret"),
    )
    .unwrap();
    assert!(vault.get_secret("default/a-b_c").is_err());
}

#[test]
fn sealing_round_trips_and_refuses_every_alteration() {
    let scratch = Scratch::new();
    let vault = open(&scratch).unwrap();
    proptest!(|(
        plain in prop::collection::vec(any::<u8>(), 0..300),
        name in "[a-z]{1,10}",
        at in any::<prop::sample::Index>(),
        mask in 1..=255_u8,
    )| {
        let context: [&[u8]; 2] = [b"secret", name.as_bytes()];
        let sealed = vault.wrap(&context, &plain).unwrap();
        let opened = vault.unwrap(&context, &sealed).unwrap();
        prop_assert_eq!(opened.expose(), &plain);
        let mut altered = sealed.clone();
        altered[at.index(sealed.len())] ^= mask;
        prop_assert!(vault.unwrap(&context, &altered).is_none());
        prop_assert!(vault.unwrap(&context, &sealed[..at.index(sealed.len())]).is_none());
        prop_assert!(vault.unwrap(&[b"data key", name.as_bytes()], &sealed).is_none());
        prop_assert!(vault.unwrap(&[b"secre", b"t", name.as_bytes()], &sealed).is_none());
        if plain.len() >= 16 {
            prop_assert!(!sealed.windows(plain.len()).any(|window| window == plain));
        }
    });
}

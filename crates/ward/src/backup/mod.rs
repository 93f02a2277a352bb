//! Backups: the whole state of a Ward as of one moment, in one sealed file, made while it serves.
//!
//! Order (rule 4): first the store, by its own connection; then the log up to the last entry that the copy of the
//! store knows of, which covers everything that the store has handed over; then the vault, whose keys are only
//! ever added to; then the trust bundles that were taken, whose numbers only rise. So store and log agree, whatever goes on meanwhile. The keys stay wrapped: besides the backup's
//! own secret, whoever restores needs the vault's passphrase or key file, which is not in the backup.
//!
//! A process other than the one that serves must never open the store (closing it would drop the server's locks):
//! [`create`] runs inside the server; the command line opens a store only if nobody serves from it.

pub(crate) mod command;
mod restore;
mod stream;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use ward_audit::{Log, LogError, RealDisk};
use ward_core::{CorrelationId, Event, EventKind, EventSink as _, SinkError, TenantId};
use ward_store::{Snapshot, Store, StoreError};

use crate::house::{House, System};
use crate::paths::Paths;

pub use command::on_request;
pub use restore::{Restored, restore};
pub use stream::Seal;
pub use ward_admin::BackupMade as Made;

/// Largest file of the vault.
const VAULT_FILE: u64 = 1024 * 1024;
/// How often the vault is read anew when it changes while it is read.
const VAULT_TRIES: usize = 5;
/// How the name of a copy of the store begins, which lies beside it until it is in the backup.
const COPY: &str = "backup-";
/// The entry that says what the others must be.
const MANIFEST: &str = "manifest.json";
/// Left in a restored directory until the server that starts on it has recorded that it was restored.
const MARKER: &str = "restored.json";

/// Why a backup was not made, or not restored. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file does not begin like a backup.
    #[error("this is not a backup of Ward; name the file that `ward backup` made")]
    NotABackup,
    /// Another format.
    #[error("this backup was made by a newer version of Ward; restore it with that version")]
    Newer,
    /// Passphrase given, key file needed, or the other way round.
    #[error(
        "this backup was sealed the other way: give --passphrase-file instead of --key-file, or the reverse"
    )]
    OtherSeal,
    /// The first chunk does not open.
    #[error("the passphrase or key does not open this backup, or its first part was altered")]
    WrongSeal,
    /// A chunk does not open, or content is not what it must be.
    #[error("this backup was altered or cut off; use another copy")]
    Altered,
    /// The parts are sound but do not belong together.
    #[error("the backup does not agree with itself: {0}")]
    Disagrees(String),
    /// The target is not empty.
    #[error("{} is not empty; a backup is restored into a new or empty directory only", .0.display())]
    NotEmpty(PathBuf),
    /// The backup's file exists.
    #[error("{} exists already; a backup never replaces a file", .0.display())]
    Exists(PathBuf),
    /// The vault changes faster than it can be read.
    #[error("the keys changed while they were read; try again")]
    Unsteady,
    /// The store.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// The log, also if it does not continue the checkpoint that was kept elsewhere.
    #[error("log: {0}")]
    Log(#[from] LogError),
    /// The log took no entry about the backup.
    #[error("log: {0}")]
    Sink(#[from] SinkError),
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl BackupError {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::File { path: path.to_path_buf(), source }
    }

    /// An error while reading the sealed stream.
    fn reading(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Altered,
            _ => Self::File { path: PathBuf::from("the backup"), source: error },
        }
    }
}

/// What a backup is made of: the open store and log of one data directory.
#[derive(Clone)]
pub struct Source {
    /// The data directory.
    pub paths: Paths,
    /// Its store, open in this process.
    pub store: Arc<Store>,
    /// Its log, open in this process.
    pub log: Arc<Log>,
    /// Whose act it is.
    pub tenant: TenantId,
    /// Time and randomness.
    pub system: System,
}

/// What stands in the manifest; restoring checks each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    version: u32,
    created: String,
    verifier_key: String,
    log_size: u64,
    log_outbox: u64,
    checkpoint: String,
    store_highest: u64,
    files: Vec<(String, u64)>,
}

/// Backs up a running Ward; see [`create_from`].
pub async fn create(
    house: &House,
    seal: Seal,
    to: &Path,
    operator: &str,
) -> Result<Made, BackupError> {
    create_from(&house.backup_source(), seal, to, operator).await
}

/// Makes a backup in the new file `to` (owner-only, durable when this returns) and records that `operator`
/// did. Serving goes on meanwhile.
pub async fn create_from(
    source: &Source,
    seal: Seal,
    to: &Path,
    operator: &str,
) -> Result<Made, BackupError> {
    if to.exists() {
        return Err(BackupError::Exists(to.to_path_buf()));
    }
    // The checkpoint covers what was durable before; the copy of the store is made after, so it knows all of it.
    let _ = source.log.checkpoint().await?;
    let name = format!("{COPY}{:016x}.tmp", source.system.rng.next_u64());
    let copy = Temporary(source.paths.store().join(name));
    let snapshot = source.store.snapshot(&copy.0).await?;
    let durable = source.log.size();

    let job = Job {
        paths: source.paths.clone(),
        verifier_key: source.log.verifier_key(),
        created: source.system.clock.now().to_rfc3339(),
        rng: source.system.rng.clone(),
        copy,
        snapshot,
        durable,
    };
    let target = to.to_path_buf();
    let made = tokio::task::spawn_blocking(move || job.write(&seal, &target))
        .await
        .map_err(|error| BackupError::Disagrees(error.to_string()))??;

    let (clock, rng) = (&*source.system.clock, &*source.system.rng);
    let correlation = CorrelationId::new(clock, rng);
    let mut event =
        Event::new(EventKind::Operator, "backup", source.tenant.clone(), clock.now(), correlation)
            .with("log_size", made.log_size.to_string())
            .with("state_changes", made.state_changes.to_string());
    event.actor.operator = Some(operator.to_owned().into());
    source.log.record(vec![event]).await?;
    Ok(made)
}

/// A file that goes with the value.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The part that blocks.
struct Job {
    paths: Paths,
    verifier_key: String,
    created: String,
    rng: Arc<dyn ward_core::Rng>,
    copy: Temporary,
    snapshot: Snapshot,
    durable: u64,
}

impl Job {
    fn write(self, seal: &Seal, to: &Path) -> Result<Made, BackupError> {
        let disk = RealDisk::new(self.paths.log());
        let log =
            ward_audit::prefix(&disk, &self.verifier_key, self.durable, self.snapshot.highest)?;
        agree(&self.snapshot, log.outbox_high).map_err(BackupError::Disagrees)?;

        let mut name = to.file_name().unwrap_or_default().to_os_string();
        name.push(".part");
        let part = Temporary(to.with_file_name(name));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part.0)
            .map_err(BackupError::file(&part.0))?;
        let fail = |error| BackupError::file(to)(error);
        let sealer = stream::Sealer::new(BufWriter::new(file), seal, &*self.rng).map_err(fail)?;
        let mut out = Archive { to: sealer, files: Vec::new() };

        out.copy("store/ward.db", &self.copy.0, None)?;
        for (path, octets) in &log.segments {
            out.copy(&format!("log/{path}"), &self.paths.log().join(path), Some(*octets))?;
        }
        out.put("log/checkpoints", log.history.as_bytes())?;
        out.put("log/checkpoint", log.checkpoint.as_bytes())?;
        out.put("log-verifier.txt", format!("{}\n", self.verifier_key).as_bytes())?;
        for (path, bytes) in vault_files(&self.paths.vault())? {
            out.put(&format!("vault/{path}"), &bytes)?;
        }
        // Each is replaced whole: a roll-back is refused after a restore too.
        let bundles = self.paths.root().join("bundles");
        if bundles.is_dir() {
            for name in names(&bundles)?.into_iter().filter(|name| is_bundle(name)) {
                out.copy(&format!("bundles/{name}"), &bundles.join(&name), None)?;
            }
        }
        let manifest = Manifest {
            version: 1,
            created: self.created.clone(),
            verifier_key: self.verifier_key.clone(),
            log_size: log.size,
            log_outbox: log.outbox_high,
            checkpoint: log.checkpoint.clone(),
            store_highest: self.snapshot.highest.0,
            files: out.files.clone(),
        };
        let manifest = serde_json::to_vec(&manifest)
            .map_err(|error| BackupError::Disagrees(error.to_string()))?;
        out.put(MANIFEST, &manifest)?;
        out.to.write_all(b"E").map_err(fail)?;
        let file =
            out.to.finish().and_then(|w| w.into_inner().map_err(io::IntoInnerError::into_error));
        let file = file.map_err(fail)?;
        file.sync_all().map_err(fail)?;
        let bytes = file.metadata().map_err(fail)?.len();
        // Never over a file that came meanwhile.
        fs::hard_link(&part.0, to).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists(to.to_path_buf()),
            _ => BackupError::file(to)(error),
        })?;
        drop(part);
        sync_dir(to.parent().unwrap_or(Path::new(".")))?;
        Ok(Made {
            bytes,
            log_size: log.size,
            signed: log.signed,
            checkpoint: log.checkpoint,
            state_changes: self.snapshot.highest.0,
        })
    }
}

/// Whether a store and a log agree (rule 4): the log knows no change that the store does not, and every change that
/// the log does not know still waits in the store.
fn agree(store: &Snapshot, log_outbox: u64) -> Result<(), String> {
    let highest = store.highest.0;
    if log_outbox > highest {
        return Err(format!("the log has state change {log_outbox}, the store ends at {highest}"));
    }
    let waits = store.pending > 0 && store.first_pending <= log_outbox + 1;
    if log_outbox < highest && !waits {
        return Err(format!(
            "state changes after {log_outbox} are neither in the log nor in the outbox"
        ));
    }
    if store.pending > 0 && store.pending != highest + 1 - store.first_pending.min(highest) {
        return Err("the outbox has gaps".to_owned());
    }
    Ok(())
}

/// The files inside: `F`, length of the path (2), path, length (8), octets; `E` after the last.
struct Archive<W: Write> {
    to: stream::Sealer<W>,
    files: Vec<(String, u64)>,
}

impl<W: Write> Archive<W> {
    fn begin(&mut self, path: &str, octets: u64) -> io::Result<()> {
        let length = u16::try_from(path.len()).map_err(io::Error::other)?;
        self.to.write_all(b"F")?;
        self.to.write_all(&length.to_be_bytes())?;
        self.to.write_all(path.as_bytes())?;
        self.to.write_all(&octets.to_be_bytes())?;
        self.files.push((path.to_owned(), octets));
        Ok(())
    }

    fn put(&mut self, path: &str, bytes: &[u8]) -> Result<(), BackupError> {
        self.begin(path, bytes.len() as u64)
            .and_then(|()| self.to.write_all(bytes))
            .map_err(BackupError::file(Path::new(path)))
    }

    /// The first octets of a file, or all of it.
    fn copy(&mut self, path: &str, from: &Path, octets: Option<u64>) -> Result<(), BackupError> {
        let fail = |error| BackupError::file(from)(error);
        let file = File::open(from).map_err(fail)?;
        let octets = match octets {
            Some(octets) => octets,
            None => file.metadata().map_err(fail)?.len(),
        };
        self.begin(path, octets).map_err(fail)?;
        let copied = io::copy(&mut file.take(octets), &mut self.to).map_err(fail)?;
        if copied == octets { Ok(()) } else { Err(fail(io::ErrorKind::UnexpectedEof.into())) }
    }
}

/// Every file of the vault, by its path below it. Read again if its names changed meanwhile: a key that is being
/// destroyed must come with its tombstone.
fn vault_files(dir: &Path) -> Result<Vec<(String, Vec<u8>)>, BackupError> {
    for _ in 0..VAULT_TRIES {
        let before = names(dir)?;
        let mut files = Vec::with_capacity(before.len());
        for name in &before {
            let path = dir.join(name);
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(BackupError::file(&path)(error)),
            };
            let mut bytes = Vec::new();
            file.take(VAULT_FILE).read_to_end(&mut bytes).map_err(BackupError::file(&path))?;
            files.push((name.clone(), bytes));
        }
        if names(dir)? == before {
            return Ok(files);
        }
    }
    Err(BackupError::Unsteady)
}

/// The regular files below a directory, sorted; without those that are being written.
fn names(dir: &Path) -> Result<Vec<String>, BackupError> {
    let mut out = Vec::new();
    let mut waiting = vec![String::new()];
    while let Some(below) = waiting.pop() {
        let here = dir.join(&below);
        for entry in fs::read_dir(&here).map_err(BackupError::file(&here))? {
            let entry = entry.map_err(BackupError::file(&here))?;
            let kind = entry.file_type().map_err(BackupError::file(&here))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let name = if below.is_empty() { name } else { format!("{below}/{name}") };
            if kind.is_dir() {
                waiting.push(name);
            } else if kind.is_file() && !is_temporary(Path::new(&name)) {
                out.push(name);
            }
        }
    }
    out.sort_unstable();
    Ok(out)
}

/// Whether a file is one that is being written, or was when the power failed.
fn is_temporary(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tmp")
}

/// Whether a name is that of a community's trust bundles: a hash of its URI.
fn is_bundle(name: &str) -> bool {
    let hash = name.strip_suffix(".json").unwrap_or_default();
    hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(BackupError::file(dir))
}

/// What a restore leaves for the server that starts on it.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    created: String,
    log_size: u64,
    restored: String,
}

/// What a start owes to backups: a copy of the store that a crash left goes, and a restore is recorded. The store is
/// open in this process, so no backup of it is being made elsewhere.
pub(crate) async fn wake(
    paths: &Paths,
    log: &Log,
    tenant: &TenantId,
    system: &System,
) -> Result<(), SinkError> {
    for entry in fs::read_dir(paths.store()).into_iter().flatten().flatten() {
        let path = entry.path();
        if is_temporary(&path) && entry.file_name().to_string_lossy().starts_with(COPY) {
            let _ = fs::remove_file(path);
        }
    }
    record_restored(paths, log, tenant, system).await
}

/// Records that this data directory was restored, if it was and nobody has recorded it yet: an auditor who kept a
/// newer checkpoint must find out why the log does not continue it.
async fn record_restored(
    paths: &Paths,
    log: &Log,
    tenant: &TenantId,
    system: &System,
) -> Result<(), SinkError> {
    let path = paths.root().join(MARKER);
    let Ok(bytes) = fs::read(&path) else { return Ok(()) };
    let correlation = CorrelationId::new(&*system.clock, &*system.rng);
    let now = system.clock.now();
    let mut event = Event::new(EventKind::Operator, "restored", tenant.clone(), now, correlation);
    if let Ok(marker) = serde_json::from_slice::<Marker>(&bytes) {
        event = event
            .with("backup_of", marker.created)
            .with("log_size", marker.log_size.to_string())
            .with("restored", marker.restored);
    }
    log.record(vec![event]).await?;
    if let Err(error) = fs::remove_file(&path) {
        tracing::warn!(%error, "the restore is recorded, and will be again at the next start");
    }
    Ok(())
}

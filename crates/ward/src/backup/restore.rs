//! Restoring a backup: into a new directory, verified as a whole before it takes its place.
//!
//! Refused: a target that is not empty, a backup that was altered anywhere or does not agree with itself, a log that
//! does not prove against the backup's own checkpoint and the one that was kept elsewhere. Until everything holds,
//! the target is untouched.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use ward_audit::RealDisk;

use super::stream::{Opener, Seal};
use super::{BackupError, MANIFEST, MARKER, Manifest, Marker, agree, is_bundle, sync_dir};
use crate::house::System;
use crate::paths::Paths;

/// Octets of a manifest.
const MANIFEST_BOUND: u64 = 64 * 1024 * 1024;
/// Files in a backup.
const MAX_FILES: usize = 10_000_000;

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// When the backup was made.
    pub created: String,
    /// Entries of the log.
    pub log_size: u64,
    /// Of which signed.
    pub signed: u64,
    /// Root over all entries, hexadecimal.
    pub root: String,
    /// State changes of the store.
    pub state_changes: u64,
    /// Files.
    pub files: usize,
}

/// A directory that goes unless it is kept.
struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Restores the backup in `from` as the data directory `data`, which must not exist or be empty. `checkpoint` is a
/// signed note of the log that was kept elsewhere, `verifier_key` the log's key likewise. Blocks.
pub fn restore(
    from: &Path,
    seal: &Seal,
    data: &Path,
    checkpoint: Option<&str>,
    verifier_key: Option<&str>,
    system: &System,
) -> Result<Restored, BackupError> {
    refuse_full(data)?;
    let file = File::open(from).map_err(BackupError::file(from))?;
    let mut archive = Opener::new(BufReader::new(file), seal)?;

    let mut name = data.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".restoring-{:016x}", system.rng.next_u64()));
    let scratch = Scratch { path: data.with_file_name(name), keep: false };
    make_dir(&scratch.path)?;
    for dir in ["store", "log/segments", "vault/keys", "vault/secrets"] {
        make_dir(&scratch.path.join(dir))?;
    }
    let (manifest, found) = extract(&mut archive, &scratch.path)?;
    if manifest.version != 1 {
        return Err(BackupError::Newer);
    }
    if manifest.files != found {
        return Err(BackupError::Disagrees("its files are not those of its manifest".to_owned()));
    }
    let restored = prove(&scratch.path, &manifest, checkpoint, verifier_key)?;

    let marker = Marker {
        created: manifest.created,
        log_size: manifest.log_size,
        restored: system.clock.now().to_rfc3339(),
    };
    let marker =
        serde_json::to_vec(&marker).map_err(|error| BackupError::Disagrees(error.to_string()))?;
    write_file(&scratch.path.join(MARKER), &mut marker.as_slice(), marker.len() as u64)?;
    sync_all_dirs(&scratch.path)?;
    swap(scratch, data)?;
    Ok(restored)
}

/// Whether the target may become the data directory.
fn refuse_full(data: &Path) -> Result<(), BackupError> {
    match fs::read_dir(data) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(BackupError::NotEmpty(data.to_path_buf())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BackupError::file(data)(error)),
    }
}

/// Writes all files of the archive below `root`; the manifest, and what was found.
fn extract<R: io::Read>(
    archive: &mut Opener<R>,
    root: &Path,
) -> Result<(Manifest, Vec<(String, u64)>), BackupError> {
    let mut found = Vec::new();
    let mut manifest = None;
    loop {
        let mut kind = [0; 1];
        archive.read_exact(&mut kind).map_err(BackupError::reading)?;
        match (&kind, &manifest) {
            (b"F", None) if found.len() < MAX_FILES => {}
            (b"E", Some(_)) if archive.is_at_end() => break,
            _ => return Err(BackupError::Altered),
        }
        let (mut length, mut octets) = ([0; 2], [0; 8]);
        archive.read_exact(&mut length).map_err(BackupError::reading)?;
        let mut path = vec![0; usize::from(u16::from_be_bytes(length))];
        archive.read_exact(&mut path).map_err(BackupError::reading)?;
        archive.read_exact(&mut octets).map_err(BackupError::reading)?;
        let octets = u64::from_be_bytes(octets);
        let path = String::from_utf8(path).map_err(|_| BackupError::Altered)?;
        if path == MANIFEST {
            if octets > MANIFEST_BOUND {
                return Err(BackupError::Altered);
            }
            let mut bytes = Vec::new();
            archive.by_ref().take(octets).read_to_end(&mut bytes).map_err(BackupError::reading)?;
            manifest = Some(serde_json::from_slice(&bytes).map_err(|_| BackupError::Altered)?);
            continue;
        }
        if !is_ours(&path) {
            return Err(BackupError::Disagrees(format!(
                "it holds a file that is none of Ward's: {path:?}"
            )));
        }
        let target = root.join(&path);
        if let Some(parent) = target.parent() {
            make_dir(parent)?;
        }
        write_file(&target, archive, octets)?;
        found.push((path, octets));
    }
    manifest.map(|manifest| (manifest, found)).ok_or(BackupError::Altered)
}

/// Whether a path is one that a backup has: below the known places, of plain names only.
fn is_ours(path: &str) -> bool {
    let plain = Path::new(path).components().all(|part| match part {
        Component::Normal(name) => name.to_str().is_some_and(|name| !name.starts_with('.')),
        _ => false,
    });
    let place =
        matches!(path, "store/ward.db" | "log/checkpoint" | "log/checkpoints" | "log-verifier.txt")
            || path.starts_with("vault/")
            || path.starts_with("log/segments/")
            || path.strip_prefix("bundles/").is_some_and(is_bundle);
    plain && place && !path.ends_with('/')
}

/// Everything that can be said about the directory without its keys.
fn prove(
    root: &Path,
    manifest: &Manifest,
    checkpoint: Option<&str>,
    verifier_key: Option<&str>,
) -> Result<Restored, BackupError> {
    let paths = Paths::new(root);
    let disk = RealDisk::new(paths.log());
    let key = verifier_key.unwrap_or(&manifest.verifier_key).trim();
    let report = ward_audit::verify(&disk, key, Some(&manifest.checkpoint))?;
    if let Some(kept) = checkpoint {
        ward_audit::verify(&disk, key, Some(kept))?;
    }
    if report.size != manifest.log_size
        || report.outbox_high != manifest.log_outbox
        || report.torn_bytes != 0
    {
        return Err(BackupError::Disagrees(format!(
            "the log has {} entries, {} were backed up",
            report.size, manifest.log_size
        )));
    }
    let store = ward_store::check_snapshot(&paths.store().join("ward.db"))?;
    if store.highest.0 != manifest.store_highest {
        return Err(BackupError::Disagrees(
            "the store is not the one that was backed up".to_owned(),
        ));
    }
    agree(&store, report.outbox_high).map_err(BackupError::Disagrees)?;
    if !paths.vault().join("vault.json").is_file() {
        return Err(BackupError::Disagrees("it has no vault".to_owned()));
    }
    Ok(Restored {
        created: manifest.created.clone(),
        log_size: report.size,
        signed: report.signed,
        root: ward_core::crypto::hex(&report.root),
        state_changes: store.highest.0,
        files: manifest.files.len(),
    })
}

/// The verified directory takes the place of the target, or nothing happens.
fn swap(mut scratch: Scratch, data: &Path) -> Result<(), BackupError> {
    // Replaces an empty directory only: if something came into it meanwhile, the system refuses.
    fs::rename(&scratch.path, data).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
            BackupError::NotEmpty(data.to_path_buf())
        }
        _ => BackupError::file(data)(error),
    })?;
    scratch.keep = true;
    sync_dir(data.parent().unwrap_or(Path::new(".")))
}

fn make_dir(path: &Path) -> Result<(), BackupError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(BackupError::file(path))
}

fn write_file(path: &Path, from: &mut impl io::Read, octets: u64) -> Result<(), BackupError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(BackupError::file(path))?;
    let mut rest = octets;
    let mut buffer = vec![0; 64 * 1024];
    while rest > 0 {
        let want = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        let part = buffer.get_mut(..want).unwrap_or_default();
        from.read_exact(part).map_err(BackupError::reading)?;
        file.write_all(part).map_err(BackupError::file(path))?;
        rest -= want as u64;
    }
    file.sync_all().map_err(BackupError::file(path))
}

fn sync_all_dirs(root: &Path) -> Result<(), BackupError> {
    for entry in fs::read_dir(root).map_err(BackupError::file(root))? {
        let path = entry.map_err(BackupError::file(root))?.path();
        if path.is_dir() {
            sync_all_dirs(&path)?;
        }
    }
    sync_dir(root)
}

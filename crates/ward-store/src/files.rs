//! Private files: owner-only, written whole or not at all, durable when the call returns.
//!
//! Refused: files and directories that others on the machine can use, symbolic links in their place,
//! and files larger than the caller expects.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::StoreError;

/// Permission bits of group and others.
const OTHERS: u32 = 0o077;

/// Makes the directory (mode 0700) if it is missing, and refuses it if others can use it. An
/// empty one is made private instead of refused: nothing can have leaked from it.
pub(crate) fn private_dir(path: &Path) -> Result<(), StoreError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => {
            let mode = meta.permissions().mode() & 0o7777;
            if mode & OTHERS == 0 {
                return Ok(());
            }
            let empty = fs::read_dir(path).map_err(StoreError::io(path))?.next().is_none();
            if empty {
                return fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                    .map_err(StoreError::io(path));
            }
            Err(StoreError::Permissive { path: path.to_path_buf(), mode, want: 0o700 })
        }
        Ok(_) => Err(StoreError::BadVault(format!(
            "{} is not a directory; move it away or choose another path",
            path.display()
        ))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(StoreError::io(path))?;
            path.parent().map_or(Ok(()), sync_dir)
        }
        Err(error) => Err(StoreError::io(path)(error)),
    }
}

/// Refuses what is not an owner-only regular file. `false` if there is no such file.
pub(crate) fn check_private(path: &Path) -> Result<bool, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() => {
            let mode = meta.permissions().mode() & 0o7777;
            if mode & OTHERS == 0 {
                Ok(true)
            } else {
                Err(StoreError::Permissive { path: path.to_path_buf(), mode, want: 0o600 })
            }
        }
        Ok(_) => Err(StoreError::BadVault(format!(
            "{} is not a regular file; move it away",
            path.display()
        ))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io(path)(error)),
    }
}

/// Reads a private file of at most `bound` bytes; `None` if there is none.
pub(crate) fn read_private(
    path: &Path,
    bound: usize,
) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    if !check_private(path)? {
        return Ok(None);
    }
    let file = File::open(path).map_err(StoreError::io(path))?;
    // Reserved beforehand, so that growing does not leave copies of a secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bound.saturating_add(1).min(1 << 20)));
    file.take(bound as u64 + 1).read_to_end(&mut bytes).map_err(StoreError::io(path))?;
    if bytes.len() > bound {
        return Err(StoreError::TooLarge { what: "a vault file", bound });
    }
    Ok(Some(bytes))
}

/// Whether [`write_new`] wrote the file or found one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrote {
    /// The file is the caller's.
    New,
    /// There was one already; it is untouched.
    Existed,
}

/// Writes a new private file atomically and durably; never over an existing one, also when two
/// processes try at once.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<Wrote, StoreError> {
    let temporary = write_temporary(path, bytes)?;
    let linked = fs::hard_link(&temporary, path);
    let removed = fs::remove_file(&temporary).map_err(StoreError::io(&temporary));
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Wrote::Existed),
        Err(error) => return Err(StoreError::io(path)(error)),
    }
    removed?;
    path.parent().map_or(Ok(()), sync_dir)?;
    Ok(Wrote::New)
}

/// Replaces a private file atomically and durably.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = write_temporary(path, bytes)?;
    fs::rename(&temporary, path).map_err(StoreError::io(path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Overwrites the file's bytes, then removes it, durably. Overwriting is best effort on journaling
/// and flash media; that the bytes are sealed is what protects them there.
pub(crate) fn shred(path: &Path) -> Result<(), StoreError> {
    let mut file = OpenOptions::new().write(true).open(path).map_err(StoreError::io(path))?;
    let length = file.metadata().map_err(StoreError::io(path))?.len();
    let zeros = vec![0; usize::try_from(length).unwrap_or(0).min(1 << 20)];
    file.write_all(&zeros).and_then(|()| file.sync_all()).map_err(StoreError::io(path))?;
    fs::remove_file(path).map_err(StoreError::io(path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes names in the directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|dir| dir.sync_all()).map_err(StoreError::io(path))
}

fn write_temporary(path: &Path, bytes: &[u8]) -> Result<PathBuf, StoreError> {
    use std::sync::atomic::{AtomicU64, Ordering};
    // Unique among the threads of this process; the process id tells processes apart.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let temporary = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(StoreError::io(&temporary))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // What was half written is of no use to anyone; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
        return Err(StoreError::io(&temporary)(error));
    }
    Ok(temporary)
}

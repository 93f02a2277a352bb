//! Public files of the community: written whole or not at all, durable when the call returns. What is
//! secret does not come here but into the vault.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::CommunityError;

fn at(path: &Path) -> impl FnOnce(io::Error) -> CommunityError + '_ {
    move |source| CommunityError::Io { path: path.to_path_buf(), source }
}

/// Makes a directory and its parents.
pub(crate) fn make_dir(path: &Path) -> Result<(), CommunityError> {
    fs::create_dir_all(path).map_err(at(path))?;
    sync(path.parent().unwrap_or(Path::new(".")))
}

/// Makes names in a directory durable.
fn sync(dir: &Path) -> Result<(), CommunityError> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|file| file.sync_all()).map_err(at(dir))
}

/// Replaces a file: temporary file, fsync, rename, fsync of the directory.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), CommunityError> {
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&temporary)
        .map_err(at(&temporary))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at(&temporary))?;
    fs::rename(&temporary, path).map_err(at(path))?;
    sync(path.parent().unwrap_or(Path::new(".")))
}

/// Reads a file of at most `bound` bytes; `None` if there is none.
pub(crate) fn read(path: &Path, bound: u64) -> Result<Option<Vec<u8>>, CommunityError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path)(error)),
    };
    let mut bytes = Vec::new();
    let length = file.take(bound + 1).read_to_end(&mut bytes).map_err(at(path))? as u64;
    if length > bound { Err(CommunityError::Damaged(path.to_path_buf())) } else { Ok(Some(bytes)) }
}

/// Takes a directory for this process, until the file is dropped.
pub(crate) fn lock(dir: &Path) -> Result<File, CommunityError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CommunityError::InUse(dir.to_path_buf())),
        Err(TryLockError::Error(error)) => Err(at(&path)(error)),
    }
}

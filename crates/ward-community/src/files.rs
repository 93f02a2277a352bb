//! Public files of the community: written whole or not at all, durable when the call returns. What is
//! secret does not come here but into the vault.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::CommunityError;

fn at(path: &Path) -> impl FnOnce(io::Error) -> CommunityError + '_ {
    move |source| CommunityError::Io { path: path.to_path_buf(), source }
}

/// Makes a directory and its parents.
pub(crate) fn make_dir(path: &Path) -> Result<(), CommunityError> {
    fs::create_dir_all(path).map_err(at(path))
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
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
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

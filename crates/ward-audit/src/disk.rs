//! The few file operations that the log needs, so that a double can fail, fill up or crash at each.
//!
//! Paths are relative to the directory of the log, with `/` between their parts. The contract that
//! matters (house §6): appended bytes are durable after [`Disk::sync`] of the file, a created, renamed
//! or removed name after [`Disk::sync_dir`] of its directory, and nothing before. [`RealDisk`] makes
//! files readable by their owner only.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Holds the exclusive right to write a log; released when dropped.
pub type DiskLock = Box<dyn Send + Sync>;

/// File operations under one directory.
pub trait Disk: Send + Sync {
    /// Names in a directory, sorted; empty if it does not exist.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// Length of a file; `None` if it does not exist.
    fn len(&self, path: &str) -> io::Result<Option<u64>>;
    /// The whole file; `None` if it does not exist.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;
    /// Creates a directory and its parents, if they do not exist.
    fn create_dir(&self, dir: &str) -> io::Result<()>;
    /// Appends; creates the file if needed. After an error a part may have been written.
    fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Writes over bytes of a file, from an offset of at most its length; it grows as far as needed. After an error
    /// a part may have been written.
    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Writes a whole file anew; not atomic.
    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a file to a length.
    fn truncate(&self, path: &str, len: u64) -> io::Result<()>;
    /// Makes the contents of a file durable.
    fn sync(&self, path: &str) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// Gives a file another name, replacing what was there.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file or an empty directory; no error if it does not exist.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Takes the exclusive right to write; `None` if another has it.
    fn lock(&self) -> io::Result<Option<DiskLock>>;
}

/// A directory of the machine.
pub struct RealDisk {
    root: PathBuf,
    /// The files written to, so that a commit is one write and one fsync. At most [`OPEN_FILES`].
    open: Mutex<HashMap<String, Arc<File>>>,
}

const OPEN_FILES: usize = 4;

impl RealDisk {
    /// The log under `root`, which is made (0700) when something is written.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), open: Mutex::new(HashMap::new()) }
    }

    fn at(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    fn forget(&self, path: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }

    /// A file to write to; `create` makes it if it does not exist.
    fn writable(&self, path: &str, create: bool) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(path) {
            return Ok(Arc::clone(file));
        }
        if open.len() >= OPEN_FILES {
            open.clear();
        }
        let file = private().write(true).create(create).truncate(false).open(self.at(path))?;
        let file = Arc::new(file);
        open.insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}

#[cfg(unix)]
fn private() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(not(unix))]
fn private() -> OpenOptions {
    OpenOptions::new()
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn write_all_at(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    use std::io::Seek as _;
    file.seek(io::SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

#[cfg(unix)]
fn make_dirs(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_dirs(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(path)
}

fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Disk for RealDisk {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let Some(entries) = absent(std::fs::read_dir(self.at(dir)))? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in entries {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn len(&self, path: &str) -> io::Result<Option<u64>> {
        Ok(absent(std::fs::metadata(self.at(path)))?.map(|found| found.len()))
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = absent(File::open(self.at(path)))? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        let path = self.at(dir);
        if path.is_dir() {
            return Ok(());
        }
        make_dirs(&path)?;
        match path.parent() {
            Some(parent) if dir.is_empty() && !parent.as_os_str().is_empty() => {
                File::open(parent)?.sync_all()
            }
            _ => Ok(()),
        }
    }

    fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let file = self.writable(path, true)?;
        // One process writes, so the end stays where it is.
        let end = file.metadata()?.len();
        write_all_at(&file, bytes, end)
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_all_at(&*self.writable(path, false)?, bytes, offset)
    }

    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.forget(path);
        let mut file = private().write(true).create(true).truncate(true).open(self.at(path))?;
        file.write_all(bytes)
    }

    fn truncate(&self, path: &str, len: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.at(path))?.set_len(len)
    }

    fn sync(&self, path: &str) -> io::Result<()> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        match open {
            Some(file) => file.sync_data(),
            None => OpenOptions::new().write(true).open(self.at(path))?.sync_data(),
        }
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        File::open(self.at(dir))?.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.forget(from);
        self.forget(to);
        std::fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.forget(path);
        let path = self.at(path);
        let removed =
            if path.is_dir() { std::fs::remove_dir(path) } else { std::fs::remove_file(path) };
        absent(removed).map(|_| ())
    }

    fn lock(&self) -> io::Result<Option<DiskLock>> {
        self.create_dir("")?;
        let file = private().write(true).create(true).truncate(false).open(self.at("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

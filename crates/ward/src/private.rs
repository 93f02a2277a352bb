//! Files and directories that are their owner's alone.
//!
//! A data directory holds keys, tokens and what may touch on persons. One that others can enter, or
//! that somebody else made, is refused; nothing is written through a link that somebody else planted.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use ward_core::Rng;

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// Makes a directory for its owner only, or checks that an existing one is.
pub(crate) fn directory(path: &Path) -> io::Result<()> {
    let name = path.display();
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(refused(format!("{name} is a file; name a directory")));
        }
        Err(error) => {
            return Err(io::Error::new(
                error.kind(),
                format!("{name}: {error}; choose a place that you can write"),
            ));
        }
    }
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return Err(refused(format!("{name} is a link; name the directory itself")));
    }
    if found.uid() != whoami()? {
        return Err(refused(format!("{name} belongs to somebody else; choose another directory")));
    }
    if found.mode() & 0o077 != 0 {
        return Err(refused(format!(
            "{name} can be entered by others (mode {:04o}); run: chmod 700 {name}",
            found.mode() & 0o7777
        )));
    }
    Ok(())
}

/// Replaces a file as a whole, readable by its owner only.
pub(crate) fn write(path: &Path, contents: &[u8], rng: &dyn Rng) -> io::Result<()> {
    let mut next = path.as_os_str().to_owned();
    next.push(format!(".{:016x}", rng.next_u64()));
    let next = Path::new(&next);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(next)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(next, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(next);
    }
    written.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// The user that this process acts as: the owner of its own entry in `/proc`.
fn whoami() -> io::Result<u32> {
    fs::metadata("/proc/self").map(|own| own.uid())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use ward_core::SeededRng;

    use super::*;

    #[test]
    fn what_others_can_enter_or_have_planted_is_refused() {
        let rng = SeededRng::new(u64::from(std::process::id()));
        let dir = std::env::temp_dir().join(format!("ward-private-{:x}", rng.next_u64()));
        directory(&dir).unwrap();
        directory(&dir).unwrap();

        let victim = dir.join("victim");
        fs::write(&victim, "mine").unwrap();
        let planted = dir.join("planted");
        symlink(&victim, &planted).unwrap();
        write(&planted, b"new", &rng).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"mine", "the link is replaced, not followed");
        assert_eq!(fs::read(&planted).unwrap(), b"new");
        assert_eq!(fs::metadata(&planted).unwrap().permissions().mode() & 0o777, 0o600);

        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        let error = directory(&dir).unwrap_err().to_string();
        assert!(error.contains("chmod 700"), "{error}");
        assert!(directory(&victim).unwrap_err().to_string().contains("is a file"));
        fs::remove_dir_all(&dir).unwrap();
    }
}

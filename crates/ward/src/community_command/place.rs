//! A community's directory, opened for one act at a time.
//!
//! ```text
//! vault/  vault.key      the issuing authority's and the responder's keys, the log's seed
//! root-vault/  root.key  the root's key; both are taken offline
//! ca/                    register, lists, certificates
//! log/  log-verifier.txt every act
//! root.pem  issuing.pem  the authorities, for members
//! ```
//!
//! Refused: a directory that others can enter, and to go on while somebody else acts.

use std::borrow::Cow;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ward_audit::{Log, LogOptions, RealDisk, origin_of};
use ward_community::{Authority, AuthorityKeys, Operator, OperatorDeps, RootApart, pem};
use ward_core::crypto::SigningKey;
use ward_core::{KeyVault, Secret};
use ward_store::bus::LocalBus;
use ward_store::vault::{FileVault, Unlock, create_key_file};

use super::CommunityCommandError;
use super::args;
use crate::house::{System, node_id, secret};
use crate::paths::Paths;
use crate::private;

type Result<T> = std::result::Result<T, CommunityCommandError>;

/// Largest passphrase file.
const MAX_PASSPHRASE: u64 = 4096;
/// Shortest passphrase, characters.
const MIN_PASSPHRASE: usize = 12;
/// Longest name of who acts, characters.
const MAX_NAME: usize = 64;

/// A directory and what opens it.
pub(crate) struct Home<'a> {
    place: &'a args::Place,
    root: Option<&'a args::Root>,
    pub(crate) system: &'a System,
    /// The program's own name, where it acts by itself.
    program: Option<&'static str>,
}

impl<'a> Home<'a> {
    pub(crate) fn new(
        place: &'a args::Place,
        root: Option<&'a args::Root>,
        system: &'a System,
    ) -> Self {
        Self { place, root, system, program: None }
    }

    /// Acts are the program's own, and nobody's in particular.
    pub(crate) fn by_itself(self, program: &'static str) -> Self {
        Self { program: Some(program), ..self }
    }

    fn dir(&self) -> &Path {
        &self.place.dir
    }

    /// The operator's directory inside.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir().join("ca")
    }

    /// The vault of the issuing authority. `make`: it may be new.
    pub(crate) fn vault(&self, make: bool) -> Result<Arc<FileVault>> {
        let paths = Paths::new(self.dir());
        let key_file = self.place.key_file.clone().unwrap_or_else(|| paths.key_file());
        self.open_vault(&paths.vault(), &key_file, self.place.passphrase_file.as_deref(), make)
    }

    /// The root's vault; `None` while it is away.
    fn root_vault(&self, make: bool) -> Result<Option<Arc<dyn AuthorityKeys>>> {
        let Some(root) = self.root else { return Ok(None) };
        let vault = root.vault.clone().unwrap_or_else(|| self.dir().join("root-vault"));
        let key_file = root.key_file.clone().unwrap_or_else(|| self.dir().join("root.key"));
        if !make && !vault.join("vault.json").exists() {
            return Ok(None);
        }
        let passphrase = root.passphrase_file.as_deref();
        let opened: Arc<dyn AuthorityKeys> =
            self.open_vault(&vault, &key_file, passphrase, make)?;
        Ok(Some(opened))
    }

    fn open_vault(
        &self,
        vault: &Path,
        key_file: &Path,
        passphrase: Option<&Path>,
        make: bool,
    ) -> Result<Arc<FileVault>> {
        let is_new = !vault.join("vault.json").exists();
        if is_new && !make {
            return Err(CommunityCommandError::NoCommunity(self.dir().to_path_buf()));
        }
        let unlock = if let Some(path) = passphrase {
            Unlock::Passphrase(read_passphrase(path)?)
        } else {
            if is_new && !key_file.exists() {
                create_key_file(key_file, &*self.system.rng)?;
            }
            Unlock::KeyFile(key_file.to_path_buf())
        };
        Ok(FileVault::open(vault, &unlock, self.system.rng.clone())?)
    }

    /// Keys and log. The log is to be closed after the act.
    pub(crate) fn deps(&self, make: bool) -> Result<(OperatorDeps, Arc<Log>)> {
        let system = self.system;
        let paths = Paths::new(self.dir());
        let vault = self.vault(make)?;
        let keys: Arc<dyn AuthorityKeys> =
            Arc::new(RootApart { root: self.root_vault(make)?, rest: vault.clone() });
        let bodies: Arc<dyn KeyVault> = vault.clone();
        let node = node_id(&vault, system)?;
        let log = Log::open(LogOptions {
            disk: Arc::new(RealDisk::new(paths.log())),
            origin: origin_of(node),
            signing_key: SigningKey::from_seed(&secret(&vault, "log/signing-seed", system)?)
                .map_err(|error| CommunityCommandError::Key(error.to_string()))?,
            vault: bodies,
            bus: Arc::new(LocalBus::new(&system.limits)),
            clock: system.clock.clone(),
            rng: system.rng.clone(),
            limits: system.limits.clone(),
        })?;
        let verifier = format!("{}\n", log.verifier_key());
        let path = paths.verifier_key();
        if fs::read_to_string(&path).ok().as_ref() != Some(&verifier) {
            write(&path, verifier.as_bytes(), system)?;
        }
        let deps = OperatorDeps {
            vault: keys,
            sink: log.clone(),
            clock: system.clock.clone(),
            rng: system.rng.clone(),
            operator: self.operator()?,
        };
        Ok((deps, log))
    }

    /// Who acts: the name that was given, else the account's.
    fn operator(&self) -> Result<Cow<'static, str>> {
        if let Some(program) = self.program {
            return Ok(program.into());
        }
        let Some(name) = &self.place.operator else { return Ok(account().into()) };
        let fits = !name.trim().is_empty() && name.chars().count() <= MAX_NAME;
        if fits && !name.chars().any(char::is_control) {
            return Ok(name.clone().into());
        }
        let why = "must be 1 to 64 visible characters, as \"Alice Example\"".to_owned();
        Err(CommunityCommandError::Option { flag: "--operator", why })
    }

    /// Opens the community for one act.
    pub(crate) async fn act<T>(
        &self,
        act: impl AsyncFnOnce(&Arc<Operator>) -> Result<T>,
    ) -> Result<T> {
        if !self.ca().join("register.json").exists() {
            return Err(CommunityCommandError::NoCommunity(self.dir().to_path_buf()));
        }
        private::directory(self.dir()).map_err(file(self.dir()))?;
        let _held = hold(self.dir()).await?;
        let (deps, log) = self.deps(false)?;
        let done = match Operator::open(self.ca(), deps).await {
            Ok(operator) => {
                let done = act(&operator).await;
                super::signals::tell(&operator).await;
                done
            }
            Err(error) => Err(error.into()),
        };
        log.close().await;
        done
    }

    /// Writes the authorities' certificates where members' operators find them, the newest first.
    pub(crate) fn write_authorities(&self, operator: &Operator) -> Result<()> {
        for (authority, name) in
            [(Authority::Root, "root.pem"), (Authority::Issuing, "issuing.pem")]
        {
            let of_kind = operator.authorities().into_iter().filter(|id| id.of == authority);
            let found = of_kind.filter_map(|id| operator.certificate_of(id));
            let text: String = found.map(|one| pem("CERTIFICATE", one.der())).collect();
            write(&self.dir().join(name), text.as_bytes(), self.system)?;
        }
        Ok(())
    }
}

/// Waits until nobody else acts in the directory.
pub(crate) async fn hold(dir: &Path) -> Result<File> {
    let path = dir.join("act.lock");
    let name = path.clone();
    let held = tokio::task::spawn_blocking(move || {
        let file = File::options().write(true).create(true).truncate(false).open(&name)?;
        file.lock().map(|()| file)
    })
    .await;
    held.map_err(std::io::Error::other).flatten().map_err(file(&path))
}

/// The account of the system that this program runs under: its name, else its number.
fn account() -> String {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(own) = fs::metadata("/proc/self") else { return "unknown".to_owned() };
    let number = own.uid().to_string();
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let is_it = fields.nth(1)? == number;
        (is_it && name.chars().count() <= MAX_NAME).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("uid-{number}"))
}

pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> CommunityCommandError {
    let path = path.to_path_buf();
    move |source| CommunityCommandError::File { path, source }
}

pub(crate) fn write(path: &Path, bytes: &[u8], system: &System) -> Result<()> {
    private::write(path, bytes, &*system.rng).map_err(file(path))
}

fn read_passphrase(path: &Path) -> Result<Secret<Vec<u8>>> {
    use std::io::Read as _;
    use std::os::unix::fs::MetadataExt as _;
    let opened = File::open(path).map_err(file(path))?;
    let mode = opened.metadata().map_err(file(path))?.mode();
    let unfit = |what: &str| CommunityCommandError::Unfit {
        path: path.to_path_buf(),
        what: what.to_owned(),
    };
    if mode & 0o077 != 0 {
        return Err(unfit("can be read by others; chmod 600 it"));
    }
    let mut bytes = Vec::new();
    opened.take(MAX_PASSPHRASE).read_to_end(&mut bytes).map_err(file(path))?;
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    if bytes.len() < MIN_PASSPHRASE {
        return Err(unfit("holds fewer than 12 characters; choose a longer passphrase"));
    }
    Ok(Secret::new(bytes))
}

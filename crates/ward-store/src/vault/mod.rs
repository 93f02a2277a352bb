//! The key vault in files: data keys and named secrets, wrapped under one root secret (rule 8).
//!
//! ```text
//! vault.json                         how the root is had: passphrase (PBKDF2) or key file; a check value
//! keys/TENANT/PURPOSE.ID.key         one random data key, wrapped
//! keys/TENANT/PURPOSE.destroyed      tombstone of a purpose whose keys were destroyed
//! secrets/NAME.secret                one named secret (a PKCS#8 private key), sealed
//! ```
//!
//! Every file is owner-only, written whole and durable before it is used. Refused: files that others
//! can read, a wrong passphrase or key file, a header that asks for weak stretching.

mod header;
mod keys;
mod rewrap;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ward_core::{
    BoxFuture, DataKey, KeyId, KeyPurpose, KeyVault, Rng, Secret, TenantId, VaultError, crypto,
};
use zeroize::Zeroizing;

use crate::{StoreError, files};
use keys::Slot;
pub use rewrap::Rewrapped;

/// Largest named secret, bytes.
const SECRET_BOUND: usize = 64 * 1024;

/// First bytes of every sealed file; a later format will have others.
const MAGIC: &[u8] = b"ward-vault-1\n";

/// What opens the vault.
pub enum Unlock {
    /// A passphrase, stretched with PBKDF2-HMAC-SHA256.
    Passphrase(Secret<Vec<u8>>),
    /// A file of 32 random octets, made by [`create_key_file`].
    KeyFile(PathBuf),
}

/// Makes a key file (mode 0600) of 32 random octets. Refuses to replace an existing file.
pub fn create_key_file(path: &Path, rng: &dyn Rng) -> Result<(), StoreError> {
    let mut key = Zeroizing::new([0; 32]);
    rng.fill(key.as_mut());
    match files::write_new(path, key.as_ref())? {
        files::Wrote::New => Ok(()),
        files::Wrote::Existed => Err(StoreError::BadVault(format!(
            "{} exists already; use it, or choose another path",
            path.display()
        ))),
    }
}

/// A key vault in a directory of the local file system. Unwrapped keys are kept in memory, so only
/// the first use of a key does I/O (about a millisecond, on the calling thread).
pub struct FileVault {
    dir: PathBuf,
    /// Wraps everything else; derived from the root secret.
    root: Secret<[u8; 32]>,
    rng: Arc<dyn Rng>,
    slots: Mutex<HashMap<(TenantId, KeyPurpose), Slot>>,
}

impl FileVault {
    /// Opens the vault in `dir`; makes it if the directory is missing or empty. Stretching a
    /// passphrase takes a noticeable part of a second, on the calling thread.
    pub fn open(dir: &Path, unlock: &Unlock, rng: Arc<dyn Rng>) -> Result<Arc<Self>, StoreError> {
        files::private_dir(dir)?;
        for part in ["keys", "secrets"] {
            files::private_dir(&dir.join(part))?;
        }
        let root = header::open_or_create(dir, unlock, rng.as_ref())?;
        Ok(Arc::new(Self { dir: dir.to_path_buf(), root, rng, slots: Mutex::default() }))
    }

    /// Makes the next key of a purpose the current one. Earlier keys still open what they sealed.
    pub fn rotate(&self, tenant: &TenantId, purpose: KeyPurpose) -> Result<KeyId, VaultError> {
        self.slot(tenant, purpose, |vault, slot| vault.next_key(tenant, purpose, slot))
            .map(|key| key.id)
    }

    /// Keeps a secret under a name (`[a-z0-9._-]`, with `/` between parts, at most 100 characters);
    /// replaces an earlier one. At most 64 KiB.
    pub fn put_secret(&self, name: &str, secret: &Secret<Vec<u8>>) -> Result<(), StoreError> {
        if secret.expose().len() > SECRET_BOUND {
            return Err(StoreError::TooLarge { what: "a secret", bound: SECRET_BOUND });
        }
        let path = self.secret_path(name)?;
        let sealed = self.wrap(&[b"secret", name.as_bytes()], secret.expose())?;
        files::replace(&path, &sealed)
    }

    /// The secret with this name.
    pub fn get_secret(&self, name: &str) -> Result<Option<Secret<Vec<u8>>>, StoreError> {
        let path = self.secret_path(name)?;
        let bound = SECRET_BOUND + MAGIC.len() + crypto::SEAL_OVERHEAD;
        let Some(sealed) = files::read_private(&path, bound)? else { return Ok(None) };
        self.unwrap(&[b"secret", name.as_bytes()], &sealed).map(Some).ok_or_else(|| damaged(&path))
    }

    /// Removes a secret for good; `false` if there was none.
    pub fn remove_secret(&self, name: &str) -> Result<bool, StoreError> {
        let path = self.secret_path(name)?;
        let present = files::check_private(&path)?;
        if present {
            files::shred(&path)?;
        }
        Ok(present)
    }

    /// The names of all secrets, sorted.
    pub fn list_secrets(&self) -> Result<Vec<String>, StoreError> {
        let dir = self.dir.join("secrets");
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).map_err(StoreError::io(&dir))? {
            let entry = entry.map_err(StoreError::io(&dir))?;
            if let Some(name) = entry.file_name().to_str().and_then(|n| n.strip_suffix(".secret")) {
                names.push(name.replace('+', "/"));
            }
        }
        names.sort();
        Ok(names)
    }

    fn secret_path(&self, name: &str) -> Result<PathBuf, StoreError> {
        let part = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|b| {
                    b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
                })
        };
        if name.len() > 100 || !name.split('/').all(part) {
            return Err(StoreError::BadVault(
                "the name of a secret is made of a-z 0-9 . _ - with / between its parts".to_owned(),
            ));
        }
        // No name has a plus sign, so the mapping can be reversed.
        Ok(self.dir.join("secrets").join(format!("{}.secret", name.replace('/', "+"))))
    }

    /// Seals under a key derived from the root for this context, which also is the AAD.
    fn wrap(&self, context: &[&[u8]], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let key = crypto::derive(&self.root, b"ward-vault wrap 1", context);
        let sealed = crypto::seal(&key, self.rng.as_ref(), &aad(context), plain)
            .map_err(|error| StoreError::BadVault(format!("sealing failed: {error}")))?;
        Ok([MAGIC, &sealed].concat())
    }

    fn unwrap(&self, context: &[&[u8]], bytes: &[u8]) -> Option<Secret<Vec<u8>>> {
        let key = crypto::derive(&self.root, b"ward-vault wrap 1", context);
        crypto::open(&key, &aad(context), bytes.strip_prefix(MAGIC)?).ok().map(Secret::new)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<(TenantId, KeyPurpose), Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The parts, each with its length in front.
fn aad(context: &[&[u8]]) -> Vec<u8> {
    let mut aad = MAGIC.to_vec();
    for part in context {
        aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
        aad.extend_from_slice(part);
    }
    aad
}

fn damaged(path: &Path) -> StoreError {
    StoreError::BadVault(format!(
        "{} is damaged, was altered, or belongs to another vault; restore it from a backup",
        path.display()
    ))
}

impl KeyVault for FileVault {
    fn current<'a>(
        &'a self,
        tenant: &'a TenantId,
        purpose: KeyPurpose,
    ) -> BoxFuture<'a, Result<DataKey, VaultError>> {
        Box::pin(async move {
            self.slot(tenant, purpose, |vault, slot| match slot.newest() {
                Some(key) => Ok(key),
                None => vault.newest_key(tenant, purpose, slot),
            })
        })
    }

    fn by_id<'a>(
        &'a self,
        tenant: &'a TenantId,
        purpose: KeyPurpose,
        id: KeyId,
    ) -> BoxFuture<'a, Result<DataKey, VaultError>> {
        Box::pin(async move {
            self.slot(tenant, purpose, |vault, slot| match slot.get(id) {
                Some(key) => Ok(key),
                None => vault.stored_key(tenant, purpose, id, slot),
            })
        })
    }

    fn destroy<'a>(
        &'a self,
        tenant: &'a TenantId,
        purpose: KeyPurpose,
    ) -> BoxFuture<'a, Result<(), VaultError>> {
        Box::pin(async move { self.destroy_keys(tenant, purpose) })
    }
}

#[cfg(test)]
mod tests;

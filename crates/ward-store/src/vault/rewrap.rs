//! Wraps everything in a vault anew, so that another passphrase or key file opens it.
//!
//! The keys themselves stay; what they sealed can be read as before. The new vault is made in a directory of its
//! own and read back before anybody relies on it; the old one is not touched. Refused: a directory that holds
//! anything, and files whose names are not the vault's.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ward_core::{KeyId, KeyPurpose, Rng, Secret, TenantId};

use super::{FileVault, Unlock, keys};
use crate::{StoreError, files};

/// What was wrapped anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Data keys.
    pub keys: usize,
    /// Named secrets.
    pub secrets: usize,
}

impl FileVault {
    /// Writes this vault into the new directory `into`, to be opened by `unlock`, and reads it back. Nobody may use
    /// this vault meanwhile: a key that is made during the work could be missed.
    pub fn rewrap_into(
        &self,
        into: &Path,
        unlock: &Unlock,
        rng: Arc<dyn Rng>,
    ) -> Result<Rewrapped, StoreError> {
        if into.exists() {
            return Err(StoreError::BadVault(format!(
                "{} exists already; move it away",
                into.display()
            )));
        }
        let other = Self::open(into, unlock, rng.clone())?;
        let mut done = Rewrapped::default();
        for name in self.list_secrets()? {
            let secret = self.get_secret(&name)?.ok_or_else(|| vanished(&name))?;
            other.put_secret(&name, &secret)?;
            done.secrets += 1;
        }
        let tenants = self.dir.join("keys");
        for entry in fs::read_dir(&tenants).map_err(StoreError::io(&tenants))? {
            let name = entry.map_err(StoreError::io(&tenants))?.file_name();
            let name = name.to_string_lossy().into_owned();
            let tenant = TenantId::parse(&name).map_err(|_| strange(&tenants.join(&name)))?;
            done.keys += self.rewrap_tenant(&other, &tenant)?;
        }
        drop(other);
        // As Ward will open it, with nothing remembered.
        let again = Self::open(into, unlock, rng)?;
        self.compare(&again)?;
        Ok(done)
    }

    fn rewrap_tenant(&self, other: &Self, tenant: &TenantId) -> Result<usize, StoreError> {
        let mut count = 0;
        files::private_dir(&other.tenant_dir(tenant))?;
        for (purpose, id) in self.stored(tenant)? {
            match id {
                None => {
                    files::write_new(&other.tombstone(tenant, purpose), b"destroyed\n")?;
                }
                Some(id) => {
                    let key = self.slot(tenant, purpose, |vault, slot| {
                        vault.stored_key(tenant, purpose, id, slot)
                    })?;
                    other.keep_key(tenant, purpose, &key)?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// Every key and tombstone of a tenant. A purpose that was destroyed has its tombstone only.
    fn stored(&self, tenant: &TenantId) -> Result<Vec<(KeyPurpose, Option<KeyId>)>, StoreError> {
        let dir = self.tenant_dir(tenant);
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).map_err(StoreError::io(&dir))? {
            let name = entry.map_err(StoreError::io(&dir))?.file_name();
            let text = name.to_string_lossy().into_owned();
            let purpose = |stem: &str| keys::purpose(stem).ok_or_else(|| strange(&dir.join(&text)));
            if let Some(stem) = text.strip_suffix(".destroyed") {
                found.push((purpose(stem)?, None));
            } else if let Some((stem, id)) =
                text.strip_suffix(".key").and_then(|rest| rest.rsplit_once('.'))
            {
                let id = id.parse().map_err(|_| strange(&dir.join(&text)))?;
                found.push((purpose(stem)?, Some(KeyId(id))));
            }
        }
        let gone: Vec<KeyPurpose> =
            found.iter().filter(|(_, id)| id.is_none()).map(|(purpose, _)| *purpose).collect();
        found.retain(|(purpose, id)| id.is_none() || !gone.contains(purpose));
        found.sort_by_key(|(purpose, id)| (purpose.to_string(), *id));
        Ok(found)
    }

    /// Whether the other vault holds the same.
    fn compare(&self, other: &Self) -> Result<(), StoreError> {
        let same = |what: bool| {
            if what {
                Ok(())
            } else {
                Err(StoreError::BadVault("it was not read back whole".into()))
            }
        };
        let names = self.list_secrets()?;
        same(names == other.list_secrets()?)?;
        for name in names {
            let (one, two) = (self.get_secret(&name)?, other.get_secret(&name)?);
            same(
                one.is_some()
                    && one.as_ref().map(Secret::expose) == two.as_ref().map(Secret::expose),
            )?;
        }
        let tenants = self.dir.join("keys");
        for entry in fs::read_dir(&tenants).map_err(StoreError::io(&tenants))? {
            let name = entry.map_err(StoreError::io(&tenants))?.file_name();
            let Ok(tenant) = TenantId::parse(&name.to_string_lossy()) else { continue };
            same(self.stored(&tenant)? == other.stored(&tenant)?)?;
            for (purpose, id) in self.stored(&tenant)? {
                let Some(id) = id else { continue };
                let key = |vault: &Self| {
                    vault.slot(&tenant, purpose, |vault, slot| {
                        vault.stored_key(&tenant, purpose, id, slot)
                    })
                };
                same(key(self)?.key.expose() == key(other)?.key.expose())?;
            }
        }
        Ok(())
    }
}

fn vanished(name: &str) -> StoreError {
    StoreError::BadVault(format!("the secret {name} vanished meanwhile; stop Ward and try again"))
}

fn strange(path: &Path) -> StoreError {
    StoreError::BadVault(format!("{} is no file of a vault; move it away", path.display()))
}

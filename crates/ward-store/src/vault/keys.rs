//! Data keys: random, one file each, counted up per tenant and purpose, destroyed for good.
//!
//! Destroying writes the tombstone first: from then on the keys are gone, also when the power fails
//! before the last file is overwritten; the next use completes the work.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use ward_core::{DataKey, KeyId, KeyPurpose, Secret, TenantId, VaultError, crypto};
use zeroize::Zeroizing;

use super::{FileVault, MAGIC, damaged};
use crate::{StoreError, files};

/// Purposes held in memory; beyond it all are forgotten and read again on use.
const SLOTS_HELD: usize = 4096;
const KEY_FILE_BOUND: usize = 32 + crypto::SEAL_OVERHEAD + MAGIC.len();

/// What is in memory about one purpose of one tenant.
#[derive(Default)]
pub(super) struct Slot {
    destroyed: bool,
    keys: BTreeMap<KeyId, DataKey>,
    /// The current key, once the directory was looked through.
    newest: Option<KeyId>,
}

impl Slot {
    pub(super) fn newest(&self) -> Option<DataKey> {
        self.newest.and_then(|id| self.get(id))
    }

    pub(super) fn get(&self, id: KeyId) -> Option<DataKey> {
        self.keys.get(&id).cloned()
    }
}

fn unavailable(error: StoreError) -> VaultError {
    match error {
        StoreError::Vault(error) => error,
        other => VaultError::Unavailable(other.to_string()),
    }
}

impl FileVault {
    /// Runs `act` on the slot of a purpose, unless its keys were destroyed.
    pub(super) fn slot(
        &self,
        tenant: &TenantId,
        purpose: KeyPurpose,
        act: impl FnOnce(&Self, &mut Slot) -> Result<DataKey, StoreError>,
    ) -> Result<DataKey, VaultError> {
        let mut slots = self.slots();
        let place = (tenant.clone(), purpose);
        if slots.len() >= SLOTS_HELD && !slots.contains_key(&place) {
            slots.clear();
        }
        let slot = slots.entry(place).or_default();
        if slot.destroyed {
            return Err(VaultError::Destroyed);
        }
        match act(self, slot) {
            Err(StoreError::Vault(VaultError::Destroyed)) => {
                *slot = Slot { destroyed: true, ..Slot::default() };
                Err(VaultError::Destroyed)
            }
            other => other.map_err(unavailable),
        }
    }

    /// The newest key on disk; the first one is made here.
    pub(super) fn newest_key(
        &self,
        tenant: &TenantId,
        purpose: KeyPurpose,
        slot: &mut Slot,
    ) -> Result<DataKey, StoreError> {
        self.refuse_destroyed(tenant, purpose)?;
        match self.key_ids(tenant, purpose)?.last().copied() {
            Some(id) => {
                let key = self.stored_key(tenant, purpose, id, slot)?;
                slot.newest = Some(id);
                Ok(key)
            }
            None => self.make_key(tenant, purpose, KeyId(1), slot),
        }
    }

    /// One more key.
    pub(super) fn next_key(
        &self,
        tenant: &TenantId,
        purpose: KeyPurpose,
        slot: &mut Slot,
    ) -> Result<DataKey, StoreError> {
        self.refuse_destroyed(tenant, purpose)?;
        let last = self.key_ids(tenant, purpose)?.last().map_or(0, |id| id.0);
        let next = last
            .checked_add(1)
            .ok_or_else(|| StoreError::BadVault("no key ids are left".to_owned()))?;
        self.make_key(tenant, purpose, KeyId(next), slot)
    }

    /// Reads a key from disk.
    pub(super) fn stored_key(
        &self,
        tenant: &TenantId,
        purpose: KeyPurpose,
        id: KeyId,
        slot: &mut Slot,
    ) -> Result<DataKey, StoreError> {
        self.refuse_destroyed(tenant, purpose)?;
        let path = self.key_path(tenant, purpose, id);
        let Some(bytes) = files::read_private(&path, KEY_FILE_BOUND)? else {
            return Err(VaultError::Unknown.into());
        };
        let (name, number) = (purpose.to_string(), id.0.to_be_bytes());
        let context: [&[u8]; 4] =
            [b"data key", tenant.as_str().as_bytes(), name.as_bytes(), &number];
        let plain = self.unwrap(&context, &bytes).ok_or_else(|| damaged(&path))?;
        let key = <[u8; 32]>::try_from(plain.expose().as_slice()).map_err(|_| damaged(&path))?;
        let key = DataKey { id, key: Secret::new(key) };
        slot.keys.insert(id, key.clone());
        Ok(key)
    }

    fn make_key(
        &self,
        tenant: &TenantId,
        purpose: KeyPurpose,
        id: KeyId,
        slot: &mut Slot,
    ) -> Result<DataKey, StoreError> {
        files::private_dir(&self.tenant_dir(tenant))?;
        let mut key = Zeroizing::new([0; 32]);
        self.rng.fill(key.as_mut());
        let (name, number) = (purpose.to_string(), id.0.to_be_bytes());
        let context: [&[u8]; 4] =
            [b"data key", tenant.as_str().as_bytes(), name.as_bytes(), &number];
        // If another process was faster, its key is the key.
        files::write_new(&self.key_path(tenant, purpose, id), &self.wrap(&context, key.as_ref())?)?;
        let key = self.stored_key(tenant, purpose, id, slot)?;
        slot.newest = Some(id);
        Ok(key)
    }

    /// Keeps a key of another vault under its own id.
    pub(super) fn keep_key(
        &self,
        tenant: &TenantId,
        purpose: KeyPurpose,
        key: &DataKey,
    ) -> Result<(), StoreError> {
        let (name, number) = (purpose.to_string(), key.id.0.to_be_bytes());
        let context: [&[u8]; 4] =
            [b"data key", tenant.as_str().as_bytes(), name.as_bytes(), &number];
        let wrapped = self.wrap(&context, key.key.expose())?;
        files::write_new(&self.key_path(tenant, purpose, key.id), &wrapped).map(|_| ())
    }

    /// Destroys all keys of a purpose.
    pub(super) fn destroy_keys(
        &self,
        tenant: &TenantId,
        purpose: KeyPurpose,
    ) -> Result<(), VaultError> {
        let mut slots = self.slots();
        // Forgotten in memory first, so that whatever fails below, this process uses them no more.
        slots.insert((tenant.clone(), purpose), Slot { destroyed: true, ..Slot::default() });
        files::private_dir(&self.tenant_dir(tenant))
            .and_then(|()| files::write_new(&self.tombstone(tenant, purpose), b"destroyed\n"))
            .and_then(|_| self.remove_keys(tenant, purpose))
            .map_err(unavailable)
    }

    /// Also what a crash may have left beside the keys: temporary files hold the same bytes.
    fn remove_keys(&self, tenant: &TenantId, purpose: KeyPurpose) -> Result<(), StoreError> {
        let dir = self.tenant_dir(tenant);
        let prefix = format!("{}.", stem(purpose));
        for entry in fs::read_dir(&dir).map_err(StoreError::io(&dir))? {
            let entry = entry.map_err(StoreError::io(&dir))?;
            let name = entry.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(&prefix));
            if rest.is_some_and(|rest| rest.contains("key")) {
                files::shred(&entry.path())?;
            }
        }
        Ok(())
    }

    fn refuse_destroyed(&self, tenant: &TenantId, purpose: KeyPurpose) -> Result<(), StoreError> {
        if !files::check_private(&self.tombstone(tenant, purpose))? {
            return Ok(());
        }
        self.remove_keys(tenant, purpose)?;
        Err(VaultError::Destroyed.into())
    }

    /// The ids of the keys on disk, ascending.
    fn key_ids(&self, tenant: &TenantId, purpose: KeyPurpose) -> Result<Vec<KeyId>, StoreError> {
        let dir = self.tenant_dir(tenant);
        if !dir.exists() {
            return Ok(Vec::new());
        }
        let prefix = format!("{}.", stem(purpose));
        let mut ids = Vec::new();
        for entry in fs::read_dir(&dir).map_err(StoreError::io(&dir))? {
            let entry = entry.map_err(StoreError::io(&dir))?;
            let name = entry.file_name();
            let id = name
                .to_str()
                .and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(".key")?.parse().ok());
            ids.extend(id.map(KeyId));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    pub(super) fn tenant_dir(&self, tenant: &TenantId) -> PathBuf {
        self.dir.join("keys").join(tenant.as_str())
    }

    fn key_path(&self, tenant: &TenantId, purpose: KeyPurpose, id: KeyId) -> PathBuf {
        self.tenant_dir(tenant).join(format!("{}.{}.key", stem(purpose), id.0))
    }

    pub(super) fn tombstone(&self, tenant: &TenantId, purpose: KeyPurpose) -> PathBuf {
        self.tenant_dir(tenant).join(format!("{}.destroyed", stem(purpose)))
    }
}

/// The purpose as part of a file name: `log-body-20410`.
fn stem(purpose: KeyPurpose) -> String {
    purpose.to_string().replace('/', "-")
}

/// The purpose of a file name's part; the reverse of [`stem`].
pub(super) fn purpose(stem: &str) -> Option<KeyPurpose> {
    match stem {
        "token" => Some(KeyPurpose::Token),
        "cursor" => Some(KeyPurpose::Cursor),
        "record" => Some(KeyPurpose::Record),
        _ => Some(KeyPurpose::LogBody(stem.strip_prefix("log-body-")?.parse().ok()?)),
    }
}

//! Sealing of records at rest: AES-256-GCM under a key derived for the one record, bound to tenant,
//! table and row (rule 8), so that a row that was moved, swapped or altered does not open.

use ward_core::crypto::{self, CryptoError};
use ward_core::{DataKey, Rng, Secret, TenantId};

use crate::StoreError;

/// Where a sealed record stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) table: &'static str,
    /// The row's key, unambiguous within tenant and table.
    pub(crate) row: &'a [u8],
}

impl Place<'_> {
    fn key(&self, key: &DataKey) -> Secret<[u8; 32]> {
        crypto::derive(
            &key.key,
            b"ward-store record 1",
            &[self.tenant.as_str().as_bytes(), self.table.as_bytes(), self.row],
        )
    }

    fn aad(&self, key: &DataKey) -> Vec<u8> {
        let mut aad = b"ward-store record 1".to_vec();
        for part in [
            self.tenant.as_str().as_bytes(),
            self.table.as_bytes(),
            self.row,
            &key.id.0.to_be_bytes(),
        ] {
            aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
            aad.extend_from_slice(part);
        }
        aad
    }

    pub(crate) fn seal(
        &self,
        key: &DataKey,
        rng: &dyn Rng,
        plain: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        crypto::seal(&self.key(key), rng, &self.aad(key), plain).map_err(|error| match error {
            CryptoError::Open | CryptoError::Key => {
                StoreError::Unavailable("sealing a record failed".to_owned())
            }
        })
    }

    pub(crate) fn open(&self, key: &DataKey, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        crypto::open(&self.key(key), &self.aad(key), sealed)
            .map_err(|_| StoreError::Damaged { table: self.table })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ward_core::{KeyId, SeededRng};

    use super::*;

    proptest! {
        #[test]
        fn a_record_opens_only_in_its_own_place(
            plain in prop::collection::vec(any::<u8>(), 0..200),
            row in prop::collection::vec(any::<u8>(), 0..20),
            flip in any::<prop::sample::Index>(),
        ) {
            let rng = SeededRng::new(3);
            let tenant = TenantId::default_tenant();
            let other = TenantId::parse("other").unwrap();
            let key = DataKey { id: KeyId(1), key: Secret::new([9; 32]) };
            let place = Place { tenant: &tenant, table: "rosters", row: &row };
            let mut sealed = place.seal(&key, &rng, &plain).unwrap();
            prop_assert_eq!(&place.open(&key, &sealed).unwrap(), &plain);

            let mut longer = row.clone();
            longer.push(0);
            let renamed = DataKey { id: KeyId(2), key: key.key.clone() };
            for elsewhere in [
                Place { tenant: &other, ..place },
                Place { table: "outbox", ..place },
                Place { row: &longer, ..place },
            ] {
                prop_assert!(elsewhere.open(&key, &sealed).is_err());
            }
            prop_assert!(place.open(&renamed, &sealed).is_err());
            let at = flip.index(sealed.len());
            sealed[at] ^= 0x40;
            prop_assert!(place.open(&key, &sealed).is_err());
        }
    }
}

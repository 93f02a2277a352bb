//! Where the authorities' keys lie: a vault in files, the root's in one of its own that can be taken away.
//!
//! [`AuthorityKeys`] is the seam for a hardware module (PKCS#11): it makes keys and signs with them, and nobody
//! above asks for a private key. Refused: to go on without the root's key where it is needed.

use std::sync::Arc;

use rcgen::SigningKey;
use ward_core::Secret;
use ward_store::vault::FileVault;

use crate::{Authority, CommunityError, KeySpec};

/// Which of the community's own keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOf {
    /// The root: used when an authority is made, and for the root's list.
    Root,
    /// The issuing authority: used for each member, list and responder.
    Issuing,
    /// The OCSP responder: used for each answer.
    Responder,
}

impl From<Authority> for KeyOf {
    fn from(of: Authority) -> Self {
        match of {
            Authority::Root => Self::Root,
            Authority::Issuing => Self::Issuing,
        }
    }
}

/// A key that signs; it need not be one that can be read.
pub type AuthorityKey = Box<dyn SigningKey + Send + Sync>;

/// What holds the community's own keys.
pub trait AuthorityKeys: Send + Sync {
    /// Makes a key under this name and keeps it; replaces an earlier one.
    fn make(&self, of: KeyOf, name: &str, spec: KeySpec) -> Result<AuthorityKey, CommunityError>;

    /// The key under this name. [`CommunityError::KeyMissing`]: there is none. [`CommunityError::RootAway`]: it
    /// is the root's, which is kept elsewhere.
    fn open(&self, of: KeyOf, name: &str, spec: KeySpec) -> Result<AuthorityKey, CommunityError>;

    /// Destroys the key under this name, if there is one.
    fn destroy(&self, of: KeyOf, name: &str) -> Result<(), CommunityError>;
}

impl AuthorityKeys for FileVault {
    fn make(&self, _: KeyOf, name: &str, spec: KeySpec) -> Result<AuthorityKey, CommunityError> {
        let key = spec.generate()?;
        self.put_secret(name, &Secret::new(key.serialized_der().to_vec()))?;
        Ok(Box::new(key))
    }

    fn open(&self, _: KeyOf, name: &str, spec: KeySpec) -> Result<AuthorityKey, CommunityError> {
        let secret = self.get_secret(name)?;
        let secret = secret.ok_or_else(|| CommunityError::KeyMissing(name.to_owned()))?;
        Ok(Box::new(spec.load(&secret)?))
    }

    fn destroy(&self, _: KeyOf, name: &str) -> Result<(), CommunityError> {
        self.remove_secret(name)?;
        Ok(())
    }
}

/// The root's key in a vault of its own, which is there only when it is needed.
pub struct RootApart {
    /// Holds the root's key; `None` while it is away.
    pub root: Option<Arc<dyn AuthorityKeys>>,
    /// Holds the others.
    pub rest: Arc<dyn AuthorityKeys>,
}

impl RootApart {
    fn holder(&self, of: KeyOf) -> Result<&dyn AuthorityKeys, CommunityError> {
        match of {
            KeyOf::Root => self.root.as_deref().ok_or(CommunityError::RootAway),
            KeyOf::Issuing | KeyOf::Responder => Ok(&*self.rest),
        }
    }
}

impl AuthorityKeys for RootApart {
    fn make(&self, of: KeyOf, name: &str, spec: KeySpec) -> Result<AuthorityKey, CommunityError> {
        self.holder(of)?.make(of, name, spec)
    }

    fn open(&self, of: KeyOf, name: &str, spec: KeySpec) -> Result<AuthorityKey, CommunityError> {
        self.holder(of)?.open(of, name, spec)
    }

    fn destroy(&self, of: KeyOf, name: &str) -> Result<(), CommunityError> {
        self.holder(of)?.destroy(of, name)
    }
}

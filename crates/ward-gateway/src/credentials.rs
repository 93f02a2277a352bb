//! What the upstream wants to see of Ward itself, changed while the gateway runs.

use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderValue;

/// `Authorization` towards the upstream; never what a caller sent. Cheap to clone; all clones turn together.
#[derive(Debug, Clone, Default)]
pub struct CredentialDial(Arc<RwLock<Option<HeaderValue>>>);

impl CredentialDial {
    /// From the next request to the upstream on; `None` sends none. Marks it as sensitive.
    pub fn turn(&self, mut authorization: Option<HeaderValue>) {
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = authorization;
    }

    /// What is in force.
    pub fn now(&self) -> Option<HeaderValue> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

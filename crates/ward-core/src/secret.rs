//! Secrets: cleared when dropped, never printed (rule 8).

use zeroize::{Zeroize, Zeroizing};

/// A secret value. It has no `Debug`, `Display` or `Serialize`, and is overwritten when dropped.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Wraps a secret.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The secret, at the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

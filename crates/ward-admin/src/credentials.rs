//! Operator keys and the bootstrap code: random, shown once, kept only as SHA-256. Both are long enough
//! that guessing is hopeless and a slow hash adds nothing.

use std::fmt;

use serde::{Serialize, Serializer};
use ward_core::{OperatorId, Rng, Secret, crypto};

/// In front of every key, so that a leaked one can be found.
const PREFIX: &str = "ward_op_";

/// A key that was just made. It prints as nothing and is serialised once, to the one who asked.
#[derive(Clone)]
pub struct IssuedKey(Secret<String>);

impl IssuedKey {
    pub(crate) fn new(id: OperatorId, rng: &dyn Rng) -> Self {
        let mut secret = [0; 32];
        rng.fill(&mut secret);
        let key = format!("{PREFIX}{}_{}", crypto::hex(id.as_bytes()), crypto::hex(&secret));
        Self(Secret::new(key))
    }

    /// The key, for the one place that shows it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        crypto::sha256(&[self.expose().as_bytes()])
    }
}

impl PartialEq for IssuedKey {
    fn eq(&self, other: &Self) -> bool {
        crypto::same(self.expose().as_bytes(), other.expose().as_bytes())
    }
}

impl Eq for IssuedKey {}

impl fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IssuedKey(…)")
    }
}

impl Serialize for IssuedKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.expose())
    }
}

/// Whose key a text claims to be, and its hash. The form alone proves nothing.
pub(crate) fn read_key(text: &str) -> Option<(OperatorId, [u8; 32])> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let id = OperatorId::from_bytes(crypto::unhex(id)?);
    crypto::unhex::<32>(secret)?;
    Some((id, crypto::sha256(&[text.as_bytes()])))
}

/// The one-time code that makes the first operator: 100 random bits in twenty letters and digits.
pub struct BootstrapCode(Secret<String>);

/// Crockford's base 32: no letter that looks like a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const GROUPS: usize = 4;
const GROUP: usize = 5;

impl BootstrapCode {
    pub(crate) fn new(rng: &dyn Rng) -> Self {
        let mut random = [0; GROUPS * GROUP];
        rng.fill(&mut random);
        let mut code = String::new();
        for (at, byte) in random.iter().enumerate() {
            if at > 0 && at.is_multiple_of(GROUP) {
                code.push('-');
            }
            let symbol = ALPHABET.get(usize::from(byte & 31)).copied().unwrap_or(b'0');
            code.push(char::from(symbol));
        }
        Self(Secret::new(code))
    }

    /// The code, for the one place that shows it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        Self::hash_of(self.expose())
    }

    /// The hash of what a person typed: case, spaces and hyphens do not matter.
    pub(crate) fn hash_of(typed: &str) -> [u8; 32] {
        let code: String = typed
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_uppercase())
            .collect();
        crypto::sha256(&[b"ward bootstrap code\n", code.as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use ward_core::{ManualClock, SeededRng};

    use super::*;

    #[test]
    fn a_key_says_whose_it_is_and_shows_itself_to_nobody() {
        let rng = SeededRng::new(1);
        let id = OperatorId::new(&ManualClock::at_unix_seconds(1_800_000_000), &rng);
        let key = IssuedKey::new(id, &rng);
        assert_eq!(read_key(key.expose()), Some((id, key.hash())));
        assert_eq!(format!("{key:?}"), "IssuedKey(…)");
        let text = key.expose();
        for bad in ["", "ward_op_", &text[1..], &text[..text.len() - 1], &text.to_uppercase()] {
            assert_eq!(read_key(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_code_can_be_typed_as_people_do() {
        let code = BootstrapCode::new(&SeededRng::new(1));
        let typed = code.expose().to_lowercase().replace('-', " ");
        assert_eq!(BootstrapCode::hash_of(&typed), code.hash());
        assert_eq!(code.expose().len(), 23);
        assert_ne!(BootstrapCode::hash_of(&typed[1..]), code.hash());
    }
}

//! The one crypto module: thin, typed calls into aws-lc-rs. No cryptography of our own.
//!
//! Hashing (FIPS 180-4), HMAC (RFC 2104), HKDF (RFC 5869), AES-256-GCM (SP 800-38D), Ed25519 (RFC 8032) and PBKDF2
//! (RFC 8018). Signatures of certificates and JWTs are verified in `ward-trust`, on the same library.

use std::num::NonZeroU32;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use aws_lc_rs::{constant_time, digest, hkdf, hmac, pbkdf2};

use crate::{Rng, Secret};

/// Why a cryptographic operation was refused. Deliberately says no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// Authentication failed: wrong key, wrong context, or altered data.
    #[error("authentication failed")]
    Open,
    /// A key is not well-formed.
    #[error("malformed key")]
    Key,
}

/// Octets that AES-GCM adds: a 12-octet nonce in front and a 16-octet tag behind.
pub const SEAL_OVERHEAD: usize = 12 + 16;

/// SHA-256 of the parts, one after the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// Compares secrets in constant time (the length is not secret).
pub fn same(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

struct Len32;

impl hkdf::KeyType for Len32 {
    fn len(&self) -> usize {
        32
    }
}

/// HKDF-SHA256: a 256-bit key for one end. `info` parts are length-prefixed so that they cannot run
/// into each other.
#[expect(clippy::expect_used, reason = "HKDF-Expand refuses only lengths above 8160 octets")]
pub fn derive(key: &Secret<[u8; 32]>, salt: &[u8], info: &[&[u8]]) -> Secret<[u8; 32]> {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key.expose());
    let mut joined = Vec::new();
    for part in info {
        joined.extend_from_slice(&(part.len() as u64).to_be_bytes());
        joined.extend_from_slice(part);
    }
    let mut out = [0; 32];
    prk.expand(&[&joined], Len32)
        .and_then(|okm| okm.fill(&mut out))
        .expect("32 octets are within HKDF's bound");
    Secret::new(out)
}

fn aead(key: &Secret<[u8; 32]>) -> Result<LessSafeKey, CryptoError> {
    UnboundKey::new(&AES_256_GCM, key.expose()).map(LessSafeKey::new).map_err(|_| CryptoError::Key)
}

/// Seals with a caller-chosen nonce, which must never repeat under one key: `ciphertext ‖ tag`.
pub fn seal_with_nonce(
    key: &Secret<[u8; 32]>,
    nonce: [u8; 12],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let mut buffer = plaintext.to_vec();
    aead(key)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut buffer)
        .map_err(|_| CryptoError::Open)?;
    Ok(buffer)
}

/// [`seal_with_nonce`] in place: all of the buffer behind its first `clear` octets. After an error its content means
/// nothing.
pub fn seal_behind(
    key: &Secret<[u8; 32]>,
    nonce: [u8; 12],
    aad: &[u8],
    buffer: &mut Vec<u8>,
    clear: usize,
) -> Result<(), CryptoError> {
    let plain = buffer.get_mut(clear..).unwrap_or_default();
    let tag = aead(key)?
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), plain)
        .map_err(|_| CryptoError::Open)?;
    buffer.extend_from_slice(tag.as_ref());
    Ok(())
}

/// Opens what [`seal_with_nonce`] sealed.
pub fn open_with_nonce(
    key: &Secret<[u8; 32]>,
    nonce: [u8; 12],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let mut buffer = sealed.to_vec();
    let plain = aead(key)?
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut buffer)
        .map_err(|_| CryptoError::Open)?
        .len();
    buffer.truncate(plain);
    Ok(buffer)
}

/// Seals under a random nonce: `nonce ‖ ciphertext ‖ tag`. For keys that seal few records: derive
/// one per record with [`derive()`].
pub fn seal(
    key: &Secret<[u8; 32]>,
    rng: &dyn Rng,
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let mut nonce = [0; 12];
    rng.fill(&mut nonce);
    let mut out = nonce.to_vec();
    out.extend(seal_with_nonce(key, nonce, aad, plaintext)?);
    Ok(out)
}

/// Opens what [`seal`] sealed.
pub fn open(key: &Secret<[u8; 32]>, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let (nonce, rest) = sealed.split_first_chunk::<12>().ok_or(CryptoError::Open)?;
    open_with_nonce(key, *nonce, aad, rest)
}

/// PBKDF2-HMAC-SHA256 of a passphrase.
pub fn stretch(passphrase: &Secret<Vec<u8>>, salt: &[u8], rounds: NonZeroU32) -> Secret<[u8; 32]> {
    let mut out = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, passphrase.expose(), &mut out);
    Secret::new(out)
}

/// An Ed25519 signing key, for checkpoints, and the MAC key derived from the same seed, for what is not
/// signed yet: whoever can sign can tell what is worth signing.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    mac: hmac::Key,
}

impl SigningKey {
    /// From a 32-octet seed.
    pub fn from_seed(seed: &Secret<[u8; 32]>) -> Result<Self, CryptoError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose());
        let mac = derive(seed, b"", &[b"ward signing key: mac v1"]);
        Ok(Self {
            pair: pair.map_err(|_| CryptoError::Key)?,
            mac: hmac::Key::new(hmac::HMAC_SHA256, mac.expose()),
        })
    }

    /// The public key.
    pub fn public_key(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.pair.public_key().as_ref());
        out
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        out.copy_from_slice(self.pair.sign(message).as_ref());
        out
    }

    /// HMAC-SHA256 of a message under the MAC key.
    pub fn mac(&self, message: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(&self.mac, message).as_ref());
        out
    }
}

/// Verifies an Ed25519 signature.
pub fn verify_ed25519(public_key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(message, signature).is_ok()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(nibble + if nibble < 10 { b'0' } else { b'a' - 10 });
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Parses exactly `N` octets of lower-case hexadecimal.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    fn digit(byte: u8) -> Option<u8> {
        match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        }
    }
    if text.len() != N * 2 {
        return None;
    }
    let mut out = [0; N];
    for (to, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *to = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededRng;

    #[test]
    fn sealed_data_opens_only_under_the_same_key_and_context() {
        let rng = SeededRng::new(7);
        let key = Secret::new([1; 32]);
        let sealed = seal(&key, &rng, b"tenant", b"plain").unwrap();
        assert_eq!(sealed.len(), 5 + SEAL_OVERHEAD);
        assert_eq!(open(&key, b"tenant", &sealed).unwrap(), b"plain");
        assert_eq!(open(&key, b"other", &sealed), Err(CryptoError::Open));
        assert_eq!(open(&Secret::new([2; 32]), b"tenant", &sealed), Err(CryptoError::Open));
        let mut behind = b"clear plain".to_vec();
        seal_behind(&key, [3; 12], b"tenant", &mut behind, 6).unwrap();
        let apart = seal_with_nonce(&key, [3; 12], b"tenant", b"plain").unwrap();
        assert_eq!(behind, [b"clear ".to_vec(), apart].concat());
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(open(&key, b"tenant", &altered), Err(CryptoError::Open));
        }
        assert_eq!(open(&key, b"tenant", &sealed[..11]), Err(CryptoError::Open));
    }

    #[test]
    fn derived_keys_separate_their_contexts() {
        let key = Secret::new([1; 32]);
        let a = derive(&key, b"", &[b"ab", b"c"]);
        let b = derive(&key, b"", &[b"a", b"bc"]);
        assert_ne!(a.expose(), b.expose());
    }

    #[test]
    fn hexadecimal_has_one_spelling() {
        assert_eq!(unhex::<2>(&hex(&[0x0f, 0xa0])), Some([0x0f, 0xa0]));
        assert_eq!(unhex::<2>("0FA0"), None);
        assert_eq!(unhex::<2>("0fa"), None);
    }
}

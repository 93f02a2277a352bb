//! The vault's header: how the root secret is had, and a check value that tells a wrong one at once.
//!
//! PBKDF2-HMAC-SHA256 (RFC 8018) with a random salt of 32 octets. Refused: fewer than 600,000 rounds
//! (OWASP 2023), so that an altered header cannot make guessing cheap, and more than 100 million,
//! so that it cannot stall the start.

use std::num::NonZeroU32;
use std::path::Path;

use serde::{Deserialize, Serialize};
use ward_core::{Rng, Secret, crypto};

use super::Unlock;
use crate::{StoreError, files};

/// Rounds for new vaults.
const ROUNDS: NonZeroU32 = match NonZeroU32::new(600_000) {
    Some(rounds) => rounds,
    None => NonZeroU32::MIN,
};
const ROUNDS_MAX: u32 = 100_000_000;
const HEADER_BOUND: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Passphrase,
    KeyFile,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    unlock: Kind,
    /// Hexadecimal, 32 octets.
    salt: String,
    /// PBKDF2 rounds; 0 for a key file.
    rounds: u32,
    /// Nothing, sealed under a key derived from the root.
    check: String,
}

impl Header {
    fn aad(&self) -> Vec<u8> {
        format!(
            "ward-vault header {} {:?} {} {}",
            self.version, self.unlock, self.salt, self.rounds
        )
        .into_bytes()
    }
}

/// The root secret of the vault in `dir`. Writes a header if there is none.
pub(super) fn open_or_create(
    dir: &Path,
    unlock: &Unlock,
    rng: &dyn Rng,
) -> Result<Secret<[u8; 32]>, StoreError> {
    let path = dir.join("vault.json");
    if files::read_private(&path, HEADER_BOUND)?.is_none() {
        create(&path, dir, unlock, rng)?;
    }
    // Also after creating: another process may have been faster.
    let Some(bytes) = files::read_private(&path, HEADER_BOUND)? else {
        return Err(bad(&path, "it vanished"));
    };
    let header: Header =
        serde_json::from_slice(&bytes).map_err(|_| bad(&path, "it is not a vault header"))?;
    if header.version != 1 {
        return Err(bad(&path, "it was written by a newer version of Ward; use that version"));
    }
    let salt = crypto::unhex(&header.salt).ok_or_else(|| bad(&path, "its salt is malformed"))?;
    let check =
        crypto::unhex::<28>(&header.check).ok_or_else(|| bad(&path, "its check is malformed"))?;
    let (root, what) = match (header.unlock, unlock) {
        (Kind::Passphrase, Unlock::Passphrase(_)) => {
            let rounds = NonZeroU32::new(header.rounds)
                .filter(|rounds| (ROUNDS.get()..=ROUNDS_MAX).contains(&rounds.get()))
                .ok_or_else(|| bad(&path, "its number of rounds is out of bounds"))?;
            (root(unlock, &salt, rounds)?, "passphrase")
        }
        (Kind::KeyFile, Unlock::KeyFile(_)) => (root(unlock, &salt, ROUNDS)?, "key file"),
        (Kind::Passphrase, Unlock::KeyFile(_)) => {
            return Err(bad(&path, "the vault opens with a passphrase, not with a key file"));
        }
        (Kind::KeyFile, Unlock::Passphrase(_)) => {
            return Err(bad(&path, "the vault opens with a key file, not with a passphrase"));
        }
    };
    crypto::open(&check_key(&root), &header.aad(), &check)
        .map_err(|_| StoreError::WrongUnlock(what))?;
    Ok(root)
}

fn create(path: &Path, dir: &Path, unlock: &Unlock, rng: &dyn Rng) -> Result<(), StoreError> {
    // Keys without a header mean a lost header: a new one would bury them.
    for part in ["keys", "secrets"] {
        let part = dir.join(part);
        let mut entries = std::fs::read_dir(&part).map_err(StoreError::io(&part))?;
        if entries.next().is_some() {
            return Err(bad(path, "it is missing, but there are keys; restore it from a backup"));
        }
    }
    let mut salt = [0; 32];
    rng.fill(&mut salt);
    let (kind, rounds) = match unlock {
        Unlock::Passphrase(passphrase) if passphrase.expose().is_empty() => {
            return Err(StoreError::BadVault("the passphrase is empty; choose one".to_owned()));
        }
        Unlock::Passphrase(_) => (Kind::Passphrase, ROUNDS.get()),
        Unlock::KeyFile(_) => (Kind::KeyFile, 0),
    };
    let root = root(unlock, &salt, ROUNDS)?;
    let mut header =
        Header { version: 1, unlock: kind, salt: crypto::hex(&salt), rounds, check: String::new() };
    let check = crypto::seal(&check_key(&root), rng, &header.aad(), b"")
        .map_err(|error| StoreError::BadVault(format!("sealing failed: {error}")))?;
    header.check = crypto::hex(&check);
    let mut text = serde_json::to_vec_pretty(&header)
        .map_err(|error| StoreError::BadVault(error.to_string()))?;
    text.push(b'\n');
    files::write_new(path, &text).map(|_| ())
}

fn root(
    unlock: &Unlock,
    salt: &[u8; 32],
    rounds: NonZeroU32,
) -> Result<Secret<[u8; 32]>, StoreError> {
    let input = match unlock {
        Unlock::Passphrase(passphrase) => crypto::stretch(passphrase, salt, rounds),
        Unlock::KeyFile(path) => {
            let Some(bytes) = files::read_private(path, 32)? else {
                return Err(StoreError::BadVault(format!(
                    "there is no key file {}; restore it from where you keep it",
                    path.display()
                )));
            };
            let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| {
                StoreError::BadVault(format!("{} does not hold 32 octets", path.display()))
            })?;
            Secret::new(key)
        }
    };
    Ok(crypto::derive(&input, salt, &[b"ward-vault root 1"]))
}

fn check_key(root: &Secret<[u8; 32]>) -> Secret<[u8; 32]> {
    crypto::derive(root, b"", &[b"ward-vault check 1"])
}

fn bad(path: &Path, why: &str) -> StoreError {
    StoreError::BadVault(format!("the vault {} cannot be opened: {why}", path.display()))
}

//! Sealed access tokens (house.md §4): opaque, unreserved characters only, at most 256 of them.
//!
//! `wat_` and base64url of `version ‖ key id ‖ boot id ‖ counter ‖ AES-256-GCM(token id ‖ grant id ‖
//! expiry ‖ key binding ‖ scope subset)`. The AAD is {kind, tenant, issuer, audience} and the clear
//! header. Each process start draws a random boot id and derives its own subkey from the vault's
//! token key, so that counted 96-bit nonces never repeat, whatever was restored from a backup.
//! Refused: any altered character, another tenant, issuer or audience, a key that does not exist yet.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ward_core::{
    GrantId, KeyId, KeyPurpose, KeyVault, Rng, Secret, TenantId, Timestamp, TokenId, VaultError,
    crypto,
};

use crate::errors::IssuerError;

/// Longest token, characters.
pub const MAX_CHARS: usize = 256;
/// What every token begins with, so that scanners for leaked secrets can find it.
pub(crate) const PREFIX: &str = "wat_";
const VERSION: u8 = 1;
const HEADER: usize = 1 + 4 + 16 + 8;
const TAG: usize = 16;
/// Subkeys of earlier process starts that are held; others are derived anew.
const MAX_SUBKEYS: usize = 16;

/// The key that a token is bound to (RFC 8705 §3.1, RFC 9449 §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyBinding {
    /// A bearer token.
    None,
    /// SHA-256 of the client's TLS certificate.
    Certificate([u8; 32]),
    /// RFC 7638 thumbprint of the client's DPoP key.
    Dpop([u8; 32]),
}

/// What a token says; everything else is looked up by the grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Names this token, for its own revocation.
    pub token: TokenId,
    /// What it draws on.
    pub grant: GrantId,
    /// When it ends, to the second.
    pub expires: Timestamp,
    /// The key that must be shown with it.
    pub binding: KeyBinding,
    /// The part of the grant's scopes that it carries; `None` is all of them.
    pub scope: Option<String>,
}

/// Why a token was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not a token of this issuer for this audience, or altered.
    #[error("not a valid token")]
    Invalid,
    /// The key vault cannot be reached.
    #[error("the token key is unavailable: {0}")]
    Unavailable(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct SubkeyName {
    key: KeyId,
    boot: [u8; 16],
}

/// Seals and opens the tokens of one tenant, issuer and audience.
pub struct Sealer {
    tenant: TenantId,
    vault: Arc<dyn KeyVault>,
    aad: Vec<u8>,
    boot: [u8; 16],
    counter: AtomicU64,
    subkeys: Mutex<VecDeque<(SubkeyName, Secret<[u8; 32]>)>>,
}

impl Sealer {
    /// A sealer of this process start.
    pub fn new(
        tenant: TenantId,
        issuer: &str,
        audience: &str,
        vault: Arc<dyn KeyVault>,
        rng: &dyn Rng,
    ) -> Self {
        let mut boot = [0; 16];
        rng.fill(&mut boot);
        let mut aad = Vec::new();
        for part in ["access token", tenant.as_str(), issuer, audience] {
            aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
            aad.extend_from_slice(part.as_bytes());
        }
        Self { tenant, vault, aad, boot, counter: AtomicU64::new(0), subkeys: Mutex::default() }
    }

    /// Seals a token under the current key.
    pub async fn seal(&self, claims: &Claims) -> Result<String, IssuerError> {
        let key = self.vault.current(&self.tenant, KeyPurpose::Token).await?;
        let name = SubkeyName { key: key.id, boot: self.boot };
        let subkey = self.held(name).unwrap_or_else(|| {
            let subkey = derive(&key.key, name);
            self.hold(name, subkey.clone());
            subkey
        });
        // One counter for all keys of this process start: a pair of subkey and nonce never repeats.
        let counter = self
            .counter
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_add(1))
            .map_err(|_| IssuerError::Seal("this process start has used up its nonces"))?;
        let mut bytes = header(name, counter);
        let aad = self.context(&bytes);
        let sealed = crypto::seal_with_nonce(&subkey, nonce(counter), &aad, &encode(claims)?)
            .map_err(|_| IssuerError::Seal("the key is not well-formed"))?;
        bytes.extend(sealed);
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        if token.len() > MAX_CHARS {
            return Err(IssuerError::Seal("its scope subset is too long"));
        }
        Ok(token)
    }

    /// Opens a token. Expiry and revocation are not judged here.
    pub async fn open(&self, token: &str) -> Result<Claims, OpenError> {
        if token.len() > MAX_CHARS {
            return Err(OpenError::Invalid);
        }
        let text = token.strip_prefix(PREFIX).ok_or(OpenError::Invalid)?;
        // The engine refuses padding, other alphabets and non-zero trailing bits: one spelling only.
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| OpenError::Invalid)?;
        let (head, sealed) = bytes.split_first_chunk::<HEADER>().ok_or(OpenError::Invalid)?;
        let (name, counter) = read_header(head).ok_or(OpenError::Invalid)?;
        if sealed.len() < TAG {
            return Err(OpenError::Invalid);
        }
        let held = self.held(name);
        let known = held.is_some();
        let subkey = match held {
            Some(subkey) => subkey,
            None => derive(&self.vault_key(name.key).await?, name),
        };
        let plain = crypto::open_with_nonce(&subkey, nonce(counter), &self.context(head), sealed)
            .map_err(|_| OpenError::Invalid)?;
        if !known {
            // Only a subkey that has opened a real token takes a place.
            self.hold(name, subkey);
        }
        decode(&plain).ok_or(OpenError::Invalid)
    }

    async fn vault_key(&self, id: KeyId) -> Result<Secret<[u8; 32]>, OpenError> {
        let unavailable = |error: VaultError| match error {
            VaultError::Unknown | VaultError::Destroyed => OpenError::Invalid,
            VaultError::Unavailable(why) => OpenError::Unavailable(why),
        };
        let current =
            self.vault.current(&self.tenant, KeyPurpose::Token).await.map_err(unavailable)?;
        if id == current.id {
            return Ok(current.key);
        }
        if id > current.id {
            // Invented: not worth a look-up.
            return Err(OpenError::Invalid);
        }
        let key =
            self.vault.by_id(&self.tenant, KeyPurpose::Token, id).await.map_err(unavailable)?;
        Ok(key.key)
    }

    fn context(&self, header: &[u8]) -> Vec<u8> {
        let mut aad = self.aad.clone();
        aad.extend_from_slice(header);
        aad
    }

    fn held(&self, name: SubkeyName) -> Option<Secret<[u8; 32]>> {
        let subkeys = self.subkeys.lock().unwrap_or_else(PoisonError::into_inner);
        subkeys.iter().find(|(held, _)| *held == name).map(|(_, key)| key.clone())
    }

    fn hold(&self, name: SubkeyName, subkey: Secret<[u8; 32]>) {
        let mut subkeys = self.subkeys.lock().unwrap_or_else(PoisonError::into_inner);
        if subkeys.iter().any(|(held, _)| *held == name) {
            return;
        }
        if subkeys.len() >= MAX_SUBKEYS {
            subkeys.pop_front();
        }
        subkeys.push_back((name, subkey));
    }
}

fn derive(key: &Secret<[u8; 32]>, name: SubkeyName) -> Secret<[u8; 32]> {
    crypto::derive(key, &name.boot, &[b"ward access token", &name.key.0.to_be_bytes()])
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    for (to, from) in nonce.iter_mut().skip(4).zip(counter.to_be_bytes()) {
        *to = from;
    }
    nonce
}

fn header(name: SubkeyName, counter: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER);
    out.push(VERSION);
    out.extend_from_slice(&name.key.0.to_be_bytes());
    out.extend_from_slice(&name.boot);
    out.extend_from_slice(&counter.to_be_bytes());
    out
}

fn read_header(head: &[u8; HEADER]) -> Option<(SubkeyName, u64)> {
    let (version, rest) = head.split_first()?;
    let (key, rest) = rest.split_first_chunk::<4>()?;
    let (boot, rest) = rest.split_first_chunk::<16>()?;
    let counter = rest.first_chunk::<8>()?;
    let name = SubkeyName { key: KeyId(u32::from_be_bytes(*key)), boot: *boot };
    (*version == VERSION).then_some((name, u64::from_be_bytes(*counter)))
}

fn encode(claims: &Claims) -> Result<Vec<u8>, IssuerError> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(claims.token.as_bytes());
    out.extend_from_slice(claims.grant.as_bytes());
    out.extend_from_slice(&claims.expires.as_seconds().to_be_bytes());
    match claims.binding {
        KeyBinding::None => out.push(0),
        KeyBinding::Certificate(thumbprint) => {
            out.push(1);
            out.extend_from_slice(&thumbprint);
        }
        KeyBinding::Dpop(thumbprint) => {
            out.push(2);
            out.extend_from_slice(&thumbprint);
        }
    }
    match &claims.scope {
        None => out.push(0),
        Some(scope) => {
            let length = u8::try_from(scope.len()).ok().filter(|n| *n > 0);
            out.push(length.ok_or(IssuerError::Seal("its scope subset is empty or too long"))?);
            out.extend_from_slice(scope.as_bytes());
        }
    }
    Ok(out)
}

fn decode(plain: &[u8]) -> Option<Claims> {
    let (token, rest) = plain.split_first_chunk::<16>()?;
    let (grant, rest) = rest.split_first_chunk::<16>()?;
    let (expires, rest) = rest.split_first_chunk::<8>()?;
    let (binding, rest) = match rest.split_first()? {
        (0, rest) => (KeyBinding::None, rest),
        (1, rest) => {
            rest.split_first_chunk::<32>().map(|(t, r)| (KeyBinding::Certificate(*t), r))?
        }
        (2, rest) => rest.split_first_chunk::<32>().map(|(t, r)| (KeyBinding::Dpop(*t), r))?,
        _ => return None,
    };
    let (length, scope) = rest.split_first()?;
    if usize::from(*length) != scope.len() {
        return None;
    }
    let scope = if scope.is_empty() { None } else { Some(std::str::from_utf8(scope).ok()?.into()) };
    Some(Claims {
        token: TokenId::from_bytes(*token),
        grant: GrantId::from_bytes(*grant),
        expires: Timestamp::from_seconds(i64::from_be_bytes(*expires)),
        binding,
        scope,
    })
}

#[cfg(test)]
#[path = "sealed_tests.rs"]
mod tests;

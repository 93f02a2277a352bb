//! Paging cursors (E4, E18, RS-09): where the next page begins, sealed.
//!
//! AES-256-GCM under a key derived per grant; tenant, grant, the client's query, the policy and the
//! narrowed upstream request are associated data, so that a cursor opens for the same question of
//! the same grant only. The length is a function of the narrowed request alone, because many servers
//! write the whole query into their paging links; it says nothing about what lies between two pages.
//! Refuses (all alike, with the uniform 404): foreign, altered, expired cursors.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ward_core::{
    DataKey, GrantId, KeyId, KeyPurpose, KeyVault, Rng, Secret, TenantId, Timestamp, VaultError,
    crypto,
};

use crate::Fault;
use crate::forward::Place;

/// The plaintext is padded to a multiple of this many octets.
const STEP: usize = 512;
/// Octets for a paging link besides what it repeats of the request.
const ROOM: usize = 400;
/// How much longer the request may get when an upstream writes it into its link: base64 in JSON.
const REPEATED: usize = 2;
/// Version, mode, consumed, count, expiry and length of the text before the text itself.
const HEAD: usize = 1 + 1 + 4 + 2 + 8 + 2;
const VERSION: u8 = 1;

/// What a cursor is bound to besides its content.
pub(crate) struct Binding<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) grant: GrantId,
    /// Type and canonical query of the client.
    pub(crate) query: &'a str,
    /// Hash of the policy in force.
    pub(crate) policy: &'a str,
    /// The request as narrowed with today's facts: another one counts its pages otherwise.
    pub(crate) upstream: &'a str,
}

impl Binding<'_> {
    fn aad(&self) -> Vec<u8> {
        let mut aad = b"ward-cursor/1".to_vec();
        for part in [
            self.tenant.as_str().as_bytes(),
            self.grant.as_bytes(),
            self.query.as_bytes(),
            self.policy.as_bytes(),
            self.upstream.as_bytes(),
        ] {
            aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
            aad.extend_from_slice(part);
        }
        aad
    }

    /// Octets of plaintext for this question: 512, or more for long requests.
    fn plain_length(&self) -> usize {
        let request = self.upstream.len().saturating_mul(REPEATED);
        HEAD.saturating_add(ROOM).saturating_add(request).next_multiple_of(STEP)
    }

    fn key(&self, key: &DataKey) -> Secret<[u8; 32]> {
        crypto::derive(&key.key, b"", &[b"cursor", self.grant.as_bytes()])
    }
}

/// Where a page begins: an upstream page, and how many of its entries are already consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) place: Place,
    pub(crate) consumed: usize,
    /// Entries asked for in one upstream page.
    pub(crate) count: usize,
}

/// Seals a position.
pub(crate) async fn seal(
    vault: &dyn KeyVault,
    rng: &dyn Rng,
    binding: &Binding<'_>,
    position: &Position,
    expires: Timestamp,
) -> Result<String, Fault> {
    let key = vault.current(binding.tenant, KeyPurpose::Cursor).await.map_err(|_| Fault::Keys)?;
    let plain = encode(position, expires, binding.plain_length())
        .ok_or(Fault::Upstream("paging link too long to keep"))?;
    let sealed =
        crypto::seal(&binding.key(&key), rng, &binding.aad(), &plain).map_err(|_| Fault::Keys)?;
    Ok(URL_SAFE_NO_PAD.encode([&key.id.0.to_be_bytes()[..], &sealed].concat()))
}

/// Opens a cursor for the same question.
pub(crate) async fn open(
    vault: &dyn KeyVault,
    binding: &Binding<'_>,
    cursor: &str,
    now: Timestamp,
) -> Result<Position, Fault> {
    // Key id in clear, then nonce, ciphertext and tag.
    let length = binding.plain_length().saturating_add(4 + crypto::SEAL_OVERHEAD);
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| Fault::NotFound)?;
    if bytes.len() != length {
        return Err(Fault::NotFound);
    }
    let (id, sealed) = bytes.split_first_chunk::<4>().ok_or(Fault::NotFound)?;
    let id = KeyId(u32::from_be_bytes(*id));
    let key = match vault.by_id(binding.tenant, KeyPurpose::Cursor, id).await {
        Ok(key) => key,
        Err(VaultError::Unavailable(_)) => return Err(Fault::Keys),
        Err(VaultError::Unknown | VaultError::Destroyed) => return Err(Fault::NotFound),
    };
    let plain =
        crypto::open(&binding.key(&key), &binding.aad(), sealed).map_err(|_| Fault::NotFound)?;
    match decode(&plain) {
        Some((position, expires)) if now < expires => Ok(position),
        _ => Err(Fault::NotFound),
    }
}

fn encode(position: &Position, expires: Timestamp, length: usize) -> Option<Vec<u8>> {
    let (mode, text) = match &position.place {
        Place::First => (0, ""),
        Place::With(extra) => (1, extra.as_str()),
        Place::Instead(target) => (2, target.as_str()),
    };
    let mut plain = vec![VERSION, mode];
    plain.extend(u32::try_from(position.consumed).ok()?.to_be_bytes());
    plain.extend(u16::try_from(position.count).ok()?.to_be_bytes());
    plain.extend(expires.as_millis().to_be_bytes());
    plain.extend(u16::try_from(text.len()).ok()?.to_be_bytes());
    plain.extend(text.as_bytes());
    if plain.len() > length {
        return None;
    }
    plain.resize(length, 0);
    Some(plain)
}

fn decode(plain: &[u8]) -> Option<(Position, Timestamp)> {
    let (head, rest) = plain.split_first_chunk::<HEAD>()?;
    let [version, mode, c0, c1, c2, c3, n0, n1, e0, e1, e2, e3, e4, e5, e6, e7, l0, l1] = *head;
    let text = rest.get(..usize::from(u16::from_be_bytes([l0, l1])))?;
    let text = || std::str::from_utf8(text).ok().map(str::to_owned);
    let place = match (version, mode) {
        (VERSION, 0) => Place::First,
        (VERSION, 1) => Place::With(text()?),
        (VERSION, 2) => Place::Instead(text()?),
        _ => return None,
    };
    let consumed = usize::try_from(u32::from_be_bytes([c0, c1, c2, c3])).ok()?;
    let count = usize::from(u16::from_be_bytes([n0, n1]));
    let expires = i64::from_be_bytes([e0, e1, e2, e3, e4, e5, e6, e7]);
    Some((Position { place, consumed, count }, Timestamp::from_millis(expires)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_and_its_length_says_nothing() {
        let at = Timestamp::from_seconds(1_800_000_000);
        for place in [
            Place::First,
            Place::With("_offset=20".into()),
            Place::Instead("/?_getpages=x".into()),
            Place::With("x".repeat(STEP - HEAD)),
        ] {
            let position = Position { place, consumed: 17, count: 21 };
            let plain = encode(&position, at, STEP).unwrap();
            assert_eq!(plain.len(), STEP);
            assert_eq!(decode(&plain), Some((position, at)));
        }
        let long =
            Position { place: Place::With("x".repeat(STEP - HEAD + 1)), consumed: 0, count: 1 };
        assert_eq!(encode(&long, at, STEP), None);
    }
}

//! Paging cursors (E4, E18, RS-09): where the next page begins, sealed.
//!
//! AES-256-GCM under a key derived per grant; tenant, grant, the client's query, the policy and the
//! narrowed upstream request are associated data, so that a cursor opens for the same question of
//! the same grant only. All cursors have one length: it says nothing about what lies between two pages,
//! and does not grow with the query. Paging links that do not fit (many servers write the whole query
//! into them) are parked here, and the cursor holds their name.
//! Refuses (all alike, with the uniform 404): foreign, altered, expired cursors.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ward_core::{
    DataKey, GrantId, KeyId, KeyPurpose, KeyVault, Rng, Secret, TenantId, Timestamp, VaultError,
    crypto,
};

use crate::Fault;
use crate::forward::Place;

/// Octets of the plaintext, padded.
const PLAIN: usize = 512;
/// Version, mode, part, skip, count, passed, expiry and length of the text before the text itself.
const HEAD: usize = 1 + 1 + 4 + 4 + 2 + 4 + 8 + 2;
const VERSION: u8 = 2;
/// Added to the mode when the text is the name of a parked link.
const PARKED: u8 = 4;
/// Octets of a link that may be parked.
const LINK: usize = 16 * 1024;
/// Octets of a sealed cursor: key id in clear, then nonce, ciphertext and tag.
const SEALED: usize = 4 + PLAIN + crypto::SEAL_OVERHEAD;
/// Characters of a cursor.
pub(crate) const LENGTH: usize = (SEALED * 4).div_ceil(3);

/// Links that are too long for a cursor, by name. Lost with the process, or when so many newer ones
/// came; the caller then asks again from the first page.
#[derive(Default)]
pub(crate) struct Parked(Mutex<VecDeque<([u8; 16], String)>>);

impl Parked {
    fn park(&self, text: &str, rng: &dyn Rng, most: usize) -> [u8; 16] {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((name, _)) = links.iter().find(|(_, known)| known == text) {
            return *name;
        }
        while links.len() >= most.max(1) {
            links.pop_front();
        }
        let mut name = [0; 16];
        rng.fill(&mut name);
        links.push_back((name, text.to_owned()));
        name
    }

    fn find(&self, name: &[u8]) -> Option<String> {
        let links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.iter().find(|(known, _)| known.as_slice() == name).map(|(_, text)| text.clone())
    }
}

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
    /// Links that are too long.
    pub(crate) parked: &'a Parked,
    /// How many of them.
    pub(crate) parked_links: usize,
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

    fn key(&self, key: &DataKey) -> Secret<[u8; 32]> {
        crypto::derive(&key.key, b"", &[b"cursor", self.grant.as_bytes()])
    }
}

/// Where a page begins: an upstream page, and how many entries from there on are already consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// Which part of the search, if it is sent in several.
    pub(crate) part: usize,
    pub(crate) place: Place,
    /// Entries to pass over, of this upstream page and, if it has fewer, of those behind it.
    pub(crate) skip: usize,
    /// Entries asked for in one upstream page.
    pub(crate) count: usize,
    /// Entries of this part before `place`.
    pub(crate) passed: usize,
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
    let park = |text: &str| binding.parked.park(text, rng, binding.parked_links);
    let plain =
        encode(position, expires, park).ok_or(Fault::Upstream("paging link too long to keep"))?;
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
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| Fault::NotFound)?;
    if bytes.len() != SEALED {
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
    match decode(&plain, |name| binding.parked.find(name)) {
        Some((position, expires)) if now < expires => Ok(position),
        _ => Err(Fault::NotFound),
    }
}

fn encode(
    position: &Position,
    expires: Timestamp,
    park: impl Fn(&str) -> [u8; 16],
) -> Option<Vec<u8>> {
    let (mut mode, text) = match &position.place {
        Place::First => (0, ""),
        Place::With(extra) => (1, extra.as_str()),
        Place::Instead(target) => (2, target.as_str()),
    };
    let name;
    let text = match text.len() {
        length if length <= ROOM => text.as_bytes(),
        length if length <= LINK => {
            mode |= PARKED;
            name = park(text);
            &name
        }
        _ => return None,
    };
    let mut plain = vec![VERSION, mode];
    plain.extend(u32::try_from(position.part).ok()?.to_be_bytes());
    plain.extend(u32::try_from(position.skip).ok()?.to_be_bytes());
    plain.extend(u16::try_from(position.count).ok()?.to_be_bytes());
    plain.extend(u32::try_from(position.passed).ok()?.to_be_bytes());
    plain.extend(expires.as_millis().to_be_bytes());
    plain.extend(u16::try_from(text.len()).ok()?.to_be_bytes());
    plain.extend(text);
    plain.resize(PLAIN, 0);
    Some(plain)
}

/// Octets for the text of a place.
const ROOM: usize = PLAIN - HEAD;

fn decode(plain: &[u8], find: impl Fn(&[u8]) -> Option<String>) -> Option<(Position, Timestamp)> {
    let mut rest = plain;
    let mut number = |octets: usize| {
        let (head, tail) = rest.split_at_checked(octets)?;
        rest = tail;
        Some(head.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let small = |number: u64| usize::try_from(number).ok();
    let (version, mode) = (number(1)?, u8::try_from(number(1)?).ok()?);
    let (part, skip) = (small(number(4)?)?, small(number(4)?)?);
    let (count, passed) = (small(number(2)?)?, small(number(4)?)?);
    let expires = number(8)?.cast_signed();
    let length = small(number(2)?)?;
    let text = rest.get(..length)?;
    let text = || match mode & PARKED {
        0 => std::str::from_utf8(text).ok().map(str::to_owned),
        _ => find(text),
    };
    let place = match (u8::try_from(version).ok()?, mode & !PARKED) {
        (VERSION, 0) => Place::First,
        (VERSION, 1) => Place::With(text()?),
        (VERSION, 2) => Place::Instead(text()?),
        _ => return None,
    };
    Some((Position { part, place, skip, count, passed }, Timestamp::from_millis(expires)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_and_its_length_says_nothing() {
        let at = Timestamp::from_seconds(1_800_000_000);
        let parked = Parked::default();
        let rng = ward_core::SeededRng::new(1);
        let park = |text: &str| parked.park(text, &rng, 2);
        for place in [
            Place::First,
            Place::With("_offset=20".into()),
            Place::Instead("/?_getpages=x".into()),
            Place::With("x".repeat(ROOM)),
            Place::With("x".repeat(ROOM + 1)),
            Place::Instead("y".repeat(LINK)),
        ] {
            let position = Position { part: 70_000, place, skip: 17, count: 200, passed: 99_999 };
            let plain = encode(&position, at, park).unwrap();
            assert_eq!(plain.len(), PLAIN);
            assert_eq!(decode(&plain, |name| parked.find(name)), Some((position, at)));
        }
        let long = |octets| Position {
            part: 0,
            place: Place::With("x".repeat(octets)),
            skip: 0,
            count: 1,
            passed: 0,
        };
        assert_eq!(encode(&long(LINK + 1), at, park), None);
        // Two are kept: the first of three is gone, and nothing else opens in its place.
        let first = encode(&long(1000), at, park).unwrap();
        for octets in [1001, 1002] {
            encode(&long(octets), at, park).unwrap();
        }
        assert_eq!(decode(&first, |name| parked.find(name)), None);
        assert_eq!(parked.0.lock().unwrap().len(), 2);
        assert_eq!(URL_SAFE_NO_PAD.encode([0; SEALED]).len(), LENGTH);
    }
}

//! The sealed stream of a backup: chunks under AES-256-GCM with counted nonces and a mark on the last one
//! (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár), all through `ward_core::crypto`.
//!
//! ```text
//! offset  size
//!      0    12  "ward-backup\n"
//!     12     1  version: 1
//!     13     1  1: passphrase, 2: key file
//!     14     4  PBKDF2-HMAC-SHA256 rounds; 0 for a key file      (big-endian)
//!     18    32  salt, random
//!     50     -  chunks: 65,536 octets of content (the last: 0 to 65,536), each with a tag of 16 octets behind
//! ```
//!
//! Key: HKDF-SHA256(stretched passphrase or key file, salt, "ward backup v1"); the salt makes it this backup's
//! alone. Nonce: three zeros, the number of the chunk in eight octets, 1 for the last chunk or 0. Associated data:
//! the header. Refused: anything that was altered, cut off, appended, reordered or exchanged, and headers that ask
//! for weak or endless stretching. What is read out has been authenticated chunk by chunk, in order.

use std::io::{self, Read, Write};
use std::num::NonZeroU32;

use ward_core::{Rng, Secret, crypto};

use super::BackupError;

const MAGIC: &[u8; 12] = b"ward-backup\n";
const VERSION: u8 = 1;
const HEADER: usize = 50;
const CHUNK: usize = 64 * 1024;
const TAG: usize = 16;
/// OWASP 2023, as for the vault.
const ROUNDS: NonZeroU32 = match NonZeroU32::new(600_000) {
    Some(rounds) => rounds,
    None => NonZeroU32::MIN,
};
const ROUNDS_MAX: u32 = 10_000_000;

/// What a backup is sealed under. Not the secret of the vault: the backup holds what that one opens.
pub enum Seal {
    /// A passphrase, stretched.
    Passphrase(Secret<Vec<u8>>),
    /// 32 random octets.
    Key(Secret<[u8; 32]>),
}

impl Seal {
    const fn kind(&self) -> u8 {
        match self {
            Self::Passphrase(_) => 1,
            Self::Key(_) => 2,
        }
    }

    fn key(&self, salt: &[u8], rounds: NonZeroU32) -> Secret<[u8; 32]> {
        let root = match self {
            Self::Passphrase(passphrase) => crypto::stretch(passphrase, salt, rounds),
            Self::Key(key) => key.clone(),
        };
        crypto::derive(&root, salt, &[b"ward backup v1"])
    }
}

fn nonce(chunk: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    for (to, from) in nonce.iter_mut().skip(3).zip(chunk.to_be_bytes()) {
        *to = from;
    }
    if let Some(mark) = nonce.last_mut() {
        *mark = u8::from(last);
    }
    nonce
}

/// Seals what is written to it. Ends only by [`Sealer::finish`]; without it the stream does not open.
pub(super) struct Sealer<W> {
    to: W,
    key: Secret<[u8; 32]>,
    header: Vec<u8>,
    chunk: u64,
    buffer: Vec<u8>,
}

impl<W: Write> Sealer<W> {
    /// Writes the header. Stretching a passphrase takes a noticeable part of a second.
    pub(super) fn new(mut to: W, seal: &Seal, rng: &dyn Rng) -> io::Result<Self> {
        let mut salt = [0; 32];
        rng.fill(&mut salt);
        let rounds = match seal {
            Seal::Passphrase(_) => ROUNDS.get(),
            Seal::Key(_) => 0,
        };
        let mut header = MAGIC.to_vec();
        header.extend([VERSION, seal.kind()]);
        header.extend(rounds.to_be_bytes());
        header.extend(salt);
        to.write_all(&header)?;
        let key = seal.key(&salt, ROUNDS);
        Ok(Self { to, key, header, chunk: 0, buffer: Vec::with_capacity(CHUNK) })
    }

    fn emit(&mut self, last: bool) -> io::Result<()> {
        let nonce = nonce(self.chunk, last);
        let sealed = crypto::seal_with_nonce(&self.key, nonce, &self.header, &self.buffer)
            .map_err(|error| io::Error::other(error.to_string()))?;
        self.to.write_all(&sealed)?;
        self.chunk += 1;
        self.buffer.clear();
        Ok(())
    }

    /// Seals the last chunk; gives back what was written to.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.emit(true)?;
        Ok(self.to)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk is kept until more comes: it may be the last one.
        if self.buffer.len() == CHUNK {
            self.emit(false)?;
        }
        let room = CHUNK - self.buffer.len();
        let part = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.buffer.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens what a [`Sealer`] wrote. Hands out only what was authenticated; ends only at the marked end.
pub(super) struct Opener<R> {
    from: R,
    key: Secret<[u8; 32]>,
    header: Vec<u8>,
    chunk: u64,
    /// Sealed octets that were read ahead.
    ahead: Vec<u8>,
    plain: Vec<u8>,
    at: usize,
    ended: bool,
}

/// Reads until the buffer has `want` octets or the source ends.
fn fill(from: &mut impl Read, buffer: &mut Vec<u8>, want: usize) -> io::Result<()> {
    let missing = want.saturating_sub(buffer.len()) as u64;
    from.take(missing).read_to_end(buffer).map(|_| ())
}

impl<R: Read> Opener<R> {
    /// Reads the header and the first chunk, so that a wrong passphrase is told at once.
    pub(super) fn new(mut from: R, seal: &Seal) -> Result<Self, BackupError> {
        let mut header = Vec::new();
        fill(&mut from, &mut header, HEADER).map_err(BackupError::reading)?;
        if header.len() < HEADER || !header.starts_with(MAGIC) {
            return Err(BackupError::NotABackup);
        }
        let (fixed, salt) = header.split_at_checked(HEADER - 32).ok_or(BackupError::NotABackup)?;
        let [.., version, kind, a, b, c, d] = *fixed else { return Err(BackupError::NotABackup) };
        if version != VERSION {
            return Err(BackupError::Newer);
        }
        let rounds = u32::from_be_bytes([a, b, c, d]);
        let rounds = match seal {
            _ if kind != seal.kind() => return Err(BackupError::OtherSeal),
            Seal::Passphrase(_) => NonZeroU32::new(rounds)
                .filter(|rounds| (ROUNDS.get()..=ROUNDS_MAX).contains(&rounds.get()))
                .ok_or(BackupError::Altered)?,
            Seal::Key(_) if rounds != 0 => return Err(BackupError::Altered),
            Seal::Key(_) => ROUNDS,
        };
        let key = seal.key(salt, rounds);
        let mut opener = Self {
            from,
            key,
            header,
            chunk: 0,
            ahead: Vec::new(),
            plain: Vec::new(),
            at: 0,
            ended: false,
        };
        opener.advance().map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => BackupError::WrongSeal,
            _ => BackupError::reading(error),
        })?;
        Ok(opener)
    }

    fn advance(&mut self) -> io::Result<()> {
        fill(&mut self.from, &mut self.ahead, CHUNK + TAG + 1)?;
        let last = self.ahead.len() <= CHUNK + TAG;
        let rest = if last { Vec::new() } else { self.ahead.split_off(CHUNK + TAG) };
        let nonce = nonce(self.chunk, last);
        self.plain = crypto::open_with_nonce(&self.key, nonce, &self.header, &self.ahead)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        self.ahead = rest;
        self.at = 0;
        self.chunk += 1;
        self.ended = last;
        Ok(())
    }

    /// Whether nothing follows any more.
    pub(super) fn is_at_end(&self) -> bool {
        self.ended && self.at == self.plain.len()
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.plain.len() {
            if self.ended {
                return Ok(0);
            }
            self.advance()?;
        }
        let rest = self.plain.get(self.at..).unwrap_or_default();
        let count = rest.len().min(into.len());
        for (to, from) in into.iter_mut().zip(rest) {
            *to = *from;
        }
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use ward_core::SeededRng;

    use super::*;

    fn key() -> Seal {
        Seal::Key(Secret::new([7; 32]))
    }

    fn sealed(plain: &[u8]) -> Vec<u8> {
        let mut sealer = Sealer::new(Vec::new(), &key(), &SeededRng::new(1)).unwrap();
        sealer.write_all(plain).unwrap();
        sealer.finish().unwrap()
    }

    fn opened(sealed: &[u8], seal: &Seal) -> Option<Vec<u8>> {
        let mut opener = Opener::new(sealed, seal).ok()?;
        let mut plain = Vec::new();
        opener.read_to_end(&mut plain).ok()?;
        opener.is_at_end().then_some(plain)
    }

    #[test]
    fn streams_of_every_length_around_a_chunk_open_and_every_cut_is_refused() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7] {
            let plain: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let bytes = sealed(&plain);
            assert_eq!(opened(&bytes, &key()).as_ref(), Some(&plain), "{length}");
            for cut in [0, 1, HEADER - 1, HEADER, HEADER + 1, bytes.len() - 1, bytes.len() - TAG] {
                assert!(
                    opened(&bytes[..cut.min(bytes.len() - 1)], &key()).is_none(),
                    "{length}/{cut}"
                );
            }
            // Cut at the end of a chunk: its mark says that more must follow.
            for chunks in 1..=length / CHUNK {
                let cut = HEADER + chunks * (CHUNK + TAG);
                assert!(cut >= bytes.len() || opened(&bytes[..cut], &key()).is_none());
            }
            let mut longer = bytes.clone();
            longer.push(0);
            assert!(opened(&longer, &key()).is_none(), "{length}: appended");
        }
    }

    #[test]
    fn exchanged_chunks_other_keys_and_odd_headers_are_refused() {
        let bytes = sealed(&vec![5; 3 * CHUNK]);
        let chunk = CHUNK + TAG;
        let mut swapped = bytes.clone();
        let (front, back) = swapped[HEADER..].split_at_mut(chunk);
        front.swap_with_slice(&mut back[..chunk]);
        assert!(opened(&swapped, &key()).is_none());
        assert!(opened(&bytes, &Seal::Key(Secret::new([8; 32]))).is_none());
        let passphrase = Seal::Passphrase(Secret::new(b"correct horse".to_vec()));
        assert!(matches!(Opener::new(&*bytes, &passphrase), Err(BackupError::OtherSeal)));
        let other = sealed(&vec![5; 3 * CHUNK]);
        assert_eq!(other, bytes, "the same randomness");
        for at in 0..HEADER {
            for bit in [1, 0x80] {
                let mut altered = bytes.clone();
                altered[at] ^= bit;
                assert!(opened(&altered, &key()).is_none(), "octet {at}");
            }
        }
    }

    #[test]
    fn a_passphrase_opens_what_it_sealed_and_weak_stretching_is_refused() {
        let seal = Seal::Passphrase(Secret::new(b"correct horse".to_vec()));
        let mut sealer = Sealer::new(Vec::new(), &seal, &SeededRng::new(1)).unwrap();
        sealer.write_all(b"content").unwrap();
        let bytes = sealer.finish().unwrap();
        assert_eq!(opened(&bytes, &seal).as_deref(), Some(&b"content"[..]));
        let wrong = Seal::Passphrase(Secret::new(b"correct hors".to_vec()));
        assert!(matches!(Opener::new(&*bytes, &wrong), Err(BackupError::WrongSeal)));
        for rounds in [0_u32, 1, 599_999, 10_000_001, u32::MAX] {
            let mut altered = bytes.clone();
            altered[14..18].copy_from_slice(&rounds.to_be_bytes());
            assert!(matches!(Opener::new(&*altered, &seal), Err(BackupError::Altered)), "{rounds}");
        }
    }
}

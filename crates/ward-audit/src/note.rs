//! Signed checkpoints: C2SP signed-note with Ed25519 keys, and tlog-checkpoint.
//!
//! Refused: notes without a valid signature of the expected key (signatures of unknown keys are ignored, as
//! the specification says, so that witnesses can add theirs), malformed text, sizes with leading zeros.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ward_core::crypto::{SigningKey, hex, sha256, verify_ed25519};

use crate::{Hash, LogError};

/// Signature type of Ed25519 in signed-note.
const ED25519: u8 = 1;
/// Signatures that are looked at in one note; the specification asks for at least 16.
const MAX_SIGNATURES: usize = 64;

/// The public key of a log, in the form `name+hash+key` that other tools of the C2SP family read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: [u8; 32],
}

/// Whether a name can stand in a signed note: 1 to 255 visible ASCII characters but `+`.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b'+')
}

impl VerifierKey {
    /// Of an Ed25519 key with a name. Refuses names that a signed note cannot carry.
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, LogError> {
        if is_name(name) { Ok(Self { name: name.to_owned(), key }) } else { Err(LogError::Origin) }
    }

    /// Parses `name+hash+key`.
    pub fn parse(text: &str) -> Result<Self, LogError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key), true) =
            (parts.next(), parts.next(), parts.next(), text.len() < 512)
        else {
            return Err(LogError::VerifierKey);
        };
        let bytes = STANDARD.decode(key).map_err(|_| LogError::VerifierKey)?;
        let Some((&ED25519, key)) = bytes.split_first() else { return Err(LogError::VerifierKey) };
        let key = key.try_into().map_err(|_| LogError::VerifierKey)?;
        let parsed = Self::new(name, key).map_err(|_| LogError::VerifierKey)?;
        if hex(&parsed.id()) == id { Ok(parsed) } else { Err(LogError::VerifierKey) }
    }

    /// The origin of the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = sha256(&[self.name.as_bytes(), b"\n", &[ED25519], &self.key]);
        [a, b, c, d]
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut key = vec![ED25519];
        key.extend_from_slice(&self.key);
        write!(f, "{}+{}+{}", self.name, hex(&self.id()), STANDARD.encode(key))
    }
}

/// What a checkpoint says: the tree had `size` leaves and this root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// RFC 6962 root.
    pub root: Hash,
}

impl Checkpoint {
    /// Signs it, in the name of its origin.
    pub fn sign(&self, key: &SigningKey) -> Result<String, LogError> {
        let id = VerifierKey::new(&self.origin, key.public_key())?.id();
        let text = format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root));
        let mut signature = id.to_vec();
        signature.extend_from_slice(&key.sign(text.as_bytes()));
        Ok(format!("{text}\n— {} {}\n", self.origin, STANDARD.encode(signature)))
    }

    /// What a note says, without looking at its signatures. For showing only.
    pub fn parse_unverified(note: &str) -> Option<Self> {
        let mut lines = note.split('\n');
        let origin = lines.next().filter(|origin| is_name(origin))?.to_owned();
        let size = lines.next()?;
        let root = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
        let value: u64 = size.parse().ok()?;
        (value.to_string() == size).then_some(Self { origin, size: value, root })
    }

    /// Verifies a note against a key; `None` if it is malformed, of another log, or not signed by that key.
    pub fn verify(note: &str, key: &VerifierKey) -> Option<Self> {
        let end = note.rfind("\n\n")? + 1;
        let (text, signatures) = note.split_at(end);
        let signatures = signatures.strip_prefix('\n')?.strip_suffix('\n')?;
        if text.chars().chain(signatures.chars()).any(|c| c < ' ' && c != '\n') {
            return None;
        }
        let mut valid = false;
        for line in signatures.split('\n').take(MAX_SIGNATURES) {
            let (name, value) = line.strip_prefix("— ")?.split_once(' ')?;
            let value = STANDARD.decode(value).ok()?;
            let (id, signature) = value.split_first_chunk::<4>()?;
            if name == key.name && *id == key.id() {
                if !verify_ed25519(&key.key, text.as_bytes(), signature) {
                    return None;
                }
                valid = true;
            }
        }
        Self::parse_unverified(text).filter(|said| valid && said.origin == key.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_core::Secret;

    /// The example key of Go's `golang.org/x/mod/sumdb/note` documentation.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn a_note_of_the_reference_implementation_verifies() {
        let key = VerifierKey::parse(PETER).unwrap();
        assert_eq!(key.to_string(), PETER);
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
        let signature = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        let raw = STANDARD.decode(signature).unwrap();
        assert_eq!(raw[..4], key.id());
        assert!(verify_ed25519(&key.key, text.as_bytes(), &raw[4..]));
    }

    #[test]
    fn checkpoints_are_bound_to_key_and_text() {
        let key = SigningKey::from_seed(&Secret::new([3; 32])).unwrap();
        let said = Checkpoint { origin: "ward/log/x".into(), size: 70_000, root: [9; 32] };
        let note = said.sign(&key).unwrap();
        assert_eq!(note.lines().count(), 5);
        let verifier = VerifierKey::new("ward/log/x", key.public_key()).unwrap();
        assert_eq!(VerifierKey::parse(&verifier.to_string()).unwrap(), verifier);
        assert_eq!(Checkpoint::verify(&note, &verifier), Some(said));
        // A witness adds its line; unknown signatures are ignored.
        let cosigned = format!("{note}— witness.example AAAAAAAA\n");
        assert!(Checkpoint::verify(&cosigned, &verifier).is_some());
        for bad in [
            note.replace("70000", "70001"),
            note.replace("70000", "070000"),
            note.replace("\n\n", "\n"),
            note.trim_end().to_owned(),
            note.replace("— ", "- "),
            format!("{note}{note}"),
            String::new(),
        ] {
            assert_eq!(Checkpoint::verify(&bad, &verifier), None, "{bad}");
        }
        let other = VerifierKey::new("ward/log/x", [1; 32]).unwrap();
        assert_eq!(Checkpoint::verify(&note, &other), None);
        assert!(VerifierKey::parse("a+00000000+AQ==").is_err());
        assert!(VerifierKey::new("a b", [1; 32]).is_err());
    }
}

//! The trust bundles that were taken, on disk: the one in force and the one before it, one file for each community, replaced
//! whole. The file is Ward's own, in its data directory: what lies there was verified when it was taken, under anchors that may be gone.
//!
//! Refused: a file that does not read back. To pass it over would be a roll-back.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ward_core::crypto::{hex, sha256};
use ward_core::{CommunityUri, Limits, Rng};
use ward_trust::{Certificate, Community, SignedBundle};

use crate::private;

const VERSION: u32 = 1;

/// Why what is kept cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The file does not read back.
    #[error(
        "{} is damaged; restore it from a backup, or take it away to begin again from `anchors` (then an older bundle is not refused)",
        .0.display()
    )]
    Damaged(PathBuf),
    /// It could not be read or written.
    #[error("{}: {}; let Ward's account write there, and free space", .0.display(), .1)]
    Io(PathBuf, std::io::Error),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    v: u32,
    community: CommunityUri,
    /// Thumbprints of `anchors` in the configuration when the first of these was taken.
    pinned: Vec<String>,
    current: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
}

/// What is kept of one community.
#[derive(Debug, Clone)]
pub struct Kept {
    current: SignedBundle,
    document: String,
    previous: Option<SignedBundle>,
    pinned: Vec<String>,
}

impl Kept {
    /// The one in force.
    pub const fn current(&self) -> &SignedBundle {
        &self.current
    }

    /// The one before it.
    pub const fn previous(&self) -> Option<&SignedBundle> {
        self.previous.as_ref()
    }

    /// Reads what is kept under a data directory; `None` if no bundle was ever taken.
    pub fn read(
        data: &Path,
        community: &CommunityUri,
        limits: &Limits,
    ) -> Result<Option<Self>, KeptError> {
        let path = place(data, community);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(KeptError::Io(path, error)),
        };
        let damaged = || KeptError::Damaged(path.clone());
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        // Whatever the limit is now, what was taken is read.
        let limits = Limits { bundle_bytes: bytes.len(), ..limits.clone() };
        let parse = |text: &String| {
            SignedBundle::parse(text.as_bytes(), &limits)
                .ok()
                .filter(|one| one.bundle().community == *community)
                .ok_or_else(damaged)
        };
        if stored.v != VERSION || stored.community != *community {
            return Err(damaged());
        }
        Ok(Some(Self {
            current: parse(&stored.current)?,
            previous: stored.previous.as_ref().map(parse).transpose()?,
            document: stored.current,
            pinned: stored.pinned,
        }))
    }

    /// The community as it is configured, under the bundle. Once an operator changes `anchors`, the bundle goes no further than
    /// its number: the community is joined anew.
    pub fn apply(&self, configured: &Community) -> Community {
        if self.pinned == pins(&configured.anchors) {
            self.current.apply(configured)
        } else {
            configured.clone()
        }
    }

    /// Keeps a bundle that was taken beside the one before it; durable when it returns. `anchors` are those of the configuration.
    pub fn write(
        data: &Path,
        before: Option<&Self>,
        bundle: &SignedBundle,
        document: &[u8],
        anchors: &[Certificate],
        rng: &dyn Rng,
    ) -> Result<(), KeptError> {
        let community = &bundle.bundle().community;
        let path = place(data, community);
        let stored = Stored {
            v: VERSION,
            community: community.clone(),
            pinned: pins(anchors),
            current: String::from_utf8_lossy(document.trim_ascii_end()).into_owned(),
            previous: before
                .filter(|kept| !bundle.is(kept.current.held()))
                .map(|kept| kept.document.clone()),
        };
        let failed = |error| KeptError::Io(path.clone(), error);
        let dir = data.join("bundles");
        private::directory(&dir).map_err(failed)?;
        let bytes = serde_json::to_vec_pretty(&stored)
            .map_err(|error| failed(std::io::Error::other(error)))?;
        private::write(&path, &bytes, rng).map_err(failed)?;
        fs::File::open(&dir).and_then(|dir| dir.sync_all()).map_err(failed)
    }

    /// Puts back what was there before a [`Self::write`] that came to nothing.
    pub fn restore(
        data: &Path,
        community: &CommunityUri,
        bytes: Option<&[u8]>,
        rng: &dyn Rng,
    ) -> Result<(), KeptError> {
        let path = place(data, community);
        match bytes {
            Some(bytes) => private::write(&path, bytes, rng),
            None => fs::remove_file(&path),
        }
        .map_err(|error| KeptError::Io(path, error))
    }

    /// The file as it is.
    pub fn raw(data: &Path, community: &CommunityUri) -> Option<Vec<u8>> {
        fs::read(place(data, community)).ok()
    }
}

fn pins(anchors: &[Certificate]) -> Vec<String> {
    let mut pins: Vec<_> = anchors.iter().map(|one| one.thumbprint().to_string()).collect();
    pins.sort();
    pins
}

pub(super) fn place(data: &Path, community: &CommunityUri) -> PathBuf {
    let name = hex(&sha256(&[community.as_str().as_bytes()]));
    data.join("bundles").join(format!("{name}.json"))
}

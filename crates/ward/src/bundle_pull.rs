//! Trust bundles of the communities, as a member: pulled on a schedule, verified, taken whole or not at all (issue 4 Build 4; PKI-16).
//!
//! What is taken is kept on disk first ([`Kept`]), so that a restart knows its number and refuses a roll-back too, and then goes the way
//! of every reload, with an event in the log. What is refused changes nothing: the last good one stays until it ends, then nobody
//! registers, and clients go on for the community's `revocation_grace`, as with a revocation list. Until the first bundle
//! comes, `anchors` from the configuration are in force.

mod kept;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ward_core::{CommunityUri, Timestamp};
use ward_net::bundle::{BundleFetchError, fetch_bundle};
use ward_net::{HttpClient, RevocationLists};
use ward_trust::bundle::signers;
use ward_trust::{BundleError, Community, PathError, SignedBundle};

use crate::house::{Knobs, System};
use crate::serve::{Reloader, ServeError};
use crate::signals::Ear;
pub use kept::{Kept, KeptError};

/// How one community's bundle stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Number of the bundle in force.
    pub sequence: Option<u64>,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// When the community was last heard of, be it with the same bundle.
    pub heard: Option<Timestamp>,
    /// Whether what the last pull brought was refused (`true`) or nothing could be had (`false`); `None`: all is well.
    pub refused: Option<bool>,
}

/// How the bundles stand, for readiness and metrics.
#[derive(Debug, Default)]
pub struct Bundles(Mutex<BTreeMap<CommunityUri, Standing>>);

impl Bundles {
    /// Of every community that has a place for bundles.
    pub fn standing(&self) -> Vec<Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn note(&self, uri: &CommunityUri, note: impl FnOnce(&mut Standing)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        note(all.entry(uri.clone()).or_default());
    }

    fn keep(&self, uris: &[CommunityUri]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|uri, _| uris.contains(uri));
    }
}

/// Where a bundle comes from, as `bundle` in the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `http` or `https`.
    Url(String),
    /// A file that something else puts there.
    File(std::path::PathBuf),
}

impl Source {
    /// A URL if it begins like one; else a file, from the directory of the configuration.
    pub fn of(text: &str) -> Self {
        if text.starts_with("https://") || text.starts_with("http://") {
            Self::Url(text.to_owned())
        } else {
            Self::File(text.into())
        }
    }
}

/// Why a pull brought nothing. The bundle in force stays.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Nothing came.
    #[error(
        "{0}; see that this machine reaches the address, that `bundle` is right, and for a private address `allow_private`"
    )]
    Fetch(#[from] BundleFetchError),
    /// The file could not be read.
    #[error("{0}; put the bundle there, or correct `bundle`")]
    File(std::io::Error),
    /// It is refused.
    #[error("{0}")]
    Refused(#[from] BundleError),
    /// Whether its signer is revoked is not known now.
    #[error("whether the bundle's signer is revoked cannot be known now ({0}); it is tried again")]
    Unknown(PathError),
    /// What is kept on disk cannot be read or written.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// The configuration with it is not sound, or the log did not take it.
    #[error("the bundle cannot be taken up: {0}")]
    Reload(Box<ServeError>),
}

impl PullError {
    fn word(&self) -> &'static str {
        match self {
            Self::Fetch(_) => "unreachable",
            Self::File(_) => "file",
            Self::Refused(error) => error.word(),
            Self::Unknown(_) => "revocation-unknown",
            Self::Kept(_) => "disk",
            Self::Reload(_) => "reload",
        }
    }

    /// Whether the community, or who speaks for it, was refused: an event, not only a failure.
    const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Reload(_))
    }
}

/// One community that is followed.
struct Followed {
    community: Community,
    source: Source,
}

/// Pulls the bundles of all communities that name a place for them.
pub struct Puller {
    reloader: Arc<Reloader>,
    knobs: Knobs,
    lists: Arc<RevocationLists>,
    client: HttpClient,
    system: System,
    bundles: Arc<Bundles>,
    ear: tokio::sync::Mutex<Ear>,
    /// What was said last of each community, so that the same is not recorded every quarter of an hour.
    told: Mutex<BTreeMap<CommunityUri, String>>,
}

impl Puller {
    /// For a house and its reloader.
    pub fn new(
        reloader: Arc<Reloader>,
        house: &crate::house::House,
        client: HttpClient,
        system: System,
    ) -> Self {
        Self {
            reloader,
            knobs: house.knobs.clone(),
            lists: house.ops.lists.clone(),
            bundles: house.ops.bundles.clone(),
            ear: tokio::sync::Mutex::new(Ear::new(house.ops.signals.news())),
            client,
            system,
            told: Mutex::default(),
        }
    }

    /// Pulls now, and again every `limits.bundle_interval`; that of a community that says something at once, but for a little pause.
    pub async fn run(self) {
        let least = Duration::from_millis(100);
        let interval = self.system.limits.bundle_interval.max(least);
        let mut ear = self.ear.lock().await;
        loop {
            self.pull().await;
            let mut round = std::pin::pin!(tokio::time::sleep(interval));
            loop {
                tokio::select! {
                    () = &mut round => break,
                    said = ear.heard() => self.pull_of(|uri| said.contains(uri)).await,
                }
                tokio::time::sleep(least).await;
            }
        }
    }

    /// Asks every community once.
    pub async fn pull(&self) {
        self.pull_of(|_| true).await;
    }

    async fn pull_of(&self, of: impl Fn(&CommunityUri) -> bool) {
        let followed = self.followed().await;
        let uris: Vec<_> = followed.iter().map(|one| one.community.uri.clone()).collect();
        self.bundles.keep(&uris);
        for one in followed.into_iter().filter(|one| of(&one.community.uri)) {
            let uri = one.community.uri.clone();
            let pulled = self.pull_one(one).await;
            let now = self.system.clock.now();
            match &pulled {
                Ok(()) => {
                    self.bundles.note(&uri, |standing| {
                        standing.heard = Some(now);
                        standing.refused = None;
                    });
                    self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(&uri);
                }
                Err(error) => self.failed(&uri, error).await,
            }
        }
    }

    async fn followed(&self) -> Vec<Followed> {
        let in_force = self.knobs.communities();
        let named = self.reloader.bundles().await;
        in_force
            .into_iter()
            .filter_map(|community| {
                let source = named.get(&community.uri).cloned()?;
                Some(Followed { community, source })
            })
            .collect()
    }

    async fn pull_one(&self, followed: Followed) -> Result<(), PullError> {
        let Followed { community, source } = followed;
        let limits = &*self.system.limits;
        let kept = self.reloader.kept(&community.uri).await?;
        self.bundles.note(&community.uri, |standing| {
            let bundle = kept.as_ref().map(|kept| kept.current().bundle());
            standing.sequence = bundle.map(|bundle| bundle.sequence);
            standing.expires = bundle.map(|bundle| bundle.expires);
        });
        let document = match &source {
            Source::Url(url) => fetch_bundle(&self.client, url, limits).await?.to_vec(),
            Source::File(path) => read(path, limits.bundle_bytes).map_err(PullError::File)?,
        };
        let signed = SignedBundle::parse(&document, limits)?;
        let held = kept.as_ref().map(|kept| kept.current().held());
        let now = self.system.clock.now();
        if held.is_some_and(|held| signed.is(held)) && community.trusted_until.is_some() {
            // In force already: only its end counts, for it may itself have left out the anchor of its signer.
            let over = now > signed.bundle().expires;
            return if over { Err(BundleError::Expired.into()) } else { Ok(()) };
        }
        let before = kept.as_ref().and_then(Kept::previous);
        if before.is_some_and(|before| before.digest() == signed.digest()) {
            // Told for what it is, though its signer may have gone with an anchor.
            return Err(BundleError::RollBack.into());
        }
        signed.accept(&community, held, now, limits)?;
        // Before it is believed, as for any other signer. Not within a grace: a bundle can wait.
        let (signer, extra) = (signed.signer(), signed.extra());
        match self.lists.validate(signer, extra, &signers(&community), Duration::ZERO).await {
            Ok(_) => {}
            Err(error) if error.is_unavailable() => return Err(PullError::Unknown(error)),
            Err(error) => return Err(BundleError::Path(error).into()),
        }
        self.reloader.take_bundle(&signed, &document).await?;
        let bundle = signed.bundle();
        self.bundles.note(&community.uri, |standing| {
            standing.sequence = Some(bundle.sequence);
            standing.expires = Some(bundle.expires);
        });
        tracing::info!(
            community = %community.uri,
            sequence = bundle.sequence,
            anchors = bundle.anchors.len(),
            until = bundle.expires.to_rfc3339(),
            "a new trust bundle is in force",
        );
        Ok(())
    }

    /// Says it: loudly where somebody may be at work, and records a refusal once.
    async fn failed(&self, uri: &CommunityUri, error: &PullError) {
        self.bundles.note(uri, |standing| standing.refused = Some(error.is_refusal()));
        let said = error.to_string();
        let known = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.insert(uri.clone(), said.clone()).is_some_and(|before| before == said)
        };
        if known {
            return;
        }
        if error.is_refusal() {
            tracing::error!(community = %uri, "the trust bundle is refused, the one in force stays: {said}");
            if let Err(error) = self.knobs.bundle_refused(uri, error.word()).await {
                tracing::error!(%error, "the refusal could not be recorded");
            }
        } else {
            tracing::warn!(community = %uri, "no trust bundle: {said}");
        }
    }
}

/// Reads a file of at most so many bytes and a line break.
fn read(path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let most = most as u64 + 2;
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

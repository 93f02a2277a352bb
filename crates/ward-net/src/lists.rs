//! Revocation lists by URL (PKI-03, PKI-04 as amended, X14–X20): fetched, cached, looked at again
//! after half of their life, one fetch at a time for each list.
//!
//! Plain `http` is fine, because lists are signed: a list is only kept if the issuer of the certificate
//! that names it signed it, so that nobody on the way can plant one. Refused: lists
//! that are too large or too slow, dated in the future, or older than the one at hand. *Unavailable*
//! (no list: 503) and *stale* (a list past its `nextUpdate`) stay distinct.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use ward_core::{Clock, Limits, Thumbprint, Timestamp};
use ward_trust::{Certificate, Chain, Community, Crl, PathError, first_unrevoked};

use crate::built::Built;
use crate::client::{FetchError, HttpClient};

/// Why a list could not be had or was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListsError {
    /// The server of the list did not hand it out: 503 with `Retry-After`, not a refusal (T36).
    #[error("a revocation list is unavailable: {0}")]
    Unavailable(#[from] FetchError),
    /// It answered with another status than 200.
    #[error("a revocation list is unavailable: status {0}")]
    Status(u16),
    /// What it handed out is not a list that Ward understands (X18).
    #[error("a revocation list is unusable: {0}")]
    Unusable(#[from] ward_trust::CrlError),
    /// The list is not signed by the issuer of the certificate (X16).
    #[error("a revocation list is not signed by its issuer")]
    Signature,
    /// The list is dated in the future (X17).
    #[error("a revocation list is dated in the future")]
    Future,
    /// The list is older than the one at hand.
    #[error("a revocation list is older than the last one")]
    Older,
}

/// The state of one list, for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListStatus {
    /// Where it comes from.
    pub url: String,
    /// `thisUpdate` and `nextUpdate` of the list at hand.
    pub validity: Option<(Timestamp, Timestamp)>,
    /// Whether the list at hand is past its `nextUpdate`.
    pub stale: bool,
    /// Why the last fetch failed, if it did.
    pub failure: Option<ListsError>,
}

/// What [`RevocationLists::refresh`] did: the state of every known list afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefreshReport {
    /// Every list that was ever asked for and is still held.
    pub lists: Vec<ListStatus>,
}

impl RefreshReport {
    /// Whether every list was fetched.
    pub fn is_complete(&self) -> bool {
        self.lists.iter().all(|list| list.failure.is_none())
    }
}

/// Which list: its URL and the issuer that must have signed it.
type Key = (String, Thumbprint);

/// Lists held at once; beyond it the one that was not asked for the longest goes.
const MAX_LISTS: usize = 1024;
/// Lists asked for at once (a chain has few).
const MAX_URLS: usize = 32;
/// Mirrors of one list that are tried.
const MAX_MIRRORS: usize = 4;
/// Certificates remembered as revoked.
const MAX_REVOKED: usize = 100_000;
/// A failed fetch is not tried again before this, so that a dead server costs little.
const RETRY: Duration = Duration::from_secs(1);
/// A list is looked at again after this even if it is good for years.
const MAX_AGE: Duration = Duration::from_hours(12);

/// The revocation lists that were asked for, by URL.
pub struct RevocationLists {
    client: HttpClient,
    clock: Arc<dyn Clock>,
    limits: Arc<Limits>,
    entries: Mutex<BTreeMap<Key, Arc<Entry>>>,
    pub(crate) built: Built,
    /// Certificates seen revoked: they never pass again, whatever a later list says (amendment PKI-04).
    revoked: Mutex<BTreeSet<Thumbprint>>,
}

struct Entry {
    url: String,
    issuer: Certificate,
    state: Mutex<State>,
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    list: Option<Arc<Crl>>,
    fetched: Option<Timestamp>,
    failure: Option<(Timestamp, ListsError)>,
    used: Option<Timestamp>,
}

/// What to do about a list that is asked for.
enum Need {
    /// Use it.
    Nothing(Arc<Crl>),
    /// Use it, and fetch the next one in the background.
    Prefetch(Arc<Crl>),
    /// It failed a moment ago: use what there is.
    Wait,
    /// Fetch it first.
    Fetch,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entry {
    fn need(&self, now: Timestamp) -> Need {
        let mut state = lock(&self.state);
        state.used = Some(now);
        let failed = state.failure.as_ref().is_some_and(|(at, _)| now.since(*at) < RETRY);
        let Some(list) = state.list.clone().filter(|list| now < list.next_update()) else {
            return if failed { Need::Wait } else { Need::Fetch };
        };
        let life = list.next_update().since(list.this_update());
        let half = list.this_update().plus(life / 2);
        let old = state.fetched.is_none_or(|fetched| now.since(fetched) >= MAX_AGE);
        // A list that was already half-way through its life when it came is not asked for at every use.
        let again = state.fetched.is_none_or(|fetched| now.since(fetched) >= life / 20);
        if !failed && ((now >= half && again) || old) {
            Need::Prefetch(list)
        } else {
            Need::Nothing(list)
        }
    }

    fn at_hand(&self) -> Option<Arc<Crl>> {
        lock(&self.state).list.clone()
    }

    fn status(&self, now: Timestamp) -> ListStatus {
        let state = lock(&self.state);
        ListStatus {
            url: self.url.clone(),
            validity: state.list.as_ref().map(|list| (list.this_update(), list.next_update())),
            stale: state.list.as_ref().is_some_and(|list| now >= list.next_update()),
            failure: state.failure.as_ref().map(|(_, why)| why.clone()),
        }
    }
}

/// The certificates of a chain, each with its issuer.
fn pairs(chain: &Chain) -> impl Iterator<Item = (&Certificate, &Certificate)> {
    let issuers = chain.certificates.iter().skip(1).chain(std::iter::once(&chain.anchor));
    chain.certificates.iter().zip(issuers)
}

impl std::fmt::Debug for RevocationLists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RevocationLists").finish_non_exhaustive()
    }
}

impl RevocationLists {
    /// No lists yet; they come when asked for.
    pub fn new(client: HttpClient, clock: Arc<dyn Clock>, limits: Arc<Limits>) -> Arc<Self> {
        Arc::new(Self {
            client,
            clock,
            limits,
            entries: Mutex::default(),
            built: Built::default(),
            revoked: Mutex::default(),
        })
    }

    /// [`ward_trust::validate_within`] with the lists that its paths need, fetched and checked against
    /// their issuers. A certificate once seen revoked never passes again, whatever a later list says.
    ///
    /// `grace`: for how long after its `nextUpdate` a list is good (zero for registrations).
    pub async fn validate(
        self: &Arc<Self>,
        leaf: &Certificate,
        extra: &[Certificate],
        community: &Community,
        grace: Duration,
    ) -> Result<Chain, PathError> {
        let now = self.clock.now();
        let mut chains = self.built.paths(leaf, extra, community, now)?;
        chains.retain(|chain| !self.was_revoked(chain));
        if chains.is_empty() {
            return Err(PathError::Revoked);
        }
        let mut wanted = Vec::new();
        let mut subjects = Vec::new();
        for (certificate, issuer) in chains.iter().flat_map(pairs) {
            let seen = subjects
                .iter()
                .any(|seen: &Certificate| seen.thumbprint() == certificate.thumbprint());
            if seen || subjects.len() >= MAX_URLS {
                continue;
            }
            subjects.push(certificate.clone());
            let mirrors = certificate.crl_urls().iter().take(MAX_MIRRORS);
            wanted.push(mirrors.map(|url| self.entry(url, issuer)).collect::<Vec<_>>());
        }
        let lists = self.obtain(&wanted).await;
        for (certificate, list) in subjects.iter().zip(&lists) {
            if list.as_ref().is_some_and(|list| list.is_revoked(certificate.serial())) {
                self.remember(certificate);
            }
        }
        let lists: Vec<_> = lists.into_iter().flatten().collect();
        let chain = first_unrevoked(chains, community, &lists, &[], now, grace)?;
        if self.was_revoked(&chain) { Err(PathError::Revoked) } else { Ok(chain) }
    }

    /// Whether a list was seen that names the certificate.
    pub fn was_seen_revoked(&self, certificate: Thumbprint) -> bool {
        lock(&self.revoked).contains(&certificate)
    }

    fn was_revoked(&self, chain: &Chain) -> bool {
        let revoked = lock(&self.revoked);
        chain.certificates.iter().any(|certificate| revoked.contains(&certificate.thumbprint()))
    }

    fn remember(&self, certificate: &Certificate) {
        let mut revoked = lock(&self.revoked);
        // Only certificates with a path to an anchor come here, so the bound is far away.
        if revoked.len() < MAX_REVOKED {
            revoked.insert(certificate.thumbprint());
        }
    }

    /// Every known list is fetched anew, for an operator's command.
    pub async fn refresh(self: &Arc<Self>) -> RefreshReport {
        let entries: Vec<_> = lock(&self.entries).values().cloned().collect();
        let mut fetches = JoinSet::new();
        for entry in &entries {
            let (lists, entry) = (Arc::clone(self), Arc::clone(entry));
            fetches.spawn(async move {
                let _flight = entry.flight.lock().await;
                lists.fetch(&entry).await
            });
        }
        while fetches.join_next().await.is_some() {}
        self.status()
    }

    /// The state of every known list.
    pub fn status(&self) -> RefreshReport {
        let now = self.clock.now();
        let entries: Vec<_> = lock(&self.entries).values().cloned().collect();
        RefreshReport { lists: entries.iter().map(|entry| entry.status(now)).collect() }
    }

    fn entry(&self, url: &str, issuer: &Certificate) -> Arc<Entry> {
        let key = (url.to_owned(), issuer.thumbprint());
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get(&key) {
            return Arc::clone(entry);
        }
        if entries.len() >= MAX_LISTS {
            let oldest =
                entries.iter().min_by_key(|(_, entry)| lock(&entry.state).used).map(|(key, _)| key);
            if let Some(oldest) = oldest.cloned() {
                entries.remove(&oldest);
            }
        }
        let state = State { used: Some(self.clock.now()), ..State::default() };
        let entry = Arc::new(Entry {
            url: url.to_owned(),
            issuer: issuer.clone(),
            state: Mutex::new(state),
            flight: tokio::sync::Mutex::new(()),
        });
        entries.insert(key, Arc::clone(&entry));
        entry
    }

    /// For each of `wanted` (mirrors of one list) what can be had, in order, fetching side by side what
    /// must be fetched.
    async fn obtain(self: &Arc<Self>, wanted: &[Vec<Arc<Entry>>]) -> Vec<Option<Arc<Crl>>> {
        let now = self.clock.now();
        let mut lists = Vec::with_capacity(wanted.len());
        let mut fetches = JoinSet::new();
        for (index, mirrors) in wanted.iter().enumerate() {
            let at_hand = mirrors.iter().find_map(|entry| match entry.need(now) {
                Need::Nothing(list) => Some(list),
                Need::Prefetch(list) => {
                    self.prefetch(Arc::clone(entry));
                    Some(list)
                }
                Need::Wait | Need::Fetch => None,
            });
            if at_hand.is_none() {
                let (all, mirrors) = (Arc::clone(self), mirrors.clone());
                fetches.spawn(async move { (index, all.first_of(&mirrors).await) });
            }
            lists.push(at_hand);
        }
        while let Some(fetched) = fetches.join_next().await {
            // A fetch neither panics nor is aborted; if it were, its list would just be missing.
            let Ok((index, list)) = fetched else { continue };
            if let Some(place) = lists.get_mut(index) {
                *place = list;
            }
        }
        lists
    }

    /// The list from the first mirror that has a current one; else a stale one.
    async fn first_of(&self, mirrors: &[Arc<Entry>]) -> Option<Arc<Crl>> {
        let mut stale = None;
        for entry in mirrors {
            match self.fetch_first(entry).await {
                (list, true) => return list,
                (list, false) => stale = stale.or(list),
            }
        }
        stale
    }

    /// Fetches unless someone else just did; the list at hand afterwards, and whether all is well with it.
    async fn fetch_first(&self, entry: &Entry) -> (Option<Arc<Crl>>, bool) {
        let _flight = entry.flight.lock().await;
        match entry.need(self.clock.now()) {
            Need::Nothing(list) | Need::Prefetch(list) => (Some(list), true),
            Need::Wait => (entry.at_hand(), false),
            Need::Fetch => {
                let fetched = self.fetch(entry).await.is_ok();
                (entry.at_hand(), fetched)
            }
        }
    }

    /// Fetches in the background, unless a fetch is under way.
    fn prefetch(self: &Arc<Self>, entry: Arc<Entry>) {
        let lists = Arc::clone(self);
        tokio::spawn(async move {
            let Ok(_flight) = entry.flight.try_lock() else { return };
            if matches!(entry.need(lists.clock.now()), Need::Prefetch(_)) {
                let _ = lists.fetch(&entry).await;
            }
        });
    }

    /// Fetches one list and keeps it if it may be kept. The caller holds the entry's `flight`.
    async fn fetch(&self, entry: &Entry) -> Result<(), ListsError> {
        let got = self.download(entry).await;
        let now = self.clock.now();
        let mut state = lock(&entry.state);
        let accepted = got.and_then(|list| {
            if list.this_update() > now.plus(self.limits.clock_skew) {
                return Err(ListsError::Future);
            }
            match &state.list {
                Some(held) if list.this_update() < held.this_update() => Err(ListsError::Older),
                _ => Ok(list),
            }
        });
        match accepted {
            Ok(list) => {
                state.list = Some(list);
                state.fetched = Some(now);
                state.failure = None;
                Ok(())
            }
            Err(why) => {
                tracing::warn!(url = %entry.url, error = %why, "a revocation list was not renewed");
                state.failure = Some((now, why.clone()));
                Err(why)
            }
        }
    }

    async fn download(&self, entry: &Entry) -> Result<Arc<Crl>, ListsError> {
        let limits = &self.limits;
        let answer = self.client.get(&entry.url, limits.crl_bytes, limits.crl_timeout).await?;
        if answer.status() != http::StatusCode::OK {
            return Err(ListsError::Status(answer.status().as_u16()));
        }
        let list = Crl::from_der(answer.body())?;
        if !list.signed_by(&entry.issuer) {
            return Err(ListsError::Signature);
        }
        Ok(Arc::new(list))
    }
}

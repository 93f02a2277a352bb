//! Revocation lists and OCSP answers by URL (PKI-03..PKI-06, PKI-04 as amended, X11, X14–X26): fetched, cached, looked at
//! again after half of their life, one fetch at a time for each.
//!
//! **Which is asked.** A certificate's lists first, its mirrors in order, for one list speaks for all members and can be had
//! beforehand; its OCSP responders where it names no list, or where none of its lists could be had or is in force.
//! Whichever says "revoked" is believed.
//!
//! Plain `http` is fine, because lists and answers are signed: one is only kept if the issuer of the certificate that names
//! it signed it (or its responder did), so that nobody on the way can plant one. Refused: what is too large or too
//! slow, dated in the future, or older than what is at hand. *Unavailable* (nothing at hand: 503) and *stale* (past its
//! `nextUpdate`) stay distinct. Redirects are not followed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use ward_core::{Clock, Limits, Thumbprint};
use ward_trust::{Certificate, Chain, Community, PathError, candidate_paths, first_unrevoked};

use crate::aia::Issuers;
use crate::built::Built;
use crate::client::HttpClient;
use crate::kept::{Entry, Fact, Key, Need, lock};
pub use crate::kept::{ListStatus, ListsError};

/// What [`RevocationLists::refresh`] did: the state of every known list afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefreshReport {
    /// Every list that was ever asked for and is still held, and every OCSP answer that could not be renewed.
    pub lists: Vec<ListStatus>,
}

impl RefreshReport {
    /// Whether everything was fetched.
    pub fn is_complete(&self) -> bool {
        self.lists.iter().all(|list| list.failure.is_none())
    }
}

/// Lists held at once; beyond it the one that was not asked for the longest goes.
const MAX_LISTS: usize = 1024;
/// OCSP answers held at once; they never push out a list.
const MAX_ANSWERS: usize = 8192;
/// Certificates whose revocation is asked for at once (a chain has few).
const MAX_URLS: usize = 32;
/// Mirrors of one list that are tried.
const MAX_MIRRORS: usize = 4;
/// Responders for one certificate that are tried.
const MAX_RESPONDERS: usize = 2;
/// Certificates remembered as revoked.
const MAX_REVOKED: usize = 100_000;
/// How often [`RevocationLists::tend`] is due.
const TEND: Duration = Duration::from_mins(1);
/// Lists that nobody has asked for as long are given up.
const LIST_IDLE: Duration = Duration::from_hours(7 * 24);
/// And OCSP answers.
const ANSWER_IDLE: Duration = Duration::from_hours(24);
/// What is renewed side by side.
const ABREAST: usize = 16;

/// The revocation lists and OCSP answers that were asked for, by URL.
pub struct RevocationLists {
    client: HttpClient,
    pub(crate) clock: Arc<dyn Clock>,
    limits: Arc<Limits>,
    pub(crate) entries: Mutex<BTreeMap<Key, Arc<Entry>>>,
    pub(crate) answers: Mutex<BTreeMap<Key, Arc<Entry>>>,
    pub(crate) built: Built,
    issuers: Issuers,
    /// Certificates seen revoked: they never pass again, whatever a later list says (amendment PKI-04).
    revoked: Mutex<BTreeSet<Thumbprint>>,
    /// What it named that nobody asked for yet.
    pub(crate) named: Mutex<crate::named::Unasked>,
    /// Counts what came that says something new.
    pub(crate) news: tokio::sync::watch::Sender<u64>,
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
            issuers: Issuers::new(client.clone(), clock.clone(), limits.clone()),
            client,
            clock,
            limits,
            entries: Mutex::default(),
            answers: Mutex::default(),
            built: Built::default(),
            revoked: Mutex::default(),
            named: Mutex::default(),
            news: tokio::sync::watch::Sender::new(0),
        })
    }

    /// [`ward_trust::validate_within`] with the lists and OCSP answers that its paths need, and with the issuers that
    /// nobody sent, fetched and checked against their issuers. A certificate once seen revoked never passes
    /// again, whatever is said later.
    ///
    /// `grace`: for how long after its `nextUpdate` a list or answer is good (zero for registrations).
    pub async fn validate(
        self: &Arc<Self>,
        leaf: &Certificate,
        extra: &[Certificate],
        community: &Community,
        grace: Duration,
    ) -> Result<Chain, PathError> {
        let now = self.clock.now();
        let mut chains = match self.built.paths(leaf, extra, community, now) {
            // Perhaps only an issuer is missing.
            Err(PathError::Untrusted) => self.completed(leaf, extra, community).await?,
            known => known?,
        };
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
            let lists = certificate.crl_urls().iter().take(MAX_MIRRORS);
            let lists = lists.map(|url| self.entry(url, issuer, None));
            let responders = certificate.ocsp_urls().iter().take(MAX_RESPONDERS);
            let responders = responders.map(|url| self.entry(url, issuer, Some(certificate)));
            wanted.push(lists.chain(responders).collect::<Vec<_>>());
        }
        let facts = self.obtain(&wanted).await;
        for (certificate, fact) in subjects.iter().zip(&facts) {
            if fact.as_ref().is_some_and(|fact| fact.revokes(certificate)) {
                self.remember(certificate);
            }
        }
        let (mut lists, mut replies) = (Vec::new(), Vec::new());
        for fact in facts.into_iter().flatten() {
            match fact {
                Fact::List(list) => lists.push(list),
                Fact::Answer(reply, _) => replies.push(reply),
            }
        }
        // Fetching takes time; what has ended meanwhile is not in force.
        let now = self.clock.now();
        let chain = first_unrevoked(chains, community, &lists, &replies, now, grace)?;
        if self.was_revoked(&chain) { Err(PathError::Revoked) } else { Ok(chain) }
    }

    /// The paths that exist with issuers from the places that certificates name (PKI-06).
    pub(crate) async fn completed(
        &self,
        leaf: &Certificate,
        extra: &[Certificate],
        community: &Community,
    ) -> Result<Vec<Chain>, PathError> {
        let more = self.issuers.missing(leaf, extra, community, &self.built).await;
        if more.is_empty() {
            return Err(PathError::Untrusted);
        }
        // Those that were fetched first: only so many are looked at.
        let all: Vec<_> = more.into_iter().chain(extra.iter().cloned()).collect();
        let chains = candidate_paths(leaf, &all, community, self.clock.now())?;
        // Nothing need be fetched for it again, whatever strangers make Ward fetch in the meantime.
        self.built.keep(leaf, extra, community, &chains);
        Ok(chains)
    }

    /// Whether a list or an answer was seen that calls the certificate revoked.
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

    /// Everything that is known is fetched anew, for an operator's command.
    pub async fn refresh(self: &Arc<Self>) -> RefreshReport {
        self.renew(self.all()).await;
        self.status()
    }

    /// What is known of certificates by these issuers is fetched anew: they were heard to have said something.
    pub async fn refresh_where(self: &Arc<Self>, of: impl Fn(&Certificate) -> bool) {
        let of = |entry: &Arc<Entry>| of(&entry.issuer);
        self.renew(self.all().into_iter().filter(of).collect()).await;
    }

    /// Renews what is due, used or not, and gives up what nobody asks for any more: so that a server of lists that is down is
    /// noticed before anybody needs it, and a revocation is learnt without a request.
    pub async fn tend(self: &Arc<Self>) {
        let now = self.clock.now();
        let idle = |entry: &Entry, most: Duration| {
            entry.used().is_some_and(|used| now.since(used) >= most)
        };
        lock(&self.entries).retain(|_, entry| !idle(entry, LIST_IDLE));
        lock(&self.answers).retain(|_, entry| !idle(entry, ANSWER_IDLE));
        let due = |entry: &Arc<Entry>| matches!(entry.due(now), Need::Prefetch(_) | Need::Fetch);
        self.renew(self.all().into_iter().filter(due).collect()).await;
    }

    /// Tends in the background, every minute, as long as somebody holds this.
    pub fn keep_tended(self: &Arc<Self>) {
        let lists = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TEND).await;
                let Some(lists) = lists.upgrade() else { return };
                lists.tend().await;
            }
        });
    }

    fn all(&self) -> Vec<Arc<Entry>> {
        let lists: Vec<_> = lock(&self.entries).values().cloned().collect();
        let answers: Vec<_> = lock(&self.answers).values().cloned().collect();
        lists.into_iter().chain(answers).collect()
    }

    async fn renew(self: &Arc<Self>, entries: Vec<Arc<Entry>>) {
        let mut fetches = JoinSet::new();
        for entry in entries {
            if fetches.len() >= ABREAST {
                fetches.join_next().await;
            }
            let lists = Arc::clone(self);
            fetches.spawn(async move {
                let _flight = entry.flight.lock().await;
                lists.fetch(&entry).await
            });
        }
        while fetches.join_next().await.is_some() {}
    }

    /// The state of every known list, and of the OCSP answers that could not be renewed.
    pub fn status(&self) -> RefreshReport {
        let now = self.clock.now();
        let status = |entry: &Arc<Entry>| entry.status(now);
        let lists = self.all();
        let lists = lists.iter().map(|entry| (entry.subject.is_none(), status(entry)));
        let lists = lists.filter(|(list, status)| *list || status.failure.is_some());
        RefreshReport { lists: lists.map(|(_, status)| status).collect() }
    }

    fn entry(&self, url: &str, issuer: &Certificate, subject: Option<&Certificate>) -> Arc<Entry> {
        let key = (url.to_owned(), issuer.thumbprint(), subject.map(Certificate::thumbprint));
        let (entries, most) = match subject {
            None => (&self.entries, MAX_LISTS),
            Some(_) => (&self.answers, MAX_ANSWERS),
        };
        let mut entries = lock(entries);
        if let Some(entry) = entries.get(&key) {
            return Arc::clone(entry);
        }
        if entries.len() >= most {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.used()).map(|(key, _)| key);
            if let Some(oldest) = oldest.cloned() {
                entries.remove(&oldest);
            }
        }
        let entry = Arc::new(Entry::new(url, issuer, subject, self.clock.now()));
        entries.insert(key, Arc::clone(&entry));
        entry
    }

    /// For each of `wanted` (mirrors of one list, then responders) what can be had, in order, fetching side by side
    /// what must be fetched: all of it within twice `limits.crl_timeout`, whatever the servers do.
    async fn obtain(self: &Arc<Self>, wanted: &[Vec<Arc<Entry>>]) -> Vec<Option<Fact>> {
        let now = self.clock.now();
        let mut facts = Vec::with_capacity(wanted.len());
        let mut fetches = JoinSet::new();
        for (index, places) in wanted.iter().enumerate() {
            let at_hand = places.iter().find_map(|entry| match entry.need(now) {
                Need::Nothing(fact) => Some(fact),
                Need::Prefetch(fact) => {
                    self.prefetch(Arc::clone(entry));
                    Some(fact)
                }
                Need::Wait | Need::Fetch => None,
            });
            if at_hand.is_none() {
                let (all, places) = (Arc::clone(self), places.clone());
                fetches.spawn(async move { (index, all.first_of(&places).await) });
            }
            facts.push(at_hand);
        }
        let collect = async {
            while let Some(fetched) = fetches.join_next().await {
                // A fetch neither panics nor is aborted; if it were, it would just be missing.
                let Ok((index, fact)) = fetched else { continue };
                if let Some(place) = facts.get_mut(index) {
                    *place = fact;
                }
            }
        };
        if tokio::time::timeout(self.limits.crl_timeout * 2, collect).await.is_err() {
            // They go on for whoever asks next.
            fetches.detach_all();
        }
        facts
    }

    /// What the first place has that is in force; else something stale.
    async fn first_of(&self, places: &[Arc<Entry>]) -> Option<Fact> {
        let mut stale = None;
        for entry in places {
            match self.fetch_first(entry).await {
                (fact, true) => return fact,
                (fact, false) => stale = stale.or(fact),
            }
        }
        stale
    }

    /// Fetches unless someone else just did; what is at hand afterwards, and whether all is well with it.
    async fn fetch_first(&self, entry: &Entry) -> (Option<Fact>, bool) {
        let _flight = entry.flight.lock().await;
        match entry.need(self.clock.now()) {
            Need::Nothing(fact) | Need::Prefetch(fact) => (Some(fact), true),
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

    /// Fetches one list or answer and keeps it if it may be kept. The caller holds the entry's `flight`.
    async fn fetch(&self, entry: &Entry) -> Result<(), ListsError> {
        let got = entry.fetch(&self.client, &*self.clock, &self.limits).await;
        let revoked =
            entry.subject.as_ref().filter(|one| got.as_ref().is_ok_and(|fact| fact.revokes(one)));
        if let Some(revoked) = revoked {
            self.remember(revoked);
        }
        let before = entry.at_hand();
        let kept = entry.keep(got, self.clock.now(), self.limits.clock_skew);
        if let Some(fact) = entry.at_hand().filter(|fact| fact.is_news_after(before.as_ref())) {
            self.note(entry, &fact, before.as_ref());
            self.news.send_modify(|count| *count = count.wrapping_add(1));
        }
        kept
    }
}

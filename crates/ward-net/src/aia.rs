//! Issuers that nobody sent, fetched from where certificates say they are (`caIssuers`, RFC 5280 §4.2.2.1; PKI-06,
//! X23–X26).
//!
//! This is the one thing that a stranger's certificate can make Ward fetch, so it is held on a short leash: only when no
//! path exists for want of an issuer; `GET` through the guarded egress (public addresses, no redirects); the DER of exactly
//! one certificate, at most `limits.certificate_bytes`, for HTML and PKCS#7 bundles are refused; at most
//! [`MAX_HOPS`] fetches for one leaf, [`MAX_BUSY`] leaves at once and [`MAX_PER_MINUTE`] fetches a minute, all together
//! within `limits.crl_timeout`. What is fetched is trusted for nothing: a path to an anchor must be built from it.
//! Places are plain `http`, so anybody on the way may put a namesake there: an issuer is kept for long only if the
//! certificate that led to it bears its signature, and never pushed out by one that does not. What stood at a place in a path
//! that was found before is at hand without a fetch, and a place that is known so is asked whatever strangers have used up. Where a limit bites, the answer is what it would have been without fetching.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use ward_core::{Clock, Limits, Timestamp};
use ward_trust::{Certificate, Community};

use crate::built::Built;
use crate::client::HttpClient;
use crate::kept::lock;

/// Fetches for one leaf.
const MAX_HOPS: usize = 4;
/// Places that are tried for one certificate.
pub(crate) const MAX_PLACES: usize = 2;
/// Leaves for which issuers are fetched at once.
const MAX_BUSY: usize = 4;
/// Fetches a minute for everybody together.
const MAX_PER_MINUTE: u32 = 60;
/// Places that are remembered.
const MAX_KNOWN: usize = 256;
/// For how long an issuer that signed what led to it is not fetched again.
const KEEP: Duration = Duration::from_hours(24);
/// For how long a place that gave none, or one that signed nothing that was asked about, is left alone.
const LEAVE: Duration = Duration::from_mins(5);

/// What a place gave. There are several of one place where issuers share a name and a place, or somebody pretends so.
struct Known {
    url: String,
    looked: Timestamp,
    found: Option<Certificate>,
    /// It signed a certificate that led to it.
    proven: bool,
}

impl Known {
    /// What was found, as long as that is good.
    fn at_hand(&self, now: Timestamp) -> Option<&Certificate> {
        let keep = if self.proven { KEEP } else { LEAVE };
        self.found.as_ref().filter(|_| now.since(self.looked) < keep)
    }
}

/// The issuers that were fetched.
pub(crate) struct Issuers {
    client: HttpClient,
    clock: Arc<dyn Clock>,
    limits: Arc<Limits>,
    known: Mutex<VecDeque<Known>>,
    busy: Semaphore,
    /// The same for places that are known from paths.
    busy_known: Semaphore,
    /// Begin of the running minute, and fetches in it.
    spent: Mutex<(Timestamp, u32)>,
}

impl Issuers {
    pub(crate) fn new(client: HttpClient, clock: Arc<dyn Clock>, limits: Arc<Limits>) -> Self {
        let spent = Mutex::new((clock.now(), 0));
        let (busy, busy_known) = (Semaphore::new(MAX_BUSY), Semaphore::new(MAX_BUSY));
        Self { client, clock, limits, known: Mutex::default(), busy, busy_known, spent }
    }

    /// Certificates that may complete a path from the leaf, beyond those that were sent: of the paths that were built
    /// before, and from the places that are named. Empty if there are none.
    pub(crate) async fn missing(
        &self,
        leaf: &Certificate,
        extra: &[Certificate],
        community: &Community,
        built: &Built,
    ) -> Vec<Certificate> {
        let mut found = Vec::new();
        let climb = self.climb(leaf, extra, community, built, &mut found);
        // What was found in time is worth something by itself.
        let _ = tokio::time::timeout(self.limits.crl_timeout, climb).await;
        found
    }

    async fn climb(
        &self,
        leaf: &Certificate,
        extra: &[Certificate],
        community: &Community,
        built: &Built,
        found: &mut Vec<Certificate>,
    ) {
        let mut seen = vec![leaf.clone()];
        let mut current = leaf.clone();
        // Every step up the path is a certificate that was not met before, so that circles end.
        while seen.len() <= extra.len() + community.intermediates.len() + MAX_HOPS {
            let name = current.issuer_der();
            if community.anchors.iter().any(|anchor| anchor.subject_der() == name) {
                return;
            }
            let sent = extra.iter().find(|one| one.subject_der() == name);
            // An authority that was given a new key keeps its name.
            let at_hand = || {
                let mut all = community.intermediates.iter().chain(found.iter());
                all.find(|one| current.is_issued_by(one))
            };
            let next = sent.or_else(at_hand).cloned();
            let next = match next {
                Some(next) => next,
                None if found.len() >= MAX_HOPS => return,
                None => {
                    let next = match built.issuer_of(&current) {
                        Some(next) => next,
                        None => match self.issuer_of(&current, built).await {
                            Some(next) => next,
                            None => return,
                        },
                    };
                    found.push(next.clone());
                    next
                }
            };
            if seen.contains(&next) {
                return;
            }
            seen.push(next.clone());
            current = next;
        }
    }

    /// The authority that signed a certificate, from the first of its places that has it.
    async fn issuer_of(&self, certificate: &Certificate, built: &Built) -> Option<Certificate> {
        for url in certificate.ca_issuer_urls().iter().take(MAX_PLACES) {
            if let Some(found) = self.at(url, certificate, built.knows(url)).await {
                return Some(found);
            }
        }
        None
    }

    /// What one place has, if that is the authority that signed this certificate. A place that paths were found by is asked
    /// once in [`LEAVE`] at most, so that its fetches need no share of what strangers use up too.
    async fn at(&self, url: &str, child: &Certificate, in_use: bool) -> Option<Certificate> {
        let signed = |one: &Certificate| one.is_ca() && child.is_issued_by(one);
        let now = self.clock.now();
        let (at_hand, looked): (Vec<_>, Vec<_>) = lock(&self.known)
            .iter()
            .filter(|known| known.url == url)
            .map(|known| (known.at_hand(now).cloned(), known.looked))
            .unzip();
        if let Some(found) = at_hand.into_iter().flatten().find(signed) {
            self.prove(url, &found);
            return Some(found);
        }
        if looked.into_iter().any(|looked| now.since(looked) < LEAVE) {
            return None;
        }
        let busy = if in_use { &self.busy_known } else { &self.busy };
        let _turn = busy.try_acquire().ok()?;
        if !in_use && !self.may_fetch(now) {
            tracing::warn!(
                "too many issuers were to be fetched in one minute: members should send theirs in x5c"
            );
            return None;
        }
        let found = self.fetch(url).await;
        let proven = found.as_ref().is_some_and(signed);
        self.keep(url, now, found.clone(), proven);
        found.filter(|_| proven)
    }

    /// Remembers what a place gave just now: the last that is not proven, and each that is.
    fn keep(&self, url: &str, now: Timestamp, found: Option<Certificate>, proven: bool) {
        let mut all = lock(&self.known);
        let stays = |known: &Known| known.proven && known.at_hand(now).is_some();
        all.retain(|known| known.url != url || stays(known) && known.found != found);
        if all.len() >= MAX_KNOWN {
            all.pop_front();
        }
        all.push_back(Known { url: url.to_owned(), looked: now, found, proven });
    }

    /// What is at hand of a place has signed a certificate.
    fn prove(&self, url: &str, found: &Certificate) {
        let mut all = lock(&self.known);
        let is = |known: &&mut Known| known.url == url && known.found.as_ref() == Some(found);
        if let Some(known) = all.iter_mut().find(is) {
            known.proven = true;
        }
    }

    async fn fetch(&self, url: &str) -> Option<Certificate> {
        let (bytes, time) = (self.limits.certificate_bytes, self.limits.crl_timeout);
        let why = match self.client.get(url, bytes, time).await {
            Ok(answer) if answer.status() == http::StatusCode::OK => {
                match Certificate::from_der(answer.body()) {
                    Ok(found) => return Some(found),
                    Err(error) => error.to_string(),
                }
            }
            Ok(answer) => format!("status {}", answer.status().as_u16()),
            Err(error) => error.to_string(),
        };
        tracing::info!(%url, error = %why, "an issuer that a certificate names could not be had");
        None
    }

    fn may_fetch(&self, now: Timestamp) -> bool {
        let mut spent = lock(&self.spent);
        // A clock that was set back begins a new minute too.
        if now < spent.0 || now.since(spent.0) >= Duration::from_mins(1) {
            *spent = (now, 0);
        }
        spent.1 += 1;
        spent.1 <= MAX_PER_MINUTE
    }
}

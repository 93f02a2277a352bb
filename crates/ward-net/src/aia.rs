//! Issuers that nobody sent, fetched from where certificates say they are (`caIssuers`, RFC 5280 §4.2.2.1; PKI-06,
//! X23–X26).
//!
//! This is the one thing that a stranger's certificate can make Ward fetch, so it is held on a short leash: only when no
//! path exists for want of an issuer; `GET` through the guarded egress (public addresses, no redirects); the DER of exactly
//! one certificate, at most `limits.certificate_bytes`, for HTML and PKCS#7 bundles are refused; at most
//! [`MAX_HOPS`] fetches for one leaf, [`MAX_BUSY`] leaves at once and [`MAX_PER_MINUTE`] fetches a minute, all together
//! within `limits.crl_timeout`. What is fetched is trusted for nothing: a path to an anchor must be built from it.
//! Where a limit bites, the answer is what it would have been without fetching.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use ward_core::{Clock, Limits, Timestamp};
use ward_trust::{Certificate, Community};

use crate::client::HttpClient;
use crate::kept::lock;

/// Fetches for one leaf.
const MAX_HOPS: usize = 4;
/// Places that are tried for one certificate.
const MAX_PLACES: usize = 2;
/// Leaves for which issuers are fetched at once.
const MAX_BUSY: usize = 4;
/// Fetches a minute for everybody together.
const MAX_PER_MINUTE: u32 = 60;
/// Places that are remembered.
const MAX_KNOWN: usize = 256;
/// For how long a certificate is not fetched again.
const KEEP: Duration = Duration::from_hours(24);
/// For how long a place that gave none is left alone.
const LEAVE: Duration = Duration::from_mins(5);

/// What came of one place.
struct Known {
    url: String,
    at: Timestamp,
    found: Option<Certificate>,
}

/// The issuers that were fetched.
pub(crate) struct Issuers {
    client: HttpClient,
    clock: Arc<dyn Clock>,
    limits: Arc<Limits>,
    known: Mutex<VecDeque<Known>>,
    busy: Semaphore,
    /// Begin of the running minute, and fetches in it.
    spent: Mutex<(Timestamp, u32)>,
}

impl Issuers {
    pub(crate) fn new(client: HttpClient, clock: Arc<dyn Clock>, limits: Arc<Limits>) -> Self {
        let spent = Mutex::new((clock.now(), 0));
        let busy = Semaphore::new(MAX_BUSY);
        Self { client, clock, limits, known: Mutex::default(), busy, spent }
    }

    /// Certificates that may complete a path from the leaf, beyond those that were sent. Empty if there are none.
    pub(crate) async fn missing(
        &self,
        leaf: &Certificate,
        extra: &[Certificate],
        community: &Community,
    ) -> Vec<Certificate> {
        let mut found = Vec::new();
        let climb = self.climb(leaf, extra, community, &mut found);
        // What was found in time is worth something by itself.
        let _ = tokio::time::timeout(self.limits.crl_timeout, climb).await;
        found
    }

    async fn climb(
        &self,
        leaf: &Certificate,
        extra: &[Certificate],
        community: &Community,
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
            let at_hand = extra.iter().chain(&community.intermediates).chain(found.iter());
            let next = at_hand.into_iter().find(|one| one.subject_der() == name).cloned();
            let next = match next {
                Some(next) => next,
                None if found.len() >= MAX_HOPS => return,
                None => match self.issuer_of(&current).await {
                    Some(next) => {
                        found.push(next.clone());
                        next
                    }
                    None => return,
                },
            };
            if seen.contains(&next) {
                return;
            }
            seen.push(next.clone());
            current = next;
        }
    }

    /// The authority that a certificate names as its issuer, from the first of its places that has it.
    async fn issuer_of(&self, certificate: &Certificate) -> Option<Certificate> {
        for url in certificate.ca_issuer_urls().iter().take(MAX_PLACES) {
            let fits =
                |one: &Certificate| one.subject_der() == certificate.issuer_der() && one.is_ca();
            if let Some(found) = self.at(url).await.filter(fits) {
                return Some(found);
            }
        }
        None
    }

    async fn at(&self, url: &str) -> Option<Certificate> {
        let now = self.clock.now();
        let known = lock(&self.known)
            .iter()
            .find(|known| known.url == url)
            .filter(|known| now.since(known.at) < if known.found.is_some() { KEEP } else { LEAVE })
            .map(|known| known.found.clone());
        if let Some(found) = known {
            return found;
        }
        let _turn = self.busy.try_acquire().ok()?;
        if !self.may_fetch(now) {
            tracing::warn!(
                "too many issuers were to be fetched in one minute: members should send theirs in x5c"
            );
            return None;
        }
        let found = self.fetch(url).await;
        let mut all = lock(&self.known);
        all.retain(|known| known.url != url);
        if all.len() >= MAX_KNOWN {
            all.pop_front();
        }
        all.push_back(Known { url: url.to_owned(), at: now, found: found.clone() });
        found
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

//! Whether a certifier still stands by a certification (CE §8; CRT-12, C09): one `GET` over TLS through the guarded egress, no
//! redirects, its answer kept for `limits.certification_status_age`.
//!
//! Only `{"valid": true}` with status 200 is a yes, and only `{"valid": false}` a no. Everything else is neither, and whoever
//! asks must not take it for a yes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use ward_core::{Clock, Limits, Timestamp};
use ward_trust::certification::read_status;

use crate::client::{FetchError, HttpClient};

/// Answers held at once; the oldest gives way.
const MAX_HELD: usize = 10_000;
/// An answer, bytes.
const MAX_ANSWER: usize = 4096;
/// A failure is not tried again before this, so that a dead server costs little.
const RETRY: Duration = Duration::from_secs(1);

/// Why it is not known whether a certification is valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// Nothing is sent without TLS.
    #[error("the status endpoint is no https URL")]
    Plain,
    /// It was not reached, or did not answer in full.
    #[error("the status endpoint cannot be asked: {0}")]
    Fetch(#[from] FetchError),
    /// It answered with another status than 200.
    #[error("the status endpoint answers {0}")]
    Status(u16),
    /// Its answer is not `{"valid": true}` or `{"valid": false}`.
    #[error("the status endpoint's answer is not understood")]
    Answer,
}

type Said = Result<bool, StatusError>;

#[derive(Default)]
struct Entry {
    said: Mutex<Option<(Timestamp, Said)>>,
    /// Held while it is asked for.
    flight: tokio::sync::Mutex<()>,
}

impl Entry {
    /// What was said last, if that still counts.
    fn said(&self, now: Timestamp, age: Duration) -> Option<Said> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.as_ref().and_then(|(at, said)| {
            let age = if said.is_ok() { age } else { age.min(RETRY) };
            // A clock that was set back must not keep an answer from the future.
            (now >= *at && now < at.plus(age)).then(|| said.clone())
        })
    }

    fn asked(&self) -> Option<Timestamp> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(at, _)| *at)
    }
}

/// What status endpoints said lately, by URL.
pub struct CertificationStatus {
    client: HttpClient,
    clock: Arc<dyn Clock>,
    limits: Arc<Limits>,
    entries: Mutex<BTreeMap<String, Arc<Entry>>>,
}

impl std::fmt::Debug for CertificationStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificationStatus").finish_non_exhaustive()
    }
}

impl CertificationStatus {
    /// Nothing is known yet.
    pub fn new(client: HttpClient, clock: Arc<dyn Clock>, limits: Arc<Limits>) -> Self {
        Self { client, clock, limits, entries: Mutex::default() }
    }

    /// Whether the certification that the URL names ([`ward_trust::Certification::status_url`]) is valid; asked for if what
    /// was said last is older than `limits.certification_status_age`, by one at a time.
    pub async fn is_valid(&self, url: &str) -> Said {
        self.within(url, self.limits.certification_status_age).await
    }

    /// The same, asked for now.
    pub async fn ask(&self, url: &str) -> Said {
        self.within(url, Duration::ZERO).await
    }

    async fn within(&self, url: &str, age: Duration) -> Said {
        if !url.starts_with("https://") {
            return Err(StatusError::Plain);
        }
        let entry = self.entry(url);
        let before = self.clock.now();
        if let Some(said) = entry.said(before, age) {
            return said;
        }
        let _flight = entry.flight.lock().await;
        // Somebody else may have asked meanwhile, after this was wanted.
        let meanwhile = entry.asked().is_some_and(|at| at > before);
        if let Some(said) = entry.said(self.clock.now(), self.limits.certification_status_age)
            && (meanwhile || !age.is_zero())
        {
            return said;
        }
        let said = self.fetch(url).await;
        *entry.said.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((self.clock.now(), said.clone()));
        said
    }

    fn entry(&self, url: &str) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_HELD && !entries.contains_key(url) {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.asked());
            if let Some(oldest) = oldest.map(|(url, _)| url.clone()) {
                entries.remove(&oldest);
            }
        }
        entries.entry(url.to_owned()).or_default().clone()
    }

    async fn fetch(&self, url: &str) -> Said {
        let answer = self.client.get(url, MAX_ANSWER, self.limits.crl_timeout).await?;
        if answer.status() != StatusCode::OK {
            return Err(StatusError::Status(answer.status().as_u16()));
        }
        read_status(answer.body()).ok_or(StatusError::Answer)
    }
}

//! One piece of revocation information by its place: a list, or an OCSP answer about one certificate. Kept until a newer
//! one is had; when to look again, and what may replace what.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode};
use ward_core::{Clock, Limits, Thumbprint, Timestamp};
use ward_trust::{Certificate, CertificateStatus, Crl, OcspAnswer, OcspError, OcspResponse, ocsp};

use crate::client::{FetchError, HttpClient};

/// Why a list or an answer could not be had or was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListsError {
    /// The server did not hand it out: 503 with `Retry-After`, not a refusal (T36).
    #[error("revocation information is unavailable: {0}")]
    Unavailable(#[from] FetchError),
    /// It answered with another status than 200.
    #[error("revocation information is unavailable: status {0}")]
    Status(u16),
    /// What it handed out is not a list that Ward understands (X18).
    #[error("a revocation list is unusable: {0}")]
    Unusable(#[from] ward_trust::CrlError),
    /// What it answered is of no use (X22).
    #[error("an OCSP answer is unusable: {0}")]
    Answer(#[from] OcspError),
    /// The responder does not know the certificate (X22).
    #[error("the OCSP responder does not know the certificate")]
    Unknown,
    /// The list is not signed by the issuer of the certificate (X16).
    #[error("a revocation list is not signed by its issuer")]
    Signature,
    /// It is dated in the future (X17).
    #[error("revocation information is dated in the future")]
    Future,
    /// It is older than what is at hand.
    #[error("revocation information is older than the last one")]
    Older,
    /// It was past its `nextUpdate` when it came (X15).
    #[error("revocation information was out of date when it came")]
    Stale,
}

/// The state of one list or answer, for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListStatus {
    /// Where it comes from.
    pub url: String,
    /// `thisUpdate` and `nextUpdate` of what is at hand.
    pub validity: Option<(Timestamp, Timestamp)>,
    /// Whether what is at hand is past its `nextUpdate`.
    pub stale: bool,
    /// Why the last fetch failed, if it did.
    pub failure: Option<ListsError>,
}

/// An OCSP answer, bytes; a smaller bound on lists holds for it too.
const OCSP_BYTES: usize = 64 * 1024;
/// A failed fetch is not tried again before this, so that a dead server costs little.
const RETRY: Duration = Duration::from_secs(1);
/// Looked at again after this even if it is good for years.
const MAX_AGE: Duration = Duration::from_hours(12);

/// What is kept.
#[derive(Debug, Clone)]
pub(crate) enum Fact {
    List(Arc<Crl>),
    /// And what it says of the one certificate that was asked about.
    Answer(Arc<OcspResponse>, OcspAnswer),
}

impl Fact {
    pub(crate) fn this_update(&self) -> Timestamp {
        match self {
            Self::List(list) => list.this_update(),
            Self::Answer(_, answer) => answer.this_update,
        }
    }

    pub(crate) fn next_update(&self) -> Timestamp {
        match self {
            Self::List(list) => list.next_update(),
            Self::Answer(_, answer) => answer.next_update,
        }
    }

    /// Whether it may revoke what the one before did not. An answer that calls its certificate good is no news.
    pub(crate) fn is_news_after(&self, before: Option<&Self>) -> bool {
        let revoked = |said: &OcspAnswer| said.status == CertificateStatus::Revoked;
        match (self, before) {
            (Self::List(list), Some(Self::List(before))) => !list.is_same(before),
            (Self::List(_), _) => true,
            (Self::Answer(_, said), Some(Self::Answer(_, before))) => {
                revoked(said) && !revoked(before)
            }
            (Self::Answer(_, said), _) => revoked(said),
        }
    }

    /// Whether it says that this certificate is revoked.
    pub(crate) fn revokes(&self, certificate: &Certificate) -> bool {
        match self {
            Self::List(list) => list.is_revoked(certificate.serial()),
            Self::Answer(_, answer) => answer.status == CertificateStatus::Revoked,
        }
    }
}

/// Where it comes from, who must have signed it, and for an answer which certificate it is about.
pub(crate) type Key = (String, Thumbprint, Option<Thumbprint>);

/// One place.
pub(crate) struct Entry {
    pub(crate) url: String,
    pub(crate) issuer: Certificate,
    /// The certificate to ask OCSP about; `None` for a list.
    pub(crate) subject: Option<Certificate>,
    state: Mutex<State>,
    /// Held while it is fetched.
    pub(crate) flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    fact: Option<Fact>,
    fetched: Option<Timestamp>,
    failure: Option<(Timestamp, ListsError)>,
    used: Option<Timestamp>,
}

/// What to do about one that is asked for.
pub(crate) enum Need {
    /// Use it.
    Nothing(Fact),
    /// Use it, and fetch the next one in the background.
    Prefetch(Fact),
    /// It failed a moment ago: use what there is.
    Wait,
    /// Fetch it first.
    Fetch,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entry {
    pub(crate) fn new(
        url: &str,
        issuer: &Certificate,
        subject: Option<&Certificate>,
        now: Timestamp,
    ) -> Self {
        Self {
            url: url.to_owned(),
            issuer: issuer.clone(),
            subject: subject.cloned(),
            state: Mutex::new(State { used: Some(now), ..State::default() }),
            flight: tokio::sync::Mutex::new(()),
        }
    }

    /// What to do now that somebody uses it.
    pub(crate) fn need(&self, now: Timestamp) -> Need {
        lock(&self.state).used = Some(now);
        self.due(now)
    }

    /// What to do, whether or not somebody uses it.
    pub(crate) fn due(&self, now: Timestamp) -> Need {
        let state = lock(&self.state);
        let failed = state.failure.as_ref().is_some_and(|(at, _)| now.since(*at) < RETRY);
        let Some(fact) = state.fact.clone().filter(|fact| now < fact.next_update()) else {
            return if failed { Need::Wait } else { Need::Fetch };
        };
        let life = fact.next_update().since(fact.this_update());
        let half = fact.this_update().plus(life / 2);
        let old = state.fetched.is_none_or(|fetched| now.since(fetched) >= MAX_AGE);
        // What was already half-way through its life when it came is not asked for at every use.
        let again = state.fetched.is_none_or(|fetched| now.since(fetched) >= life / 20);
        if !failed && ((now >= half && again) || old) {
            Need::Prefetch(fact)
        } else {
            Need::Nothing(fact)
        }
    }

    /// What is at hand, when it was fetched and why the last fetch failed, for whoever only looks.
    pub(crate) fn seen(&self) -> (Option<Fact>, Option<Timestamp>, Option<ListsError>) {
        let state = lock(&self.state);
        let failure = state.failure.as_ref().map(|(_, why)| why.clone());
        (state.fact.clone(), state.fetched, failure)
    }

    pub(crate) fn at_hand(&self) -> Option<Fact> {
        lock(&self.state).fact.clone()
    }

    /// When it was asked for the last time.
    pub(crate) fn used(&self) -> Option<Timestamp> {
        lock(&self.state).used
    }

    /// Keeps what was fetched, if it may be kept, or why it was not. One that is already past its end is kept as the last
    /// good one, and counts as a failure.
    pub(crate) fn keep(
        &self,
        got: Result<Fact, ListsError>,
        now: Timestamp,
        skew: Duration,
    ) -> Result<(), ListsError> {
        let mut state = lock(&self.state);
        let kept = got.and_then(|fact| {
            if fact.this_update() > now.plus(skew) {
                return Err(ListsError::Future);
            }
            if state.fact.as_ref().is_some_and(|held| fact.this_update() < held.this_update()) {
                return Err(ListsError::Older);
            }
            let stale = now >= fact.next_update();
            state.fact = Some(fact);
            state.fetched = Some(now);
            if stale { Err(ListsError::Stale) } else { Ok(()) }
        });
        if let Err(error) = &kept {
            let stale = state.fact.as_ref().is_some_and(|held| now >= held.next_update());
            if stale {
                tracing::error!(url = %self.url, %error, "revocation information is past its nextUpdate and was not renewed: registrations under it stop, and token requests when their grace ends");
            } else {
                tracing::warn!(url = %self.url, %error, "revocation information was not renewed");
            }
        }
        state.failure = kept.as_ref().err().map(|why| (now, why.clone()));
        kept
    }

    pub(crate) fn status(&self, now: Timestamp) -> ListStatus {
        let state = lock(&self.state);
        ListStatus {
            url: self.url.clone(),
            validity: state.fact.as_ref().map(|fact| (fact.this_update(), fact.next_update())),
            stale: state.fact.as_ref().is_some_and(|fact| now >= fact.next_update()),
            failure: state.failure.as_ref().map(|(_, why)| why.clone()),
        }
    }

    /// Fetches it and looks at who signed it; whether it may be kept is [`Entry::keep`]'s to say.
    pub(crate) async fn fetch(
        &self,
        client: &HttpClient,
        clock: &dyn Clock,
        limits: &Limits,
    ) -> Result<Fact, ListsError> {
        match &self.subject {
            None => self.download(client, limits).await,
            Some(subject) => self.ask(subject, client, clock, limits).await,
        }
    }

    async fn download(&self, client: &HttpClient, limits: &Limits) -> Result<Fact, ListsError> {
        let answer = client.get(&self.url, limits.crl_bytes, limits.crl_timeout).await?;
        if answer.status() != StatusCode::OK {
            return Err(ListsError::Status(answer.status().as_u16()));
        }
        let list = Crl::from_der(answer.body())?;
        if !list.signed_by(&self.issuer) {
            return Err(ListsError::Signature);
        }
        Ok(Fact::List(Arc::new(list)))
    }

    /// Asks OCSP by `POST` (RFC 6960 §A.1), without a nonce: answers that were made beforehand will do.
    async fn ask(
        &self,
        subject: &Certificate,
        client: &HttpClient,
        clock: &dyn Clock,
        limits: &Limits,
    ) -> Result<Fact, ListsError> {
        let mut request = Request::new(Bytes::from(ocsp::request(subject, &self.issuer, None)?));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.parse().map_err(|_| FetchError::Refused("not a URL"))?;
        let kind = HeaderValue::from_static("application/ocsp-request");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        let most = OCSP_BYTES.min(limits.crl_bytes);
        let answer = client.send(request, most, limits.crl_timeout).await?;
        if answer.status() != StatusCode::OK {
            return Err(ListsError::Status(answer.status().as_u16()));
        }
        let reply = OcspResponse::from_der(answer.body())?;
        let said = reply.about(subject, &self.issuer, clock.now())?;
        if said.status == CertificateStatus::Unknown {
            return Err(ListsError::Unknown);
        }
        Ok(Fact::Answer(Arc::new(reply), said))
    }
}

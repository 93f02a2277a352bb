//! Where a community tells this server that trust has ended: the recipient of pushed security event tokens (RFC 8935; issue 4
//! Build 6; amendments, "Signals").
//!
//! `POST` of `application/secevent+jwt`; 202 and nothing else once it is done and in the log, 400 with `err` and `description` for what is
//! refused (§2.4), 503 with `Retry-After` for what cannot be known or kept now. Believed is who could sign a trust bundle of the
//! community: `iss` is the community (or `signals_from` of the configuration), the signer's only SAN URI is `iss`, and it has
//! an unrevoked path to an anchor of that community through the authorities that issue to its members.
//!
//! A signal can only lower trust, and only below its sender:
//! * A certificate that comes along and has a path in the sender's community is revoked here, at once and for good; so is a
//!   certification whose signer does.
//! * An authority is not: the signed lists decide (and people: two of them). That one is named is an alarm.
//! * Everything else is advice: written down for people, without effect.
//!
//! Whatever it says of certificates, the community's lists and bundle are fetched at once: see [`SignalDesk::news`]. The same
//! signal again is acknowledged again, for the answer may have been lost; its effect is the same the second time.

mod answer;
mod seen;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, header};
use hyper::body::Incoming;
use tokio::sync::{Mutex, watch};
use ward_core::{BoxFuture, CommunityUri, CorrelationId, Event, EventKind, Timestamp};
use ward_net::http::{Body, read_body};
use ward_net::{Handler, Peer};
use ward_policy::Subject;
use ward_trust::signal::{About, MEDIA_TYPE, SignedSignal, speakers};
use ward_trust::{Certificate, Certification, Community, candidate_paths};

use self::answer::Refused;
use self::seen::{Known, Seen, key};
use crate::discovery::Served;
use crate::limiter::{Limiter, Members};
use crate::{Act, Issuer, trust, wire};

/// Who revokes in the log when a signal says so.
const BY: &str = "ward-signals";

/// How often each community said something of which its lists and bundle tell more.
pub type Heard = BTreeMap<CommunityUri, u64>;

/// Takes the signals for one issuer.
pub struct SignalDesk {
    issuer: Arc<Issuer>,
    path: String,
    /// Requests of strangers, by address.
    strangers: Limiter,
    /// Signals of communities.
    senders: Members,
    /// Those with the `jti` of another.
    reused: Members,
    /// Held while a signal takes effect; what was done lately.
    seen: Mutex<Seen>,
    heard: watch::Sender<Heard>,
    refused: AtomicU64,
}

/// What a signal did.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Effect {
    /// The certificate is revoked from now on.
    Revoked,
    /// There was nothing to do: it is revoked already, or only the way was tried.
    Nothing,
    /// Only the lists can tell.
    Looked,
    /// An authority is named; the signed lists decide.
    Alarm,
    /// For people; why it is no more.
    Advice(&'static str),
}

impl Effect {
    const fn word(&self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Nothing => "none",
            Self::Looked => "lists-fetched",
            Self::Alarm => "alarm",
            Self::Advice(_) => "advice",
        }
    }
}

impl SignalDesk {
    /// Takes signals at this path for this issuer.
    pub fn new(issuer: Arc<Issuer>, path: String) -> Self {
        let limits = issuer.limits.clone();
        Self {
            strangers: Limiter::new(limits.signals_per_minute, &limits),
            senders: Members::new(limits.signals_per_minute, &limits),
            reused: Members::new(limits.signals_per_minute, &limits),
            seen: Mutex::new(Seen::new(limits.rate_windows)),
            heard: watch::Sender::default(),
            refused: AtomicU64::new(0),
            issuer,
            path,
        }
    }

    /// Whether a request to this path is for it.
    pub fn owns(&self, path: &str) -> bool {
        path == self.path
    }

    /// Changes when a community said something after which its lists and bundle are to be fetched.
    pub fn news(&self) -> watch::Receiver<Heard> {
        self.heard.subscribe()
    }

    /// Requests that were refused, since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let deps = &self.issuer.deps;
        let correlation = CorrelationId::new(&*deps.clock, &*deps.rng);
        let (parts, body) = request.into_parts();
        let limits = &self.issuer.limits;
        let body = read_body(body, limits.auth_body_bytes, limits.body_timeout);
        let response = match self.take(&parts, peer, body, correlation).await {
            Ok(()) => answer::accepted(),
            Err(refused) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%correlation, rule = refused.rule(), "a signal was refused");
                refused.response()
            }
        };
        wire::finish(response, correlation).map(ward_net::http::full)
    }

    /// One request, from what is cheapest to judge to what it does.
    async fn take(
        &self,
        request: &Parts,
        peer: Peer,
        body: impl Future<Output = Result<Bytes, ward_net::http::BodyError>>,
        correlation: CorrelationId,
    ) -> Result<(), Refused> {
        let issuer = &*self.issuer;
        if request.method != Method::POST {
            return Err(Refused::Method);
        }
        if wire::media_type(&request.headers).as_deref() != Some(MEDIA_TYPE) {
            return Err(Refused::MediaType);
        }
        let declared = request.headers.get(header::CONTENT_LENGTH);
        let length = declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > issuer.limits.auth_body_bytes as u64) {
            return Err(Refused::TooLarge);
        }
        // Counted before anything is read or verified; given back once its sender is known.
        let now = issuer.deps.clock.now();
        let reserved = self.strangers.take(peer.addr.ip(), now).map_err(Refused::TooMany)?;
        let body = body.await?;
        let (base, age) = (&issuer.fhir_base, issuer.limits.signal_age);
        let signed = SignedSignal::parse(&body, base, age, now, &issuer.limits)?;
        let served = self.sender(&signed).await?;
        let uri = &served.community.uri;
        let mut seen = self.seen.lock().await;
        let (name, digest) = (key(uri, &signed), signed.digest());
        // Who caught what was heard before uses up his own share by it, and nothing of the community's.
        match seen.known(&name, &digest) {
            Known::Done => return Ok(()),
            Known::Other => {
                self.reused.take(&[uri.as_str()], now).map_err(Refused::TooMany)?;
                return self.reused(&served, &signed, correlation).await;
            }
            Known::No => {}
        }
        self.strangers.refund(reserved);
        self.senders.take(&[uri.as_str()], now).map_err(Refused::TooMany)?;
        let effect = self.effect(&served, &signed, correlation).await?;
        let until = signed.signal().issued.plus(age).plus(issuer.limits.clock_skew * 2);
        let fresh = issuer.deps.repositories.replays.claim(&issuer.tenant, name, until).await?;
        if fresh || effect == Effect::Revoked {
            let event = self.event("signal-heard", &served, &signed, correlation);
            let mut event = event.with("effect", effect.word());
            if let Effect::Advice(why) = &effect {
                event = event.with("why", *why);
            }
            issuer.deps.sink.record(vec![event]).await?;
        }
        seen.keep(name, digest);
        drop(seen);
        self.announce(&served, &signed, &effect);
        let about = signed.signal().about.word();
        let effect = effect.word();
        tracing::info!(community = %uri, %about, %effect, "a signal was heard");
        Ok(())
    }

    /// The community in whose name it is signed.
    async fn sender(&self, signed: &SignedSignal) -> Result<Arc<Served>, Refused> {
        let iss = signed.signal().issuer.as_str();
        let issuer = &*self.issuer;
        let served = issuer.served();
        let named = |one: &&Arc<Served>| {
            one.community.uri.as_str() == iss || one.signals_from.as_deref() == Some(iss)
        };
        let mut why = Refused::Issuer;
        for one in served.iter().filter(named) {
            if !matches!(signed.signer().san_uris(), [only] if only == iss) {
                return Err(Refused::Signer("SET-SIGNER"));
            }
            let (speakers, grace) = (speakers(&one.community), one.revocation_grace);
            let (leaf, extra) = (signed.signer(), signed.extra());
            match issuer.deps.paths.path(leaf, extra, &speakers, grace).await {
                Ok(chain) if issuer.revoked_here(&chain) => why = Refused::Signer("X47"),
                Ok(_) => return Ok(one.clone()),
                Err(error) if error.is_unavailable() => why = Refused::Unavailable(error.rule()),
                Err(error) => why = Refused::Signer(error.rule()),
            }
        }
        Err(why)
    }

    async fn effect(
        &self,
        served: &Served,
        signed: &SignedSignal,
        correlation: CorrelationId,
    ) -> Result<Effect, Refused> {
        let (thumbprint, certificate) = match &signed.signal().about {
            About::Published => return Ok(Effect::Looked),
            About::Verification => return Ok(Effect::Nothing),
            About::Certification { issuer, jti, signed: Some((exp, signer)) } => {
                let community = speakers(&served.community);
                if !signer.san_uris().contains(issuer)
                    || !self.is_below(signer, signed, &community).await?
                {
                    return Ok(Effect::Advice("not signed in the sender's community"));
                }
                // Only what this certificate signed: another community may have certified a namesake.
                let id = Certification::id_of(issuer, jti, *exp);
                let id = Certification::signed_id(id, signer.thumbprint());
                return self.revoke(Subject::Certification(id), served, signed, correlation).await;
            }
            About::Certification { .. } => {
                return Ok(Effect::Advice("its signer did not come along"));
            }
            About::Other(_) => return Ok(Effect::Advice("not known here")),
            About::Certificate { thumbprint, certificate } => (*thumbprint, certificate.as_deref()),
        };
        let community = &served.community;
        let is_ca = certificate.is_some_and(Certificate::is_ca);
        // An authority that is not configured is its by the name of who signed it: that is enough to look.
        let is_its = |known: &Certificate| {
            let named = certificate.is_some_and(|one| one.issuer_der() == known.subject_der());
            known.thumbprint() == thumbprint || (is_ca && named)
        };
        if community.anchors.iter().chain(&community.intermediates).any(is_its) {
            tracing::error!(
                community = %community.uri, %thumbprint,
                "ALARM: the community says that one of its authorities is revoked. Its signed lists decide and are fetched now; \
                 if they do not say so, ask its operator, and see ward passport --what-if revoke"
            );
            return Ok(Effect::Alarm);
        }
        let Some(certificate) = certificate else { return Ok(Effect::Looked) };
        if is_ca {
            return Ok(Effect::Advice("not an authority of the sender"));
        }
        if !self.is_below(certificate, signed, community).await? {
            return Ok(Effect::Advice("not issued in the sender's community"));
        }
        let own = self.issuer.certificates();
        if own.iter().any(|(_, own)| own.thumbprint() == thumbprint) {
            tracing::error!(
                community = %community.uri,
                "the community revoked this server's own certificate: partners refuse it; have another issued now"
            );
        }
        self.revoke(Subject::Certificate(thumbprint), served, signed, correlation).await
    }

    /// Whether the community issued it, revoked or not. Authorities that did not come along are those that came with it before, or
    /// are found as for members.
    async fn is_below(
        &self,
        one: &Certificate,
        with: &SignedSignal,
        of: &Community,
    ) -> Result<bool, Refused> {
        let now = self.issuer.deps.clock.now();
        let is_by = |extra: &[Certificate]| candidate_paths(one, extra, of, now).is_ok();
        if is_by(with.extra()) || is_by(&self.issuer.came_with(one.thumbprint()).await?) {
            return Ok(true);
        }
        match self.issuer.deps.paths.path(one, with.extra(), of, Duration::MAX).await {
            Ok(_) => Ok(true),
            Err(error) => Ok(error.is_unavailable() || error.rule() == trust::REVOKED),
        }
    }

    /// Ends everything that hangs on it; in effect and in the log when it returns.
    async fn revoke(
        &self,
        subject: Subject,
        served: &Served,
        signed: &SignedSignal,
        correlation: CorrelationId,
    ) -> Result<Effect, Refused> {
        let issuer = &*self.issuer;
        let epochs = &issuer.deps.repositories.epochs;
        if epochs.current(&issuer.tenant, &subject) > 0 {
            return Ok(Effect::Nothing);
        }
        let signal = signed.signal();
        let said = signal.reason.as_deref().unwrap_or("no reason given");
        let reason = format!("its community says: {said}");
        let act = Act { operator: BY.into(), reason, incident: None, correlation };
        let mut event = issuer.revocation_event("revoked", &subject, &act);
        event.actor.community = Some(served.community.uri.clone());
        let event =
            event.with("signal", signal.jti.as_str()).with("signal_from", signal.issuer.as_str());
        let seq = epochs.bump(&issuer.tenant, &[subject], event).await?;
        issuer.settle(seq).await?;
        Ok(Effect::Revoked)
    }

    /// A `jti` that named another signal before: its sender does not keep to RFC 8417 §2.2, or is not who it seems.
    async fn reused(
        &self,
        served: &Served,
        signed: &SignedSignal,
        correlation: CorrelationId,
    ) -> Result<(), Refused> {
        let event = self.event("signal-heard", served, signed, correlation);
        self.issuer.deps.sink.record(vec![event.refused("SET-JTI")]).await?;
        Err(Refused::Reused)
    }

    fn event(
        &self,
        action: &'static str,
        served: &Served,
        signed: &SignedSignal,
        correlation: CorrelationId,
    ) -> Event {
        let (issuer, signal) = (&*self.issuer, signed.signal());
        let now: Timestamp = issuer.deps.clock.now();
        let tenant = issuer.tenant.clone();
        let mut event = Event::new(EventKind::Community, action, tenant, now, correlation)
            .with("about", signal.about.word())
            .with("signal", signal.jti.as_str())
            .with("signal_from", signal.issuer.as_str());
        let subject = signal.about.subject();
        if !subject.is_empty() {
            event = event.with("subject", subject);
        }
        event.actor.community = Some(served.community.uri.clone());
        event.actor.operator = Some(BY.into());
        event
    }

    /// Has lists and bundle of the sender's community fetched.
    fn announce(&self, served: &Served, signed: &SignedSignal, effect: &Effect) {
        let about = &signed.signal().about;
        // Of a certificate that is not known to be its own the lists know more.
        let advice = matches!(effect, Effect::Advice(_));
        if matches!(about, About::Verification)
            || (advice && !matches!(about, About::Certificate { .. }))
        {
            return;
        }
        self.heard.send_modify(|heard| {
            let count = heard.entry(served.community.uri.clone()).or_default();
            *count = count.wrapping_add(1);
        });
    }
}

impl Handler for SignalDesk {
    fn handle(&self, request: Request<Incoming>, peer: Peer) -> BoxFuture<'_, Response<Body>> {
        Box::pin(self.answer(request, peer))
    }
}

impl std::fmt::Debug for SignalDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignalDesk").field("path", &self.path).finish_non_exhaustive()
    }
}

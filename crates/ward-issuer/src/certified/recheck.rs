//! Certifications under which something lives, looked at again by themselves: from the moment Ward learns that one is void,
//! what rests on it ends at the next request (CRT-16).
//!
//! They are held in memory, filled as tokens are issued and once at the start. What cannot be known now ends nothing here:
//! no new token is issued on it, and those that live end soon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use ward_core::{CommunityUri, CorrelationId, Thumbprint, Timestamp};
use ward_net::status::StatusError;
use ward_policy::Subject;
use ward_store::StoreError;
use ward_trust::{Certificate, Certification, Community, Jws};

use super::Fault;
use crate::errors::IssuerError;
use crate::issuer::Issuer;
use crate::revocation::Act;

/// Certifications held at once, each a JWT; the one whose last token ends first gives way.
const MAX_RELIED: usize = 20_000;
/// Certifications that are looked at at once.
const ABREAST: usize = 16;
/// Registrations read at once.
const PAGE: usize = 500;

/// A certification under which tokens live.
#[derive(Debug, Clone)]
pub(crate) struct Relied {
    pub(crate) id: Thumbprint,
    community: CommunityUri,
    jwt: String,
    /// What it rested on when it was looked at last.
    pub(crate) path: Vec<Certificate>,
}

impl Relied {
    pub(crate) const fn new(
        id: Thumbprint,
        community: CommunityUri,
        jwt: String,
        path: Vec<Certificate>,
    ) -> Self {
        Self { id, community, jwt, path }
    }
}

/// All of them, each with when its last token ends.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<BTreeMap<Thumbprint, (Timestamp, Relied)>>);

impl Ledger {
    fn note(&self, relied: Relied, until: Timestamp) {
        let relied = Relied { path: Vec::new(), ..relied };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_RELIED && !all.contains_key(&relied.id) {
            let first = all.iter().min_by_key(|(_, (until, _))| *until).map(|(id, _)| *id);
            if let Some(first) = first {
                all.remove(&first);
            }
        }
        let entry = all.entry(relied.id).or_insert((until, relied));
        entry.0 = entry.0.max(until);
    }

    fn live(&self, now: Timestamp) -> Vec<Relied> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (until, _)| *until > now);
        all.values().map(|(_, relied)| relied.clone()).collect()
    }
}

/// What a look at all certifications in use found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rechecked {
    /// Certifications that were looked at.
    pub looked: usize,
    /// Those that are void, whose grants have ended.
    pub ended: usize,
    /// Those of which nothing could be learnt now.
    pub unknown: usize,
}

/// What a look at one found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It counts.
    Good,
    /// It does not.
    Void,
    /// Nothing could be learnt.
    Unknown,
    /// It was ended before, or what asks for it is not served any more.
    Gone,
}

impl Issuer {
    /// From now until then a token rests on it.
    pub(crate) fn rely(&self, relied: Vec<Relied>, until: Timestamp) {
        for one in relied {
            self.relied.note(one, until);
        }
    }

    /// Remembers, after a start, which certifications have live grants. Once, before the first [`Self::recheck`].
    pub async fn recall(&self) -> Result<(), IssuerError> {
        let repositories = &self.deps.repositories;
        let mut after = None;
        loop {
            let page = repositories.registrations.list(&self.tenant, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.client);
            for one in page.iter().filter(|one| !one.certifications.is_empty()) {
                let live = repositories.grants.live_for_client(&self.tenant, one.client).await?;
                for kept in &one.certifications {
                    let on = Subject::Certification(kept.id);
                    let resting =
                        live.iter().filter(|grant| grant.hangs_on.iter().any(|(it, _)| *it == on));
                    let Some(until) = resting.map(|grant| grant.expires).max() else { continue };
                    let relied =
                        Relied::new(kept.id, one.community.clone(), kept.jwt.clone(), Vec::new());
                    self.relied.note(relied, until);
                }
            }
        }
    }

    /// Looks at every certification under which something lives, some at a time. `now`: what certifiers said lately does not
    /// count. A status endpoint that is out of reach is asked about one certification only.
    pub async fn recheck(self: &Arc<Self>, now: bool) -> Result<Rechecked, IssuerError> {
        let mut found = Rechecked::default();
        let live = self.relied.live(self.deps.clock.now());
        self.void
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|id| live.iter().any(|one| one.id == *id));
        let mut waiting = live.into_iter();
        let dead = Arc::new(Mutex::new(BTreeSet::new()));
        let mut looking = JoinSet::new();
        loop {
            while looking.len() < ABREAST
                && let Some(relied) = waiting.next()
            {
                let (issuer, dead) = (self.clone(), dead.clone());
                looking.spawn(async move { issuer.recheck_one(&relied, now, &dead).await });
            }
            match looking.join_next().await {
                None => return Ok(found),
                Some(Err(_)) => {
                    return Err(StoreError::Unavailable("a look was cut short".into()).into());
                }
                Some(Ok(look)) => {
                    found.looked += usize::from(look != Look::Gone);
                    found.ended += usize::from(look == Look::Void);
                    found.unknown += usize::from(look == Look::Unknown);
                }
            }
        }
    }

    async fn recheck_one(
        &self,
        relied: &Relied,
        now: bool,
        dead: &Mutex<BTreeSet<String>>,
    ) -> Look {
        let served = self.served();
        let served = served.iter().find(|one| one.community.uri == relied.community);
        let at = self.deps.clock.now();
        let (Some(served), Ok(jws)) = (served, Jws::parse(&relied.jwt, &self.limits)) else {
            return Look::Gone;
        };
        if self.is_certification_ended(relied.id, jws.leaf().thumbprint()) {
            return Look::Gone;
        }
        let Ok(certification) = Certification::kept(&jws, at, &self.limits) else {
            return Look::Gone;
        };
        if let (true, Some(url), Some(endpoint)) =
            (now, certification.status_url(), &certification.status_endpoint)
        {
            let is_dead = || dead.lock().unwrap_or_else(PoisonError::into_inner);
            if is_dead().contains(endpoint) {
                return Look::Unknown;
            }
            // The answer is kept, and looked at below.
            if let Err(StatusError::Fetch(_)) = self.deps.statuses.ask(&url).await {
                is_dead().insert(endpoint.clone());
            }
        }
        match self.counts(served, &certification, &jws, Duration::MAX).await {
            Ok(_) => {
                self.void.write().unwrap_or_else(PoisonError::into_inner).remove(&relied.id);
                Look::Good
            }
            Err(Fault::Unknown { .. }) => Look::Unknown,
            Err(Fault::Refused(error)) => {
                // Whatever the cause, as a certifier whom the configuration names no longer: what rests on it ends.
                self.void.write().unwrap_or_else(PoisonError::into_inner).insert(relied.id);
                let rule = error.fault().rule;
                tracing::warn!(rule, certification = %relied.id, "a certification is void");
                Look::Void
            }
        }
    }

    /// Ends what rests on a certification, for good: whatever is said later, it never counts again.
    async fn end_certification(&self, id: Thumbprint, reason: &str) -> Result<(), IssuerError> {
        let subject = Subject::Certification(id);
        let act = Act {
            operator: "ward-issuer".into(),
            reason: reason.to_owned(),
            incident: None,
            correlation: CorrelationId::new(&*self.deps.clock, &*self.deps.rng),
        };
        let event = self.revocation_event("revoked", &subject, &act);
        let seq = self.deps.repositories.epochs.bump(&self.tenant, &[subject], event).await?;
        self.settle(seq).await
    }

    /// [`Self::end_certification`], once; the refusal stands whether or not it can be kept.
    pub(super) async fn certification_ended(&self, id: Thumbprint, reason: &str) {
        let subject = Subject::Certification(id);
        if self.deps.repositories.epochs.current(&self.tenant, &subject) > 0 {
            return;
        }
        if let Err(error) = self.end_certification(id, reason).await {
            tracing::error!(%error, "a void certification is refused, but could not be remembered");
        }
    }

    /// What a list calls revoked on a certifier's path is revoked here too, as for clients.
    pub(super) async fn remember_revoked_certifier(&self, jws: &Jws, trust: &Community) {
        let issuers = trust.intermediates.iter();
        let path: Vec<&Certificate> =
            std::iter::once(jws.leaf()).chain(jws.extra()).chain(issuers).collect();
        let correlation = CorrelationId::new(&*self.deps.clock, &*self.deps.rng);
        self.remember_listed(&path, correlation).await;
    }

    /// Whether a certification is known here: shown by a registered client, or ended before.
    pub(crate) async fn is_known_certification(&self, id: Thumbprint) -> Result<bool, StoreError> {
        let repositories = &self.deps.repositories;
        let subject = Subject::Certification(id);
        if repositories.epochs.current(&self.tenant, &subject) > 0 {
            return Ok(true);
        }
        let mut after = None;
        loop {
            let page = repositories.registrations.list(&self.tenant, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(false) };
            after = Some(last.client);
            if page.iter().any(|one| one.certifications.iter().any(|kept| kept.id == id)) {
                return Ok(true);
            }
        }
    }
}

//! Trust that ended elsewhere ends here (PKI-17): whatever a list or an OCSP answer calls revoked has no live grant from the moment
//! that Ward learns it, asked for or not. Certificates that were renewed since a registration are looked at too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ward_core::{EventKind, Thumbprint};
use ward_issuer::IssuerError;
use ward_net::Named;
use ward_policy::Subject;
use ward_store::repo::Registration;
use ward_trust::{Certificate, PathError};

use crate::admin::Admin;
use crate::commands::{AdminError, Done};
use crate::hanging::Walk;
use crate::passport::Shown;
use crate::{Operator, Role};

/// Serial numbers looked up at a time.
const NUMBERS: usize = 500;
/// Before it is tried again what the store or the log refused.
const AGAIN: Duration = Duration::from_secs(1);

/// What was named and not looked up yet.
#[derive(Debug)]
pub(crate) struct Backlog {
    /// Whether to look at everybody with a live grant: what others learnt while this Ward did not run is not told by name.
    everything: bool,
    named: Vec<Named>,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { everything: true, named: Vec::new() }
    }
}

impl Admin {
    /// Ends grants as lists are learnt, for as long as this Ward runs; begins with what was learnt by others while it did not.
    pub async fn follow_lists(self: Arc<Self>) {
        let mut news = self.deps.lists.news();
        loop {
            while let Err(error) = self.learn().await {
                tracing::error!(%error, "a list names certificates whose grants could not be ended yet");
                tokio::time::sleep(AGAIN).await;
            }
            if news.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends the live grants of certificates that were named since it was looked the last time.
    async fn learn(&self) -> Result<(), AdminError> {
        let mut backlog = self.learning.lock().await;
        backlog.named.extend(self.deps.lists.take_named());
        let lists = Operator { name: "ward-lists".into(), role: Role::Automatic };
        let ended = self.end_named(&lists, &backlog).await?;
        *backlog = Backlog { everything: false, named: Vec::new() };
        if ended > 0 {
            tracing::warn!(
                ended,
                "certificates were revoked by their issuers; their grants have ended"
            );
        }
        Ok(())
    }

    /// Fetches all lists, and ends what they name, for an operator.
    pub(crate) async fn refresh_lists(&self, operator: &Operator) -> Result<Done, AdminError> {
        // Held from before the lists are fetched, so that it is this act that ends what they name.
        let mut backlog = self.learning.lock().await;
        let report = self.deps.lists.refresh().await;
        let failed = report.lists.iter().filter(|list| list.failure.is_some()).count();
        // What came before the look at everybody is part of it.
        let named = self.deps.lists.take_named();
        backlog.named.extend(named);
        let mut revoked = self.end_all_listed(operator).await?;
        // And certifiers are asked, and their certificates looked at.
        revoked += self.deps.issuer.recheck(true).await?.ended;
        *backlog = Backlog { everything: false, named: Vec::new() };
        let event = self
            .event(operator, EventKind::Operator, "refresh-lists")
            .with("lists", report.lists.len().to_string())
            .with("failed", failed.to_string());
        self.deps.sink.record(vec![event]).await?;
        Ok(Done::ListsRefreshed { lists: report.lists.len(), failed, revoked })
    }

    /// Revokes what any list names of any registration, whether or not anything lives under it; how many certificates. Looks at
    /// every registration, whatever indexes say: an operator asked for it.
    async fn end_all_listed(&self, operator: &Operator) -> Result<usize, AdminError> {
        let mut ended = 0;
        let mut after = None;
        loop {
            let page = self.page(&mut after).await?;
            if page.is_empty() {
                return Ok(ended);
            }
            for registration in &page {
                ended += self.end_of(operator, registration, true).await?;
            }
        }
    }

    /// Revokes what was named, if anything lives under it: looks at what hangs on it only; how many certificates.
    async fn end_named(&self, operator: &Operator, news: &Backlog) -> Result<usize, AdminError> {
        let mut ended = 0;
        if news.everything || news.named.contains(&Named::Unknown) {
            let mut walk = Walk::of_grants();
            loop {
                let page = self.step(&mut walk).await?;
                if page.is_empty() {
                    break;
                }
                for registration in &page {
                    ended += self.end_of(operator, registration, false).await?;
                }
            }
        }
        let names =
            |one: &Named| !matches!(one, Named::Numbers { serials, .. } if serials.is_empty());
        if !news.named.iter().any(names) {
            return Ok(ended);
        }
        self.deps.issuer.mark_new().await?;
        for named in &news.named {
            for certificate in self.here(named).await? {
                ended += self.end_on(operator, certificate).await?;
            }
        }
        Ok(ended)
    }

    /// The certificates here that are named.
    async fn here(&self, named: &Named) -> Result<BTreeSet<Thumbprint>, AdminError> {
        let mut here = BTreeSet::new();
        match named {
            Named::Certificate(one) => here.extend([*one]),
            Named::Numbers { issuer, serials } => {
                let hanging = &self.deps.store.hanging;
                for some in serials.chunks(NUMBERS) {
                    here.extend(hanging.numbered(&self.tenant, *issuer, some.to_vec()).await?);
                }
            }
            Named::Unknown => {}
        }
        Ok(here)
    }

    /// Revokes a certificate that was named, and what else the lists name of those that hang on it.
    async fn end_on(&self, operator: &Operator, one: Thumbprint) -> Result<usize, AdminError> {
        let mut ended = 0;
        let mut walk = Walk::on([one]);
        // Once it has ended, so has all that hangs on it.
        while !self.is_ended(one) {
            let page = self.step(&mut walk).await?;
            if page.is_empty() {
                break;
            }
            for registration in &page {
                ended += self.end_of(operator, registration, false).await?;
                if self.is_ended(one) {
                    break;
                }
            }
        }
        Ok(ended)
    }

    /// Revokes what lists name of one registration; how many certificates. `all`: also those under which nothing lives.
    async fn end_of(
        &self,
        operator: &Operator,
        registration: &Registration,
        all: bool,
    ) -> Result<usize, AdminError> {
        if registration.cancelled {
            return Ok(0);
        }
        let grants = &self.deps.store.grants;
        let live = grants.live_for_client(&self.tenant, registration.client).await?;
        if live.is_empty() && !all {
            return Ok(0);
        }
        let mut ended = 0;
        for shown in self.shown(registration, &live).await? {
            for subject in self.listed(registration, &shown).await {
                let reason = "listed as revoked".to_owned();
                match self.revoke(operator, subject, reason, None).await {
                    Ok(_) => ended += 1,
                    // Nothing hangs on it any more.
                    Err(AdminError::Issuer(IssuerError::Unknown(_))) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(ended)
    }

    /// The certificates of a path that the lists of their issuers name, and that are not revoked here yet. Lists that cannot be
    /// had say nothing here; at the token endpoint they refuse.
    async fn listed(&self, registration: &Registration, shown: &Shown) -> BTreeSet<Subject> {
        let none = BTreeSet::new();
        let communities = self.deps.issuer.communities();
        let Some(community) = communities.iter().find(|one| one.uri == registration.community)
        else {
            return none;
        };
        let (leaf, extra) = (&shown.leaf, &shown.extra);
        if self.is_ended(leaf.thumbprint()) {
            return none;
        }
        let lists = &self.deps.lists;
        let verdict = lists.validate(leaf, extra, community, Duration::MAX).await;
        if !matches!(verdict, Err(PathError::Revoked)) {
            return none;
        }
        let named: Vec<_> = std::iter::once(leaf)
            .chain(extra)
            .chain(&community.intermediates)
            .map(Certificate::thumbprint)
            .filter(|thumbprint| lists.was_seen_revoked(*thumbprint))
            .collect();
        // An issuer that nobody sent and nobody configured: then the client's own ends.
        let named = if named.is_empty() { vec![leaf.thumbprint()] } else { named };
        let fresh = named.into_iter().filter(|thumbprint| !self.is_ended(*thumbprint));
        fresh.map(Subject::Certificate).collect()
    }
}

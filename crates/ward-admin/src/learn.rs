//! Trust that ended elsewhere ends here (PKI-17): whatever a list or an OCSP answer calls revoked has no live grant from the moment
//! that Ward learns it, asked for or not. Certificates that were renewed since a registration are looked at too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ward_core::EventKind;
use ward_issuer::IssuerError;
use ward_policy::Subject;
use ward_store::repo::Registration;
use ward_trust::{Certificate, PathError};

use crate::admin::Admin;
use crate::commands::{AdminError, Done};
use crate::passport::Shown;
use crate::{Operator, Role};

/// Before it is tried again what the store or the log refused.
const AGAIN: Duration = Duration::from_secs(1);

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

    /// Ends the live grants of certificates that the lists at hand name.
    async fn learn(&self) -> Result<(), AdminError> {
        let _turn = self.learning.lock().await;
        let lists = Operator { name: "ward-lists".into(), role: Role::Automatic };
        let ended = self.end_listed(&lists, false).await?;
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
        let _turn = self.learning.lock().await;
        let report = self.deps.lists.refresh().await;
        let failed = report.lists.iter().filter(|list| list.failure.is_some()).count();
        let revoked = self.end_listed(operator, true).await?;
        let event = self
            .event(operator, EventKind::Operator, "refresh-lists")
            .with("lists", report.lists.len().to_string())
            .with("failed", failed.to_string());
        self.deps.sink.record(vec![event]).await?;
        Ok(Done::ListsRefreshed { lists: report.lists.len(), failed, revoked })
    }

    /// Revokes what lists name; how many certificates. `all`: also those under which nothing lives.
    async fn end_listed(&self, operator: &Operator, all: bool) -> Result<usize, AdminError> {
        let mut ended = 0;
        let mut after = None;
        loop {
            let page = self.page(&mut after).await?;
            if page.is_empty() {
                return Ok(ended);
            }
            for registration in page.iter().filter(|one| !one.cancelled) {
                let grants = &self.deps.store.grants;
                let live = grants.live_for_client(&self.tenant, registration.client).await?;
                if live.is_empty() && !all {
                    continue;
                }
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
            }
        }
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

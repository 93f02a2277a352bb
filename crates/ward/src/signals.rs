//! What is fetched when a community was heard to say that trust has ended: its revocation lists, and its trust bundle
//! ([`crate::bundle_pull`]). What the signal itself ends has ended by then: [`ward_issuer::SignalDesk`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use ward_core::CommunityUri;
use ward_issuer::{Heard, Issuer};
use ward_net::lists::RevocationLists;
use ward_trust::{Certificate, Community};

/// Between two rounds: what is said in the meantime is fetched once.
const GAP: Duration = Duration::from_millis(500);

/// Hears of communities, each round once.
pub(crate) struct Ear {
    news: watch::Receiver<Heard>,
    done: Heard,
}

impl Ear {
    pub(crate) fn new(news: watch::Receiver<Heard>) -> Self {
        Self { news, done: Heard::new() }
    }

    /// The communities that said something since the last round; waits until one does. Never ready once nobody can.
    pub(crate) async fn heard(&mut self) -> Vec<CommunityUri> {
        if self.news.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        let now = self.news.borrow_and_update().clone();
        let said = now.iter().filter(|(uri, count)| self.done.get(*uri) != Some(count));
        let said = said.map(|(uri, _)| uri.clone()).collect();
        self.done = now;
        said
    }
}

/// Fetches lists for as long as this Ward runs; what they name loses its grants the usual way.
pub(crate) async fn fetch_lists(mut ear: Ear, lists: Arc<RevocationLists>, issuer: Arc<Issuer>) {
    loop {
        let said = ear.heard().await;
        let communities = issuer.communities();
        let concerned: Vec<&Community> =
            communities.iter().filter(|one| said.contains(&one.uri)).collect();
        let of = |issuer: &Certificate| concerned.iter().any(|one| stands_below(issuer, one));
        lists.refresh_where(of).await;
        tokio::time::sleep(GAP).await;
    }
}

/// Whether an authority is one of the community's, known or by the name of its issuer. Nothing is trusted for it.
fn stands_below(issuer: &Certificate, community: &Community) -> bool {
    let known = || community.anchors.iter().chain(&community.intermediates);
    known().any(|one| one == issuer || one.subject_der() == issuer.issuer_der())
}

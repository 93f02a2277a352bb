//! What is at hand about a certificate's revocation, for an operator who looks: nothing is fetched for it, and looking
//! does not count as use.

use std::sync::Arc;

use tokio::sync::watch;
use ward_core::{Thumbprint, Timestamp};
use ward_trust::{Certificate, Chain, Community, PathError};

use crate::kept::{Entry, Fact, Key, lock};
use crate::lists::RevocationLists;

/// What speaks of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A revocation list.
    List,
    /// An OCSP answer.
    Ocsp,
}

/// What one place said of a certificate when it was asked last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// A list or an OCSP answer.
    pub source: Source,
    /// Where it comes from.
    pub url: String,
    /// The list's number, hexadecimal, if it has one.
    pub number: Option<String>,
    /// `thisUpdate` and `nextUpdate`; none if nothing is at hand.
    pub validity: Option<(Timestamp, Timestamp)>,
    /// When it was fetched.
    pub fetched: Option<Timestamp>,
    /// Whether it calls the certificate revoked.
    pub revoked: bool,
    /// Why the last fetch failed, if it did.
    pub failure: Option<String>,
}

impl RevocationLists {
    /// The paths of a certificate to the community's anchors, best first, whatever lists say. An issuer that nobody sent is
    /// fetched from the place that the certificate names, as for a request.
    pub async fn paths(
        self: &Arc<Self>,
        leaf: &Certificate,
        extra: &[Certificate],
        community: &Community,
    ) -> Result<Vec<Chain>, PathError> {
        match self.built.paths(leaf, extra, community, self.clock.now()) {
            Err(PathError::Untrusted) => self.completed(leaf, extra, community).await,
            known => known,
        }
    }

    /// What is at hand about a certificate, in the order in which its places are asked.
    pub fn evidence(&self, certificate: &Certificate, issuer: &Certificate) -> Vec<Evidence> {
        let key = |url: &String, subject: Option<Thumbprint>| -> Key {
            (url.clone(), issuer.thumbprint(), subject)
        };
        let lists: Vec<Arc<Entry>> = {
            let entries = lock(&self.entries);
            let urls = certificate.crl_urls().iter();
            urls.filter_map(|url| entries.get(&key(url, None)).cloned()).collect()
        };
        let answers: Vec<Arc<Entry>> = {
            let entries = lock(&self.answers);
            let subject = Some(certificate.thumbprint());
            let urls = certificate.ocsp_urls().iter();
            urls.filter_map(|url| entries.get(&key(url, subject)).cloned()).collect()
        };
        lists.iter().chain(&answers).map(|entry| of(entry, certificate)).collect()
    }

    /// Counts up whenever a list came that is another than the one before, or an answer that says "revoked".
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}

fn of(entry: &Entry, certificate: &Certificate) -> Evidence {
    let (fact, fetched, failure) = entry.seen();
    Evidence {
        source: if entry.subject.is_some() { Source::Ocsp } else { Source::List },
        url: entry.url.clone(),
        number: fact.as_ref().and_then(|fact| match fact {
            Fact::List(list) => list.number(),
            Fact::Answer(..) => None,
        }),
        validity: fact.as_ref().map(|fact| (fact.this_update(), fact.next_update())),
        fetched,
        revoked: fact.as_ref().is_some_and(|fact| fact.revokes(certificate)),
        failure: failure.map(|why| why.to_string()),
    }
}

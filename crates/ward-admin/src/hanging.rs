//! The clients that hang on certificates, a page at a time and each once: what is looked at is what hangs on them, however
//! many registrations there are.

use std::collections::BTreeSet;

use ward_core::{ClientId, CommunityUri, Thumbprint};
use ward_store::repo::Registration;

use crate::admin::Admin;
use crate::commands::AdminError;

/// Clients looked at, at a time.
const PAGE: usize = 500;

/// Whose registrations are looked at.
enum Of {
    Certificate(Thumbprint, Option<ClientId>),
    Community(CommunityUri, Option<String>),
    Client(ClientId),
    /// Everybody with a live grant.
    Grants(Option<ClientId>),
    /// Everybody.
    All(Option<ClientId>),
}

/// A walk over registrations.
#[derive(Default)]
pub(crate) struct Walk {
    left: Vec<Of>,
    seen: BTreeSet<ClientId>,
}

impl Walk {
    /// Those that hang on any of these certificates.
    pub(crate) fn on(certificates: impl IntoIterator<Item = Thumbprint>) -> Self {
        let left = certificates.into_iter().map(|one| Of::Certificate(one, None)).collect();
        Self { left, ..Self::default() }
    }

    /// And those that are registered in these communities.
    pub(crate) fn and_in(mut self, communities: impl IntoIterator<Item = CommunityUri>) -> Self {
        self.left.extend(communities.into_iter().map(|uri| Of::Community(uri, None)));
        self
    }

    /// And this one.
    pub(crate) fn and(mut self, client: ClientId) -> Self {
        self.left.push(Of::Client(client));
        self
    }

    /// Everybody.
    pub(crate) fn all() -> Self {
        Self { left: vec![Of::All(None)], ..Self::default() }
    }

    /// Those with live grants.
    pub(crate) fn of_grants() -> Self {
        Self { left: vec![Of::Grants(None)], ..Self::default() }
    }
}

impl Admin {
    /// The next registrations of the walk; none at its end.
    pub(crate) async fn step(&self, walk: &mut Walk) -> Result<Vec<Registration>, AdminError> {
        let hanging = &self.deps.store.hanging;
        while let Some(of) = walk.left.pop() {
            if let Of::All(mut after) = of {
                let page = self.page(&mut after).await?;
                walk.left.extend(after.map(|after| Of::All(Some(after))));
                return Ok(page);
            }
            let page: Vec<ClientId> = match of {
                Of::Certificate(one, after) => {
                    let page = hanging.clients(&self.tenant, one, after, PAGE).await?;
                    let last = page.last().copied();
                    walk.left.extend(last.map(|last| Of::Certificate(one, Some(last))));
                    page
                }
                Of::Community(uri, after) => {
                    let page = hanging.registered_in(&self.tenant, &uri, after, PAGE).await?;
                    let last = page.last().map(|(last, _)| last.clone());
                    walk.left.extend(last.map(|last| Of::Community(uri, Some(last))));
                    page.into_iter().map(|(_, client)| client).collect()
                }
                Of::Client(client) => vec![client],
                Of::All(_) => Vec::new(),
                Of::Grants(after) => {
                    let page = hanging.with_grants(&self.tenant, after, PAGE).await?;
                    let last = page.last().copied();
                    walk.left.extend(last.map(|last| Of::Grants(Some(last))));
                    page
                }
            };
            let mut found = Vec::new();
            for client in page {
                if walk.seen.insert(client) {
                    let registrations = &self.deps.store.registrations;
                    found.extend(registrations.by_client(&self.tenant, client).await?);
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }
}

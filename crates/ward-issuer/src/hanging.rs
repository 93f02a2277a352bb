//! What hangs on a certificate, kept so that ending one costs what hangs on it: which certificates a registration or a grant may
//! rest on is written with it, and registrations that are not marked yet (from an earlier version, or under authorities
//! that were changed since) are marked before anybody asks.

use ward_core::{Thumbprint, crypto};
use ward_policy::Subject;
use ward_store::{Mark, Reach, Registration, StoreError};
use ward_trust::{Certificate, Chain, Community, Jws, reach, reach_digest};

use crate::errors::IssuerError;
use crate::issuer::Issuer;

/// Registrations that are marked at once.
const ABREAST: usize = 250;
/// Clients on one certificate that are looked at, at a time.
const PAGE: usize = 500;
/// Renewed certificates of one client that are looked at.
const RENEWED: usize = 8;

/// A certificate by what lists call it.
fn mark(certificate: &Certificate) -> Mark {
    Mark {
        thumbprint: certificate.thumbprint(),
        issuer: crypto::sha256(&[certificate.issuer_der()]),
        serial: certificate.serial().to_vec(),
    }
}

/// The certificates of a path, its anchor included, and these.
pub(crate) fn marks<'a>(
    chain: &'a Chain,
    more: impl IntoIterator<Item = &'a Certificate>,
) -> Vec<Mark> {
    let path = chain.certificates.iter().chain([&chain.anchor]);
    path.chain(more).map(mark).collect()
}

/// What a registration may come to hang on, from what came with it.
pub(crate) fn reached(
    leaf: &Certificate,
    sent: &[Certificate],
    chain: &Chain,
    community: &Community,
    certifiers: &[Certificate],
) -> Reach {
    let found: Vec<_> = chain.certificates.iter().chain([&chain.anchor]).cloned().collect();
    let reached = reach(leaf, sent, &found, Some(community));
    let marks = reached.iter().chain(certifiers).map(mark).collect();
    Reach { under: reach_digest(community), ends: leaf.not_after(), marks }
}

impl Issuer {
    /// Marks registrations that are not marked under the authorities that are served now. Costs nothing where there is none.
    pub async fn mark_new(&self) -> Result<(), IssuerError> {
        let served = self.served();
        let hanging = &self.deps.repositories.hanging;
        let mut digests: Vec<[u8; 32]> =
            served.iter().map(|one| reach_digest(&one.community)).collect();
        // For those whose community is not served: another one whenever what is served changes.
        let unserved = crypto::sha256(&[b"ward reach/1 unserved", digests.as_flattened()]);
        digests.push(unserved);
        loop {
            let found = hanging.unmarked(&self.tenant, digests.clone(), ABREAST).await?;
            if found.is_empty() {
                return Ok(());
            }
            let mut marking = tokio::task::JoinSet::new();
            for one in found {
                let community = served
                    .iter()
                    .map(|one| &one.community)
                    .find(|community| community.uri == one.registration.community);
                let under = community.map_or(unserved, reach_digest);
                let reach = self.reached_again(&one.registration, community, under).await?;
                let hanging = hanging.clone();
                marking.spawn(async move { hanging.mark(one, reach).await });
            }
            while let Some(marked) = marking.join_next().await {
                marked.map_err(|_| StoreError::Unavailable("a mark was not written".into()))??;
            }
        }
    }

    /// What a registration may come to hang on, from what is kept of it.
    async fn reached_again(
        &self,
        registration: &Registration,
        community: Option<&Community>,
        under: [u8; 32],
    ) -> Result<Reach, IssuerError> {
        let repositories = &self.deps.repositories;
        let grants = &repositories.grants;
        let live = grants.live_for_client(&self.tenant, registration.client).await?;
        let mut renewed: Vec<Thumbprint> = live
            .iter()
            .map(|grant| grant.certificate)
            .filter(|thumbprint| *thumbprint != registration.thumbprint)
            .collect();
        renewed.sort_unstable();
        renewed.dedup();
        let mut found = Vec::new();
        for thumbprint in renewed.into_iter().take(RENEWED) {
            let path = repositories.presented.path(&self.tenant, thumbprint).await?;
            found.extend(path.iter().filter_map(|der| Certificate::from_der(der).ok()));
        }
        let shown = Jws::parse(&registration.statement, &self.limits)
            .map(|jws| (jws.leaf().clone(), jws.extra().to_vec()));
        let shown = shown.or_else(|_| {
            Certificate::from_der(&registration.certificate).map(|leaf| (leaf, vec![]))
        });
        let Ok((leaf, sent)) = shown else {
            // It cannot be read, and so lets nobody in.
            let mark =
                Mark { thumbprint: registration.thumbprint, issuer: [0; 32], serial: vec![] };
            return Ok(Reach { under, ends: registration.updated, marks: vec![mark] });
        };
        let marks = reach(&leaf, &sent, &found, community).iter().map(mark).collect();
        Ok(Reach { under, ends: leaf.not_after(), marks })
    }

    /// The certificates that came along when a client presented this one: material for paths, trusted in nothing.
    pub(crate) async fn came_with(
        &self,
        leaf: Thumbprint,
    ) -> Result<Vec<Certificate>, IssuerError> {
        let repositories = &self.deps.repositories;
        let path = repositories.presented.path(&self.tenant, leaf).await?;
        let mut found: Vec<_> =
            path.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
        for client in repositories.hanging.clients(&self.tenant, leaf, None, RENEWED).await? {
            let registration = repositories.registrations.by_client(&self.tenant, client).await?;
            let statement = registration.filter(|one| one.thumbprint == leaf);
            let statement = statement.map(|one| Jws::parse(&one.statement, &self.limits));
            if let Some(Ok(jws)) = statement {
                found.extend(jws.extra().iter().cloned());
            }
        }
        Ok(found)
    }

    /// Whether a registration or a live grant hangs on the certificate.
    pub(crate) async fn hangs_on(&self, thumbprint: Thumbprint) -> Result<bool, IssuerError> {
        self.mark_new().await?;
        let subject = Subject::Certificate(thumbprint);
        let repositories = &self.deps.repositories;
        let is = |certificate: &Certificate| certificate.thumbprint() == thumbprint;
        let mut after = None;
        loop {
            let hanging = &repositories.hanging;
            let page = hanging.clients(&self.tenant, thumbprint, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(false) };
            after = Some(*last);
            for client in page {
                let Some(registration) =
                    repositories.registrations.by_client(&self.tenant, client).await?
                else {
                    continue;
                };
                let presented = || Jws::parse(&registration.statement, &self.limits);
                if registration.thumbprint == thumbprint
                    || presented().is_ok_and(|jws| jws.extra().iter().any(is))
                {
                    return Ok(true);
                }
                let grants = repositories.grants.live_for_client(&self.tenant, client).await?;
                if grants.iter().any(|grant| grant.hangs_on.iter().any(|(on, _)| *on == subject)) {
                    return Ok(true);
                }
            }
        }
    }
}

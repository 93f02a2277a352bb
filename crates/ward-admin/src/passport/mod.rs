//! The passport: who trusts whom, through which chain, until when, by what it was last checked, and what hangs on it
//! (udap.md §6.2). Questions only; each is one command (rule 10) and is recorded as one.
//!
//! An overview looks at the first 1000 registrations. A question about a certificate or a client id looks at what hangs on it, one
//! about a URI at all: it may be a client's, a community's or an organisation's.

mod ends;
mod look;
mod shapes;

use std::sync::Arc;

use ward_core::{ClientId, CommunityUri, OrganizationUri, Thumbprint};
use ward_policy::Grant;
use ward_store::repo::{Binding, Registration};
use ward_trust::Community;

use crate::admin::Admin;
use crate::commands::AdminError;
use crate::hanging::Walk;
pub(crate) use look::Shown;
pub use shapes::{
    CertificateView, CertificationView, Check, ClientPassport, CommunityPassport, EndingClient,
    Ends, GrantView, Lapse, Lapses, Passport, PathView, SupportedCertification,
};

/// Clients, communities and grants shown at most.
const SHOWN: usize = 100;
/// Registrations looked at for an overview.
const OVERVIEW: usize = 1000;

/// What is asked about, by what it can be.
struct Wanted<'a> {
    text: &'a str,
    client: Option<ClientId>,
    certificate: Option<Thumbprint>,
    organization: Option<OrganizationUri>,
}

impl<'a> Wanted<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            client: ClientId::parse(text).ok(),
            certificate: Thumbprint::parse(&text.to_ascii_lowercase()).ok(),
            organization: OrganizationUri::parse(text).ok(),
        }
    }
}

impl Admin {
    /// The passport of one entity, or of everything.
    pub(crate) async fn passport(&self, entity: Option<String>) -> Result<Passport, AdminError> {
        let served = self.deps.issuer.communities();
        let wanted = entity.as_deref().map(str::trim).map(Wanted::new);
        let mut passport = Passport {
            at: self.deps.clock.now(),
            entity: entity.clone(),
            communities: Vec::new(),
            clients: Vec::new(),
            registrations: 0,
            live_grants: 0,
            more: false,
        };
        let mut concerned: Vec<CommunityUri> = served
            .iter()
            .filter(|one| wanted.as_ref().is_none_or(|wanted| self.names(one, wanted)))
            .map(|one| one.uri.clone())
            .collect();
        let mut walk = match &wanted {
            // A URI may be a client's, a community's or an organisation's, and so concern anybody.
            Some(Wanted { certificate: Some(one), organization: None, .. }) => {
                self.deps.issuer.mark_new().await?;
                Walk::on([*one])
            }
            Some(Wanted { client: Some(client), organization: None, .. }) => {
                Walk::default().and(*client)
            }
            _ => Walk::all(),
        };
        let mut looked = 0;
        'pages: loop {
            let page = self.step(&mut walk).await?;
            if page.is_empty() {
                break;
            }
            for registration in page {
                if wanted.is_none() && looked >= OVERVIEW {
                    passport.more = true;
                    break 'pages;
                }
                looked += 1;
                let community = served.iter().find(|one| one.uri == registration.community);
                let Some((client, live)) =
                    self.client(&registration, community, wanted.as_ref(), &passport).await?
                else {
                    continue;
                };
                passport.registrations += 1;
                passport.live_grants += live;
                if !concerned.contains(&registration.community) {
                    concerned.push(registration.community.clone());
                }
                match client {
                    Some(client) => passport.clients.push(client),
                    None => passport.more = true,
                }
            }
        }
        if wanted.is_some() && concerned.is_empty() {
            return Err(AdminError::Unknown(
                "client, certificate, community or organisation known here",
            ));
        }
        let shown = served.iter().filter(|one| concerned.contains(&one.uri)).take(SHOWN);
        passport.communities = shown.map(|one| self.community(one)).collect();
        Ok(passport)
    }

    /// One client and how many live grants it has, if it is wanted; without its passport if enough are shown.
    async fn client(
        &self,
        registration: &Registration,
        community: Option<&Community>,
        wanted: Option<&Wanted<'_>>,
        so_far: &Passport,
    ) -> Result<Option<(Option<ClientPassport>, usize)>, AdminError> {
        let grants = &self.deps.store.grants;
        let live = grants.live_for_client(&self.tenant, registration.client).await?;
        let full = so_far.clients.len() >= SHOWN;
        let by_name = match wanted {
            None => true,
            Some(wanted) => self.is_named(registration, &live, wanted).await?,
        };
        let certificate = wanted.and_then(|wanted| wanted.certificate);
        // A path costs signatures: only where it decides or is shown.
        if !by_name && certificate.is_none() {
            return Ok(None);
        }
        if by_name && full {
            return Ok(Some((None, live.len())));
        }
        let trails = self.trails(self.shown(registration, &live).await?, community).await;
        let on_path = certificate.is_some_and(|wanted| trails.iter().any(|one| one.has(wanted)));
        if !by_name && !on_path {
            return Ok(None);
        }
        if full {
            return Ok(Some((None, live.len())));
        }
        let held = self
            .deps
            .store
            .holds
            .get(&self.tenant, &registration.community, &registration.uri)
            .await?;
        let refused = refused(registration, community, held.is_some())
            .or_else(|| self.refused_path(trails.first()))
            .or_else(|| self.lacks(registration));
        let paths: Vec<PathView> = trails.iter().map(|trail| self.path_view(trail)).collect();
        let until = paths.iter().filter(|path| path.broken.is_none()).map(|path| path.until).max();
        let mut organizations: Vec<OrganizationUri> =
            live.iter().map(|grant| grant.organization.clone()).collect();
        organizations.sort();
        organizations.dedup();
        let passport = ClientPassport {
            client: registration.client,
            uri: registration.uri.clone(),
            name: registration.client_name.clone(),
            community: registration.community.clone(),
            organizations,
            contacts: registration.contacts.clone(),
            scopes: registration.scopes.clone(),
            registered: registration.registered,
            updated: registration.updated,
            refused,
            until,
            paths,
            certifications: self.shown_certifications(registration),
            grants: live.iter().take(SHOWN).map(|grant| grant_view(grant)).collect(),
            live_grants: live.len(),
        };
        Ok(Some((Some(passport), live.len())))
    }

    /// Whether a question by name is about this client.
    async fn is_named(
        &self,
        registration: &Registration,
        live: &[Arc<Grant>],
        wanted: &Wanted<'_>,
    ) -> Result<bool, AdminError> {
        if registration.uri.as_str() == wanted.text
            || registration.community.as_str() == wanted.text
            || wanted.client == Some(registration.client)
            || wanted.certificate == Some(registration.thumbprint)
            || wanted.certificate.is_some_and(|one| live.iter().any(|g| g.certificate == one))
        {
            return Ok(true);
        }
        let Some(organization) = &wanted.organization else { return Ok(false) };
        if live.iter().any(|grant| grant.organization == *organization) {
            return Ok(true);
        }
        let member = (&registration.community, &registration.uri);
        let rosters = &self.deps.store.rosters;
        Ok(rosters.binding(&self.tenant, organization, member).await? == Binding::Bound)
    }

    /// Whether a question is about this community: by its URI, or by a certificate of its own or of ours in it.
    fn names(&self, community: &Community, wanted: &Wanted<'_>) -> bool {
        let ours = self.deps.issuer.certificates();
        let ours = ours.iter().filter(|(uri, _)| *uri == community.uri).map(|(_, one)| one);
        community.uri.as_str() == wanted.text
            || wanted.certificate.is_some_and(|wanted| {
                let all = community.anchors.iter().chain(&community.intermediates).chain(ours);
                all.into_iter().any(|one| one.thumbprint() == wanted)
            })
    }

    fn community(&self, community: &Community) -> CommunityPassport {
        let all = || community.intermediates.iter().chain(&community.anchors);
        let ours = self.deps.issuer.certificates();
        let ours = ours.iter().find(|(uri, _)| *uri == community.uri).map(|(_, one)| one);
        let issuer_of = |one: &ward_trust::Certificate| {
            all().find(|other| other.subject_der() == one.issuer_der() && *other != one).cloned()
        };
        let view =
            |role, one: &ward_trust::Certificate| self.view(role, one, issuer_of(one).as_ref());
        CommunityPassport {
            community: community.uri.clone(),
            trusted_until: community.trusted_until,
            ours: ours.map(|one| view("server", one)),
            anchors: community.anchors.iter().map(|one| self.view("anchor", one, None)).collect(),
            issuers: community.intermediates.iter().map(|one| view("issuer", one)).collect(),
            certifications: self.supported(community),
        }
    }

    /// Why the path that the client registered with would not hold now.
    fn refused_path(&self, trail: Option<&look::Trail>) -> Option<String> {
        let trail = trail?;
        if let Some(broken) = trail.broken {
            return Some(format!("no path to an anchor: {broken}"));
        }
        let ended = trail.certificates.iter().find(|one| {
            self.is_ended(one.thumbprint()) || self.deps.lists.was_seen_revoked(one.thumbprint())
        })?;
        Some(format!("{} is revoked", ended.subject_text()))
    }
}

/// Why the client would get no token, by what is kept of it.
fn refused(
    registration: &Registration,
    community: Option<&Community>,
    held: bool,
) -> Option<String> {
    if registration.cancelled {
        Some("the registration is cancelled".to_owned())
    } else if held {
        Some("it is on hold: ward admin release-client".to_owned())
    } else if community.is_none() {
        Some("its community is not served any more".to_owned())
    } else {
        None
    }
}

fn grant_view(grant: &Grant) -> GrantView {
    GrantView {
        grant: grant.id,
        organization: grant.organization.clone(),
        purposes: grant.purposes.clone(),
        scopes: grant.scopes.to_string(),
        certificate: grant.certificate,
        issued: grant.issued,
        expires: grant.expires,
    }
}

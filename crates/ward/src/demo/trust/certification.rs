//! A certification that unlocks a wider scope, and what is left when the community takes it back (CRT-08, CRT-16).

use std::sync::Arc;
use std::time::Duration;

use ward_client::{Discovered, Registered, Token};
use ward_community::{CertificationTerms, Reason};
use ward_core::{ClientUri, Timestamp};

use super::super::partner::SCOPE;
use super::super::walk::Found;
use super::super::{DemoError, doing};
use super::town::{CERTIFIER, PARTNER, PROGRAMME, Site, Town, UNLOCKED};
use super::{Entered, Step, b2b, missing, path};

/// What the certification opened.
pub(super) struct Certified {
    id: String,
    server: Discovered,
    registered: Registered,
    token: Arc<Token>,
}

/// A read of what the narrower scope does not reach.
fn wider(site: &Site) -> String {
    format!("/Observation?patient={}&_count=1", site.patient())
}

fn terms() -> Result<CertificationTerms, DemoError> {
    let uri = |text: &str| ClientUri::parse(text).map_err(doing("reading the demo's names"));
    Ok(CertificationTerms {
        subject: uri(PARTNER.1)?,
        certifier: uri(CERTIFIER)?,
        name: "Vetted application".to_owned(),
        uris: vec![PROGRAMME.to_owned()],
        endorsement: false,
        scope: Some(SCOPE.to_owned()),
        grant_types: vec!["client_credentials".to_owned()],
        audiences: Vec::new(),
        life: Duration::from_hours(365 * 24),
        status_endpoint: None,
        signer: None,
    })
}

fn has(granted: &str, scope: &str) -> bool {
    granted.split(' ').any(|one| one == scope)
}

pub(super) async fn unlock(
    town: &Town,
    now: &impl Fn() -> Timestamp,
    to: &mut Option<Certified>,
) -> Step {
    let (app, site) = (&town.partner, &town.hospital);
    let mut request = app.request("Care");
    let server = app.client.discover(&site.base).await.map_err(doing("discovery"))?;
    let narrow = app.client.register(&server, &request).await.map_err(doing("registration"))?;
    let withheld = !has(&narrow.scope, UNLOCKED);
    let b2b = b2b(PARTNER.0)?;
    let token =
        app.client.token(&server, &narrow, &narrow.scope, &b2b).await.map_err(doing("token"))?;
    let before = app.ask(&site.base, &wider(site), &token).await?.status;

    let began = now();
    let operator = &town.home.operator;
    let (jwt, issued) = operator.certify_client(terms()?).await.map_err(doing("certifying"))?;
    request.certifications = vec![jwt];
    let registered = app.client.register(&server, &request).await.map_err(doing("registration"))?;
    let granted = has(&registered.scope, UNLOCKED);
    let token =
        app.client.token(&server, &registered, SCOPE, &b2b).await.map_err(doing("token"))?;
    let after = app.ask(&site.base, &wider(site), &token).await?.status;
    let millis = u64::try_from(now().since(began).as_millis()).unwrap_or(u64::MAX);
    let ok = withheld && before == 403 && granted && after == 200;
    let word = |granted: bool| if granted { "granted" } else { "withheld" };
    let got = format!(
        "{UNLOCKED} {} and {before}; {millis} ms after the community was asked {} and {after}",
        word(!withheld),
        word(granted)
    );
    *to = Some(Certified { id: issued.jti, server, registered, token });
    Ok(Found::new(ok, got).fact("opened_millis", millis))
}

pub(super) async fn withdraw(
    town: &Town,
    now: &impl Fn() -> Timestamp,
    certified: Option<Certified>,
    narrow: Option<&Entered>,
    sabotaged: bool,
) -> Step {
    let (app, site) = (&town.partner, &town.hospital);
    let Certified { id, server, registered, token } = certified.ok_or_else(missing)?;
    let narrow = &narrow.ok_or_else(missing)?.token;
    let operator = &town.home.operator;
    let before = app.ask(&site.base, &wider(site), &token).await?.status;
    let began = now();
    if !sabotaged {
        let reason = Reason::PrivilegeWithdrawn;
        operator.revoke_certification(&id, reason).await.map_err(doing("revoking"))?;
    }
    // By push: nobody looks at a list, or asks for its status.
    town.tell().await?;
    let after = app.ask(&site.base, &wider(site), &token).await?.status;
    let millis = u64::try_from(now().since(began).as_millis()).unwrap_or(u64::MAX);
    app.client.forget(&token);
    let again = app.client.token(&server, &registered, SCOPE, &b2b(PARTNER.0)?).await;
    let again = again.map_err(doing("token"))?;
    let withheld = !has(again.scope(), UNLOCKED);
    let refused = app.ask(&site.base, &wider(site), &again).await?.status;
    let others = app.ask(&site.base, &path(site), narrow).await?.status;
    let ok = before == 200 && after == 401 && withheld && refused == 403 && others == 200;
    let got = format!(
        "{before} then {after} within {millis} ms of the act; a new token without it: {refused}; what every member may read: {others}"
    );
    Ok(Found::new(ok, got).fact("closed_millis", millis))
}

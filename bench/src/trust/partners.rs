//! The figure for a finance officer: from "never heard of each other" to first data, for one new partner and for many in a
//! row. Its certificate is issued by the community; it discovers the server and believes it by its signed metadata and the
//! community's lists, registers, asks for a token and reads. Nobody at the hospital does anything: of its patients it knows
//! already which organisation treats them.

use std::sync::Arc;

use ward::house::system;
use ward_client::{Config, PartnerClient};
use ward_community::KeySpec;
use ward_net::RevocationLists;
use ward_net::client::{Egress, HttpClient};
use ward_net::tls::client_config;

use super::stand::Stand;
use super::{COMING, Ground};
use crate::load::get;
use crate::{Error, moment};

/// Milliseconds.
pub struct Coming {
    pub first: f64,
    /// Of each, in order.
    pub each: Vec<f64>,
    pub seconds: f64,
    /// Of the steps, over all partners: certificate, discovery, registration, token, data.
    pub steps: [f64; 5],
}

pub async fn measure(ground: &Ground, count: usize) -> Result<Coming, Error> {
    let names: Vec<String> = (0..count).map(|n| format!("coming-{n}")).collect();
    let rosters = vec![(COMING.to_owned(), names.clone())];
    let stand = Stand::raise(ground, "partners", rosters).await?;
    let (mut each, mut steps, begun) = (vec![], [0.0; 5], moment());
    for name in &names {
        let (took, parts) = one(ground, &stand, name).await?;
        each.push(took);
        for (sum, part) in steps.iter_mut().zip(parts) {
            *sum += part;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let first = each.first().copied().unwrap_or(f64::NAN);
    Ok(Coming { first, each, seconds, steps })
}

async fn one(ground: &Ground, stand: &Stand, name: &str) -> Result<(f64, [f64; 5]), Error> {
    let begun = moment();
    let mut marks = [0.0; 5];
    let mut client = ground.surroundings.client(name, KeySpec::P256).await?;
    client.organization = COMING.to_owned();
    marks[0] = begun.elapsed().as_secs_f64() * 1e3;

    // Everything of the partner is new: its connections, and what it knows of lists.
    let system = system();
    let here = |url: &str| url.rsplit('/').next().unwrap_or_default().to_owned();
    let egress = Egress::allowing([
        format!("localhost:{}", stand.target.port),
        here(&ground.surroundings.lists_url),
    ]);
    let tls = client_config([ground.surroundings.tls_authority.as_slice()])?;
    let http = HttpClient::new(egress, tls, system.limits.clone());
    let lists = RevocationLists::new(http.clone(), system.clock.clone(), system.limits.clone());
    let identity = Arc::new(client.identity);
    let believing = PartnerClient::new(Config {
        community: ground.surroundings.trust(),
        identity: identity.clone(),
        http: Arc::new(http),
        lists: Arc::new(lists),
        clock: system.clock.clone(),
        rng: system.rng.clone(),
        limits: system.limits.clone(),
    });
    believing.discover(&stand.base()).await?;
    drop(believing);
    marks[1] = begun.elapsed().as_secs_f64() * 1e3;

    client.identity = Arc::into_inner(identity).ok_or("the identity is held")?;
    let id = client.register(&stand.target).await?;
    marks[2] = begun.elapsed().as_secs_f64() * 1e3;
    let token = client.token(&stand.target, &id).await?;
    marks[3] = begun.elapsed().as_secs_f64() * 1e3;
    let patient = ground.about.patients.first().ok_or("no patients")?;
    let path = format!("/default/fhir/Patient/{patient}");
    let answer = stand.target.once(&get(stand.target.port, &path, Some(&token))).await?;
    if answer.status != 200 || answer.json()?["id"] != patient.as_str() {
        return Err(format!("no data for {name}: status {}", answer.status).into());
    }
    marks[4] = begun.elapsed().as_secs_f64() * 1e3;
    let mut parts = marks;
    for at in 1..5 {
        parts[at] = marks[at] - marks[at - 1];
    }
    Ok((marks[4], parts))
}

//! `ward community signals …`: members that are told at once when trust ends, and the pushing while the community serves.
//!
//! Every act queues what there is to tell ([`super::place::Home::act`]); `serve` delivers it and records what came of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use ward_community::{Delivery, Operator, SignalPusher, backlog_of};
use ward_net::HttpClient;
use ward_net::client::Egress;

use super::args::Place;
use super::place::Home;
use super::{CommunityCommandError, Result, pem_files};
use crate::config::material::system_roots;
use crate::house::System;
use crate::ui::Ui;

/// Between two looks at what waits.
const LOOK: Duration = Duration::from_millis(500);
/// Before what came of signals is recorded again after it could not be.
const AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug, Subcommand)]
pub(crate) enum SignalsAct {
    Add(Add),
    Remove(Remove),
    List(Listed),
}

/// Tell a member from now on, at once, when a certificate is revoked or a bundle is published.
///
/// `ward community serve` pushes signed security event tokens (RFC 8417, RFC 8935) to it. The first one only tries the way.
#[derive(Debug, Args)]
pub(crate) struct Add {
    #[command(flatten)]
    place: Place,
    /// The member's FHIR base, as its server certificate has it.
    #[arg(long, value_name = "URL")]
    base: String,
    /// Where it takes signals; without it beside its base, as Ward does: https://…/default/signals.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
}

/// Tell a member no longer. It still learns from lists.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    place: Place,
    /// The member's FHIR base.
    #[arg(long, value_name = "URL")]
    base: String,
}

/// Show who is told, and what waits for them.
#[derive(Debug, Args)]
pub(crate) struct Listed {
    /// Directory of the community.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// How `serve` reaches members.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    /// PEM of the authorities of members' TLS certificates, for signals; without it those that this system trusts.
    #[arg(long, value_name = "FILE")]
    member_tls_ca: Option<PathBuf>,
    /// host:port of a member with a private address, for signals. Can be repeated.
    #[arg(long = "allow-private", value_name = "HOST:PORT")]
    allow_private: Vec<String>,
}

pub(super) async fn run(ui: Ui, act: &SignalsAct, system: &System) -> Result<()> {
    match act {
        SignalsAct::Add(one) => {
            let home = Home::new(&one.place, None, system);
            let told = home
                .act(async |operator| {
                    Ok(operator.subscribe(&one.base, one.endpoint.as_deref()).await?)
                })
                .await?;
            ui.line(&format!("{} is told at {}", told.base, told.endpoint));
            ui.line("the first signal tries the way: see `ward community signals list`");
        }
        SignalsAct::Remove(one) => {
            let home = Home::new(&one.place, None, system);
            home.act(async |operator| Ok(operator.unsubscribe(&one.base).await?)).await?;
            ui.line(&format!("{} is told no longer; it learns from the lists", one.base));
        }
        SignalsAct::List(one) => list(ui, one)?,
    }
    Ok(())
}

fn list(ui: Ui, options: &Listed) -> Result<()> {
    let backlog = backlog_of(&options.dir.join("ca"))?;
    for one in &backlog.subscribers {
        let waiting = backlog.waiting.iter().find(|(base, ..)| *base == one.base);
        let (count, since) = waiting.map_or((0, None), |(_, count, since)| (*count, Some(since)));
        if options.json {
            let line = serde_json::json!({
                "base": one.base, "endpoint": one.endpoint, "since": one.since.as_seconds(),
                "waiting": count, "oldest": since.map(|since| since.as_seconds()),
            });
            ui.line(&line.to_string());
            continue;
        }
        let waits = match since {
            None => "nothing waits".to_owned(),
            Some(since) => format!("{count} waiting since {}", since.to_rfc3339()),
        };
        ui.line(&format!("{}  {}  {waits}", one.base, one.endpoint));
    }
    if !options.json {
        ui.line(&format!("{} told by signals", backlog.subscribers.len()));
    }
    Ok(())
}

/// Queues what was not told yet. What the act did stands, whether or not that can be.
pub(super) async fn tell(operator: &Operator) {
    if let Err(error) = operator.signal().await {
        tracing::error!(%error, "members could not be told by signals; the next act tries again, and lists tell them meanwhile");
    }
}

/// What pushes signals of this community.
pub(super) fn pusher(home: &Home<'_>, reach: &Reach, system: &System) -> Result<SignalPusher> {
    let roots = match &reach.member_tls_ca {
        Some(path) => pem_files::chain(path)?,
        None => system_roots(),
    };
    let tls = ward_net::tls::client_config(roots.iter().map(Vec::as_slice)).map_err(|error| {
        CommunityCommandError::Option {
            flag: "--member-tls-ca",
            why: format!(
                "{error}; name a PEM file of the authorities of members' TLS certificates"
            ),
        }
    })?;
    let egress = Egress::allowing(reach.allow_private.iter().cloned());
    let client = HttpClient::new(egress, tls, system.limits.clone());
    Ok(SignalPusher::new(home.ca(), client, system.clock.clone(), system.limits.clone()))
}

/// Pushes for as long as it is polled; what comes of it goes into the community's log.
pub(super) async fn push(mut pusher: SignalPusher, home: &Home<'_>) {
    let mut done: Vec<Delivery> = Vec::new();
    loop {
        match pusher.round().await {
            Ok(more) => done.extend(more),
            Err(error) => tracing::error!(%error, "signals that wait could not be read"),
        }
        if done.is_empty() {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        match home.act(async |operator| Ok(operator.settle_signals(&done).await?)).await {
            Ok(()) => done.clear(),
            Err(error) => {
                tracing::error!(%error, "what came of signals could not be recorded yet");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

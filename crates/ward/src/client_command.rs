//! `ward client`: the other side of the wire, usable against anybody's UDAP server (CLI-28, CLI-29).
//!
//! Each step says which check failed, by rule id, and what to do about it; with `--explain` also what passed. The exit
//! status says what kind of thing happened (`talk::code`). Never printed: private keys; and the token only where
//! `--show` asks for it.

mod advice;
mod attack;
mod doctor;
mod files;
mod parts;
mod register;
mod settings;
mod state;
mod talk;
mod token;

use std::process::ExitCode;

use serde_json::json;
use ward_client::{Discovered, checks};

use crate::cli_client::{Client, ClientServer, ClientVerify};
use parts::Parts;
use talk::{Failure, Talk};

pub(crate) async fn run(command: &Client) -> ExitCode {
    let (name, server) = match command {
        Client::Discover(one) => ("discover", &one.server),
        Client::Verify(one) => ("verify", &one.server),
        Client::Register(one) => ("register", &one.server),
        Client::Update(one) => ("update", &one.server),
        Client::Cancel(one) => ("cancel", &one.server),
        Client::Token(one) => ("token", &one.server),
        Client::Call(one) => ("call", &one.server),
        Client::Doctor(one) => ("doctor", &one.server),
        Client::Attack(one) => ("attack", &one.server),
        Client::Status(one) => {
            let mut talk = Talk::new(one.json, false);
            let ended = register::status(&mut talk, one);
            return talk.close("status", ended);
        }
    };
    let mut talk = Talk::new(server.json, server.explain);
    talk.fact("base", json!(server.base));
    let ended = match command {
        Client::Discover(one) => discover(&mut talk, &one.server).await,
        Client::Verify(one) => verify(&mut talk, one).await,
        Client::Register(one) => register::register(&mut talk, one).await,
        Client::Update(one) => register::update(&mut talk, one).await,
        Client::Cancel(one) => register::cancel(&mut talk, one).await,
        Client::Token(one) => token::token(&mut talk, one).await,
        Client::Call(one) => token::call(&mut talk, one).await,
        Client::Doctor(one) => doctor::doctor(&mut talk, one).await,
        Client::Attack(one) => attack::attack(&mut talk, one).await,
        Client::Status(_) => Ok(()),
    };
    talk.close(name, ended)
}

async fn discover(talk: &mut Talk, server: &ClientServer) -> Result<(), Failure> {
    let parts = Parts::new(talk, &server.trust, None)?;
    let found = parts.find(talk, server).await?;
    tell(talk, &found);
    Ok(())
}

/// A document that is at hand, judged as if its server had just sent it.
async fn verify(talk: &mut Talk, wanted: &ClientVerify) -> Result<(), Failure> {
    let parts = Parts::new(talk, &wanted.server.trust, None)?;
    let document = files::read("FILE", &wanted.document)?;
    let Some(discovery) = parts.discovery() else { return Ok(()) };
    let found = discovery.validate(&wanted.server.base, &document).await;
    let found = talk.step("verification", checks::DISCOVERY, &parts, found)?;
    tell(talk, &found);
    Ok(())
}

fn tell(talk: &mut Talk, found: &Discovered) {
    talk.fact("registration_endpoint", found.registration_endpoint.as_str());
    talk.fact("token_endpoint", found.token_endpoint.as_str());
    if let Some(endpoint) = &found.authorization_endpoint {
        talk.fact("authorization_endpoint", endpoint.as_str());
    }
    talk.fact("grant_types", found.grant_types.clone());
    talk.fact("profiles", found.profiles.clone());
    talk.fact("scopes", found.scopes.clone());
    talk.fact("extensions_required", found.extensions_required.clone());
    talk.fact("certifications_required", found.certifications_required.clone());
    talk.fact("signed_until", found.exp.to_rfc3339());
    if let Some(leaf) = found.chain().leaf() {
        talk.fact("certificate", leaf.thumbprint().to_string());
        talk.fact("certificate_until", leaf.not_after().to_rfc3339());
    }
    talk.fact("anchor", found.chain().anchor.thumbprint().to_string());
    for warning in &found.warnings {
        talk.warn(*warning);
    }
}

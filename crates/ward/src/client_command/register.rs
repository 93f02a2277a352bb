//! `ward client register`, `status`, `update` and `cancel` (CLI-10..18): what is registered, and what is remembered of it.

use std::path::Path;

use serde_json::json;
use ward_client::{
    Joined, Membership, Memberships, PartnerClient, Registered, RegistrationGrant,
    RegistrationRequest, ScopeDifference, Standing, checks,
};
use ward_core::Limits;
use ward_trust::{Alg, Certification, Jws};

use super::files;
use super::parts::Parts;
use super::state::{Asked, Kept, State, Unapproved, grant};
use super::talk::{Failure, Talk};
use crate::cli_client::{
    ClientCancel, ClientIdentity, ClientRegister, ClientServer, ClientStatus, ClientUpdate,
};

pub(super) async fn register(talk: &mut Talk, wanted: &ClientRegister) -> Result<(), Failure> {
    let (server, who) = (&wanted.server, &wanted.identity);
    let parts = Parts::new(talk, &server.trust, Some(who))?;
    let memberships = parts.memberships()?;
    let state = State::read(&who.state)?;
    let certifications = certifications(&wanted.certification)?;
    let Some(first) = memberships.iter().next() else { return Ok(()) };
    let request = RegistrationRequest {
        uri: first.uri.clone(),
        client_name: wanted.name.clone(),
        contacts: wanted.contact.clone(),
        logo_uri: wanted.logo.clone(),
        scope: wanted.scope.clone(),
        grant: if wanted.cancel {
            RegistrationGrant::Cancel
        } else {
            grant(wanted.redirect_uri.clone())
        },
        certifications,
    };
    // CLI-11: before anything is sent, discovery included.
    for member in &memberships {
        let request = RegistrationRequest { uri: member.uri.clone(), ..request.clone() };
        if let Err(error) = member.client.check(&request) {
            talk.step("registration", checks::REGISTRATION, &parts, Err::<(), _>(error))?;
        }
        if !wanted.again {
            recall(&state, &member.client);
        }
    }
    let ended = memberships.register(&server.base, &request).await;
    let refusals = refusals(&memberships);
    match ended {
        Ok((joined, registered)) => {
            talk.checked("discovery", checks::DISCOVERY, None);
            talk.checked("registration", checks::REGISTRATION, None);
            parts.joined(talk, &joined);
            record(talk, (&who.state, refusals), server, &request, &joined, &registered)
        }
        Err(stopped) => {
            let any = !refusals.is_empty();
            let refuse = |state: &mut State| {
                for one in refusals {
                    state.refused(one);
                }
            };
            // That it cannot be remembered is said beside what the server said.
            if any && let Err(failure) = State::change(&who.state, refuse) {
                talk.warn(failure.text);
            }
            Err(talk.stopped(&stopped, &parts))
        }
    }
}

pub(super) async fn update(talk: &mut Talk, wanted: &ClientUpdate) -> Result<(), Failure> {
    let (server, who) = (&wanted.server, &wanted.identity);
    let change = |asked: &mut Asked| {
        if let Some(scope) = &wanted.scope {
            asked.scope.clone_from(scope);
        }
        if let Some(name) = &wanted.name {
            asked.name.clone_from(name);
        }
        if !wanted.contact.is_empty() {
            asked.contacts.clone_from(&wanted.contact);
        }
        if wanted.logo.is_some() {
            asked.logo.clone_from(&wanted.logo);
        }
    };
    // Without new ones those are shown again that were shown before, as everything else.
    let certifications = certifications(&wanted.certification)?;
    again(talk, server, who, |mut asked, member| {
        change(&mut asked);
        if !certifications.is_empty() {
            asked.certifications.clone_from(&certifications);
        }
        asked.request(member.uri.clone())
    })
    .await
}

pub(super) async fn cancel(talk: &mut Talk, wanted: &ClientCancel) -> Result<(), Failure> {
    again(talk, &wanted.server, &wanted.identity, |asked, member| RegistrationRequest {
        grant: RegistrationGrant::Cancel,
        ..asked.request(member.uri.clone())
    })
    .await
}

/// Sends another statement for the registration that is remembered for this server.
async fn again(
    talk: &mut Talk,
    server: &ClientServer,
    who: &ClientIdentity,
    request: impl Fn(Asked, &Membership) -> RegistrationRequest,
) -> Result<(), Failure> {
    let parts = Parts::new(talk, &server.trust, Some(who))?;
    let state = State::read(&who.state)?;
    let memberships = preferred(&parts.memberships()?, &state, &server.base);
    // CLI-11: before anything is sent, for what is remembered of this base.
    for member in &memberships {
        let known = state.registrations.iter().find(|kept| is_of(kept, member, &server.base));
        if let Some(asked) = known.and_then(|kept| kept.asked.clone())
            && let Err(error) = member.client.check(&request(asked, member))
        {
            talk.step("registration", checks::REGISTRATION, &parts, Err::<(), _>(error))?;
        }
    }
    let joined = parts.join(talk, server, &memberships).await?;
    let member = &joined.membership;
    let kept = remembered(&state, &who.state, &joined)?;
    let Some(asked) = kept.asked.clone() else {
        return Err(Failure::refused(
            format!("{} does not say what was registered", who.state.display()),
            "it was written by an earlier version: run `ward client register` once, with all that is asked for",
        ));
    };
    let request = request(asked, member);
    let answer = member.client.register(&joined.server, &request).await;
    let registered = talk.step("registration", checks::REGISTRATION, &parts, answer)?;
    record(talk, (&who.state, Vec::new()), server, &request, &joined, &registered)
}

/// Says and remembers what the server assigned.
fn record(
    talk: &mut Talk,
    (file, refusals): (&Path, Vec<Unapproved>),
    server: &ClientServer,
    request: &RegistrationRequest,
    joined: &Joined,
    registered: &Registered,
) -> Result<(), Failure> {
    let kept = Kept {
        base: server.base.clone(),
        registration_endpoint: registered.registration_endpoint.clone(),
        community: joined.membership.client.community().uri.as_str().to_owned(),
        client_uri: registered.uri.as_str().to_owned(),
        client_id: registered.client_id.clone(),
        scope: registered.scope.clone(),
        asked: Some(Asked::of(request)),
    };
    let standing = match registered.standing {
        Standing::New => "new",
        Standing::Modified => "modified",
        Standing::Cancelled => "cancelled",
    };
    talk.fact("standing", standing);
    talk.fact("client_id", kept.client_id.as_str());
    talk.fact("client_uri", kept.client_uri.as_str());
    talk.fact("scope", kept.scope.as_str());
    if registered.standing != Standing::Cancelled {
        // CLI-16: other scopes than asked for are taken, and told.
        let ScopeDifference { withheld, added } =
            ScopeDifference::between(&request.scope, &registered.scope);
        if !request.certifications.is_empty() {
            talk.fact("certifications", named(&registered.certifications));
            let passed_over = |one: &&String| !registered.certifications.contains(one);
            let passed_over: Vec<_> =
                request.certifications.iter().filter(passed_over).cloned().collect();
            talk.fact("not_counted", named(&passed_over));
        }
        talk.fact("not_granted", withheld);
        talk.fact("not_asked_for", added);
    }
    talk.fact("state", file.display().to_string());
    for warning in &registered.warnings {
        talk.warn(*warning);
    }
    for other in State::read(file)?.elsewhere(&kept) {
        talk.warn(format!(
            "{} names the same registration endpoint as {other}: tokens for the one are good at the other, so both must be of one operator; if they are not, do not use this base",
            kept.base
        ));
    }
    let own = thumbprint(&joined.membership.client);
    State::change(file, |state| {
        for one in refusals {
            state.refused(one);
        }
        // This certificate is trusted here now.
        state.unapproved.retain(|one| {
            one.certificate != own || one.registration_endpoint != kept.registration_endpoint
        });
        if registered.standing == Standing::Cancelled {
            state.remove(&kept);
        } else {
            state.put(kept);
        }
    })
}

/// `ward client status`: what is remembered. Asks nobody.
pub(super) fn status(talk: &mut Talk, wanted: &ClientStatus) -> Result<(), Failure> {
    let state = State::read(&wanted.state)?;
    let here = |kept: &&Kept| wanted.base.as_ref().is_none_or(|base| *base == kept.base);
    let found: Vec<&Kept> = state.registrations.iter().filter(here).collect();
    talk.fact("state", wanted.state.display().to_string());
    if talk.ui.json() {
        talk.fact("registrations", json!(found));
        talk.fact("unapproved", json!(state.unapproved));
    } else {
        let mut said = Vec::new();
        for kept in &found {
            said.push(format!(
                "{}\n  community  {}\n  client uri {}\n  client id  {}\n  scope      {}",
                kept.base, kept.community, kept.client_uri, kept.client_id, kept.scope
            ));
        }
        for one in &state.unapproved {
            said.push(format!(
                "{}\n  does not trust the certificate {}",
                one.registration_endpoint, one.certificate
            ));
        }
        talk.after = super::talk::printable(&said.join("\n"));
    }
    if found.is_empty() {
        return Err(Failure::refused(
            format!("{} holds no registration", wanted.state.display()),
            "run `ward client register`",
        ));
    }
    Ok(())
}

/// Whether this is what the member registered at this base.
fn is_of(kept: &Kept, member: &Membership, base: &str) -> bool {
    kept.base == base
        && kept.community == member.client.community().uri.as_str()
        && kept.client_uri == member.uri.as_str()
}

/// The memberships that are registered at this base, if there are such; else all.
pub(super) fn preferred(memberships: &Memberships, state: &State, base: &str) -> Memberships {
    let is_registered =
        |member: &&Membership| state.registrations.iter().any(|kept| is_of(kept, member, base));
    let known: Vec<Membership> = memberships.iter().filter(is_registered).cloned().collect();
    if known.is_empty() { memberships.clone() } else { Memberships::new(known) }
}

/// The registration that the state file remembers for this server.
pub(super) fn remembered(state: &State, file: &Path, joined: &Joined) -> Result<Kept, Failure> {
    let member = &joined.membership;
    let endpoint = &joined.server.registration_endpoint;
    let community = member.client.community().uri.as_str();
    let (base, uri) = (&joined.server.base_url, member.uri.as_str());
    state.find_at(base, endpoint, community, uri).cloned().ok_or_else(|| {
        if let Some(other) = state.find(endpoint, community, uri) {
            return Failure::refused(
                format!(
                    "{} holds a registration for {}, and this server names the same registration endpoint: a token of that one would go to this one",
                    file.display(),
                    other.base
                ),
                "if both are of one operator, run `ward client register` for this base too",
            );
        }
        Failure::refused(
            format!("{} holds no registration at this server", file.display()),
            "run `ward client register` with the same --state, --certificate and --community-uri first",
        )
    })
}

fn certifications(files: &[std::path::PathBuf]) -> Result<Vec<String>, Failure> {
    files.iter().map(|path| files::certification(path)).collect()
}

/// What certifications call themselves: their URIs, as their signers wrote them. Who these are is the server's to judge.
fn named(all: &[String]) -> Vec<String> {
    let limits = Limits::default();
    let read = |jws: &String| Jws::parse(jws, &limits).ok()?.verify(&Alg::ALL).ok();
    let read = all.iter().filter_map(read);
    read.filter_map(|jws| Certification::uris_of(&jws).ok()).flatten().collect()
}

fn thumbprint(client: &PartnerClient) -> String {
    client.identity().leaf().thumbprint().to_string()
}

/// Tells a client where its certificate was refused in earlier runs (CLI-18).
fn recall(state: &State, client: &PartnerClient) {
    let own = thumbprint(client);
    for one in state.unapproved.iter().filter(|one| one.certificate == own) {
        client.mark_unapproved(&one.registration_endpoint);
    }
}

/// Where certificates were refused, now or before.
fn refusals(memberships: &Memberships) -> Vec<Unapproved> {
    let mut all = Vec::new();
    for member in memberships {
        for registration_endpoint in member.client.unapproved_at() {
            let certificate = thumbprint(&member.client);
            all.push(Unapproved { registration_endpoint, certificate });
        }
    }
    all
}

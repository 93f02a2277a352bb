//! `ward client attack` (CLI-30): the bad inputs of `udap.md` §7, sent to a server that one owns; which it refuses.
//!
//! Good requests stand before, between and after the bad ones: a server that refuses everything does not pass. What is
//! registered for it is ended afterwards, also where the run breaks off. Refused: hosts that were not named as one's own,
//! those of the endpoints in the metadata included, and a client URI that has a registration there.

mod forge;
mod table;
mod wire;

use http::Uri;
use serde_json::{Map, Value, json};
use ward_client::{ClientUri, Joined, RegistrationRequest, checks};
use ward_core::{OrganizationUri, Purpose, crypto};
use ward_trust::{Discovered, SigningIdentity};

use super::parts::Parts;
use super::state::State;
use super::talk::{Failure, Talk, code, printable};
use crate::cli_client::ClientAttack;
use crate::ui::Ui;
use table::{LeftOut, Own, Row, Tables, Words};
use wire::{Endpoint, Got};

/// What the throw-away client calls itself.
const NAME: &str = "Ward attack, thrown away afterwards";
/// Seconds that a JWT lives; five minutes are the most (IG §3.1).
const LIFE: i64 = 280;
/// How often a request is sent again because the server asks to wait.
const MAX_TRIES: u32 = 20;
/// How often a request is sent again because the connection was closed under it.
const MAX_CLOSED: u32 = 2;
/// So many requests without an answer, one after the other, end the run.
const MAX_SILENT: u32 = 5;

/// A row that was sent, and what came of it.
struct Outcome {
    id: String,
    what: String,
    endpoint: Endpoint,
    demanded: String,
    got: String,
    ok: bool,
}

/// What a run works with.
struct Run<'a> {
    parts: &'a Parts,
    identity: &'a SigningIdentity,
    uri: &'a ClientUri,
    server: &'a Discovered,
    wanted: &'a ClientAttack,
    ui: Ui,
    client: String,
    silent: u32,
    done: Vec<Outcome>,
    left_out: Vec<LeftOut>,
}

pub(super) async fn attack(talk: &mut Talk, wanted: &ClientAttack) -> Result<(), Failure> {
    let (server, who) = (&wanted.server, &wanted.identity);
    owned(wanted, &server.base)?;
    let organization = OrganizationUri::parse(&wanted.organization).map_err(|error| {
        Failure::usage(format!("--organization: {error}"), "give a URI, as urn:oid:1.2.3")
    })?;
    let parts = Parts::new(talk, &server.trust, Some(who))?;
    let state = State::read(&who.state)?;
    let memberships = parts.memberships()?;
    for member in &memberships {
        let request = good(wanted, &member.uri);
        let checked = member.client.check(&request);
        talk.step("registration", checks::REGISTRATION, &parts, checked)?;
    }
    let joined = parts.join(talk, server, &memberships).await?;
    let Joined { membership, server: found, .. } = &joined;
    let (client, uri) = (&membership.client, &membership.uri);
    owned(wanted, &found.registration_endpoint)?;
    owned(wanted, &found.token_endpoint)?;
    let community = client.community().uri.as_str();
    if state.find(&found.registration_endpoint, community, uri.as_str()).is_some() {
        return Err(Failure::usage(
            format!(
                "{} holds a registration of {} at this server",
                who.state.display(),
                uri.as_str()
            ),
            "give a certificate with a URI of its own: this registration would be changed and ended",
        ));
    }
    let identity = client.identity();
    let alg = identity.alg();
    if !found.registration_algs.contains(&alg) || !found.token_algs.contains(&alg) {
        return Err(Failure::refused(
            format!("the server does not take {} (CLI-04)", alg.name()),
            "give a certificate with another kind of key",
        ));
    }
    let mut run = Run {
        parts: &parts,
        identity,
        uri,
        server: found,
        wanted,
        ui: talk.ui,
        client: String::new(),
        silent: 0,
        done: Vec::new(),
        left_out: Vec::new(),
    };
    run.begin().await?;
    // Whatever happens from here on, the registration is ended.
    let ended = run.tables(organization.as_str()).await;
    let cancelled = run.end().await;
    run.ui.clear();
    tell(talk, &run);
    if let Err(got) = cancelled {
        talk.warn(format!("the registration of {} was not ended: {got}", uri.as_str()));
        talk.status = code::REFUSED;
    }
    ended
}

/// What is registered for the run.
fn good(wanted: &ClientAttack, uri: &ClientUri) -> RegistrationRequest {
    RegistrationRequest::client_credentials(uri.clone(), NAME, &wanted.contact, &wanted.scope)
}

/// Refuses a URL whose host was not named as one's own.
fn owned(wanted: &ClientAttack, url: &str) -> Result<(), Failure> {
    let host = url.parse::<Uri>().ok().and_then(|url| url.host().map(ToOwned::to_owned));
    let Some(host) = host else {
        return Err(Failure::usage(format!("{url} is not a URL with a host"), "check the URL"));
    };
    if wanted.i_own_this_server.iter().any(|one| one.eq_ignore_ascii_case(&host)) {
        return Ok(());
    }
    Err(Failure::usage(
        format!("nothing bad was sent: {host} is not named as a server of yours"),
        format!("if it is yours, or its owner has asked you to, say --i-own-this-server {host}"),
    ))
}

impl Run<'_> {
    /// The throw-away registration.
    async fn begin(&mut self) -> Result<(), Failure> {
        match self.ask(&control(201), Endpoint::Registration).await {
            Some(Got::Answer { status: status @ (200 | 201), client: Some(client), .. }) => {
                self.client = client;
                if status == 201 || self.wanted.replace {
                    return Ok(());
                }
                Err(Failure::refused(
                    format!("{} was registered here before", self.uri.as_str()),
                    "no bad input was sent, but the registration now has what this mode asks for: register again, or say \
                     --replace if it is left from an earlier run and may be ended",
                ))
            }
            got => Err(Failure::refused(
                format!("a good registration is not accepted: {}", words(got.as_ref())),
                "see with `ward client register` what is wrong; nothing bad was sent",
            )),
        }
    }

    /// All rows, with good requests around them.
    async fn tables(&mut self, organization: &str) -> Result<(), Failure> {
        if !self.row(control(200), Endpoint::Token).await? {
            return Err(Failure::refused(
                "a good token request is not accepted",
                "see with `ward client token` what is wrong; nothing bad was sent",
            ));
        }
        let mut tables = Tables::select(&Own {
            uri: self.uri.as_str(),
            organization,
            scope: &self.wanted.scope,
            alg: self.identity.alg(),
            chain: self.identity.chain().len(),
            accepted: self.wanted.exact,
        });
        self.left_out.append(&mut tables.left_out);
        for row in tables.registration {
            self.row(row, Endpoint::Registration).await?;
        }
        // A row that was accepted has changed the registration.
        self.row(control(201), Endpoint::Registration).await?;
        for row in tables.token {
            self.row(row, Endpoint::Token).await?;
        }
        self.row(control(200), Endpoint::Token).await?;
        Ok(())
    }

    /// Ends the registration; what came instead if it was not.
    async fn end(&mut self) -> Result<(), String> {
        let mut row = control(200);
        row.claims.insert("grant_types".into(), json!([]));
        match self.ask(&row, Endpoint::Registration).await {
            Some(Got::Answer { status: 200, cancelled: true, .. }) => Ok(()),
            got => Err(words(got.as_ref())),
        }
    }

    /// Sends a row and notes what came of it; whether it is as demanded.
    async fn row(&mut self, row: Row, endpoint: Endpoint) -> Result<bool, Failure> {
        let Some(got) = self.ask(&row, endpoint).await else {
            let why = "it means nothing at this server, or with this certificate";
            self.left_out.push(LeftOut { id: row.id, what: row.what, why });
            return Ok(true);
        };
        let exact = self.wanted.exact;
        let ok = got.meets(&row, endpoint, exact);
        let demanded = wire::demanded(&row, exact);
        if let Got::Answer { status: 200 | 201, client: Some(client), .. } = &got
            && endpoint == Endpoint::Registration
        {
            self.client.clone_from(client);
        }
        self.silent = match got {
            Got::Closed | Got::Nothing(_) if !ok => self.silent + 1,
            _ => 0,
        };
        self.ui.progress(&format!("{} requests sent", self.done.len() + 1));
        self.done.push(Outcome {
            id: row.id,
            what: row.what,
            endpoint,
            demanded,
            got: got.words(),
            ok,
        });
        if self.silent < MAX_SILENT {
            return Ok(ok);
        }
        let mut failure = Failure::refused(
            format!("{MAX_SILENT} requests in a row were not answered"),
            "see whether the server still runs; the other rows were not sent",
        );
        failure.code = code::NO_ANSWER;
        Err(failure)
    }

    /// The answer to a row, made anew each time that the server asks to wait; `None` if it cannot be made.
    async fn ask(&self, row: &Row, endpoint: Endpoint) -> Option<Got> {
        let mut got = Got::Closed;
        let mut closed = 0;
        for _ in 0..MAX_TRIES {
            let words = self.words();
            let jwt = forge::jwt(row, &words, self.claims(&words, endpoint), self.identity)?;
            let request = wire::request(row, &words, endpoint, (&jwt, &self.wanted.scope))?;
            for _ in 0..=usize::from(row.again) {
                let request = request.clone();
                got = wire::send(&self.parts.http, &self.parts.system.limits, request).await;
                if !matches!(got, Got::Answer { .. }) {
                    break;
                }
            }
            match got {
                Got::Later(seconds) => wire::wait(seconds).await,
                // A server may end a connection after the request before (RFC 9112 §9.6): on another one then.
                Got::Closed if closed < MAX_CLOSED => closed += 1,
                _ => break,
            }
        }
        Some(got)
    }

    fn words(&self) -> Words {
        Words {
            now: self.parts.system.clock.now().as_seconds(),
            register: self.server.registration_endpoint.clone(),
            token: self.server.token_endpoint.clone(),
            base: self.server.base_url.clone(),
            iss: self.uri.as_str().to_owned(),
            client: self.client.clone(),
        }
    }

    /// Claims of a good JWT.
    fn claims(&self, words: &Words, endpoint: Endpoint) -> Map<String, Value> {
        let mut jti = [0; 16];
        self.parts.system.rng.fill(&mut jti);
        let (iss, aud) = match endpoint {
            Endpoint::Registration => (&words.iss, &words.register),
            Endpoint::Token => (&words.client, &words.token),
        };
        let mut claims = Map::new();
        for (name, value) in [
            ("iss", json!(iss)),
            ("sub", json!(iss)),
            ("aud", json!(aud)),
            ("iat", json!(words.now)),
            ("exp", json!(words.now.saturating_add(LIFE))),
            ("jti", json!(crypto::hex(&jti))),
        ] {
            claims.insert(name.to_owned(), value);
        }
        let more = match endpoint {
            Endpoint::Registration => vec![
                ("client_name", json!(NAME)),
                ("grant_types", json!(["client_credentials"])),
                ("contacts", json!([self.wanted.contact])),
                ("scope", json!(self.wanted.scope)),
                ("token_endpoint_auth_method", json!("private_key_jwt")),
            ],
            Endpoint::Token => vec![(
                "extensions",
                json!({ "hl7-b2b": {
                    "version": "1",
                    "organization_id": self.wanted.organization,
                    "purpose_of_use": [Purpose::Treatment.uri()],
                } }),
            )],
        };
        claims.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        claims
    }
}

/// A good request.
fn control(status: u16) -> Row {
    Row { id: "good".to_owned(), what: "a good request".to_owned(), status, ..Row::default() }
}

fn words(got: Option<&Got>) -> String {
    got.map_or_else(|| "it cannot be made".to_owned(), Got::words)
}

/// The table.
fn tell(talk: &mut Talk, run: &Run<'_>) {
    let wrong: Vec<&Outcome> = run.done.iter().filter(|one| !one.ok).collect();
    if !wrong.is_empty() {
        talk.status = code::REFUSED;
    }
    talk.fact("registration_endpoint", run.server.registration_endpoint.as_str());
    talk.fact("token_endpoint", run.server.token_endpoint.as_str());
    talk.fact("sent", run.done.len());
    talk.fact("left_out", run.left_out.len());
    talk.fact("not_as_demanded", wrong.len());
    let at = |one: &Outcome| match one.endpoint {
        Endpoint::Registration => "registration",
        Endpoint::Token => "token",
    };
    if talk.ui.json() {
        let rows = run.done.iter().map(|one| {
            json!({ "id": one.id, "what": one.what, "endpoint": at(one), "expected": one.demanded,
                    "got": one.got, "ok": one.ok })
        });
        talk.fact("rows", rows.collect::<Value>());
        let left = run
            .left_out
            .iter()
            .map(|one| json!({ "id": one.id, "what": one.what, "why": one.why }));
        talk.fact("rows_left_out", left.collect::<Value>());
        return;
    }
    let line = |one: &Outcome| {
        let mark = if one.ok { talk.ui.good("ok   ") } else { talk.ui.bad("WRONG") };
        let what = format!("{}: {}", at(one), one.what);
        // Some rows hold what must not reach a terminal.
        let text =
            format!("{:<7} {what:<70} expected {:<36} got {}", one.id, one.demanded, one.got);
        format!("{mark} {}", printable(&text))
    };
    let mut said: Vec<String> = run.done.iter().map(line).collect();
    let mut reasons: Vec<&str> = run.left_out.iter().map(|one| one.why).collect();
    reasons.sort_unstable();
    for group in reasons.chunk_by(|one, two| one == two) {
        let why = group.first().copied().unwrap_or_default();
        said.push(format!("left out {:>3}: {why}", group.len()));
    }
    if !wrong.is_empty() {
        said.push("not as demanded:".to_owned());
        said.extend(wrong.into_iter().map(line));
    }
    talk.after = said.join("\n");
}

//! `ward client doctor`: what is wrong between this client and a server, and what soon will be. Every check is made,
//! whatever the others find; nothing is changed, and no registration is sent.

use std::time::Duration;

use serde_json::json;
use time::PrimitiveDateTime;
use time::macros::format_description;
use ward_client::{ClientError, Discovered, Lists as _, Membership, checks};
use ward_core::Timestamp;
use ward_trust::{Chain, KeyKind};

use super::advice::{advice, list_in_trouble, lists_in_trouble};
use super::parts::Parts;
use super::register::preferred;
use super::state::State;
use super::talk::{Failure, Talk, code, printable};
use super::token::asserted;
use crate::cli_client::ClientDoctor;

/// Servers take statements that were made at most so far in the future (udap.md §8.4).
const SKEW: i64 = 60;
/// A clock that is so far away will soon be too far.
const DRIFT: i64 = 10;
/// Certificates that end within it are to be renewed now.
const SOON: Duration = Duration::from_hours(30 * 24);

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    Warning,
    Bad,
}

impl Health {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

/// What was found out.
struct Finding {
    what: &'static str,
    health: Health,
    text: String,
    way_out: String,
}

/// All findings, in the order in which they were made.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, what: &'static str, text: impl Into<String>) {
        self.add(what, Health::Good, text.into(), "");
    }

    fn bad(&mut self, what: &'static str, text: impl Into<String>, way_out: &str) {
        self.add(what, Health::Bad, text.into(), way_out);
    }

    fn warn(&mut self, what: &'static str, text: impl Into<String>, way_out: &str) {
        self.add(what, Health::Warning, text.into(), way_out);
    }

    fn add(&mut self, what: &'static str, health: Health, text: String, way_out: &str) {
        self.0.push(Finding { what, health, text, way_out: way_out.to_owned() });
    }
}

pub(super) async fn doctor(talk: &mut Talk, wanted: &ClientDoctor) -> Result<(), Failure> {
    let parts = Parts::new(talk, &wanted.server.trust, Some(&wanted.identity))?;
    let state = State::read(&wanted.identity.state)?;
    let memberships = parts.memberships()?;
    let mut findings = Findings::default();
    for member in &memberships {
        own_certificate(&mut findings, &parts, member).await;
    }
    clock(&mut findings, &parts, wanted, &memberships).await;
    let preferred = preferred(&memberships, &state, &wanted.server.base);
    match preferred.discover(&wanted.server.base).await {
        Ok(joined) => {
            talk.checked("discovery", checks::DISCOVERY, None);
            parts.joined(talk, &joined);
            metadata(&mut findings, &parts, &joined.server);
            registration(&mut findings, &parts, wanted, &state, &joined).await;
        }
        Err(stopped) => {
            talk.checked("discovery", checks::DISCOVERY, Some(&stopped.error));
            findings.bad("metadata", stopped.error.to_string(), &advice(&stopped.error, &parts));
        }
    }
    lists(&mut findings, &parts);
    tell(talk, &findings);
    Ok(())
}

/// Dates, names, key and path of the own certificate: what a server will hold it to.
async fn own_certificate(findings: &mut Findings, parts: &Parts, member: &Membership) {
    let identity = member.client.identity();
    let leaf = identity.leaf();
    let now = parts.system.clock.now();
    let until = leaf.not_after();
    let dates =
        format!("in force from {} to {}", leaf.not_before().to_rfc3339(), until.to_rfc3339());
    let renew = "ask the community for a new one, for the same URI";
    if now < leaf.not_before() {
        findings.bad(
            "certificate",
            format!("not yet {dates}"),
            "wait, or set this machine's clock",
        );
    } else if until <= now {
        findings.bad("certificate", format!("no longer {dates}"), renew);
    } else if until <= now.plus(SOON) {
        findings.warn("certificate", format!("ends soon: {dates}"), renew);
    } else {
        findings.good("certificate", dates);
    }
    let (named, uri) = (leaf.san_uris(), member.uri.as_str());
    if named.iter().any(|one| one == uri) {
        findings.good("client uri", format!("{uri} is in the certificate"));
    } else {
        let text = format!("{uri} is not in the certificate, which names {}", named.join(" "));
        findings.bad("client uri", text, "give one of these as client URI");
    }
    // That it is the certificate's, and strong enough, was found out when both were read.
    let key = match leaf.subject_key() {
        KeyKind::Rsa { .. } => "RSA",
        KeyKind::P256 => "P-256",
        KeyKind::P384 => "P-384",
        KeyKind::Other => "other",
    };
    findings.good("key", format!("{key}, the certificate's; signs {}", identity.alg().name()));
    let community = member.client.community();
    match parts.lists.path(leaf, identity.chain(), community).await {
        Ok(chain) => path(findings, &chain, now),
        Err(error) => {
            let way_out = match lists_in_trouble(&parts.lists) {
                empty if empty.is_empty() => {
                    "put the issuing certificates behind your own in the PEM, and give the community's own root"
                        .to_owned()
                }
                lists => lists,
            };
            let text = format!(
                "no valid path to an anchor of {}: {error} ({})",
                community.uri.as_str(),
                error.rule()
            );
            findings.bad("chain", text, &way_out);
        }
    }
}

fn path(findings: &mut Findings, chain: &Chain, now: Timestamp) {
    let text = format!("{} certificates to the anchor, none revoked", chain.certificates.len());
    let above = chain.certificates.iter().skip(1).chain(std::iter::once(&chain.anchor));
    match above.map(ward_trust::Certificate::not_after).min() {
        Some(first) if first <= now.plus(SOON) => {
            let text = format!("{text}; an issuer ends soon, at {}", first.to_rfc3339());
            findings.warn("chain", text, "ask the community for its next issuer and root");
        }
        _ => findings.good("chain", text),
    }
}

/// Whether the server can be reached, and how far the clocks are apart.
async fn clock(
    findings: &mut Findings,
    parts: &Parts,
    wanted: &ClientDoctor,
    memberships: &ward_client::Memberships,
) {
    let Some(member) = memberships.iter().next() else { return };
    let document = match member.client.discovery().fetch(&wanted.server.base).await {
        Ok(document) => document,
        Err(error @ ClientError::Fetch(_)) => {
            findings.bad("server", error.to_string(), &advice(&error, parts));
            return;
        }
        // What it answered is judged with its metadata.
        Err(_) => {
            findings.good("server", "it answers over TLS");
            return;
        }
    };
    findings.good("server", "it answers over TLS");
    let now = parts.system.clock.now().as_seconds();
    match document.date.as_deref().and_then(http_date) {
        None => findings.warn("clock", "the server sends no date to compare with", ""),
        Some(theirs) => {
            let apart = now.saturating_sub(theirs);
            let text = match apart {
                0 => "the same as the server's".to_owned(),
                1.. => format!("{apart} s ahead of the server's"),
                _ => format!("{} s behind the server's", apart.unsigned_abs()),
            };
            let set = "set this machine's clock (NTP), or tell the server's operator";
            match apart.abs() {
                0..=DRIFT => findings.good("clock", text),
                11..=SKEW => findings.warn("clock", text, set),
                _ => {
                    let text = format!("{text}: signed requests will be refused");
                    findings.bad("clock", text, set);
                }
            }
        }
    }
}

/// Unix seconds of an `IMF-fixdate` (RFC 9110 §5.6.7).
fn http_date(text: &str) -> Option<i64> {
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    Some(PrimitiveDateTime::parse(text, form).ok()?.assume_utc().unix_timestamp())
}

fn metadata(findings: &mut Findings, parts: &Parts, server: &Discovered) {
    let soon = parts.system.clock.now().plus(Duration::from_hours(24));
    let leaf = server.chain().leaf();
    let ends = leaf.map_or(server.exp, ward_trust::Certificate::not_after);
    let text = format!(
        "valid until {}, signed by a certificate that ends {}",
        server.exp.to_rfc3339(),
        ends.to_rfc3339()
    );
    if ends <= soon {
        findings.warn("metadata", text, "tell the server's operator to renew its certificate");
    } else {
        findings.good("metadata", text);
    }
    for warning in &server.warnings {
        findings.warn("metadata", *warning, "ask the server's operator whether that is meant");
    }
}

/// Whether there is a registration, and, where an organisation is given, whether it still brings a token.
async fn registration(
    findings: &mut Findings,
    parts: &Parts,
    wanted: &ClientDoctor,
    state: &State,
    joined: &ward_client::Joined,
) {
    let member = &joined.membership;
    let kept = state.find_at(
        &joined.server.base_url,
        &joined.server.registration_endpoint,
        member.client.community().uri.as_str(),
        member.uri.as_str(),
    );
    let Some(kept) = kept else {
        findings.warn("registration", "none is remembered here", "run `ward client register`");
        return;
    };
    let what = format!("client id {}, scope {}", kept.client_id, kept.scope);
    findings.good("registration", what);
    if wanted.context.organization.is_none() {
        return;
    }
    let asserted = match asserted(&wanted.context) {
        Ok(asserted) => asserted,
        Err(failure) => {
            findings.bad("token", failure.text, &failure.advice);
            return;
        }
    };
    let registered = kept.registered(&member.uri);
    let scope = wanted.context.scope.clone().unwrap_or_else(|| registered.scope.clone());
    match member.client.token(&joined.server, &registered, &scope, asserted).await {
        Ok(token) => {
            findings.good("token", format!("issued, until {}", token.expires().to_rfc3339()));
        }
        Err(error) => findings.bad("token", error.to_string(), &advice(&error, parts)),
    }
}

/// Every list that was asked for on the way, of the own certificate and of the server's.
fn lists(findings: &mut Findings, parts: &Parts) {
    for list in parts.lists.status().lists {
        match (list_in_trouble(&list), list.validity) {
            (Some(trouble), _) => {
                findings.bad("list", trouble, "ask the community, or open the way to it");
            }
            (None, Some((_, next))) => {
                let text = format!("{} is good until {}", list.url, next.to_rfc3339());
                findings.good("list", text);
            }
            (None, None) => {}
        }
    }
}

fn tell(talk: &mut Talk, findings: &Findings) {
    if findings.0.iter().any(|one| one.health == Health::Bad) {
        talk.status = code::REFUSED;
    }
    if talk.ui.json() {
        let all = findings.0.iter().map(|one| {
            json!({ "what": one.what, "health": one.health.word(), "text": one.text, "way_out": one.way_out })
        });
        talk.fact("findings", all.collect::<Vec<_>>());
        return;
    }
    let mut lines = Vec::new();
    for one in &findings.0 {
        let word = format!("{:<8}", one.health.word());
        let word = match one.health {
            Health::Good => talk.ui.good(&word),
            Health::Warning => talk.ui.bold(&word),
            Health::Bad => talk.ui.bad(&word),
        };
        lines.push(format!("{word}{}: {}", one.what, printable(&one.text)));
        for way_out in one.way_out.lines() {
            lines.push(format!("        → {}", printable(way_out)));
        }
    }
    talk.after = lines.join("\n");
}

#[cfg(test)]
mod tests {
    use super::http_date;

    #[test]
    fn dates_of_http_are_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        for bad in ["", "yesterday", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37 CET"] {
            assert_eq!(http_date(bad), None, "{bad}");
        }
    }
}

//! What kind of server is behind Ward: reachable, R4, strict, paging under its own base, able to narrow.
//!
//! Only metadata and pages of one Patient are asked for; of these nothing but links and counts is looked at.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, LOCATION};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use serde_json::Value;
use ward_fhir::{Letter, ResourceType, ScopeSet, membership_params};
use ward_net::client::{FetchError, HttpClient};
use ward_net::tls::client_config;

use super::{Findings, Level};
use crate::config::Config;
use crate::config::material::Reach;
use crate::house::System;

const ABOUT: &str = "upstream";

/// An answer: status, `Location`, JSON.
struct Answer {
    status: StatusCode,
    location: Option<String>,
    body: Option<Value>,
}

struct Probe<'a> {
    config: &'a Config,
    http: HttpClient,
    authorization: Option<HeaderValue>,
}

impl Probe<'_> {
    async fn get(&self, target: &str) -> Result<Answer, FetchError> {
        let url = format!("{}{target}", self.config.upstream.base);
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = url.parse().map_err(|_| FetchError::Refused("not a URL"))?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/fhir+json"));
        headers
            .insert(HeaderName::from_static("prefer"), HeaderValue::from_static("handling=strict"));
        if let Some(value) = &self.authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        let limits = &self.config.limits;
        let answer =
            self.http.send(request, limits.upstream_body_bytes, limits.upstream_timeout).await?;
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: answer.status(),
            location: location.map(ToOwned::to_owned),
            body: serde_json::from_slice(answer.body()).ok(),
        })
    }
}

/// Asks the upstream what it is.
pub(super) async fn probe(config: &Config, reach: Reach, system: &System, findings: &mut Findings) {
    let Ok(tls) = client_config(reach.roots.iter().map(Vec::as_slice)) else { return };
    let http = HttpClient::new(reach.egress, tls, system.limits.clone());
    let probe = Probe { config, http, authorization: reach.authorization };
    if config.upstream.base.starts_with("http:") && !config.upstream.allow_private {
        findings.add(
            Level::Warning,
            ABOUT,
            "is spoken to without TLS over a public address",
            "use https, or a private network",
        );
    }
    let Some(statement) = capabilities(&probe, findings).await else { return };
    narrowing(config, &statement, findings);
    strictness(&probe, findings).await;
    paging(&probe, findings).await;
    openness(probe, findings).await;
}

/// Reachable, and what it says of itself. `None`: there is nothing more to ask.
async fn capabilities(probe: &Probe<'_>, findings: &mut Findings) -> Option<Value> {
    let base = &probe.config.upstream.base;
    let answer = match probe.get("/metadata").await {
        Ok(answer) => answer,
        Err(error) => {
            let mend = match &error {
                FetchError::Refused(_) => {
                    "if the server is on your own network, set upstream.allow_private = true"
                }
                FetchError::Connect(why)
                    if why.contains("certificate") || why.contains("Issuer") =>
                {
                    "set upstream.ca to the PEM of the authority that issued its TLS certificate"
                }
                FetchError::Connect(_) => {
                    "start it, and check host, port, firewall and whether it is http or https"
                }
                FetchError::Timeout => "see why it is slow, or raise limits.upstream_timeout",
                FetchError::TooLarge(_) => "raise limits.upstream_body_bytes",
                FetchError::Broken | FetchError::Encoded => {
                    "check that nothing between here and there changes its answers"
                }
            };
            findings.add(Level::Error, ABOUT, format!("{base}/metadata: {error}"), mend);
            return None;
        }
    };
    match answer.status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let what = format!("{base}/metadata wants to know who asks (status {})", answer.status);
            findings.add(
                Level::Error,
                ABOUT,
                what,
                "give Ward an account of its own there, and name it in upstream.authorization_file",
            );
            return None;
        }
        status if status.is_redirection() => {
            let what = format!("{base}/metadata redirects, and Ward does not follow");
            let mend = answer.location.map_or_else(
                || "name its real base in upstream.base".to_owned(),
                |to| format!("it points to {to}: name that server's FHIR base in upstream.base"),
            );
            findings.add(Level::Error, ABOUT, what, mend);
            return None;
        }
        status => {
            let what = format!("{base}/metadata answers with status {status}");
            findings.add(
                Level::Error,
                ABOUT,
                what,
                "upstream.base must be the FHIR base: the part before /metadata or /Patient",
            );
            return None;
        }
    }
    let statement = answer.body.filter(|body| text(body, "resourceType") == "CapabilityStatement");
    let Some(statement) = statement else {
        findings.add(
            Level::Error,
            ABOUT,
            format!("{base}/metadata is no CapabilityStatement in JSON"),
            "upstream.base must be the FHIR base of a FHIR R4 server that speaks JSON",
        );
        return None;
    };
    let software = statement.get("software").unwrap_or(&Value::Null);
    let (name, version) = (text(software, "name"), text(software, "version"));
    let name = if name.is_empty() { "a FHIR server" } else { name };
    findings.ok(ABOUT, format!("{base} answers: {name} {version}").trim_end().to_owned());
    match text(&statement, "fhirVersion") {
        version if version.starts_with("4.0") => findings.ok(ABOUT, format!("FHIR {version} (R4)")),
        version if version.starts_with("4.") => findings.add(
            Level::Error,
            ABOUT,
            format!("speaks FHIR {version} (R4B), whose compartments differ from R4"),
            "name an R4 (4.0.1) base",
        ),
        version if version.starts_with("5.") => findings.add(
            Level::Error,
            ABOUT,
            format!("speaks FHIR {version} (R5), which Ward does not guard yet"),
            "name an R4 (4.0.1) base; many servers offer both",
        ),
        "" => findings.add(
            Level::Error,
            ABOUT,
            "does not say which FHIR version it speaks",
            "name an R4 (4.0.1) base",
        ),
        version => findings.add(
            Level::Error,
            ABOUT,
            format!("speaks FHIR {version}, which Ward does not guard"),
            "name an R4 (4.0.1) base",
        ),
    }
    Some(statement)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Which types it has, and whether Ward can narrow their searches.
fn narrowing(config: &Config, statement: &Value, findings: &mut Findings) {
    let (scopes, _) = ScopeSet::parse(&config.scopes.supported.join(" "));
    let server = list(statement, "rest").iter().find(|rest| text(rest, "mode") == "server");
    let resources: BTreeMap<&str, BTreeSet<&str>> = server
        .map(|rest| list(rest, "resource"))
        .unwrap_or_default()
        .iter()
        .map(|one| {
            let params = list(one, "searchParam").iter().map(|param| text(param, "name"));
            (text(one, "type"), params.collect())
        })
        .collect();
    if resources.is_empty() {
        findings.add(
            Level::Warning,
            ABOUT,
            "its CapabilityStatement names no resource types",
            "nothing to mend if searches work",
        );
        return;
    }
    let mut absent = Vec::new();
    let mut wide = Vec::new();
    for rtype in ResourceType::all() {
        // A wildcard speaks of types that nobody has.
        let named = config
            .scopes
            .supported
            .iter()
            .any(|scope| scope.starts_with(&format!("system/{}.", rtype.name())));
        let Some(params) = resources.get(rtype.name()) else {
            if named {
                absent.push(rtype.name());
            }
            continue;
        };
        if !scopes.allows(rtype, Letter::S) || !rtype.is_patient_member() {
            continue;
        }
        let wanted = match membership_params(rtype) {
            _ if rtype.name() == "Patient" => "_id",
            [one] => one,
            _ => continue,
        };
        if !params.contains(wanted) {
            wide.push(format!("{} by {wanted}", rtype.name()));
        }
    }
    if !absent.is_empty() {
        findings.add(
            Level::Note,
            ABOUT,
            format!("has no {}, though scopes.supported names them", absent.join(", ")),
            "partners get 400 or 404 for these; take them out if that is not meant",
        );
    }
    if wide.is_empty() {
        findings.ok(ABOUT, "searches can be narrowed to a partner's patients");
    } else {
        findings.add(
            Level::Warning,
            ABOUT,
            format!("does not say that it can search {}", wide.join(", ")),
            "switch these search parameters on if it has them; without them Ward reads more than it shows, and such searches are slow",
        );
    }
}

/// Whether a parameter that it does not know is refused.
async fn strictness(probe: &Probe<'_>, findings: &mut Findings) {
    match probe.get("/Patient?ward-check-no-such-parameter=1&_count=1").await {
        Ok(answer) if answer.status.is_client_error() && !matches!(answer.status.as_u16(), 401 | 403 | 404 | 429) => {
            findings.ok(ABOUT, "refuses search parameters that it does not know");
        }
        Ok(answer) if answer.status == StatusCode::OK => findings.add(
            Level::Warning,
            ABOUT,
            "ignores search parameters that it does not know, even under Prefer: handling=strict",
            "make it refuse them if it can (HAPI does, unless an interceptor makes it lenient). Ward judges every record that comes back, so nothing leaves that may not; but a partner's filter can be dropped unseen, and more is read than was asked for",
        ),
        Ok(answer) => findings.add(Level::Error, ABOUT, format!("a search for patients is answered with status {}", answer.status), "let Ward's account search for Patient there"),
        Err(error) => findings.add(Level::Error, ABOUT, format!("a search for patients: {error}"), "see the log of the server"),
    }
}

/// Whether its paging links lead where Ward follows.
async fn paging(probe: &Probe<'_>, findings: &mut Findings) {
    let base = &probe.config.upstream.base;
    let Ok(Answer { status: StatusCode::OK, body: Some(page), .. }) =
        probe.get("/Patient?_count=1").await
    else {
        findings.add(
            Level::Error,
            ABOUT,
            "a search for one patient is not answered with a Bundle",
            "let Ward's account search for Patient there",
        );
        return;
    };
    let next = list(&page, "link").iter().find(|link| text(link, "relation") == "next");
    let Some(next) = next.map(|link| text(link, "url")) else {
        findings.add(
            Level::Note,
            ABOUT,
            "holds fewer than two patients, so its paging could not be looked at",
            "check again when it holds data",
        );
        return;
    };
    let below = next.strip_prefix(base.as_str()).filter(|rest| rest.starts_with(['/', '?']));
    let relative = !next.contains("://") && !next.starts_with('/');
    let target = match below {
        Some(rest) => rest.to_owned(),
        None if relative => format!("/{next}"),
        None => {
            let shown = next.split(['?', '#']).next().unwrap_or_default();
            let what = format!(
                "its paging links begin with {shown}, not with {base}, and Ward follows no link elsewhere: only first pages would be served"
            );
            findings.add(Level::Error, ABOUT, what, format!("tell it that its own address is {base} (HAPI: hapi.fhir.server_address), or write in upstream.base what it calls itself"));
            return;
        }
    };
    match probe.get(&target).await {
        Ok(Answer { status: StatusCode::OK, body: Some(second), .. })
            if text(&second, "resourceType") == "Bundle" =>
        {
            findings.ok(ABOUT, "its paging links work");
        }
        _ => findings.add(
            Level::Error,
            ABOUT,
            "its link to the next page leads to no page",
            "see the log of the server",
        ),
    }
}

/// Whether it gives records to callers who show nothing: then whoever reaches it needs no Ward.
async fn openness(mut probe: Probe<'_>, findings: &mut Findings) {
    let lent = probe.authorization.take().is_some();
    let Ok(answer) = probe.get("/Patient?_count=1").await else { return };
    let base = &probe.config.upstream.base;
    let records = answer.body.as_ref().is_some_and(|page| !list(page, "entry").is_empty());
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if lent => {
            findings.ok(ABOUT, "gives nothing to callers without credentials");
        }
        StatusCode::OK if records && is_on_this_machine(base).await => findings.add(
            Level::Note,
            ABOUT,
            "gives records to callers without credentials; Ward guards only what comes through Ward",
            "see that it listens on loopback only, not on the network",
        ),
        StatusCode::OK if records => {
            let what = format!("gives records to callers without credentials: whoever can reach {base} needs no Ward");
            let mend = if lent {
                "have it refuse callers without the credentials of upstream.authorization_file, or let nothing but Ward's machine reach it (firewall)"
            } else {
                "let nothing but Ward's machine reach it: a firewall, or the address that it listens on. Or have it ask for credentials, and name Ward's in upstream.authorization_file"
            };
            findings.add(Level::Warning, ABOUT, what, mend);
        }
        _ => {}
    }
}

/// Whether a base leads to loopback addresses only.
async fn is_on_this_machine(base: &str) -> bool {
    let uri = base.parse::<http::Uri>().ok();
    let Some(host) = uri.as_ref().and_then(http::Uri::host) else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let Ok(found) = tokio::net::lookup_host((host, 0)).await else { return false };
    let mut found = found.peekable();
    found.peek().is_some() && found.all(|address| address.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_is_this_machine() {
        for (base, here) in [
            ("http://127.0.0.1:8080/fhir", true),
            ("http://[::1]:8080/fhir", true),
            ("https://127.1.2.3/fhir", true),
            ("http://0.0.0.0:8080/fhir", false),
            ("http://10.0.0.7:8080/fhir", false),
            ("http://[2001:db8::1]/fhir", false),
            ("nothing", false),
        ] {
            assert_eq!(is_on_this_machine(base).await, here, "{base}");
        }
    }
}

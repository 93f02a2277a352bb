//! Whether what the file says makes sense, as far as the file alone can tell. All faults at once.

use std::collections::BTreeMap;
use std::path::Path;

use http::Uri;
use ward_core::{ClientId, ClientUri, CommunityUri};
use ward_fhir::ScopeSet;
use ward_policy::{ANONYMOUS, EVERYBODY_ELSE};

use super::walk::nearest;
use super::{Config, Mode, Problem};

/// Everything that makes no sense.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    observe(config, &mut found);
    origin(config, &mut found);
    upstream(config, &mut found);
    communities(config, &mut found);
    let (scopes, refused) = ScopeSet::parse(&config.scopes.supported.join(" "));
    for token in &refused {
        let what = format!("holds \"{token}\", which is no system scope");
        found.push(config.problem(
            "scopes.supported",
            what,
            "write as \"system/Patient.rs\": a FHIR type or *, and letters of cruds in this order",
        ));
    }
    if scopes.is_empty() {
        found.push(config.problem(
            "scopes.supported",
            "grants nothing",
            "name at least one scope, as \"system/Patient.rs\"",
        ));
    }
    let key = "keys";
    match (&config.keys.key_file, &config.keys.passphrase_file) {
        (Some(_), None) | (None, Some(_)) => {}
        (None, None) => found.push(config.problem(
            key,
            "names nothing that opens the vault",
            "set key_file or passphrase_file",
        )),
        (Some(_), Some(_)) => found.push(config.problem(
            key,
            "names both a key file and a passphrase file",
            "keep one of the two",
        )),
    }
    if config.admin.address == config.listen.address {
        found.push(config.problem(
            "admin.address",
            "is where partners are served",
            "choose another port, on loopback",
        ));
    }
    let limits = &config.limits;
    if limits.page_default > limits.page_max {
        found.push(config.problem(
            "limits.page_default",
            "is larger than page_max",
            "lower it, or raise page_max",
        ));
    }
    if limits.crl_timeout < limits.connect_timeout {
        found.push(config.problem(
            "limits.crl_timeout",
            "is shorter than connect_timeout",
            "raise it",
        ));
    }
    found.sort_by_key(|problem| problem.line);
    found
}

fn observe(config: &Config, found: &mut Vec<Problem>) {
    let known = ward_gateway::rules();
    for rule in config.observe.rules.keys() {
        if known.contains(&rule.as_str()) {
            continue;
        }
        let upper = rule.to_ascii_uppercase();
        let near = known.iter().find(|one| one.to_ascii_uppercase() == upper).copied();
        let way = match near.or_else(|| nearest(rule, known.iter().copied())) {
            Some(right) => format!("did you mean `{right}`?"),
            None => {
                "`ward report would-refuse` names the rules; docs/observe.md lists them".to_owned()
            }
        };
        found.push(config.problem(
            &format!("observe.rules.{rule}"),
            "is no rule that Ward knows",
            way,
        ));
    }
    for client in config.observe.clients.keys() {
        let known = [ANONYMOUS, EVERYBODY_ELSE].contains(&client.as_str())
            || ClientId::parse(client).is_ok()
            || ClientUri::parse(client).is_ok();
        if !known {
            let way = match nearest(client, [ANONYMOUS]) {
                Some(right) => format!("did you mean \"{right}\"?"),
                None => "write the client's URI or id as `ward report would-refuse` shows it, \"anonymous\" or \"*\"".to_owned(),
            };
            let key = format!("observe.clients.{client}");
            found.push(config.problem(&key, "is neither a client's URI nor its id", way));
        }
    }
    // One word says whether anything may pass that a rule refuses.
    let observes =
        |modes: &BTreeMap<String, Mode>| modes.values().any(|mode| *mode == Mode::Observe);
    for (key, modes) in
        [("observe.clients", &config.observe.clients), ("observe.rules", &config.observe.rules)]
    {
        if config.mode == Mode::Enforce && observes(modes) {
            found.push(config.problem(
                key,
                "asks to observe while mode is enforce, which enforces everything",
                "take it out; or write mode = \"observe\", \"*\" = \"enforce\" for all others, and only this client as \"observe\"",
            ));
        }
    }
}

fn origin(config: &Config, found: &mut Vec<Problem>) {
    let origin = &config.listen.origin;
    let mut refuse =
        |what: &str, way: String| found.push(config.problem("listen.origin", what, way));
    let Some(rest) = origin.strip_prefix("https://") else {
        return refuse(
            "does not begin with https://",
            "write https:// and the name that partners use".to_owned(),
        );
    };
    if let Some(bare) = rest.strip_suffix('/').filter(|bare| !bare.contains('/')) {
        return refuse("ends with a slash", format!("write \"https://{bare}\""));
    }
    if rest.contains(['/', '?', '#', '@', '%', ' ']) {
        return refuse(
            "is more than a scheme, a host and a port",
            "write https://host or https://host:port".to_owned(),
        );
    }
    if rest.chars().any(|c| c.is_ascii_uppercase()) {
        return refuse(
            "has capital letters, and URLs are compared letter by letter",
            format!("write \"https://{}\"", rest.to_ascii_lowercase()),
        );
    }
    if rest.ends_with(":443") {
        return refuse(
            "names the port that https has anyway",
            format!("write \"https://{}\"", rest.trim_end_matches(":443")),
        );
    }
    let parsed = origin.parse::<Uri>().ok();
    let good = parsed.as_ref().and_then(Uri::authority).is_some_and(|authority| {
        !authority.host().is_empty()
            && (authority.as_str() == authority.host()
                || authority.port_u16().is_some_and(|port| port > 0))
    });
    if !good {
        refuse("is no URL with a host", "write https://host or https://host:port".to_owned());
    }
}

fn upstream(config: &Config, found: &mut Vec<Problem>) {
    const KEY: &str = "upstream.base";
    let base = &config.upstream.base;
    let uri = base.parse::<Uri>().ok();
    let authority = uri.as_ref().and_then(Uri::authority);
    let scheme = uri.as_ref().and_then(Uri::scheme_str);
    let Some(authority) = authority.filter(|_| matches!(scheme, Some("http" | "https"))) else {
        return found.push(config.problem(
            KEY,
            "is no http or https URL",
            "write as \"http://10.0.0.7:8080/fhir\"",
        ));
    };
    if authority.as_str().contains('@') {
        found.push(config.problem(
            KEY,
            "holds a user name or password",
            "take them out; upstream.authorization_file is for secrets",
        ));
    }
    if base.contains(['?', '#']) {
        found.push(config.problem(KEY, "has a query or a fragment", "write the FHIR base alone"));
    }
    if base.ends_with('/') {
        found.push(config.problem(
            KEY,
            "ends with a slash",
            format!("write \"{}\"", base.trim_end_matches('/')),
        ));
    }
    if config.fhir_base() == *base {
        found.push(config.problem(KEY, "is Ward itself", "name the server behind Ward"));
    }
    if config.upstream.ca.is_some() && scheme == Some("http") {
        found.push(config.problem(
            "upstream.ca",
            "is set, but the upstream is spoken to without TLS",
            "write https:// in upstream.base, or take it out",
        ));
    }
}

fn communities(config: &Config, found: &mut Vec<Problem>) {
    if config.community.is_empty() {
        found.push(config.problem(
            "community",
            "is empty",
            "add a [[community]]: without one nobody can register",
        ));
    }
    for (at, one) in config.community.iter().enumerate() {
        let key = |name: &str| format!("community[{at}].{name}");
        if CommunityUri::parse(&one.uri).is_err() {
            found.push(config.problem(
                &key("uri"),
                "is no URI",
                "write it exactly as the community does, as \"urn:oid:2.16…\" or \"https://…\"",
            ));
        }
        if config.community.iter().take(at).any(|earlier| earlier.uri == one.uri) {
            found.push(config.problem(
                &key("uri"),
                "stands twice",
                "put everything of a community into one table",
            ));
        }
        if one.purposes.is_empty() {
            found.push(config.problem(
                &key("purposes"),
                "is empty, so nobody could get a token",
                "name a purpose, as \"TREAT\"",
            ));
        }
        if one.organization_schemes.is_empty() {
            found.push(config.problem(
                &key("organization_schemes"),
                "is empty, so no organisation could be named",
                "leave it out for the default",
            ));
        }
        if one.key == config.listen.key || one.certificate == config.listen.certificate {
            found.push(config.problem(&key("certificate"), "is the TLS certificate", "the community's certificate and the TLS certificate are different things (TLS-02): name the one that the community issued"));
        }
        if let Some(crate::bundle_pull::Source::Url(url)) = one.bundle_source()
            && authority(&url).is_none()
        {
            found.push(config.problem(
                &key("bundle"),
                "is no URL",
                "write it as the community does, as \"https://community.example/bundle.jwt\"",
            ));
        }
        super::context::problems(config, at, one, found);
        if let Some(from) = &one.signals_from
            && CommunityUri::parse(from).is_err()
        {
            found.push(config.problem(
                &key("signals_from"),
                "is no absolute URI",
                "leave it out, or write the operator's URI as its certificate has it",
            ));
        }
        super::certification::problems(config, at, &one.certification, found);
        for target in &one.allow_private {
            if !is_host_and_port(target) {
                found.push(config.problem(
                    &key("allow_private"),
                    format!("holds \"{target}\", which is no host:port"),
                    "write as \"crl.internal:80\"",
                ));
            }
        }
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// `host:port` of an http(s) URL, with the port that its scheme has anyway.
pub(crate) fn authority(url: &str) -> Option<String> {
    let uri = url.parse::<Uri>().ok()?;
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    Some(format!("{}:{port}", uri.host()?))
}

/// Whether a file can be read by accounts that are neither its owner nor its group.
pub(crate) fn is_open_to_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o007 != 0)
}

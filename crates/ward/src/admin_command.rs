//! `ward admin`: sends one command to the admin listener and says what came of it.
//!
//! Keys are read from and written to files of their owner only, never given on the command line, where
//! others on the machine could see them. Nothing but the given address is called.

use std::io::{BufRead as _, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Uri};
use serde_json::{Value, json};
use ward_core::{Limits, Purpose, Rng, Secret, SystemRng, Timestamp};
use ward_net::{Egress, HttpClient};

use crate::cli_admin::{
    Act, Admin, Approvals, Clients, Incidents, Lists, Operators, Place, Roster,
};
use crate::ui::{self, Ui};

/// Why a command was not given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// What was typed cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The admin listener could not be asked.
    #[error("{url}: {why}; see that `ward serve` runs and that --url is its [admin] address")]
    Unreachable { url: String, why: String },
    /// It said no.
    #[error("{0}")]
    Refused(String),
}

pub(crate) fn usage(text: impl Into<String>) -> AskError {
    AskError::Usage(text.into())
}

/// Runs `ward admin`.
pub(crate) async fn run(command: &Admin) -> ExitCode {
    let ui = Ui::new(command.place.json);
    match ask(command, ui).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui::error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn ask(command: &Admin, ui: Ui) -> Result<(), AskError> {
    let place = &command.place;
    let (word, fields) = request_of(&command.act)?;
    let key = if word == "bootstrap" { None } else { Some(read_key(place)?) };
    if word == "bootstrap" {
        let out = place.key_file.as_deref().ok_or_else(|| {
            usage("say where your key is to be kept: --key-file FILE (a new file)")
        })?;
        if out.exists() {
            return Err(usage(format!("{} exists; name a new file", out.display())));
        }
    }
    let mut answer = send(place, word, key.as_ref(), &fields).await?;
    if matches!(command.act, Act::Clients(Clients::List)) {
        all_clients(place, key.as_ref(), &mut answer).await?;
    }
    let out = match &command.act {
        Act::Bootstrap { .. } => place.key_file.as_deref(),
        Act::Operators(Operators::Add { out, .. }) => out.as_deref(),
        _ => None,
    };
    let answer = keep_key(answer, out)?;
    if ui.json() {
        ui.line(&answer.to_string());
    } else {
        for line in lines(&answer) {
            ui.line(&line);
        }
    }
    Ok(())
}

/// The clients come in pages, each after the last one of the page before; to the end.
async fn all_clients(
    place: &Place,
    key: Option<&Secret<String>>,
    answer: &mut Value,
) -> Result<(), AskError> {
    let Some(clients) = answer.get_mut("clients").and_then(Value::as_array_mut) else {
        return Ok(());
    };
    while let Some(last) = clients.last().and_then(|one| one.get("client")).cloned() {
        let next = send(place, "list-clients", key, &json!({ "after": last })).await?;
        match next.get("clients").and_then(Value::as_array) {
            Some(page) if !page.is_empty() => clients.extend(page.iter().cloned()),
            _ => break,
        }
    }
    Ok(())
}

/// The command's word and fields.
fn request_of(act: &Act) -> Result<(&'static str, Value), AskError> {
    Ok(match act {
        Act::Bootstrap { name } => {
            let mut code = String::new();
            ui::notice("type the code that `ward serve` printed, then Enter");
            let read = std::io::stdin().lock().take(1024).read_line(&mut code);
            read.map_err(|error| usage(format!("the code could not be read: {error}")))?;
            ("bootstrap", json!({ "code": code.trim(), "name": name }))
        }
        Act::Whoami => ("whoami", json!({})),
        Act::Operators(Operators::List) => ("list-operators", json!({})),
        Act::Operators(Operators::Add { name, role, .. }) => {
            ("add-operator", json!({ "name": name, "role": role }))
        }
        Act::Operators(Operators::Remove { name }) => ("remove-operator", json!({ "name": name })),
        Act::Revoke { subject, what_if: true, .. } => ("what-if", json!({ "subject": subject })),
        Act::Revoke { subject, reason, incident, .. } => {
            ("revoke", json!({ "subject": subject, "reason": reason, "incident": incident }))
        }
        Act::Roster(Roster::Import { organization, member, file }) => {
            let members: Vec<Value> = member.chunks(2).map(|pair| json!(pair)).collect();
            let text = std::fs::read_to_string(file)
                .map_err(|error| usage(format!("{}: {error}", file.display())))?;
            let rows = rows(&text, file)?;
            let fields = json!({ "organization": organization, "members": members, "rows": rows });
            ("import-roster", fields)
        }
        Act::Backup { to, backup_key, passphrase_file } => (
            "backup",
            json!({ "to": to, "key_file": backup_key, "passphrase_file": passphrase_file }),
        ),
        Act::Reload => ("reload", json!({})),
        Act::HoldClient { client, reason, incident } => {
            ("hold-client", json!({ "client": client, "reason": reason, "incident": incident }))
        }
        Act::ReleaseClient { client, reason } => {
            ("release-client", json!({ "client": client, "reason": reason }))
        }
        Act::Lists(Lists::Refresh) => ("refresh-lists", json!({})),
        Act::Clients(Clients::List) => ("list-clients", json!({})),
        Act::Incidents(Incidents::List) => ("list-incidents", json!({})),
        Act::Approvals(Approvals::List) => ("list-approvals", json!({})),
        Act::Approve { approval } => ("approve", json!({ "approval": approval })),
        Act::Reject { approval } => ("reject", json!({ "approval": approval })),
    })
}

/// The rows of a roster file. Errors name the line, not what stands there.
fn rows(text: &str, file: &Path) -> Result<Vec<Value>, AskError> {
    let mut rows = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let bad = |why: &str| usage(format!("{}:{}: {why}", file.display(), at + 1));
        let (patient, purposes) = line
            .split_once(char::is_whitespace)
            .ok_or_else(|| bad("a line is a patient's id, a space and purposes"))?;
        let purposes: Vec<&str> = purposes.split(',').map(str::trim).collect();
        for purpose in &purposes {
            let known: Result<Purpose, _> = serde_json::from_value(json!(purpose));
            known.map_err(|_| {
                bad("a purpose is TREAT, HPAYMT, HOPERAT, PUBHLTH, HRESCH, PATRQT, ELIGDTRM or SYSDEV")
            })?;
        }
        rows.push(json!({ "patient": patient, "purposes": purposes }));
    }
    Ok(rows)
}

pub(crate) fn read_key(place: &Place) -> Result<Secret<String>, AskError> {
    let path =
        place.key_file.as_deref().ok_or_else(|| usage("say who you are: --key-file FILE"))?;
    let bad = |error: std::io::Error| {
        let way = "name your operator key: `ward admin bootstrap` made the first, `ward admin operators add` the others";
        usage(format!("--key-file {}: {error}; {way}", path.display()))
    };
    let mode = std::fs::metadata(path).map_err(bad)?.mode();
    if mode & 0o077 != 0 {
        let path = path.display();
        return Err(usage(format!("{path} can be read by others; run: chmod 600 {path}")));
    }
    let text = Secret::new(std::fs::read_to_string(path).map_err(bad)?);
    Ok(Secret::new(text.expose().trim().to_owned()))
}

pub(crate) async fn send(
    place: &Place,
    word: &str,
    key: Option<&Secret<String>>,
    fields: &Value,
) -> Result<Value, AskError> {
    let url = format!("{}/admin/v1/{word}", place.url.trim_end_matches('/'));
    let uri: Uri = url.parse().map_err(|_| usage(format!("{url} is not a URL")))?;
    let https = uri.scheme_str() == Some("https");
    let host = uri.host().ok_or_else(|| usage(format!("{url} has no host")))?;
    let loopback = host == "localhost"
        || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    if !https && !loopback {
        return Err(usage("a key goes over https, or over http to this machine only"));
    }
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    let roots = match &place.ca {
        Some(path) => certificates(path)?,
        None => Vec::new(),
    };
    let tls = ward_net::tls::client_config(roots.iter().map(Vec::as_slice))
        .map_err(|error| usage(error.to_string()))?;
    let limits = Arc::new(Limits::default());
    let egress = Egress::allowing([format!("{host}:{port}")]);
    let client = HttpClient::new(egress, tls, limits.clone());
    let mut request = Request::post(uri).header(CONTENT_TYPE, "application/json");
    if let Some(key) = key {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
            .map_err(|_| usage("the key file does not hold a key"))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let request = request
        .body(Bytes::from(fields.to_string()))
        .map_err(|_| usage(format!("{url} is not a URL")))?;
    let unreachable = |why: String| AskError::Unreachable { url: place.url.clone(), why };
    let answer = client
        .send(request, limits.upstream_body_bytes, std::time::Duration::from_mins(2))
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    let body: Value = serde_json::from_slice(answer.body())
        .map_err(|_| unreachable(format!("answered {} without JSON", answer.status())))?;
    if answer.status().is_success() {
        return Ok(body);
    }
    let message = body.get("message").and_then(Value::as_str).unwrap_or("refused");
    Err(AskError::Refused(format!("{message} ({})", answer.status().as_u16())))
}

/// The certificates of a PEM file, DER.
pub(crate) fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, AskError> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let bad = |why: String| usage(format!("{}: {why}", path.display()));
    let found = CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))?;
    found.map(|one| one.map(|der| der.to_vec()).map_err(|error| bad(error.to_string()))).collect()
}

/// Takes the key out of the answer into its file; without a file it stays, to be printed once.
fn keep_key(mut answer: Value, out: Option<&Path>) -> Result<Value, AskError> {
    let Some(out) = out else { return Ok(answer) };
    let Some(key) = answer.pointer_mut("/operator-added/key").map(Value::take) else {
        return Ok(answer);
    };
    let key = key.as_str().unwrap_or_default().to_owned() + "\n";
    let rng: &dyn Rng = &SystemRng;
    if let Err(error) = crate::private::write(out, key.as_bytes(), rng) {
        // The key is shown nowhere else; without this it would be lost, and with it the first operator.
        ui::error(&format!("{}: {error}; your key, keep it safe: {}", out.display(), key.trim()));
        return Err(usage("the key was not written"));
    }
    if let Some(place) = answer.pointer_mut("/operator-added/key") {
        *place = json!(format!("in {}", out.display()));
    }
    Ok(answer)
}

/// An answer for a person: a line a fact, a line an item of a list.
fn lines(answer: &Value) -> Vec<String> {
    let Value::Object(members) = answer else { return vec![plain(answer)] };
    let mut lines = Vec::new();
    for (name, value) in members {
        match value {
            Value::Array(items) if items.is_empty() => lines.push(format!("{name}: none")),
            Value::Array(items) => {
                lines.push(format!("{name}:"));
                lines.extend(items.iter().map(|item| format!("  {}", plain(item))));
            }
            Value::Object(_) => {
                lines.push(format!("{name}: {}", plain(value)));
                if name == "waits-for-approval"
                    && let Some(id) = value.get("approval").and_then(Value::as_str)
                {
                    lines.push(format!(
                        "nothing is done yet; another security officer runs: ward admin approve {id}"
                    ));
                }
            }
            _ => lines.push(format!("{name}: {}", plain(value))),
        }
    }
    lines
}

/// A moment as people write it; anything else as it is.
fn time(name: &str, value: &Value) -> String {
    const MOMENTS: [&str; 7] =
        ["at", "created", "expires", "opened", "registered", "requested", "updated"];
    match value.as_i64() {
        Some(millis) if MOMENTS.contains(&name) => Timestamp::from_millis(millis).to_rfc3339(),
        _ => plain(value),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(members) => {
            let shown = members.iter().filter(|(_, value)| !value.is_null());
            shown
                .map(|(name, value)| format!("{name}={}", time(name, value)))
                .collect::<Vec<_>>()
                .join("  ")
        }
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_as_people_write_them() {
        let shown =
            lines(&json!({ "clients": [{ "name": "a", "registered": 1_795_319_642_148_i64 }] }));
        assert_eq!(shown, ["clients:", "  name=a  registered=2026-11-22T03:54:02.148Z"]);
        assert_eq!(lines(&json!({ "bytes": 7 })), ["bytes: 7"]);
    }

    #[test]
    fn a_roster_file_is_read_or_the_line_is_named() {
        let file = Path::new("roster.txt");
        let good = rows("# ours\n\np1 TREAT\np2\tTREAT, HPAYMT # twice\n", file).unwrap();
        assert_eq!(good[1], json!({ "patient": "p2", "purposes": ["TREAT", "HPAYMT"] }));
        for bad in ["p1 TREAT\np2", "p1 TREAT\nsecret-name TREATMENT"] {
            let error = rows(bad, file).unwrap_err().to_string();
            assert!(error.contains("roster.txt:2"), "{error}");
            assert!(!error.contains("secret-name"), "{error}");
        }
    }
}

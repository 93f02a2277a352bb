//! A passport for a person: a line a fact, indented under what it belongs to. What partners wrote comes out without
//! control characters, so that no name can draw on the reader's terminal.

use std::collections::BTreeMap;

use serde_json::Value;
use ward_core::Timestamp;

/// The answer as lines.
pub(super) fn lines(answer: &Value) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(passport) = answer.get("passport") {
        overview(passport, &mut out);
    } else if let Some(ends) = answer.get("would-end") {
        for one in items(ends) {
            would_end(one, &mut out);
        }
    } else if let Some(lapses) = answer.get("expiring") {
        expiring(lapses, &mut out);
    }
    out
}

/// The text of a member, harmless.
fn text(value: &Value, name: &str) -> String {
    let shown = match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "none".to_owned(),
        Some(other) => other.to_string(),
    };
    harmless(&shown)
}

fn harmless(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

fn time(value: &Value, name: &str) -> Option<String> {
    let millis = value.get(name)?.as_i64()?;
    Some(Timestamp::from_millis(millis).to_rfc3339())
}

fn moment(value: &Value, name: &str) -> String {
    time(value, name).unwrap_or_else(|| "none".to_owned())
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).map_or(&[], items)
}

/// A list of texts with commas, or `none`.
fn joined(value: &Value, name: &str) -> String {
    let all: Vec<String> =
        list(value, name).iter().filter_map(Value::as_str).map(harmless).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn count(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn overview(passport: &Value, out: &mut Vec<String>) {
    let about = match passport.get("entity").and_then(Value::as_str) {
        Some(entity) => harmless(entity),
        None => "all".to_owned(),
    };
    out.push(format!("passport of {about}, {}", moment(passport, "at")));
    out.push(format!(
        "{} registrations, {} live grants",
        count(passport, "registrations"),
        count(passport, "live_grants")
    ));
    for community in list(passport, "communities") {
        out.push(String::new());
        out.push(format!("community {}", text(community, "community")));
        if let Some(until) = time(community, "trusted_until") {
            out.push(format!("  trusted until {until} (its bundle)"));
        }
        if list(community, "certifications").is_empty() {
            out.push("  certifications: none".to_owned());
        }
        for one in list(community, "certifications") {
            supported(one, out);
        }
        if let Some(ours) = community.get("ours").filter(|ours| !ours.is_null()) {
            certificate(ours, "  ", out);
        }
        for one in list(community, "issuers").iter().chain(list(community, "anchors")) {
            certificate(one, "  ", out);
        }
    }
    for one in list(passport, "clients") {
        out.push(String::new());
        client(one, out);
    }
    if passport.get("more").and_then(Value::as_bool) == Some(true) {
        out.push(String::new());
        out.push("there is more than is shown; name an ENTITY to see it".to_owned());
    }
}

fn client(one: &Value, out: &mut Vec<String>) {
    out.push(format!("client {} ({})", text(one, "uri"), text(one, "name")));
    out.push(format!("  id {} in {}", text(one, "client"), text(one, "community")));
    match one.get("refused").and_then(Value::as_str) {
        Some(why) => out.push(format!("  LET IN NO MORE: {}", harmless(why))),
        None => out.push(format!("  let in until {}", moment(one, "until"))),
    }
    out.push(format!("  organisations: {}", joined(one, "organizations")));
    if list(one, "certifications").is_empty() {
        out.push("  certifications: none".to_owned());
    }
    for shown in list(one, "certifications") {
        certification(shown, out);
    }
    out.push(format!("  contacts: {}", joined(one, "contacts")));
    out.push(format!(
        "  registered {}, changed {}, for {}",
        moment(one, "registered"),
        moment(one, "updated"),
        text(one, "scopes")
    ));
    for path in list(one, "paths") {
        let which = if path.get("registered").and_then(Value::as_bool) == Some(true) {
            "registered with"
        } else {
            "renewed to"
        };
        out.push(format!("  {which}, until {}", moment(path, "until")));
        if let Some(why) = path.get("broken").and_then(Value::as_str) {
            out.push(format!("    no path to an anchor: {}", harmless(why)));
        }
        for one in list(path, "certificates") {
            certificate(one, "    ", out);
        }
    }
    out.push(format!("  live grants: {}", count(one, "live_grants")));
    for grant in list(one, "grants") {
        out.push(format!(
            "    {} for {} ({}) until {}: {}",
            text(grant, "grant"),
            text(grant, "organization"),
            joined(grant, "purposes"),
            moment(grant, "expires"),
            text(grant, "scopes")
        ));
    }
}

/// What clients may show, or must.
fn supported(one: &Value, out: &mut Vec<String>) {
    let is = |name: &str| one.get(name).and_then(Value::as_bool) == Some(true);
    let need = if is("required") { "required" } else { "optional" };
    let by = if is("declared") {
        "the client itself".to_owned()
    } else if list(one, "certifiers").is_empty() {
        "all under its certifiers' anchors".to_owned()
    } else {
        joined(one, "certifiers")
    };
    let unlocks = one.get("unlocks").and_then(Value::as_str).filter(|scopes| !scopes.is_empty());
    let unlocks = unlocks.map(|scopes| format!(", unlocks {}", harmless(scopes)));
    out.push(format!(
        "  certification {} ({need}) by {by}{}",
        text(one, "uri"),
        unlocks.unwrap_or_default()
    ));
}

/// What a client showed.
fn certification(one: &Value, out: &mut Vec<String>) {
    let void = one.get("void").and_then(Value::as_str);
    let void = void.map(|why| format!("  VOID: {}", harmless(why))).unwrap_or_default();
    out.push(format!(
        "  certification {} by {}, until {}{void}",
        text(one, "name"),
        text(one, "certifier"),
        moment(one, "until")
    ));
    out.push(format!("    URI {}", joined(one, "uris")));
    out.push(format!("    certification:{}", text(one, "id")));
}

fn certificate(one: &Value, indent: &str, out: &mut Vec<String>) {
    let ended = match one.get("revoked").and_then(Value::as_str) {
        Some("here") => "  REVOKED",
        Some(_) => "  REVOKED by its issuer",
        None => "",
    };
    out.push(format!("{indent}{} {}{ended}", text(one, "role"), text(one, "subject")));
    if !list(one, "uris").is_empty() {
        out.push(format!("{indent}  URI {}", joined(one, "uris")));
    }
    out.push(format!("{indent}  SHA-256 {}", text(one, "thumbprint")));
    out.push(format!(
        "{indent}  serial {}, valid {} to {}",
        text(one, "serial"),
        moment(one, "not_before"),
        moment(one, "not_after")
    ));
    for check in list(one, "checks") {
        let said = if check.get("revoked").and_then(Value::as_bool) == Some(true) {
            "REVOKED"
        } else if check.get("this_update").is_some_and(|made| !made.is_null()) {
            "good"
        } else {
            "nothing at hand"
        };
        let number = match check.get("number").and_then(Value::as_str) {
            Some(number) => format!(" number {}", harmless(number)),
            None => String::new(),
        };
        out.push(format!(
            "{indent}  {said} by {}{number} of {}, next {}, fetched {} from {}",
            text(check, "by"),
            moment(check, "this_update"),
            moment(check, "next_update"),
            moment(check, "fetched"),
            text(check, "url")
        ));
        if let Some(why) = check.get("failure").and_then(Value::as_str) {
            out.push(format!("{indent}    last fetch failed: {}", harmless(why)));
        }
    }
}

fn would_end(ends: &Value, out: &mut Vec<String>) {
    out.push("if this certificate were revoked (nothing is changed):".to_owned());
    let Some(one) = ends.get("certificate") else { return };
    certificate(one, "  ", out);
    for (name, what) in [
        ("communities", "  every member below it would be refused in"),
        ("ours", "  partners would refuse this Ward in"),
    ] {
        if !list(ends, name).is_empty() {
            out.push(format!("{what} {}", joined(ends, name)));
        }
    }
    out.push(format!(
        "  {} registrations would get no token, {} live grants would end with their tokens \
         (the last would have lived until {})",
        count(ends, "registrations"),
        count(ends, "live_grants"),
        moment(ends, "last_token_ends")
    ));
    for client in list(ends, "clients") {
        let registration = client.get("registration").and_then(Value::as_bool) == Some(true);
        out.push(format!(
            "    {} ({}): {}{} grants; tell {}",
            text(client, "uri"),
            text(client, "client"),
            if registration { "registration, " } else { "" },
            list(client, "grants").len(),
            joined(client, "contacts")
        ));
    }
    out.push(format!(
        "  to do it: ward admin revoke certificate:{} --reason TEXT",
        text(one, "thumbprint")
    ));
}

fn expiring(lapses: &Value, out: &mut Vec<String>) {
    out.push(format!("what ends before {}", moment(lapses, "before")));
    let mut mail: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for lapse in list(lapses, "lapses") {
        let over = lapse.get("over").and_then(Value::as_bool) == Some(true);
        let line = format!(
            "{} {} {} {}",
            text(lapse, "what"),
            text(lapse, "whose"),
            if over { "ENDED" } else { "ends" },
            moment(lapse, "until")
        );
        let note = lapse.get("note").and_then(Value::as_str).map(harmless);
        out.push(format!("  {line}{}", note.map(|note| format!(" ({note})")).unwrap_or_default()));
        for contact in list(lapse, "contacts").iter().filter_map(Value::as_str) {
            if contact.starts_with("mailto:") {
                mail.entry(harmless(contact)).or_default().push(line.clone());
            }
        }
    }
    if list(lapses, "lapses").is_empty() {
        out.push("  nothing".to_owned());
    }
    if lapses.get("more").and_then(Value::as_bool) == Some(true) {
        out.push("  and more; ask for a shorter time".to_owned());
    }
    if !mail.is_empty() {
        out.push(String::new());
        out.push("whom to write to (Ward sends no mail itself):".to_owned());
        for (contact, about) in mail {
            out.push(format!("  {contact}  {}", about.join("; ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_partners_wrote_cannot_draw_on_the_terminal() {
        let answer = json!({ "passport": { "clients": [{ "name": "a\u{1b}[31m\nb" }] } });
        let shown = lines(&answer).join("\n");
        assert!(shown.contains("(a[31mb)") && !shown.contains('\u{1b}'), "{shown}");
    }

    #[test]
    fn whom_to_write_to_is_named_once_with_all_that_ends() {
        let lapse = |whose: &str| {
            json!({ "what": "client-certificate", "whose": whose, "until": 1_800_000_000_000_i64,
                    "over": false, "contacts": ["mailto:ops@partner.example", "https://x.example"] })
        };
        let shown = lines(&json!({ "expiring": { "lapses": [lapse("a"), lapse("b")] } }));
        let mail: Vec<_> =
            shown.iter().filter(|line| line.trim_start().starts_with("mailto:")).collect();
        assert_eq!(mail.len(), 1, "{shown:?}");
        assert!(mail[0].contains(" a ends ") && mail[0].contains(" b ends "), "{mail:?}");
        assert!(mail[0].contains("2027-01-15"), "{mail:?}");
    }
}

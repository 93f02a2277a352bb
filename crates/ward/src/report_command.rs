//! `ward report`: what the log says, for the people who decide. Reads the log files and the vault's keys; runs
//! beside a serving Ward and changes nothing.
//!
//! `would-refuse` counts the requests that passed although a rule would have refused them, or would have held
//! back records. It prints no value and no id of a request: shapes come from the gateway, which writes only
//! words of FHIR into them. Memory is bounded whatever the length of the log.

mod tally;
mod words;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};
use ward_audit::{LogError, Reader};
use ward_core::KeyVault;

use crate::cli_report::{Report, WouldRefuse};
use crate::config::{Config, Mode};
use crate::paths::Paths;
use crate::serve::named::of_clients;
use crate::serve::{open_vault, system_of};
use crate::ui::{Ui, counted};
use tally::{ClientTally, Tally, Who};
use words::meaning;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    /// Nothing was served from here yet.
    #[error("{0}: there is no log yet; start it with `ward serve`")]
    NoLog(String),
    /// The log could not be read.
    #[error("{dir}: {source}; run `ward log verify --data {dir}`")]
    Log {
        /// The data directory.
        dir: String,
        /// The cause.
        source: LogError,
    },
}

pub(crate) async fn run(command: &Report) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match command {
        Report::WouldRefuse(options) => would_refuse(options).await,
    }
}

async fn would_refuse(options: &WouldRefuse) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let ui = Ui::new(options.json);
    let config = Config::read(&options.config)?;
    let paths = Paths::new(&config.data);
    let dir = config.data.display().to_string();
    // Opening a vault that is not there would make one.
    if !paths.log().is_dir() || !paths.vault().is_dir() {
        return Err(ReportError::NoLog(dir).into());
    }
    let system = system_of(&config);
    let vault: Arc<dyn KeyVault> = open_vault(&config, &system)?;
    let log = |source| ReportError::Log { dir: dir.clone(), source };
    let reader = Reader::open_dir(&paths.log(), Some(vault)).map_err(log)?;
    let since = system.clock.now().minus(options.since);
    let mut tally = Tally::read(&reader, since).await.map_err(log)?;
    let unseen = unseen(&config, &tally);
    if let Some(client) = &options.client {
        tally.keep(client);
    }
    let mut advice = advice(&config, &tally);
    if !unseen.is_empty() {
        advice.text.push(format!(
            "Named in [observe.clients], and not seen in this time: {}. See that each is the URI or the id that `ward admin \
             clients list` shows; a misspelt name changes nothing for anybody.",
            unseen.join(", ")
        ));
    }
    if options.json {
        let report = json!({
            "mode": config.mode.word(),
            "since": since.to_rfc3339(),
            "requests": tally.requests(),
            "would_refuse": tally.would_refuse(),
            "incomplete": tally.incomplete,
            "named_but_not_seen": unseen,
            "clients": tally.clients.iter().map(|(who, one)| shown(who, one)).collect::<Vec<_>>(),
            "next": { "text": advice.text, "toml": advice.toml },
        });
        ui.line(&serde_json::to_string_pretty(&report)?);
        return Ok(ExitCode::SUCCESS);
    }
    print(ui, options, &config, &tally, &advice);
    Ok(ExitCode::SUCCESS)
}

fn shown(who: &Who, one: &ClientTally) -> Value {
    let rules: Vec<Value> = one
        .rules
        .iter()
        .map(|(rule, row)| {
            json!({
                "rule": rule,
                "meaning": meaning(rule),
                "requests": row.requests,
                "answered": row.answered,
                "records_withheld": row.withheld,
                "first": row.first.to_rfc3339(),
                "last": row.last.to_rfc3339(),
                "shapes": row.shapes.iter()
                    .map(|(shape, count)| json!({"shape": shape, "requests": count}))
                    .collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "client": who.id(),
        "uri": one.uri,
        "requests": one.requests,
        "would_refuse": one.would_refuse,
        "rules": rules,
    })
}

/// Names under `[observe.clients]` by which nobody asked for anything.
fn unseen(config: &Config, tally: &Tally) -> Vec<String> {
    if config.mode == Mode::Enforce || tally.incomplete {
        return Vec::new();
    }
    let is = |name: &str| {
        tally.clients.iter().any(|(who, one)| who.id() == name || one.uri.as_deref() == Some(name))
    };
    of_clients(&config.observe.clients).filter(|name| !is(name)).map(ToOwned::to_owned).collect()
}

/// What to do next.
struct Advice {
    text: Vec<String>,
    /// Lines for ward.toml; empty if there is nothing to write.
    toml: String,
}

fn advice(config: &Config, tally: &Tally) -> Advice {
    if config.mode == Mode::Enforce {
        let text = vec![
            "mode is enforce: what is listed here passed before it was switched, and is refused now."
                .to_owned(),
        ];
        return Advice { text, toml: String::new() };
    }
    let mut text = Vec::new();
    let enforcement = config.enforcement();
    let (mut clean, mut unclean) = (Vec::new(), 0_usize);
    for (who, one) in &tally.clients {
        if !one.rules.is_empty() {
            unclean += 1;
        } else if who.is_observed(one, &enforcement) {
            clean.push((who, one));
        }
    }
    if tally.clients.is_empty() {
        text.push(
            "Nobody has asked for anything in this time. Let clients come through Ward, and look again."
                .to_owned(),
        );
        return Advice { text, toml: String::new() };
    }
    if tally.incomplete {
        text.push(
            "Not everything could be counted (see above): take a shorter --since.".to_owned(),
        );
    } else if unclean == 0 {
        text.push(
            "Enforcement would have changed nothing for anybody. When this time is long enough for you, write \
             this and reload (kill -HUP, or ward admin reload):"
                .to_owned(),
        );
        return Advice { text, toml: "mode = \"enforce\"\n".to_owned() };
    }
    let mut toml = String::new();
    if clean.is_empty() {
        text.push(
            "No client can be switched to enforce yet without being refused something. Mend what is listed: \
             have the client ask otherwise, import its roster, widen its scopes; then look again with a shorter \
             --since."
                .to_owned(),
        );
    } else {
        let named: Vec<String> = clean
            .iter()
            .map(|(who, one)| format!("{} ({})", who.name(one), counted(one.requests, "request")))
            .collect();
        text.push(format!(
            "Enforcement would have changed nothing for: {}. To enforce for them, make this the table \
             [observe.clients] of ward.toml and reload (kill -HUP, or ward admin reload):",
            named.join(", ")
        ));
        let mut lines: Vec<(String, &str)> =
            config.observe.clients.iter().map(|(name, mode)| (name.clone(), mode.word())).collect();
        lines.extend(clean.iter().map(|(who, one)| (who.name(one), "enforce")));
        toml.push_str("[observe.clients]\n");
        for (name, mode) in lines {
            let _ = writeln!(toml, "{} = \"{mode}\"", Value::String(name));
        }
    }
    if tally.clients.get(&Who::Anonymous).is_some_and(|one| one.would_refuse > 0) {
        text.push(
            "Callers without a token of Ward's are refused altogether under enforcement: have them register \
             first (docs/observe.md)."
                .to_owned(),
        );
    }
    Advice { text, toml }
}

fn print(ui: Ui, options: &WouldRefuse, config: &Config, tally: &Tally, advice: &Advice) {
    let since = crate::config::show_span(options.since);
    ui.line(&ui.bold(&format!(
        "What enforcement would have stopped in the last {since} (mode is {})",
        config.mode.word()
    )));
    ui.line(&format!(
        "{} of {}; {} of them would have been refused or answered in part",
        counted(tally.requests(), "request"),
        counted(tally.clients.len() as u64, "client"),
        tally.would_refuse()
    ));
    for (who, one) in &tally.clients {
        ui.line("");
        ui.line(&format!(
            "{}  {}, {} would be refused",
            ui.bold(&who.name(one)),
            counted(one.requests, "request"),
            if one.would_refuse == 0 { ui.good("none") } else { one.would_refuse.to_string() }
        ));
        if let (Who::Client(id), Some(_)) = (who, &one.uri) {
            ui.line(&ui.dim(&format!("  {id}")));
        }
        if !one.rules.is_empty() {
            ui.line(&ui.dim(&format!(
                "  {:<10} {:>8} {:>8} {:>8}  {:<20}  {:<20}",
                "rule", "requests", "answered", "withheld", "first", "last"
            )));
        }
        for (rule, row) in &one.rules {
            ui.line(&format!(
                "  {:<10} {:>8} {:>8} {:>8}  {:<20}  {:<20}",
                rule,
                row.requests,
                row.answered,
                row.withheld,
                seconds(&row.first.to_rfc3339()),
                seconds(&row.last.to_rfc3339()),
            ));
            ui.line(&ui.dim(&format!("             {}", meaning(rule))));
            for (shape, count) in &row.shapes {
                ui.line(&format!("             {count:>6} × {shape}"));
            }
        }
    }
    if !tally.clients.is_empty() {
        ui.line("");
        ui.line(&ui.dim(
            "answered: the upstream gave it (status below 400). withheld: records that enforcement would hold back.",
        ));
    }
    if tally.incomplete {
        ui.line(&ui.bad(
            "More clients or rules than are counted, or entries whose keys are gone: incomplete.",
        ));
    }
    ui.line("");
    ui.line(&ui.bold("Next"));
    for text in &advice.text {
        ui.paragraph("", text, Ui::plain);
    }
    if !advice.toml.is_empty() {
        ui.line("");
        for line in advice.toml.lines() {
            ui.line(&format!("    {line}"));
        }
    }
}

/// A time to the second.
fn seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((head, _)) => format!("{head}Z"),
        None => time.to_owned(),
    }
}

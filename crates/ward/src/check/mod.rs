//! `ward check`: reads a configuration, asks the servers that it names, and says in plain words what is
//! wrong and how to mend it. Changes nothing; safe beside a running Ward.
//!
//! Status 0 if Ward would serve, 1 if something must be mended first. Nothing that it prints holds
//! patients' data.

mod community;
mod upstream;

use std::process::ExitCode;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use serde::Serialize;

use crate::cli_serve::Check;
use crate::config::material::{self, Material, gather};
use crate::config::{Config, ConfigError, Mode, Problem};
use crate::serve::{dates, system_of};
use crate::ui::Ui;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Works, but know this.
    Note,
    /// Works, but less well or not for long.
    Warning,
    /// Does not work.
    Error,
}

/// One thing that was found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// What it is about: `configuration`, `tls`, `upstream`, `community URI`.
    pub(crate) about: String,
    /// What was found.
    pub(crate) what: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) mend: String,
}

/// Findings as they come.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    pub(crate) fn add(
        &mut self,
        level: Level,
        about: &str,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let (what, mend) = (what.into(), mend.into());
        self.0.push(Finding { level, about: about.to_owned(), what, mend });
    }

    pub(crate) fn ok(&mut self, about: &str, what: impl Into<String>) {
        self.add(Level::Ok, about, what, "");
    }

    fn worst(&self) -> Level {
        self.0.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }
}

/// The whole report, for scripts.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    findings: &'a [Finding],
}

pub(crate) async fn run(options: &Check) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let ui = Ui::new(options.json);
    let mut findings = Findings::default();
    match Config::read(&options.config) {
        Ok(config) => all(&config, options, &mut findings).await,
        Err(ConfigError::Faulty { problems, .. }) => name(&problems, &mut findings),
        Err(error) => findings.add(Level::Error, "configuration", error.to_string(), ""),
    }
    let good = findings.worst() < Level::Error;
    if options.json {
        let report = Report { ok: good, findings: &findings.0 };
        ui.line(&serde_json::to_string_pretty(&report)?);
    } else {
        for finding in &findings.0 {
            show(ui, finding);
        }
        let count = |level| findings.0.iter().filter(|finding| finding.level == level).count();
        let (errors, warnings) = (count(Level::Error), count(Level::Warning));
        ui.line("");
        ui.line(&match (errors, warnings) {
            (0, 0) => ui.good("Ward would serve."),
            (0, _) => ui.good(&format!("Ward would serve; {warnings} to look at.")),
            _ => ui.bad(&format!("Ward would not serve as it should: {errors} to mend first.")),
        });
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(ui: Ui, finding: &Finding) {
    let mark = match finding.level {
        Level::Ok => ui.good("ok     "),
        Level::Note => ui.dim("note   "),
        Level::Warning => ui.bold("warning"),
        Level::Error => ui.bad("ERROR  "),
    };
    ui.line(&format!("{mark} {}: {}", ui.bold(&finding.about), finding.what));
    if !finding.mend.is_empty() {
        ui.line(&format!("        {} {}", ui.dim("→"), finding.mend));
    }
}

/// Problems of the configuration as findings.
fn name(problems: &[Problem], findings: &mut Findings) {
    for problem in problems {
        let place = problem.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let key =
            if problem.key.is_empty() { String::new() } else { format!("`{}` ", problem.key) };
        let what = format!("{place}{key}{}", problem.what);
        findings.add(Level::Error, "configuration", what, problem.way.clone());
    }
}

async fn all(config: &Config, options: &Check, findings: &mut Findings) {
    let system = system_of(config);
    let gathered = gather(config);
    match &gathered {
        Ok(_) => findings.ok("configuration", format!("{} is understood", config.file().display())),
        Err(problems) => name(problems, findings),
    }
    if config.mode == Mode::Observe {
        let what = "mode is OBSERVE: everything is decided and logged, and NOTHING IS BLOCKED by the gateway";
        findings.add(Level::Warning, "mode", what, "read `ward report would-refuse`, and set mode = \"enforce\" when no honest client is in it (docs/observe.md)");
        if config.upstream.authorization_file.is_some() {
            let what = "while observing, every client that registers may read and search with the credentials of upstream.authorization_file, whatever its scopes and roster";
            findings.add(
                Level::Warning,
                "mode",
                what,
                "let them be credentials that may read no more than any of those clients",
            );
        }
    }
    if !config.admin.address.ip().is_loopback() {
        let what = format!(
            "the admin listener is on {}, which other machines may reach",
            config.admin.address
        );
        findings.add(
            Level::Warning,
            "configuration",
            what,
            "keep it on loopback or a management network",
        );
    }
    for one in &config.community {
        let certifications = one.certification.iter().map(crate::config::Certification::note);
        for note in one.profile_notes().into_iter().chain(certifications) {
            findings.add(Level::Note, &format!("community {}", one.uri), note, "");
        }
    }
    if let Ok(material) = &gathered {
        tls(config, material, findings);
        for (which, over, what) in dates(material, system.clock.now()) {
            let level = if over { Level::Error } else { Level::Warning };
            findings.add(
                level,
                "certificates",
                format!("{which} {what}"),
                "have it renewed; a running Ward takes renewed files up by itself",
            );
        }
    }
    if options.offline {
        findings.add(Level::Note, "upstream", "not asked (--offline)", "");
        return;
    }
    if let Ok(reach) = material::reach(config) {
        upstream::probe(config, reach, &system, findings).await;
    }
    if let Ok(material) = &gathered {
        community::probe(material, &system, findings).await;
    }
}

/// Whether partners will believe the TLS certificate's name.
fn tls(config: &Config, material: &Material, findings: &mut Findings) {
    let host = config.listen.origin.parse::<http::Uri>().ok();
    let host = host.as_ref().and_then(http::Uri::host).unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let (Some(leaf), Ok(name)) = (material.tls_chain.first(), ServerName::try_from(bare)) else {
        return;
    };
    let der = CertificateDer::from(leaf.der());
    let fits = ParsedCertificate::try_from(&der)
        .is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok());
    if fits {
        findings.ok("tls", format!("the certificate is for {host}"));
    } else {
        findings.add(
            Level::Warning,
            "tls",
            format!("the TLS certificate is not for {host}, the host of listen.origin"),
            "have one issued for this name; if a load balancer in front has it, this is as it should be",
        );
    }
    if leaf.issuer_der() == leaf.subject_der() {
        findings.add(
            Level::Warning,
            "tls",
            "the TLS certificate signs itself, so no partner will believe it",
            "use one of an authority that partners trust before they connect",
        );
    }
}

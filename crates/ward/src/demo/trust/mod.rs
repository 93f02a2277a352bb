//! `ward demo trust`: proven once, let in everywhere; and when trust ends, it ends everywhere. Two communities, a hospital
//! in both, a clinic in one, and partners that nobody sets up by hand. Nothing is acted: real sockets, real certificates.

mod certification;
mod town;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::Value;
use ward_admin::Command;
use ward_client::{ClientError, Discovered, Hl7B2b, Registered, Token};
use ward_community::Reason;
use ward_core::{OrganizationUri, Purpose, Timestamp};

use super::partner::App;
use super::report::Report;
use super::walk::{Found, Plan, refusal, step};
use super::{DataDir, DemoError, doing, interrupted};
use crate::house::system;
use crate::ui::Ui;
use town::{ABROAD, PARTNER, Site, Town, officer};

/// Two trust communities, three organisations and one abroad: proven once, let in everywhere, shut out everywhere.
///
/// Everything is real and on loopback, in a temporary directory that goes at the end.
#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// End after the walk: status 0 if every step had its expected outcome, 1 otherwise.
    #[arg(long)]
    pub(crate) exit: bool,
    /// Print one JSON object a step instead of sentences.
    #[arg(long)]
    pub(crate) json: bool,
    /// Set something up wrongly, so that a test can see the walk notice it.
    #[arg(long, hide = true, value_enum)]
    pub(crate) sabotage: Option<Sabotage>,
}

/// Ways to set it up wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sabotage {
    /// The clinic trusts the community abroad too.
    Clinic,
    /// The community does not revoke what it should.
    Revocation,
    /// The community does not revoke the certification that it should.
    Certification,
}

/// An application that was let in.
struct Entered {
    server: Discovered,
    registered: Registered,
    token: Arc<Token>,
}

type Step = Result<Found, DemoError>;

pub(crate) async fn run(options: &Trust) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let ui = Ui::new(options.json);
    let data = DataDir::choose(None)?;
    let system = system();
    if !ui.json() {
        ui.line(&ui.bold("Ward: trust proven once, on loopback"));
    }
    tokio::select! {
        ended = live(options, ui, &data, &system) => ended,
        interrupted = interrupted() => {
            interrupted?;
            ui.clear();
            Ok(ExitCode::from(super::INTERRUPTED))
        }
    }
}

async fn live(
    options: &Trust,
    ui: Ui,
    data: &DataDir,
    system: &crate::house::System,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let clock = system.clock.clone();
    let now = || clock.now();
    let began = now();
    ui.progress("raising two communities, a hospital and a clinic");
    let town = Town::open(&data.path, options.sabotage, system).await?;
    ui.clear();
    let mut report = Report::new(ui);
    Box::pin(walk(&town, &mut report, options.sabotage, &now)).await;
    report.summary(now().since(began));
    let ok = report.ok();
    if !options.exit {
        if !ui.json() {
            ui.line(&format!("\nhospital {}\nclinic   {}", town.hospital.base, town.clinic.base));
            ui.line("up until Ctrl-C");
        }
        interrupted().await?;
    }
    town.close().await;
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn walk(
    town: &Town,
    report: &mut Report,
    sabotage: Option<Sabotage>,
    now: &(impl Fn() -> Timestamp + Sync),
) {
    let Town { hospital, clinic, partner, visitor, .. } = town;
    let (mut at_hospital, mut at_clinic, mut from_abroad) = (None, None, None);

    let plan = Plan {
        step: "hospital",
        tried: "a partner that the hospital never heard of reads its first record".to_owned(),
        expected: "registered by its certificate, a token, 200",
        why: "the community issued one certificate; that was the last human act (rosters were imported before)",
    };
    step(report, now, plan, enter(partner, hospital, PARTNER.0, &mut at_hospital)).await;

    let plan = Plan {
        step: "clinic",
        tried: "the same partner, the same certificate, at the next server of the community"
            .to_owned(),
        expected: "registered by its certificate, a token, 200",
        why: "what was proven once holds at every member; nobody at the clinic did anything",
    };
    step(report, now, plan, enter(partner, clinic, PARTNER.0, &mut at_clinic)).await;

    let plan = Plan {
        step: "abroad",
        tried: "an organisation abroad reads at the hospital, by its own community".to_owned(),
        expected: "registered by its certificate, a token, 200",
        why: "the hospital is a member of both communities; the two know nothing of each other",
    };
    step(report, now, plan, enter(visitor, hospital, ABROAD.0, &mut from_abroad)).await;

    let plan = Plan {
        step: "stranger",
        tried: "the organisation abroad tries the clinic, which is no member abroad".to_owned(),
        expected: "no shared community, nothing registered",
        why: "trust ends where its community ends",
    };
    step(report, now, plan, stranger(visitor, clinic)).await;

    let plan = Plan {
        step: "passport",
        tried: "the hospital's officer asks who is trusted, through which chain".to_owned(),
        expected: "two clients in two communities, each with its chain, lists and one live grant",
        why: "ward passport shows trust as it is in force, down to the list that was last looked at",
    };
    step(report, now, plan, passport(hospital)).await;

    let plan = Plan {
        step: "what-if",
        tried: "and what would stop if the partner's certificate were revoked".to_owned(),
        expected: "one registration and one grant; and nothing is changed by asking",
        why: "who cuts a partner off sees beforehand what is cut",
    };
    step(report, now, plan, what_if(partner, hospital, at_hospital.as_ref())).await;

    let mut certified = None;
    let plan = Plan {
        step: "certified",
        tried: "the partner asks the hospital for more; then the community certifies it, and it shows that".to_owned(),
        expected: "before: the wider scope withheld, the read refused; after: granted, and read",
        why: "a certification is checked by each server for itself: the hospital said once whose word counts, and for what",
    };
    step(report, now, plan, certification::unlock(town, now, &mut certified)).await;

    let plan = Plan {
        step: "withdrawn",
        tried: "the community takes the certification back, and tells its members".to_owned(),
        expected: "the wider token is refused at once and the next one is narrow; what every member may read is still read",
        why: "what a certification opened closes with it, and nothing else does",
    };
    let sabotaged = sabotage == Some(Sabotage::Certification);
    let narrow = at_hospital.as_ref();
    let withdrawn = certification::withdraw(town, now, certified, narrow, sabotaged);
    step(report, now, plan, Box::pin(withdrawn)).await;

    let plan = Plan {
        step: "revocation",
        tried: "the community revokes the partner's certificate, and tells its members".to_owned(),
        expected: "both doors shut to the tokens that were good a moment before, and no new ones",
        why: "one act at the community ends trust at every member, grants included",
    };
    let entered = [(hospital, at_hospital.as_ref()), (clinic, at_clinic.as_ref())];
    step(report, now, plan, revocation(town, sabotage, entered, now)).await;

    let plan = Plan {
        step: "others",
        tried: "the organisation abroad goes on at the hospital".to_owned(),
        expected: "200 as before",
        why: "what ended is the partner's trust and nobody else's",
    };
    step(report, now, plan, others(visitor, hospital, from_abroad.as_ref())).await;
}

/// What the organisation says of itself.
fn b2b(organization: &str) -> Result<Hl7B2b, DemoError> {
    let mut b2b = super::partner::b2b(Purpose::Treatment)?;
    b2b.organization_id =
        OrganizationUri::parse(organization).map_err(doing("reading the organisation URI"))?;
    Ok(b2b)
}

fn path(site: &Site) -> String {
    format!("/Patient/{}", site.patient())
}

/// From never heard of each other to the first record.
async fn enter(app: &App, site: &Site, organization: &str, to: &mut Option<Entered>) -> Step {
    let server = app.client.discover(&site.base).await.map_err(doing("discovery"))?;
    let registered =
        app.client.register(&server, &app.request("Care")).await.map_err(doing("registration"))?;
    let token = app
        .client
        .token(&server, &registered, &registered.scope, &b2b(organization)?)
        .await
        .map_err(doing("token"))?;
    let status = app.ask(&site.base, &path(site), &token).await?.status;
    *to = Some(Entered { server, registered, token });
    Ok(Found::new(status == 200, format!("discovered, registered, token, {status}"))
        .fact("status", status)
        .fact("human_acts", 0))
}

async fn stranger(app: &App, site: &Site) -> Step {
    let attempt = async {
        let server = app.client.discover(&site.base).await?;
        app.client.register(&server, &app.request("Care")).await
    };
    let refused: Result<_, ClientError> = attempt.await;
    let registrations = registrations(site).await?;
    let ok = refused.is_err() && registrations == 1;
    Ok(Found::new(ok, format!("{}; {registrations} client registered there", refusal(refused).1))
        .fact("registrations", registrations))
}

async fn ask(site: &Site, command: Command) -> Result<Value, DemoError> {
    let done = site.house.admin.execute(&officer(), command).await;
    serde_json::to_value(done.map_err(doing("asking the passport"))?)
        .map_err(doing("reading the passport"))
}

fn number(value: &Value, at: &str) -> u64 {
    value.pointer(at).and_then(Value::as_u64).unwrap_or(u64::MAX)
}

async fn registrations(site: &Site) -> Result<u64, DemoError> {
    let answer = ask(site, Command::Passport { entity: None }).await?;
    Ok(number(&answer, "/passport/registrations"))
}

async fn passport(site: &Site) -> Step {
    let answer = ask(site, Command::Passport { entity: None }).await?;
    let count = |at: &str| answer.pointer(at).and_then(Value::as_array).map_or(0, Vec::len);
    let communities = count("/passport/communities");
    let (clients, grants) =
        (number(&answer, "/passport/registrations"), number(&answer, "/passport/live_grants"));
    let checked = |client: usize| {
        let path = format!("/passport/clients/{client}/paths/0/certificates");
        count(&path) == 3 && answer.pointer(&format!("{path}/0/checks/0/this_update")).is_some()
    };
    let ok = communities == 2 && clients == 2 && grants == 2 && checked(0) && checked(1);
    let got = format!(
        "{communities} communities, {clients} clients, {grants} live grants, each chain of 3"
    );
    Ok(Found::new(ok, got))
}

fn missing() -> DemoError {
    DemoError { what: "not reached", why: "an earlier step did not succeed".to_owned() }
}

async fn what_if(app: &App, site: &Site, entered: Option<&Entered>) -> Step {
    let token = &entered.ok_or_else(missing)?.token;
    let certificate = app.thumbprint.to_string();
    let answer = ask(site, Command::PassportWhatIf { certificate }).await?;
    let registrations = number(&answer, "/would-end/0/registrations");
    let grants = number(&answer, "/would-end/0/live_grants");
    let status = app.ask(&site.base, &path(site), token).await?.status;
    let got = format!(
        "would end: {registrations} registration, {grants} grant; asked again for the record: {status}"
    );
    Ok(Found::new(registrations == 1 && grants == 1 && status == 200, got))
}

async fn revocation(
    town: &Town,
    sabotage: Option<Sabotage>,
    entered: [(&Site, Option<&Entered>); 2],
    now: &impl Fn() -> Timestamp,
) -> Step {
    let app = &town.partner;
    let mut before = Vec::new();
    for (site, entered) in entered {
        let token = &entered.ok_or_else(missing)?.token;
        before.push(app.ask(&site.base, &path(site), token).await?.status);
    }
    let began = now();
    if sabotage != Some(Sabotage::Revocation) {
        let operator = &town.home.operator;
        let reason = Reason::KeyCompromise;
        operator.revoke(&app.thumbprint, reason).await.map_err(doing("revoking"))?;
    }
    // By push: nobody looks at a list.
    town.tell().await?;
    let mut doors = Vec::new();
    let (mut ok, mut slowest) = (true, 0);
    for ((site, entered), before) in entered.into_iter().zip(before) {
        let Entered { server, registered, token } = entered.ok_or_else(missing)?;
        let after = app.ask(&site.base, &path(site), token).await?.status;
        let millis = u64::try_from(now().since(began).as_millis()).unwrap_or(u64::MAX);
        app.client.forget(token);
        let again = app.client.token(server, registered, &registered.scope, &b2b(PARTNER.0)?).await;
        let (refused, _) = refusal(again);
        let left =
            number(&ask(site, Command::Passport { entity: None }).await?, "/passport/live_grants");
        let others = u64::from(std::ptr::eq(site, &raw const town.hospital));
        ok &= before == 200 && after == 401 && refused.is_some() && left == others;
        slowest = slowest.max(millis);
        doors.push(format!("{before} then {after} within {millis} ms of the act"));
    }
    let got = format!("hospital {}", doors.join(", clinic "));
    Ok(Found::new(ok, got).fact("closed_millis", slowest))
}

async fn others(app: &App, site: &Site, entered: Option<&Entered>) -> Step {
    let token = &entered.ok_or_else(missing)?.token;
    let status = app.ask(&site.base, &path(site), token).await?.status;
    Ok(Found::new(status == 200, status.to_string()).fact("status", status))
}

//! `ward demo`: a sample hospital behind Ward, a partner at its door, and a walk through what happens.
//!
//! Nothing is acted: the partner is a real client over real sockets, the refusals are Ward's own, and
//! each step compares what came back with what should have.

mod hospital;
mod partner;
mod report;
pub(crate) mod trust;
mod walk;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::{Act, Demo};
use crate::house::{System, system};
use crate::paths::Paths;
use crate::private;
use crate::ui::{self, Ui};
use hospital::Hospital;
use report::Report;

/// Status after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// Why the demo could not begin.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub(crate) struct DemoError {
    what: &'static str,
    why: String,
}

/// Turns any error into a [`DemoError`] that says what was being done.
pub(crate) fn doing<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> DemoError {
    move |error| DemoError { what, why: error.to_string() }
}

/// A data directory that is removed at the end unless the user named it.
struct DataDir {
    path: PathBuf,
    ephemeral: bool,
}

impl DataDir {
    fn choose(wanted: Option<&PathBuf>) -> Result<Self, DemoError> {
        let system = system();
        let (path, ephemeral) = if let Some(path) = wanted {
            (path.clone(), false)
        } else {
            let name = format!("ward-demo-{:016x}", system.rng.next_u64());
            (std::env::temp_dir().join(name), true)
        };
        private::directory(&path).map_err(doing("the data directory"))?;
        // Links that are pasted elsewhere must name the same place.
        let path = path.canonicalize().map_err(doing("the data directory"))?;
        Ok(Self { path, ephemeral })
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.ephemeral {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

pub(crate) async fn run(options: &Demo) -> Result<ExitCode, Box<dyn std::error::Error>> {
    if let Some(Act::Trust(options)) = &options.act {
        return Box::pin(trust::run(options)).await;
    }
    let ui = Ui::new(options.json);
    let data = DataDir::choose(options.data.as_ref())?;
    let paths = Paths::new(&data.path);
    let system = system();
    if !ui.json() {
        ui.line(&ui.bold("Ward: a sample hospital on loopback"));
    }
    // From here on Ctrl-C ends in good order, so that nothing is left behind in a temporary place.
    tokio::select! {
        ended = live(options, ui, &paths, &system, data.ephemeral) => ended,
        interrupted = interrupted() => {
            interrupted?;
            ui.clear();
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

/// Raises the hospital, walks, stays up, and closes.
async fn live(
    options: &Demo,
    ui: Ui,
    paths: &Paths,
    system: &System,
    ephemeral: bool,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let started = system.clock.now();
    ui.progress("raising community, FHIR server and Ward");
    let hospital = Hospital::open(options, paths, system).await?;
    ui.clear();

    let mut report = Report::new(ui);
    if !options.no_walk {
        hospital.fit_for_the_walk()?;
        Box::pin(walk::walk(&hospital, &mut report, started)).await;
        report.summary(system.clock.now().since(started));
    }
    if !options.exit {
        hospital.stay(ui, paths, ephemeral).await?;
        tokio::select! {
            () = hospital.keep_token_fresh(paths) => {}
            interrupted = interrupted() => interrupted?,
        }
        if !ui.json() {
            ui.line(if ephemeral { "\nclosing; the temporary data goes too" } else { "\nclosing" });
        }
    }
    let ok = report.ok();
    hospital.close().await;
    if !ok && !options.exit {
        ui::error("a step of the walk had an unexpected outcome");
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ctrl-C or SIGTERM.
pub(crate) async fn interrupted() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done,
        _ = terminate.recv() => Ok(()),
    }
}

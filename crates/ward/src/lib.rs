//! The program: command line, configuration, wiring. The only place that knows all rooms.
//!
//! A library only so that black-box tests can raise a Ward ([`house`]) with a trust community and an
//! upstream of their own; people use the `ward` command.

mod admin_command;
pub mod backup;
pub mod bundle_pull;
mod check;
mod cli;
mod cli_admin;
mod cli_client;
mod cli_report;
mod cli_sandbox;
mod cli_serve;
mod client_command;
mod community_command;
pub mod config;
mod demo;
pub mod house;
mod init;
mod log_command;
pub mod ops;
mod passport_command;
pub mod paths;
mod private;
mod report_command;
mod sandbox_command;
pub mod serve;
mod signals;
mod ui;
mod vault_command;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};
use crate::config::{Diagnostics, Format};
use crate::ui::Ui;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `SIGXFSZ` on Linux: a file grew beyond its limit.
const SIGXFSZ: i32 = 25;

/// Usage errors (`sysexits.h`), as clap's own.
const EXIT_USAGE: u8 = 2;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    // A server says what its configuration wants said; every other command only what went wrong.
    let diagnostics = match &cli.command {
        Command::Serve(serve) => serve::diagnostics(&serve.config),
        _ => Diagnostics { level: "error".to_owned(), ..Diagnostics::default() },
    };
    let wanted = std::env::var("WARD_LOG").unwrap_or(diagnostics.level);
    let filter = match EnvFilter::try_new(&wanted) {
        Ok(filter) => filter,
        Err(error) => {
            ui::error(&format!("WARD_LOG={wanted}: {error}; try WARD_LOG=info"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let said = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ui::colours(&std::io::stderr()));
    match diagnostics.format {
        Format::Text => said.init(),
        Format::Json => said.json().init(),
    }
    // The message of a panic could carry what it choked on; where it happened is enough (rule 11).
    std::panic::set_hook(Box::new(|bug| {
        let place = bug.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a bug: this request was given up, Ward goes on");
    }));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            ui::error(&format!("the runtime did not start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        // A file-size limit must come back as an error of the write, not as the end of the process.
        let _file_size = signal(SignalKind::from_raw(SIGXFSZ));
        match cli.command {
            Command::Admin(command) => Ok(admin_command::run(&command).await),
            Command::Passport(command) => Ok(passport_command::run(&command).await),
            Command::Demo(demo) => Box::pin(demo::run(&demo)).await,
            Command::Backup(command) => Ok(backup::command::backup(&command).await),
            Command::Restore(command) => Ok(backup::command::restored(&command)),
            Command::Init(init) => init::run(Ui::new(false), &init),
            Command::Check(check) => check::run(&check).await,
            Command::Serve(serve) => serve::run(&serve).await,
            Command::Client(command) => Ok(client_command::run(&command).await),
            Command::Community(command) => community_command::run(Ui::new(false), &command).await,
            Command::Vault(command) => vault_command::run(Ui::new(false), &command),
            Command::Sandbox(command) => sandbox_command::run(Ui::new(false), &command).await,
            Command::Report(command) => report_command::run(&command).await,
            Command::Log(command) => log_command::run(Ui::new(false), &command).await,
        }
    });
    match ended {
        Ok(code) => code,
        Err(error) => {
            ui::error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

//! The command line: every flag with the help that a stranger reads.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// What the environment can set.
const ENVIRONMENT: &str = "Environment:\n  \
    WARD_LOG  what diagnostics go to standard error: error (default), warn, info, debug\n  \
    NO_COLOR  no colours, whatever its value";

/// The trust layer for health-data exchange.
///
/// Ward stands in front of a FHIR server, lets organisations in on proof (UDAP), checks every
/// request and every record that leaves, and remembers it all in a log that nobody can quietly change.
#[derive(Debug, Parser)]
#[command(name = "ward", version, max_term_width = 100, after_help = ENVIRONMENT)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(Demo),
    Init(crate::cli_serve::Init),
    Check(crate::cli_serve::Check),
    Serve(crate::cli_serve::Serve),
    /// Read, verify and prove the log of a data directory.
    #[command(subcommand)]
    Log(Log),
    #[command(subcommand)]
    Report(crate::cli_report::Report),
    #[command(subcommand)]
    Client(Box<crate::cli_client::Client>),
    Backup(crate::backup::command::Backup),
    Restore(crate::backup::command::Restore),
    Admin(crate::cli_admin::Admin),
    Passport(crate::passport_command::Passport),
    #[command(subcommand)]
    Community(Box<crate::community_command::args::Community>),
    #[command(subcommand)]
    Vault(crate::vault_command::Vault),
    #[command(subcommand)]
    Sandbox(crate::cli_sandbox::Sandbox),
}

/// Run a sample hospital behind Ward and walk through what Ward does
///
/// Everything is real and on loopback: a trust community with its certificate authority, a FHIR
/// server with synthetic patients, Ward in front of it over TLS, and a partner's client. After the
/// walk it stays up and prints `curl` lines, until Ctrl-C.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true)]
pub(crate) struct Demo {
    #[command(subcommand)]
    pub(crate) act: Option<Act>,

    /// Keep everything in this directory; run again with it to come back with the same state.
    /// Without it a temporary directory is used and removed at the end.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Serve the FHIR R4 bundles (*.json) of this directory instead of generated patients.
    #[arg(long, value_name = "DIR")]
    pub(crate) load: Option<PathBuf>,

    /// Number of synthetic patients to generate.
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u32).range(12..=2000))]
    pub(crate) patients: u32,

    /// Port of Ward on loopback; without it a free one. A kept data directory stays on its port,
    /// because certificates name it.
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,

    /// End after the walk: status 0 if every step had its expected outcome, 1 otherwise.
    #[arg(long)]
    pub(crate) exit: bool,

    /// Print one JSON object a step instead of sentences.
    #[arg(long)]
    pub(crate) json: bool,

    /// Serve without walking through the steps.
    #[arg(long, conflicts_with = "exit")]
    pub(crate) no_walk: bool,

    /// Misconfigure the hospital in one way, so that a test can see the walk notice it.
    #[arg(long, hide = true, value_enum)]
    pub(crate) sabotage: Option<Sabotage>,
}

/// Demos of one thing each.
#[derive(Debug, Subcommand)]
pub(crate) enum Act {
    Trust(crate::demo::trust::Trust),
}

/// Ways to misconfigure the sample hospital.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sabotage {
    /// The partner's roster holds every patient of the hospital.
    Roster,
    /// Detection's ceiling is far above what the walk does.
    Ceiling,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Log {
    /// Show entries, newest last, one line each.
    Show(LogShow),
    /// Verify the whole log, and that it continues a checkpoint kept elsewhere.
    Verify(LogVerify),
    /// Prove that one entry is in the log; prints the proof and the entry as a FHIR AuditEvent.
    Prove(LogProve),
}

#[derive(Debug, Args)]
pub(crate) struct LogPlace {
    /// The data directory of Ward.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct LogShow {
    #[command(flatten)]
    pub(crate) place: LogPlace,
    /// First entry to show; without it the last 20 are shown.
    #[arg(long, value_name = "INDEX")]
    pub(crate) from: Option<u64>,
    /// How many entries at most.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) count: u64,
    /// Print each leaf as the JSON that is hashed.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogVerify {
    #[command(flatten)]
    pub(crate) place: LogPlace,
    /// A signed checkpoint that was kept elsewhere; the log must continue it.
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// The log's verifier key (`name+hash+key`), kept elsewhere; without it the one in the data directory is used.
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogProve {
    #[command(flatten)]
    pub(crate) place: LogPlace,
    /// Index of the entry (see `ward log show`).
    #[arg(value_name = "INDEX")]
    pub(crate) index: u64,
    /// Key file that opens the vault, to show the entry's body; without it only the leaf is shown.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

//! The command line of `ward report`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::config::parse_since;

/// Reports made of the log. They run beside a serving Ward and change nothing.
#[derive(Debug, Subcommand)]
pub(crate) enum Report {
    WouldRefuse(WouldRefuse),
}

/// Say what enforcement would have stopped while mode was observe, by client and rule.
///
/// Requests are shown by their shape only: interaction, resource type and names of parameters, never
/// values or ids. Ends with which clients can be switched to enforce, and the lines to write.
#[derive(Debug, Args)]
pub(crate) struct WouldRefuse {
    /// The configuration; it says where the log and its keys are, and who is enforced already.
    #[arg(long, value_name = "FILE", default_value = "ward.toml")]
    pub(crate) config: PathBuf,

    /// How far back to look, as 30m, 24h or 7d.
    #[arg(long, value_name = "SPAN", default_value = "7d", value_parser = parse_since)]
    pub(crate) since: Duration,

    /// One client only: its URI, its id, or anonymous.
    #[arg(long, value_name = "CLIENT")]
    pub(crate) client: Option<String>,

    /// Print one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

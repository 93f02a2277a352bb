//! The command lines of `ward init`, `ward check` and `ward serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Write a commented configuration and keys for a real deployment.
///
/// Asks for what is missing, if there is a terminal. Overwrites nothing.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Directory to make it in.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// Public origin under which partners reach Ward: https://host or https://host:port.
    #[arg(long, value_name = "URL")]
    pub(crate) origin: Option<String>,

    /// FHIR base of the server behind Ward.
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Option<String>,

    /// URI of the trust community whose members may register.
    #[arg(long, value_name = "URI")]
    pub(crate) community: Option<String>,

    /// Address and port to listen on; without it all addresses and the origin's port.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,

    /// Open the vault with the passphrase in this file instead of a new key file.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,

    /// Make a TLS certificate that signs itself, to try Ward out. Partners believe it only if told to.
    #[arg(long)]
    pub(crate) self_signed_tls: bool,
}

/// Read a configuration, ask the servers that it names, and say what is wrong and how to mend it.
///
/// Changes nothing. Status 0 if Ward would serve, 1 if something must be mended first.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "ward.toml")]
    pub(crate) config: PathBuf,

    /// Look at files only; ask no server.
    #[arg(long)]
    pub(crate) offline: bool,

    /// Print one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Guard a FHIR server as the configuration says, until SIGTERM or Ctrl-C.
///
/// SIGHUP reads the configuration again, all or nothing. Renewed certificate files are taken up by
/// themselves. Connections go on through both.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "ward.toml")]
    pub(crate) config: PathBuf,
    /// Where operators lost their keys: print a one-time code on this console that makes one more security
    /// officer. It is recorded.
    #[arg(long)]
    pub(crate) recover_operators: bool,
}

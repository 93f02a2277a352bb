//! The command line of `ward community certify` and `ward community certification`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use ward_community::Reason;

use super::args::{Place, reason};

/// A kind of registration.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Grant {
    /// `client_credentials`.
    ClientCredentials,
    /// `authorization_code`, with `refresh_token` beside it.
    AuthorizationCode,
}

/// Certify a client: a signed statement that it can show to any server, beyond being a member.
///
/// Servers know a certification by its URIs and trust it by who signs it, not by who sends it: they name both in their
/// configuration. It is signed with a key that is made for it and forgotten at once; the certificate of that key is on the
/// revocation list when the certification is revoked.
#[derive(Debug, Args)]
pub(crate) struct Certify {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The client's URI. Certify what you found out about who owns it.
    #[arg(long, value_name = "URI")]
    pub(crate) subject: String,
    /// What is certified: the URI of a programme or of a set of criteria. Can be repeated.
    #[arg(long = "uri", value_name = "URI", required = true)]
    pub(crate) uri: Vec<String>,
    /// Its name, for people.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// Scopes beyond which nothing is granted for it, space-separated; without it the certification says nothing of scopes.
    #[arg(long, value_name = "SCOPES")]
    pub(crate) scope: Option<String>,
    /// The kind of registration that it is good for. Can be repeated.
    #[arg(long, value_enum, default_value = "client-credentials")]
    pub(crate) grant: Vec<Grant>,
    /// A registration endpoint that it is meant for; without it all. Can be repeated.
    #[arg(long, value_name = "URL")]
    pub(crate) audience: Vec<String>,
    /// An endorsement: the community speaks well of the client, and certifies nothing.
    #[arg(long)]
    pub(crate) endorsement: bool,
    /// Days that it is good for; three years are the most.
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=1096))]
    pub(crate) days: u64,
    /// Where servers ask whether it still stands, an https URL that leads to `--status-listen` of `ward community serve` (its path
    /// there is /certifications/status). Servers refuse the certification while that does not answer.
    #[arg(long, value_name = "URL")]
    pub(crate) status_endpoint: Option<String>,
    /// Who certifies, an https URI that no member has; without it the community's URI and `/certifications`.
    #[arg(long, value_name = "URI")]
    pub(crate) certifier: Option<String>,
    /// Sign with a certificate that this community issued to a certifier (--profile certification-issuer), PEM, own first, instead.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) certificate: Option<PathBuf>,
    /// Its private key, PKCS#8 PEM, readable by its owner only.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,
    /// Where to write the certification; the client shows it with `ward client register --certification`.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertificationAct {
    List(CertificationList),
    Revoke(CertificationRevoke),
}

/// Show the certifications that were issued, oldest first.
#[derive(Debug, Args)]
pub(crate) struct CertificationList {
    /// Directory of the community.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Revoke a certification for good: its status says so at once, and the next list is published.
#[derive(Debug, Args)]
pub(crate) struct CertificationRevoke {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Which (see `ward community certification list`).
    #[arg(long, value_name = "ID")]
    pub(crate) id: String,
    /// Why.
    #[arg(long, value_parser = reason)]
    pub(crate) reason: Reason,
}

/// Where the status of certifications is told.
#[derive(Debug, Args)]
pub(crate) struct StatusListen {
    /// Tell the status of certifications here, over TLS.
    #[arg(
        long = "status-listen",
        id = "status-listen",
        value_name = "ADDRESS:PORT",
        requires = "status-certificate"
    )]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// TLS certificate for it, PEM, own first; read again when it changes.
    #[arg(
        long = "status-certificate",
        id = "status-certificate",
        value_name = "FILE",
        requires = "status-key"
    )]
    pub(crate) certificate: Option<PathBuf>,
    /// Private key of the TLS certificate, PKCS#8 PEM, readable by its owner only.
    #[arg(
        long = "status-key",
        id = "status-key",
        value_name = "FILE",
        requires = "status-certificate"
    )]
    pub(crate) key: Option<PathBuf>,
    /// Tell the status of certifications here without TLS: for a reverse proxy on this machine that speaks TLS with servers.
    #[arg(
        long = "status-behind-proxy",
        value_name = "LOOPBACK:PORT",
        conflicts_with = "status-listen"
    )]
    pub(crate) behind_proxy: Option<std::net::SocketAddr>,
}

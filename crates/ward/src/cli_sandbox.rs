//! The command line of `ward sandbox`: what a stranger needs around Ward to try it alone.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// A sample FHIR server and a trust community to try Ward with. Not for real data.
///
/// What is missing on the desk of somebody who tries Ward alone: a FHIR R4 server with synthetic patients, and
/// a trust community that signs the request of `ward init`, publishes revocation lists and admits a partner.
/// Everything listens on this machine only.
#[derive(Debug, Subcommand)]
pub(crate) enum Sandbox {
    Fhir(SandboxFhir),
    /// A trust community: its certificates and revocation lists.
    #[command(subcommand)]
    Community(SandboxCommunity),
}

/// Serve synthetic patients as FHIR R4 on http://127.0.0.1:PORT/fhir, until Ctrl-C.
///
/// The same patients each time: pt-00001, pt-00002 and so on. What is written to it is gone at the end.
#[derive(Debug, Args)]
pub(crate) struct SandboxFhir {
    /// Port on loopback.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub(crate) port: u16,

    /// Number of patients.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub(crate) patients: u32,

    /// Serve the FHIR R4 bundles (*.json) of this directory instead.
    #[arg(long, value_name = "DIR", conflicts_with = "patients")]
    pub(crate) load: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SandboxCommunity {
    /// Make a community in a new directory: a root, an issuing authority and their revocation lists.
    Make {
        /// Directory to make it in.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// The URI by which its members know it.
        #[arg(long, value_name = "URI", default_value = "https://community.example/trust")]
        uri: String,
        /// Port on loopback where its lists will be served; every certificate names it.
        #[arg(long, value_name = "PORT", default_value_t = 8083)]
        port: u16,
    },
    /// Serve its revocation lists and authorities, until Ctrl-C. Members can be signed meanwhile.
    Serve {
        /// Its directory.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Turn the request that `ward init` made into a server's certificate. Again to renew it.
    Server {
        /// Directory of the community.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// The request, PEM (PKCS#10), with the FHIR base as SAN URI.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
        /// Where to write the certificate, with its issuer.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Make a partner: a key, and a client's certificate.
    Client {
        /// Directory of the community.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// The partner's client URI, as https://partner.example/app.
        #[arg(value_name = "URI")]
        uri: String,
        /// New directory for its certificate.pem and key.pem.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Revoke a member's certificate for good, and publish the next list.
    Revoke {
        /// Directory of the community.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// The certificate, PEM.
        #[arg(value_name = "FILE")]
        certificate: PathBuf,
    },
}

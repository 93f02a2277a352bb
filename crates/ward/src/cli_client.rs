//! The command line of `ward client`: the other side of the wire, for anybody's UDAP server.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Talk to anybody's UDAP server as a client: discover, register, get a token, read.
///
/// Every step validates what the server says before it goes on, and says which check failed.
/// The private key is read from a file that only its owner can read, and is never printed.
#[derive(Debug, Subcommand)]
pub(crate) enum Client {
    /// Fetch and validate a server's signed metadata; needs no certificate of one's own.
    Discover(ClientDiscover),
    /// Register at the server with a signed software statement, or cancel the registration.
    Register(ClientRegister),
    /// Get an access token for an organisation and a purpose of use.
    Token(ClientToken),
    /// Read from the FHIR API: PATH below the base, with its query.
    Get(ClientGet),
}

/// What all steps need: which server, and whom to believe.
#[derive(Debug, Args)]
pub(crate) struct ClientServer {
    /// FHIR base URL of the server, exactly as it names itself.
    #[arg(long, value_name = "URL")]
    pub(crate) base: String,

    /// URI of the trust community; asked for in discovery.
    #[arg(long, value_name = "URI")]
    pub(crate) community_uri: String,

    /// Root certificate of the community, PEM. May be given several times.
    #[arg(long, value_name = "PEM", required = true)]
    pub(crate) anchor: Vec<PathBuf>,

    /// Issuing certificates of the community that a server may leave out, PEM.
    #[arg(long, value_name = "PEM")]
    pub(crate) intermediate: Vec<PathBuf>,

    /// Whom to trust for TLS, PEM; without it the machine's own certificates.
    #[arg(long, value_name = "PEM")]
    pub(crate) tls_ca: Option<PathBuf>,

    /// Call private and loopback addresses too; with a value only that one. May be given several times.
    #[arg(long, value_name = "HOST:PORT", num_args = 0..=1, require_equals = true, default_missing_value = "*")]
    pub(crate) allow_private: Vec<String>,

    /// Print every check that was made, with the id of its rule.
    #[arg(long)]
    pub(crate) explain: bool,

    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Who one is.
#[derive(Debug, Args)]
pub(crate) struct ClientIdentity {
    /// Own certificate and its issuers below the root, PEM, own first.
    #[arg(long, value_name = "PEM")]
    pub(crate) certificate: PathBuf,

    /// Private key of the certificate, PKCS#8 PEM, readable by its owner only.
    #[arg(long, value_name = "PEM")]
    pub(crate) key: PathBuf,

    /// Own client URI; needed if the certificate names several.
    #[arg(long, value_name = "URI")]
    pub(crate) client_uri: Option<String>,

    /// Where registrations are remembered; made owner-only.
    #[arg(long, value_name = "FILE", default_value = "ward-client.json")]
    pub(crate) state: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ClientDiscover {
    #[command(flatten)]
    pub(crate) server: ClientServer,
}

#[derive(Debug, Args)]
pub(crate) struct ClientRegister {
    #[command(flatten)]
    pub(crate) server: ClientServer,
    #[command(flatten)]
    pub(crate) identity: ClientIdentity,

    /// Scopes to ask for, space-separated.
    #[arg(long, value_name = "SCOPES", default_value = "system/Patient.rs")]
    pub(crate) scope: String,

    /// Name of the application, for the server's operator.
    #[arg(long, value_name = "TEXT", default_value = "Ward client")]
    pub(crate) name: String,

    /// Contact for the server's operator, `mailto:…`. May be given several times.
    #[arg(long, value_name = "URI", required = true)]
    pub(crate) contact: Vec<String>,

    /// Logo of the application, an https URL.
    #[arg(long, value_name = "URL")]
    pub(crate) logo: Option<String>,

    /// End the registration instead.
    #[arg(long)]
    pub(crate) cancel: bool,
}

/// For whom and why a token is asked for.
#[derive(Debug, Args)]
pub(crate) struct ClientContext {
    /// Own organisation, the `organization_id` of hl7-b2b: a URI.
    #[arg(long, value_name = "URI")]
    pub(crate) organization: Option<String>,

    /// Name of the organisation.
    #[arg(long, value_name = "TEXT")]
    pub(crate) organization_name: Option<String>,

    /// Purpose of use: TREAT, HPAYMT, HOPERAT, PUBHLTH, HRESCH or PATRQT, or its full URI. May be given
    /// several times.
    #[arg(long, value_name = "CODE", default_value = "TREAT")]
    pub(crate) purpose: Vec<String>,

    /// Scopes to ask for; without it all that were registered.
    #[arg(long, value_name = "SCOPES")]
    pub(crate) scope: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ClientToken {
    #[command(flatten)]
    pub(crate) server: ClientServer,
    #[command(flatten)]
    pub(crate) identity: ClientIdentity,
    #[command(flatten)]
    pub(crate) context: ClientContext,

    /// Write the token to this file, owner-only.
    #[arg(long, value_name = "FILE", default_value = "ward-token.txt", conflicts_with = "show")]
    pub(crate) to: PathBuf,

    /// Print the token on standard output instead.
    #[arg(long)]
    pub(crate) show: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ClientGet {
    #[command(flatten)]
    pub(crate) server: ClientServer,
    #[command(flatten)]
    pub(crate) identity: ClientIdentity,
    #[command(flatten)]
    pub(crate) context: ClientContext,

    /// Use the token in this file (see `ward client token`) instead of getting one.
    #[arg(long, value_name = "FILE")]
    pub(crate) token: Option<PathBuf>,

    /// What to read, below the base: `/Patient/123`, `/Observation?patient=123`.
    #[arg(value_name = "PATH")]
    pub(crate) path: String,
}

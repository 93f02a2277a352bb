//! The command line of `ward client`: the other side of the wire, for anybody's UDAP server.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Talk to anybody's UDAP server as a client: discover, register, get a token, read.
///
/// Every step validates what the server says before it goes on, and says which check failed.
/// The private key is read from a file that only its owner can read, and is never printed.
///
/// Exit status: 0 done; 1 the server refused, or a call was not answered with success; 2 the command line or a file
/// that it names is wrong, or what was asked cannot be sent; 3 no UDAP at this base URL; 4 the server serves none of
/// the communities, or does not trust the certificate; 5 what the server says does not hold, and nothing further was
/// sent; 6 no answer.
#[derive(Debug, Subcommand)]
pub(crate) enum Client {
    /// Fetch and validate a server's signed metadata; needs no certificate of one's own.
    Discover(ClientDiscover),
    /// Validate a metadata document that is at hand, without asking its server.
    Verify(ClientVerify),
    /// Register at the server with a signed software statement.
    Register(ClientRegister),
    /// Show the registrations that are remembered; asks nobody.
    Status(ClientStatus),
    /// Change the registration: what is not given stays as it was registered.
    Update(ClientUpdate),
    /// End the registration.
    Cancel(ClientCancel),
    /// Get an access token for an organisation and a purpose of use.
    Token(ClientToken),
    /// Read from the FHIR API: PATH below the base, with its query.
    #[command(alias = "get")]
    Call(ClientCall),
    /// Say what is wrong, and what soon will be: certificate, lists, clock, metadata, registration.
    Doctor(ClientDoctor),
    /// Send a list of bad inputs to a server of your own, and say which of them it does not refuse.
    ///
    /// A client is registered for it and ended again. What one identity can send is sent, and how much was left out is
    /// said. The requests show up in the server's log, and may raise its alarms.
    Attack(ClientAttack),
}

/// Whether servers' certificates need fresh revocation lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Revocation {
    /// A certificate without a current list or OCSP answer is refused.
    Required,
    /// It passes unless it is known to be revoked. For a community whose lists are out of order.
    WhenAvailable,
}

/// Which edition of the rules a community holds its members to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Edition {
    /// The first edition of FAST Security.
    Stu1,
    /// FAST Security 2.0.0.
    Stu2,
    /// With the rules of TEFCA (unverified): the purpose is said in the code of the own certificate's URI.
    Tefca,
}

/// What all steps need: which server, and whom to believe.
#[derive(Debug, Args)]
pub(crate) struct ClientServer {
    /// FHIR base URL of the server, exactly as it names itself.
    #[arg(long, value_name = "URL")]
    pub(crate) base: String,

    #[command(flatten)]
    pub(crate) trust: ClientTrust,

    /// Print every check that was made, with the id of its rule.
    #[arg(long)]
    pub(crate) explain: bool,

    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whom to believe, and how to get there.
#[derive(Debug, Args)]
pub(crate) struct ClientTrust {
    /// File with one or several communities, each with own certificate and key, instead of the options for one.
    #[arg(long, value_name = "TOML")]
    pub(crate) config: Option<PathBuf>,

    /// URI of the trust community; asked for in discovery.
    #[arg(long, value_name = "URI", required_unless_present = "config", conflicts_with = "config")]
    pub(crate) community_uri: Option<String>,

    /// Root certificate of the community, PEM. May be given several times.
    #[arg(long, value_name = "PEM", required_unless_present = "config", conflicts_with = "config")]
    pub(crate) anchor: Vec<PathBuf>,

    /// Issuing certificates of the community that a server may leave out, PEM.
    #[arg(long, value_name = "PEM", conflicts_with = "config")]
    pub(crate) intermediate: Vec<PathBuf>,

    /// The edition that the community holds its members to.
    #[arg(long, value_enum, default_value = "stu2", conflicts_with = "config")]
    pub(crate) profile: Edition,

    /// What to do with certificates whose revocation lists cannot be had.
    #[arg(long, value_enum, default_value = "required", conflicts_with = "config")]
    pub(crate) revocation: Revocation,

    /// Whom to trust for TLS, PEM; without it the machine's own certificates.
    #[arg(long, value_name = "PEM")]
    pub(crate) tls_ca: Option<PathBuf>,

    /// Seconds that each answer may take, and each revocation list.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) timeout: Option<u64>,

    /// Call private and loopback addresses too; with a value only that one. May be given several times.
    #[arg(long, value_name = "HOST:PORT", num_args = 0..=1, require_equals = true, default_missing_value = "*")]
    pub(crate) allow_private: Vec<String>,
}

/// Who one is.
#[derive(Debug, Args)]
pub(crate) struct ClientIdentity {
    /// Own certificate and its issuers below the root, PEM, own first.
    #[arg(long, value_name = "PEM", required_unless_present = "config", conflicts_with = "config")]
    pub(crate) certificate: Option<PathBuf>,

    /// Private key of the certificate, PKCS#8 PEM, readable by its owner only.
    #[arg(long, value_name = "PEM", required_unless_present = "config", conflicts_with = "config")]
    pub(crate) key: Option<PathBuf>,

    /// Own client URI; needed if the certificate names several.
    #[arg(long, value_name = "URI", conflicts_with = "config")]
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
pub(crate) struct ClientVerify {
    #[command(flatten)]
    pub(crate) server: ClientServer,

    /// The document of `/.well-known/udap`, as it was fetched.
    #[arg(value_name = "FILE")]
    pub(crate) document: PathBuf,
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

    /// Register for the authorization code instead of client credentials: where browsers come back to, an https
    /// URL. May be given several times.
    #[arg(long, value_name = "URL")]
    pub(crate) redirect_uri: Vec<String>,

    /// Certification or endorsement to show: a file that holds its compact JWS. May be given several times.
    #[arg(long, value_name = "FILE")]
    pub(crate) certification: Vec<PathBuf>,

    /// Show the certificate again to a server that has said that it does not trust it.
    #[arg(long)]
    pub(crate) again: bool,

    /// End the registration instead; the same as `ward client cancel`.
    #[arg(long)]
    pub(crate) cancel: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ClientStatus {
    /// Where registrations are remembered.
    #[arg(long, value_name = "FILE", default_value = "ward-client.json")]
    pub(crate) state: PathBuf,

    /// Only those at this FHIR base URL.
    #[arg(long, value_name = "URL")]
    pub(crate) base: Option<String>,

    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ClientUpdate {
    #[command(flatten)]
    pub(crate) server: ClientServer,
    #[command(flatten)]
    pub(crate) identity: ClientIdentity,

    /// Scopes to ask for instead, space-separated.
    #[arg(long, value_name = "SCOPES")]
    pub(crate) scope: Option<String>,

    /// New name of the application.
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,

    /// New contacts, all of them, `mailto:…`.
    #[arg(long, value_name = "URI")]
    pub(crate) contact: Vec<String>,

    /// New logo, an https URL.
    #[arg(long, value_name = "URL")]
    pub(crate) logo: Option<String>,

    /// Certification or endorsement to show instead of those of before: a file that holds its compact JWS. May be given
    /// several times.
    #[arg(long, value_name = "FILE")]
    pub(crate) certification: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ClientCancel {
    #[command(flatten)]
    pub(crate) server: ClientServer,
    #[command(flatten)]
    pub(crate) identity: ClientIdentity,
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

    /// Purpose of use: TREAT, HPAYMT, HOPERAT, PUBHLTH, HRESCH, PATRQT, ELIGDTRM or SYSDEV, or its full URI. May be given
    /// several times.
    #[arg(long, value_name = "CODE", default_value = "TREAT")]
    pub(crate) purpose: Vec<String>,

    /// Name of the person who asks, where a person does.
    #[arg(long, value_name = "TEXT")]
    pub(crate) subject_name: Option<String>,

    /// Identifier of that person, as `urn:oid:2.16.840.1.113883.4.6#…` for an NPI.
    #[arg(long, value_name = "URI")]
    pub(crate) subject_id: Option<String>,

    /// Role of that person.
    #[arg(long, value_name = "TEXT")]
    pub(crate) subject_role: Option<String>,

    /// Policy under which consent was given, a URI. May be given several times.
    #[arg(long, value_name = "URI")]
    pub(crate) consent_policy: Vec<String>,

    /// Where the consent can be read, a URL. May be given several times.
    #[arg(long, value_name = "URL")]
    pub(crate) consent_reference: Vec<String>,

    /// A further extension object to send, as `hl7-b2b-user=FILE` with its JSON. May be given several times.
    #[arg(long, value_name = "NAME=FILE")]
    pub(crate) extension: Vec<String>,

    /// Scopes to ask for; without it all that were registered.
    #[arg(long, value_name = "SCOPES")]
    pub(crate) scope: Option<String>,

    /// Keep tokens in this file, owner-only, and use them again while they last: only for the same server,
    /// scopes, organisation, person and purpose.
    #[arg(long, value_name = "FILE")]
    pub(crate) cache: Option<PathBuf>,
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
pub(crate) struct ClientCall {
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

#[derive(Debug, Args)]
pub(crate) struct ClientDoctor {
    #[command(flatten)]
    pub(crate) server: ClientServer,
    #[command(flatten)]
    pub(crate) identity: ClientIdentity,
    #[command(flatten)]
    pub(crate) context: ClientContext,
}

#[derive(Debug, Args)]
pub(crate) struct ClientAttack {
    #[command(flatten)]
    pub(crate) server: ClientServer,
    #[command(flatten)]
    pub(crate) identity: ClientIdentity,

    /// Host of the server, to say that it is yours to attack: the base's, and those of its endpoints if they have
    /// others. May be given several times; without it nothing is sent.
    #[arg(long, value_name = "HOST")]
    pub(crate) i_own_this_server: Vec<String>,

    /// Own organisation, the `organization_id` of hl7-b2b: a URI.
    #[arg(long, value_name = "URI")]
    pub(crate) organization: String,

    /// Contact for the server's operator, `mailto:…`.
    #[arg(long, value_name = "URI")]
    pub(crate) contact: String,

    /// Scopes to register for, space-separated; the server must support the first.
    #[arg(long, value_name = "SCOPES", default_value = "system/Patient.rs")]
    pub(crate) scope: String,

    /// Demand Ward's own answers: its error codes and statuses, and that it accepts what Ward accepts. Without it any
    /// code of the endpoint will do.
    #[arg(long)]
    pub(crate) exact: bool,

    /// A registration of the same client URI that is there already may be changed and ended.
    #[arg(long)]
    pub(crate) replace: bool,
}

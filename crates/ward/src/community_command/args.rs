//! The command line of `ward community`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use ward_community::{AuthorityId, Profile, Reason};

use super::certify_args::{CertificationAct, Certify, StatusListen};
use super::signals::{Reach, SignalsAct};

/// Run a trust community: its authorities, its members' certificates, revocation lists and OCSP answers.
///
/// Everything lies in one directory: keys sealed in a vault, the root's in a vault of its own that is taken offline
/// after `init`, a register of what was issued, and a log of every act (ward log verify --data DIR).
#[derive(Debug, Subcommand)]
pub(crate) enum Community {
    Init(Init),
    Request(Request),
    Issue(Issue),
    Renew(Renew),
    Rekey(Rekey),
    Revoke(Revoke),
    List(List),
    /// The revocation lists.
    #[command(subcommand)]
    Lists(Lists),
    /// The community's own authorities.
    #[command(subcommand)]
    Authority(AuthorityAct),
    /// The trust bundle that members follow.
    #[command(subcommand)]
    Bundle(BundleAct),
    /// The directory of who is in the community.
    #[command(subcommand)]
    Directory(DirectoryAct),
    Certify(Certify),
    /// Certifications that were issued.
    #[command(subcommand)]
    Certification(CertificationAct),
    /// Members that are told at once when trust ends.
    #[command(subcommand)]
    Signals(SignalsAct),
    Serve(Serve),
}

/// Where a community lies, and what opens its vault.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Directory of the community.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Key file that opens the vault; without it DIR/vault.key.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// File with the passphrase that opens the vault instead: at least 12 characters, readable by its owner only.
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Who acts, for the community's log; without it the name of this account.
    #[arg(long, value_name = "NAME")]
    pub(crate) operator: Option<String>,
}

/// Where the root's key is, when it is there.
#[derive(Debug, Args)]
pub(crate) struct Root {
    /// The root's vault; without it DIR/root-vault.
    #[arg(long = "root-vault", id = "root-vault", value_name = "DIR")]
    pub(crate) vault: Option<PathBuf>,
    /// Key file that opens the root's vault; without it DIR/root.key.
    #[arg(long = "root-key-file", id = "root-key-file", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// File with the passphrase that opens the root's vault instead.
    #[arg(
        long = "root-passphrase-file",
        id = "root-passphrase-file",
        value_name = "FILE",
        conflicts_with = "root-key-file"
    )]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// Make a community in a new directory: root, issuing authority, OCSP responder and first lists.
#[derive(Debug, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) root: Root,
    /// The URI by which members know the community; it stays.
    #[arg(long, value_name = "URI")]
    pub(crate) uri: String,
    /// Its name for people, which stands in the authorities' certificates; without it the URI's host.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Where members reach `ward community serve` (http://host:port, plain HTTP: all of it is signed). Every
    /// certificate names it; it stays.
    #[arg(long, value_name = "URL")]
    pub(crate) public: String,
    /// Admit only members' URIs that begin so; ends in '/' or ':'. Can be repeated.
    #[arg(long = "admit", value_name = "PREFIX")]
    pub(crate) admit: Vec<String>,
    /// Days that the root's list is good for; bring the root's key back before half of them are over.
    #[arg(long, value_name = "DAYS", default_value_t = 180, value_parser = clap::value_parser!(u32).range(1..=366))]
    pub(crate) root_list_days: u32,
}

/// For a member: make a key and the request for its certificate.
///
/// The key stays with the member; the request goes to the operator. `ward init` makes a server's by itself.
#[derive(Debug, Args)]
pub(crate) struct Request {
    /// The member's URI, as https://partner.example/app.
    #[arg(long, value_name = "URI")]
    pub(crate) uri: String,
    /// Make an RSA key, as servers and identity providers need; without it P-256.
    #[arg(long)]
    pub(crate) rsa: bool,
    /// New directory for key.pem and request.pem.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ProfileArg {
    /// Signs a FHIR server's metadata; RSA; its URI is the FHIR base.
    Server,
    /// Signs a client's registrations and token requests.
    Client,
    /// Signs an identity provider's metadata; RSA; its URI is the issuer's.
    Idp,
    /// Signs certifications and endorsements.
    CertificationIssuer,
}

impl From<ProfileArg> for Profile {
    fn from(of: ProfileArg) -> Self {
        match of {
            ProfileArg::Server => Self::Server,
            ProfileArg::Client => Self::Client,
            ProfileArg::Idp => Self::Idp,
            ProfileArg::CertificationIssuer => Self::CertificationIssuer,
        }
    }
}

/// For how long a certificate is to be good.
#[derive(Debug, Args)]
pub(crate) struct Life {
    /// Days that the certificate is good for.
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=398))]
    pub(crate) days: u64,
    /// Where to write the certificate, PEM: leaf first, then the issuing authority, without the root.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Issue a certificate for a new member, or another one for a member.
///
/// Find out first that who asks is who the URI says: the certificate is the proof from then on.
#[derive(Debug, Args)]
pub(crate) struct Issue {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The member's request, PEM (PKCS#10). Only its key is taken from it, and its URIs are compared.
    #[arg(long, value_name = "FILE")]
    pub(crate) request: PathBuf,
    /// What the certificate is for.
    #[arg(long, value_enum)]
    pub(crate) profile: ProfileArg,
    /// The URI that you found to be the member's. Can be repeated.
    #[arg(long, value_name = "URI", required = true)]
    pub(crate) uri: Vec<String>,
    /// The member's name, for people; without it the URI's host. A URI stays with its holder's name.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) life: Life,
}

/// Which certificate.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// Its serial number, hexadecimal (see `ward community list`).
    #[arg(long, value_name = "HEX")]
    pub(crate) serial: Option<String>,
    /// The certificate itself, PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,
}

/// Issue the next certificate for the same member, URIs and key. Partners need not be told.
#[derive(Debug, Args)]
pub(crate) struct Renew {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) life: Life,
}

/// Issue the next certificate for the same member and URIs with a new key. Revoke the former when it is replaced.
#[derive(Debug, Args)]
pub(crate) struct Rekey {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) which: Which,
    /// The request made with the new key, PEM (PKCS#10).
    #[arg(long, value_name = "FILE")]
    pub(crate) request: PathBuf,
    #[command(flatten)]
    pub(crate) life: Life,
}

/// Revoke a member's certificate for good: OCSP tells at once, and the next list is published.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Why (RFC 5280 §5.3.1). Only affiliation-changed and cessation-of-operation free its URI for another holder.
    #[arg(long, value_parser = reason)]
    pub(crate) reason: Reason,
}

pub(super) fn reason(word: &str) -> Result<Reason, String> {
    Reason::parse(word)
        .ok_or_else(|| format!("is none; one of: {}", Reason::ALL.map(Reason::as_str).join(", ")))
}

/// Show what was issued, oldest first.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Directory of the community.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Lists {
    Publish(Publish),
}

/// Sign the next revocation lists now: members', and the authorities' if the root's key is there.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) root: Root,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityAct {
    /// Issue the next certificate of the issuing authority, with the same key. Needs the root's key.
    Renew(WithRoot),
    /// Make a new issuing authority with a new key, which signs members from now on. Needs the root's key.
    ///
    /// The former signs its list and its OCSP answers until the last certificate that it issued has ended; then its key is
    /// destroyed. Nobody needs a new certificate for it.
    Rekey(WithRoot),
    /// Revoke an issuing authority whose key is in other hands, with all that it signed. Needs the root's key.
    ///
    /// Make another one first (rekey). Its members keep their keys: renew each of their certificates then.
    Revoke(AuthorityRevoke),
    /// Make the next root beside the present one. Needs the root's key, and keeps the next one's with it.
    ///
    /// Members who follow the trust bundle trust both from the next bundle on, which is published at once if there is one.
    NextRoot(WithRoot),
    /// Let the elder of two roots go: members who follow the trust bundle stop trusting it. Needs no root's key.
    ///
    /// Wait until everybody has had time to take a bundle with both: at least as long as a bundle is good for.
    RetireRoot(WithoutRoot),
}

#[derive(Debug, Args)]
pub(crate) struct AuthorityRevoke {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) root: Root,
    /// Which: issuing, issuing-2, … as `ward community lists publish` names them.
    #[arg(long, value_name = "AUTHORITY", value_parser = authority)]
    pub(crate) name: AuthorityId,
}

fn authority(word: &str) -> Result<AuthorityId, String> {
    AuthorityId::parse(word).ok_or_else(|| "is none; write issuing, issuing-2, …".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct WithoutRoot {
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct WithRoot {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) root: Root,
}

/// Serve revocation lists, authorities, OCSP answers, bundle and directory, until Ctrl-C. Members can be issued and revoked meanwhile.
///
/// Lists, the responder's certificate and the trust bundle are signed anew before half of their life is over.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Where to listen, plain HTTP.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) status: StatusListen,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BundleAct {
    Publish(BundlePublish),
}

/// Sign and publish the next trust bundle: anchors, revocation places and rules, which members follow from PUBLIC/bundle.jwt.
///
/// Publish the next one well before this one ends: members close their doors when it does. A new root comes in beside the
/// old one, with a certificate for it that the old root signed; leave the old one out in a later bundle.
#[derive(Debug, Args)]
pub(crate) struct BundlePublish {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Days until it ends.
    #[arg(long, value_name = "DAYS", default_value_t = 14, value_parser = clap::value_parser!(u64).range(1..=90))]
    pub(crate) days: u64,
    /// A purpose of use that members may assert (TREAT, HPAYMT, …). Can be repeated.
    #[arg(long = "purpose", value_name = "CODE", default_value = "TREAT")]
    pub(crate) purposes: Vec<String>,
    /// What an organization_id may begin with. Can be repeated.
    #[arg(long = "organization-scheme", value_name = "PREFIX", default_values = ["urn:oid:", "https:"])]
    pub(crate) organization_schemes: Vec<String>,
    /// A certification without which nobody may register. Can be repeated.
    #[arg(long = "certification", value_name = "URI")]
    pub(crate) certifications: Vec<String>,
    /// The URI of somebody who certifies under this community's root, beside those under whose URIs it certified
    /// already. Can be repeated.
    #[arg(long = "certifier", value_name = "URI")]
    pub(crate) certifiers: Vec<String>,
    /// A naming system of which a subject_id must have one, as urn:oid:2.16.840.1.113883.4.6 for the NPI. Can be repeated;
    /// without it any.
    #[arg(long = "subject-id-system", value_name = "URI")]
    pub(crate) subject_id_systems: Vec<String>,
    /// A value of which a subject_role must be one; what ends in # is a code system. Can be repeated; without it any.
    #[arg(long = "role", value_name = "VALUE")]
    pub(crate) roles: Vec<String>,
    /// A policy that consent_policy may name. Can be repeated; without it any.
    #[arg(long = "consent-policy", value_name = "URI")]
    pub(crate) consent_policies: Vec<String>,
    /// A scope that each server of the community supports at least. Can be repeated.
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<String>,
    /// PEM of further roots: the next one, while both are live.
    #[arg(long, value_name = "FILE")]
    pub(crate) add_anchors: Option<PathBuf>,
    /// PEM of further authorities: the certificate by which this root vouches for the next, and what is below that.
    #[arg(long, value_name = "FILE")]
    pub(crate) add_intermediates: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DirectoryAct {
    Publish(DirectoryPublish),
}

/// Publish the directory as of now: a FHIR R4 Bundle of Organization and Endpoint, at PUBLIC/directory.json.
#[derive(Debug, Args)]
pub(crate) struct DirectoryPublish {
    #[command(flatten)]
    pub(crate) place: Place,
}

//! Why the operator could not do what was asked.

use std::io;
use std::path::PathBuf;

use ward_core::SinkError;

use crate::Finding;

/// The operator's errors. None carries a key.
#[derive(Debug, thiserror::Error)]
pub enum CommunityError {
    /// The request would make a certificate that members refuse; nothing was issued.
    #[error("not issued: {0}")]
    Lint(Finding),
    /// Another holder has this URI: servers would take the new one for the old. Nothing was issued.
    #[error(
        "not issued: {0} belongs to another holder; if that one gave it up, first revoke its last certificate as affiliation-changed or cessation-of-operation"
    )]
    UriTaken(String),
    /// The holder has a certificate with this URI, and did not ask for a renewal. Nothing was issued.
    #[error("not issued: this holder has a certificate for {0} already; renew or re-key that one")]
    UriHeld(String),
    /// There is a community in this directory already.
    #[error("{0} holds a community already; open it, or use another directory")]
    Exists(PathBuf),
    /// There is no community in this directory.
    #[error("{0} holds no community; create one first")]
    Missing(PathBuf),
    /// Another process works in this directory.
    #[error("{0} is in use by another process; stop it first")]
    InUse(PathBuf),
    /// A file of the community does not parse: altered, or from a newer version.
    #[error("{0} is damaged; restore the directory from a backup")]
    Damaged(PathBuf),
    /// An authority's key is not in the vault.
    #[error("the key `{0}` is not in the vault; restore the vault that belongs to this directory")]
    KeyMissing(String),
    /// No certificate of this community has this thumbprint.
    #[error("no such certificate")]
    Unknown,
    /// The root's key is kept elsewhere.
    #[error("the root's key is not here; bring its vault back for this act")]
    RootAway,
    /// The request asks for URIs that the operator did not approve. Nothing was issued.
    #[error(
        "not issued: the request asks for {0}, which you did not name; if the member may have it, name it too, else have a new request made"
    )]
    UriUnasked(String),
    /// The community's URIs begin otherwise. Nothing was issued.
    #[error("not issued: {0} begins with none of the prefixes that this community admits ({1})")]
    UriForeign(String, String),
    /// The key was given up. Nothing was issued.
    #[error("not issued: this key was revoked as compromised; have a new key made")]
    KeyCompromised,
    /// The key is another holder's. Nothing was issued.
    #[error("not issued: {0} has a certificate for the same key; each holder has keys of its own")]
    KeyShared(String),
    /// The request is made with the key that is to be replaced. Nothing was issued.
    #[error("not issued: the request is made with the same key; have a new key made, or renew")]
    KeySame,
    /// A revoked certificate is not renewed. Nothing was issued.
    #[error("not issued: the certificate is revoked; have a new key made and re-key")]
    RenewRevoked,
    /// There is a next root already. Nothing was made.
    #[error("there are two roots already; let the elder one go first")]
    TwoRoots,
    /// There is no other root to go on with. Nothing was ended.
    #[error("there is one root only; make the next one first")]
    OneRoot,
    /// The authority signs members now. Nothing was ended.
    #[error(
        "this authority signs members now; make a new one first with: ward community authority rekey"
    )]
    AuthorityInUse,
    /// No issuing authority of this name vouches for anybody. Nothing was ended.
    #[error(
        "there is no such issuing authority; `ward community lists publish` names those that there are"
    )]
    UnknownAuthority,
    /// Members have not been told of the next root. Nothing was ended.
    #[error(
        "no trust bundle names the next root yet; publish one, and give members time to take it"
    )]
    RootUntold,
    /// No certification of this community has this id.
    #[error("no such certification; `ward community certification list` shows them")]
    UnknownCertification,
    /// Servers would refuse the certification. Nothing was issued.
    #[error("not certified: {0}")]
    Certification(#[from] ward_trust::certification::CertificationError),
    /// The certificate is for something else. Nothing was issued.
    #[error(
        "not certified: the certificate is a {0}'s; have one issued with --profile certification-issuer"
    )]
    NoCertifier(&'static str),
    /// The certifier's certificate is revoked or over. Nothing was issued.
    #[error(
        "not certified: the certifier's certificate is revoked or has ended; renew or re-key it"
    )]
    CertifierEnded,
    /// The certifier's key and certificate do not sign.
    #[error("not certified: {0}")]
    Signer(#[source] ward_trust::JoseError),
    /// No member has this base.
    #[error(
        "no member has a good server certificate for {0}; issue one first, and name its SAN URI"
    )]
    NoMember(String),
    /// It is not known where the member takes signals, or not over TLS.
    #[error(
        "where signals for {0} go is not known; name the https URL that its operator gave you with --endpoint"
    )]
    NoEndpoint(String),
    /// Nobody is told under this base.
    #[error("{0} is not told by signals; `ward community signals list` shows who is")]
    NoSubscriber(String),
    /// An OCSP answer could not be made.
    #[error("no OCSP answer: {0}")]
    Ocsp(#[from] ward_trust::OcspError),
    /// The URI is the community's own: whoever has a certificate for it signs trust bundles.
    #[error(
        "not issued: {0} is the community itself, and no member may be it; name the member's own URI"
    )]
    UriReserved(String),
    /// Members would refuse the trust bundle. Nothing was published.
    #[error("not published: {0}")]
    Bundle(#[from] ward_trust::BundleError),
    /// The certificate was revoked before.
    #[error("the certificate is revoked already")]
    Revoked,
    /// The register holds as many certificates as it may.
    #[error("the register is full ({0} certificates)")]
    Full(usize),
    /// Keys or certificates could not be made.
    #[error("signing failed: {0}")]
    Signing(#[from] rcgen::Error),
    /// The vault did not keep or give a key.
    #[error(transparent)]
    Vault(#[from] ward_store::StoreError),
    /// The act is done, but not yet in the log; it will be recorded with the next act.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A file operation failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A background task was cut off: the program ends.
    #[error("interrupted")]
    Interrupted,
}

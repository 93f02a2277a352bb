//! What a passport says: plain values, the same for a person and for a script. Times are milliseconds since 1970 (UTC).
//! Everything in it is public in the community or Ward's own: no PHI, no secrets.

use serde::Serialize;
use ward_core::{
    ClientId, ClientUri, CommunityUri, GrantId, OrganizationUri, Purpose, Thumbprint, Timestamp,
};

/// Who trusts whom here, through which chain, until when, and what hangs on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Passport {
    /// When it was looked at.
    pub at: Timestamp,
    /// What was asked about; none: everything.
    pub entity: Option<String>,
    /// The communities concerned: at most 100.
    pub communities: Vec<CommunityPassport>,
    /// The clients concerned: at most 100.
    pub clients: Vec<ClientPassport>,
    /// Registrations looked at that concern it.
    pub registrations: usize,
    /// Their live grants.
    pub live_grants: usize,
    /// Whether there is more than is shown or was looked at; name an entity to see it.
    pub more: bool,
}

/// One community, as this Ward sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommunityPassport {
    /// Its URI.
    pub community: CommunityUri,
    /// Last second of its trust bundle; none if it was configured by hand.
    pub trusted_until: Option<Timestamp>,
    /// By what its members know this Ward.
    pub ours: Option<CertificateView>,
    /// Where paths of its members end.
    pub anchors: Vec<CertificateView>,
    /// Authorities below, as far as they are configured.
    pub issuers: Vec<CertificateView>,
    /// Certifications that it asks for or offers.
    pub certifications: Vec<SupportedCertification>,
}

/// A certification that clients of a community may show, or must.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SupportedCertification {
    /// Its URI.
    pub uri: String,
    /// Whether nobody gets in without it.
    pub required: bool,
    /// Whether clients declare it of themselves.
    pub declared: bool,
    /// Who may certify; none: everybody under the anchors.
    pub certifiers: Vec<String>,
    /// SHA-256 of the certificates at which certifiers' paths end.
    pub anchors: Vec<Thumbprint>,
    /// Scopes that it unlocks.
    pub unlocks: String,
}

/// A certification that a client showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificationView {
    /// `certification:…` as a subject.
    pub id: Thumbprint,
    /// Its name.
    pub name: String,
    /// Its URIs.
    pub uris: Vec<String>,
    /// Who certifies.
    pub certifier: ClientUri,
    /// SHA-256 of the certificate that signed it.
    pub signer: Thumbprint,
    /// When it ends.
    pub until: Timestamp,
    /// Why it counts no more; none: it counts, as far as is known here.
    pub void: Option<&'static str>,
}

/// One registered client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientPassport {
    /// Its id.
    pub client: ClientId,
    /// Its URI, which its certificate proves.
    pub uri: ClientUri,
    /// Its name, as it gave it.
    pub name: String,
    /// The community that vouches for it.
    pub community: CommunityUri,
    /// Organisations for which it has live grants.
    pub organizations: Vec<OrganizationUri>,
    /// Whom to write to.
    pub contacts: Vec<String>,
    /// What it may ask for.
    pub scopes: String,
    /// When it registered.
    pub registered: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Why it would get no token now; none: it would.
    pub refused: Option<String>,
    /// Until when the newest of its paths lasts, if it has one.
    pub until: Option<Timestamp>,
    /// The path of the certificate that it registered with, then those of renewed ones with live grants.
    pub paths: Vec<PathView>,
    /// Certifications that it showed.
    pub certifications: Vec<CertificationView>,
    /// Its live grants: at most 100, newest first.
    pub grants: Vec<GrantView>,
    /// How many live grants there are.
    pub live_grants: usize,
}

/// From a client's certificate to an anchor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathView {
    /// Whether the client registered with this one; else it was renewed since.
    pub registered: bool,
    /// The client's own first, the anchor last; only its own if there is no path.
    pub certificates: Vec<CertificateView>,
    /// Why there is no path.
    pub broken: Option<String>,
    /// Until when it lasts: the first end of its certificates.
    pub until: Timestamp,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateView {
    /// `client`, `issuer`, `anchor` or `server`.
    pub role: &'static str,
    /// Its subject.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// Its SAN URIs.
    pub uris: Vec<String>,
    /// SHA-256 of it: `certificate:…` as a subject.
    pub thumbprint: Thumbprint,
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// `here` if an operator or a list that Ward saw ended it, `listed` if what is at hand names it.
    pub revoked: Option<&'static str>,
    /// What was last learnt of its revocation; none for an anchor, or if nothing was asked yet.
    pub checks: Vec<Check>,
}

/// What a list or an OCSP answer says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `list` or `ocsp`.
    pub by: &'static str,
    /// Where it comes from.
    pub url: String,
    /// The list's number, hexadecimal.
    pub number: Option<String>,
    /// When it was made.
    pub this_update: Option<Timestamp>,
    /// When a newer one is due.
    pub next_update: Option<Timestamp>,
    /// When Ward fetched it.
    pub fetched: Option<Timestamp>,
    /// Whether it names the certificate.
    pub revoked: bool,
    /// Why the last fetch failed.
    pub failure: Option<String>,
}

/// One live grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantView {
    /// Its id: `grant:…` as a subject.
    pub grant: GrantId,
    /// For whom.
    pub organization: OrganizationUri,
    /// What for.
    pub purposes: Vec<Purpose>,
    /// What it may do.
    pub scopes: String,
    /// The certificate that asked for it.
    pub certificate: Thumbprint,
    /// When it was made.
    pub issued: Timestamp,
    /// When it and its token end at the latest.
    pub expires: Timestamp,
}

/// What would stop with one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ends {
    /// The certificate.
    pub certificate: CertificateView,
    /// Communities of which it is an anchor or a configured authority.
    pub communities: Vec<CommunityUri>,
    /// Communities whose members know this Ward by it.
    pub ours: Vec<CommunityUri>,
    /// Clients that would stop: at most 1000.
    pub clients: Vec<EndingClient>,
    /// How many registrations could get no token any more.
    pub registrations: usize,
    /// How many grants would end, each with its token.
    pub live_grants: usize,
    /// When the last of these tokens would have ended by itself.
    pub last_token_ends: Option<Timestamp>,
}

/// One client that would stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndingClient {
    /// Its id.
    pub client: ClientId,
    /// Its URI.
    pub uri: ClientUri,
    /// Its name.
    pub name: String,
    /// Its community.
    pub community: CommunityUri,
    /// Whom to tell.
    pub contacts: Vec<String>,
    /// Whether it registered under the certificate, and would get no token without registering anew.
    pub registration: bool,
    /// Grants that would end.
    pub grants: Vec<GrantId>,
}

/// Something that ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lapse {
    /// `server-certificate`, `tls-certificate`, `client-certificate`, `certification`, `issuer`, `anchor`, `bundle`, `list` or `ocsp`.
    pub what: &'static str,
    /// Whose: a URI or subject.
    pub whose: String,
    /// When it ends.
    pub until: Timestamp,
    /// Whether it has ended already.
    pub over: bool,
    /// The certificate.
    pub thumbprint: Option<Thumbprint>,
    /// The client whose certificate it is.
    pub client: Option<ClientId>,
    /// Whom to write to.
    pub contacts: Vec<String>,
    /// What to know of it.
    pub note: Option<String>,
}

/// What ends soon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lapses {
    /// When it was looked at.
    pub at: Timestamp,
    /// Everything that ends before this is named.
    pub before: Timestamp,
    /// Soonest first; at most 1000.
    pub lapses: Vec<Lapse>,
    /// Whether there are more.
    pub more: bool,
}

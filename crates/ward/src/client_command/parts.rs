//! What every step of `ward client` works with: communities and own certificates from the command line or `--config`,
//! the way to the network, and the search for a community that server and client have in common.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ward_client::{
    ClientError, Config, Discovered, Discovery, Joined, Membership, Memberships, PartnerClient,
    checks,
};
use ward_core::{ClientUri, CommunityUri, Limits, Purpose};
use ward_net::client::{Egress, HttpClient};
use ward_net::lists::RevocationLists;
use ward_net::tls::client_config;
use ward_trust::context::UserObject;
use ward_trust::{Community, Profile, SigningIdentity};

use super::files;
use super::settings::Settings;
use super::talk::{Failure, Talk};
use crate::cli_client::{ClientIdentity, ClientServer, ClientTrust, Edition, Revocation};
use crate::house::{System, system};

/// A community and where the own certificate for it is.
struct Place {
    uri: String,
    anchors: Vec<PathBuf>,
    intermediates: Vec<PathBuf>,
    revocation: Revocation,
    profile: Edition,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_uri: Option<String>,
}

/// What the command line, or the file that it names, says.
struct Given {
    places: Vec<Place>,
    tls_ca: Option<PathBuf>,
    allow_private: Vec<String>,
}

/// What every step works with.
pub(super) struct Parts {
    pub(super) system: System,
    pub(super) http: HttpClient,
    pub(super) lists: Arc<RevocationLists>,
    /// Each with the certificate, once it is loaded.
    communities: Vec<(Community, Place)>,
}

impl Parts {
    /// Communities and network; `who` only where the command has one.
    pub(super) fn new(
        talk: &mut Talk,
        trust: &ClientTrust,
        who: Option<&ClientIdentity>,
    ) -> Result<Self, Failure> {
        let mut system = system();
        if let Some(seconds) = trust.timeout {
            let life = Duration::from_secs(seconds);
            let mut limits = Limits::clone(&system.limits);
            (limits.upstream_timeout, limits.crl_timeout) = (life, life);
            limits.connect_timeout = limits.connect_timeout.max(life / 2);
            system.limits = Arc::new(limits);
        }
        let Given { places, tls_ca, allow_private } = given(trust, who)?;
        let mut communities = Vec::new();
        for place in places {
            let community = community(&place)?;
            if !community.require_revocation {
                talk.warn(format!(
                    "certificates of {} pass without revocation information, as it was asked for (CLI-09); \
                     a stolen key of a member is believed until its certificate ends",
                    place.uri
                ));
            }
            communities.push((community, place));
        }
        let egress = if allow_private.iter().any(|target| target == "*") {
            Egress::anywhere()
        } else {
            Egress::allowing(allow_private)
        };
        let roots = files::tls_roots(tls_ca.as_deref())?;
        let tls = client_config(roots.iter().map(Vec::as_slice)).map_err(|error| {
            Failure::usage(format!("--tls-ca: {error}"), "use a PEM of CA certificates")
        })?;
        let http = HttpClient::new(egress, tls, system.limits.clone());
        let lists = RevocationLists::new(http.clone(), system.clock.clone(), system.limits.clone());
        Ok(Self { system, http, lists, communities })
    }

    /// A client for each community, with its certificate.
    pub(super) fn memberships(&self) -> Result<Memberships, Failure> {
        let mut memberships = Vec::new();
        for (community, place) in &self.communities {
            let (Some(certificate), Some(key)) = (&place.certificate, &place.key) else {
                return Err(Failure::usage(
                    "--certificate and --key are missing",
                    "give your certificate and its key",
                ));
            };
            let identity = identity(certificate, key)?;
            let uri = client_uri(&identity, place.client_uri.as_deref(), certificate)?;
            let client = Arc::new(PartnerClient::new(Config {
                community: community.clone(),
                identity: Arc::new(identity),
                http: Arc::new(self.http.clone()),
                lists: Arc::new(self.lists.clone()),
                clock: self.system.clock.clone(),
                rng: self.system.rng.clone(),
                limits: self.system.limits.clone(),
            }));
            memberships.push(Membership { client, uri });
        }
        Ok(Memberships::new(memberships))
    }

    /// How servers of the first community are discovered.
    pub(super) fn discovery(&self) -> Option<Discovery> {
        let (community, _) = self.communities.first()?;
        Some(Discovery {
            community: community.clone(),
            http: Arc::new(self.http.clone()),
            lists: Arc::new(self.lists.clone()),
            clock: self.system.clock.clone(),
            limits: self.system.limits.clone(),
        })
    }

    /// The server's metadata, without a certificate of one's own where there is one community.
    pub(super) async fn find(
        &self,
        talk: &mut Talk,
        server: &ClientServer,
    ) -> Result<Discovered, Failure> {
        if self.communities.len() > 1 {
            return Ok(self.join(talk, server, &self.memberships()?).await?.server);
        }
        let found = match self.discovery() {
            Some(discovery) => discovery.discover(&server.base).await,
            None => Err(ClientError::CommunityNotServed),
        };
        talk.step("discovery", checks::DISCOVERY, self, found)
    }

    /// The first community that the server serves.
    pub(super) async fn join(
        &self,
        talk: &mut Talk,
        server: &ClientServer,
        memberships: &Memberships,
    ) -> Result<Joined, Failure> {
        match memberships.discover(&server.base).await {
            Ok(joined) => {
                talk.checked("discovery", checks::DISCOVERY, None);
                self.joined(talk, &joined);
                Ok(joined)
            }
            Err(stopped) => Err(talk.stopped(&stopped, self)),
        }
    }

    /// Which community it was, where there are several.
    pub(super) fn joined(&self, talk: &mut Talk, joined: &Joined) {
        if self.communities.len() > 1 {
            let uri = joined.membership.client.community().uri.as_str();
            talk.fact("community", uri);
            talk.passed_over(&joined.passed_over);
        }
        for warning in &joined.server.warnings {
            talk.warn(*warning);
        }
    }
}

fn given(trust: &ClientTrust, who: Option<&ClientIdentity>) -> Result<Given, Failure> {
    let mut allow_private = trust.allow_private.clone();
    if let Some(path) = &trust.config {
        let settings = Settings::read(path)?;
        allow_private.extend(settings.allow_private);
        let places = settings.community.into_iter().map(|one| Place {
            uri: one.uri,
            anchors: one.anchors,
            intermediates: one.intermediates,
            revocation: one.revocation.map_or(Revocation::Required, Into::into),
            profile: one.profile.map_or(Edition::Stu2, Into::into),
            certificate: Some(one.certificate),
            key: Some(one.key),
            client_uri: one.client_uri,
        });
        let tls_ca = trust.tls_ca.clone().or(settings.tls_ca);
        return Ok(Given { places: places.collect(), tls_ca, allow_private });
    }
    let place = Place {
        uri: trust.community_uri.clone().unwrap_or_default(),
        anchors: trust.anchor.clone(),
        intermediates: trust.intermediate.clone(),
        revocation: trust.revocation,
        profile: trust.profile,
        certificate: who.and_then(|who| who.certificate.clone()),
        key: who.and_then(|who| who.key.clone()),
        client_uri: who.and_then(|who| who.client_uri.clone()),
    };
    Ok(Given { places: vec![place], tls_ca: trust.tls_ca.clone(), allow_private })
}

fn community(place: &Place) -> Result<Community, Failure> {
    let uri = CommunityUri::parse(&place.uri).map_err(|error| {
        Failure::usage(format!("--community-uri: {error}"), "give the URI that names the community")
    })?;
    let mut community = Community::new(uri, files::parsed("--anchor", &place.anchors)?);
    community.intermediates = files::parsed("--intermediate", &place.intermediates)?;
    community.check().map_err(|fault| {
        Failure::usage(
            format!("--anchor: {fault}"),
            "give the certificate of the community's root itself",
        )
    })?;
    // What a server's community allows is the server's to say; any of ours is sent.
    community.purposes = Purpose::ALL.to_vec();
    community.organization_schemes = ["urn:", "https:", "http:"].map(ToOwned::to_owned).to_vec();
    community.profile = match place.profile {
        Edition::Stu1 => Profile::Stu1,
        Edition::Stu2 => Profile::Stu2,
        Edition::Tefca => Profile::Tefca,
    };
    // What is said of a person is looked at before it is sent.
    community.context.user = UserObject::Supported;
    community.require_revocation = place.revocation == Revocation::Required;
    Ok(community)
}

/// The own certificate and its key.
fn identity(certificate: &Path, key: &Path) -> Result<SigningIdentity, Failure> {
    let chain = files::certificates("--certificate", certificate)?;
    let key = files::private_key(key)?;
    SigningIdentity::from_pkcs8(&chain, &key).map_err(|error| {
        Failure::usage(
            format!("--certificate {} with --key: {error}", certificate.display()),
            "give a chain with the own certificate first, and its key: RSA from 2048 bits, P-256 or P-384",
        )
    })
}

fn client_uri(
    identity: &SigningIdentity,
    wanted: Option<&str>,
    certificate: &Path,
) -> Result<ClientUri, Failure> {
    let uri = match (wanted, identity.san_uris()) {
        (Some(uri), _) => uri,
        (None, [only]) => only,
        (None, []) => {
            return Err(Failure::usage(
                format!("--certificate {} names no URI (SAN)", certificate.display()),
                "use a certificate that a UDAP community issued",
            ));
        }
        (None, many) => {
            return Err(Failure::usage(
                format!("the certificate names several URIs: {}", many.join(" ")),
                "say which with --client-uri",
            ));
        }
    };
    ClientUri::parse(uri).map_err(|error| {
        Failure::usage(format!("--client-uri: {error}"), "give one of the certificate's")
    })
}

//! What is found out before anything is sent: that the server is still to be believed (CLI-07, CLI-09), that it would
//! have to take the registration (CLI-11), and that it offers what is asked for (CLI-04, CLI-13).

use ward_trust::{Alg, Discovered, Jws, PathError, SoftwareStatement, StatementError};

use crate::error::ClientError;
use crate::registration::{RegistrationGrant, RegistrationRequest};
use crate::{Config, PartnerClient};

fn local<T>(what: &'static str, rule: &'static str) -> Result<T, ClientError> {
    Err(ClientError::Local { what, rule })
}

impl PartnerClient {
    /// Endpoints are believed only while the signed metadata live (SMD-05, CLI-07), and their certificate holds: it may
    /// have been revoked since (CLI-09; a list at hand is looked at again, not fetched).
    pub(crate) async fn current(&self, server: &Discovered) -> Result<(), ClientError> {
        let Config { community, lists, clock, .. } = &self.config;
        if clock.now() >= server.exp {
            return local("the server's metadata have ended; discover it again", "SMD-05");
        }
        let path = &server.chain().certificates;
        let Some((leaf, issuers)) = path.split_first() else {
            return Err(ClientError::Metadata(PathError::Untrusted.into()));
        };
        let still = lists.path(leaf, issuers, community).await;
        still.map(drop).map_err(|error| ClientError::Metadata(error.into()))
    }

    /// CLI-11: what every server must refuse, found out without asking one. [`Self::register`] does this first.
    ///
    /// # Errors
    /// [`ClientError::Local`] with the rule that the server would have to apply.
    pub fn check(&self, request: &RegistrationRequest) -> Result<(), ClientError> {
        if !self.config.identity.san_uris().iter().any(|uri| uri == request.uri.as_str()) {
            return local("the client URI must be a SAN URI of the own certificate", "REG-06");
        }
        let name = &request.client_name;
        if name.is_empty() || name.chars().any(char::is_control) {
            return local("client_name must be a short text", "REG-11");
        }
        let mailto = |uri: &String| {
            uri.strip_prefix("mailto:")
                .and_then(|address| address.split_once('@'))
                .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
        };
        if !request.contacts.iter().any(mailto) {
            return local("contacts must have at least one mailto: URI", "REG-15");
        }
        if request.logo_uri.as_ref().is_some_and(|uri| !uri.starts_with("https://")) {
            return local("logo_uri must be an https URL", "REG-16");
        }
        if request.scope.trim().is_empty() {
            return local("scope must name at least one scope", "REG-19");
        }
        if let RegistrationGrant::AuthorizationCode { redirect_uris, .. } = &request.grant {
            if redirect_uris.is_empty()
                || redirect_uris.iter().any(|uri| !uri.starts_with("https://"))
            {
                return local("redirect_uris must be https URLs, at least one", "REG-13");
            }
            if request.logo_uri.is_none() {
                return local("the authorization code needs a logo_uri", "REG-16");
            }
        }
        // Then the rules of a server of ours, applied to the very statement.
        let claims = self.statement_claims("https://server.invalid/register", request);
        let statement = self.sign(&Alg::ALL, claims)?;
        let limits = &self.config.limits;
        let read = Jws::parse(&statement, limits).and_then(|jws| jws.verify(&Alg::ALL));
        let read = read.map_err(StatementError::from).and_then(|jws| {
            let now = self.config.clock.now();
            SoftwareStatement::validate(&jws, "https://server.invalid/register", now, limits)
        });
        match read {
            Ok(_) => Ok(()),
            Err(error) => local(error.fault().text, error.fault().rule),
        }
    }

    /// CLI-04, CLI-13: what this server cannot accept is not sent.
    pub(crate) fn check_with(
        server: &Discovered,
        request: &RegistrationRequest,
    ) -> Result<(), ClientError> {
        if !server.certifications_required.is_empty() && request.certifications.is_empty() {
            return Err(ClientError::NotSupported {
                what: "registration without a certification",
                rule: "CRT-02",
            });
        }
        let grant = match request.grant {
            RegistrationGrant::Cancel => return Ok(()),
            RegistrationGrant::ClientCredentials => "client_credentials",
            RegistrationGrant::AuthorizationCode { .. } => "authorization_code",
        };
        if !server.grant_types.iter().any(|one| one == grant) {
            return Err(ClientError::NotSupported { what: grant, rule: "CLI-04" });
        }
        let unlisted =
            |token: &str| token.contains('*') && !server.scopes.iter().any(|s| s == token);
        if request.scope.split(' ').any(unlisted) {
            return Err(ClientError::NotSupported { what: "that wildcard scope", rule: "CLI-13" });
        }
        Ok(())
    }
}

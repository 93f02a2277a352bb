//! The partner organisation: another party, with keys, vault and trust of its own.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use ward_client::{
    Config, Discovered, Hl7B2b, PartnerClient, Registered, RegistrationGrant, RegistrationRequest,
    Token,
};
use ward_community::{CertificateRequest, Issued, Operator, pem};
use ward_core::{ClientUri, OrganizationUri, Purpose, Secret, Thumbprint};
use ward_net::client::HttpClient;
use ward_net::lists::RevocationLists;
use ward_store::vault::FileVault;
use ward_trust::SigningIdentity;

use super::{DemoError, doing};
use crate::house::{System, open_or_make_vault};
use crate::private;

/// The partner's organisation, as it names itself in `hl7-b2b`.
pub(crate) const ORGANIZATION: &str = "https://partner.example/organization";
/// Its application that behaves.
pub(crate) const CARE_APP: &str = "https://partner.example/apps/care";
/// Its application that will scrape.
pub(crate) const SYNC_APP: &str = "https://partner.example/apps/sync";
/// An application whose certificate will be revoked.
pub(crate) const LOST_APP: &str = "https://partner.example/apps/lost-laptop";
/// An application for whoever tries `ward client`.
pub(crate) const VISITOR_APP: &str = "https://partner.example/apps/visitor";
/// What the applications register for.
pub(crate) const SCOPE: &str =
    "system/Condition.rs system/Encounter.rs system/Observation.rs system/Patient.rs";

/// One application of the partner.
pub(crate) struct App {
    pub(crate) uri: ClientUri,
    pub(crate) client: Arc<PartnerClient>,
    pub(crate) thumbprint: Thumbprint,
}

/// What the partner works with.
pub(crate) struct Partner {
    vault: Arc<FileVault>,
    http: HttpClient,
    lists: Arc<RevocationLists>,
    system: System,
    operator: Arc<Operator>,
}

impl Partner {
    pub(crate) fn open(
        dir: &Path,
        http: HttpClient,
        operator: Arc<Operator>,
        system: &System,
    ) -> Result<Self, DemoError> {
        private::directory(dir).map_err(doing("the partner's directory"))?;
        let vault = open_or_make_vault(&dir.join("vault"), &dir.join("vault.key"), system)
            .map_err(doing("opening the partner's vault"))?;
        let lists = RevocationLists::new(http.clone(), system.clock.clone(), system.limits.clone());
        Ok(Self { vault, http, lists, system: system.clone(), operator })
    }

    /// An application with the certificate that it has, or a new one.
    pub(crate) async fn app(&self, name: &str, uri: &str, keep: bool) -> Result<App, DemoError> {
        let issued = match self.kept(name)? {
            Some(identity) if keep => identity,
            _ => {
                // On a kept directory the partner has one for this URI, and replaces it.
                let request = CertificateRequest::client("Partner", uri).renewal();
                let issued = self
                    .operator
                    .issue(&request)
                    .await
                    .map_err(doing("issuing the partner's certificate"))?;
                self.keep(name, &issued)?;
                SigningIdentity::from_pkcs8(&issued.chain, &issued.key)
                    .map_err(doing("loading the partner's key"))?
            }
        };
        let thumbprint = issued.leaf().thumbprint();
        let config = Config {
            community: self.operator.trust(),
            identity: Arc::new(issued),
            http: Arc::new(self.http.clone()),
            lists: Arc::new(self.lists.clone()),
            clock: self.system.clock.clone(),
            rng: self.system.rng.clone(),
            limits: self.system.limits.clone(),
        };
        let uri = ClientUri::parse(uri).map_err(doing("reading the client URI"))?;
        Ok(App { uri, client: Arc::new(PartnerClient::new(config)), thumbprint })
    }

    /// Certificates and key of a further application in PEM, for a stranger to try `ward client` with:
    /// `NAME.pem` and `NAME-key.pem`.
    pub(crate) async fn hand_out(
        &self,
        dir: &Path,
        name: &str,
        uri: &str,
    ) -> Result<(), DemoError> {
        let (chain_file, key_file) =
            (dir.join(format!("{name}.pem")), dir.join(format!("{name}-key.pem")));
        if chain_file.exists() && key_file.exists() {
            return Ok(());
        }
        let issued = self
            .operator
            .issue(&CertificateRequest::client("Partner", uri).renewal())
            .await
            .map_err(doing("issuing a certificate to hand out"))?;
        let chain: String = issued.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
        let key = Secret::new(pem("PRIVATE KEY", issued.key.expose()));
        let rng = &*self.system.rng;
        private::write(&chain_file, chain.as_bytes(), rng)
            .and_then(|()| private::write(&key_file, key.expose().as_bytes(), rng))
            .map_err(doing("the partner's PEM files"))
    }

    fn keep(&self, name: &str, issued: &Issued) -> Result<(), DemoError> {
        let chain = serde_json::to_vec(&issued.chain).map_err(doing("keeping the chain"))?;
        self.vault
            .put_secret(&format!("{name}/chain"), &Secret::new(chain))
            .and_then(|()| self.vault.put_secret(&format!("{name}/key"), &issued.key))
            .map_err(doing("keeping the partner's key"))
    }

    fn kept(&self, name: &str) -> Result<Option<SigningIdentity>, DemoError> {
        let read = |part: &str| {
            self.vault
                .get_secret(&format!("{name}/{part}"))
                .map_err(doing("reading the partner's key"))
        };
        let (Some(chain), Some(key)) = (read("chain")?, read("key")?) else { return Ok(None) };
        let Ok(chain) = serde_json::from_slice::<Vec<Vec<u8>>>(chain.expose()) else {
            return Ok(None);
        };
        Ok(SigningIdentity::from_pkcs8(&chain, &key).ok())
    }
}

/// What the partner says of itself and why it asks.
pub(crate) fn b2b(purpose: Purpose) -> Result<Hl7B2b, DemoError> {
    Ok(Hl7B2b {
        subject_name: None,
        subject_id: None,
        subject_role: None,
        organization_id: OrganizationUri::parse(ORGANIZATION)
            .map_err(doing("reading the organisation URI"))?,
        organization_name: Some("Partner Health".to_owned()),
        purposes: vec![purpose],
        consent_policy: vec![],
        consent_reference: vec![],
    })
}

impl App {
    pub(crate) fn request(&self, name: &str) -> RegistrationRequest {
        RegistrationRequest {
            uri: self.uri.clone(),
            client_name: name.to_owned(),
            contacts: vec!["mailto:security@partner.example".to_owned()],
            logo_uri: None,
            grant: RegistrationGrant::ClientCredentials,
            scope: SCOPE.to_owned(),
            certifications: Vec::new(),
        }
    }

    /// Discovers, registers and gets a token for treatment.
    pub(crate) async fn establish(
        &self,
        base: &str,
    ) -> Result<(Discovered, Registered, Arc<Token>), DemoError> {
        let server = self.client.discover(base).await.map_err(doing("discovery"))?;
        let registered = self
            .client
            .register(&server, &self.request("Partner"))
            .await
            .map_err(doing("registration"))?;
        let token = self.token(&server, &registered).await?;
        Ok((server, registered, token))
    }

    /// A token for treatment.
    pub(crate) async fn token(
        &self,
        server: &Discovered,
        registered: &Registered,
    ) -> Result<Arc<Token>, DemoError> {
        self.client
            .token(server, registered, SCOPE, &b2b(Purpose::Treatment)?)
            .await
            .map_err(doing("token"))
    }

    /// A FHIR request; the answer's status, headers and body.
    pub(crate) async fn ask(
        &self,
        base: &str,
        path: &str,
        token: &Token,
    ) -> Result<Answer, DemoError> {
        let response =
            self.client.get(base, path, token).await.map_err(doing("asking the FHIR API"))?;
        let (parts, body) = response.into_parts();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

/// An answer of the FHIR API.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: bytes::Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Everything that a caller can see but `Date` and the correlation id.
    pub(crate) fn visible(&self) -> (u16, Vec<(String, Vec<u8>)>, bytes::Bytes) {
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| *name != http::header::DATE && *name != "x-correlation-id")
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect();
        headers.sort();
        (self.status, headers, self.body.clone())
    }
}

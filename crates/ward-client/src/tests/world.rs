//! A scripted server, a trust community and a client for tests. Keys are made once a process.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, RevokedCertParams, RsaKeySize, SanType, SerialNumber,
};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use ward_core::{
    BoxFuture, ClientUri, Clock as _, CommunityUri, Limits, ManualClock, OrganizationUri, Purpose,
    Secret, SystemRng,
};
use ward_net::client::FetchError;
use ward_trust::{
    Alg, Certificate, Chain, Community, Crl, Metadata, PathError, SigningIdentity, validate,
};

use crate::{
    Config, Discovered, Hl7B2b, Lists, PartnerClient, RegistrationGrant, RegistrationRequest,
    Transport,
};

pub(crate) const START: i64 = 1_800_000_000;
pub(crate) const BASE: &str = "https://server.test/fhir";
pub(crate) const CLIENT_URI: &str = "https://partner.test/app";
pub(crate) const REGISTER: &str = "https://server.test/oauth/register";
pub(crate) const TOKEN: &str = "https://server.test/oauth/token";

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(START + seconds).unwrap()
}

pub(crate) struct Pki {
    pub(crate) root: Certificate,
    pub(crate) issuer: Issuer<'static, KeyPair>,
    /// RSA, serial 10.
    pub(crate) server: SigningIdentity,
    /// RSA, other SAN.
    pub(crate) elsewhere: SigningIdentity,
    /// EC, the server's SAN.
    pub(crate) server_ec: SigningIdentity,
    pub(crate) client: Arc<SigningIdentity>,
    /// RSA with the server's SAN, of a root that nobody trusts.
    pub(crate) foreign: SigningIdentity,
}

pub(crate) fn authority(name: &str) -> (Certificate, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = at(-86_400);
    params.not_after = at(3650 * 86_400);
    let root = params.self_signed(&key).unwrap();
    (Certificate::from_der(root.der()).unwrap(), Issuer::new(params, key))
}

fn leaf(issuer: &Issuer<'static, KeyPair>, uri: &str, serial: u64, rsa: bool) -> SigningIdentity {
    leaf_listed_at(issuer, uri, serial, rsa, "http://crl.test/list")
}

pub(crate) fn leaf_listed_at(
    issuer: &Issuer<'static, KeyPair>,
    uri: &str,
    serial: u64,
    rsa: bool,
    list: &str,
) -> SigningIdentity {
    let key = if rsa {
        KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()
    } else {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
    };
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = at(-86_400);
    params.not_after = at(800 * 86_400);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![list.into()] }];
    let certificate = params.signed_by(&key, issuer).unwrap();
    let pkcs8 = Secret::new(key.serialize_der());
    SigningIdentity::from_pkcs8(&[certificate.der().to_vec()], &pkcs8).unwrap()
}

pub(crate) static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let (root, issuer) = authority("test root");
    let (_, stranger) = authority("another root");
    Pki {
        server: leaf(&issuer, BASE, 10, true),
        elsewhere: leaf(&issuer, "https://elsewhere.test/fhir", 11, true),
        server_ec: leaf(&issuer, BASE, 12, false),
        client: Arc::new(leaf(&issuer, CLIENT_URI, 13, false)),
        foreign: leaf(&stranger, BASE, 10, true),
        root,
        issuer,
    }
});

pub(crate) struct TestLists {
    pub(crate) revoked: Mutex<Option<Vec<u64>>>,
}

impl TestLists {
    fn at_hand(&self) -> Vec<Arc<Crl>> {
        let Some(revoked) = self.revoked.lock().unwrap().clone() else { return Vec::new() };
        vec![Arc::new(Crl::from_der(&list(&PKI.issuer, &revoked)).unwrap())]
    }
}

/// A list of these serial numbers, good for a day.
pub(crate) fn list(by: &Issuer<'static, KeyPair>, revoked: &[u64]) -> Vec<u8> {
    let entry = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: at(-60),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: at(-3600),
        next_update: at(86_400),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(by).unwrap().der().to_vec()
}

pub(crate) type Script =
    Box<dyn Fn(&Request<Bytes>) -> Result<Response<Bytes>, FetchError> + Send + Sync>;

/// Answers by its script and remembers what it was sent.
pub(crate) struct Server {
    pub(crate) script: Mutex<Script>,
    pub(crate) seen: Mutex<Vec<Request<Bytes>>>,
}

impl Transport for Server {
    fn send(
        &self,
        request: Request<Bytes>,
        max_body: usize,
        _: Duration,
    ) -> BoxFuture<'_, Result<Response<Bytes>, FetchError>> {
        let answer = self.script.lock().unwrap()(&request);
        self.seen.lock().unwrap().push(request);
        Box::pin(async move {
            // An answer takes its time; others go on meanwhile.
            tokio::task::yield_now().await;
            match answer {
                Ok(answer) if answer.body().len() > max_body => Err(FetchError::TooLarge(max_body)),
                other => other,
            }
        })
    }
}

pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) server: Arc<Server>,
    pub(crate) lists: Arc<TestLists>,
    pub(crate) client: PartnerClient,
}

struct Shared(Arc<TestLists>, Arc<ManualClock>);

impl Lists for Shared {
    fn path<'a>(
        &'a self,
        leaf: &'a Certificate,
        extra: &'a [Certificate],
        community: &'a Community,
    ) -> BoxFuture<'a, Result<Chain, PathError>> {
        let now = self.1.now();
        Box::pin(async move { validate(leaf, extra, community, &self.0.at_hand(), now) })
    }
}

struct SharedServer(Arc<Server>);

impl Transport for SharedServer {
    fn send(
        &self,
        request: Request<Bytes>,
        max_body: usize,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Response<Bytes>, FetchError>> {
        self.0.send(request, max_body, timeout)
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(|_| ())
    }

    /// In a community of TEFCA's profile.
    pub(crate) fn tefca() -> Self {
        Self::of(|community| {
            community.profile = ward_trust::Profile::Tefca;
            community.purposes = Purpose::ALL.to_vec();
        })
    }

    fn of(change: impl FnOnce(&mut Community)) -> Self {
        let clock = Arc::new(ManualClock::at_unix_seconds(START));
        let script: Script = Box::new(|_| Ok(respond(404, &json!({}))));
        let server = Arc::new(Server { script: Mutex::new(script), seen: Mutex::default() });
        let lists = Arc::new(TestLists { revoked: Mutex::new(Some(Vec::new())) });
        let uri = CommunityUri::parse("urn:test:community:a/b").unwrap();
        let mut community = Community::new(uri, vec![PKI.root.clone()]);
        change(&mut community);
        let client = PartnerClient::new(Config {
            community,
            identity: PKI.client.clone(),
            http: Arc::new(SharedServer(server.clone())),
            lists: Arc::new(Shared(lists.clone(), clock.clone())),
            clock: clock.clone(),
            rng: Arc::new(SystemRng),
            limits: Arc::new(Limits::default()),
        });
        Self { clock, server, lists, client }
    }

    pub(crate) fn answers(
        &self,
        script: impl Fn(&Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    ) {
        *self.server.script.lock().unwrap() = Box::new(move |request| Ok(script(request)));
    }

    pub(crate) fn seen(&self) -> Vec<Request<Bytes>> {
        self.server.seen.lock().unwrap().clone()
    }

    /// The good server, discovered.
    pub(crate) async fn discovered(&self) -> Discovered {
        self.answers(|_| respond(200, &document(&metadata(), &claims())));
        let found = self.client.discover(BASE).await.unwrap();
        self.server.seen.lock().unwrap().clear();
        found
    }
}

pub(crate) fn respond(status: u16, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

pub(crate) fn metadata() -> Metadata {
    Metadata {
        base_url: BASE.into(),
        registration_endpoint: REGISTER.into(),
        token_endpoint: TOKEN.into(),
        authorization_endpoint: None,
        grant_types: vec!["client_credentials".into()],
        scopes: vec!["system/*.rs".into(), "system/Patient.rs".into()],
        extensions_supported: vec!["hl7-b2b".into()],
        extensions_required: vec!["hl7-b2b".into()],
        certifications_supported: Vec::new(),
        certifications_required: Vec::new(),
        algs: Alg::ALL.to_vec(),
    }
}

/// The claims of good signed metadata.
pub(crate) fn claims() -> Map<String, Value> {
    let Value::Object(claims) = json!({
        "iss": BASE, "sub": BASE, "iat": START, "exp": START + 86_400, "jti": "one",
        "token_endpoint": TOKEN, "registration_endpoint": REGISTER,
    }) else {
        unreachable!()
    };
    claims
}

pub(crate) fn signed(identity: &SigningIdentity, claims: &Map<String, Value>) -> String {
    identity.sign(identity.alg(), &Value::Object(claims.clone())).unwrap()
}

pub(crate) fn document(metadata: &Metadata, claims: &Map<String, Value>) -> Value {
    let text = metadata.to_json(&signed(&PKI.server, claims));
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn request() -> RegistrationRequest {
    RegistrationRequest {
        uri: ClientUri::parse(CLIENT_URI).unwrap(),
        client_name: "Partner".into(),
        contacts: vec!["mailto:ops@partner.test".into()],
        logo_uri: None,
        scope: "system/Patient.rs".into(),
        grant: RegistrationGrant::ClientCredentials,
        certifications: Vec::new(),
    }
}

pub(crate) fn b2b() -> Hl7B2b {
    Hl7B2b {
        subject_name: None,
        subject_id: None,
        subject_role: None,
        organization_id: OrganizationUri::parse("urn:oid:1.2.3").unwrap(),
        organization_name: None,
        purposes: vec![Purpose::Treatment],
        consent_policy: Vec::new(),
        consent_reference: Vec::new(),
    }
}

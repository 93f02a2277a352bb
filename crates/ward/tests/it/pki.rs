//! A test PKI with good and bad members, made by rcgen, and the HTTP server of its lists.

pub mod authorities;
pub mod liars;
pub mod ocsp;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RevokedCertParams, SanType,
    SerialNumber,
};
use time::OffsetDateTime;
use ward_core::{BoxFuture, Clock as _, CommunityUri, Limits, Secret, SystemClock};
use ward_net::http::Body;
use ward_net::server::{Handler, Peer, Running, Server};
use ward_trust::{Certificate, Community, SigningIdentity};

/// The community's URI.
pub const COMMUNITY: &str = "https://community.example/trust";

/// Which key a certificate has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Rsa,
    P256,
    P384,
}

fn key(kind: Key) -> KeyPair {
    match kind {
        Key::Rsa => KeyPair::generate_for(&PKCS_RSA_SHA256),
        Key::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        Key::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
    }
    .unwrap()
}

/// What a leaf looks like; the default is a good client.
#[derive(Clone)]
pub struct Leaf {
    pub key: Key,
    pub uris: Vec<String>,
    pub dns: Vec<String>,
    pub common_name: String,
    pub days: (i64, i64),
    pub usages: Vec<KeyUsagePurpose>,
    pub ca: bool,
    pub crl: bool,
}

impl Leaf {
    pub fn client(uri: &str) -> Self {
        Self {
            key: Key::P256,
            uris: vec![uri.to_owned()],
            dns: vec![],
            common_name: "test member".to_owned(),
            days: (-1, 30),
            usages: vec![KeyUsagePurpose::DigitalSignature],
            ca: false,
            crl: true,
        }
    }
}

/// A certificate with its key, able to sign statements.
#[derive(Clone)]
pub struct Member {
    pub chain: Vec<Vec<u8>>,
    pub identity: Arc<SigningIdentity>,
    pub serial: u64,
}

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
    path: &'static str,
    revoked: Vec<u64>,
}

/// Root, issuing CA and an impostor root with the same name.
pub struct Pki {
    root: Ca,
    issuing: Ca,
    base: String,
    next_serial: u64,
    lists: Arc<Lists>,
    _server: Running,
}

#[derive(Default)]
struct Lists {
    files: Mutex<HashMap<String, Vec<u8>>>,
    lies: liars::Lies,
    fetched: std::sync::atomic::AtomicUsize,
}

impl Handler for Lists {
    fn handle(&self, request: Request<Incoming>, _: Peer) -> BoxFuture<'_, Response<Body>> {
        self.fetched.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let path = request.uri().path();
        if let Some(lie) = self.lies.of(path) {
            return Box::pin(lie);
        }
        let file = self.files.lock().unwrap().get(path).cloned();
        Box::pin(async move {
            match file {
                Some(der) => ward_net::http::respond(
                    StatusCode::OK,
                    "application/pkix-crl",
                    ward_net::http::full(der),
                ),
                None => ward_net::http::text(StatusCode::NOT_FOUND, "none"),
            }
        })
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(SystemClock.now().as_seconds()).unwrap()
}

fn ca_params(name: &str, depth: u8, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(depth));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = now() - Duration::from_hours(48);
    params.not_after = now() + Duration::from_hours(24 * 365);
    params
}

impl Pki {
    pub async fn start() -> Self {
        let lists = Arc::new(Lists::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server =
            Server::start(listener, None, lists.clone(), Arc::new(Limits::default())).unwrap();
        let base = format!("http://127.0.0.1:{}", server.local_addr().port());

        let root_key = key(Key::P256);
        let root_params = ca_params("Test Root", 1, 1);
        let root_der = root_params.self_signed(&root_key).unwrap().der().to_vec();
        let root = Issuer::new(root_params, root_key);
        let issuing_key = key(Key::P256);
        let mut params = ca_params("Test Issuing CA", 0, 2);
        params.crl_distribution_points =
            vec![CrlDistributionPoint { uris: vec![format!("{base}/root.crl")] }];
        let issuing_der = params.signed_by(&issuing_key, &root).unwrap().der().to_vec();
        let issuing = Issuer::new(params, issuing_key);
        let pki = Self {
            root: Ca { issuer: root, der: root_der, path: "/root.crl", revoked: vec![] },
            issuing: Ca {
                issuer: issuing,
                der: issuing_der,
                path: "/issuing.crl",
                revoked: vec![],
            },
            base,
            next_serial: 1000,
            lists,
            _server: server,
        };
        pki.publish();
        pki
    }

    /// host:port of the lists, for the egress allow list.
    pub fn lists_authority(&self) -> String {
        self.base.trim_start_matches("http://").to_owned()
    }

    /// The community as its members know it.
    pub fn community(&self) -> Community {
        let uri = CommunityUri::parse(COMMUNITY).unwrap();
        Community::new(uri, vec![Certificate::from_der(&self.root.der).unwrap()])
    }

    /// Publishes fresh lists of both CAs.
    pub fn publish(&self) {
        self.publish_for(Duration::from_hours(1));
    }

    /// Publishes lists of both CAs that were issued five seconds ago and live for `life` from then.
    pub fn publish_for(&self, life: Duration) {
        for ca in [&self.root, &self.issuing] {
            let der = Self::list(ca, life);
            self.lists.files.lock().unwrap().insert(ca.path.to_owned(), der);
        }
    }

    fn list(ca: &Ca, life: Duration) -> Vec<u8> {
        let now = now() - Duration::from_secs(5);
        CertificateRevocationListParams {
            this_update: now,
            next_update: now + life,
            crl_number: SerialNumber::from(ca.revoked.len() as u64 + 1),
            issuing_distribution_point: None,
            revoked_certs: ca
                .revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(*serial),
                    revocation_time: now,
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&ca.issuer)
        .unwrap()
        .der()
        .to_vec()
    }

    /// Revokes a member and publishes.
    pub fn revoke(&mut self, member: &Member) {
        self.issuing.revoked.push(member.serial);
        self.publish();
    }

    /// A good client.
    pub fn client(&mut self, uri: &str) -> Member {
        self.issue(&Leaf::client(uri))
    }

    /// A certificate of the issuing CA.
    pub fn issue(&mut self, leaf: &Leaf) -> Member {
        self.next_serial += 1;
        let serial = self.next_serial;
        let (params, pair) = self.leaf_params(leaf, serial);
        let der = params.signed_by(&pair, &self.issuing.issuer).unwrap().der().to_vec();
        member(vec![der, self.issuing.der.clone()], &pair, serial)
    }

    /// A certificate of the issuing CA for a key of somebody else's; the chain.
    pub fn certify(&mut self, leaf: &Leaf, pair: &KeyPair) -> Vec<Vec<u8>> {
        self.next_serial += 1;
        let (params, _) = self.leaf_params(leaf, self.next_serial);
        let der = params.signed_by(pair, &self.issuing.issuer).unwrap().der().to_vec();
        vec![der, self.issuing.der.clone()]
    }

    /// The root.
    pub fn root_der(&self) -> Vec<u8> {
        self.root.der.clone()
    }

    /// A certificate that nobody vouches for; its own root comes along in `x5c` (X05–X07).
    pub fn impostor(&mut self, leaf: &Leaf) -> Member {
        let root_key = key(Key::P256);
        let root_params = ca_params("Test Root", 1, 1);
        let root_der = root_params.self_signed(&root_key).unwrap().der().to_vec();
        let issuer = Issuer::new(root_params, root_key);
        let (params, pair) = self.leaf_params(leaf, 7);
        let der = params.signed_by(&pair, &issuer).unwrap().der().to_vec();
        member(vec![der, root_der], &pair, 7)
    }

    /// A certificate that signed itself (X05).
    pub fn self_signed(&self, leaf: &Leaf) -> Member {
        let (params, pair) = self.leaf_params(leaf, 9);
        let der = params.self_signed(&pair).unwrap().der().to_vec();
        member(vec![der], &pair, 9)
    }

    /// A certificate issued by a leaf (X28).
    pub fn issued_by_leaf(&mut self, uri: &str) -> Member {
        self.next_serial += 1;
        let (params, pair) =
            self.leaf_params(&Leaf::client("https://evil.example/a"), self.next_serial);
        let middle = params.signed_by(&pair, &self.issuing.issuer).unwrap().der().to_vec();
        let middle_issuer = Issuer::new(params, pair);
        let (params, pair) = self.leaf_params(&Leaf::client(uri), 11);
        let der = params.signed_by(&pair, &middle_issuer).unwrap().der().to_vec();
        member(vec![der, middle, self.issuing.der.clone()], &pair, 11)
    }

    fn leaf_params(&self, leaf: &Leaf, serial: u64) -> (CertificateParams, KeyPair) {
        let pair = key(leaf.key);
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, leaf.common_name.as_str());
        for uri in &leaf.uris {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into().unwrap()));
        }
        for dns in &leaf.dns {
            params.subject_alt_names.push(SanType::DnsName(dns.as_str().try_into().unwrap()));
        }
        params.is_ca =
            if leaf.ca { IsCa::Ca(BasicConstraints::Constrained(0)) } else { IsCa::ExplicitNoCa };
        params.key_usages.clone_from(&leaf.usages);
        params.serial_number = Some(SerialNumber::from(serial));
        let at = |days: i64| now() + time::Duration::days(days);
        params.not_before = at(leaf.days.0);
        params.not_after = at(leaf.days.1);
        if leaf.crl {
            params.crl_distribution_points =
                vec![CrlDistributionPoint { uris: vec![format!("{}/issuing.crl", self.base)] }];
        }
        (params, pair)
    }
}

fn member(chain: Vec<Vec<u8>>, pair: &KeyPair, serial: u64) -> Member {
    let pkcs8 = pair.serialize_der();
    let identity = SigningIdentity::from_pkcs8(&chain, &Secret::new(pkcs8)).unwrap();
    Member { chain, identity: Arc::new(identity), serial }
}

/// A TLS root and a certificate for localhost: (root, chain, key).
pub fn tls() -> (Vec<u8>, Vec<Vec<u8>>, Secret<Vec<u8>>) {
    let root_key = key(Key::P256);
    let root_params = ca_params("Test TLS", 0, 1);
    let root_der = root_params.self_signed(&root_key).unwrap().der().to_vec();
    let issuer = Issuer::new(root_params, root_key);
    let pair = key(Key::P256);
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let der = params.signed_by(&pair, &issuer).unwrap().der().to_vec();
    (root_der, vec![der], Secret::new(pair.serialize_der()))
}

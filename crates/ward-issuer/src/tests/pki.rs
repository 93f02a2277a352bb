//! Trust communities for tests: root, issuing CA, leaves and lists. Made once a process: keys cost time.

use std::sync::{Arc, LazyLock, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, RevokedCertParams, RsaKeySize, SanType, SerialNumber,
};
use time::OffsetDateTime;
use ward_core::{CommunityUri, Secret};
use ward_trust::{Certificate, Community, Crl, SigningIdentity};

/// The second at which every test starts.
pub(crate) const START: i64 = 1_800_000_000;

pub(crate) const SERVER_URI: &str = "https://ward.test/default/fhir";
pub(crate) const CLIENT_URI: &str = "https://partner.test/app";

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(START + seconds).unwrap()
}

/// One member's certificate and key.
pub(crate) struct Member {
    pub(crate) identity: Arc<SigningIdentity>,
    pub(crate) serial: u64,
}

/// What a leaf is to be like.
pub(crate) struct Leaf<'a> {
    pub(crate) uris: &'a [&'a str],
    pub(crate) dns: Option<&'a str>,
    pub(crate) rsa: bool,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) usage: KeyUsagePurpose,
}

impl Default for Leaf<'_> {
    fn default() -> Self {
        Self {
            uris: &[CLIENT_URI],
            dns: None,
            rsa: false,
            not_before: -86_400,
            not_after: 365 * 86_400,
            usage: KeyUsagePurpose::DigitalSignature,
        }
    }
}

pub(crate) struct Authority {
    pub(crate) name: String,
    pub(crate) root: Certificate,
    pub(crate) intermediate: Certificate,
    root_issuer: Issuer<'static, KeyPair>,
    issuer: Issuer<'static, KeyPair>,
    next: Mutex<u64>,
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = at(-10 * 86_400);
    params.not_after = at(3650 * 86_400);
    params.use_authority_key_identifier_extension = true;
    params
}

fn cdp(url: String) -> Vec<CrlDistributionPoint> {
    vec![CrlDistributionPoint { uris: vec![url] }]
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let root_params = ca_params(&format!("{name} root"));
        let root = root_params.self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(root_params, root_key);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = ca_params(&format!("{name} issuing CA"));
        params.serial_number = Some(SerialNumber::from(2_u64));
        params.crl_distribution_points = cdp(format!("http://crl.test/{name}/root"));
        let intermediate = params.signed_by(&key, &root_issuer).unwrap();
        let issuer = Issuer::new(params, key);
        Self {
            name: name.to_owned(),
            root: Certificate::from_der(root.der()).unwrap(),
            intermediate: Certificate::from_der(intermediate.der()).unwrap(),
            root_issuer,
            issuer,
            next: Mutex::new(100),
        }
    }

    pub(crate) fn issue(&self, leaf: &Leaf<'_>) -> Member {
        let key = if leaf.rsa {
            KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()
        } else {
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
        };
        let serial = {
            let mut next = self.next.lock().unwrap();
            *next += 1;
            *next
        };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, CLIENT_URI);
        params.subject_alt_names =
            leaf.uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params
            .subject_alt_names
            .extend(leaf.dns.map(|name| SanType::DnsName(name.try_into().unwrap())));
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_before = at(leaf.not_before);
        params.not_after = at(leaf.not_after);
        params.key_usages = vec![leaf.usage];
        params.use_authority_key_identifier_extension = true;
        params.crl_distribution_points = cdp(format!("http://crl.test/{}/issuing", self.name));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = [certificate.der().to_vec(), self.intermediate.der().to_vec()];
        let pkcs8 = Secret::new(key.serialize_der());
        let identity = SigningIdentity::from_pkcs8(&chain, &pkcs8).unwrap();
        Member { identity: Arc::new(identity), serial }
    }

    /// Lists of root and issuing CA, on which these serial numbers stand.
    pub(crate) fn lists(&self, revoked: &[u64], next_update: i64) -> Vec<Arc<Crl>> {
        let list = |issuer: &Issuer<'static, KeyPair>| {
            let entry = |serial: &u64| RevokedCertParams {
                serial_number: SerialNumber::from(*serial),
                revocation_time: at(-60),
                reason_code: None,
                invalidity_date: None,
            };
            let params = CertificateRevocationListParams {
                this_update: at(-3600),
                next_update: at(next_update),
                crl_number: SerialNumber::from(1_u64),
                issuing_distribution_point: None,
                revoked_certs: revoked.iter().map(entry).collect(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            Arc::new(Crl::from_der(params.signed_by(issuer).unwrap().der()).unwrap())
        };
        vec![list(&self.root_issuer), list(&self.issuer)]
    }

    pub(crate) fn community(&self) -> Community {
        Community::new(self.uri(), vec![self.root.clone()])
    }

    pub(crate) fn uri(&self) -> CommunityUri {
        CommunityUri::parse(&format!("urn:test:community:{}", self.name)).unwrap()
    }
}

/// Two served communities, one that is not, and the members that most tests use.
pub(crate) struct Pki {
    pub(crate) a: Authority,
    pub(crate) b: Authority,
    pub(crate) stranger: Authority,
    pub(crate) server_a: Member,
    pub(crate) server_b: Member,
    /// Member of A with [`CLIENT_URI`] and a second URI.
    pub(crate) client: Member,
    /// Its renewed certificate.
    pub(crate) renewed: Member,
    /// Member of A with an RSA key.
    pub(crate) rsa: Member,
    /// Another member of A.
    pub(crate) other: Member,
    /// Member of B that claims [`CLIENT_URI`].
    pub(crate) client_b: Member,
}

pub(crate) const SECOND_URI: &str = "https://partner.test/second";
pub(crate) const OTHER_URI: &str = "https://other.test/app";
pub(crate) const RSA_URI: &str = "https://rsa.test/app";

pub(crate) static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let (a, b, stranger) = (Authority::new("a"), Authority::new("b"), Authority::new("stranger"));
    let server = Leaf { uris: &[SERVER_URI], rsa: true, ..Leaf::default() };
    let uris = |uris: &'static [&'static str]| Leaf { uris, ..Leaf::default() };
    Pki {
        server_a: a.issue(&server),
        server_b: b.issue(&server),
        client: a.issue(&uris(&[CLIENT_URI, SECOND_URI])),
        renewed: a.issue(&uris(&[CLIENT_URI])),
        rsa: a.issue(&Leaf { rsa: true, ..uris(&[RSA_URI]) }),
        other: a.issue(&uris(&[OTHER_URI])),
        client_b: b.issue(&uris(&[CLIENT_URI])),
        a,
        b,
        stranger,
    }
});

//! OCSP responders, honest and hostile (PKI-05, X11, X14, X22), and the laboratory for them and for `aia`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use http::Method;
use rcgen::{
    BasicConstraints, CertificateRevocationListParams, CrlDistributionPoint, CustomExtension,
    DnType, KeyIdMethod, KeyUsagePurpose, SanType, SerialNumber, SigningKey as _,
};
use ward_core::{Clock as _, CommunityUri, ManualClock};
use ward_trust::ocsp::{Respond, respond as answer_with};
use ward_trust::{Certificate, CertificateStatus, Community, OcspAnswer, PathError};

use super::*;
use crate::RevocationLists;

pub(super) const START: i64 = 1_800_000_000;
pub(super) const HOUR: Duration = Duration::from_hours(1);

/// What stands at a path.
#[derive(Clone)]
enum At {
    Body(u16, Vec<u8>),
    /// No answer, ever.
    Silence,
}

pub(super) type Ca = CertifiedIssuer<'static, KeyPair>;

pub(super) struct Lab {
    pub(super) clock: Arc<ManualClock>,
    address: SocketAddr,
    shelf: Arc<Mutex<HashMap<String, At>>>,
    /// Method and path of every request.
    asked: Arc<Mutex<Vec<String>>>,
    _server: Running,
    lists: Arc<RevocationLists>,
    pub(super) root: Ca,
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    let long: &[u8] = if length > 127 { &[0x81] } else { &[] };
    [&[tag], long, &[length], content].concat()
}

/// authorityInfoAccess: the last arc of the method (1 OCSP, 2 caIssuers) and where.
pub(super) fn access(places: &[(u8, String)]) -> CustomExtension {
    let one = |(arc, url): &(u8, String)| {
        let method = [0x06, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, *arc];
        tlv(0x30, &[&method[..], &tlv(0x86, url.as_bytes())].concat())
    };
    let content = tlv(0x30, &places.iter().flat_map(one).collect::<Vec<_>>());
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], content)
}

fn date(seconds: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date(START - 86_400);
    params.not_after = date(START + 365 * 86_400);
    params
}

pub(super) fn authority(
    name: &str,
    edit: impl FnOnce(&mut CertificateParams),
) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    edit(&mut params);
    params
}

pub(super) fn root(name: &str) -> Ca {
    Ca::self_signed(authority(name, |_| {}), KeyPair::generate().unwrap()).unwrap()
}

pub(super) fn below(by: &Ca, name: &str, edit: impl FnOnce(&mut CertificateParams)) -> Ca {
    Ca::signed_by(authority(name, edit), KeyPair::generate().unwrap(), by).unwrap()
}

pub(super) fn member(by: &Ca, edit: impl FnOnce(&mut CertificateParams)) -> Certificate {
    let mut params = params("Member");
    params.subject_alt_names =
        vec![SanType::URI("https://partner.example/udap".try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    edit(&mut params);
    let key = KeyPair::generate().unwrap();
    Certificate::from_der(params.signed_by(&key, by).unwrap().der()).unwrap()
}

pub(super) fn parsed(ca: &Ca) -> Certificate {
    Certificate::from_der(ca.der()).unwrap()
}

impl Lab {
    /// Every fetch may take this long.
    pub(super) async fn new(patience: Duration) -> Self {
        let clock = Arc::new(ManualClock::at_unix_seconds(START));
        let shelf: Arc<Mutex<HashMap<String, At>>> = Arc::default();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (place, book) = (Arc::clone(&shelf), Arc::clone(&asked));
        let handler = move |request: Request<Incoming>, _: Peer| -> BoxFuture<'static, _> {
            let path = request.uri().path().to_owned();
            book.lock().unwrap().push(format!("{} {path}", request.method()));
            // OCSP is asked by POST, everything else by GET.
            assert_eq!(request.method() == Method::POST, path.starts_with("/ocsp"));
            let found = place.lock().unwrap().get(&path).cloned();
            Box::pin(async move {
                match found.unwrap_or(At::Body(404, Vec::new())) {
                    At::Body(status, bytes) => text(StatusCode::from_u16(status).unwrap(), bytes),
                    At::Silence => std::future::pending().await,
                }
            })
        };
        let limits = Arc::new(Limits {
            crl_timeout: patience,
            connect_timeout: Duration::from_mins(1),
            ..Limits::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::start(listener, None, Arc::new(handler), limits.clone()).unwrap();
        let tls = tls::client_config([]).unwrap();
        let egress = Egress::allowing([address.to_string()]);
        let client = HttpClient::new(egress, tls, limits.clone());
        let lists = RevocationLists::new(client, clock.clone(), limits);
        Self { clock, address, shelf, asked, _server: server, lists, root: root("Root") }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn put(&self, path: &str, status: u16, bytes: &[u8]) {
        self.shelf.lock().unwrap().insert(path.to_owned(), At::Body(status, bytes.to_vec()));
    }

    pub(super) fn silence(&self, path: &str) {
        self.shelf.lock().unwrap().insert(path.to_owned(), At::Silence);
    }

    pub(super) fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|one| one.ends_with(path)).count()
    }

    /// An empty list of a CA at a path.
    pub(super) fn list(&self, by: &Ca, path: &str) {
        let from = self.clock.now().as_seconds();
        let params = CertificateRevocationListParams {
            this_update: date(from),
            next_update: date(from + 400 * 86_400),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.put(path, 200, params.signed_by(by).unwrap().der());
    }

    /// An OCSP answer about a certificate of `issuer`, signed by `signer` in its name, good for two hours.
    fn said(
        &self,
        about: &Certificate,
        issuer: &Ca,
        signer: &Ca,
        status: CertificateStatus,
    ) -> Vec<u8> {
        let now = self.clock.now();
        let issuer = parsed(issuer);
        let about = Respond {
            serial: about.serial(),
            issuer: &issuer,
            answer: OcspAnswer { status, this_update: now, next_update: now.plus(2 * HOUR) },
            responder: &issuer,
            certificates: &[],
            nonce: None,
        };
        let algorithm = tlv(0x30, &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
        answer_with(&about, |tbs| Ok((algorithm, signer.key().sign(tbs).unwrap()))).unwrap()
    }

    pub(super) async fn within(
        &self,
        leaf: &Certificate,
        extra: &[Certificate],
        grace: Duration,
    ) -> Result<bool, PathError> {
        let uri = CommunityUri::parse("https://community.example").unwrap();
        let community = Community::new(uri, vec![parsed(&self.root)]);
        let validated = self.lists.validate(leaf, extra, &community, grace);
        let validated = tokio::time::timeout(Duration::from_mins(1), validated).await;
        validated.expect("no server can hold an answer up").map(|chain| chain.stale)
    }

    pub(super) async fn validate(&self, leaf: &Certificate) -> Result<bool, PathError> {
        self.within(leaf, &[], Duration::ZERO).await
    }

    fn with_ocsp(&self) -> Certificate {
        let places = access(&[(1, self.url("/ocsp"))]);
        member(&self.root, |p| p.custom_extensions = vec![places])
    }

    fn answer(&self, leaf: &Certificate, status: CertificateStatus) {
        let said = self.said(leaf, &self.root, &self.root, status);
        self.put("/ocsp", 200, &said);
    }
}

pub(super) const PATIENT: Duration = Duration::from_mins(1);
pub(super) const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn an_ocsp_answer_is_asked_for_once_and_kept_for_its_time() {
    let lab = Lab::new(PATIENT).await;
    let leaf = lab.with_ocsp();
    lab.answer(&leaf, CertificateStatus::Good);
    for _ in 0..3 {
        assert_eq!(lab.validate(&leaf).await, Ok(false));
    }
    assert_eq!(lab.asked("/ocsp"), 1);
    // Half of its life is over: it is renewed without anybody asking.
    lab.clock.advance(HOUR.saturating_sub(Duration::from_secs(1)));
    lab.lists.tend().await;
    assert_eq!(lab.asked("/ocsp"), 1, "not yet half of it");
    lab.clock.advance(Duration::from_secs(1));
    lab.answer(&leaf, CertificateStatus::Good);
    lab.lists.tend().await;
    assert_eq!(lab.asked("/ocsp"), 2);
    // The responder goes away: what is at hand holds to its end, then for the grace alone.
    lab.put("/ocsp", 503, b"");
    lab.clock.advance(HOUR + HOUR / 2);
    assert_eq!(lab.validate(&leaf).await, Ok(false));
    lab.clock.advance(HOUR);
    assert_eq!(lab.validate(&leaf).await, Err(PathError::RevocationStale));
    assert_eq!(lab.within(&leaf, &[], 24 * HOUR).await, Ok(true), "flagged");
    let trouble = lab.lists.status().lists;
    assert!(trouble.iter().any(|one| one.stale && one.failure.is_some()), "{trouble:?}");
    lab.clock.advance(24 * HOUR);
    assert_eq!(lab.within(&leaf, &[], 24 * HOUR).await, Err(PathError::RevocationStale));
}

#[tokio::test]
async fn a_revocation_is_learnt_without_a_request_and_never_forgotten() {
    let lab = Lab::new(PATIENT).await;
    let leaf = lab.with_ocsp();
    lab.answer(&leaf, CertificateStatus::Good);
    assert_eq!(lab.validate(&leaf).await, Ok(false));
    lab.clock.advance(HOUR + Duration::from_secs(1));
    lab.answer(&leaf, CertificateStatus::Revoked);
    lab.lists.tend().await;
    assert!(lab.lists.was_seen_revoked(leaf.thumbprint()));
    assert_eq!(lab.validate(&leaf).await, Err(PathError::Revoked));
    lab.clock.advance(Duration::from_secs(5));
    lab.answer(&leaf, CertificateStatus::Good);
    lab.lists.refresh().await;
    assert_eq!(lab.validate(&leaf).await, Err(PathError::Revoked), "whatever is said later");
}

#[tokio::test]
async fn an_answer_that_is_none_is_unavailable_never_yes_and_never_no() {
    let lab = Lab::new(SHORT).await;
    let leaf = lab.with_ocsp();
    let other = member(&lab.root, |_| {});
    let (stranger, namesake) = (root("Stranger"), root("Root"));
    let by = |signer: &Ca, status| lab.said(&leaf, &lab.root, signer, status);
    let old = lab.said(&leaf, &lab.root, &lab.root, CertificateStatus::Good);
    for (row, status, body) in [
        ("X22 unknown", 200, by(&lab.root, CertificateStatus::Unknown)),
        ("X22 wrong key", 200, by(&stranger, CertificateStatus::Good)),
        ("X22 wrong key that revokes", 200, by(&stranger, CertificateStatus::Revoked)),
        ("X22 a namesake", 200, by(&namesake, CertificateStatus::Good)),
        ("about another", 200, lab.said(&other, &lab.root, &lab.root, CertificateStatus::Good)),
        ("tryLater", 200, vec![0x30, 3, 0x0a, 1, 3]),
        ("a page", 200, b"<html>maintenance</html>".to_vec()),
        ("nothing", 200, vec![]),
        ("huge", 200, vec![0x30; 65 * 1024]),
        ("an error", 500, vec![]),
        ("a redirect", 302, vec![]),
    ] {
        lab.put("/ocsp", status, &body);
        lab.clock.advance(Duration::from_secs(2));
        assert_eq!(lab.validate(&leaf).await, Err(PathError::RevocationUnknown), "{row}");
    }
    lab.silence("/ocsp");
    lab.clock.advance(Duration::from_secs(2));
    assert_eq!(lab.validate(&leaf).await, Err(PathError::RevocationUnknown), "silence");
    assert!(!lab.lists.was_seen_revoked(leaf.thumbprint()));
    lab.put("/ocsp", 200, &old);
    lab.clock.advance(3 * HOUR);
    assert_eq!(lab.validate(&leaf).await, Err(PathError::RevocationStale), "X22 stale");
}

#[tokio::test]
async fn lists_are_asked_first_and_ocsp_where_they_fail() {
    let lab = Lab::new(PATIENT).await;
    let places = access(&[(1, lab.url("/ocsp"))]);
    let leaf = member(&lab.root, |p| {
        p.custom_extensions = vec![places];
        p.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![lab.url("/list")] }];
    });
    lab.answer(&leaf, CertificateStatus::Good);
    lab.list(&lab.root, "/list");
    assert_eq!(lab.validate(&leaf).await, Ok(false));
    assert_eq!((lab.asked("/list"), lab.asked("/ocsp")), (1, 0));
    // Another server, the list of which is another issuer's.
    let other = Lab { root: lab.root, ..Lab::new(PATIENT).await };
    let places = access(&[(1, other.url("/ocsp"))]);
    let leaf = member(&other.root, |p| {
        p.custom_extensions = vec![places];
        p.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![other.url("/list")] }];
    });
    other.list(&root("Root"), "/list");
    other.answer(&leaf, CertificateStatus::Good);
    assert_eq!(other.validate(&leaf).await, Ok(false));
    assert_eq!((other.asked("/list"), other.asked("/ocsp")), (1, 1));
    other.answer(&leaf, CertificateStatus::Revoked);
    other.lists.refresh().await;
    assert_eq!(other.validate(&leaf).await, Err(PathError::Revoked));
}

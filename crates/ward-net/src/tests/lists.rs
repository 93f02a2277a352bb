//! Revocation lists from servers that work, fail and cheat (PKI-03, PKI-04, X14–X19).

use std::collections::HashMap;
use std::sync::Mutex;

use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, Issuer, KeyIdMethod, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use ward_core::{Clock as _, CommunityUri, ManualClock, Timestamp};
use ward_trust::{Certificate, Community, PathError};

use super::*;
use crate::lists::ListsError;
use crate::{Named, RevocationLists};

const START: i64 = 1_800_000_000;
const LIFE: Duration = Duration::from_hours(10);

/// Status and bytes by path.
type Files = Arc<Mutex<HashMap<String, (u16, Vec<u8>)>>>;

/// A root that signs a leaf and lists, and the server that hands the list out.
struct Lab {
    clock: Arc<ManualClock>,
    root: CertifiedIssuer<'static, KeyPair>,
    files: Files,
    fetched: Arc<AtomicUsize>,
    _server: Running,
    lists: Arc<RevocationLists>,
    leaf: Certificate,
    community: Community,
}

fn day(at: Timestamp) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(at.as_seconds()).unwrap()
}

impl Lab {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::at_unix_seconds(START));
        let now = clock.now();
        let files: Files = Arc::default();
        let fetched = Arc::new(AtomicUsize::new(0));
        let (shelf, counter) = (Arc::clone(&files), Arc::clone(&fetched));
        let handler = move |request: Request<Incoming>, _: Peer| -> BoxFuture<'static, _> {
            counter.fetch_add(1, Ordering::SeqCst);
            let file = shelf.lock().unwrap().get(request.uri().path()).cloned();
            Box::pin(async move {
                let (status, bytes) = file.unwrap_or((404, Vec::new()));
                text(StatusCode::from_u16(status).unwrap(), bytes)
            })
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::start(listener, None, Arc::new(handler), Arc::new(limits())).unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "Root");
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.not_before = day(now.minus(Duration::from_hours(1)));
        params.not_after = day(now.plus(Duration::from_hours(9000)));
        params.serial_number = Some(SerialNumber::from(77_u64));
        params.subject_alt_names =
            vec![SanType::URI("https://partner.example/udap".try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.crl_distribution_points =
            vec![CrlDistributionPoint { uris: vec![format!("http://{address}/list")] }];
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &root).unwrap();
        let uri = CommunityUri::parse("https://community.example").unwrap();
        let anchor = Certificate::from_der(root.der()).unwrap();
        let client = client_to(address);
        let lists = RevocationLists::new(client, clock.clone(), Arc::new(limits()));
        let leaf = Certificate::from_der(leaf.der()).unwrap();
        let community = Community::new(uri, vec![anchor]);
        Self { clock, root, files, fetched, _server: server, lists, leaf, community }
    }

    fn list(by: &Issuer<'_, KeyPair>, number: u64, from: Timestamp, bad: &[u64]) -> Vec<u8> {
        let params = CertificateRevocationListParams {
            this_update: day(from),
            next_update: day(from.plus(LIFE)),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: bad
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(*serial),
                    revocation_time: day(from),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(by).unwrap().der().to_vec()
    }

    fn put(&self, status: u16, bytes: Vec<u8>) {
        self.files.lock().unwrap().insert("/list".into(), (status, bytes));
    }

    fn publish(&self, bad: &[u64]) {
        self.put(200, Self::list(&self.root, 1, self.clock.now(), bad));
    }

    async fn validate(&self) -> Result<(), PathError> {
        self.lists
            .validate(&self.leaf, &[], &self.community, Duration::ZERO)
            .await
            .map(|chain| assert_eq!(chain.certificates.len(), 1))
    }

    fn fetched(&self) -> usize {
        self.fetched.load(Ordering::SeqCst)
    }

    /// Waits until what is asked for beside the request has come and is kept.
    async fn becomes(&self, wanted: Result<(), PathError>) {
        let waiting = async {
            while self.validate().await != wanted {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LONG, waiting).await.expect("nothing was fetched beside the request");
    }
}

#[tokio::test]
async fn a_list_is_fetched_once_and_prefetched_after_half_of_its_life() {
    let lab = Lab::new().await;
    lab.publish(&[]);
    for _ in 0..5 {
        assert_eq!(lab.validate().await, Ok(()));
    }
    assert_eq!(lab.fetched(), 1);
    lab.clock.advance(Duration::from_secs(5 * 3600 - 1));
    assert_eq!(lab.validate().await, Ok(()));
    assert_eq!(lab.fetched(), 1);
    lab.publish(&[77]);
    lab.clock.advance(Duration::from_secs(2));
    assert_eq!(lab.validate().await, Ok(()), "the list at hand serves until the next has come");
    lab.becomes(Err(PathError::Revoked)).await;
    assert_eq!(lab.fetched(), 2);
}

#[tokio::test]
async fn many_callers_cause_one_fetch() {
    let lab = Arc::new(Lab::new().await);
    lab.publish(&[]);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let lab = Arc::clone(&lab);
        callers.spawn(async move { lab.validate().await });
    }
    while let Some(done) = callers.join_next().await {
        assert_eq!(done.unwrap(), Ok(()));
    }
    assert_eq!(lab.fetched(), 1);
}

#[tokio::test]
async fn unavailable_and_stale_are_told_apart() {
    let lab = Lab::new().await;
    assert_eq!(lab.validate().await, Err(PathError::RevocationUnknown));
    assert!(PathError::RevocationUnknown.is_unavailable());
    assert_eq!(lab.validate().await, Err(PathError::RevocationUnknown));
    assert_eq!(lab.fetched(), 1, "a failed fetch is not repeated at once");
    lab.publish(&[]);
    lab.clock.advance(Duration::from_secs(2));
    assert_eq!(lab.validate().await, Ok(()));
    // The server goes away: the list is good to its end, then stale, and within a grace if one is given.
    lab.put(503, Vec::new());
    lab.clock.advance(Duration::from_mins(599));
    assert_eq!(lab.validate().await, Ok(()));
    lab.clock.advance(Duration::from_mins(2));
    assert_eq!(lab.validate().await, Err(PathError::RevocationStale));
    let grace = Duration::from_hours(24);
    let chain = lab.lists.validate(&lab.leaf, &[], &lab.community, grace).await.unwrap();
    assert!(chain.stale);
    let report = lab.lists.status();
    assert!(report.lists.iter().any(|list| list.stale && list.failure.is_some()));
    lab.publish(&[]);
    assert!(lab.lists.refresh().await.is_complete());
    assert_eq!(lab.validate().await, Ok(()));
}

#[tokio::test]
async fn once_revoked_never_passes_again() {
    let lab = Lab::new().await;
    lab.publish(&[]);
    assert_eq!(lab.validate().await, Ok(()));
    lab.publish(&[5, 77]);
    assert_eq!(lab.validate().await, Ok(()), "not looked at yet");
    assert!(lab.lists.refresh().await.is_complete());
    assert_eq!(lab.validate().await, Err(PathError::Revoked));
    lab.clock.advance(Duration::from_secs(5));
    lab.publish(&[5]);
    assert!(lab.lists.refresh().await.is_complete());
    assert_eq!(lab.validate().await, Err(PathError::Revoked));
}

#[tokio::test]
async fn lists_that_cheat_are_not_kept() {
    let lab = Lab::new().await;
    lab.publish(&[]);
    assert_eq!(lab.validate().await, Ok(()));
    let now = lab.clock.now();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Root");
    params.key_usages = vec![KeyUsagePurpose::CrlSign];
    let impostor = Issuer::new(params, KeyPair::generate().unwrap());
    let minute = Duration::from_mins(10);
    for (name, status, bytes, failure) in [
        ("other key", 200, Lab::list(&impostor, 9, now, &[]), ListsError::Signature),
        ("older", 200, Lab::list(&lab.root, 9, now.minus(minute), &[]), ListsError::Older),
        ("future", 200, Lab::list(&lab.root, 9, now.plus(minute), &[]), ListsError::Future),
        ("error", 500, Lab::list(&lab.root, 9, now, &[]), ListsError::Status(500)),
        (
            "page",
            200,
            b"<html>sign in</html>".to_vec(),
            ListsError::Unusable(ward_trust::CrlError::Malformed),
        ),
        (
            "vast",
            200,
            vec![0x30; limits().crl_bytes + 1],
            ListsError::Unavailable(crate::FetchError::TooLarge(limits().crl_bytes)),
        ),
    ] {
        lab.put(status, bytes);
        let report = lab.lists.refresh().await;
        assert_eq!(report.lists[0].failure, Some(failure), "{name}");
        assert_eq!(lab.validate().await, Ok(()), "{name}: the good list was lost");
    }
}

#[tokio::test]
async fn a_planted_list_does_not_lock_members_out() {
    let lab = Lab::new().await;
    let params = CertificateParams::new(vec![]).unwrap();
    let impostor = Issuer::new(params, KeyPair::generate().unwrap());
    lab.put(200, Lab::list(&impostor, 9, lab.clock.now(), &[]));
    assert_eq!(lab.validate().await, Err(PathError::RevocationUnknown));
    lab.publish(&[]);
    lab.clock.advance(Duration::from_secs(2));
    assert_eq!(lab.validate().await, Ok(()));
}

#[tokio::test]
async fn a_remembered_path_ends_with_its_dates_its_list_and_its_community() {
    let lab = Lab::new().await;
    lab.publish(&[]);
    for _ in 0..3 {
        assert_eq!(lab.validate().await, Ok(()));
        assert_eq!(lab.lists.built.len(), 1);
    }
    let under = async |community: &Community| {
        lab.lists.validate(&lab.leaf, &[], community, Duration::ZERO).await.map(|_| ())
    };
    // The same community after a reload: what selects its members counts, not its name.
    let prefixed =
        |prefix: &str| Community { uri_prefixes: vec![prefix.to_owned()], ..lab.community.clone() };
    assert_eq!(under(&prefixed("https://other.example/")).await, Err(PathError::ForeignUri));
    assert_eq!(under(&prefixed("https://partner.example/")).await, Ok(()));
    let issuing = vec![lab.leaf.thumbprint()];
    let elsewhere = Community { issuing, ..lab.community.clone() };
    assert_eq!(under(&elsewhere).await, Err(PathError::ForeignIssuer));
    let policies = vec!["1.2.3".to_owned()];
    let demanding = Community { policies, ..lab.community.clone() };
    assert_eq!(under(&demanding).await, Err(PathError::Policy));
    let closed = Community { anchors: Vec::new(), ..lab.community.clone() };
    assert_eq!(under(&closed).await, Err(PathError::Untrusted));
    assert_eq!(lab.lists.built.len(), 2, "only paths that were found take a place");
    // Its dates: the leaf ends after 9000 hours, whatever was found before.
    lab.clock.advance(Duration::from_hours(8999));
    lab.publish(&[]);
    assert_eq!(lab.validate().await, Ok(()));
    lab.clock.advance(Duration::from_hours(2));
    lab.publish(&[]);
    assert_eq!(lab.validate().await, Err(PathError::Expired));
    assert_eq!(lab.lists.built.len(), 1, "what no longer holds is forgotten");
}

#[tokio::test]
async fn a_remembered_path_falls_with_a_new_list() {
    let lab = Lab::new().await;
    lab.publish(&[]);
    assert_eq!(lab.validate().await, Ok(()));
    lab.publish(&[77]);
    assert!(lab.lists.refresh().await.is_complete());
    assert_eq!(lab.validate().await, Err(PathError::Revoked));
    assert_eq!(lab.lists.built.len(), 1, "the path still stands there and is of no use");
}

#[tokio::test]
async fn what_is_newly_named_is_told_once_and_by_number() {
    let lab = Lab::new().await;
    assert_eq!(lab.lists.take_named(), []);
    lab.publish(&[5, 6]);
    lab.validate().await.unwrap();
    let issuer = ward_core::crypto::sha256(&[lab.leaf.issuer_der()]);
    let numbers = |serials: &[u8]| {
        let serials = serials.iter().map(|serial| vec![*serial]).collect();
        vec![Named::Numbers { issuer, serials }]
    };
    assert_eq!(lab.lists.take_named(), numbers(&[5, 6]));
    assert_eq!(lab.lists.take_named(), [], "told once");
    // The next list names them still, and one more: only that is new. One that says the same is no news.
    for (bad, told) in [(&[5, 6, 77][..], numbers(&[77])), (&[5, 6, 77], numbers(&[]))] {
        lab.clock.advance(Duration::from_hours(1));
        lab.publish(bad);
        assert!(lab.lists.refresh().await.is_complete());
        assert_eq!(lab.lists.take_named(), told);
        assert!(lab.lists.refresh().await.is_complete());
        assert_eq!(lab.lists.take_named(), []);
    }
}

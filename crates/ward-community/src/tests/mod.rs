//! Communities end to end: what they issue validates, what they revoke does not, and a restart or a
//! crash changes neither.

mod bundle;
mod certification;
mod public;
mod rollover;
mod signals;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ward_core::{
    BoxFuture, Clock as _, CommunityUri, Event, EventSink, ManualClock, OutboxSeq, Receipt,
    Rng as _, Secret, SinkError, SystemRng, TenantId,
};
use ward_store::vault::{FileVault, Unlock, create_key_file};
use ward_trust::{Certificate, KeyKind, PathError, SigningRequest, validate};

use super::*;

/// A log in memory that can be made to fail.
#[derive(Default)]
struct Sink {
    events: Mutex<Vec<Event>>,
    broken: AtomicBool,
}

impl EventSink for Sink {
    fn record(&self, events: Vec<Event>) -> BoxFuture<'_, Result<Receipt, SinkError>> {
        Box::pin(async move {
            if self.broken.load(Ordering::SeqCst) {
                return Err(SinkError::Unwritable("disk full".into()));
            }
            let mut log = self.events.lock().unwrap();
            let receipt =
                Receipt { first: log.len() as u64, count: u32::try_from(events.len()).unwrap() };
            log.extend(events);
            Ok(receipt)
        })
    }

    fn settle(&self, _: OutboxSeq) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }
}

impl Sink {
    fn actions(&self) -> Vec<String> {
        self.events.lock().unwrap().iter().map(|event| event.action.to_string()).collect()
    }
}

/// A directory that goes with the test, a vault, a log and a clock.
struct Lab {
    dir: PathBuf,
    sink: Arc<Sink>,
    clock: Arc<ManualClock>,
    vault: Arc<FileVault>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Lab {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut random = [0; 8];
        SystemRng.fill(&mut random);
        let name = format!(
            "ward-community-{}-{}-{:x}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::SeqCst),
            u64::from_le_bytes(random)
        );
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        create_key_file(&dir.join("key"), &SystemRng).unwrap();
        let unlock = Unlock::KeyFile(dir.join("key"));
        let vault = FileVault::open(&dir.join("vault"), &unlock, Arc::new(SystemRng)).unwrap();
        let clock = Arc::new(ManualClock::at_unix_seconds(1_800_000_000));
        Self { dir, sink: Arc::default(), clock, vault }
    }

    fn deps(&self) -> OperatorDeps {
        OperatorDeps {
            vault: self.vault.clone(),
            sink: self.sink.clone(),
            clock: self.clock.clone(),
            rng: Arc::new(SystemRng),
            operator: "alice".into(),
        }
    }

    fn community(&self) -> PathBuf {
        self.dir.join("community")
    }

    async fn create(&self, ca_key: KeySpec, base_url: &str) -> Arc<Operator> {
        let config = OperatorConfig {
            tenant: TenantId::default_tenant(),
            uri: CommunityUri::parse("https://community.example").unwrap(),
            name: "Example Community".into(),
            base_url: base_url.into(),
            ca_key,
        };
        Operator::create(self.community(), config, self.deps()).await.unwrap()
    }

    async fn open(&self) -> Result<Arc<Operator>, CommunityError> {
        Operator::open(self.community(), self.deps()).await
    }

    /// What a member finds out with the lists that are published now.
    fn check(&self, operator: &Operator, issued: &Issued) -> Result<(), PathError> {
        let leaf = Certificate::from_der(&issued.chain[0]).unwrap();
        let extra = [Certificate::from_der(&issued.chain[1]).unwrap()];
        let mut community = operator.trust();
        community.intermediates.clear();
        let lists = [Authority::Root, Authority::Issuing].map(|of| operator.list(of).list);
        let chain = validate(&leaf, &extra, &community, &lists, self.clock.now())?;
        assert_eq!(chain.certificates.len(), 2);
        Ok(())
    }
}

fn client(name: &str) -> CertificateRequest {
    CertificateRequest::client(name, format!("https://{name}.example/udap"))
}

const BASE: &str = "http://127.0.0.1:8083";

/// COMM-01.
#[tokio::test]
async fn members_validate_until_they_are_revoked() {
    for ca_key in [KeySpec::P256, KeySpec::P384] {
        let lab = Lab::new();
        let operator = lab.create(ca_key, BASE).await;
        let fhir_base = "https://localhost:8443/default/fhir";
        let server =
            operator.issue(&CertificateRequest::server("Hospital", fhir_base)).await.unwrap();
        let mut members = vec![];
        for key in [KeySpec::P256, KeySpec::P384, KeySpec::Rsa2048] {
            let request = CertificateRequest { key, ..client("partner").renewal() };
            members.push(operator.issue(&request).await.unwrap());
        }
        let leaf = Certificate::from_der(&server.chain[0]).unwrap();
        assert_eq!(leaf.san_uris(), [fhir_base]);
        assert_eq!(leaf.subject_key(), KeyKind::Rsa { bits: 2048 });
        assert_eq!(leaf.crl_urls(), [format!("{BASE}/crl/issuing.crl")]);
        assert_eq!(leaf.ca_issuer_urls(), [format!("{BASE}/ca/issuing.cer")]);
        assert_eq!(
            operator.certificate(Authority::Issuing).crl_urls(),
            [format!("{BASE}/crl/root.crl")]
        );
        assert!(leaf.not_after().since(lab.clock.now()) <= Duration::from_hours(366 * 24));
        assert_eq!(lint(&leaf, Profile::Server, lab.clock.now()), []);
        for issued in members.iter().chain([&server]) {
            assert_eq!(lab.check(&operator, issued), Ok(()));
        }
        // The second of four; the others stay.
        operator.revoke(&members[1].thumbprint, Reason::KeyCompromise).await.unwrap();
        assert_eq!(lab.check(&operator, &members[1]), Err(PathError::Revoked));
        for issued in [&members[0], &members[2], &server] {
            assert_eq!(lab.check(&operator, issued), Ok(()));
        }
        let again = operator.revoke(&members[1].thumbprint, Reason::Superseded).await;
        assert!(matches!(again, Err(CommunityError::Revoked)));
        let stranger = ward_core::Thumbprint([0; 32]);
        let unknown = operator.revoke(&stranger, Reason::Superseded).await;
        assert!(matches!(unknown, Err(CommunityError::Unknown)));
    }
}

/// A member keeps its key: it sends a request, and what comes back is valid for that key.
#[tokio::test]
async fn a_request_is_certified_for_the_key_that_signed_it() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    let asked = |algorithm| {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let der = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
        (key, SigningRequest::from_der(der.der()).unwrap())
    };
    let server = CertificateRequest::server("Hospital", "https://localhost:8443/default/fhir");
    let (key, rsa) = asked(&rcgen::PKCS_RSA_SHA256);
    let chain = operator.certify(&server, &rsa).await.unwrap();
    let key = Secret::new(key.serialized_der().to_vec());
    let thumbprint = Certificate::from_der(&chain[0]).unwrap().thumbprint();
    let issued = Issued { chain, key, thumbprint };
    issued.identity().unwrap();
    assert_eq!(lab.check(&operator, &issued), Ok(()));
    operator.revoke(&thumbprint, Reason::Superseded).await.unwrap();
    assert_eq!(lab.check(&operator, &issued), Err(PathError::Revoked));

    // Metadata is signed with RS256: no other key serves a server, though it does a client.
    let (_, p256) = asked(&rcgen::PKCS_ECDSA_P256_SHA256);
    let refused = operator.certify(&server.renewal(), &p256).await;
    assert!(matches!(refused, Err(CommunityError::Lint(Finding::Key))), "{refused:?}");
    operator.certify(&client("partner"), &p256).await.unwrap();
}

/// COMM-14, COMM-22.
#[tokio::test]
async fn every_act_is_an_event() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    let issued = operator.issue(&client("partner")).await.unwrap();
    operator.revoke(&issued.thumbprint, Reason::CessationOfOperation).await.unwrap();
    let published = "list-published";
    assert_eq!(
        lab.sink.actions(),
        ["created", published, published, "issued", "revoked", published]
    );
    let events = lab.sink.events.lock().unwrap().clone();
    assert_eq!(events[3].body.detail["thumbprint"], issued.thumbprint.to_string());
    assert_eq!(events[4].body.detail["reason"], "cessation-of-operation");
    assert_eq!(events[5].body.detail["number"], "2");
    assert!(events.iter().all(|event| event.actor.community.as_ref() == Some(operator.uri())));
    assert!(events.iter().all(|event| event.actor.operator.as_deref() == Some("alice")));
}

#[tokio::test]
async fn a_restart_keeps_the_authority_and_the_list_number_grows() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    let good = operator.issue(&client("good")).await.unwrap();
    let bad = operator.issue(&client("bad")).await.unwrap();
    operator.revoke(&bad.thumbprint, Reason::PrivilegeWithdrawn).await.unwrap();
    let root = operator.certificate(Authority::Root).thumbprint();
    let number = operator.list(Authority::Issuing).number;
    assert!(matches!(lab.open().await, Err(CommunityError::InUse(_))));
    drop(operator);

    let operator = lab.open().await.unwrap();
    assert_eq!(operator.certificate(Authority::Root).thumbprint(), root);
    assert_eq!(operator.base_url(), BASE);
    assert_eq!(operator.list(Authority::Issuing).number, number);
    assert_eq!(lab.check(&operator, &good), Ok(()));
    assert_eq!(lab.check(&operator, &bad), Err(PathError::Revoked));
    assert_eq!(operator.members().await.len(), 2);
    let late = operator.issue(&client("late")).await.unwrap();
    assert_eq!(lab.check(&operator, &late), Ok(()));
    operator.revoke(&good.thumbprint, Reason::Unspecified).await.unwrap();
    assert_eq!(operator.list(Authority::Issuing).number, number + 1);
    assert_eq!(lab.check(&operator, &bad), Err(PathError::Revoked));
    assert_eq!(lab.check(&operator, &good), Err(PathError::Revoked));
    assert_eq!(lab.check(&operator, &late), Ok(()));
    let again = Operator::create(
        lab.community(),
        OperatorConfig {
            tenant: TenantId::default_tenant(),
            uri: operator.uri().clone(),
            name: "Other".into(),
            base_url: BASE.into(),
            ca_key: KeySpec::P256,
        },
        lab.deps(),
    );
    assert!(matches!(again.await, Err(CommunityError::Exists(_))));
}

#[tokio::test]
async fn a_crash_before_the_list_was_written_does_not_lose_the_revocation() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    let issued = operator.issue(&client("partner")).await.unwrap();
    let list = lab.community().join("crl/issuing.crl");
    let before = std::fs::read(&list).unwrap();
    operator.revoke(&issued.thumbprint, Reason::KeyCompromise).await.unwrap();
    let number = operator.list(Authority::Issuing).number;
    drop(operator);
    for left_behind in [Some(before), Some(b"half".to_vec()), None] {
        match left_behind {
            Some(bytes) => std::fs::write(&list, bytes).unwrap(),
            None => std::fs::remove_file(&list).unwrap(),
        }
        let operator = lab.open().await.unwrap();
        assert!(operator.list(Authority::Issuing).number > number);
        assert_eq!(lab.check(&operator, &issued), Err(PathError::Revoked));
    }
}

#[tokio::test]
async fn what_the_log_did_not_take_is_not_handed_out_and_is_recorded_later() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    let issued = operator.issue(&client("partner")).await.unwrap();
    let before = lab.sink.actions().len();
    lab.sink.broken.store(true, Ordering::SeqCst);
    let refused = operator.issue(&client("other")).await;
    assert!(matches!(refused, Err(CommunityError::Sink(_))), "{refused:?}");
    let revoked = operator.revoke(&issued.thumbprint, Reason::KeyCompromise).await;
    assert!(matches!(revoked, Err(CommunityError::Sink(_))), "{revoked:?}");
    // A revocation holds at once, whatever the log does.
    assert_eq!(lab.check(&operator, &issued), Err(PathError::Revoked));
    assert_eq!(lab.sink.actions().len(), before);
    drop(operator);
    assert!(matches!(lab.open().await, Err(CommunityError::Sink(_))));
    lab.sink.broken.store(false, Ordering::SeqCst);
    let operator = lab.open().await.unwrap();
    assert_eq!(lab.sink.actions()[before..], ["issued", "revoked", "list-published"]);
    drop(operator);
    drop(lab.open().await.unwrap());
    assert_eq!(lab.sink.actions().len(), before + 3, "an event was recorded twice");
}

#[tokio::test]
async fn damage_is_named_and_not_papered_over() {
    let lab = Lab::new();
    assert!(matches!(lab.open().await, Err(CommunityError::Missing(_))));
    drop(lab.create(KeySpec::P256, BASE).await);
    let register = lab.community().join("register.json");
    let good = std::fs::read(&register).unwrap();
    for bad in [&b""[..], b"{}", &good[..good.len() / 2], b"null"] {
        std::fs::write(&register, bad).unwrap();
        assert!(matches!(lab.open().await, Err(CommunityError::Damaged(_))));
    }
    std::fs::write(&register, &good).unwrap();
    let certificate = lab.community().join("ca/root.cer");
    std::fs::write(&certificate, b"junk").unwrap();
    assert!(matches!(lab.open().await, Err(CommunityError::Damaged(_))));
}

#[tokio::test]
async fn authorities_must_not_be_rsa_and_bad_requests_change_nothing() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    let events = lab.sink.actions().len();
    let bad = CertificateRequest { san_uris: vec![], ..client("partner") };
    let refused = operator.issue(&bad).await;
    assert!(matches!(refused, Err(CommunityError::Lint(Finding::UriMissing))));
    assert_eq!(operator.members().await, []);
    assert_eq!(lab.sink.actions().len(), events);
    let config = OperatorConfig {
        tenant: TenantId::default_tenant(),
        uri: operator.uri().clone(),
        name: "RSA".into(),
        base_url: BASE.into(),
        ca_key: KeySpec::Rsa2048,
    };
    let refused = Operator::create(lab.dir.join("rsa"), config, lab.deps()).await;
    assert!(matches!(refused, Err(CommunityError::Lint(Finding::Key))));
}

/// COMM-03.
#[tokio::test]
async fn a_uri_stays_with_its_holder() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    let uri = "https://partner.example/udap";
    let partner = CertificateRequest::client("Partner", uri);
    let first = operator.issue(&partner).await.unwrap();
    let events = lab.sink.actions().len();
    // The attacker is a member too, and asks for the partner's URI: servers would take it for the partner.
    let asks = |uris: &[&str]| CertificateRequest {
        san_uris: uris.iter().map(ToString::to_string).collect(),
        ..CertificateRequest::client("Mallory", "")
    };
    for uris in [
        &[uri][..],
        &["https://mallory.example/", uri],
        &["https://PARTNER.example/udap"],
        &["https://partner.example/udap/"],
    ] {
        for request in [asks(uris), asks(uris).renewal()] {
            let refused = operator.issue(&request).await;
            assert!(matches!(refused, Err(CommunityError::UriTaken(_))), "{uris:?}: {refused:?}");
        }
    }
    let server = CertificateRequest::server("Mallory", uri);
    assert!(matches!(operator.issue(&server).await, Err(CommunityError::UriTaken(_))));
    // The holder itself must say that it wants another.
    let again = operator.issue(&partner).await;
    assert!(matches!(again, Err(CommunityError::UriHeld(held)) if held == uri));
    assert_eq!(operator.members().await.len(), 1);
    assert_eq!(lab.sink.actions().len(), events, "an event for what was not issued");
    let second = operator.issue(&partner.clone().renewal()).await.unwrap();
    assert_eq!(lab.check(&operator, &second), Ok(()));

    // Neither a lost key nor the end of its life makes the URI free, nor a restart.
    operator.revoke(&first.thumbprint, Reason::KeyCompromise).await.unwrap();
    lab.clock.advance(Duration::from_hours(400 * 24));
    drop(operator);
    let operator = lab.open().await.unwrap();
    assert!(matches!(operator.issue(&asks(&[uri])).await, Err(CommunityError::UriTaken(_))));
    // When the holder gives up the last, and no other is good, it is; and the new holder's from then on.
    let third = operator.issue(&partner.clone().renewal()).await.unwrap();
    let fourth = operator.issue(&partner.clone().renewal()).await.unwrap();
    operator.revoke(&fourth.thumbprint, Reason::CessationOfOperation).await.unwrap();
    assert!(matches!(operator.issue(&asks(&[uri])).await, Err(CommunityError::UriTaken(_))));
    operator.revoke(&third.thumbprint, Reason::Superseded).await.unwrap();
    operator.issue(&asks(&[uri])).await.unwrap();
    let back = operator.issue(&partner.renewal()).await;
    assert!(matches!(back, Err(CommunityError::UriTaken(_))), "{back:?}");
}

#[tokio::test]
async fn keys_lie_in_the_vault_alone() {
    fn walk(dir: &Path, each: &mut dyn FnMut(&Path, &[u8])) {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                walk(&entry.path(), each);
            } else {
                each(&entry.path(), &std::fs::read(entry.path()).unwrap());
            }
        }
    }
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    let issued = operator.issue(&client("partner")).await.unwrap();
    let names = lab.vault.list_secrets().unwrap();
    assert_eq!(names.len(), 2, "{names:?}");
    let mut keys = vec![issued.key.expose().clone()];
    keys.extend(
        names.iter().map(|name| lab.vault.get_secret(name).unwrap().unwrap().expose().clone()),
    );
    let mut files = 0;
    walk(&lab.dir, &mut |path, bytes| {
        files += 1;
        for key in &keys {
            // The private scalar stands in the middle of a P-256 PKCS#8 key.
            let secret = &key[36..68];
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{} holds a key in clear", path.display());
        }
    });
    assert!(files > 8);
}

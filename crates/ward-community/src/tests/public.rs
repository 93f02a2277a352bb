//! The public server over time: what lapses, what is renewed, and what a damaged directory gives.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpListener;
use ward_core::{Limits, Timestamp};
use ward_net::{Egress, HttpClient, Running, Server};
use ward_trust::ocsp::{self, CertificateStatus, OcspResponse};
use ward_trust::{OcspAnswer, OcspError};

use super::*;

struct Up {
    server: Arc<PublicServer>,
    http: HttpClient,
    address: String,
    _running: Running,
}

impl Up {
    async fn new(lab: &Lab) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = PublicServer::new(lab.community(), lab.vault.clone(), lab.clock.clone());
        let server = Arc::new(server.unwrap());
        let limits = Arc::new(Limits::default());
        let running = Server::start(listener, None, server.clone(), limits.clone()).unwrap();
        let tls = ward_net::tls::client_config([]).unwrap();
        let http = HttpClient::new(Egress::allowing([address.clone()]), tls, limits);
        Self { server, http, address, _running: running }
    }

    async fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let url = format!("http://{}{path}", self.address);
        let got = self.http.get(&url, 64 * 1024, Duration::from_mins(1)).await.unwrap();
        (got.status().as_u16(), got.body().to_vec())
    }

    async fn ask(
        &self,
        leaf: &Certificate,
        issuer: &Certificate,
        now: Timestamp,
    ) -> Result<OcspAnswer, OcspError> {
        let asked = STANDARD.encode(ocsp::request(leaf, issuer, None).unwrap());
        let asked = asked.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let (status, body) = self.get(&format!("/ocsp/{asked}")).await;
        assert_eq!(status, 200);
        OcspResponse::from_der(&body)?.about(leaf, issuer, now)
    }
}

async fn with_responder(lab: &Lab) -> Arc<Operator> {
    let config = OperatorConfig {
        tenant: TenantId::default_tenant(),
        uri: CommunityUri::parse("https://community.example").unwrap(),
        name: "Example Community".into(),
        base_url: BASE.into(),
        ca_key: KeySpec::P256,
    };
    let options = CommunityOptions { ocsp: true, ..CommunityOptions::default() };
    let operator = Operator::create_with(lab.community(), config, options, lab.deps()).await;
    let operator = operator.unwrap();
    operator.keep_responder().await.unwrap();
    operator
}

#[tokio::test]
async fn answers_grow_stale_and_the_responder_is_renewed_in_time() {
    let lab = Lab::new();
    let operator = with_responder(&lab).await;
    let issued = operator.issue(&client("partner")).await.unwrap();
    let leaf = Certificate::from_der(&issued.chain[0]).unwrap();
    let issuer = operator.certificate(Authority::Issuing);
    let up = Up::new(&lab).await;
    let now = || lab.clock.now();

    // Handed out again for five minutes, then signed anew; each holds for an hour.
    let first = up.ask(&leaf, &issuer, now()).await.unwrap();
    assert_eq!(first.status, CertificateStatus::Good);
    assert_eq!(first.next_update, first.this_update.plus(Duration::from_hours(1)));
    lab.clock.advance(Duration::from_mins(4));
    assert_eq!(up.ask(&leaf, &issuer, now()).await.unwrap(), first);
    lab.clock.advance(Duration::from_mins(2));
    assert_eq!(up.ask(&leaf, &issuer, now()).await.unwrap().this_update, now());
    assert!(!up.server.is_due().await.unwrap());

    // A list past half of its life is due, and not before the operator is there.
    lab.clock.advance(Duration::from_hours(12));
    assert!(up.server.is_due().await.unwrap());
    operator.publish().await.unwrap();
    assert!(!up.server.is_due().await.unwrap());

    // The responder's certificate is due after fifteen days, and answers end with it after thirty.
    let before = std::fs::read(lab.community().join("ca/ocsp.cer")).unwrap();
    lab.clock.advance(Duration::from_hours(16 * 24));
    operator.publish().await.unwrap();
    assert!(up.server.is_due().await.unwrap());
    assert_eq!(up.ask(&leaf, &issuer, now()).await.unwrap().status, CertificateStatus::Good);
    lab.clock.advance(Duration::from_hours(14 * 24));
    assert_eq!(up.ask(&leaf, &issuer, now()).await, Err(OcspError::NoAnswer(3)));
    operator.keep_responder().await.unwrap();
    assert_ne!(std::fs::read(lab.community().join("ca/ocsp.cer")).unwrap(), before);
    let answer = up.ask(&leaf, &issuer, now()).await.unwrap();
    assert_eq!(answer.status, CertificateStatus::Good);
    operator.publish().await.unwrap();
    assert!(!up.server.is_due().await.unwrap());
    operator.keep_responder().await.unwrap();
    let made = |act: &str| lab.sink.actions().iter().filter(|one| *one == act).count();
    assert_eq!(made("responder-issued"), 2, "not more often than needed");

    // An answer never outlives the certificate of who signed it.
    lab.clock.advance(Duration::from_hours(30 * 24) - Duration::from_mins(20));
    let answer = up.ask(&leaf, &issuer, now()).await.unwrap();
    assert!(answer.next_update < answer.this_update.plus(Duration::from_hours(1)));
}

#[tokio::test]
async fn a_key_without_its_certificate_or_a_damaged_register_answers_nothing() {
    let lab = Lab::new();
    let operator = with_responder(&lab).await;
    let issued = operator.issue(&client("partner")).await.unwrap();
    let leaf = Certificate::from_der(&issued.chain[0]).unwrap();
    let issuer = operator.certificate(Authority::Issuing);
    let up = Up::new(&lab).await;
    let now = lab.clock.now();
    let certificate = lab.community().join("ca/ocsp.cer");
    let kept = std::fs::read(&certificate).unwrap();

    std::fs::remove_file(&certificate).unwrap();
    assert_eq!(up.ask(&leaf, &issuer, now).await, Err(OcspError::NoAnswer(3)));
    assert!(up.server.is_due().await.unwrap());
    // A new key, and the former certificate: as after a power failure between the two.
    operator.keep_responder().await.unwrap();
    assert!(up.ask(&leaf, &issuer, now).await.is_ok());
    std::fs::write(&certificate, &kept).unwrap();
    assert_eq!(up.ask(&leaf, &issuer, now).await, Err(OcspError::NoAnswer(3)));
    operator.keep_responder().await.unwrap();
    assert!(up.ask(&leaf, &issuer, now).await.is_ok());

    // Nothing is told from a register that cannot be read: neither good nor unknown.
    let register = lab.community().join("register.json");
    let whole = std::fs::read(&register).unwrap();
    std::fs::write(&register, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(up.get("/crl/issuing.crl").await.0, 503);
    assert_eq!(up.get("/ocsp/MA==").await.0, 503);
    std::fs::write(&register, &whole).unwrap();
    assert_eq!(up.ask(&leaf, &issuer, now).await.unwrap().status, CertificateStatus::Good);
}

#[tokio::test]
async fn with_the_roots_key_away_the_rest_goes_on() {
    let lab = Lab::new();
    drop(with_responder(&lab).await);
    let away = || {
        let vault: Arc<dyn AuthorityKeys> = lab.vault.clone();
        OperatorDeps { vault: Arc::new(RootApart { root: None, rest: vault }), ..lab.deps() }
    };
    let operator = Operator::open(lab.community(), away()).await.unwrap();
    let issued = operator.issue(&client("partner")).await.unwrap();
    lab.check(&operator, &issued).unwrap();
    let refused = |result: Result<(), CommunityError>| {
        assert!(matches!(result, Err(CommunityError::RootAway)), "{result:?}");
    };
    refused(operator.publish_now(Authority::Root).await);
    refused(operator.renew_issuing().await.map(|_| ()));
    operator.revoke(&issued.thumbprint, Reason::Superseded).await.unwrap();
    assert_eq!(lab.check(&operator, &issued), Err(PathError::Revoked));
    // The root's list is due, and stays as it is: the members' list is renewed all the same, at each opening too.
    lab.clock.advance(Duration::from_hours(8 * 24));
    operator.publish().await.unwrap();
    assert_eq!(operator.list(Authority::Root).number, 1);
    let number = operator.list(Authority::Issuing).number;
    assert!(number > 2);
    drop(operator);
    let operator = Operator::open(lab.community(), away()).await.unwrap();
    assert_eq!(operator.list(Authority::Issuing).number, number);
    drop(operator);
    // With the key there, opening is enough.
    let operator = lab.open().await.unwrap();
    assert_eq!(operator.list(Authority::Root).number, 2);
}

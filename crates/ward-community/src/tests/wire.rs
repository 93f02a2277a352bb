//! Over real sockets: lists, the TLS stand-in.

use std::net::IpAddr;

use http::{Method, StatusCode};
use tokio::net::TcpListener;
use ward_core::Limits;
use ward_net::http::text;
use ward_net::{Egress, HttpClient, RevocationLists, Server, TlsReload, TlsVersions};

use super::*;

/// COMM-14.
#[tokio::test]
async fn lists_are_served_and_signed_anew_after_half_of_their_life() {
    let lab = Lab::new();
    let operator = lab.create(KeySpec::P256, BASE).await;
    let server = ListServer::new(Arc::clone(&operator));
    for (method, path, status, content_type) in [
        (Method::GET, "/crl/issuing.crl", StatusCode::OK, "application/pkix-crl"),
        (Method::HEAD, "/crl/root.crl", StatusCode::OK, "application/pkix-crl"),
        (Method::GET, "/ca/root.cer", StatusCode::OK, "application/pkix-cert"),
        (Method::GET, "/ca/issuing.cer", StatusCode::OK, "application/pkix-cert"),
        (Method::POST, "/crl/issuing.crl", StatusCode::METHOD_NOT_ALLOWED, ""),
        (Method::GET, "/crl/../register.json", StatusCode::NOT_FOUND, ""),
        (Method::GET, "/register.json", StatusCode::NOT_FOUND, ""),
        (Method::GET, "/", StatusCode::NOT_FOUND, ""),
    ] {
        let answer = server.answer(&method, path).await;
        assert_eq!(answer.status(), status, "{method} {path}");
        if status == StatusCode::OK {
            assert_eq!(answer.headers()["content-type"], content_type);
            assert!(answer.headers()["cache-control"].to_str().unwrap().contains("max-age="));
        }
    }
    assert_eq!(operator.list(Authority::Issuing).number, 1);
    lab.clock.advance(Duration::from_hours(13));
    server.answer(&Method::GET, "/crl/issuing.crl").await;
    assert_eq!(operator.list(Authority::Issuing).number, 2);
    assert_eq!(operator.list(Authority::Root).number, 1);
    server.answer(&Method::GET, "/crl/issuing.crl").await;
    assert_eq!(operator.list(Authority::Issuing).number, 2);
    // Far past the end of everything: a restart alone brings lists that are current.
    drop((operator, server));
    lab.clock.advance(Duration::from_hours(24 * 30));
    let operator = lab.open().await.unwrap();
    for authority in [Authority::Root, Authority::Issuing] {
        assert!(operator.list(authority).list.next_update() > lab.clock.now());
    }
}

#[tokio::test]
async fn over_the_wire_a_revoked_member_fails_after_a_refresh() {
    let lab = Lab::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let operator = lab.create(KeySpec::P256, &format!("http://{address}/")).await;
    let limits = Arc::new(Limits::default());
    let handler = Arc::new(ListServer::new(Arc::clone(&operator)));
    let running = Server::start(listener, None, handler, Arc::clone(&limits)).unwrap();
    let http = HttpClient::new(
        Egress::allowing([address.to_string()]),
        ward_net::tls::client_config([]).unwrap(),
        Arc::clone(&limits),
    );
    let lists = RevocationLists::new(http, lab.clock.clone(), limits);
    let issued = operator.issue(&client("partner")).await.unwrap();
    let leaf = Certificate::from_der(&issued.chain[0]).unwrap();
    let community = operator.trust();
    // The issuing authority is known beforehand: the leaf alone makes a chain (PKI-07).
    let validate = async || lists.validate(&leaf, &[], &community, Duration::ZERO).await;
    assert_eq!(validate().await.unwrap().certificates.len(), 2);
    operator.revoke(&issued.thumbprint, Reason::KeyCompromise).await.unwrap();
    let report = lists.refresh().await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.lists.len(), 2);
    assert_eq!(validate().await.unwrap_err(), PathError::Revoked);
    running.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn the_tls_stand_in_serves_curl_and_is_no_member() {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    let lab = Lab::new();
    let dir = lab.dir.join("tls");
    // Handshakes look at the machine's clock.
    let clock = ward_core::SystemClock;
    let loopback: IpAddr = [127, 0, 0, 1].into();
    let make =
        || tls_identity(&dir, &lab.vault, &["localhost"], &[loopback], &clock, &SystemRng).unwrap();
    let identity = make();
    let pem = CertificateDer::from_pem_file(&identity.ca_file).unwrap();
    assert_eq!(&*pem, identity.ca.as_slice());
    assert_eq!(make().ca, identity.ca, "the authority was not kept");

    let config =
        ward_net::tls::server_config(&identity.chain, &identity.key, TlsVersions::Tls13).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let handler = |_: http::Request<hyper::body::Incoming>,
                   _: ward_net::Peer|
     -> BoxFuture<'static, http::Response<ward_net::Body>> {
        Box::pin(async { text(StatusCode::OK, "ok") })
    };
    let limits = Arc::new(Limits::default());
    let tls = Some(TlsReload::new(config));
    let running = Server::start(listener, tls, Arc::new(handler), Arc::clone(&limits)).unwrap();
    let targets = [format!("localhost:{port}"), format!("127.0.0.1:{port}")];
    let roots = ward_net::tls::client_config([identity.ca.as_slice()]).unwrap();
    let http = HttpClient::new(Egress::allowing(targets.clone()), roots, limits);
    for target in targets {
        let got = http.get(&format!("https://{target}/"), 10, Duration::from_secs(5)).await;
        assert_eq!(got.unwrap().body(), "ok");
    }
    running.shutdown(Duration::from_secs(1)).await;

    // TLS-02, X46: the TLS certificate is nobody in the community, and the other way round.
    let operator = lab.create(KeySpec::P256, BASE).await;
    let leaf = Certificate::from_der(&identity.chain[0]).unwrap();
    let refused = validate(&leaf, &[], &operator.trust(), &[], clock.now());
    assert_eq!(refused.unwrap_err(), PathError::NoUri);
    let issued = operator.issue(&client("partner")).await.unwrap();
    let member = Certificate::from_der(&issued.chain[0]).unwrap();
    let mut web = operator.trust();
    web.anchors = vec![Certificate::from_der(&identity.ca).unwrap()];
    let refused = validate(&member, &[], &web, &[], lab.clock.now());
    assert_eq!(refused.unwrap_err(), PathError::Untrusted);
    assert_ne!(operator.certificate(Authority::Root).der(), identity.ca);
}

//! TLS over real sockets (TLS-01, TLS-02).

use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::*;
use crate::FetchError;
use crate::tls::{TlsVersions, client_config, server_config};

fn reload(lab: &TlsLab, name: &str, versions: TlsVersions) -> Arc<TlsReload> {
    let (chain, key) = lab.identity(name);
    TlsReload::new(server_config(&chain, &key, versions).unwrap())
}

async fn handshake(
    server: &Running,
    config: Arc<rustls::ClientConfig>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server.local_addr()).await?;
    TlsConnector::from(config).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn handshakes_are_post_quantum_tls_13_and_http_11() {
    let lab = TlsLab::new();
    let server = serve(limits(), Some(reload(&lab, "localhost", TlsVersions::Tls13))).await;
    let stream = handshake(&server, client_config([&*lab.root()]).unwrap()).await.unwrap();
    let (_, session) = stream.get_ref();
    assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(
        session.negotiated_key_exchange_group().map(rustls::crypto::SupportedKxGroup::name),
        Some(rustls::NamedGroup::X25519MLKEM768)
    );
}

#[tokio::test]
async fn tls_12_is_served_only_where_it_was_asked_for() {
    let lab = TlsLab::new();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(lab.root().into()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let old = Arc::new(
        rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    );
    for (versions, served) in [(TlsVersions::Tls13, false), (TlsVersions::Tls12Too, true)] {
        let server = serve(limits(), Some(reload(&lab, "localhost", versions))).await;
        assert_eq!(handshake(&server, Arc::clone(&old)).await.is_ok(), served, "{versions:?}");
    }
}

#[tokio::test]
async fn servers_are_trusted_only_by_name_and_root() {
    let (lab, stranger) = (TlsLab::new(), TlsLab::new());
    for (name, root, trusted) in
        [("localhost", &lab, true), ("localhost", &stranger, false), ("other.example", &lab, false)]
    {
        let server = serve(limits(), Some(reload(&lab, name, TlsVersions::Tls13))).await;
        let target = format!("localhost:{}", server.local_addr().port());
        let config = client_config([&*root.root()]).unwrap();
        let client = HttpClient::new(Egress::allowing([&*target]), config, Arc::new(limits()));
        let got = client.get(&format!("https://{target}/"), 100, LONG).await;
        if trusted {
            assert_eq!(got.unwrap().body(), "hello");
        } else {
            assert!(matches!(got, Err(FetchError::Connect(_))), "{got:?}");
        }
    }
}

#[tokio::test]
async fn a_certificate_is_swapped_while_connections_run() {
    let lab = TlsLab::new();
    let (chain, key) = lab.identity("localhost");
    let (next_chain, next_key) = lab.identity("localhost");
    let tls = TlsReload::new(server_config(&chain, &key, TlsVersions::Tls13).unwrap());
    let server = serve(Limits { header_timeout: LONG, ..limits() }, Some(Arc::clone(&tls))).await;
    let config = client_config([&*lab.root()]).unwrap();
    let mut before = handshake(&server, Arc::clone(&config)).await.unwrap();
    tls.replace(server_config(&next_chain, &next_key, TlsVersions::Tls13).unwrap());
    let after = handshake(&server, client_config([&*lab.root()]).unwrap()).await.unwrap();
    let leaf = |stream: &tokio_rustls::client::TlsStream<TcpStream>| {
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    assert_eq!(leaf(&before), chain[0]);
    assert_eq!(leaf(&after), next_chain[0]);
    before.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    before.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200", "the running connection was dropped");
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut() {
    let lab = TlsLab::new();
    let server = serve(limits(), Some(reload(&lab, "localhost", TlsVersions::Tls13))).await;
    exchange(server.local_addr(), b"").await;
    exchange(server.local_addr(), b"\x16\x03\x01\x02\x00").await;
    let answer = exchange(server.local_addr(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(!answer.starts_with("HTTP"), "plain text was answered on a TLS port");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let lab = TlsLab::new();
    let (chain, _) = lab.identity("localhost");
    let (_, key) = lab.identity("localhost");
    assert!(server_config(&chain, &key, TlsVersions::Tls13).is_err());
    assert!(client_config([&b"junk"[..]]).is_err());
}

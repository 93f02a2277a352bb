//! Where the client may go (X20, X23).

use std::net::IpAddr;

use super::*;
use crate::FetchError;
use crate::client::is_public;

#[test]
fn only_addresses_of_the_open_internet_are_public() {
    for public in [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "198.17.255.255",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450:4001::1",
        "64:ff9b::808:808",
    ] {
        assert!(is_public(public.parse::<IpAddr>().unwrap()), "{public}");
    }
    for special in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:1ff::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ] {
        assert!(!is_public(special.parse::<IpAddr>().unwrap()), "{special}");
    }
}

#[tokio::test]
async fn refused_targets_are_not_even_connected_to() {
    let (address, count) =
        scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(), Then::Close).await;
    let port = address.port();
    let tls = tls::client_config([]).unwrap();
    let public = HttpClient::new(Egress::public_only(), tls, Arc::new(limits()));
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://localhost.:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://[::ffff:7f00:1]:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f000001:{port}/"),
        format!("http://0177.0.0.1:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://0.0.0.0:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        format!("http://user@127.0.0.1:{port}/"),
        format!("http://user:secret@example.org:{port}/"),
        "http://example.org@127.0.0.1/".to_owned(),
        format!("ftp://127.0.0.1:{port}/"),
        "file:///etc/passwd".to_owned(),
        "ldap://directory.example/cn=crl".to_owned(),
        "gopher://127.0.0.1/".to_owned(),
        "/relative".to_owned(),
        "http://".to_owned(),
        "http://example.org:0/".to_owned(),
        "http://example.org:99999/".to_owned(),
        "http://example.org:/".to_owned(),
        String::new(),
    ] {
        let got = public.get(&url, 1024, LONG).await;
        // Some resolvers do not know the odd spellings of addresses: then there is no connection.
        assert!(
            matches!(got, Err(FetchError::Refused(_) | FetchError::Connect(_))),
            "{url}: {got:?}"
        );
        if url.contains("//127.0.0.1") || url.contains("//[") || url.contains("localhost:") {
            assert!(matches!(got, Err(FetchError::Refused(_))), "{url}: {got:?}");
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), 0, "a refused target was connected to");
}

#[tokio::test]
async fn the_allow_list_names_host_and_port_exactly() {
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
    let (address, _) = scripted(ok.clone(), Then::Close).await;
    let (other, other_count) = scripted(ok, Then::Close).await;
    let tls = tls::client_config([]).unwrap();
    let egress = Egress::allowing([format!("LOCALHOST:{}", address.port())]);
    let client = HttpClient::new(egress, tls, Arc::new(limits()));
    let get = async |url: String| client.get(&url, 10, LONG).await;
    let got = get(format!("http://localhost:{}/", address.port())).await.unwrap();
    assert_eq!(got.body(), "ok");
    for (url, reason) in [
        (format!("http://user@localhost:{}/", address.port()), "user information"),
        (format!("ftp://localhost:{}/", address.port()), "scheme"),
    ] {
        let Err(FetchError::Refused(text)) = get(url.clone()).await else { panic!("{url}") };
        assert!(text.contains(reason), "{url}: {text}");
    }
    for url in [
        format!("http://localhost:{}/", other.port()),
        format!("http://127.0.0.1:{}/", address.port()),
    ] {
        assert!(matches!(get(url).await, Err(FetchError::Refused(_))));
    }
    assert_eq!(other_count.load(Ordering::SeqCst), 0);
}

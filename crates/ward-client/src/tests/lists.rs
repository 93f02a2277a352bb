//! Discovery with real revocation lists: somebody on the way to the list's server hands out his own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use ward_core::{CommunityUri, Limits, ManualClock};
use ward_net::lists::{ListsError, RevocationLists};
use ward_net::{Egress, HttpClient, tls};
use ward_trust::Community;

use super::world::*;
use crate::{ClientError, Discovered, Discovery};

/// Hands out the bytes at hand to everybody who asks, and counts.
async fn list_server(bytes: Arc<Mutex<Vec<u8>>>) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut seen, mut buffer) = (Vec::new(), [0; 1024]);
            while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(n) => seen.extend_from_slice(&buffer[..n]),
                }
            }
            counter.fetch_add(1, Ordering::SeqCst);
            let body = bytes.lock().unwrap().clone();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.into_bytes(), body].concat()).await;
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_list_that_nobody_vouched_for_is_neither_believed_nor_kept() {
    // An impostor of the root's name, without the root's key: the list says that nobody is revoked.
    let (_, impostor) = authority("test root");
    let served = Arc::new(Mutex::new(list(&impostor, &[])));
    let (address, asked) = list_server(served.clone()).await;
    let url = format!("http://{address}/list");
    let identity = leaf_listed_at(&PKI.issuer, BASE, 20, true, &url);
    let text = metadata().to_json(&signed(&identity, &claims()));
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let script: Script = Box::new(move |_| Ok(respond(200, &document)));

    let clock = Arc::new(ManualClock::at_unix_seconds(START));
    let limits = Arc::new(Limits::default());
    let egress = Egress::allowing([address.to_string()]);
    let http = HttpClient::new(egress, tls::client_config([]).unwrap(), limits.clone());
    let kept = RevocationLists::new(http, clock.clone(), limits.clone());
    let uri = CommunityUri::parse("urn:test:community:a/b").unwrap();
    let discovery = Discovery {
        community: Community::new(uri, vec![PKI.root.clone()]),
        http: Arc::new(Server { script: Mutex::new(script), seen: Mutex::default() }),
        lists: Arc::new(kept.clone()),
        clock: clock.clone(),
        limits,
    };
    let rule = |outcome: Result<Discovered, ClientError>| outcome.err().and_then(|e| e.rule());

    assert_eq!(rule(discovery.discover(BASE).await), Some("M10"));
    let status = kept.status().lists;
    assert_eq!(status.len(), 1, "one list, asked for on behalf of one issuer: {status:?}");
    assert_eq!((status[0].url.as_str(), status[0].validity), (url.as_str(), None));
    assert_eq!(status[0].failure, Some(ListsError::Signature));

    // The true list makes good again at once; and once it has revoked the server, nothing does.
    *served.lock().unwrap() = list(&PKI.issuer, &[]);
    clock.advance(Duration::from_secs(2));
    assert_eq!(rule(discovery.discover(BASE).await), None);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    *served.lock().unwrap() = list(&PKI.issuer, &[20]);
    assert!(kept.refresh().await.is_complete());
    assert_eq!(rule(discovery.discover(BASE).await), Some("M10"));
    *served.lock().unwrap() = list(&PKI.issuer, &[]);
    assert!(kept.refresh().await.is_complete());
    assert_eq!(rule(discovery.discover(BASE).await), Some("M10"));
}

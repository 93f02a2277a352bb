//! The TLS certificate is replaced, again and again, under load.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use ward_net::tls::{TlsVersions, server_config};

use super::*;

/// One read on a connection that stays; its status.
async fn ask_on(stage: &Stage, stream: &mut TlsStream<TcpStream>) -> u16 {
    stream.write_all((stage.read(&stage.good) + "\r\n").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "a connection was dropped");
        received.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&received).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
        });
        if length.map_or(body.ends_with("0\r\n\r\n"), |length| body.len() >= length) {
            return head.split(' ').nth(1).unwrap().parse().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_under_load_and_no_connection_is_dropped() {
    let mut stage =
        Stage::set(Limits { header_timeout: Duration::from_mins(1), ..Limits::default() }).await;
    let mut kept = vec![];
    for _ in 0..8 {
        kept.push(shake(&stage.world, dial(&stage.world).await, &[b"http/1.1"]).await.unwrap());
    }
    let (mut replaced, mut answers) = (0, 0);
    for _ in 0..10 {
        let (root, chain, key) = crate::pki::tls();
        // Requests are under way on all connections while it is replaced.
        let mut calls: Vec<_> =
            kept.iter_mut().map(|stream| Box::pin(ask_on(&stage, stream))).collect();
        let replace = async {
            tokio::task::yield_now().await;
            stage
                .world
                .house
                .tls
                .replace(server_config(&chain, &key, TlsVersions::default()).unwrap());
        };
        let (statuses, ()) = tokio::join!(join_all(&mut calls), replace);
        drop(calls);
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        answers += statuses.len();
        // A new handshake gets the new one, and only that.
        assert!(
            shake(&stage.world, dial(&stage.world).await, &[]).await.is_err(),
            "the old root still does"
        );
        stage.world.tls_root = root;
        let mut fresh = shake(&stage.world, dial(&stage.world).await, &[]).await.unwrap();
        assert_eq!(fresh.get_ref().1.peer_certificates().unwrap()[0].to_vec(), chain[0]);
        assert_eq!(ask_on(&stage, &mut fresh).await, 200);
        replaced += 1;
    }
    println!(
        "certificate: replaced {replaced} times; {} kept connections answered {answers} requests, none dropped",
        kept.len()
    );
}

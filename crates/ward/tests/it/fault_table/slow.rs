//! Slow-loris: heads, bodies and answers that go on for ever.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn slow_callers_are_cut_and_keep_nobody_out() {
    let limits = Limits {
        header_timeout: Duration::from_secs(5),
        body_timeout: Duration::from_secs(5),
        ..Limits::default()
    };
    let stage = Stage::set(limits).await;
    let world = &stage.world;
    // One octet at a time, for as long as Ward takes them.
    let drip = async |says: String| {
        let mut stream = world.connect().await;
        stream.write_all(says.as_bytes()).await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let drip = async {
            while write.write_all(b"x").await.is_ok() && write.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let end = async { drop(read.read_to_end(&mut vec![]).await) };
        let ended = async {
            tokio::select! { () = drip => {}, () = end => {} }
        };
        tokio::time::timeout(Duration::from_mins(1), ended).await.expect("a slow caller is kept");
    };
    // Asks for page after page and reads nothing, with small buffers.
    let deaf = async || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let tcp = socket.connect(([127, 0, 0, 1], world.port).into()).await.unwrap();
        let mut stream = shake(world, tcp, &[b"http/1.1"]).await.unwrap();
        let base = world.path(&world.base);
        let page = stage.read(&format!("{base}/Observation?_count=200")) + "\r\n";
        let pages = async {
            while stream.write_all(page.as_bytes()).await.is_ok() && stream.flush().await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), pages).await.expect("a deaf caller is kept");
    };
    let post = |path: &str| {
        format!(
            "POST {} HTTP/1.1\r\nhost: localhost:{}\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n",
            world.path(path),
            world.port
        )
    };
    let head = format!("GET {} HTTP/1.1\r\nhost: localhost:{}\r\nx-slow: ", stage.good, world.port);
    let each = 4;
    let (tally, ()) = stage
        .beside(2, async {
            let mut heads: Vec<_> = (0..each).map(|_| Box::pin(drip(head.clone()))).collect();
            let mut bodies: Vec<_> =
                (0..each).map(|_| Box::pin(drip(post(&world.register)))).collect();
            let mut pages: Vec<_> = (0..each).map(|_| Box::pin(deaf())).collect();
            tokio::join!(join_all(&mut heads), join_all(&mut bodies), join_all(&mut pages));
        })
        .await;
    stage.drained(0).await;
    tally.only(&[200]);
    tally.is_in(&logged(world));
    println!(
        "slow-loris: {each} slow heads, {each} slow bodies, {each} deaf readers cut; honest: {tally}"
    );
}

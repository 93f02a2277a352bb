//! An upstream that keeps what it sees and says what it is told.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request as the upstream saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// An upstream that keeps what it sees and says what it is told.
pub(super) struct Scripted {
    pub(super) base: String,
    pub(super) seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) type Script = dyn Fn(&Seen) -> (u16, Vec<(&'static str, String)>, Vec<u8>) + Send + Sync;

pub(super) async fn scripted(script: impl FnOnce(&str) -> Box<Script>) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/fhir", listener.local_addr().unwrap());
    let script: Arc<Script> = script(&base).into();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (script, kept) = (Arc::clone(&script), Arc::clone(&kept));
            tokio::spawn(async move {
                let _ = serve_one(stream, &*script, &kept).await;
            });
        }
    });
    Scripted { base, seen, task }
}

async fn serve_one(
    mut stream: TcpStream,
    script: &Script,
    kept: &Mutex<Vec<Seen>>,
) -> std::io::Result<()> {
    let mut received = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let end = loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        received.extend_from_slice(&buffer[..n]);
        if let Some(end) = received.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8_lossy(&received[..end]).into_owned();
    let mut body = received.split_off(end + 4);
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(n, v)| (n.trim().to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(n, _)| n == "content-length").map(|(_, v)| v.clone());
    let chunked = headers.iter().any(|(n, _)| n == "transfer-encoding");
    let length: usize = length.map_or(0, |v| v.parse().unwrap());
    while (chunked && !body.ends_with(b"0\r\n\r\n")) || (!chunked && body.len() < length) {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            break;
        }
        body.extend_from_slice(&buffer[..n]);
    }
    let seen = Seen { method, target, headers, body };
    let (status, headers, body) = script(&seen);
    kept.lock().unwrap().push(seen);
    let mut answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        answer += &format!("{name}: {value}\r\n");
    }
    answer += "connection: close\r\n\r\n";
    stream.write_all(answer.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.flush().await
}

pub(super) fn fhir(value: &Value) -> (u16, Vec<(&'static str, String)>, Vec<u8>) {
    (
        200,
        vec![("content-type", "application/fhir+json".to_owned())],
        value.to_string().into_bytes(),
    )
}

/// A patient and everything else the upstream is asked for.
pub(super) fn plain(_: &str) -> Box<Script> {
    Box::new(|_| fhir(&json!({"resourceType": "Patient", "id": "theirs"})))
}

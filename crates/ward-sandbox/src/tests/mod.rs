//! Black-box tests over real sockets, with a client that writes its requests by hand.

mod faulty;
mod interactions;
mod paging;
mod searching;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{Population, Running, Sandbox};

/// A response as it came.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn header(&self, name: &str) -> Option<String> {
        self.head.lines().filter_map(|line| line.split_once(": ")).find_map(|(found, value)| {
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    /// The ids of the entries of a searchset.
    fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        let bundle = self.json();
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
    }

    fn link(&self, relation: &str) -> Option<String> {
        let bundle = self.json();
        let links = bundle["link"].as_array()?;
        let link = links.iter().find(|link| link["relation"] == relation)?;
        link["url"].as_str().map(str::to_owned)
    }
}

async fn serve(sandbox: &Sandbox) -> Running {
    sandbox.start(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap()
}

/// An empty hospital with these resources.
fn hospital(resources: Vec<Value>) -> Sandbox {
    Sandbox::of(Population { resources, traps: Vec::new() })
}

/// Sends bytes to the server of `base` and reads until it closes.
async fn raw(base: &str, request: &[u8]) -> Vec<u8> {
    let address = base.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that has seen enough may close before everything is written.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

/// `target` is relative to the base, or a whole URL under it.
async fn call(base: &str, method: &str, target: &str, headers: &str, body: &str) -> Reply {
    let path = target.strip_prefix(base).unwrap_or(target);
    let request = format!(
        "{method} /fhir{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let bytes = raw(base, request.as_bytes()).await;
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a response head");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head, body: bytes[end + 4..].to_vec() }
}

async fn get(base: &str, target: &str) -> Reply {
    call(base, "GET", target, "", "").await
}

async fn strict(base: &str, target: &str) -> Reply {
    call(base, "GET", target, "Prefer: handling=strict\r\n", "").await
}

async fn form(base: &str, target: &str, body: &str) -> Reply {
    call(base, "POST", target, "Content-Type: application/x-www-form-urlencoded\r\n", body).await
}

//! Upstreams that go wrong, for tests of Ward: each [`Fault`] is one way in which a real FHIR server, or
//! what stands in its place, has been seen to fail or to lie. Answers start from the honest sandbox's
//! answer and are then damaged on the way out, with raw sockets, because an honest HTTP library would
//! not let us.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::outcome::Refusal;
use crate::query;
use crate::routes::{self, Answer, Asked, BASE_PATH, FHIR_JSON};
use crate::server::{self, Memory, Running, Seen};
use crate::{Sandbox, SandboxError};

mod gzip;

const HEAD_BYTES: usize = 128 * 1024;
const BODY_BYTES: usize = 1024 * 1024;
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// One way to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// None: answers as the sandbox does.
    Honest,
    /// Takes the request and never answers.
    Hang,
    /// Says `Content-Length`, sends half of it, closes.
    DieMidBody,
    /// Bytes that are not HTTP.
    Garbage,
    /// Well-framed HTTP with half of the JSON.
    TruncatedJson,
    /// An OperationOutcome with this status.
    Status(u16),
    /// 302 to this URL.
    Redirect(String),
    /// 500 with an HTML page that carries a stack trace and a patient's name.
    HtmlError,
    /// The honest body as `text/html`.
    WrongContentType,
    /// A chunked searchset that goes on for this many bytes.
    HugeBody(u64),
    /// One byte of the honest body every so many milliseconds.
    SlowDrip(u64),
    /// Every resource has `id` and `subject` twice, with different values.
    DuplicateKeys,
    /// A search answers with everybody's resources of the type, whatever was asked.
    IgnoresNarrowing,
    /// A read answers with another resource of the same type.
    WrongResource,
    /// A searchset whose `next` link is this URL.
    ForeignNext(String),
    /// The honest body compressed, though nobody accepted it.
    Gzip,
    /// Both `Content-Length` and `Transfer-Encoding: chunked`.
    BothFramings,
}

/// A server with a fault that can be changed while it runs.
#[derive(Debug)]
pub struct FaultyUpstream {
    running: Running,
    fault: Arc<Mutex<Fault>>,
}

impl FaultyUpstream {
    /// Serves `sandbox` under `/fhir`, wrongly.
    pub fn start(
        sandbox: Sandbox,
        listener: TcpListener,
        fault: Fault,
    ) -> Result<Self, SandboxError> {
        let address = listener.local_addr().map_err(SandboxError::Listen)?;
        let base_url = format!("http://{address}/{BASE_PATH}");
        let memory = Memory::default();
        let fault = Arc::new(Mutex::new(fault));
        let (base, seen, current) = (base_url.clone(), memory.clone(), Arc::clone(&fault));
        let serve = move |stream| {
            let fault = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
            serve(stream, sandbox.clone(), base.clone(), seen.clone(), fault)
        };
        let task = tokio::spawn(server::accept(listener, serve)).abort_handle();
        Ok(Self { running: Running { base_url, task, memory }, fault })
    }

    /// `http://127.0.0.1:PORT/fhir`.
    pub fn base_url(&self) -> &str {
        &self.running.base_url
    }

    /// Fails in another way from the next connection on.
    pub fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// The requests that came, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        self.running.requests()
    }

    /// Stops listening and cuts open connections.
    pub fn stop(&self) {
        self.running.stop();
    }
}

/// One request a connection; whatever goes wrong ends it.
async fn serve(
    mut stream: TcpStream,
    sandbox: Sandbox,
    base: String,
    memory: Memory,
    fault: Fault,
) {
    let Ok(Some((asked, target))) =
        tokio::time::timeout(REQUEST_TIME, read_request(&mut stream)).await
    else {
        return;
    };
    memory.remember(Seen {
        method: asked.method.clone(),
        target,
        body: String::from_utf8_lossy(&asked.body).into_owned(),
        prefer: asked.prefer.clone(),
    });
    if fault == Fault::Hang {
        std::future::pending::<()>().await;
    }
    if let Err(error) = answer(&mut stream, &sandbox, &base, asked, fault).await {
        tracing::debug!(%error, "faulty upstream was cut off");
    }
}

async fn answer(
    stream: &mut TcpStream,
    sandbox: &Sandbox,
    base: &str,
    asked: Asked,
    fault: Fault,
) -> std::io::Result<()> {
    let asked = if fault == Fault::IgnoresNarrowing { without_criteria(asked) } else { asked };
    let honest = routes::answer(sandbox, base, &asked);
    let status = honest.status;
    let bytes = honest.body.as_bytes();
    let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
    match fault {
        Fault::Honest | Fault::IgnoresNarrowing | Fault::Hang => {
            send(stream, status, FHIR_JSON, "", bytes).await?;
        }
        Fault::DieMidBody => {
            stream.write_all(head(status, FHIR_JSON, "", bytes.len()).as_bytes()).await?;
            stream.write_all(half).await?;
        }
        Fault::Garbage => {
            stream.write_all(b"\x16\x03\x01 \xff\xfe this is not HTTP\r\n\r\n").await?;
        }
        Fault::TruncatedJson => send(stream, status, FHIR_JSON, "", half).await?,
        Fault::Status(status) => {
            let refusal = Refusal::new(status, "exception", "This upstream refuses");
            send(stream, status, FHIR_JSON, "", refusal.outcome().to_string().as_bytes()).await?;
        }
        Fault::Redirect(to) => {
            send(stream, 302, "text/plain", &format!("Location: {to}\r\n"), b"elsewhere").await?;
        }
        Fault::HtmlError => {
            let page = "<html><body><h1>500</h1><pre>NullPointerException at Patient.java: SECRET-NAME</pre></body></html>";
            send(stream, 500, "text/html", "", page.as_bytes()).await?;
        }
        Fault::WrongContentType => send(stream, status, "text/html", "", bytes).await?,
        Fault::HugeBody(length) => huge(stream, length).await?,
        Fault::SlowDrip(millis) => {
            stream.write_all(head(status, FHIR_JSON, "", bytes.len()).as_bytes()).await?;
            for byte in bytes {
                stream.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
        }
        Fault::DuplicateKeys => {
            send(stream, status, FHIR_JSON, "", with_duplicates(&honest).as_bytes()).await?;
        }
        Fault::WrongResource => {
            let other = another_resource(sandbox, &asked).unwrap_or(honest.body);
            send(stream, 200, FHIR_JSON, "", other.as_bytes()).await?;
        }
        Fault::ForeignNext(url) => {
            send(stream, status, FHIR_JSON, "", with_next(&honest.body, &url).as_bytes()).await?;
        }
        Fault::Gzip => {
            let packed = gzip::stored(bytes);
            send(stream, status, FHIR_JSON, "Content-Encoding: gzip\r\n", &packed).await?;
        }
        Fault::BothFramings => {
            let extra = "Transfer-Encoding: chunked\r\n";
            stream.write_all(head(status, FHIR_JSON, extra, bytes.len()).as_bytes()).await?;
            stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
            stream.write_all(bytes).await?;
            stream.write_all(b"\r\n0\r\n\r\n").await?;
        }
    }
    stream.shutdown().await
}

fn head(status: u16, content_type: &str, extra: &str, length: usize) -> String {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\n{extra}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )
}

async fn send(
    stream: &mut TcpStream,
    status: u16,
    content_type: &str,
    extra: &str,
    body: &[u8],
) -> std::io::Result<()> {
    stream.write_all(head(status, content_type, extra, body.len()).as_bytes()).await?;
    stream.write_all(body).await
}

async fn huge(stream: &mut TcpStream, length: u64) -> std::io::Result<()> {
    const CHUNK: usize = 64 * 1024;
    let start = r#"{"resourceType":"Bundle","type":"searchset","x":""#;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {FHIR_JSON}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{start}\r\n",
        start.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let chunk = format!("{CHUNK:x}\r\n{}\r\n", "A".repeat(CHUNK));
    for _ in 0..length / CHUNK as u64 {
        stream.write_all(chunk.as_bytes()).await?;
    }
    stream.write_all(b"2\r\n\"}\r\n0\r\n\r\n").await
}

/// Reads one request; none if it is malformed or too large.
async fn read_request(stream: &mut TcpStream) -> Option<(Asked, String)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if bytes.len() > HEAD_BYTES || stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    let mut lines = head.split("\r\n");
    let mut request_line = lines.next()?.split(' ');
    let method = request_line.next()?.to_owned();
    let target = request_line.next()?.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let header = |name: &str| {
        headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let length: usize = header("content-length").parse().unwrap_or(0);
    let mut body = bytes.get(end + 4..)?.to_vec();
    while body.len() < length.min(BODY_BYTES) {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let asked = Asked {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        content_type: header("content-type"),
        accept: header("accept"),
        prefer: header("prefer"),
        body,
    };
    Some((asked, target))
}

/// The same search without any criterion.
fn without_criteria(asked: Asked) -> Asked {
    let segments = query::segments(&asked.path);
    let searches = segments.len() == 2 || segments.get(2).is_some_and(|last| last == "_search");
    if !searches || segments.get(1).is_some_and(|name| name == "metadata") {
        return asked;
    }
    let rtype = segments.get(1).cloned().unwrap_or_default();
    let path = format!("/{BASE_PATH}/{rtype}");
    Asked { method: "GET".into(), path, query: "_count=500".into(), ..Asked::default() }
}

/// Textual, because no JSON writer writes a member twice.
fn with_duplicates(honest: &Answer) -> String {
    let twice = r#""id":"nobody","subject":{"reference":"Patient/nobody"},"#;
    let body = &honest.body;
    if body.contains(r#""resource":{"#) {
        return body.replace(r#""resource":{"#, &format!(r#""resource":{{{twice}"#));
    }
    body.strip_prefix('{').map_or_else(|| body.clone(), |rest| format!("{{{twice}{rest}"))
}

fn another_resource(sandbox: &Sandbox, asked: &Asked) -> Option<String> {
    let segments = query::segments(&asked.path);
    let [_, rtype, id] = segments.as_slice() else { return None };
    let other = sandbox.ids(rtype).into_iter().find(|other| other != id)?;
    sandbox.resource(rtype, &other).map(|resource| resource.to_string())
}

fn with_next(body: &str, url: &str) -> String {
    let Ok(mut bundle) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    if let Some(object) = bundle.as_object_mut() {
        object.insert("link".into(), json!([{ "relation": "next", "url": url }]));
    }
    bundle.to_string()
}

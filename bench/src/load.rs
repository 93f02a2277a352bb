//! A closed-loop load generator: so many connections, kept alive, each with one request at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::procfs::Processes;
use crate::{Error, moment};

/// Where requests go.
#[derive(Clone)]
pub struct Target {
    pub port: u16,
    connector: TlsConnector,
}

impl Target {
    /// `localhost`, believed through this authority.
    pub fn new(port: u16, authority: &[u8]) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority.to_vec()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { port, connector: TlsConnector::from(Arc::new(config)) })
    }

    pub async fn connect(&self) -> Result<Connection, Error> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await?;
        tcp.set_nodelay(true)?;
        let stream = self.connector.connect(ServerName::try_from("localhost")?, tcp).await?;
        Ok(Connection { stream, buffer: Vec::with_capacity(256 * 1024) })
    }

    /// One request on a connection of its own.
    pub async fn once(&self, request: &[u8]) -> Result<Answer, Error> {
        self.connect().await?.exchange(request).await
    }
}

pub struct Answer {
    pub status: u16,
    /// Status line and headers, in small letters.
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// A header; its name in small letters, with the colon.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub fn json(&self) -> Result<serde_json::Value, Error> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

pub struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends some octets, and no more.
    pub async fn send(&mut self, octets: &[u8]) -> Result<(), Error> {
        self.stream.write_all(octets).await?;
        Ok(self.stream.flush().await?)
    }

    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer, Error> {
        self.send(request).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n", 0) {
                break at;
            }
            self.more().await?;
        };
        let text = String::from_utf8_lossy(self.buffer.get(..head).unwrap_or_default())
            .to_ascii_lowercase();
        let status =
            text.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no status")?;
        let start = head + 4;
        if let Some(length) = header(&text, "content-length:") {
            let end = start + length.parse::<usize>()?;
            while self.buffer.len() < end {
                self.more().await?;
            }
            let body = self.buffer.get(start..end).unwrap_or_default().to_vec();
            return Ok(Answer { status, head: text, body });
        }
        let mut body = vec![];
        if header(&text, "transfer-encoding:") != Some("chunked") {
            return Ok(Answer { status, head: text, body });
        }
        let mut at = start;
        loop {
            let line = loop {
                if let Some(line) = find(&self.buffer, b"\r\n", at) {
                    break line;
                }
                self.more().await?;
            };
            let size = std::str::from_utf8(self.buffer.get(at..line).unwrap_or_default())?;
            let size = usize::from_str_radix(size.trim(), 16)?;
            while self.buffer.len() < line + 2 + size + 2 {
                self.more().await?;
            }
            body.extend_from_slice(self.buffer.get(line + 2..line + 2 + size).unwrap_or_default());
            at = line + 2 + size + 2;
            if size == 0 {
                return Ok(Answer { status, head: text, body });
            }
        }
    }

    async fn more(&mut self) -> Result<(), Error> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err("the server closed the connection".into());
        }
        Ok(())
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn find(bytes: &[u8], what: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(what.len()).position(|window| window == what).map(|at| at + from)
}

/// A GET, kept alive.
pub fn get(port: u16, path: &str, token: Option<&str>) -> Vec<u8> {
    let bearer =
        token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nhost: localhost:{port}\r\naccept: application/fhir+json\r\n{bearer}\r\n").into_bytes()
}

/// A POST, kept alive.
pub fn post(port: u16, path: &str, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: localhost:{port}\r\naccept: application/json\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// What one phase measured.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub seconds: f64,
    /// Sorted, microseconds.
    pub micros: Vec<u32>,
    /// CPU seconds of the server.
    pub cpu: f64,
    /// CPU seconds of the upstream.
    pub upstream_cpu: f64,
    /// MiB of the server at the end.
    pub rss: f64,
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.micros.len() as f64 / self.seconds
    }

    /// Microseconds of CPU a request.
    pub fn cpu_each(&self) -> f64 {
        self.cpu * 1e6 / self.micros.len().max(1) as f64
    }

    pub fn upstream_each(&self) -> f64 {
        self.upstream_cpu * 1e6 / self.micros.len().max(1) as f64
    }

    /// Microseconds below which a part of the requests stayed.
    pub fn quantile(&self, part: f64) -> f64 {
        let at = (self.micros.len() as f64 * part) as usize;
        self.micros
            .get(at.min(self.micros.len().saturating_sub(1)))
            .copied()
            .map_or(f64::NAN, f64::from)
    }

    /// Rounds together.
    pub fn add(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.cpu += other.cpu;
        self.upstream_cpu += other.upstream_cpu;
        self.rss = self.rss.max(other.rss);
        self.micros.extend(other.micros);
        self.micros.sort_unstable();
    }
}

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const DONE: u8 = 2;

/// How a phase goes.
pub struct Phase<'a> {
    pub target: &'a Target,
    pub server: &'a Processes,
    pub upstream: &'a Processes,
    pub connections: usize,
    pub warm: Duration,
    pub time: Duration,
    /// Send each request once, and end with the last; else round and round until the time is over.
    pub once: bool,
}

/// Sends requests; every answer must have one of these statuses.
pub async fn run(
    phase: &Phase<'_>,
    requests: Arc<Vec<Vec<u8>>>,
    statuses: &'static [u16],
) -> Result<Outcome, Error> {
    let state = Arc::new(AtomicU8::new(WARMING));
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..phase.connections {
        let mut connection = phase.target.connect().await?;
        let (state, next, requests, once) =
            (state.clone(), next.clone(), requests.clone(), phase.once);
        tasks.spawn(async move {
            let mut micros = vec![];
            loop {
                let now = state.load(Ordering::Relaxed);
                let at = next.fetch_add(1, Ordering::Relaxed);
                if now == DONE || (once && at >= requests.len()) {
                    return Ok::<_, Error>(micros);
                }
                let Some(request) = requests.get(at % requests.len()) else { return Ok(micros) };
                let begun = moment();
                let answer = connection.exchange(request).await?;
                if !statuses.contains(&answer.status) {
                    return Err(format!(
                        "status {}: {}",
                        answer.status,
                        String::from_utf8_lossy(&answer.body)
                    )
                    .into());
                }
                if once || now == MEASURING {
                    micros.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
                }
            }
        });
    }
    if !phase.once {
        tokio::time::sleep(phase.warm).await;
    }
    let (begun, cpu, upstream) = (moment(), phase.server.cpu(), phase.upstream.cpu());
    state.store(MEASURING, Ordering::Relaxed);
    let mut outcome = Outcome::default();
    if !phase.once {
        tokio::time::sleep(phase.time).await;
        outcome.seconds = begun.elapsed().as_secs_f64();
        outcome.cpu = phase.server.cpu() - cpu;
        outcome.upstream_cpu = phase.upstream.cpu() - upstream;
        state.store(DONE, Ordering::Relaxed);
    }
    while let Some(done) = tasks.join_next().await {
        outcome.micros.extend(done??);
    }
    if phase.once {
        outcome.seconds = begun.elapsed().as_secs_f64();
        outcome.cpu = phase.server.cpu() - cpu;
    }
    outcome.micros.sort_unstable();
    outcome.rss = phase.server.rss();
    Ok(outcome)
}

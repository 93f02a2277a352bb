//! The listener: HTTP/1.1 without TLS, for loopback. Connections, headers, bodies and times are bounded.
//! It remembers the last requests it was asked, so that a test can tell what reached the upstream.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use crate::outcome::Refusal;
use crate::routes::{self, Answer, Asked, BASE_PATH, FHIR_JSON};
use crate::{Sandbox, SandboxError};

const CONNECTIONS: usize = 512;
const BODY_BYTES: usize = 4 * 1024 * 1024;
const HEADER_BYTES: usize = 128 * 1024;
const HEADER_TIME: Duration = Duration::from_secs(30);
const BODY_TIME: Duration = Duration::from_secs(30);
const REMEMBERED: usize = 10_000;

/// A request that the server was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// The body, if it is text.
    pub body: String,
    /// The `Prefer` header.
    pub prefer: String,
}

/// The requests seen last, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<VecDeque<Seen>>>);

impl Memory {
    pub(crate) fn remember(&self, seen: Seen) {
        let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() >= REMEMBERED {
            requests.pop_front();
        }
        requests.push_back(seen);
    }
}

/// A server that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Running {
    /// `http://127.0.0.1:PORT/fhir`.
    pub base_url: String,
    pub(crate) task: AbortHandle,
    pub(crate) memory: Memory,
}

impl Running {
    /// Stops listening and cuts open connections.
    pub fn stop(&self) {
        self.task.abort();
    }

    /// The last requests that came, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        let requests = self.memory.0.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().cloned().collect()
    }

    /// Forgets the requests that came so far.
    pub fn forget_requests(&self) {
        self.memory.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Clone)]
struct Service {
    sandbox: Sandbox,
    base: Arc<str>,
    memory: Memory,
}

pub(crate) fn start(sandbox: Sandbox, listener: TcpListener) -> Result<Running, SandboxError> {
    let address = listener.local_addr().map_err(SandboxError::Listen)?;
    let base_url = format!("http://{address}/{BASE_PATH}");
    let memory = Memory::default();
    let service = Service { sandbox, base: base_url.as_str().into(), memory: memory.clone() };
    let task = tokio::spawn(accept(listener, move |stream| serve(service.clone(), stream)));
    Ok(Running { base_url, task: task.abort_handle(), memory })
}

/// Accepts connections for ever. Aborting this task drops the set and with it every connection.
pub(crate) async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = serve(stream);
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "sandbox cannot accept a connection");
                // Out of file descriptors: wait for some to come free.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(service: Service, stream: TcpStream) {
    let handler = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(handle(service, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), handler)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "sandbox connection ended early");
    }
}

async fn handle(service: Service, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    if body.size_hint().lower() > BODY_BYTES as u64 {
        return respond(Answer::refusal(&Refusal::new(413, "too-long", "The body is too large")));
    }
    let read = tokio::time::timeout(BODY_TIME, Limited::new(body, BODY_BYTES).collect()).await;
    let answer = match read {
        Err(_) => Answer::refusal(&Refusal::new(408, "timeout", "The body took too long")),
        Ok(Err(_)) => Answer::refusal(&Refusal::new(413, "too-long", "The body is too large")),
        Ok(Ok(body)) => {
            let asked = asked(&parts, &body.to_bytes());
            service.memory.remember(Seen {
                method: asked.method.clone(),
                target: parts.uri.to_string(),
                body: String::from_utf8_lossy(&asked.body).into_owned(),
                prefer: asked.prefer.clone(),
            });
            // A scan of a large population takes its time; other requests go on meanwhile.
            tokio::task::spawn_blocking(move || {
                routes::answer(&service.sandbox, &service.base, &asked)
            })
            .await
            .unwrap_or_else(|_| Answer::refusal(&Refusal::new(500, "exception", "Failed")))
        }
    };
    respond(answer)
}

fn asked(parts: &http::request::Parts, body: &Bytes) -> Asked {
    Asked {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        content_type: header(&parts.headers, "content-type"),
        accept: header(&parts.headers, "accept"),
        prefer: header(&parts.headers, "prefer"),
        body: body.to_vec(),
    }
}

/// All values of a header, joined by commas.
fn header(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<&str> =
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(", ")
}

fn respond(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if answer.status != 204 {
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(FHIR_JSON));
    }
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

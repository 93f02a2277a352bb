//! A request on its way to the upstream as it came: method, path below the base, query, body, and the
//! caller's headers but those of the connection. Redirects are not followed, and the egress rules hold.
//!
//! Bodies are held up to the bound that enforcement has, so that the request can be read; longer ones are
//! handed on as they come, up to `limits.observe_body_bytes`.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CONNECTION, CONTENT_LENGTH,
    CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use ward_core::Limits;
use ward_net::http::{Body, BodyError, BodySender, channel_body, full};
use ward_policy::Waiver;

use crate::Fault;
use crate::forward::{Upstream, unreachable};

/// A body, as far as it was read.
pub(crate) enum Held<B> {
    /// All of it.
    Whole(Bytes),
    /// Longer than the bound.
    Longer {
        /// What was read.
        begun: Bytes,
        /// What is still to come.
        rest: Pin<Box<B>>,
        /// Its whole length, if it was declared.
        declared: Option<u64>,
    },
}

/// Reads a body until it ends or is longer than `limit`, within `timeout`.
pub(crate) async fn hold<B>(body: B, limit: usize, timeout: Duration) -> Result<Held<B>, BodyError>
where
    B: hyper::body::Body<Data = Bytes>,
{
    let declared = body.size_hint().exact();
    let mut rest = Box::pin(body);
    if declared.is_some_and(|length| length > limit as u64) {
        return Ok(Held::Longer { begun: Bytes::new(), rest, declared });
    }
    let reading = async {
        let mut begun = BytesMut::new();
        while let Some(frame) = rest.frame().await {
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            begun.extend_from_slice(&data);
            if begun.len() > limit {
                return Ok((begun.freeze(), true));
            }
        }
        Ok((begun.freeze(), false))
    };
    let (begun, longer) =
        tokio::time::timeout(timeout, reading).await.unwrap_or(Err(BodyError::Timeout))?;
    Ok(if longer { Held::Longer { begun, rest, declared } } else { Held::Whole(begun) })
}

impl<B> Held<B> {
    /// All of it, if it was read.
    pub(crate) fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Longer { .. } => None,
        }
    }

    /// The body as form fields, if it says that it is that.
    pub(crate) fn form(&self, head: &Parts) -> Option<&str> {
        let form = head.headers.get(CONTENT_TYPE).is_some_and(|value| {
            value.as_bytes().to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded")
        });
        let begun = match self {
            Self::Whole(bytes) | Self::Longer { begun: bytes, .. } => bytes,
        };
        if form { std::str::from_utf8(begun).ok() } else { None }
    }
}

/// What the upstream sees as `Authorization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// What the caller sent.
    Theirs,
    /// What Ward was configured with.
    Ours,
    /// Nothing: what the caller sent is Ward's own, or Ward's would lend too much.
    None,
}

/// A request for the upstream.
pub(crate) struct Outgoing {
    method: Method,
    /// Path below the base, and query.
    target: String,
    headers: HeaderMap,
    body: Body,
    credentials: Credentials,
}

/// Headers of one connection (RFC 9110 §7.6.1), and those that are written anew.
const HOP: [HeaderName; 12] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
    CONTENT_LENGTH,
    EXPECT,
];
/// With Ward's own credentials go only headers that cannot make another request of it.
const WITH_OURS: [HeaderName; 8] = [
    ACCEPT,
    ACCEPT_LANGUAGE,
    CONTENT_TYPE,
    USER_AGENT,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
    HeaderName::from_static("prefer"),
    HeaderName::from_static("x-request-id"),
];

/// Headers that go on: all but those of the connection.
pub(crate) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    headers
        .iter()
        .filter(|(name, _)| !HOP.contains(name) && !named.iter().any(|n| n == name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

impl Outgoing {
    /// The request as it came; takes what is left of its body.
    pub(crate) fn new<B>(
        head: &Parts,
        path: &str,
        held: &mut Held<B>,
        credentials: Credentials,
        limits: &Limits,
    ) -> Self
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
    {
        let mut headers = end_to_end(&head.headers);
        for own in [HOST, ACCEPT_ENCODING] {
            headers.remove(own);
        }
        let named: Vec<HeaderName> = headers
            .iter()
            .filter(|(name, value)| {
                let secret = holds_own_token(value)
                    || (**name == AUTHORIZATION && credentials != Credentials::Theirs);
                secret || (credentials == Credentials::Ours && !WITH_OURS.contains(name))
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in named {
            headers.remove(name);
        }
        let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let (body, declared) = sent(held, limits);
        if let Some(length) = declared {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Self {
            method: head.method.clone(),
            target: format!("{path}{query}"),
            headers,
            body,
            credentials,
        }
    }
}

fn holds_own_token(value: &HeaderValue) -> bool {
    let word = super::OWN_TOKEN.as_bytes();
    value.as_bytes().windows(word.len()).any(|window| window == word)
}

/// The body as it goes on, and its length if that must be said beforehand.
fn sent<B>(held: &mut Held<B>, limits: &Limits) -> (Body, Option<u64>)
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
{
    match std::mem::replace(held, Held::Whole(Bytes::new())) {
        Held::Whole(bytes) => (full(bytes), None),
        Held::Longer { begun, rest, declared } => {
            let (sender, body) = channel_body();
            tokio::spawn(feed(sender, begun, rest, limits.observe_body_bytes, limits.body_timeout));
            (body, declared)
        }
    }
}

/// Hands a body on, up to `most` octets; each piece may take `patience`. Otherwise it is broken off.
async fn feed<B>(
    sender: BodySender,
    begun: Bytes,
    mut rest: Pin<Box<B>>,
    most: usize,
    patience: Duration,
) where
    B: hyper::body::Body<Data = Bytes>,
{
    let mut sent = begun.len();
    if !begun.is_empty() && sender.send(begun).await.is_err() {
        return;
    }
    loop {
        let next = async { rest.frame().await.map(|frame| frame.map_err(|_| ())) };
        match tokio::time::timeout(patience, next).await {
            Ok(None) => {
                let _ = sender.finish().await;
                return;
            }
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { continue };
                sent = sent.saturating_add(data.len());
                if sent > most || sender.send(data).await.is_err() {
                    return;
                }
            }
            Ok(Some(Err(()))) | Err(_) => return,
        }
    }
}

impl Upstream {
    /// Sends a request as it came. Needs a waiver, as everything else needs a permit.
    pub(crate) async fn pass(
        &self,
        _: &Waiver,
        outgoing: Outgoing,
    ) -> Result<Response<Incoming>, Fault> {
        let Outgoing { method, target, mut headers, body, credentials } = outgoing;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = format!("{}{target}", self.base())
            .parse()
            .map_err(|_| Fault::Upstream("its URL cannot be written"))?;
        if credentials == Credentials::Ours
            && let Some(authorization) = self.authorization.now()
        {
            headers.insert(AUTHORIZATION, authorization);
        }
        *request.headers_mut() = headers;
        let (client, limits) = self.wire();
        client.stream(request, limits.upstream_timeout).await.map_err(|error| unreachable(&error))
    }
}

//! To the upstream and back. The request is written anew from the permit, never copied (house §3.1):
//! our own headers only, one place for criteria, strict handling (D30). Without a [`Permit`] nothing
//! is sent.
//!
//! Refuses answers that cannot be trusted to be what was asked for: redirects (A27), content codings
//! (A19), other media types, oversized, broken-off or slow ones. Error bodies never pass (E7).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use ward_core::Limits;
use ward_fhir::{FhirRequest, Interaction, TotalMode};
use ward_net::{FetchError, HttpClient};
use ward_policy::Permit;

use crate::Fault;

/// The FHIR server behind the gateway.
pub(crate) struct Upstream {
    /// Its base URL, without a slash at the end.
    base: String,
    client: HttpClient,
    limits: Arc<Limits>,
}

/// Which page of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The first.
    First,
    /// The request with these further query pairs, as the upstream wrote them.
    With(String),
    /// This target below the base, instead of the request.
    Instead(String),
}

impl Upstream {
    pub(crate) fn new(base: &str, client: HttpClient, limits: Arc<Limits>) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), client, limits }
    }

    /// Reads the one record of the permit. `None` if the upstream has none, or none any more (C5).
    pub(crate) async fn read(&self, permit: &Permit) -> Result<Option<Bytes>, Fault> {
        self.get(&format!("/{}", permit.request().upstream_target()), false).await
    }

    /// Reads one page of the search of the permit, `count` entries long if the upstream agrees.
    pub(crate) async fn page(
        &self,
        permit: &Permit,
        place: &Place,
        count: usize,
    ) -> Result<Bytes, Fault> {
        let target = match place {
            Place::First => format!("/{}", search_target(permit, count)),
            Place::With(extra) => {
                let target = search_target(permit, count);
                let joint = if target.contains('?') { '&' } else { '?' };
                format!("/{target}{joint}{extra}")
            }
            Place::Instead(target) => target.clone(),
        };
        self.get(&target, true).await?.ok_or(Fault::NotFound)
    }

    async fn get(&self, target: &str, search: bool) -> Result<Option<Bytes>, Fault> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = format!("{}{target}", self.base)
            .parse()
            .map_err(|_| Fault::Upstream("its URL cannot be written"))?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/fhir+json"));
        if search {
            headers.insert(
                HeaderName::from_static("prefer"),
                HeaderValue::from_static("handling=strict"),
            );
        }
        let limits = &self.limits;
        let response = self
            .client
            .send(request, limits.upstream_body_bytes, limits.upstream_timeout)
            .await
            .map_err(|error| match error {
                FetchError::Timeout => Fault::UpstreamTimeout,
                FetchError::Connect(_) => Fault::UpstreamDown,
                FetchError::Refused(_) => Fault::Upstream("egress to it is refused"),
                FetchError::TooLarge(_) => Fault::Upstream("its answer is too large"),
                FetchError::Broken => Fault::Upstream("its answer was broken off"),
                FetchError::Encoded => Fault::Upstream("its answer has a content coding"),
            })?;
        match response.status() {
            StatusCode::OK if is_fhir_json(response.headers().get(CONTENT_TYPE)) => {
                Ok(Some(response.into_body()))
            }
            StatusCode::OK => Err(Fault::Upstream("its answer is not FHIR JSON")),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            // What the parser let through was well-formed; the upstream does not support it.
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY if search => {
                Err(Fault::NotSupported)
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                Err(Fault::UpstreamDown)
            }
            status if status.is_redirection() => Err(Fault::Upstream("it redirects")),
            _ => Err(Fault::Upstream("its status has no meaning here")),
        }
    }

    /// Where the upstream's `next` link leads, seen from the request that was sent.
    pub(crate) fn follow(&self, permit: &Permit, count: usize, link: &str) -> Result<Place, Fault> {
        let astray = || Fault::Upstream("its paging link leads elsewhere");
        let below = match link.strip_prefix(&self.base) {
            Some(below) if below.starts_with(['/', '?']) => below.to_owned(),
            Some(_) => return Err(astray()),
            None if link.contains(':') || link.starts_with('/') || link.is_empty() => {
                return Err(astray());
            }
            None => format!("/{link}"),
        };
        if !below.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'\\' | b'"')) {
            return Err(astray());
        }
        let (path, query) = below.split_once('?').unwrap_or((&below, ""));
        if path.split('/').any(|segment| matches!(segment, "." | "..")) || path.contains('%') {
            return Err(astray());
        }
        let ours = search_target(permit, count);
        let (our_path, our_query) = ours.split_once('?').unwrap_or((&ours, ""));
        if path.strip_prefix('/') != Some(our_path) {
            return Ok(Place::Instead(below));
        }
        // What is in the link but was not in our request is what pages.
        let mut asked: Vec<_> = pairs(our_query).map(decoded).collect();
        let mut extra = Vec::new();
        for pair in pairs(query) {
            match asked.iter().position(|asked| *asked == decoded(pair)) {
                Some(at) => drop(asked.swap_remove(at)),
                None => extra.push(pair),
            }
        }
        if !asked.is_empty() {
            // Our criteria are not in it: the upstream keeps them itself, or writes them otherwise.
            return Ok(Place::Instead(below));
        }
        if extra.is_empty() {
            return Err(Fault::Upstream("its paging link leads back to the same page"));
        }
        Ok(Place::With(extra.join("&")))
    }
}

/// The search of the permit as it is sent: our page size, no totals (we count what is visible).
pub(crate) fn search_target(permit: &Permit, count: usize) -> String {
    let request = permit.request();
    let Interaction::Search(search) = &request.interaction else {
        return request.upstream_target();
    };
    let mut search = search.clone();
    search.count = u32::try_from(count).ok();
    search.total = TotalMode::default();
    search.summary_count = false;
    search.cursor = None;
    search.dropped.clear();
    FhirRequest { version: request.version, interaction: Interaction::Search(search) }
        .upstream_target()
}

fn pairs(query: &str) -> impl Iterator<Item = &str> {
    query.split('&').filter(|pair| !pair.is_empty())
}

/// A query pair as octets, decoded once; for comparison only.
pub(crate) fn decoded(pair: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(pair.len());
    let mut bytes = pair.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut rest = bytes.clone();
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
                match (digit(rest.next()), digit(rest.next())) {
                    (Some(high), Some(low)) => {
                        bytes = rest;
                        u8::try_from(high * 16 + low).unwrap_or(b'%')
                    }
                    _ => b'%',
                }
            }
            other => other,
        });
    }
    out
}

/// JSON in UTF-8, by either of its names.
fn is_fhir_json(value: Option<&HeaderValue>) -> bool {
    let Some(value) = value.and_then(|value| value.to_str().ok()) else { return false };
    let mut parts = value.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    (media.eq_ignore_ascii_case("application/fhir+json")
        || media.eq_ignore_ascii_case("application/json"))
        && parts.all(|part| {
            part.split_once('=').is_none_or(|(name, value)| {
                !name.trim().eq_ignore_ascii_case("charset")
                    || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            })
        })
}

//! To the upstream and back. The request is written anew from the permit, never copied (house §3.1):
//! our own headers only, one place for criteria, strict handling (D30). Without a [`Permit`] nothing
//! is sent. A search whose target would be longer than servers commonly take goes as a form (D28).
//!
//! Refuses answers that cannot be trusted to be what was asked for: redirects (A27), content codings
//! (A19), other media types, oversized, broken-off or slow ones. Error bodies never pass (E7).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use ward_core::Limits;
use ward_fhir::{FhirRequest, Interaction, Search, TotalMode};
use ward_net::{FetchError, HttpClient};
use ward_policy::Permit;

use crate::{CredentialDial, Fault};

/// The FHIR server behind the gateway.
pub(crate) struct Upstream {
    /// Its base URL, without a slash at the end.
    base: String,
    /// What the upstream wants to see of Ward itself; never what a caller sent.
    pub(crate) authorization: CredentialDial,
    client: HttpClient,
    limits: Arc<Limits>,
}

/// Said of a status that has no meaning here: 403, 500 and others.
const FAILS: &str = "its status has no meaning here";
/// An id that no record has.
const NOBODY: &str = "ward-asks-for-nobody";

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
        let base = base.trim_end_matches('/').to_owned();
        Self { base, authorization: CredentialDial::default(), client, limits }
    }

    /// Its base URL, without a slash at the end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The way to it, for what passes as it came.
    pub(crate) fn wire(&self) -> (&HttpClient, &Limits) {
        (&self.client, &self.limits)
    }

    /// Reads the one record of the permit. `None` if the upstream has none, or none any more (C5), or
    /// cannot give it: whether it could is a question of what is stored.
    pub(crate) async fn read(&self, permit: &Permit) -> Result<Option<Bytes>, Fault> {
        match self.send(&format!("/{}", permit.request().upstream_target()), false).await {
            Err(Fault::NotSupported | Fault::Oversized) => Ok(None),
            // Refused or failed for this record, while it answers for others: that is what is stored.
            Err(Fault::Upstream(FAILS)) if self.answers_for_others(permit).await => {
                tracing::warn!(
                    "the upstream fails on one record, which was answered as if it were not there"
                );
                Ok(None)
            }
            answer => answer,
        }
    }

    /// Whether the upstream knows what to say of a record that it does not have.
    async fn answers_for_others(&self, permit: &Permit) -> bool {
        let target = permit.request().upstream_target();
        let rtype = target.split(['/', '?']).next().unwrap_or_default();
        self.send(&format!("/{rtype}/{NOBODY}"), false).await.is_ok()
    }

    /// Reads one page of a search that a permit allows, `count` entries long if the upstream agrees.
    pub(crate) async fn page(
        &self,
        request: &FhirRequest,
        place: &Place,
        count: usize,
    ) -> Result<Bytes, Fault> {
        let target = match place {
            Place::First => format!("/{}", search_target(request, count)),
            Place::With(extra) => {
                let target = search_target(request, count);
                let joint = if target.contains('?') { '&' } else { '?' };
                format!("/{target}{joint}{extra}")
            }
            Place::Instead(target) => target.clone(),
        };
        self.send(&target, true).await?.ok_or(Fault::NotFound)
    }

    async fn send(&self, target: &str, search: bool) -> Result<Option<Bytes>, Fault> {
        let long = search && target.len() > self.limits.target_bytes;
        // D28: everything in the form, and nothing in the URL.
        let (method, target, form) = match target.split_once('?') {
            Some((path, query)) if long => {
                let joint = if path.ends_with("/_search") { "" } else { "/_search" };
                (Method::POST, format!("{path}{joint}"), Bytes::from(query.to_owned()))
            }
            _ => (Method::GET, target.to_owned(), Bytes::new()),
        };
        let mut request = Request::new(form);
        *request.uri_mut() = format!("{}{target}", self.base)
            .parse()
            .map_err(|_| Fault::Upstream("its URL cannot be written"))?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/fhir+json"));
        if method == Method::POST {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(CONTENT_TYPE, form);
        }
        *request.method_mut() = method;
        let headers = request.headers_mut();
        if let Some(authorization) = self.authorization.now() {
            headers.insert(AUTHORIZATION, authorization);
        }
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
            .map_err(|error| unreachable(&error))?;
        match response.status() {
            StatusCode::OK if is_fhir_json(response.headers().get(CONTENT_TYPE)) => {
                Ok(Some(response.into_body()))
            }
            StatusCode::OK => Err(Fault::Upstream("its answer is not FHIR JSON")),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            // What the parser let through was well-formed; the upstream does not support it.
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Err(Fault::NotSupported),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                Err(Fault::UpstreamDown)
            }
            status if status.is_redirection() => Err(Fault::Upstream("it redirects")),
            // Ward's own credentials, whatever was asked.
            StatusCode::UNAUTHORIZED => Err(Fault::Upstream("it refuses Ward's credentials")),
            _ => Err(Fault::Upstream(FAILS)),
        }
    }

    /// Where the upstream's `next` link leads, seen from the request that was sent.
    pub(crate) fn follow(
        &self,
        request: &FhirRequest,
        count: usize,
        link: &str,
    ) -> Result<Place, Fault> {
        follow(&self.base, &search_target(request, count), link)
    }

    /// D30: tells the operator if the upstream's own account of the search lacks a criterion. What it
    /// may have ignored is still judged on the way out.
    pub(crate) fn check_self(request: &FhirRequest, self_link: Option<&str>) {
        let (Interaction::Search(search), Some(link)) = (&request.interaction, self_link) else {
            return;
        };
        let query = link.split_once('?').map_or("", |(_, query)| query);
        let names: Vec<Vec<u8>> =
            pairs(query).map(|pair| decoded(pair.split(['=', ':']).next().unwrap_or(""))).collect();
        for criterion in &search.criteria {
            if !names.iter().any(|name| name == criterion.code.as_bytes()) {
                tracing::warn!(
                    parameter = criterion.code,
                    rtype = search.rtype.name(),
                    "the upstream's self link lacks a search parameter; it may have ignored it"
                );
            }
        }
    }
}

/// Why there is no answer.
pub(crate) fn unreachable(error: &FetchError) -> Fault {
    match error {
        FetchError::Timeout => Fault::UpstreamTimeout,
        FetchError::Connect(_) => Fault::UpstreamDown,
        FetchError::Refused(_) => Fault::Upstream("egress to it is refused"),
        FetchError::TooLarge(_) => Fault::Oversized,
        FetchError::Broken => Fault::Upstream("its answer was broken off"),
        FetchError::Encoded => Fault::Upstream("its answer has a content coding"),
    }
}

impl Place {
    /// The place of entry `to`, in pages of `count`, if it can be said: this place is the first, or its
    /// link names the number of entries before it, which is `at`.
    pub(crate) fn moved(&self, at: usize, to: usize, count: usize) -> Option<Self> {
        match self {
            Self::First if to == 0 => Some(Self::First),
            Self::First => Some(Self::With(format!("{OFFSET}={to}"))),
            Self::With(extra) => Some(Self::With(with_offset(extra, at, to, count)?)),
            Self::Instead(target) => {
                let (path, query) = target.split_once('?')?;
                Some(Self::Instead(format!("{path}?{}", with_offset(query, at, to, count)?)))
            }
        }
    }

    /// Whether pages may grow again from here: the number in the link is surely one of entries, because
    /// its name says so.
    pub(crate) fn counts_entries(&self) -> bool {
        let (Self::With(query) | Self::Instead(query)) = self else { return false };
        pairs(query.split_once('?').map_or(query.as_str(), |(_, query)| query))
            .any(|pair| matches!(pair.split_once('='), Some((OFFSET | "_getpagesoffset", _))))
    }
}

/// The parameter by which servers that have it skip entries.
const OFFSET: &str = "_offset";

/// A query with its one pair that names `at` moved to `to`.
fn with_offset(query: &str, at: usize, to: usize, count: usize) -> Option<String> {
    let mut moved = 0_usize;
    let pairs: Vec<String> = pairs(query)
        .map(|pair| match pair.split_once('=') {
            Some(("_count", _)) => format!("_count={count}"),
            Some((name, value))
                if at > 0
                    && value.bytes().all(|b| b.is_ascii_digit())
                    && value.parse() == Ok(at) =>
            {
                moved = moved.saturating_add(1);
                format!("{name}={to}")
            }
            _ => pair.to_owned(),
        })
        .collect();
    (moved == 1).then(|| pairs.join("&"))
}

/// Where a `next` link leads: only below `base`. `ours` is the target that was asked.
fn follow(base: &str, ours: &str, link: &str) -> Result<Place, Fault> {
    let astray = || Fault::Upstream("its paging link leads elsewhere");
    let below = match link.strip_prefix(base) {
        Some(below) if below.starts_with(['/', '?']) => below.to_owned(),
        Some(_) => return Err(astray()),
        None => {
            let path = link.split('?').next().unwrap_or_default();
            if link.is_empty() || path.contains(':') || path.starts_with('/') {
                return Err(astray());
            }
            format!("/{link}")
        }
    };
    if !below.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'\\' | b'"')) {
        return Err(astray());
    }
    let (path, query) = below.split_once('?').unwrap_or((&below, ""));
    if path.split('/').any(|segment| matches!(segment, "." | "..")) || path.contains('%') {
        return Err(astray());
    }
    let (our_path, our_query) = ours.split_once('?').unwrap_or((ours, ""));
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

/// A search as it is sent: our page size, no totals (we count what is visible).
pub(crate) fn search_target(request: &FhirRequest, count: usize) -> String {
    let Interaction::Search(search) = &request.interaction else {
        return request.upstream_target();
    };
    let search = Search {
        count: u32::try_from(count).ok(),
        total: TotalMode::default(),
        summary_count: false,
        cursor: None,
        dropped: Vec::new(),
        ..search.clone()
    };
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
pub(crate) fn is_fhir_json(value: Option<&HeaderValue>) -> bool {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: &str = "http://10.0.0.1:8080/fhir";
    const OURS: &str = "Observation?code=a%2Cb&_count=21";

    #[test]
    fn paging_links_lead_below_the_base_only() {
        let with = |text: &str| Some(Place::With(text.to_owned()));
        let instead = |text: &str| Some(Place::Instead(text.to_owned()));
        for (link, want) in [
            (
                "http://10.0.0.1:8080/fhir/Observation?code=a,b&_count=21&_offset=21",
                with("_offset=21"),
            ),
            ("Observation?_offset=21&_count=21&code=a%2cb", with("_offset=21")),
            (
                "Observation?_offset=2021-01-01T00:00:00Z&_count=21&code=a,b",
                with("_offset=2021-01-01T00:00:00Z"),
            ),
            ("http://10.0.0.1:8080/fhir?_getpages=f", instead("?_getpages=f")),
            ("http://10.0.0.1:8080/fhir/Observation?ct=f", instead("/Observation?ct=f")),
            ("http://10.0.0.1:8080/fhir/Observation?code=a,b&_count=21", None),
            ("http://10.0.0.1:8080/fhirx/Observation?ct=f", None),
            ("http://10.0.0.1:8080/fhir@evil.example/", None),
            ("http://10.0.0.1:80800/fhir/Observation?ct=f", None),
            ("http://evil.example/fhir/Observation?ct=f", None),
            ("https://10.0.0.1:8080/fhir/Observation?ct=f", None),
            ("//evil.example/fhir", None),
            ("/admin", None),
            ("../admin", None),
            ("http://10.0.0.1:8080/fhir/../admin", None),
            ("http://10.0.0.1:8080/fhir/%2e%2e/admin", None),
            ("file:x", None),
            ("", None),
            ("Observation?x=\u{e9}", None),
            ("Observation?x=1#y", None),
        ] {
            assert_eq!(follow(BASE, OURS, link).ok(), want, "{link}");
        }
    }

    #[test]
    fn a_place_is_moved_only_if_its_link_counts_entries() {
        let with = |text: &str| Place::With(text.to_owned());
        let instead = |text: &str| Place::Instead(text.to_owned());
        for (place, at, want) in [
            (Place::First, 0, Some(with("_offset=41"))),
            (with("_offset=40"), 40, Some(with("_offset=41"))),
            (with("x=y&skip=40"), 40, Some(with("x=y&skip=41"))),
            (
                instead("?_getpages=f&_getpagesoffset=40&_count=40"),
                40,
                Some(instead("?_getpages=f&_getpagesoffset=41&_count=5")),
            ),
            // Numbers of pages, tokens, and two that could be it.
            (with("page=2"), 40, None),
            (with("_cursor=eyJ4"), 40, None),
            (with("a=40&b=40"), 40, None),
            (instead("/pages/f00/40"), 40, None),
        ] {
            assert_eq!(place.moved(at, 41, 5), want, "{place:?}");
        }
        assert!(with("_offset=40").counts_entries());
        assert!(instead("?_getpages=f&_getpagesoffset=40").counts_entries());
        assert!(!with("page=1").counts_entries() && !Place::First.counts_entries());
    }

    proptest! {
        #[test]
        fn whatever_the_link_the_request_goes_to_the_upstream(
            prefix in prop_oneof![Just(""), Just(BASE), Just("http://10.0.0.1:8080/fhir/"), Just("//")],
            rest in "[-a-zA-Z0-9:/?#@%.&=_\\\\ ]{0,24}",
        ) {
            if let Ok(Place::Instead(below)) = follow(BASE, OURS, &format!("{prefix}{rest}")) {
                let uri: http::Uri = format!("{BASE}{below}").parse().unwrap();
                prop_assert_eq!(uri.authority().unwrap().as_str(), "10.0.0.1:8080");
                prop_assert!(uri.path() == "/fhir" || uri.path().starts_with("/fhir/"));
                prop_assert!(!uri.path().split('/').any(|s| s == ".." || s == "."));
            }
        }
    }
}

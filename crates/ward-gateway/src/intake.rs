//! From bytes to one [`FhirRequest`] (house §1). Raw HTTP is checked here, the FHIR grammar in
//! `ward-fhir`; nothing of the client's headers is ever forwarded (A9, A13, A14, A24), and ranges,
//! conditions and codings that the client would accept are ignored (A19–A21).
//!
//! Refuses: ambiguous framing where it can be seen (A10), other authorities (A8), upgrades and CONNECT (A12), other methods (A16), tokens outside
//! the `Authorization` header (A23, G04), content codings (A18), bodies on GET (A17), long targets.

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName,
    HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Method, Request, Uri};
use ward_core::{FhirVersion, Limits};
use ward_fhir::{FhirRequest, RawRequest};
use ward_net::http::read_body;

use crate::{Fault, GatewayError};

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The public FHIR base, from configuration, never from the request (DSC-27).
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// Without a slash at the end.
    pub(crate) url: String,
    scheme: Scheme,
    host: String,
    port: u16,
    pub(crate) path: String,
}

impl Base {
    pub(crate) fn parse(url: &str) -> Result<Self, GatewayError> {
        let bad = || GatewayError::Base(url.to_owned());
        let url = url.trim_end_matches('/');
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let scheme = uri.scheme().cloned().ok_or_else(bad)?;
        let authority = uri.authority().ok_or_else(bad)?;
        let http = scheme == Scheme::HTTP || scheme == Scheme::HTTPS;
        if !http || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(bad());
        }
        Ok(Self {
            url: url.to_owned(),
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or_else(|| default_port(&scheme)),
            path: uri.path().trim_end_matches('/').to_owned(),
            scheme,
        })
    }

    /// Scheme and authority, without a slash at the end.
    pub(crate) fn origin(&self) -> &str {
        self.url.strip_suffix(self.path.as_str()).unwrap_or(&self.url)
    }

    /// Whether an authority of a request means this base (A8).
    fn is(&self, authority: &Authority) -> bool {
        !authority.as_str().contains('@')
            && authority.host().eq_ignore_ascii_case(&self.host)
            && authority.port_u16().map_or_else(
                || !authority.as_str().ends_with(':') && self.port == default_port(&self.scheme),
                |port| port == self.port,
            )
    }
}

fn default_port(scheme: &Scheme) -> u16 {
    if *scheme == Scheme::HTTP { 80 } else { 443 }
}

/// What came in, checked.
pub(crate) enum Intake {
    /// OPTIONS, which the gateway answers itself (A16).
    Options,
    /// A request that is fully understood.
    Understood(Understood),
}

/// A request that is fully understood.
pub(crate) struct Understood {
    pub(crate) request: FhirRequest,
    /// HEAD: answer as GET, without the body (A15).
    pub(crate) without_body: bool,
    /// The value of the `Authorization` header.
    pub(crate) authorization: Option<String>,
}

/// Checks and parses.
pub(crate) async fn take<B>(
    request: Request<B>,
    base: &Base,
    limits: &Limits,
) -> Result<Intake, Fault>
where
    B: hyper::body::Body<Data = Bytes>,
{
    let (head, body) = request.into_parts();
    screen(&head, base, limits)?;
    let Some(claims) = claims(&head)? else { return Ok(Intake::Options) };
    let body = read_body(body, limits.fhir_body_bytes, limits.body_timeout).await?;
    parse(&head, &claims, &body, base, limits).map(Intake::Understood)
}

/// What protects Ward itself, and so holds in observe mode too: framing, authority, bounds, and what is no
/// request for this base.
pub(crate) fn screen(head: &Parts, base: &Base, limits: &Limits) -> Result<(), Fault> {
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(Fault::Method);
    }
    framing(&head.headers)?;
    authority(&head.uri, &head.headers, base)?;
    if head.headers.contains_key(UPGRADE) {
        return Err(Fault::Upgrade);
    }
    if head.uri.path().len() + head.uri.query().map_or(0, str::len) > limits.target_bytes {
        return Err(Fault::TargetTooLong);
    }
    below(&head.uri, base).map(drop)
}

/// The path below the base: empty, or begins with a slash.
pub(crate) fn below<'a>(uri: &'a Uri, base: &Base) -> Result<&'a str, Fault> {
    match uri.path().strip_prefix(base.path.as_str()) {
        Some(path) if path.is_empty() || path.starts_with('/') => Ok(path),
        _ => Err(Fault::Elsewhere),
    }
}

/// The headers that are read.
pub(crate) struct Claims<'a> {
    content_type: Option<&'a str>,
    authorization: Option<&'a str>,
    accept: Option<String>,
    prefer: Option<String>,
}

/// Reads the headers. `None` for OPTIONS, which asks for nothing.
pub(crate) fn claims(head: &Parts) -> Result<Option<Claims<'_>>, Fault> {
    if head.uri.query().is_some_and(names_token) {
        return Err(Fault::TokenInUrl);
    }
    if head.headers.contains_key(CONTENT_ENCODING) {
        return Err(Fault::Encoded);
    }
    if head.method == Method::OPTIONS {
        return Ok(None);
    }
    Ok(Some(Claims {
        content_type: single(&head.headers, &CONTENT_TYPE)?,
        authorization: single(&head.headers, &AUTHORIZATION)?,
        accept: joined(&head.headers, &ACCEPT)?,
        prefer: joined(&head.headers, &PREFER)?,
    }))
}

/// Parses what was read.
pub(crate) fn parse(
    head: &Parts,
    claims: &Claims<'_>,
    body: &[u8],
    base: &Base,
    limits: &Limits,
) -> Result<Understood, Fault> {
    if std::str::from_utf8(body).is_ok_and(names_token) {
        return Err(Fault::TokenInUrl);
    }
    let without_body = head.method == Method::HEAD;
    let raw = RawRequest {
        base: &base.url,
        method: if without_body { "GET" } else { head.method.as_str() },
        path: below(&head.uri, base)?,
        query: head.uri.query(),
        content_type: claims.content_type,
        body,
        accept: claims.accept.as_deref(),
        prefer: claims.prefer.as_deref(),
    };
    let request = FhirRequest::parse(FhirVersion::R4, &raw, limits)?;
    let authorization = claims.authorization.map(str::to_owned);
    Ok(Understood { request, without_body, authorization })
}

/// A10: two lengths, or a length that two readers may see differently. hyper has refused what it can
/// see; it shows what it resolved.
fn framing(headers: &HeaderMap) -> Result<(), Fault> {
    let count = |name| headers.get_all(name).iter().count();
    let coded = count(TRANSFER_ENCODING);
    let chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    let fits = match (coded, count(CONTENT_LENGTH)) {
        (0, 0 | 1) => true,
        (1, 0) => headers.get(TRANSFER_ENCODING).is_some_and(chunked),
        _ => false,
    };
    if fits { Ok(()) } else { Err(Fault::Framing) }
}

/// A8: `Host`, and the authority of an absolute-form target, must be the configured one.
fn authority(uri: &Uri, headers: &HeaderMap, base: &Base) -> Result<(), Fault> {
    let mut hosts = headers.get_all(HOST).iter();
    let host: Authority = match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            host.to_str().ok().and_then(|host| host.parse().ok()).ok_or(Fault::Authority)?
        }
        _ => return Err(Fault::Authority),
    };
    let scheme = uri.scheme().is_none_or(|scheme| *scheme == base.scheme);
    if base.is(&host) && scheme && uri.authority().is_none_or(|authority| base.is(authority)) {
        Ok(())
    } else {
        Err(Fault::Misdirected)
    }
}

/// A header that may stand once.
pub(crate) fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, Fault> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Fault::Header),
        _ => Err(Fault::Header),
    }
}

/// All values of a header, joined by a comma.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Fault> {
    let values: Result<Vec<&str>, _> = headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().map_err(|_| Fault::Header))
        .collect();
    let values = values?;
    Ok((!values.is_empty()).then(|| values.join(", ")))
}

/// Whether a query or form has a pair named `access_token`, however it is encoded.
fn names_token(text: &str) -> bool {
    text.split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        crate::forward::decoded(name).eq_ignore_ascii_case(b"access_token")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_the_configured_one_or_not() {
        let own = Base::parse("https://Ward.example:8443/default/fhir/").unwrap();
        let default = Base::parse("https://ward.example/default/fhir").unwrap();
        for (base, authority, is) in [
            (&own, "ward.example:8443", true),
            (&own, "WARD.example:8443", true),
            (&own, "ward.example", false),
            (&own, "ward.example:443", false),
            (&own, "u@ward.example:8443", false),
            (&own, "ward.example.evil:8443", false),
            (&default, "ward.example", true),
            (&default, "ward.example:443", true),
            (&default, "ward.example:8443", false),
        ] {
            assert_eq!(base.is(&authority.parse().unwrap()), is, "{authority}");
        }
        for bad in ["", "ward", "ftp://x/y", "https://u@x/y", "https://x/y?z", "/default/fhir"] {
            assert!(Base::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_in_a_query_is_found_however_it_is_encoded() {
        for query in ["access_token=x", "a=b&access%5Ftoken=x", "%61ccess_token", "ACCESS_TOKEN=1"]
        {
            assert!(names_token(query), "{query}");
        }
        assert!(!names_token("code=access_token&x_access_token=1"));
    }
}

//! Keeps pages in a browser on this machine away from the admin listener: it listens where every page can
//! send requests to, and is made for programs only.
//!
//! Refused: what a page sends (`Origin`, or `Sec-Fetch-Site` other than a person's own typing), and, without
//! TLS, a `Host` that is a name other than `localhost`: a name can be pointed here by whoever owns it (DNS
//! rebinding); an address cannot.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{Request, Response, StatusCode};
use ward_net::http::{Body, json};

/// The refusal of a request that a page of a browser may have made.
pub(super) fn refuse<T>(request: &Request<T>, plain: bool) -> Option<Response<Body>> {
    let headers = request.headers();
    let site = headers.get("sec-fetch-site").map(http::HeaderValue::as_bytes);
    if headers.contains_key(ORIGIN) || !matches!(site, None | Some(b"none")) {
        let message = "the admin listener answers programs, not pages of a browser";
        return Some(problem(StatusCode::FORBIDDEN, message));
    }
    if plain && !is_this_machine(request) {
        let message = "call the admin listener by its address or as localhost";
        return Some(problem(StatusCode::MISDIRECTED_REQUEST, message));
    }
    None
}

/// Whether it is called by an address, as `localhost`, or by nothing (probes that speak HTTP/1.0).
fn is_this_machine<T>(request: &Request<T>) -> bool {
    let mut named = request.headers().get_all(HOST).iter();
    let (first, second) = (named.next(), named.next());
    let host = match first.map(|value| Authority::try_from(value.as_bytes())) {
        None => None,
        Some(Ok(authority)) if second.is_none() => Some(authority),
        Some(_) => return false,
    };
    [host.as_ref(), request.uri().authority()].into_iter().flatten().all(|authority| {
        let name = authority.host();
        name.eq_ignore_ascii_case("localhost")
            || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
    })
}

fn problem(status: StatusCode, message: &str) -> Response<Body> {
    let body = serde_json::json!({ "error": "browser", "message": message });
    json(status, body.to_string() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(headers: &[(&str, &str)], plain: bool) -> Option<u16> {
        let mut request = Request::post("/admin/v1/whoami");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        refuse(&request.body(()).unwrap(), plain).map(|refused| refused.status().as_u16())
    }

    #[test]
    fn pages_are_refused_and_programs_are_not() {
        for host in ["127.0.0.1:8444", "[::1]:8444", "localhost:8444", "LOCALHOST", "10.0.0.7"] {
            assert_eq!(status(&[("host", host)], true), None, "{host}");
        }
        assert_eq!(status(&[], true), None);
        for host in
            ["evil.example:8444", "localhost.evil.example", "127.0.0.1.evil.example", "", "@"]
        {
            assert_eq!(status(&[("host", host)], true), Some(421), "{host}");
        }
        assert_eq!(status(&[("host", "127.0.0.1"), ("host", "evil.example")], true), Some(421));
        // Under TLS the certificate says whose name it is.
        assert_eq!(status(&[("host", "ward.example")], false), None);
        for origin in ["https://evil.example", "null", "http://127.0.0.1:8444"] {
            assert_eq!(status(&[("host", "127.0.0.1"), ("origin", origin)], false), Some(403));
        }
        for (site, expected) in
            [("none", None), ("cross-site", Some(403)), ("same-site", Some(403))]
        {
            assert_eq!(status(&[("host", "127.0.0.1"), ("sec-fetch-site", site)], true), expected);
        }
    }
}

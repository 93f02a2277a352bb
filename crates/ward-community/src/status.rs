//! Whether the community still stands by a certification (CE §8; CRT-12): `GET /certifications/status?jti=&exp=` →
//! `{"valid":true}` or `{"valid":false}`, as fresh as the register.
//!
//! The answer is not signed, so it is given over TLS: by a listener of its own, or by a reverse proxy that ends TLS before it.
//! [`crate::PublicServer`] on plain HTTP does not give it. What is not known, has ended, is revoked or has another last second
//! is not valid. Refused: questions that do not name one id and one second.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use ward_core::BoxFuture;
use ward_net::http::{Body, full, method_not_allowed, respond, text};
use ward_net::{Handler, Peer};

use crate::PublicServer;

/// Where it answers.
pub const STATUS_PATH: &str = "/certifications/status";

/// Answers for certifications, and nothing else.
#[derive(Debug, Clone)]
pub struct StatusServer(Arc<PublicServer>);

impl StatusServer {
    /// Tells what `public` reads.
    pub const fn new(public: Arc<PublicServer>) -> Self {
        Self(public)
    }

    async fn answer(&self, method: &Method, path: &str, query: Option<&str>) -> Response<Body> {
        if path != STATUS_PATH {
            return text(StatusCode::NOT_FOUND, "not found\n");
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return method_not_allowed("GET, HEAD");
        }
        let Some((jti, exp)) = query.and_then(asked) else {
            return text(StatusCode::BAD_REQUEST, "ask with jti and exp, each once\n");
        };
        match self.0.stands_by(jti, exp).await {
            Ok(valid) => {
                let body = format!("{{\"valid\":{valid}}}");
                let mut response = respond(StatusCode::OK, "application/json", full(body));
                let headers = response.headers_mut();
                headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
            Err(error) => {
                tracing::error!(%error, "the community could not be read");
                text(StatusCode::SERVICE_UNAVAILABLE, "not available now\n")
            }
        }
    }
}

impl Handler for StatusServer {
    fn handle(&self, request: Request<Incoming>, _: Peer) -> BoxFuture<'_, Response<Body>> {
        Box::pin(async move {
            let uri = request.uri();
            self.answer(request.method(), uri.path(), uri.query()).await
        })
    }
}

/// The id and the second that a query names. The ids of this community have no character that would be escaped: one that is
/// escaped is nobody's, and not valid.
fn asked(query: &str) -> Option<(&str, i64)> {
    let (mut jti, mut exp) = (None, None);
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=')?;
        let slot = match name {
            "jti" => &mut jti,
            "exp" => &mut exp,
            // What others may add to the question some day.
            _ => continue,
        };
        if value.is_empty() || slot.replace(value).is_some() {
            return None;
        }
    }
    let exp = exp?;
    let is_number = exp.len() <= 15 && exp.bytes().all(|byte| byte.is_ascii_digit());
    Some((jti?, exp.parse().ok().filter(|_| is_number)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_one_id_and_one_second() {
        for query in ["jti=ab&exp=1", "exp=1&jti=ab", "jti=ab&exp=1&lang=en"] {
            assert_eq!(asked(query), Some(("ab", 1)), "{query}");
        }
        for query in [
            "",
            "jti=ab",
            "exp=1",
            "jti=&exp=1",
            "jti=ab&exp=",
            "jti=ab&exp=x",
            "jti=ab&exp=-1",
            "jti=ab&exp=1.5",
            "jti=ab&jti=cd&exp=1",
            "jti=ab&exp=1&exp=2",
            "jti&exp=1",
            "jti=ab&exp=9999999999999999",
        ] {
            assert_eq!(asked(query), None, "{query}");
        }
    }
}

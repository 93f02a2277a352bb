//! Hands out lists and authorities over plain HTTP (they are signed; PKI-05):
//! `/crl/root.crl`, `/crl/issuing.crl`, `/ca/root.cer`, `/ca/issuing.cer`, and those of later ones. Nothing else.
//!
//! A list that is past half of its life is signed anew before it is handed out.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use ward_core::BoxFuture;
use ward_net::http::{Body, cacheable, method_not_allowed, text};
use ward_net::{Handler, Peer};

use crate::{AuthorityId, Operator};

/// The server of lists.
#[derive(Debug, Clone)]
pub struct ListServer(Arc<Operator>);

/// Caches may keep a list for so long: it bounds how late a revocation is seen.
const LIST_AGE: Duration = Duration::from_mins(5);
const CERTIFICATE_AGE: Duration = Duration::from_hours(24);

impl ListServer {
    /// Serves what `operator` publishes.
    pub const fn new(operator: Arc<Operator>) -> Self {
        Self(operator)
    }

    /// The answer to one request.
    pub async fn answer(&self, method: &Method, path: &str) -> Response<Body> {
        let named =
            |id: &AuthorityId| path == format!("/crl/{id}.crl") || path == format!("/ca/{id}.cer");
        let Some(id) = self.0.authorities().into_iter().find(named) else {
            return text(StatusCode::NOT_FOUND, "not found\n");
        };
        let is_list = path.starts_with("/crl/");
        if !matches!(*method, Method::GET | Method::HEAD) {
            return method_not_allowed("GET, HEAD");
        }
        if !is_list {
            let der = self.0.certificate_of(id).map(|one| one.der().to_vec());
            return handed_out("application/pkix-cert", CERTIFICATE_AGE, der);
        }
        if let Err(error) = self.0.publish().await {
            // The list at hand is good for another half of its life; who reads it checks its date.
            tracing::error!(%error, "a revocation list could not be signed anew");
        }
        handed_out("application/pkix-crl", LIST_AGE, self.0.list_of(id).map(|list| list.der))
    }
}

fn handed_out(kind: &'static str, age: Duration, der: Option<Vec<u8>>) -> Response<Body> {
    match der {
        Some(der) => cacheable(kind, age, der),
        None => text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

impl Handler for ListServer {
    fn handle(&self, request: Request<Incoming>, _: Peer) -> BoxFuture<'_, Response<Body>> {
        Box::pin(async move { self.answer(request.method(), request.uri().path()).await })
    }
}

//! `GET {base}/.well-known/udap` (IG §2; DSC, SMD, COM-01..05).
//!
//! Anyone may read it. The signed part is made once per community, kept, and made anew at half of its
//! life, so that one that has ended is never served. Refused: other methods, a community named twice.
//! A community that is not served is answered 204, whatever else is said.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use ward_core::{Rng, Timestamp, crypto};
use ward_trust::{Alg, Community, Metadata, MetadataError, SigningIdentity};

use crate::certified::CertificationRule;
use crate::config::ServedCommunity;
use crate::errors::{Answer, Refusal};
use crate::form::Form;
use crate::issuer::Issuer;

/// Longest life of signed metadata (SMD-10: days, not a year).
const LIFE: Duration = Duration::from_hours(7 * 24);
/// How long a reader may keep the document, seconds (DSC-28).
const MAX_AGE: u64 = 300;

/// Algorithms for statements and authentication tokens; what is listed is what is accepted (DSC-19, DSC-21).
pub(crate) const ALGS: &[Alg] = &Alg::ALL;

/// A community with what is served for it.
pub(crate) struct Served {
    pub(crate) community: Community,
    pub(crate) identity: Arc<SigningIdentity>,
    pub(crate) revocation_grace: Duration,
    pub(crate) signals_from: Option<String>,
    pub(crate) certifications: Vec<CertificationRule>,
    pub(crate) metadata: Metadata,
    document: Mutex<Option<Arc<Document>>>,
}

struct Document {
    body: Bytes,
    etag: HeaderValue,
    made: Timestamp,
    renew: Timestamp,
    exp: Timestamp,
}

impl Served {
    pub(crate) fn new(config: ServedCommunity, metadata: Metadata) -> Self {
        Self {
            community: config.community,
            identity: config.identity,
            revocation_grace: config.revocation_grace,
            signals_from: config.signals_from,
            certifications: config.certifications,
            metadata,
            document: Mutex::default(),
        }
    }

    /// The document as it is served now. `Err` if the certificate can no longer sign one.
    fn document(&self, now: Timestamp, rng: &dyn Rng) -> Result<Arc<Document>, MetadataError> {
        let mut held = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = &*held {
            // A clock that was set back must not keep a document from the future.
            if now < document.renew && now >= document.made {
                return Ok(document.clone());
            }
        }
        match self.make(now, rng) {
            Ok(document) => {
                let document = Arc::new(document);
                *held = Some(document.clone());
                Ok(document)
            }
            // The one at hand is good until it ends (SMD-10).
            Err(error) => match &*held {
                Some(document) if now < document.exp => Ok(document.clone()),
                _ => Err(error),
            },
        }
    }

    fn make(&self, now: Timestamp, rng: &dyn Rng) -> Result<Document, MetadataError> {
        let mut jti = [0; 16];
        rng.fill(&mut jti);
        let signed = self.metadata.sign(&self.identity, &crypto::hex(&jti), now, LIFE)?;
        let body = Bytes::from(self.metadata.to_json(&signed.jws));
        let digest = crypto::hex(&crypto::sha256(&[&body]));
        let etag = HeaderValue::try_from(format!("\"{}\"", digest.get(..32).unwrap_or(&digest)))
            .unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        let renew = now.plus(signed.exp.since(now) / 2);
        Ok(Document { body, etag, made: now, renew, exp: signed.exp })
    }
}

impl Issuer {
    /// Answers `GET` and `HEAD` of the discovery document.
    pub(crate) fn discover(&self, request: &Parts) -> Result<Response<Bytes>, Refusal> {
        let query = Form::parse_query(request.uri.query().unwrap_or_default())
            .map_err(|_| Refusal::new(Answer::InvalidRequest, "COM-05"))?;
        let served = self.served();
        let found = match query.get("community") {
            None => served.first(),
            Some(uri) => served.iter().find(|one| one.community.uri.as_str() == uri),
        };
        let mut response = match found {
            None => {
                let mut none = Response::new(Bytes::new());
                *none.status_mut() = StatusCode::NO_CONTENT;
                none
            }
            Some(served) => self.document(served, request)?,
        };
        let anyone = HeaderValue::from_static("*");
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, anyone);
        Ok(response)
    }

    fn document(&self, served: &Served, request: &Parts) -> Result<Response<Bytes>, Refusal> {
        let now = self.deps.clock.now();
        let document = served.document(now, &*self.deps.rng).map_err(|error| {
            tracing::error!(community = %served.community.uri, %error, "metadata cannot be signed: renew the certificate");
            Refusal::new(Answer::Unavailable, "SMD-10")
        })?;
        let known = request.headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
            value.to_str().is_ok_and(|value| {
                value
                    .split(',')
                    .map(str::trim)
                    .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == document.etag)
            })
        });
        let mut response = Response::new(Bytes::new());
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else if request.method != Method::HEAD {
            *response.body_mut() = document.body.clone();
        }
        let age = document.exp.since(now).as_secs().min(MAX_AGE);
        let headers = response.headers_mut();
        headers.insert(header::ETAG, document.etag.clone());
        if let Ok(value) = HeaderValue::try_from(format!("public, max-age={age}")) {
            headers.insert(header::CACHE_CONTROL, value);
        }
        if !known {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            if request.method == Method::HEAD {
                headers.insert(header::CONTENT_LENGTH, document.body.len().into());
            }
        }
        Ok(response)
    }
}

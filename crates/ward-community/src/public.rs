//! What everybody may fetch, over plain HTTP because it is all signed (PKI-05): revocation lists, the authorities'
//! certificates, and OCSP answers.
//!
//! `GET /crl/{root,issuing}.crl`, `GET /ca/{root,issuing}.cer` (and `-2`, … of later ones), `POST /ocsp`, `GET /ocsp/BASE64` (RFC 6960 A.1).
//! Reads the community's directory as it is now, so that the operator's acts in other processes show at once; changes
//! nothing in it. Refused: everything else; requests over 4 KiB; to answer from a register that does not parse.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, EXPIRES, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use time::macros::format_description;
use ward_core::crypto::{hex, sha256};
use ward_core::{BoxFuture, Clock, Timestamp};
use ward_net::http::{Body, cacheable, empty, full, method_not_allowed, read_body, respond, text};
use ward_net::{Handler, Peer};
use ward_trust::ocsp::Refusal;
use ward_trust::{Certificate, Crl};

use crate::authority::calendar;
use crate::bundle::bundle_is_due;
use crate::directory::handed_out;
use crate::keys::{AuthorityKeys, KeyOf};
use crate::operator::MAX_FILE;
use crate::publish::{
    REGISTER, RESPONDER_KEY, certificate_path, list_path, read_register, responder_key_name,
    responder_path,
};
use crate::renewal::responder_due;
use crate::responder::Desk;
use crate::{Authority, CommunityError, files};

/// Caches may keep a list for so long: it bounds how late a revocation is seen.
const LIST_AGE: Duration = Duration::from_mins(5);
const CERTIFICATE_AGE: Duration = Duration::from_hours(24);
/// Octets of an OCSP request.
const MAX_REQUEST: usize = 4096;
/// Time for a caller to send its request.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What tells whether a file was replaced: inode, length, time of change.
type Stamp = Option<(u64, u64, i64, i64)>;

/// A file that is handed out.
struct Document {
    der: Vec<u8>,
    tag: String,
    this_update: Timestamp,
    next_update: Timestamp,
}

/// The directory as it was read.
struct State {
    stamps: Vec<(PathBuf, Stamp)>,
    /// By path: media type, for how long caches may keep it, and what it is.
    documents: HashMap<String, (&'static str, Duration, Document)>,
    /// Those of issuing authorities, which are signed here.
    lists: Vec<(Timestamp, Timestamp)>,
    /// One of each issuing authority; less, if the community has no responder, or it has no key or certificate yet.
    desks: Vec<Desk>,
    /// Issuing authorities.
    issuing: usize,
    /// By id: last second, and whether it is revoked.
    certifications: HashMap<String, (Timestamp, bool)>,
    ocsp: bool,
}

/// Serves one community's public files and OCSP answers.
pub struct PublicServer {
    dir: PathBuf,
    keys: Arc<dyn AuthorityKeys>,
    clock: Arc<dyn Clock>,
    state: RwLock<Arc<State>>,
    reading: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for PublicServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicServer").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl PublicServer {
    /// Serves the community in `dir` (as given to [`crate::Operator::create`]). `keys` must hold the responder's.
    pub fn new(
        dir: PathBuf,
        keys: Arc<dyn AuthorityKeys>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CommunityError> {
        let state = State::read(&dir, &*keys)?;
        let state = RwLock::new(Arc::new(state));
        Ok(Self { dir, keys, clock, state, reading: tokio::sync::Mutex::default() })
    }

    /// Whether the operator has something to renew without the root's key: members' list or the responder's certificate
    /// is past half of its life.
    pub async fn is_due(&self) -> Result<bool, CommunityError> {
        let state = self.current().await?;
        let now = self.clock.now();
        let due = |(from, until): &(Timestamp, Timestamp)| now >= from.plus(until.since(*from) / 2);
        let responder = state.desks.iter().any(|desk| now >= responder_due(desk.certificate()));
        let missing = state.ocsp && state.desks.len() < state.issuing;
        Ok(responder || missing || state.lists.iter().any(due) || bundle_is_due(&self.dir, now)?)
    }

    /// The state of the directory now.
    async fn current(&self) -> Result<Arc<State>, CommunityError> {
        let known = || Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner));
        if known().is_as_read() {
            return Ok(known());
        }
        let _one = self.reading.lock().await;
        if known().is_as_read() {
            return Ok(known());
        }
        let (dir, keys) = (self.dir.clone(), Arc::clone(&self.keys));
        let state = tokio::task::spawn_blocking(move || State::read(&dir, &*keys))
            .await
            .map_err(|_| CommunityError::Interrupted)??;
        let state = Arc::new(state);
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&state);
        Ok(state)
    }

    /// Whether the certifier stands by the certification with this id and last second (CE §8).
    pub(crate) async fn stands_by(&self, jti: &str, exp: i64) -> Result<bool, CommunityError> {
        let state = self.current().await?;
        let known = state.certifications.get(jti);
        let now = self.clock.now();
        Ok(known.is_some_and(|(until, revoked)| {
            !revoked && until.as_seconds() == exp && now.as_seconds() <= exp
        }))
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let state = match self.current().await {
            Ok(state) => state,
            Err(error) => {
                tracing::error!(%error, "the community could not be read");
                return text(StatusCode::SERVICE_UNAVAILABLE, "not available now\n");
            }
        };
        let now = self.clock.now();
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let is_get = matches!(parts.method, Method::GET | Method::HEAD);
        if let Some((kind, age, one)) = state.documents.get(path) {
            return if is_get {
                document(one, kind, *age, &parts.headers, now)
            } else {
                method_not_allowed("GET, HEAD")
            };
        }
        match path {
            "/ocsp" | "/ocsp/" if state.ocsp && parts.method == Method::POST => {
                if parts
                    .headers
                    .get(CONTENT_TYPE)
                    .is_none_or(|kind| kind != "application/ocsp-request")
                {
                    let what = "send application/ocsp-request\n";
                    return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, what);
                }
                match read_body(body, MAX_REQUEST, BODY_TIMEOUT).await {
                    Ok(asked) => ocsp(&state, &asked, None, now),
                    Err(error) => text(error.status(), format!("{error}\n")),
                }
            }
            _ if state.ocsp && path.starts_with("/ocsp") => match path.strip_prefix("/ocsp/") {
                Some("") | None if path == "/ocsp" || path == "/ocsp/" => {
                    method_not_allowed("POST")
                }
                Some(_) if !is_get => method_not_allowed("GET, HEAD"),
                Some(asked) if asked.len() > 2 * MAX_REQUEST => {
                    text(StatusCode::URI_TOO_LONG, "the request is larger than 4096 bytes\n")
                }
                Some(asked) => match decoded(asked) {
                    Some(asked) => ocsp(&state, &asked, Some(&parts.headers), now),
                    None => refused(Refusal::Malformed),
                },
                None => text(StatusCode::NOT_FOUND, "not found\n"),
            },
            path if is_get => match handed_out(&self.dir, path) {
                Ok(Some((kind, bytes))) => cacheable(kind, LIST_AGE, bytes),
                Ok(None) => text(StatusCode::NOT_FOUND, "not found\n"),
                Err(error) => {
                    tracing::error!(%error, "what was published could not be read");
                    text(StatusCode::SERVICE_UNAVAILABLE, "not available now\n")
                }
            },
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }
}

impl Handler for PublicServer {
    fn handle(&self, request: Request<Incoming>, _: Peer) -> BoxFuture<'_, Response<Body>> {
        Box::pin(self.answer(request))
    }

    fn takes_http_1_0(&self) -> bool {
        true
    }
}

/// Percent-decodes and base64-decodes what follows `/ocsp/`.
fn decoded(path: &str) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let code = digit(rest.next())? * 16 + digit(rest.next())?;
            plain.push(u8::try_from(code).ok()?);
        } else {
            plain.push(byte);
        }
    }
    STANDARD.decode(plain).ok().filter(|asked| asked.len() <= MAX_REQUEST)
}

fn refused(refusal: Refusal) -> Response<Body> {
    match refusal.to_der() {
        // RFC 6960 A.2: a refusal is an answer too.
        Ok(der) => respond(StatusCode::OK, "application/ocsp-response", full(der)),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "no answer\n"),
    }
}

/// `cached`: the headers of a request whose answer caches may keep.
fn ocsp(state: &State, asked: &[u8], cached: Option<&HeaderMap>, now: Timestamp) -> Response<Body> {
    let mut why = Refusal::TryLater;
    let mut answer = None;
    for desk in &state.desks {
        match desk.answer(asked, now) {
            Ok(found) => answer = Some(found),
            // Another authority's certificate: perhaps the next desk's.
            Err(Refusal::Unauthorized) if state.desks.len() == state.issuing => {
                why = Refusal::Unauthorized;
                continue;
            }
            Err(refusal) => why = refusal,
        }
        break;
    }
    let Some(answer) = answer else { return refused(why) };
    let response = respond(StatusCode::OK, "application/ocsp-response", full(answer.der.clone()));
    match cached.filter(|_| answer.plain) {
        Some(headers) => {
            let dates = (answer.this_update, answer.next_update);
            with_age(response, &answer.tag, dates, Desk::max_age(&answer, now), headers)
        }
        None => response,
    }
}

fn document(
    one: &Document,
    kind: &'static str,
    age: Duration,
    headers: &HeaderMap,
    now: Timestamp,
) -> Response<Body> {
    let left = if one.next_update > now { one.next_update.since(now) } else { Duration::ZERO };
    let response = respond(StatusCode::OK, kind, full(one.der.clone()));
    with_age(response, &one.tag, (one.this_update, one.next_update), age.min(left), headers)
}

/// Headers by which caches know for how long it holds (RFC 5019 §5); 304 if the caller has it already.
fn with_age(
    mut response: Response<Body>,
    tag: &str,
    (from, until): (Timestamp, Timestamp),
    age: Duration,
    asked: &HeaderMap,
) -> Response<Body> {
    let tag = format!("\"{tag}\"");
    let has = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let has = has.flat_map(|value| value.split(',')).any(|one| one.trim() == tag);
    if has {
        *response.body_mut() = empty();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let age = format!("max-age={}, public, no-transform, must-revalidate", age.as_secs());
    let headers = response.headers_mut();
    headers.remove(http::header::PRAGMA);
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(CACHE_CONTROL, &age);
    set(ETAG, &tag);
    set(LAST_MODIFIED, &date(from));
    set(EXPIRES, &date(until));
    response
}

/// IMF-fixdate (RFC 9110 §5.6.7).
fn date(at: Timestamp) -> String {
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    calendar(at).format(form).unwrap_or_default()
}

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

impl State {
    /// Whether the files are those that were read.
    fn is_as_read(&self) -> bool {
        self.stamps.iter().all(|(path, known)| stamp(path) == *known)
    }

    fn read(dir: &Path, keys: &dyn AuthorityKeys) -> Result<Self, CommunityError> {
        // What changes while it is read has another stamp the next time; and so has the register, which names the others.
        let mut stamps = vec![(dir.join(REGISTER), stamp(&dir.join(REGISTER)))];
        let register = read_register(dir)?;
        let mut read = |path: PathBuf, most| {
            stamps.push((path.clone(), stamp(&path)));
            files::read(&path, most)
        };
        let damaged = |path: &Path| CommunityError::Damaged(path.to_path_buf());
        let mut state = Self {
            stamps: Vec::new(),
            documents: HashMap::new(),
            lists: Vec::new(),
            desks: Vec::new(),
            issuing: register.of_kind(Authority::Issuing).count(),
            certifications: register
                .certifications
                .iter()
                .map(|one| (one.jti.clone(), (one.expires, register.is_withdrawn(one))))
                .collect(),
            ocsp: register.ocsp,
        };
        for id in register.authorities() {
            let path = list_path(dir, id);
            let der = read(path.clone(), MAX_FILE)?.ok_or_else(|| damaged(&path))?;
            let list = Crl::from_der(&der).map_err(|_| damaged(&path))?;
            let dates = (list.this_update(), list.next_update());
            if id.of == Authority::Issuing {
                state.lists.push(dates);
            }
            let list = ("application/pkix-crl", LIST_AGE, Document::new(der, dates));
            state.documents.insert(format!("/crl/{id}.crl"), list);

            let path = certificate_path(dir, id);
            let der = read(path.clone(), MAX_FILE)?.ok_or_else(|| damaged(&path))?;
            let found = Certificate::from_der(&der).map_err(|_| damaged(&path))?;
            let dates = (found.not_before(), found.not_after());
            let shown = ("application/pkix-cert", CERTIFICATE_AGE, Document::new(der, dates));
            state.documents.insert(format!("/ca/{id}.cer"), shown);

            let path = responder_path(dir, id);
            if id.of == Authority::Issuing
                && register.ocsp
                && let Some(der) = read(path.clone(), MAX_FILE)?
            {
                let responder = Certificate::from_der(&der).map_err(|_| damaged(&path))?;
                let name = responder_key_name(&register.uri, id);
                let key = keys.open(KeyOf::Responder, &name, RESPONDER_KEY)?;
                // Between a new key and its certificate there is a moment.
                if key.der_bytes() == responder.key_bits() {
                    state.desks.push(Desk::new(found, responder, key, (&register, id)));
                }
            }
        }
        // What an authority said last of its certificates stands.
        for id in &register.ended {
            let path = list_path(dir, *id);
            let Some(der) = read(path.clone(), MAX_FILE)? else { continue };
            let list = Crl::from_der(&der).map_err(|_| damaged(&path))?;
            let dates = (list.this_update(), list.next_update());
            let list = ("application/pkix-crl", LIST_AGE, Document::new(der, dates));
            state.documents.insert(format!("/crl/{id}.crl"), list);
        }
        Ok(Self { stamps, ..state })
    }
}

impl Document {
    fn new(der: Vec<u8>, (this_update, next_update): (Timestamp, Timestamp)) -> Self {
        let tag = hex(&sha256(&[&der]));
        Self { der, tag, this_update, next_update }
    }
}

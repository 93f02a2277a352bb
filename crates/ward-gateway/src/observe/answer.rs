//! An answer of the upstream on its way out as it came: judged, recorded, then released (rule 3 holds in every
//! mode). Status, headers and body are the upstream's; only addresses below its base, in `link`, `fullUrl`,
//! `Location` and `Content-Location`, become Ward's (RSV-08).
//!
//! What cannot be judged (no FHIR JSON, a content coding, larger than `limits.upstream_body_bytes`) is
//! recorded as `UNJUDGED` before its first byte leaves, and window by window as it does. An answer without a body (HEAD, 304)
//! tells that there is a record: what it would show is read and judged, or it is `UNJUDGED` too.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LOCATION, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;
use ward_core::{Event, EventSink, Outcome, Released, Window, WindowStep};
use ward_fhir::{Interaction, ResourceView, ViewError};
use ward_net::http::{Body, BodyError, BodySender, channel_body};
use ward_policy::{Residual, Verdict, judge};

use super::outgoing::{Held, end_to_end, hold};
use super::{Decided, WOULD_STATUS, WOULD_WITHHOLD};
use crate::fault::Refused;
use crate::forward::is_fhir_json;
use crate::read::released;
use crate::release::{Draft, Record, note, release};
use crate::{Fault, Gateway};

/// The rule of answers that enforcement could not judge, and would not release.
const UNJUDGED: &str = "UNJUDGED";
/// The rules of this file.
pub(super) const RULES: &[&str] = &[UNJUDGED];

/// A request that passes, when its answer has come.
pub(super) struct Passing<'a> {
    pub(super) event: Event,
    pub(super) decided: &'a Decided,
    /// What was asked, if it was understood.
    pub(super) interaction: Option<&'a Interaction>,
    pub(super) without_body: bool,
}

/// What an answer holds.
#[derive(Default)]
struct Examined {
    /// Records in the order in which they stand, each with the place where it begins.
    records: Vec<(usize, Released)>,
    /// How many of them enforcement would hold back, by rule.
    withheld: BTreeMap<&'static str, u32>,
}

impl Gateway {
    /// Records that nothing came back.
    pub(super) async fn note_failure(&self, mut event: Event, fault: &Fault) -> Result<(), Fault> {
        event.outcome = Outcome::Failed;
        event.action = "failed".into();
        if let Some(transfer) = &mut event.transfer {
            transfer.status = fault.status().as_u16();
        }
        note(&*self.sink, event).await
    }

    /// Judges, records and releases an answer as it came.
    pub(super) async fn let_through(
        &self,
        passing: Passing<'_>,
        answer: Response<Incoming>,
    ) -> Result<Response<Body>, Fault> {
        let (head, body) = answer.into_parts();
        let headers = self.outward(&head.headers);
        let readable = head.status != StatusCode::PARTIAL_CONTENT
            && !head.headers.contains_key(CONTENT_ENCODING)
            && is_fhir_json(head.headers.get(CONTENT_TYPE));
        let limits = &self.limits;
        let most = if readable { limits.upstream_body_bytes } else { limits.window_bytes };
        let held = match hold(body, most, limits.upstream_timeout).await {
            Ok(held) => held,
            Err(error) => {
                let fault = match error {
                    BodyError::Timeout => Fault::UpstreamTimeout,
                    _ => Fault::Upstream("its answer was broken off"),
                };
                self.note_failure(passing.event, &fault).await?;
                return Err(fault);
            }
        };
        let whole = held.whole().filter(|_| readable).cloned();
        let text = whole.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let text = text.and_then(|text| self.relinked(text, &passing));
        let mut examined = text.as_deref().and_then(|text| self.examine(text, &passing));
        let unshown = passing.without_body || head.status == StatusCode::NOT_MODIFIED;
        if unshown && tells(head.status) {
            examined = self.examine_unshown(&passing).await;
        }
        if let Some(examined) = &mut examined {
            self.judge_current(&passing, examined).await;
            if unshown {
                examined.records.clear();
            }
        }
        // Enforcement answers such a request, with what may be seen; it releases nothing that it cannot judge.
        let instead = if unshown { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
        let opaque = examined.is_none() && (unshown || !is_empty(&held));
        let opaque = (opaque && tells(head.status)).then_some(instead);
        let Passing { mut event, decided, interaction, without_body } = passing;
        if let Some(transfer) = &mut event.transfer {
            transfer.status = head.status.as_u16();
        }
        let examined = examined.unwrap_or_default();
        settle(&mut event, decided, interaction, &examined, opaque, head.status);
        let mut response = match held {
            Held::Longer { begun, rest, .. } => {
                stream(&self.sink, event, begun, rest, limits.window_bytes, limits.upstream_timeout)
                    .await?
            }
            Held::Whole(bytes) => {
                let draft = match text {
                    Some(text) => cut(&text, examined.records),
                    None => Draft { head: bytes.to_vec(), records: Vec::new(), tail: Vec::new() },
                };
                release(&self.sink, &self.clock, limits, event, draft, without_body).await?
            }
        };
        *response.status_mut() = head.status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// The headers of the upstream as callers see them.
    fn outward(&self, headers: &HeaderMap) -> HeaderMap {
        let mut headers = end_to_end(headers);
        for name in [LOCATION, CONTENT_LOCATION] {
            let ours = headers
                .get(&name)
                .and_then(|value| value.to_str().ok())
                .and_then(|url| self.public(url))
                .and_then(|url| HeaderValue::from_str(&url).ok());
            if let Some(ours) = ours {
                headers.insert(name, ours);
            }
        }
        headers
    }

    /// An address below the upstream's base as an address of Ward's.
    fn public(&self, url: &str) -> Option<String> {
        let below = url.strip_prefix(self.upstream.base())?;
        (below.is_empty() || below.starts_with(['/', '?']))
            .then(|| format!("{}{below}", self.base.url))
    }

    /// The text with Ward's addresses in the Bundle's own links; the resources stay byte for byte. `None` if
    /// it is no JSON of a resource.
    fn relinked<'t>(&self, text: &'t str, passing: &Passing<'_>) -> Option<Cow<'t, str>> {
        let top: Top<'_> = serde_json::from_str(text).ok()?;
        if top.rtype != "Bundle" {
            return Some(Cow::Borrowed(text));
        }
        let Ok(bundle) = serde_json::from_str::<Bundle<'_>>(text) else {
            return Some(Cow::Borrowed(text));
        };
        let rtype = match passing.interaction {
            Some(Interaction::Search(search)) => Some(search.rtype),
            _ => None,
        };
        let mut edits = Vec::new();
        for link in &bundle.link {
            let Some((raw, ours)) = self.readdressed(link.url) else { continue };
            let pages = !matches!(link.relation.as_deref(), None | Some("self"));
            if let (Some(rtype), true) = (rtype, pages) {
                let path = ours.get(self.base.origin().len()..).unwrap_or_default();
                self.pages.keep(path, rtype, self.limits.parked_links);
            }
            edits.push((raw, ours));
        }
        edits.extend(bundle.entry.iter().filter_map(|entry| self.readdressed(entry.full_url)));
        let mut edits: Vec<(usize, usize, String)> = edits
            .into_iter()
            .filter_map(|(raw, ours)| {
                let start = offset(text, raw.get())?;
                Some((start, start + raw.get().len(), serde_json::Value::String(ours).to_string()))
            })
            .collect();
        edits.sort_by_key(|(start, ..)| *start);
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for (start, end, ours) in edits {
            out.push_str(text.get(at..start)?);
            out.push_str(&ours);
            at = end;
        }
        out.push_str(text.get(at..)?);
        Some(Cow::Owned(out))
    }

    fn readdressed<'a>(&self, raw: Option<&'a RawValue>) -> Option<(&'a RawValue, String)> {
        let raw = raw?;
        let url: Cow<'_, str> = serde_json::from_str(raw.get()).ok()?;
        Some((raw, self.public(&url)?))
    }

    /// Which records an answer holds, and what enforcement would do with each. `None` if that cannot be told.
    fn examine(&self, text: &str, passing: &Passing<'_>) -> Option<Examined> {
        let top: Top<'_> = serde_json::from_str(text).ok()?;
        let mut examined = Examined::default();
        if top.rtype != "Bundle" {
            if top.rtype != "OperationOutcome" && top.rtype != "CapabilityStatement" {
                self.examine_one(text, 0, None, passing, &mut examined);
            }
            return Some(examined);
        }
        let bundle: Bundle<'_> = serde_json::from_str(text).ok()?;
        for entry in &bundle.entry {
            let Some(resource) = entry.resource.map(RawValue::get) else { continue };
            let mode = entry.search.as_ref().and_then(|search| search.mode.as_deref());
            if mode != Some("outcome") {
                self.examine_one(resource, offset(text, resource)?, mode, passing, &mut examined);
            }
        }
        Some(examined)
    }

    fn examine_one(
        &self,
        text: &str,
        start: usize,
        mode: Option<&str>,
        passing: &Passing<'_>,
        examined: &mut Examined,
    ) {
        let residual = match passing.decided {
            Decided::Judge(judged) => Some(judged.0.residual()),
            Decided::Refuse(_) | Decided::Capabilities => None,
        };
        let view = ResourceView::parse(text, &self.bases, &self.limits);
        let rule = match (residual, &view) {
            (None, _) => match passing.decided {
                Decided::Refuse(fault) => fault.observable().map(|refused| refused.rule),
                _ => None,
            },
            (Some(_), _) if mode == Some("include") => Some("F1"),
            (Some(residual), Ok(view)) => dropped(residual, view),
            (Some(_), Err(error)) => Some(unreadable(*error)),
        };
        if let Some(rule) = rule {
            let count = examined.withheld.entry(rule).or_default();
            *count = count.saturating_add(1);
        }
        let released = match view {
            Ok(view) => released(&view),
            // It leaves, and what it is cannot be told.
            Err(_) => Released {
                reference: "unreadable".to_owned(),
                version: None,
                owners: Vec::new(),
                labels: Vec::new(),
            },
        };
        examined.records.push((start, released));
    }

    /// What an answer without a body would have shown. `None` if that cannot be told.
    async fn examine_unshown(&self, passing: &Passing<'_>) -> Option<Examined> {
        let Decided::Judge(judged) = passing.decided else { return None };
        if !is_instance(passing.interaction) {
            return None;
        }
        let bytes = self.upstream.read(&judged.0).await.ok()??;
        self.examine(std::str::from_utf8(&bytes).ok()?, passing)
    }

    /// C3: a version that would be kept is held back if the current one would be.
    async fn judge_current(&self, passing: &Passing<'_>, examined: &mut Examined) {
        let Decided::Judge(judged) = passing.decided else { return };
        let Some(current) = judged.0.current() else { return };
        if examined.records.is_empty() || !examined.withheld.is_empty() {
            return;
        }
        let Ok(now) = self.upstream.read(&current).await else { return };
        let visible = now
            .as_ref()
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .and_then(|text| ResourceView::parse(text, &self.bases, &self.limits).ok())
            .is_some_and(|view| dropped(current.residual(), &view).is_none());
        if !visible {
            examined.withheld.insert("C3", 1);
        }
    }
}

fn dropped(residual: &Residual, view: &ResourceView) -> Option<&'static str> {
    match judge(residual, view) {
        Verdict::Keep => None,
        Verdict::Drop(rule) => Some(rule),
    }
}

/// The rule by which a record stays that cannot be read.
pub(crate) const fn unreadable(error: ViewError) -> &'static str {
    match error {
        ViewError::Owner => "ROSTER",
        ViewError::Reference => "D4",
        ViewError::Json(_) => "B6",
        ViewError::Shape | ViewError::Type => "TYPE",
    }
}

fn is_instance(interaction: Option<&Interaction>) -> bool {
    matches!(interaction, Some(Interaction::Read { .. } | Interaction::Vread { .. }))
}

/// Whether an answer says that there is something.
fn tells(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::NOT_MODIFIED
}

fn is_empty<B>(held: &Held<B>) -> bool {
    held.whole().is_some_and(Bytes::is_empty)
}

/// Writes into the event how it ended: what enforcement would have done, if it would have done otherwise.
fn settle(
    event: &mut Event,
    decided: &Decided,
    interaction: Option<&Interaction>,
    examined: &Examined,
    opaque: Option<StatusCode>,
    status: StatusCode,
) {
    let instance = is_instance(interaction);
    let most = examined.withheld.iter().max_by_key(|(_, count)| **count).map(|(rule, _)| *rule);
    let drops =
        matches!(interaction, Some(Interaction::Search(search)) if !search.dropped.is_empty());
    let would = match decided {
        Decided::Refuse(fault) => fault.observable(),
        Decided::Capabilities => None,
        Decided::Judge(_) => match most {
            Some(rule) => Some(Refused { rule, status: if instance { 404 } else { 200 } }),
            None => opaque
                .map(|instead| Refused { rule: UNJUDGED, status: instead.as_u16() })
                .or_else(|| drops.then_some(Refused { rule: "D30", status: 200 })),
        },
    };
    if let Some(Refused { rule, status }) = would {
        event.outcome = Outcome::Observed;
        event.action = "observed".into();
        event.rule = Some(rule.into());
        event.body.detail.insert(WOULD_STATUS.into(), status.to_string());
        if !examined.withheld.is_empty() {
            let counts: Vec<String> =
                examined.withheld.iter().map(|(rule, count)| format!("{rule}={count}")).collect();
            event.body.detail.insert(WOULD_WITHHOLD.into(), counts.join(","));
        }
    } else if instance && matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        event.outcome = Outcome::Refused;
        event.action = "refused".into();
        event.rule = Some("NOT-FOUND".into());
    } else if status.is_client_error() || status.is_server_error() {
        event.outcome = Outcome::Failed;
        event.action = "failed".into();
    }
}

/// An answer cut where its records begin, so that it can leave window by window.
fn cut(text: &str, records: Vec<(usize, Released)>) -> Draft {
    let ends: Vec<usize> =
        records.iter().skip(1).map(|(start, _)| *start).chain([text.len()]).collect();
    let slice = |from: usize, to: usize| text.as_bytes().get(from..to).unwrap_or_default().to_vec();
    let head = slice(0, records.first().map_or(text.len(), |(start, _)| *start));
    let records = records
        .into_iter()
        .zip(ends)
        .map(|((start, released), end)| Record { bytes: slice(start, end), released })
        .collect();
    Draft { head, records, tail: Vec::new() }
}

/// Records and releases an answer that is too long to be held: `open`, then `items` before each window.
async fn stream(
    sink: &Arc<dyn EventSink>,
    event: Event,
    begun: Bytes,
    rest: Pin<Box<Incoming>>,
    window: usize,
    patience: Duration,
) -> Result<Response<Body>, Fault> {
    let mut opening = event.clone();
    step(&mut opening, WindowStep::Open, 0, 0);
    note(&**sink, opening).await?;
    let (sender, body) = channel_body();
    let sink = Arc::clone(sink);
    tokio::spawn(async move {
        let mut run = Stream { sink, event, sender, bytes: 0, seq: 1 };
        let complete = run.send(begun, rest, window, patience).await;
        run.close(complete).await;
    });
    Ok(Response::new(body))
}

struct Stream {
    sink: Arc<dyn EventSink>,
    event: Event,
    sender: BodySender,
    bytes: u64,
    seq: u32,
}

impl Stream {
    /// True if everything came, was recorded and was handed on.
    async fn send(
        &mut self,
        begun: Bytes,
        mut rest: Pin<Box<Incoming>>,
        window: usize,
        patience: Duration,
    ) -> bool {
        let mut waiting = BytesMut::from(&begun[..]);
        loop {
            if waiting.len() >= window.max(1) && !self.window(waiting.split().freeze()).await {
                return false;
            }
            match tokio::time::timeout(patience, rest.frame()).await {
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        waiting.extend_from_slice(&data);
                    }
                }
                Ok(None) => return self.window(waiting.freeze()).await,
                Ok(Some(Err(_))) | Err(_) => return false,
            }
        }
    }

    async fn window(&mut self, bytes: Bytes) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let length = bytes.len() as u64;
        let mut items = self.event.clone();
        step(&mut items, WindowStep::Items, self.seq, length);
        if note(&*self.sink, items).await.is_err() {
            return false;
        }
        self.seq = self.seq.saturating_add(1);
        self.bytes = self.bytes.saturating_add(length);
        self.sender.send(bytes).await.is_ok()
    }

    async fn close(self, complete: bool) {
        let mut close = self.event;
        let last = if complete { WindowStep::Complete } else { WindowStep::Aborted };
        step(&mut close, last, self.seq, self.bytes);
        if !complete {
            close.outcome = Outcome::Failed;
        }
        let closed = note(&*self.sink, close).await.is_ok();
        if complete && closed {
            let _ = self.sender.finish().await;
        } else {
            self.sender.abort();
        }
    }
}

/// Makes an event one step of a longer answer.
fn step(event: &mut Event, step: WindowStep, seq: u32, bytes: u64) {
    if let Some(transfer) = &mut event.transfer {
        transfer.bytes = bytes;
        transfer.window = Some(Window { step, seq });
    }
    if seq > 0 {
        super::said_once(event);
    }
}

/// Where a slice of a text stands in it.
fn offset(text: &str, part: &str) -> Option<usize> {
    let at = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    (at <= text.len()).then_some(at)
}

#[derive(Deserialize)]
struct Top<'a> {
    #[serde(rename = "resourceType", borrow)]
    rtype: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(borrow, default)]
    link: Vec<Link<'a>>,
    #[serde(borrow, default)]
    entry: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Link<'a> {
    #[serde(borrow)]
    relation: Option<Cow<'a, str>>,
    #[serde(borrow)]
    url: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, rename = "fullUrl")]
    full_url: Option<&'a RawValue>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow)]
    search: Option<Mode<'a>>,
}

#[derive(Deserialize)]
struct Mode<'a> {
    #[serde(borrow)]
    mode: Option<Cow<'a, str>>,
}

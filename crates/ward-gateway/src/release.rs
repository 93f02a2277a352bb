//! Record before release (rule 3): nothing of an answer reaches the writer before an event that
//! covers it is durable. One event for an answer within one window; a longer one writes `open`, then
//! `items` before each window, then `complete` or `aborted`.
//!
//! If the log fails before anything left, the answer is a 503 and nothing of the records is in it; if
//! it fails later, the body is broken off so that it cannot be taken for complete.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use ward_core::{Clock, Event, EventSink, Limits, Outcome, Released, Transfer, Window, WindowStep};
use ward_net::http::{Body, BodySender, channel_body, empty, full};

use crate::Fault;

/// One record that may leave, with the bytes of the answer that carry it.
pub(crate) struct Record {
    pub(crate) bytes: Vec<u8>,
    pub(crate) released: Released,
}

/// An answer before it is recorded: `head ‖ records ‖ tail`.
pub(crate) struct Draft {
    pub(crate) head: Vec<u8>,
    pub(crate) records: Vec<Record>,
    pub(crate) tail: Vec<u8>,
}

/// Some records that are recorded and leave together.
#[derive(Default)]
struct Portion {
    bytes: Vec<u8>,
    released: Vec<Released>,
}

/// Records an event that carries no data: a refusal.
pub(crate) async fn note(sink: &dyn EventSink, event: Event) -> Result<(), Fault> {
    sink.record(vec![event]).await.map(drop).map_err(|error| {
        tracing::debug!(%error, "the log cannot be written; nothing is released");
        Fault::Log
    })
}

/// Records and releases an answer. `event` is the template of its events. Without a body (HEAD) the
/// answer is one event, since none of its content leaves.
pub(crate) async fn release(
    sink: &Arc<dyn EventSink>,
    clock: &Arc<dyn Clock>,
    limits: &Limits,
    event: Event,
    draft: Draft,
    without_body: bool,
) -> Result<Response<Body>, Fault> {
    let mut portions = portions(draft, limits);
    let mut event = event;
    event.at = clock.now();
    if without_body {
        let released = portions.into_iter().flat_map(|portion| portion.released).collect();
        note(&**sink, covering(event, released, 0, WindowStep::Whole, 0)).await?;
        return Ok(Response::new(empty()));
    }
    if portions.len() <= 1 {
        let whole = portions.pop().unwrap_or_default();
        let bytes = whole.bytes.len() as u64;
        note(&**sink, covering(event, whole.released, bytes, WindowStep::Whole, 0)).await?;
        return Ok(Response::new(full(whole.bytes)));
    }
    note(&**sink, covering(event.clone(), Vec::new(), 0, WindowStep::Open, 0)).await?;
    let (sender, body) = channel_body();
    let (sink, clock) = (Arc::clone(sink), Arc::clone(clock));
    let task = Running { sink, clock, event, bytes: 0, seq: 1 };
    tokio::spawn(task.run(sender, portions));
    Ok(Response::new(body))
}

/// A longer answer on its way.
struct Running {
    sink: Arc<dyn EventSink>,
    clock: Arc<dyn Clock>,
    event: Event,
    bytes: u64,
    seq: u32,
}

impl Running {
    async fn run(mut self, sender: BodySender, portions: Vec<Portion>) {
        let complete = self.send(&sender, portions).await;
        // Each of its events has the time at which it was written.
        self.event.at = self.clock.now();
        let step = if complete { WindowStep::Complete } else { WindowStep::Aborted };
        let mut close = covering(self.event, Vec::new(), self.bytes, step, self.seq);
        if !complete {
            close.outcome = Outcome::Failed;
        }
        // A close that cannot be written leaves the answer open in the log, which counts as left;
        // the caller must not take it for complete either.
        let closed = note(&*self.sink, close).await.is_ok();
        if complete && closed {
            let _ = sender.finish().await;
        } else {
            sender.abort();
        }
    }

    /// True if everything was recorded and handed on.
    async fn send(&mut self, sender: &BodySender, portions: Vec<Portion>) -> bool {
        for portion in portions {
            let length = portion.bytes.len() as u64;
            self.event.at = self.clock.now();
            let released = portion.released;
            let items = covering(self.event.clone(), released, length, WindowStep::Items, self.seq);
            if note(&*self.sink, items).await.is_err() {
                return false;
            }
            self.seq = self.seq.saturating_add(1);
            self.bytes = self.bytes.saturating_add(length);
            if sender.send(Bytes::from(portion.bytes)).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// Cuts an answer into windows, each of at least one record. Depends on what is visible only.
fn portions(draft: Draft, limits: &Limits) -> Vec<Portion> {
    let mut portions = Vec::new();
    let mut current = Portion { bytes: draft.head, released: Vec::new() };
    let octets: usize = draft.records.iter().map(|record| record.bytes.len()).sum();
    let octets = octets.saturating_add(draft.tail.len());
    current.bytes.reserve_exact(octets.min(limits.window_bytes));
    current.released.reserve_exact(draft.records.len().min(limits.window_resources));
    for record in draft.records {
        let full = current.released.len() >= limits.window_resources
            || current.bytes.len().saturating_add(record.bytes.len()) > limits.window_bytes;
        if full && !current.released.is_empty() {
            portions.push(std::mem::take(&mut current));
        }
        current.bytes.extend_from_slice(&record.bytes);
        current.released.push(record.released);
    }
    current.bytes.extend_from_slice(&draft.tail);
    portions.push(current);
    portions
}

/// The event that covers these records, made of its template.
fn covering(
    mut event: Event,
    released: Vec<Released>,
    bytes: u64,
    step: WindowStep,
    seq: u32,
) -> Event {
    let patients: BTreeSet<_> = released.iter().flat_map(|r| &r.owners).collect();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let transfer = event.transfer.take().unwrap_or_default();
    event.transfer = Some(Transfer {
        // What passes as it came has the upstream's own status.
        status: if transfer.status == 0 { StatusCode::OK.as_u16() } else { transfer.status },
        resources: count(released.len()),
        patients: count(patients.len()),
        bytes,
        window: Some(Window { step, seq }),
        ..transfer
    });
    event.body.released = released;
    if seq > 0 {
        // Said once for the answer, not for each of its windows.
        event.body.detail.remove(crate::search::WITHHELD);
        crate::observe::said_once(&mut event);
    }
    event
}

//! What a server counts about itself: connections, handshakes, answers and how long they took.
//!
//! Plain atomic counters, so that this room needs no metrics library; whoever shows them reads a
//! [`ServerSnapshot`]. No label of it comes from a caller.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency buckets, milliseconds; a last bucket takes the rest.
pub const LATENCY_BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 250, 500, 1000, 2500, 10_000];

const BUCKETS: usize = LATENCY_BOUNDS_MS.len() + 1;
/// Answers by class of their status: 2xx, 3xx, 4xx, 5xx.
const CLASSES: usize = 4;

/// Counters of one server. They only grow, but for `open`.
#[derive(Debug, Default)]
pub struct ServerStats {
    accepted: AtomicU64,
    closed: AtomicU64,
    handshakes_failed: AtomicU64,
    requests_http1: AtomicU64,
    requests_http2: AtomicU64,
    abandoned: AtomicU64,
    cut: AtomicU64,
    displaced: AtomicU64,
    classes: [Latency; CLASSES],
}

#[derive(Debug, Default)]
struct Latency {
    buckets: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

/// Answers of one class of status and how long their heads took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LatencySnapshot {
    /// `2xx`, `3xx`, `4xx` or `5xx`.
    pub class: &'static str,
    /// Answers per bucket of [`LATENCY_BOUNDS_MS`], the last one for the rest. Not cumulative.
    pub buckets: [u64; BUCKETS],
    /// Sum of all times, microseconds.
    pub micros: u64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerSnapshot {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that are open.
    pub open: u64,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: u64,
    /// Requests over HTTP/1.1.
    pub requests_http1: u64,
    /// Requests over HTTP/2.
    pub requests_http2: u64,
    /// HTTP/2 requests that their callers took back before the answer was complete.
    pub abandoned: u64,
    /// HTTP/2 connections that were cut because of a bound.
    pub cut: u64,
    /// Idle connections that were closed, or about to be, because others waited for a place.
    pub displaced: u64,
    /// Answers by class of status.
    pub answers: Vec<LatencySnapshot>,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl ServerStats {
    pub(crate) fn accepted(&self) {
        add(&self.accepted);
    }

    pub(crate) fn closed(&self) {
        add(&self.closed);
    }

    pub(crate) fn handshake_failed(&self) {
        add(&self.handshakes_failed);
    }

    pub(crate) fn request(&self, version: http::Version) {
        add(if version == http::Version::HTTP_2 {
            &self.requests_http2
        } else {
            &self.requests_http1
        });
    }

    pub(crate) fn abandoned(&self) {
        add(&self.abandoned);
    }

    pub(crate) fn cut(&self) {
        add(&self.cut);
    }

    pub(crate) fn displaced(&self) {
        add(&self.displaced);
    }

    pub(crate) fn answered(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).saturating_sub(2).min(CLASSES - 1);
        let Some(latency) = self.classes.get(class) else { return };
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        // A time of 1.2 ms is above the bound of 1 ms.
        let over = |bound: u64| {
            millis > bound || (millis == bound && !took.subsec_nanos().is_multiple_of(1_000_000))
        };
        let at = LATENCY_BOUNDS_MS.iter().take_while(|bound| over(**bound)).count();
        if let Some(bucket) = latency.buckets.get(at) {
            add(bucket);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        latency.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// The counters now.
    pub fn snapshot(&self) -> ServerSnapshot {
        let accepted = get(&self.accepted);
        ServerSnapshot {
            accepted,
            open: accepted.saturating_sub(get(&self.closed)),
            handshakes_failed: get(&self.handshakes_failed),
            requests_http1: get(&self.requests_http1),
            requests_http2: get(&self.requests_http2),
            abandoned: get(&self.abandoned),
            cut: get(&self.cut),
            displaced: get(&self.displaced),
            answers: ["2xx", "3xx", "4xx", "5xx"]
                .into_iter()
                .zip(&self.classes)
                .map(|(class, latency)| LatencySnapshot {
                    class,
                    buckets: std::array::from_fn(|at| latency.buckets.get(at).map_or(0, get)),
                    micros: get(&latency.micros),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_the_bucket_that_bounds_them() {
        let stats = ServerStats::default();
        for (status, micros) in [(200, 0), (200, 1000), (204, 1001), (404, 5000), (503, 60_000_000)]
        {
            stats.answered(status, Duration::from_micros(micros));
        }
        let answers = stats.snapshot().answers;
        assert_eq!(answers[0].buckets[..3], [2, 1, 0]);
        assert_eq!(answers[0].micros, 2001);
        assert_eq!(answers[2].buckets[2], 1);
        assert_eq!(answers[3].buckets[BUCKETS - 1], 1);
    }
}

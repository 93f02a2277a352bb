//! Places for connections (rule 12), and who gives way when all are taken: the connection that has waited longest
//! without a request under way. So a crowd that connects and says nothing keeps nobody out.
//!
//! What is idle may be closed at any time (RFC 9112 §9.5); a request is never cut to make room before its
//! answer was handed to the connection; after that its caller has [`LINGER`] to take the rest of it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::http::{Body, BoxError};
use crate::stats::ServerStats;

/// Who was asked to leave and does not, is not waited for longer than this before the next is asked.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long a connection that was asked to leave may go on sending what it has.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// All places of one server.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    seats: Mutex<BTreeMap<u64, Arc<Seat>>>,
    turns: Turns,
}

/// What all seats of a server share.
#[derive(Debug, Clone)]
struct Turns {
    /// Counts whoever falls idle, so that the longest idle can be told.
    next: Arc<AtomicU64>,
    /// Somebody waits, and nobody was idle: the next who falls idle leaves.
    wanted: Arc<AtomicBool>,
    stats: Arc<ServerStats>,
}

/// One connection's place; free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    seat: Arc<Seat>,
    _free: OwnedSemaphorePermit,
}

/// What a connection does, as far as it matters for its place.
#[derive(Debug)]
pub(crate) struct Seat {
    under_way: AtomicUsize,
    idle_since: AtomicU64,
    leaving: AtomicBool,
    leave: Notify,
    turns: Turns,
}

/// A request under way. The connection keeps its place as long as there is one.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Seat>);

impl Places {
    pub(crate) fn new(count: usize, stats: Arc<ServerStats>) -> Arc<Self> {
        let turns = Turns { next: Arc::default(), wanted: Arc::default(), stats };
        let free = Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { free, seats: Mutex::default(), turns })
    }

    /// Waits for a place; if there is none, asks the longest idle connection to leave.
    pub(crate) async fn take(self: &Arc<Self>) -> Option<Place> {
        let free = loop {
            if let Ok(free) = Arc::clone(&self.free).try_acquire_owned() {
                break free;
            }
            self.make_room();
            let freed = Arc::clone(&self.free).acquire_owned();
            if let Ok(freed) = tokio::time::timeout(PATIENCE, freed).await {
                break freed.ok()?;
            }
        };
        self.turns.wanted.store(false, Ordering::SeqCst);
        let number = self.turns.next.fetch_add(1, Ordering::SeqCst);
        let seat = Arc::new(Seat {
            under_way: AtomicUsize::new(0),
            idle_since: AtomicU64::new(number),
            leaving: AtomicBool::new(false),
            leave: Notify::new(),
            turns: self.turns.clone(),
        });
        self.seats().insert(number, Arc::clone(&seat));
        Some(Place { places: Arc::clone(self), number, seat, _free: free })
    }

    /// Asks the longest idle connection to leave, or whoever falls idle next.
    fn make_room(&self) {
        self.turns.wanted.store(true, Ordering::SeqCst);
        let seats = self.seats();
        let idle =
            seats.values().filter(|seat| seat.is_idle() && !seat.leaving.load(Ordering::SeqCst));
        if let Some(seat) = idle.min_by_key(|seat| seat.idle_since.load(Ordering::SeqCst)) {
            self.turns.wanted.store(false, Ordering::SeqCst);
            seat.ask_to_leave();
        }
    }

    fn seats(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(crate) fn seat(&self) -> Arc<Seat> {
        Arc::clone(&self.seat)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.seats().remove(&self.number);
    }
}

impl Seat {
    /// Resolves when the connection should close, because others wait.
    pub(crate) async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }

    /// Resolves when a connection that was asked to leave has had its time and is idle.
    pub(crate) async fn overstays(&self) {
        loop {
            tokio::time::sleep(LINGER).await;
            if self.is_idle() {
                return;
            }
        }
    }

    /// Whether no request is under way. The last octets of an answer may still be in a buffer.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0
    }

    fn ask_to_leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
        self.turns.stats.displaced();
        self.leave.notify_one();
    }

    /// A request begins; it is under way until what this returns is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        Busy(Arc::clone(self))
    }
}

impl Busy {
    /// The answer's body, which keeps the request under way until it is sent or dropped.
    pub(crate) fn with(self, body: Body) -> Body {
        http_body_util::BodyExt::boxed(Sending { body, _busy: self })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let seat = &self.0;
        let now = seat.turns.next.fetch_add(1, Ordering::SeqCst);
        seat.idle_since.store(now, Ordering::SeqCst);
        let last = seat.under_way.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && seat.turns.wanted.swap(false, Ordering::SeqCst) {
            seat.ask_to_leave();
        }
    }
}

/// An answer on its way.
struct Sending {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_mins(1), future).await.expect(what)
    }

    /// The longest idle is not who came first: a request makes a connection young again.
    #[tokio::test]
    async fn who_asked_last_leaves_last() {
        let stats = Arc::<ServerStats>::default();
        let places = Places::new(2, Arc::clone(&stats));
        let (first, second) = (places.take().await.unwrap(), places.take().await.unwrap());
        drop(first.seat().begin());
        let third = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take().await }
        });
        within("the longest idle is asked to leave", second.seat().asked_to_leave()).await;
        assert!(!first.seat().leaving.load(Ordering::SeqCst));
        drop(second);
        assert!(within("its place is taken", third).await.unwrap().is_some());
        assert_eq!(stats.snapshot().displaced, 1);
    }

    /// Who was asked and stays does not keep others waiting: the next is asked, and each once.
    #[tokio::test]
    async fn who_does_not_leave_is_passed_over() {
        let stats = Arc::<ServerStats>::default();
        let places = Places::new(3, Arc::clone(&stats));
        let (first, second) = (places.take().await.unwrap(), places.take().await.unwrap());
        let busy = places.take().await.unwrap();
        let request = busy.seat().begin();
        let fourth = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take().await }
        });
        within("the first", first.seat().asked_to_leave()).await;
        within("then the second", second.seat().asked_to_leave()).await;
        assert_eq!(stats.snapshot().displaced, 2);
        assert!(!busy.seat().leaving.load(Ordering::SeqCst), "a request is under way");
        // Nobody is idle who was not asked: whoever falls idle is next.
        tokio::time::sleep(PATIENCE * 2).await;
        drop(request);
        within("who falls idle", busy.seat().asked_to_leave()).await;
        drop(busy);
        assert!(within("a place", fourth).await.unwrap().is_some());
    }
}

//! The bounded queue between the callers and the writer's thread: callers wait asynchronously for room, the writer
//! sleeps until there is work. Nothing is ever dropped.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use ward_core::{Event, Receipt, SinkError};

use crate::Hash;
use crate::leaf::Entry;

/// Sealed octets that one place in the queue stands for, so that the queue is bounded in octets too.
const OCTETS_PER_PLACE: usize = 64 * 1024;
/// Jobs that are a crowd.
const CROWD: usize = 3;
/// Octets after which a commit takes no further job.
const COMMIT_OCTETS: usize = 8 * 1024 * 1024;

/// Entries to be written next to each other.
pub(crate) struct Append {
    pub(crate) entries: Vec<(Entry, Event)>,
    pub(crate) reply: oneshot::Sender<Result<Receipt, SinkError>>,
    /// Gives the places back once the job is done.
    pub(crate) _places: OwnedSemaphorePermit,
}

impl Append {
    fn octets(&self) -> usize {
        self.entries.iter().map(|(entry, _)| entry.sealed.len() + entry.leaf.len()).sum()
    }
}

/// A wish for a signed checkpoint of all that is durable.
pub(crate) type Sign = oneshot::Sender<Result<String, SinkError>>;

enum Job {
    Append(Append),
    Sign(Sign),
}

/// What the writer has to do next.
pub(crate) enum Work {
    /// Write these in one commit.
    Commit(Vec<Append>),
    /// Sign a checkpoint.
    Sign(Sign),
    /// The time that the writer wanted to wait has passed without a job.
    Idle,
    /// The log is being closed and everything is done.
    Close,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    closing: bool,
    /// The writer sleeps until so many jobs wait; 0 while it works.
    wakes_at: usize,
}

/// What the writer and the callers share.
pub(crate) struct Shared {
    jobs: Mutex<Jobs>,
    wake: Condvar,
    places: Arc<Semaphore>,
    bound: usize,
    /// Durable entries.
    pub(crate) size: AtomicU64,
    /// Highest outbox place among them.
    pub(crate) outbox_high: AtomicU64,
    /// The newest signed tree that is durable: entries and root.
    signed: Mutex<Option<(u64, Hash)>>,
    /// Why the last commit failed.
    trouble: Mutex<Option<String>>,
    /// Commits that were synced, and how long their syncs took, microseconds.
    pub(crate) commits: AtomicU64,
    pub(crate) sync_micros: AtomicU64,
}

/// What a log counts about itself since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Durable entries, of earlier runs too.
    pub entries: u64,
    /// Commits, each with one sync.
    pub commits: u64,
    /// Time that those syncs took in all, microseconds.
    pub sync_micros: u64,
    /// Places of the queue that are taken.
    pub queued: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn closed() -> SinkError {
    SinkError::Unwritable("the log is closed".into())
}

impl Shared {
    pub(crate) fn new(bound: usize, size: u64, outbox_high: u64) -> Self {
        let bound = bound.clamp(1, u32::MAX as usize >> 4);
        Self {
            jobs: Mutex::default(),
            wake: Condvar::new(),
            places: Arc::new(Semaphore::new(bound)),
            bound,
            size: AtomicU64::new(size),
            outbox_high: AtomicU64::new(outbox_high),
            signed: Mutex::default(),
            trouble: Mutex::default(),
            commits: AtomicU64::new(0),
            sync_micros: AtomicU64::new(0),
        }
    }

    pub(crate) fn stats(&self) -> LogStats {
        LogStats {
            entries: self.size(),
            commits: self.commits.load(Ordering::Relaxed),
            sync_micros: self.sync_micros.load(Ordering::Relaxed),
            queued: self.bound.saturating_sub(self.places.available_permits()),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(crate) fn outbox_high(&self) -> u64 {
        self.outbox_high.load(Ordering::Acquire)
    }

    pub(crate) fn signed(&self) -> Option<(u64, Hash)> {
        *lock(&self.signed)
    }

    pub(crate) fn set_signed(&self, size: u64, root: Hash) {
        *lock(&self.signed) = Some((size, root));
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// Sets or clears the trouble; tells whether that is news.
    pub(crate) fn set_trouble(&self, cause: Option<&str>) -> bool {
        let mut trouble = lock(&self.trouble);
        let news = trouble.is_some() != cause.is_some();
        if trouble.as_deref() != cause {
            *trouble = cause.map(str::to_owned);
        }
        news
    }

    /// Waits for room, hands the entries over, and waits until they are durable.
    pub(crate) async fn append(&self, entries: Vec<(Entry, Event)>) -> Result<Receipt, SinkError> {
        let octets = entries.iter().map(|(entry, _)| entry.sealed.len());
        let places = self.reserve(octets).await?;
        self.append_in(places, entries).await
    }

    /// Waits for room for entries of so many octets each. Callers that take it before they seal bound the octets of
    /// what is sealed and waits, however many they are.
    pub(crate) async fn reserve(
        &self,
        octets: impl Iterator<Item = usize>,
    ) -> Result<OwnedSemaphorePermit, SinkError> {
        let weight: usize = octets.map(|octets| 1 + octets / OCTETS_PER_PLACE).sum();
        let weight = u32::try_from(weight.clamp(1, self.bound)).unwrap_or(1);
        Arc::clone(&self.places).acquire_many_owned(weight).await.map_err(|_| closed())
    }

    /// Hands entries over in the room that was reserved for them, and waits until they are durable.
    pub(crate) async fn append_in(
        &self,
        places: OwnedSemaphorePermit,
        entries: Vec<(Entry, Event)>,
    ) -> Result<Receipt, SinkError> {
        let (reply, answer) = oneshot::channel();
        self.put(Job::Append(Append { entries, reply, _places: places }))?;
        answer.await.map_err(|_| closed())?
    }

    pub(crate) async fn sign(&self) -> Result<String, SinkError> {
        let (reply, answer) = oneshot::channel();
        self.put(Job::Sign(reply))?;
        answer.await.map_err(|_| closed())?
    }

    fn put(&self, job: Job) -> Result<(), SinkError> {
        let mut jobs = lock(&self.jobs);
        if jobs.closing {
            return Err(closed());
        }
        if matches!(job, Job::Sign(_)) {
            jobs.wakes_at = jobs.wakes_at.min(1);
        }
        jobs.waiting.push_back(job);
        let wake = jobs.wakes_at > 0 && jobs.waiting.len() >= jobs.wakes_at;
        drop(jobs);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    pub(crate) fn is_closing(&self) -> bool {
        lock(&self.jobs).closing
    }

    /// No further jobs; the writer ends after those that wait.
    pub(crate) fn close(&self) {
        lock(&self.jobs).closing = true;
        self.places.close();
        self.wake.notify_one();
    }

    /// The writer has ended, in whatever way: nobody waits for it in vain.
    pub(crate) fn abandon(&self) {
        self.close();
        lock(&self.jobs).waiting.clear();
        self.set_trouble(Some("the log is closed"));
    }

    /// Sleeps until so many jobs wait, or at most `patience`.
    fn sleep<'a>(
        &self,
        mut jobs: MutexGuard<'a, Jobs>,
        until: usize,
        patience: Option<Duration>,
    ) -> MutexGuard<'a, Jobs> {
        let idle = |jobs: &mut Jobs| jobs.waiting.len() < jobs.wakes_at && !jobs.closing;
        jobs.wakes_at = until;
        let mut jobs = match patience {
            None => self.wake.wait_while(jobs, idle).unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                self.wake
                    .wait_timeout_while(jobs, patience, idle)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        jobs.wakes_at = 0;
        jobs
    }

    /// The next work; sleeps until there is some, or at most `patience`. If a crowd waits, more are on their way: they
    /// are waited for, until there are twice as many or at most for `gathering`, so that one sync serves more. A job that
    /// is alone goes at once.
    pub(crate) fn next(&self, patience: Option<Duration>, gathering: Duration) -> Work {
        let mut jobs = self.sleep(lock(&self.jobs), 1, patience);
        let crowd = jobs.waiting.len();
        if crowd >= CROWD && !jobs.waiting.iter().any(|job| matches!(job, Job::Sign(_))) {
            jobs = self.sleep(jobs, crowd * 2, Some(gathering));
        }
        let (mut commit, mut octets) = (Vec::new(), 0);
        while octets < COMMIT_OCTETS {
            match jobs.waiting.pop_front() {
                Some(Job::Append(append)) => {
                    octets += append.octets();
                    commit.push(append);
                }
                Some(Job::Sign(sign)) if commit.is_empty() => return Work::Sign(sign),
                Some(job) => {
                    jobs.waiting.push_front(job);
                    break;
                }
                None => break,
            }
        }
        match (commit.is_empty(), jobs.closing) {
            (false, _) => Work::Commit(commit),
            (true, true) => Work::Close,
            (true, false) => Work::Idle,
        }
    }
}

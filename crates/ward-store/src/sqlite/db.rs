//! The threads that own the connections: one writer with group commit, a few readers.
//!
//! The writer takes all changes that wait (up to a bound), runs each in its own savepoint so that one
//! that fails undoes only itself, and commits them with one fsync (`synchronous=FULL`). Changes keep
//! the order in which they were queued. What must be true in memory once a change is durable runs on
//! the writer too, before the caller hears of it, and even if the caller has gone. Where several wait, others get as long
//! as a commit takes to join them; one alone goes at once. What may wait for a commit of others goes along as a [`Rider`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;

/// Changes in one transaction at most; bounds how long the first of them waits.
const BATCH: usize = 256;

/// Changes that are a crowd.
const CROWD: usize = 3;
/// The longest that a commit waits for others to join it.
const LONGEST_GATHERING: Duration = Duration::from_micros(500);
/// How long a rider waits at most for a commit of others.
const LONGEST_RIDE: Duration = Duration::from_millis(100);

/// The machine's own time, to measure how long a commit takes; nothing is decided by it.
#[expect(
    clippy::disallowed_methods,
    reason = "measures the disk; the injected clock can be set back"
)]
fn monotonic() -> std::time::Instant {
    std::time::Instant::now()
}

/// Work that nobody waits for, and that is put off until a commit of others takes it along.
pub(super) trait Rider: Send + Sync {
    /// Does what is due, if anything is, within the transaction.
    fn ride(&self, db: &Connection) -> Result<(), StoreError>;
    /// It is durable.
    fn landed(&self);
    /// Whether anything is due.
    fn is_due(&self) -> bool;
}

/// One queued change.
trait Change: Send {
    /// Does the work; `false` if it is to be undone.
    fn run(&mut self, db: &Connection) -> bool;
    /// Tells how the transaction around it ended.
    fn finish(self: Box<Self>, committed: Result<(), &str>);
}

struct Task<T, W, A> {
    work: Option<W>,
    after: A,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, W, A> Change for Task<T, W, A>
where
    T: Send,
    W: FnOnce(&Connection) -> Result<T, StoreError> + Send,
    A: FnOnce(&T) + Send,
{
    fn run(&mut self, db: &Connection) -> bool {
        self.outcome = self.work.take().map(|work| work(db));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn finish(self: Box<Self>, committed: Result<(), &str>) {
        let Self { after, outcome, reply, .. } = *self;
        let result = match (outcome, committed) {
            (Some(Ok(value)), Ok(())) => {
                after(&value);
                Ok(value)
            }
            (Some(Err(error)), _) => Err(error),
            (_, Err(why)) => Err(StoreError::Unavailable(why.to_owned())),
            (None, Ok(())) => Err(StoreError::Unavailable("the change did not run".to_owned())),
        };
        // The caller may have gone; the change stands all the same.
        let _ = reply.send(result);
    }
}

type Query = Box<dyn FnOnce(&Connection) + Send>;

/// The way to the connections. Dropping it ends the threads and waits for them.
pub(super) struct Db {
    /// Whether a commit for the rider alone is on its way.
    called: Arc<AtomicBool>,
    changes: Option<mpsc::Sender<Box<dyn Change>>>,
    queries: Option<mpsc::Sender<Query>>,
    readers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
}

impl Db {
    /// Starts the threads. `queue` bounds what waits; a full queue slows callers, nothing is dropped.
    pub(super) fn start(
        writer: Connection,
        readers: Vec<Connection>,
        queue: usize,
        rider: Arc<dyn Rider>,
    ) -> Result<Self, StoreError> {
        let (changes, waiting) = mpsc::channel(queue.max(1));
        let (queries, asked) = mpsc::channel(queue.max(1));
        let asked = Arc::new(Mutex::new(asked));
        let readers = readers
            .into_iter()
            .map(|reader| {
                let asked = Arc::clone(&asked);
                spawn("ward-store-read", move || read(&reader, &asked))
            })
            .collect::<Result<_, _>>()?;
        let writer = Some(spawn("ward-store-write", move || write(&writer, waiting, &*rider))?);
        let called = Arc::default();
        Ok(Self { called, changes: Some(changes), queries: Some(queries), readers, writer })
    }

    /// Queues a change and waits until it is durable. `after` runs on the writer once it is.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        after: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let task = Box::new(Task { work: Some(work), after, outcome: None, reply });
        let changes = self.changes.as_ref().ok_or_else(stopped)?;
        changes.send(task).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Sees to it that the rider goes: with a commit of others, or soon by itself.
    pub(super) async fn call_rider(&self) -> Result<(), StoreError> {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return self.change(|_| Ok(()), |()| ()).await;
        };
        if self.called.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // Weak: what is put off keeps nothing open; the writer takes it along when it ends.
        let changes = self.changes.as_ref().ok_or_else(stopped)?.downgrade();
        let called = Arc::clone(&self.called);
        runtime.spawn(async move {
            tokio::time::sleep(LONGEST_RIDE).await;
            called.store(false, Ordering::Release);
            if let Some(changes) = changes.upgrade() {
                let (reply, _) = oneshot::channel();
                let nothing = |_: &Connection| Ok(());
                let after = |(): &()| ();
                let task = Task { work: Some(nothing), after, outcome: None, reply };
                // The writer has ended: it took the rider along.
                let _ = changes.send(Box::new(task)).await;
            }
        });
        Ok(())
    }

    /// Runs a query, or other work that would hold up a caller's thread, on a reader.
    pub(super) async fn query<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let query: Query = Box::new(move |db| {
            let _ = reply.send(work(db));
        });
        let queries = self.queries.as_ref().ok_or_else(stopped)?;
        queries.send(query).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        // The readers first: only a writer that is the last to close folds the WAL into the database.
        self.queries = None;
        for reader in self.readers.drain(..) {
            // A thread that panicked has nothing more to say; its callers were told.
            let _ = reader.join();
        }
        self.changes = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the store has stopped".to_owned())
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| StoreError::Unavailable(format!("no thread for the store: {error}")))
}

fn read(db: &Connection, asked: &Mutex<mpsc::Receiver<Query>>) {
    loop {
        // The lock is held while waiting: one idle reader waits for work, the others for it.
        let next = asked.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(query) = next else { return };
        query(db);
    }
}

fn write(db: &Connection, mut waiting: mpsc::Receiver<Box<dyn Change>>, rider: &dyn Rider) {
    let mut taking = Duration::ZERO;
    while let Some(first) = waiting.blocking_recv() {
        let mut batch = vec![first];
        let gather = |batch: &mut Vec<_>, waiting: &mut mpsc::Receiver<_>| {
            while batch.len() < BATCH
                && let Ok(next) = waiting.try_recv()
            {
                batch.push(next);
            }
        };
        gather(&mut batch, &mut waiting);
        if batch.len() >= CROWD {
            thread::sleep(taking.min(LONGEST_GATHERING));
            gather(&mut batch, &mut waiting);
        }
        let began = monotonic();
        let committed = commit(db, &mut batch, rider).map_err(|error| {
            tracing::error!(%error, changes = batch.len(), "the store could not commit");
            error.to_string()
        });
        taking = (taking * 7 + began.elapsed()) / 8;
        for change in batch {
            change.finish(committed.as_ref().copied().map_err(String::as_str));
        }
    }
    if rider.is_due()
        && let Err(error) = commit(db, &mut [], rider)
    {
        tracing::warn!(%error, "what was put off is done when the store is opened again");
    }
}

fn commit(
    db: &Connection,
    batch: &mut [Box<dyn Change>],
    rider: &dyn Rider,
) -> Result<(), rusqlite::Error> {
    let step = |sql| db.prepare_cached(sql)?.execute([]).map(|_| ());
    let result = (|| {
        step("BEGIN IMMEDIATE")?;
        for change in batch {
            step("SAVEPOINT change")?;
            if !change.run(db) {
                // Fails, and with it the batch, if SQLite gave up the whole transaction (disk full).
                step("ROLLBACK TO change")?;
            }
            step("RELEASE change")?;
        }
        if rider.is_due() {
            step("SAVEPOINT change")?;
            if let Err(error) = rider.ride(db) {
                tracing::warn!(%error, "what was put off is tried again with the next commit");
                step("ROLLBACK TO change")?;
            }
            step("RELEASE change")?;
        }
        step("COMMIT")
    })();
    if result.is_ok() {
        rider.landed();
    }
    if result.is_err() && !db.is_autocommit() {
        // If this fails too, the next BEGIN fails and says so.
        let _ = step("ROLLBACK");
    }
    result
}

#[cfg(test)]
mod tests {
    use ward_core::BoxFuture;

    use super::*;

    fn open() -> Db {
        let writer = Connection::open_in_memory().unwrap();
        writer.execute_batch("CREATE TABLE t (x INTEGER PRIMARY KEY, at INTEGER)").unwrap();
        Db::start(writer, vec![Connection::open_in_memory().unwrap()], 64, Arc::new(Nobody))
            .unwrap()
    }

    struct Nobody;

    impl Rider for Nobody {
        fn ride(&self, _: &Connection) -> Result<(), StoreError> {
            Ok(())
        }

        fn landed(&self) {}

        fn is_due(&self) -> bool {
            false
        }
    }

    fn insert(db: &Connection, x: i64) -> Result<(), StoreError> {
        db.execute("INSERT INTO t (x, at) VALUES (?, (SELECT count(*) FROM t))", [x])?;
        Ok(())
    }

    #[tokio::test]
    async fn group_commit_keeps_the_order_and_a_failing_change_undoes_only_itself() {
        let db = open();
        // Holds the writer, so that what follows is queued into one batch.
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let hold = db.change(
            move |_| {
                wait.recv().map_err(|_| stopped())?;
                Ok(())
            },
            |()| (),
        );
        let mut queued: Vec<BoxFuture<'_, Result<(), StoreError>>> = vec![Box::pin(hold)];
        for x in 0..40 {
            queued.push(Box::pin(db.change(
                move |db| {
                    insert(db, x)?;
                    if x % 3 == 0 { Err(StoreError::Conflict) } else { Ok(()) }
                },
                |()| (),
            )));
        }
        // Polled once each, in order: they are in the queue.
        for change in &mut queued {
            let mut polled = std::pin::pin!(change.as_mut());
            std::future::poll_fn(|context| {
                assert!(polled.as_mut().poll(context).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
        }
        go.send(()).unwrap();
        for (at, change) in queued.into_iter().enumerate() {
            let x = i64::try_from(at).unwrap() - 1;
            assert_eq!(change.await.is_err(), x >= 0 && x % 3 == 0, "{x}");
        }
        let rows: Vec<i64> = db
            .change(
                |db| {
                    let mut rows = db.prepare("SELECT x FROM t ORDER BY at")?;
                    Ok(rows.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
                },
                |_| (),
            )
            .await
            .unwrap();
        assert_eq!(rows, (0..40).filter(|x| x % 3 != 0).collect::<Vec<_>>());
    }

    /// Counts what it did, and fails the first time.
    #[derive(Default)]
    struct Counting {
        wanted: std::sync::atomic::AtomicI64,
        rode: std::sync::atomic::AtomicI64,
        done: std::sync::atomic::AtomicI64,
        failed: AtomicBool,
    }

    impl Rider for Counting {
        fn ride(&self, db: &Connection) -> Result<(), StoreError> {
            let wanted = self.wanted.load(Ordering::SeqCst);
            if wanted > self.done.load(Ordering::SeqCst) {
                insert(db, 1000 + wanted)?;
                if !self.failed.swap(true, Ordering::SeqCst) {
                    return Err(StoreError::Conflict);
                }
                self.rode.store(wanted, Ordering::SeqCst);
            }
            Ok(())
        }

        fn landed(&self) {
            self.done.store(self.rode.load(Ordering::SeqCst), Ordering::SeqCst);
        }

        fn is_due(&self) -> bool {
            self.wanted.load(Ordering::SeqCst) > self.done.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn what_is_put_off_goes_with_others_soon_by_itself_and_at_the_end() {
        let file = std::env::temp_dir().join(format!("ward-rider-{}", std::process::id()));
        let _ = std::fs::remove_file(&file);
        let writer = Connection::open(&file).unwrap();
        writer.execute_batch("CREATE TABLE t (x INTEGER PRIMARY KEY, at INTEGER)").unwrap();
        let rider = Arc::new(Counting::default());
        let db = Db::start(writer, vec![], 64, rider.clone()).unwrap();
        // With others: the first time it fails, and takes nobody down; then it goes.
        rider.wanted.store(1, Ordering::SeqCst);
        db.change(|db| insert(db, 1), |()| ()).await.unwrap();
        assert!(rider.is_due(), "it failed");
        db.change(|db| insert(db, 2), |()| ()).await.unwrap();
        assert!(!rider.is_due());
        // By itself, once for many calls.
        rider.wanted.store(2, Ordering::SeqCst);
        for _ in 0..10 {
            db.call_rider().await.unwrap();
        }
        for _ in 0..3000 {
            if !rider.is_due() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!rider.is_due());
        // And when the store closes, without waiting for its time.
        rider.wanted.store(3, Ordering::SeqCst);
        db.call_rider().await.unwrap();
        drop(db);
        assert!(!rider.is_due());
        let rows: i64 = Connection::open(&file)
            .unwrap()
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 5);
        let _ = std::fs::remove_file(&file);
    }

    #[tokio::test]
    async fn a_change_takes_effect_though_its_caller_has_gone() {
        let db = open();
        let (told, heard) = std::sync::mpsc::channel();
        {
            let mut change =
                Box::pin(db.change(|db| insert(db, 1), move |()| told.send(1).unwrap()));
            std::future::poll_fn(|context| {
                let _ = change.as_mut().poll(context);
                std::task::Poll::Ready(())
            })
            .await;
        }
        assert_eq!(heard.recv().unwrap(), 1);
    }

    #[tokio::test]
    async fn a_batch_that_sqlite_gives_up_tells_every_caller() {
        let db = open();
        let broken = db.change(
            |db| {
                insert(db, 1)?;
                db.execute_batch("ROLLBACK")?;
                Ok(())
            },
            |()| panic!("not durable"),
        );
        assert!(matches!(broken.await, Err(StoreError::Unavailable(_))));
        db.change(|db| insert(db, 1), |()| ()).await.unwrap();
    }
}

//! The threads that own the connections: one writer with group commit, a few readers.
//!
//! The writer takes all changes that wait (up to a bound), runs each in its own savepoint so that one
//! that fails undoes only itself, and commits them with one fsync (`synchronous=FULL`). Changes keep
//! the order in which they were queued. What must be true in memory once a change is durable runs on
//! the writer too, before the caller hears of it, and even if the caller has gone.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;

/// Changes in one transaction at most; bounds how long the first of them waits.
const BATCH: usize = 256;

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
        let writer = Some(spawn("ward-store-write", move || write(&writer, waiting))?);
        Ok(Self { changes: Some(changes), queries: Some(queries), readers, writer })
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

fn write(db: &Connection, mut waiting: mpsc::Receiver<Box<dyn Change>>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        let committed = commit(db, &mut batch).map_err(|error| {
            tracing::error!(%error, changes = batch.len(), "the store could not commit");
            error.to_string()
        });
        for change in batch {
            change.finish(committed.as_ref().copied().map_err(String::as_str));
        }
    }
}

fn commit(db: &Connection, batch: &mut [Box<dyn Change>]) -> Result<(), rusqlite::Error> {
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
        step("COMMIT")
    })();
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
        Db::start(writer, vec![Connection::open_in_memory().unwrap()], 64).unwrap()
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

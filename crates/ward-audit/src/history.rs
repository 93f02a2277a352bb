//! The log read back by index, for detection and response (rule 7): a batch at a time, off the runtime, opening
//! the bodies that are wanted and no others.
//!
//! A destroyed key is no fault: its events come with an empty body. So do those whose body is not what the leaf
//! commits to, with an alarm, since an event that is not seen helps an attacker more than one that is seen in part.
//! Only a log or a vault that cannot be read now is an error, and worth another try.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ward_core::{Batch, BoxFuture, EventBody, History, Recorded, Timestamp, VaultError, Wants};

use crate::{BodyError, Leaf, Log, LogError, Reader};

/// Leaves looked at for one batch.
const LOOK: u64 = 8192;
/// Sealed octets after which a batch takes no further event.
const OCTETS: usize = 4 * 1024 * 1024;
/// Readers kept for those who are in the middle of the log; each may hold a segment in memory.
const READERS: usize = 2;
/// After a failure, so that who tries again at once does not spin.
const PAUSE: Duration = Duration::from_millis(100);

/// The log, read back.
pub struct LogHistory {
    log: Arc<Log>,
    /// Readers with the index that they are expected to go on from.
    readers: Mutex<Vec<(u64, Arc<Reader>)>>,
}

/// What was read of a batch before its bodies are opened.
struct Raw {
    entries: Vec<(u64, Leaf, Vec<u8>)>,
    next: u64,
}

impl LogHistory {
    /// Over an open log.
    pub fn new(log: Arc<Log>) -> Self {
        Self { log, readers: Mutex::default() }
    }

    fn take(&self, from: u64) -> Option<Arc<Reader>> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let at = readers.iter().position(|(next, _)| *next == from)?;
        Some(readers.swap_remove(at).1)
    }

    fn keep(&self, next: u64, reader: Arc<Reader>) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() >= READERS {
            readers.remove(0);
        }
        readers.push((next, reader));
    }

    async fn batch(&self, from: u64, limit: usize, wants: Wants) -> Result<Batch, String> {
        // What is on disk beyond it is not durable yet.
        let durable = self.log.size();
        if from >= durable {
            return Ok(Batch { events: Vec::new(), next: from });
        }
        let (log, known) = (Arc::clone(&self.log), self.take(from));
        let (reader, raw) = blocking(move || {
            let reader = match known.filter(|reader| reader.size() > from) {
                Some(reader) => reader,
                None => Arc::new(log.reader()?),
            };
            let raw = look(&reader, from, durable, limit, wants)?;
            Ok((reader, raw))
        })
        .await?;
        let mut events = Vec::with_capacity(raw.entries.len());
        for (index, leaf, sealed) in raw.entries {
            let body = body(index, reader.unseal(index, &leaf, &sealed).await)?;
            events.push(Recorded { index, event: leaf.event(body) });
        }
        if raw.next < durable {
            self.keep(raw.next, reader);
        }
        Ok(Batch { events, next: raw.next })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("the log is closed".to_owned()),
    }
}

fn look(
    reader: &Reader,
    from: u64,
    durable: u64,
    limit: usize,
    wants: Wants,
) -> Result<Raw, LogError> {
    let end = durable.min(reader.size()).min(from.saturating_add(LOOK));
    let (mut entries, mut octets, mut next) = (Vec::new(), 0, from);
    while next < end && entries.len() < limit.max(1) && octets < OCTETS {
        if wants(reader.leaf(next)?.kind) {
            let (leaf, sealed) = reader.sealed(next)?;
            octets += sealed.len();
            entries.push((next, leaf, sealed));
        }
        next += 1;
    }
    Ok(Raw { entries, next })
}

fn body(index: u64, opened: Result<EventBody, BodyError>) -> Result<EventBody, String> {
    match opened {
        Ok(body) => Ok(body),
        Err(BodyError::Destroyed) => Ok(EventBody::default()),
        Err(error @ (BodyError::Altered(_) | BodyError::Vault(VaultError::Unknown))) => {
            tracing::error!(entry = index, %error, "a body of the log does not open; going on without it");
            Ok(EventBody::default())
        }
        Err(error) => Err(error.to_string()),
    }
}

impl History for LogHistory {
    fn first_since(&self, since: Timestamp) -> BoxFuture<'_, Result<u64, String>> {
        let log = Arc::clone(&self.log);
        Box::pin(blocking(move || log.first_since(since)))
    }

    fn read(&self, from: u64, limit: usize, wants: Wants) -> BoxFuture<'_, Result<Batch, String>> {
        Box::pin(async move {
            let batch = self.batch(from, limit, wants).await;
            if batch.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
            batch
        })
    }
}

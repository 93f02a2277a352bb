//! Servers of lists and answers that misbehave: silent, dripping, endless, broken off, sending elsewhere.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use ward_core::BoxFuture;
use ward_net::http::{Body, channel_body, respond, text};

use super::Pki;

/// What is done instead of handing out the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lie {
    /// No answer, ever.
    Silence,
    /// The list, one octet every tenth of a second.
    Drip,
    /// Octets for as long as they are taken.
    Endless,
    /// Half of the list, then nothing more comes.
    Stall,
    /// Half of the list, then the connection is closed.
    BreakOff,
    /// Another place has it.
    Elsewhere(String),
    /// The list in a content coding that nobody asked for.
    Coded,
    /// This status, with the good list.
    Status(u16),
}

/// What is said at which path, and what came of it.
#[derive(Default)]
pub struct Lies {
    told: Mutex<HashMap<String, (Lie, Vec<u8>)>>,
    /// Asked of liars.
    asked: Arc<AtomicUsize>,
    /// Octets that were taken of what is endless.
    taken: Arc<AtomicU64>,
    /// Answers that are still being given.
    open: Arc<AtomicUsize>,
}

/// An answer that is being given, until it is dropped.
struct Giving(Arc<AtomicUsize>);

impl Giving {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(open))
    }
}

impl Drop for Giving {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Lies {
    pub(super) fn of(&self, path: &str) -> Option<BoxFuture<'static, Response<Body>>> {
        let (lie, list) = self.told.lock().unwrap().get(path).cloned()?;
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (giving, taken) = (Giving::new(&self.open), Arc::clone(&self.taken));
        Some(Box::pin(tell(lie, list, giving, taken)))
    }
}

async fn tell(lie: Lie, list: Vec<u8>, giving: Giving, taken: Arc<AtomicU64>) -> Response<Body> {
    let kind = "application/pkix-crl";
    let whole = |list: Vec<u8>| respond(StatusCode::OK, kind, ward_net::http::full(list));
    match lie {
        Lie::Silence => std::future::pending().await,
        Lie::Elsewhere(place) => {
            let mut answer = text(StatusCode::FOUND, "elsewhere");
            answer.headers_mut().insert(header::LOCATION, HeaderValue::from_str(&place).unwrap());
            return answer;
        }
        Lie::Coded => {
            let mut answer = whole(list);
            let coding = HeaderValue::from_static("gzip");
            answer.headers_mut().insert(header::CONTENT_ENCODING, coding);
            return answer;
        }
        Lie::Status(status) => {
            let mut answer = whole(list);
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            return answer;
        }
        Lie::Drip | Lie::Endless | Lie::Stall | Lie::BreakOff => {}
    }
    let (sender, body) = channel_body();
    let half = Bytes::copy_from_slice(&list[..list.len() / 2]);
    tokio::spawn(async move {
        match lie {
            Lie::Drip => {
                let _giving = giving;
                for octet in list.into_iter().cycle() {
                    if sender.send(Bytes::copy_from_slice(&[octet])).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            Lie::Endless => {
                let _giving = giving;
                let piece = Bytes::from(vec![0x30; 64 * 1024]);
                while sender.send(piece.clone()).await.is_ok() {
                    taken.fetch_add(piece.len() as u64, Ordering::SeqCst);
                }
            }
            Lie::Stall => {
                // Nobody says that it is over; it is not waited for.
                drop(giving);
                let _ = sender.send(half).await;
                std::future::pending::<()>().await;
            }
            _ => {
                let _ = sender.send(half).await;
                sender.abort();
            }
        }
    });
    respond(StatusCode::OK, kind, body)
}

impl Pki {
    /// From now on the server does this at a path, where there is a list.
    pub fn lie(&self, path: &str, lie: Lie) {
        let list = self.lists.files.lock().unwrap().get(path).cloned().unwrap();
        self.lists.lies.told.lock().unwrap().insert(path.to_owned(), (lie, list));
    }

    /// From now on the server is honest again.
    pub fn be_honest(&self) {
        self.lists.lies.told.lock().unwrap().clear();
    }

    /// How often anything was fetched.
    pub fn fetched(&self) -> usize {
        self.lists.fetched.load(Ordering::SeqCst)
    }

    /// How often liars were asked, how many octets were taken of what is endless, and how many answers are still being
    /// given.
    pub fn lies_told(&self) -> (usize, u64, usize) {
        let lies = &self.lists.lies;
        let load = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (load(&lies.asked), lies.taken.load(Ordering::SeqCst), load(&lies.open))
    }
}

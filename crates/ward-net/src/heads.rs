//! A stream that hands the HTTP/1.1 engine one checked head, and the body that it announces, after the other.
//!
//! Where [`crate::head`] refuses a head, the engine gets an octet that its own parser refuses instead, so that the
//! answer (400, then the end of the connection) comes in its turn, after those of the requests before. A chunked body
//! is not followed here: the connection ends with its answer, so that nobody has to agree on where it ended.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::body::{Body as _, Incoming};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::head::{Framing, Scanner};
use crate::wire::Guarded;

/// No method, target, field name or value may hold a NUL.
const REFUSED: &[u8] = b"\0\r\n\r\n";

/// Which octets may pass.
#[derive(Debug)]
enum Passing {
    /// A head, once it is complete and checked.
    Head(Scanner),
    /// So many octets more of a body.
    Body(u64),
    /// All: the last body of the connection.
    Rest,
    /// None: what the engine has now makes it answer and close.
    Nothing,
}

/// See the top of this file.
pub(crate) struct Heads {
    inner: Guarded,
    passing: Passing,
    /// Octets that the engine has not got yet, and how many of them may go.
    held: Vec<u8>,
    ready: usize,
    /// Octets of one head at most.
    most: usize,
    announced: Announced,
}

/// The bodies that the heads announced which the engine was given, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Announced(Arc<Mutex<VecDeque<Framing>>>);

impl Announced {
    fn list(&self) -> MutexGuard<'_, VecDeque<Framing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the engine read the next head as Ward did: what it says of its body, or `None` if it did not.
    pub(crate) fn agreed(&self, body: &Incoming) -> Option<Framing> {
        let announced = self.list().pop_front()?;
        let read = match body.size_hint().exact() {
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        (announced == read).then_some(read)
    }
}

impl Heads {
    /// `most`: octets of one head.
    pub(crate) fn new(inner: Guarded, most: usize) -> (Self, Announced) {
        let announced = Announced::default();
        let passing = Passing::Head(Scanner::default());
        let held = Vec::new();
        let heads = Self { inner, passing, held, ready: 0, most, announced: announced.clone() };
        (heads, announced)
    }

    /// Decides how many of the held octets may go.
    fn judge(&mut self) {
        self.ready = match &mut self.passing {
            Passing::Head(scanner) => {
                let most = self.held.get(..self.most).unwrap_or(&self.held);
                match scanner.scan(most) {
                    Ok(Some((length, framing))) => {
                        self.announced.list().push_back(framing);
                        self.passing = match framing {
                            Framing::Length(0) => Passing::Head(Scanner::default()),
                            Framing::Length(length) => Passing::Body(length),
                            Framing::Chunked => Passing::Rest,
                        };
                        length
                    }
                    Ok(None) if self.held.len() < self.most => 0,
                    Ok(None) => {
                        // The engine's bound is the same: it answers 431.
                        self.held.truncate(self.most);
                        self.passing = Passing::Nothing;
                        self.held.len()
                    }
                    Err(why) => {
                        tracing::debug!(%why, "a request head was refused");
                        self.held = REFUSED.to_vec();
                        self.passing = Passing::Nothing;
                        self.held.len()
                    }
                }
            }
            Passing::Body(left) => {
                let some = usize::try_from(*left).unwrap_or(usize::MAX).min(self.held.len());
                *left -= some as u64;
                if *left == 0 {
                    self.passing = Passing::Head(Scanner::default());
                }
                some
            }
            Passing::Rest => self.held.len(),
            Passing::Nothing => {
                self.held.clear();
                0
            }
        };
    }

    /// Hands over what may go; false if there is nothing.
    fn release(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.ready == 0 && !self.held.is_empty() {
            self.judge();
        }
        let some = self.ready.min(buf.remaining());
        if let Some(octets) = self.held.get(..some) {
            buf.put_slice(octets);
        }
        self.held.drain(..some);
        self.ready -= some;
        if self.held.is_empty() {
            // An idle connection holds no buffer.
            self.held = Vec::new();
        }
        some > 0
    }

    /// Whether octets that just came may go as they are.
    fn goes_on(&mut self, fresh: usize) -> bool {
        if !self.held.is_empty() {
            return false;
        }
        match &mut self.passing {
            Passing::Rest => true,
            Passing::Body(left) if *left > fresh as u64 => {
                *left -= fresh as u64;
                true
            }
            _ => false,
        }
    }
}

impl AsyncRead for Heads {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if buf.remaining() == 0 || this.release(buf) || matches!(this.passing, Passing::Nothing)
            {
                return Poll::Ready(Ok(()));
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            let fresh = buf.filled().get(before..).unwrap_or_default();
            if fresh.is_empty() || this.goes_on(fresh.len()) {
                return Poll::Ready(Ok(()));
            }
            this.held.extend_from_slice(fresh);
            buf.set_filled(before);
        }
    }
}

impl AsyncWrite for Heads {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

//! What must hold for any input of the parsers that meet the outside (house §6).
//!
//! One module a fuzz target: `check` takes octets, does what the wire does with them, and panics when
//! something does not hold; it tells whether the input was believed. `fuzz/fuzz_targets` drives them with libFuzzer; `tests/corpus.rs` drives them
//! with the committed corpus and seeded mutations of it on every `cargo test`.

pub mod bundle;
pub mod community;
pub mod config;
pub mod der;
pub mod head;
pub mod jwt;
pub mod request;
pub mod sealed;
pub mod tiles;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// A fuzz target: its name, which is that of its folder in `fuzz/corpus`, and its check.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All of them.
pub const TARGETS: [Target; 9] = [
    ("head", head::check),
    ("request", request::check),
    ("jwt", jwt::check),
    ("der", der::check),
    ("bundle", bundle::check),
    ("community", community::check),
    ("config", config::check),
    ("tiles", tiles::check),
    ("sealed", sealed::check),
];

/// The result of a future that waits for nothing.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits for something"),
    }
}

/// Takes one octet off the front; 0 at the end.
fn octet(data: &mut &[u8]) -> u8 {
    match data.split_first() {
        Some((first, rest)) => {
            *data = rest;
            *first
        }
        None => 0,
    }
}

/// Takes two octets off the front as a number.
fn number(data: &mut &[u8]) -> usize {
    usize::from(u16::from_be_bytes([octet(data), octet(data)]))
}

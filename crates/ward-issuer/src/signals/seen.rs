//! Signals that took effect lately, in memory: the same one again costs nothing, and a `jti` names one signal. The store remembers
//! them longer, for the log: what comes again after a restart takes effect again, which changes nothing.

use std::collections::{HashMap, VecDeque};

use ward_core::{CommunityUri, crypto};
use ward_trust::signal::SignedSignal;

/// What is known of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing.
    No,
    /// It took effect.
    Done,
    /// Its `jti` named another one.
    Other,
}

/// At most so many; the oldest goes.
pub(super) struct Seen {
    most: usize,
    by_name: HashMap<[u8; 32], [u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl Seen {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), by_name: HashMap::new(), order: VecDeque::new() }
    }

    pub(super) fn known(&self, name: &[u8; 32], digest: &[u8; 32]) -> Known {
        match self.by_name.get(name) {
            None => Known::No,
            Some(same) if same == digest => Known::Done,
            Some(_) => Known::Other,
        }
    }

    pub(super) fn keep(&mut self, name: [u8; 32], digest: [u8; 32]) {
        while self.by_name.len() >= self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_name.remove(&oldest);
        }
        if self.by_name.insert(name, digest).is_none() {
            self.order.push_back(name);
        }
    }
}

/// By what a signal is told from others.
pub(super) fn key(uri: &CommunityUri, signed: &SignedSignal) -> [u8; 32] {
    let signal = signed.signal();
    let mut hashed = Vec::new();
    for part in [uri.as_str(), &signal.issuer, &signal.jti] {
        hashed.extend_from_slice(&(part.len() as u64).to_be_bytes());
        hashed.extend_from_slice(part.as_bytes());
    }
    crypto::sha256(&[b"ward signal/1", &hashed])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_and_a_name_stays_with_its_signal() {
        let mut seen = Seen::new(2);
        for n in 0..5 {
            assert_eq!(seen.known(&[n; 32], &[n; 32]), Known::No);
            seen.keep([n; 32], [n; 32]);
            assert_eq!(seen.known(&[n; 32], &[n; 32]), Known::Done);
            assert_eq!(seen.known(&[n; 32], &[9; 32]), Known::Other);
        }
        assert_eq!(seen.known(&[2; 32], &[2; 32]), Known::No);
        assert_eq!(seen.known(&[3; 32], &[3; 32]), Known::Done);
        assert_eq!((seen.by_name.len(), seen.order.len()), (2, 2));
    }
}

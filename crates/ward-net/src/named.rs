//! What lists and answers have named as revoked since somebody asked last: so that what is new costs what it names, and not
//! a look at everybody.

use std::sync::Arc;

use ward_core::{Thumbprint, crypto};
use ward_trust::Crl;

use crate::kept::{Entry, Fact, lock};
use crate::lists::RevocationLists;

/// Serial numbers that are kept for whoever asks; beyond it only that there were many.
const MOST: usize = 1_000_000;
/// Pieces of news that are kept.
const PIECES: usize = 4096;

/// What came to be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// Certificates by serial number, contents of the DER INTEGERs.
    Numbers {
        /// SHA-256 of their issuer's name, DER.
        issuer: [u8; 32],
        /// The numbers.
        serials: Vec<Vec<u8>>,
    },
    /// One certificate.
    Certificate(Thumbprint),
    /// More than is kept, or what cannot be told: whoever asks looks at everything.
    Unknown,
}

/// What was named and not asked for yet.
#[derive(Debug, Default)]
pub(crate) struct Unasked {
    pieces: Vec<Named>,
    numbers: usize,
}

impl Unasked {
    fn push(&mut self, piece: Named) {
        if self.pieces.contains(&Named::Unknown) {
            return;
        }
        if let Named::Numbers { serials, .. } = &piece {
            self.numbers = self.numbers.saturating_add(serials.len());
        }
        if piece == Named::Unknown || self.numbers > MOST || self.pieces.len() >= PIECES {
            (self.pieces, self.numbers) = (vec![Named::Unknown], 0);
        } else {
            self.pieces.push(piece);
        }
    }
}

/// What a list names that the one before did not.
fn added(list: &Arc<Crl>, before: Option<&Fact>) -> Named {
    let Some(mut serials) = list.serials() else { return Named::Unknown };
    if let Some(Fact::List(before)) = before
        && before.issuer_der() == list.issuer_der()
    {
        serials.retain(|serial| !before.is_revoked(serial));
    }
    Named::Numbers { issuer: crypto::sha256(&[list.issuer_der()]), serials }
}

impl RevocationLists {
    /// What was named since this was asked last, by all lists and answers that were kept. For one asker.
    pub fn take_named(&self) -> Vec<Named> {
        std::mem::take(&mut *lock(&self.named)).pieces
    }

    /// Notes what is news about what is at hand, for [`RevocationLists::take_named`].
    pub(crate) fn note(&self, entry: &Entry, fact: &Fact, before: Option<&Fact>) {
        let piece = match (fact, &entry.subject) {
            (Fact::List(list), _) => added(list, before),
            (Fact::Answer(..), Some(subject)) => Named::Certificate(subject.thumbprint()),
            (Fact::Answer(..), None) => Named::Unknown,
        };
        lock(&self.named).push(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_is_kept_means_everything() {
        let numbers =
            |count: usize| Named::Numbers { issuer: [1; 32], serials: vec![vec![1]; count] };
        let mut unasked = Unasked::default();
        unasked.push(numbers(MOST / 2));
        unasked.push(Named::Certificate(Thumbprint([1; 32])));
        assert_eq!(unasked.pieces.len(), 2);
        unasked.push(numbers(MOST / 2 + 1));
        assert_eq!(unasked.pieces, [Named::Unknown]);
        unasked.push(numbers(1));
        assert_eq!(unasked.pieces, [Named::Unknown]);
        let mut unasked = Unasked::default();
        for _ in 0..=PIECES {
            unasked.push(numbers(0));
        }
        assert_eq!(unasked.pieces, [Named::Unknown]);
    }
}

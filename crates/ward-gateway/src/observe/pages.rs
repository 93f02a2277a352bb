//! Links to further pages that went out in answers which passed: who follows one asks nothing new, and must
//! not stand in the report as somebody who sends what Ward does not understand.
//!
//! Bounded; the oldest gives way. A link that is forgotten counts as a new question.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use ward_core::crypto;
use ward_fhir::ResourceType;

/// Targets of links by their digest, with the type that was searched.
#[derive(Default)]
pub(crate) struct Pages(Mutex<VecDeque<([u8; 32], ResourceType)>>);

impl Pages {
    /// Remembers a link; `target` is its path and query on Ward's origin.
    pub(crate) fn keep(&self, target: &str, rtype: ResourceType, most: usize) {
        let name = crypto::sha256(&[target.as_bytes()]);
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pages.iter().any(|(known, _)| *known == name) {
            return;
        }
        while pages.len() >= most.max(1) {
            pages.pop_front();
        }
        pages.push_back((name, rtype));
    }

    /// The type that was searched, if this is the target of such a link.
    pub(crate) fn find(&self, target: &str) -> Option<ResourceType> {
        let pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pages.is_empty() {
            return None;
        }
        let name = crypto::sha256(&[target.as_bytes()]);
        pages.iter().find(|(known, _)| *known == name).map(|(_, rtype)| *rtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way() {
        let pages = Pages::default();
        let rtype = ResourceType::from_name("Observation").unwrap();
        for target in ["/a?1", "/a?2", "/a?2", "/a?3"] {
            pages.keep(target, rtype, 2);
        }
        let found: Vec<bool> =
            ["/a?1", "/a?2", "/a?3", "/a?4"].iter().map(|t| pages.find(t).is_some()).collect();
        assert_eq!(found, [false, true, true, false]);
    }
}

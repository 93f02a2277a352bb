//! The log against what was acknowledged: nothing may be missing.

use std::path::Path;

use ward_audit::Reader;
use ward_core::{EventKind, Outcome};

use crate::Error;

/// What the comparison gave.
#[derive(Default)]
pub struct Compared {
    pub entries: u64,
    /// Acknowledged, and not in the log.
    pub missing: usize,
    /// Accesses in the log whose answer nobody read to its end.
    pub unread: u64,
    pub tokens: u64,
    pub registrations: u64,
}

/// Compares the log in a directory with sorted correlation ids.
pub fn compare(log: &Path, acknowledged: &[u128]) -> Result<Compared, Error> {
    let reader = Reader::open_dir(log, None)?;
    let mut found = vec![false; acknowledged.len()];
    let mut told = Compared { entries: reader.size(), ..Compared::default() };
    for leaf in reader.leaves(0..reader.size()) {
        let (_, leaf) = leaf?;
        match leaf.kind {
            EventKind::Access => {
                let id = u128::from_str_radix(&leaf.correlation.to_string().replace('-', ""), 16)?;
                match acknowledged.binary_search(&id) {
                    Ok(at) => {
                        if let Some(mark) = found.get_mut(at) {
                            *mark = true;
                        }
                    }
                    Err(_) => told.unread += 1,
                }
            }
            EventKind::Token if leaf.outcome == Outcome::Success => told.tokens += 1,
            EventKind::Registration if leaf.outcome == Outcome::Success => told.registrations += 1,
            _ => {}
        }
    }
    told.missing = found.iter().filter(|found| !**found).count();
    Ok(told)
}

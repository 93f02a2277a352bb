//! What came back: answers by kind and status, the exchanges that were acknowledged, times; and what was not
//! allowed to come back.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::load::Answer;
use crate::moment;

/// An answer while the upstream is away may be one of these: broken off, cannot be reached, too late
/// (docs/operate/downtime.md).
const AWAY: [u16; 3] = [502, 503, 504];
/// So long after the upstream is back may an exchange still have met its absence.
const SLACK: Duration = Duration::from_secs(1);
/// Faults that are told in full.
const TOLD: usize = 20;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Read,
    Search,
    /// A patient that is there and not in the roster.
    Outside,
    /// A patient that nobody has.
    Absent,
    /// A type that the token does not speak of.
    Unscoped,
    /// A token that was cancelled with its registration.
    Cancelled,
    Token,
    Register,
    Cancel,
}

impl Kind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Search => "search of 20 or 100",
            Self::Outside => "read, outside the roster",
            Self::Absent => "read, no such patient",
            Self::Unscoped => "read, out of scope",
            Self::Cancelled => "read, registration cancelled",
            Self::Token => "token",
            Self::Register => "registration",
            Self::Cancel => "registration cancelled",
        }
    }

    /// The statuses that it must have.
    const fn good(self) -> &'static [u16] {
        match self {
            Self::Read | Self::Search | Self::Token | Self::Cancel => &[200],
            Self::Outside | Self::Absent => &[404],
            Self::Unscoped => &[403],
            Self::Cancelled => &[401],
            Self::Register => &[200, 201],
        }
    }

    /// Whether the upstream has a part in it.
    const fn upstream(self) -> bool {
        matches!(self, Self::Read | Self::Search | Self::Outside | Self::Absent)
    }

    /// Whether the log must hold an access under its correlation id.
    const fn recorded(self) -> bool {
        self.upstream() || matches!(self, Self::Unscoped)
    }
}

#[derive(Default)]
struct Counts {
    answers: BTreeMap<(Kind, u16), u64>,
    acknowledged: Vec<u128>,
    micros: Vec<u32>,
    away: Vec<(Instant, Option<Instant>)>,
    faults: Vec<String>,
    faulty: u64,
    connections: u64,
    rude: u64,
}

/// Counts of all workers.
#[derive(Default)]
pub struct Tally(Mutex<Counts>);

/// The counts at the end.
pub struct Told {
    pub answers: BTreeMap<(Kind, u16), u64>,
    /// Correlation ids, sorted.
    pub acknowledged: Vec<u128>,
    /// Sorted: of reads that were answered 200.
    pub micros: Vec<u32>,
    pub outages: usize,
    pub faults: Vec<String>,
    pub faulty: u64,
    pub connections: u64,
    pub rude: u64,
}

impl Tally {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The upstream goes away now.
    pub fn away(&self) {
        self.counts().away.push((moment(), None));
    }

    /// It is back.
    pub fn back(&self) {
        if let Some(last) = self.counts().away.last_mut() {
            last.1 = Some(moment());
        }
    }

    /// A connection was opened; or one that behaves badly.
    pub fn connected(&self, rude: bool) {
        let mut counts = self.counts();
        counts.connections += 1;
        counts.rude += u64::from(rude);
    }

    /// Something that must not happen.
    pub fn fault(&self, what: String) {
        let mut counts = self.counts();
        counts.faulty += 1;
        if counts.faults.len() < TOLD {
            counts.faults.push(what);
        }
    }

    /// An answer came to what was asked at `begun`. True if it is the good one.
    pub fn answered(&self, kind: Kind, begun: Instant, answer: &Answer) -> bool {
        let (now, status) = (moment(), answer.status);
        let good = kind.good().contains(&status);
        let correlation = answer
            .header("x-correlation-id:")
            .and_then(|id| u128::from_str_radix(&id.replace('-', ""), 16).ok());
        let mut counts = self.counts();
        *counts.answers.entry((kind, status)).or_default() += 1;
        let met_absence = |(from, until): &(Instant, Option<Instant>)| {
            *from <= now && until.is_none_or(|until| begun <= until + SLACK)
        };
        let excused =
            kind.upstream() && AWAY.contains(&status) && counts.away.iter().any(met_absence);
        let unrecorded = kind.recorded() && correlation.is_none();
        if let Some(id) = correlation.filter(|_| kind.recorded()) {
            counts.acknowledged.push(id);
        }
        if kind == Kind::Read && good {
            let micros = now.duration_since(begun).as_micros();
            counts.micros.push(u32::try_from(micros).unwrap_or(u32::MAX));
        }
        drop(counts);
        if !(good || excused) || unrecorded {
            let body: String = String::from_utf8_lossy(&answer.body).chars().take(200).collect();
            self.fault(format!("{}: status {status}: {body}", kind.word()));
        }
        good
    }

    /// Answers so far.
    pub fn answers(&self) -> u64 {
        self.counts().answers.values().sum()
    }

    /// Everything, and starts anew.
    pub fn take(&self) -> Told {
        let mut counts = std::mem::take(&mut *self.counts());
        counts.acknowledged.sort_unstable();
        counts.micros.sort_unstable();
        Told {
            answers: counts.answers,
            acknowledged: counts.acknowledged,
            micros: counts.micros,
            outages: counts.away.len(),
            faults: counts.faults,
            faulty: counts.faulty,
            connections: counts.connections,
            rude: counts.rude,
        }
    }
}

//! The detector: pure, bounded, explainable.
//!
//! `WATCH-01`: more distinct patients for one purpose within the window than the ceiling allows.
//! The window belongs to the client, not to its token, so that a new token does not reset it.
//! Refused and failed accesses count nothing: what did not leave is no disclosure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ward_core::{
    Actor, ClientId, Clock, CorrelationId, Event, EventKind, GrantId, Outcome, PatientId, Purpose,
    Recorded, Rng, TenantId, Timestamp, WindowStep,
};

/// Distinct patients of one client for one purpose within the window exceed the ceiling.
pub const RULE_DISTINCT_PATIENTS: &str = "WATCH-01";

/// How many distinct patients a client may touch, and within how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// Distinct patients that are still normal.
    pub patients: u32,
    /// Length of the sliding window.
    pub window: Duration,
}

/// A ceiling for each purpose of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceilings {
    default: Ceiling,
    by_purpose: BTreeMap<Purpose, Ceiling>,
}

impl Ceilings {
    /// The same ceiling for every purpose.
    pub const fn uniform(ceiling: Ceiling) -> Self {
        Self { default: ceiling, by_purpose: BTreeMap::new() }
    }

    /// The same ceilings, but another for one purpose.
    #[must_use]
    pub fn with(mut self, purpose: Purpose, ceiling: Ceiling) -> Self {
        self.by_purpose.insert(purpose, ceiling);
        self
    }

    fn of(&self, purpose: Purpose) -> Ceiling {
        self.by_purpose.get(&purpose).copied().unwrap_or(self.default)
    }

    /// The longest window; how much history a restart must read.
    pub fn longest_window(&self) -> Duration {
        self.by_purpose
            .values()
            .map(|ceiling| ceiling.window)
            .fold(self.default.window, Duration::max)
    }
}

/// The ceilings in force; they can be changed while detection runs. A longer window counts from what the
/// shorter one still held.
#[derive(Debug, Clone)]
pub struct CeilingDial(Arc<RwLock<Ceilings>>);

impl CeilingDial {
    fn new(ceilings: Ceilings) -> Self {
        Self(Arc::new(RwLock::new(ceilings)))
    }

    /// Uses these ceilings from the next access on.
    pub fn turn(&self, ceilings: Ceilings) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = ceilings;
    }

    fn read<T>(&self, of: impl FnOnce(&Ceilings) -> T) -> T {
        of(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What was found, with everything needed to explain it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whose data.
    pub tenant: TenantId,
    /// The client that did it.
    pub client: ClientId,
    /// The grant that it used last.
    pub grant: GrantId,
    /// For which purpose.
    pub purpose: Purpose,
    /// Distinct patients within the window.
    pub patients: u32,
    /// What would have been normal.
    pub ceiling: Ceiling,
    /// When the last access was logged.
    pub at: Timestamp,
    /// Index of that access in the log.
    pub trigger: u64,
    /// The client was only observed when it made that access: it is not to be contained for it.
    pub observed: bool,
}

impl Finding {
    /// One sentence for a person. No PHI.
    pub fn explain(&self) -> String {
        format!(
            "client {} read {} distinct patients for {} within {} s; its ceiling is {}",
            self.client,
            self.patients,
            self.purpose,
            self.ceiling.window.as_secs(),
            self.ceiling.patients
        )
    }

    /// The finding as an event for the log.
    pub fn event(&self, clock: &dyn Clock, rng: &dyn Rng) -> Event {
        let mut event = Event::new(
            EventKind::Finding,
            "found",
            self.tenant.clone(),
            clock.now(),
            CorrelationId::new(clock, rng),
        )
        .with("explanation", self.explain())
        .with("patients", self.patients.to_string())
        .with("ceiling", self.ceiling.patients.to_string())
        .with("window_seconds", self.ceiling.window.as_secs().to_string())
        .with("trigger_entry", self.trigger.to_string());
        event.rule = Some(RULE_DISTINCT_PATIENTS.into());
        event.actor = Actor {
            client: Some(self.client),
            grant: Some(self.grant),
            operator: Some("ward-watch".into()),
            ..Actor::default()
        };
        event.purposes = vec![self.purpose];
        if self.observed {
            event.outcome = Outcome::Observed;
        }
        event
    }
}

/// Distinct patients of one client for one purpose, by when each was last touched.
#[derive(Debug, Default)]
struct Sliding {
    last_seen: HashMap<PatientId, Timestamp>,
    by_time: BTreeSet<(Timestamp, PatientId)>,
    /// Grants already reported while the window stayed above the ceiling.
    reported: BTreeSet<GrantId>,
}

impl Sliding {
    fn touch(&mut self, patient: &PatientId, at: Timestamp) {
        // Never moved back: an answer that was logged late must not age what was just read.
        let earlier = self.last_seen.get(patient).copied();
        if earlier.is_some_and(|earlier| at <= earlier) {
            return;
        }
        if let Some(earlier) = earlier {
            self.by_time.remove(&(earlier, patient.clone()));
        }
        self.last_seen.insert(patient.clone(), at);
        self.by_time.insert((at, patient.clone()));
    }

    fn forget_before(&mut self, horizon: Timestamp) {
        while let Some((at, _)) = self.by_time.first()
            && *at < horizon
            && let Some((_, patient)) = self.by_time.pop_first()
        {
            self.last_seen.remove(&patient);
        }
    }

    /// Keeps memory bounded: what is far above the ceiling need not be counted exactly.
    fn keep_newest(&mut self, most: usize) {
        while self.by_time.len() > most {
            if let Some((_, patient)) = self.by_time.pop_first() {
                self.last_seen.remove(&patient);
            }
        }
    }
}

/// The times of events, made to go forward: a clock that is set back must neither keep old entries
/// from ageing nor let new ones count as old.
#[derive(Debug)]
struct Steady {
    /// Added to each event's time, milliseconds; grows when the clock is set back.
    offset: i64,
    latest: Timestamp,
}

/// Events of one log can be this far out of order without the clock having been set.
const DISORDER: Duration = Duration::from_secs(5);

impl Steady {
    fn read(&mut self, at: Timestamp) -> Timestamp {
        let shifted = |offset: i64| Timestamp::from_millis(at.as_millis().saturating_add(offset));
        let mut steady = shifted(self.offset);
        if steady < self.latest.minus(DISORDER) {
            let back = self.latest.as_millis().saturating_sub(steady.as_millis());
            self.offset = self.offset.saturating_add(back);
            steady = shifted(self.offset);
        }
        self.latest = self.latest.max(steady);
        steady
    }
}

type Key = (TenantId, ClientId, Purpose);

/// Keeps the windows and says when one exceeds its ceiling.
#[derive(Debug)]
pub struct Detector {
    ceilings: CeilingDial,
    most_windows: usize,
    windows: HashMap<Key, (Timestamp, Sliding)>,
    time: Steady,
}

impl Detector {
    /// A detector that holds at most `most_windows` windows (at least one); beyond it the window
    /// that has been quiet longest gives way.
    pub fn new(ceilings: Ceilings, most_windows: usize) -> Self {
        Self {
            ceilings: CeilingDial::new(ceilings),
            most_windows: most_windows.max(1),
            windows: HashMap::new(),
            time: Steady { offset: 0, latest: Timestamp::from_millis(i64::MIN) },
        }
    }

    /// What changes the ceilings while detection runs.
    pub fn dial(&self) -> CeilingDial {
        self.ceilings.clone()
    }

    /// The longest window in force; how much history a restart must read.
    pub fn longest_window(&self) -> Duration {
        self.ceilings.read(Ceilings::longest_window)
    }

    /// Takes one logged event into account.
    pub fn score(&mut self, recorded: &Recorded) -> Option<Finding> {
        let event = &recorded.event;
        let (Some(client), Some(grant)) = (event.actor.client, event.actor.grant) else {
            return None;
        };
        if !released(event) {
            return None;
        }
        let at = self.time.read(event.at);
        let mut worst: Option<Finding> = None;
        for purpose in &event.purposes {
            let ceiling = self.ceilings.read(|ceilings| ceilings.of(*purpose));
            let key = (event.tenant.clone(), client, *purpose);
            let window = self.window(key, at);
            for patient in event.body.released.iter().flat_map(|record| &record.owners) {
                window.touch(patient, at);
            }
            window.forget_before(at.minus(ceiling.window));
            window.keep_newest(ceiling.patients as usize * 2 + 1024);
            let patients = u32::try_from(window.last_seen.len()).unwrap_or(u32::MAX);
            if patients <= ceiling.patients {
                window.reported.clear();
                continue;
            }
            if !window.reported.insert(grant) {
                continue;
            }
            if worst.as_ref().is_none_or(|found| found.patients < patients) {
                worst = Some(Finding {
                    tenant: event.tenant.clone(),
                    client,
                    grant,
                    purpose: *purpose,
                    patients,
                    ceiling,
                    at: event.at,
                    trigger: recorded.index,
                    observed: event.body.detail.contains_key(ward_core::ONLY_OBSERVED),
                });
            }
        }
        worst
    }

    fn window(&mut self, key: Key, at: Timestamp) -> &mut Sliding {
        if !self.windows.contains_key(&key)
            && self.windows.len() >= self.most_windows
            && let Some(quietest) =
                self.windows.iter().min_by_key(|(_, (active, _))| *active).map(|(k, _)| k.clone())
        {
            self.windows.remove(&quietest);
        }
        let (active, window) = self.windows.entry(key).or_insert((at, Sliding::default()));
        *active = at;
        window
    }
}

/// Whether records left, or may have left, with this event.
fn released(event: &Event) -> bool {
    event.kind == EventKind::Access
        // What enforcement would have held back left all the same while it was only observed.
        && matches!(event.outcome, Outcome::Success | Outcome::Observed)
        && event.transfer.as_ref().is_some_and(|transfer| match transfer.window {
            None => true,
            Some(window) => matches!(window.step, WindowStep::Whole | WindowStep::Items),
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ward_core::{Released, SeededRng, Transfer};

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn ids() -> (ClientId, GrantId) {
        (ClientId::from_bytes([1; 16]), GrantId::from_bytes([2; 16]))
    }

    fn access(index: u64, seconds: i64, patients: &[u32], grant: GrantId) -> Recorded {
        let at = Timestamp::from_seconds(seconds);
        let clock = ward_core::ManualClock::at_unix_seconds(seconds);
        let correlation = CorrelationId::new(&clock, &SeededRng::new(index));
        let mut event =
            Event::new(EventKind::Access, "released", TenantId::default_tenant(), at, correlation);
        event.actor.client = Some(ids().0);
        event.actor.grant = Some(grant);
        event.purposes = vec![Purpose::Treatment];
        event.transfer = Some(Transfer::default());
        event.body.released = patients
            .iter()
            .map(|n| Released {
                reference: format!("Patient/p{n}"),
                version: None,
                owners: vec![PatientId::parse(&format!("p{n}")).unwrap()],
                labels: vec![],
            })
            .collect();
        Recorded { index, event }
    }

    fn detector(patients: u32) -> Detector {
        Detector::new(Ceilings::uniform(Ceiling { patients, window: MINUTE }), 100)
    }

    #[test]
    fn the_first_patient_beyond_the_ceiling_is_found_once_per_grant() {
        let mut detector = detector(3);
        let grant = ids().1;
        for n in 0..3_u32 {
            assert_eq!(detector.score(&access(u64::from(n), 0, &[n], grant)), None);
        }
        assert_eq!(detector.score(&access(3, 1, &[0, 1], grant)), None, "known patients");
        let found = detector.score(&access(4, 2, &[9], grant)).unwrap();
        assert_eq!((found.patients, found.trigger), (4, 4));
        assert!(found.explain().contains("4 distinct patients for TREAT within 60 s"));
        assert_eq!(detector.score(&access(5, 3, &[10], grant)), None, "reported already");
        let next = GrantId::from_bytes([3; 16]);
        assert!(detector.score(&access(6, 4, &[0], next)).is_some(), "a new token does not reset");
    }

    #[test]
    fn ceilings_can_be_lowered_while_it_runs() {
        let mut detector = detector(10);
        let dial = detector.dial();
        for n in 0..4_u32 {
            assert_eq!(detector.score(&access(u64::from(n), 0, &[n], ids().1)), None);
        }
        dial.turn(Ceilings::uniform(Ceiling { patients: 2, window: MINUTE }));
        let found = detector.score(&access(4, 1, &[0], ids().1)).unwrap();
        assert_eq!((found.patients, found.ceiling.patients), (4, 2));
    }

    #[test]
    fn what_did_not_leave_does_not_count() {
        let mut detector = detector(0);
        let mut refused = access(0, 0, &[1], ids().1);
        refused.event.outcome = Outcome::Refused;
        assert_eq!(detector.score(&refused), None);
        let mut closing = access(0, 0, &[1], ids().1);
        closing.event.transfer.as_mut().unwrap().window =
            Some(ward_core::Window { step: WindowStep::Complete, seq: 3 });
        assert_eq!(detector.score(&closing), None);
        let mut observed = access(0, 0, &[1], ids().1);
        observed.event.outcome = Outcome::Observed;
        let found = detector.score(&observed).expect("what was only observed has left");
        let (clock, rng) = (ward_core::ManualClock::at_unix_seconds(0), SeededRng::new(0));
        assert_eq!(
            found.event(&clock, &rng).outcome,
            Outcome::Success,
            "a rule was, not the client"
        );
        let grant = GrantId::from_bytes([9; 16]);
        let client = access(0, 1, &[1], grant);
        let client =
            Recorded { event: client.event.with(ward_core::ONLY_OBSERVED, "yes"), index: 1 };
        let found = detector.score(&client).expect("a finding all the same");
        assert_eq!(found.event(&clock, &rng).outcome, Outcome::Observed);
    }

    #[test]
    fn a_clock_set_back_keeps_the_pace_of_the_window() {
        let mut detector = detector(10);
        let grant = ids().1;
        let mut index = 0;
        let mut see = |seconds, patient| {
            index += 1;
            detector.score(&access(index, seconds, &[patient], grant))
        };
        for patient in 0..2 {
            assert_eq!(see(1_000, patient), None);
        }
        // Set back by 900 s. One new patient every eight seconds is within ten a minute…
        for step in 0..30_u32 {
            assert_eq!(see(100 + i64::from(step) * 8, 100 + step), None, "step {step}");
        }
        // …and eleven at once are not.
        let found = (0..11).filter_map(|n| see(340, 200 + n)).count();
        assert_eq!(found, 1);
    }

    #[test]
    fn a_late_event_does_not_age_what_was_just_read() {
        let mut detector = detector(2);
        let grant = ids().1;
        for (index, (seconds, patient)) in
            [(100, 1), (100, 2), (97, 1), (97, 2)].into_iter().enumerate()
        {
            assert_eq!(detector.score(&access(index as u64, seconds, &[patient], grant)), None);
        }
        assert!(detector.score(&access(9, 159, &[3], grant)).is_some(), "1 and 2 were read at 100");
    }

    #[test]
    fn windows_are_bounded() {
        let mut detector =
            Detector::new(Ceilings::uniform(Ceiling { patients: 1, window: MINUTE }), 2);
        for n in 0..10_u8 {
            let mut event = access(u64::from(n), i64::from(n), &[1], ids().1);
            event.event.actor.client = Some(ClientId::from_bytes([n; 16]));
            detector.score(&event);
        }
        assert_eq!(detector.windows.len(), 2);
    }

    proptest! {
        /// The sliding window counts exactly what a naive recount of the last minute counts.
        #[test]
        fn counts_like_a_naive_recount(steps in prop::collection::vec((0_i64..20, 0_u32..12), 1..60)) {
            let mut detector = detector(4);
            let mut seen: Vec<(i64, u32)> = vec![];
            let mut now = 0;
            for (index, (pause, patient)) in steps.into_iter().enumerate() {
                now += pause;
                seen.push((now, patient));
                let distinct: BTreeSet<u32> =
                    seen.iter().filter(|(at, _)| *at >= now - 60).map(|(_, p)| *p).collect();
                // A fresh grant each time, so that every crossing is reported.
                let grant = GrantId::from_bytes((index as u128).to_be_bytes());
                let found = detector.score(&access(index as u64, now, &[patient], grant));
                prop_assert_eq!(found.map(|f| f.patients as usize),
                    (distinct.len() > 4).then_some(distinct.len()));
            }
        }
    }
}

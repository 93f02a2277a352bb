//! Bounds failed attempts to prove oneself: a fixed window per address and key. One who guesses at one
//! operator's key does not lock out another. At most `MOST` windows are remembered; beyond that newcomers share one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ward_core::{OperatorId, Timestamp};

const MOST: usize = 1000;
const WINDOW: Duration = Duration::from_mins(1);

/// What is guessed at: an operator's key, or (none) a code or a key of nobody.
type Target = (IpAddr, Option<OperatorId>);

#[derive(Clone, Copy)]
struct Window {
    began: Timestamp,
    failures: u32,
}

impl Window {
    fn ended(self, now: Timestamp) -> bool {
        // A clock that was set back must not freeze a window.
        now >= self.began.plus(WINDOW) || now < self.began
    }
}

pub(crate) struct Attempts {
    per_minute: u32,
    windows: Mutex<(HashMap<Target, Window>, Option<Window>)>,
}

impl Attempts {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute, windows: Mutex::default() }
    }

    /// Refuses, with the seconds to wait, if there were too many failures.
    pub(crate) fn check(&self, target: Target, now: Timestamp) -> Result<(), u32> {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows
            .0
            .get(&target)
            .copied()
            .or_else(|| if windows.0.len() >= MOST { windows.1 } else { None });
        match window {
            Some(window) if !window.ended(now) && window.failures >= self.per_minute => {
                let left = window.began.plus(WINDOW).since(now).as_millis().div_ceil(1000);
                Err(u32::try_from(left).unwrap_or(60).max(1))
            }
            _ => Ok(()),
        }
    }

    /// Counts one failure.
    pub(crate) fn failed(&self, target: Target, now: Timestamp) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, shared) = &mut *windows;
        if !known.contains_key(&target) && known.len() >= MOST {
            known.retain(|_, window| !window.ended(now));
        }
        let fresh = Window { began: now, failures: 0 };
        let window = if known.contains_key(&target) || known.len() < MOST {
            known.entry(target).or_insert(fresh)
        } else {
            shared.get_or_insert(fresh)
        };
        if window.ended(now) {
            *window = fresh;
        }
        window.failures = window.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use ward_core::{ManualClock, SeededRng};

    use super::*;

    #[test]
    fn guessing_at_one_key_is_slowed_and_locks_out_nobody_else() {
        let attempts = Attempts::new(3);
        let now = Timestamp::from_seconds(1_800_000_000);
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        let id = OperatorId::new(&ManualClock::at_unix_seconds(1), &SeededRng::new(1));
        for _ in 0..3 {
            assert_eq!(attempts.check((here, None), now), Ok(()));
            attempts.failed((here, None), now);
        }
        assert_eq!(attempts.check((here, None), now), Err(60));
        assert_eq!(attempts.check((here, Some(id)), now), Ok(()));
        assert_eq!(attempts.check((here, None), now.plus(WINDOW)), Ok(()));
        for n in 0..2 * u32::try_from(MOST).unwrap() {
            attempts.failed((IpAddr::V4(n.into()), None), now);
        }
        assert_eq!(attempts.windows.lock().unwrap().0.len(), MOST);
        assert!(attempts.check(("192.0.2.1".parse().unwrap(), None), now).is_err());
    }
}

//! A diagnostic that data can set off as often as it likes, said at most once a minute (rule 12).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ward_core::Timestamp;

const PAUSE: Duration = Duration::from_mins(1);

/// When it was said last, and how often it was not said since.
#[derive(Default)]
pub(crate) struct Quiet(Mutex<(Option<Timestamp>, u64)>);

impl Quiet {
    /// Whether to say it now; if so, how often it was kept back since the last time.
    pub(crate) fn speak(&self, now: Timestamp) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not keep it back for longer.
        if state.0.is_some_and(|last| now >= last && now.since(last) < PAUSE) {
            state.1 = state.1.saturating_add(1);
            return None;
        }
        state.0 = Some(now);
        Some(std::mem::take(&mut state.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_a_minute() {
        let (quiet, at) = (Quiet::default(), Timestamp::from_seconds);
        let said: Vec<_> = [100, 100, 159, 160, 161, 300, 20].map(|s| quiet.speak(at(s))).into();
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1), Some(0)]);
    }
}

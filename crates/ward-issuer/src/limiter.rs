//! Bounds the work that strangers can cause: a fixed window per address (REG-26, P25, T35).
//!
//! At most `MAX_ADDRESSES` addresses are remembered. When the table is full, windows that have ended
//! are dropped; if none has, newcomers share one window, so that memory stays bounded and nobody
//! who is counted escapes. IPv6 is counted by /64, which is what one customer gets.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ward_core::Timestamp;

const MAX_ADDRESSES: usize = 10_000;
const WINDOW: Duration = Duration::from_mins(1);

#[derive(Clone, Copy)]
struct Window {
    began: Timestamp,
    count: u32,
}

impl Window {
    fn ended(self, now: Timestamp) -> bool {
        // A clock that was set back must not freeze a window.
        now >= self.began.plus(WINDOW) || now < self.began
    }
}

#[derive(Default)]
struct State {
    by_address: HashMap<IpAddr, Window>,
    overflow: Option<Window>,
}

/// Counts per address and minute.
pub(crate) struct Limiter {
    per_minute: u32,
    state: Mutex<State>,
}

fn bucket(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let prefix = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(prefix.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Limiter {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute, state: Mutex::default() }
    }

    /// Counts one request; `Err` has the seconds until the window ends.
    pub(crate) fn take(&self, address: IpAddr, now: Timestamp) -> Result<(), u32> {
        self.visit(address, now, true)
    }

    /// Whether the address has used its window up, without counting.
    pub(crate) fn check(&self, address: IpAddr, now: Timestamp) -> Result<(), u32> {
        self.visit(address, now, false)
    }

    fn visit(&self, address: IpAddr, now: Timestamp, count: bool) -> Result<(), u32> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let key = bucket(address);
        if !state.by_address.contains_key(&key) && state.by_address.len() >= MAX_ADDRESSES {
            state.by_address.retain(|_, window| !window.ended(now));
        }
        let fresh = Window { began: now, count: 0 };
        let full = state.by_address.len() >= MAX_ADDRESSES;
        let window = if state.by_address.contains_key(&key) || (!full && count) {
            state.by_address.entry(key).or_insert(fresh)
        } else if full {
            state.overflow.get_or_insert(fresh)
        } else {
            return Ok(());
        };
        if window.ended(now) {
            *window = fresh;
        }
        if window.count >= self.per_minute {
            let left = window.began.plus(WINDOW).since(now).as_millis().div_ceil(1000);
            return Err(u32::try_from(left).unwrap_or(60).max(1));
        }
        if count {
            window.count += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_answered_with_the_time_to_wait_and_ends() {
        let limiter = Limiter::new(3);
        let at = Timestamp::from_seconds(1_800_000_000);
        let me: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(limiter.take(me, at), Ok(()));
        }
        assert_eq!(limiter.take(me, at.plus(Duration::from_secs(20))), Err(40), "P25");
        assert_eq!(limiter.check(me, at), Err(60));
        assert_eq!(limiter.take("192.0.2.2".parse().unwrap(), at), Ok(()));
        assert_eq!(limiter.take(me, at.plus(WINDOW)), Ok(()));
    }

    #[test]
    fn one_customer_cannot_use_its_prefix_to_escape() {
        let limiter = Limiter::new(1);
        let at = Timestamp::from_seconds(1_800_000_000);
        assert_eq!(limiter.take("2001:db8::1".parse().unwrap(), at), Ok(()));
        assert!(limiter.take("2001:db8::ffff:1".parse().unwrap(), at).is_err());
        assert_eq!(limiter.take("2001:db8:0:1::1".parse().unwrap(), at), Ok(()));
        assert_eq!(limiter.take("192.0.2.7".parse().unwrap(), at), Ok(()));
        assert!(limiter.take("::ffff:192.0.2.7".parse().unwrap(), at).is_err());
    }

    #[test]
    fn memory_stays_bounded_and_newcomers_share_one_window() {
        let limiter = Limiter::new(2);
        let at = Timestamp::from_seconds(1_800_000_000);
        for n in 0..u32::try_from(MAX_ADDRESSES).unwrap() {
            limiter.take(IpAddr::V4(n.into()), at).unwrap();
        }
        let far = |n: u32| IpAddr::V4((0xC000_0200 + n).into());
        assert_eq!(limiter.take(far(1), at), Ok(()));
        assert_eq!(limiter.take(far(2), at), Ok(()));
        assert!(limiter.take(far(3), at).is_err());
        assert_eq!(limiter.state.lock().unwrap().by_address.len(), MAX_ADDRESSES);
        assert_eq!(limiter.take(far(3), at.plus(WINDOW)), Ok(()));
    }
}

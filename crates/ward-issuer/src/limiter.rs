//! Bounds the work and the records that callers can cause: fixed windows of a minute (REG-26, P25, T35).
//!
//! Strangers are counted by address: a request is counted before it is looked at, and given back once
//! its sender has proven who it is, so that many at once cost no more than one after another. IPv6 is
//! counted by /64, which is what one customer gets, and by /48, which is what one site gets; IPv4
//! stands apart. Members are counted by what their certificates prove. A full table forgets the window
//! that began first: memory stays bounded, and nobody pays for what others did.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ward_core::{Limits, Timestamp, crypto};

const WINDOW: Duration = Duration::from_mins(1);

#[derive(Clone, Copy)]
struct Window {
    began: Timestamp,
    count: u32,
}

fn ended(began: Timestamp, now: Timestamp) -> bool {
    // A clock that was set back must not freeze a window.
    now >= began.plus(WINDOW) || now < began
}

struct State<K> {
    by_key: HashMap<K, Window>,
    /// Every window of `by_key`, the one that began first in front.
    order: VecDeque<(K, Timestamp)>,
}

/// Counts per key and minute.
struct Windows<K> {
    most: usize,
    state: Mutex<State<K>>,
}

impl<K: Copy + Eq + Hash> Windows<K> {
    fn new(most: usize) -> Self {
        let state = State { by_key: HashMap::new(), order: VecDeque::new() };
        Self { most: most.max(1), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one; when its window began, or the seconds until it ends if it is used up.
    fn take(&self, key: K, per_minute: u32, now: Timestamp) -> Result<Timestamp, u32> {
        let mut state = self.lock();
        while let Some((oldest, began)) = state.order.front().copied()
            && (ended(began, now)
                || (state.by_key.len() >= self.most && !state.by_key.contains_key(&key)))
        {
            state.order.pop_front();
            state.by_key.remove(&oldest);
        }
        // One that began in the future stands further behind.
        if state.by_key.get(&key).is_some_and(|window| ended(window.began, now)) {
            state.by_key.remove(&key);
            state.order.retain(|(other, _)| *other != key);
        }
        if let Some(window) = state.by_key.get_mut(&key) {
            if window.count >= per_minute {
                let left = window.began.plus(WINDOW).since(now).as_millis().div_ceil(1000);
                return Err(u32::try_from(left).unwrap_or(60).max(1));
            }
            window.count += 1;
            return Ok(window.began);
        }
        state.by_key.insert(key, Window { began: now, count: 1 });
        state.order.push_back((key, now));
        Ok(now)
    }

    /// Gives back what was counted in the window that began then.
    fn refund(&self, key: K, began: Timestamp) {
        if let Some(window) = self.lock().by_key.get_mut(&key)
            && window.began == began
        {
            window.count = window.count.saturating_sub(1);
        }
    }
}

/// A request that was counted for its address.
pub(crate) struct Reserved(Counted);

enum Counted {
    V4(u32, Timestamp),
    V6 { network: u64, counted: Timestamp, site: u64, site_counted: Timestamp },
}

/// Counts per address and minute.
pub(crate) struct Limiter {
    per_minute: u32,
    per_site: u32,
    v4: Windows<u32>,
    networks: Windows<u64>,
    sites: Windows<u64>,
}

impl Limiter {
    pub(crate) fn new(per_minute: u32, limits: &Limits) -> Self {
        let most = limits.rate_windows;
        Self {
            per_minute,
            per_site: per_minute.saturating_mul(limits.ipv6_site_factor),
            v4: Windows::new(most),
            networks: Windows::new(most),
            sites: Windows::new(most),
        }
    }

    /// Counts one request; `Err` has the seconds until the window ends.
    pub(crate) fn take(&self, address: IpAddr, now: Timestamp) -> Result<Reserved, u32> {
        let counted = match address.to_canonical() {
            IpAddr::V4(v4) => {
                let address = u32::from(v4);
                Counted::V4(address, self.v4.take(address, self.per_minute, now)?)
            }
            IpAddr::V6(v6) => {
                let network = u64::try_from(u128::from(v6) >> 64).unwrap_or(u64::MAX);
                let site = network >> 16;
                // The site first: within it nobody can push the windows of others out.
                let site_counted = self.sites.take(site, self.per_site, now)?;
                let counted =
                    self.networks.take(network, self.per_minute, now).inspect_err(|_| {
                        // One network that is used up leaves the site to the others.
                        self.sites.refund(site, site_counted);
                    })?;
                Counted::V6 { network, counted, site, site_counted }
            }
        };
        Ok(Reserved(counted))
    }

    /// Gives a request back: its sender has proven who it is, and is counted as that.
    pub(crate) fn refund(&self, Reserved(counted): Reserved) {
        match counted {
            Counted::V4(address, began) => self.v4.refund(address, began),
            Counted::V6 { network, counted, site, site_counted } => {
                self.networks.refund(network, counted);
                self.sites.refund(site, site_counted);
            }
        }
    }
}

/// Counts per member and minute, by what a certificate proves.
pub(crate) struct Members {
    per_minute: u32,
    windows: Windows<[u8; 32]>,
}

impl Members {
    pub(crate) fn new(per_minute: u32, limits: &Limits) -> Self {
        Self { per_minute, windows: Windows::new(limits.rate_windows) }
    }

    /// Counts one request of the member that these words name.
    pub(crate) fn take(&self, words: &[&str], now: Timestamp) -> Result<(), u32> {
        // No word has a line feed, so the joined text has one reading.
        let key = crypto::sha256(&[words.join("\n").as_bytes()]);
        self.windows.take(key, self.per_minute, now).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_seconds(1_800_000_000);

    impl<K: Copy + Eq + Hash> Windows<K> {
        fn held(&self) -> (usize, usize) {
            let state = self.lock();
            (state.by_key.len(), state.order.len())
        }
    }

    fn limiter(per_minute: u32, rate_windows: usize) -> Limiter {
        Limiter::new(per_minute, &Limits { rate_windows, ipv6_site_factor: 4, ..Limits::default() })
    }

    fn takes(limiter: &Limiter, address: &str, at: Timestamp) -> Result<(), u32> {
        limiter.take(address.parse().unwrap(), at).map(|_| ())
    }

    #[test]
    fn a_flood_is_answered_with_the_time_to_wait_and_ends() {
        let limiter = limiter(3, 100);
        for _ in 0..3 {
            assert_eq!(takes(&limiter, "192.0.2.1", AT), Ok(()));
        }
        let later = AT.plus(Duration::from_secs(20));
        assert_eq!(takes(&limiter, "192.0.2.1", later), Err(40), "P25");
        assert_eq!(takes(&limiter, "192.0.2.2", AT), Ok(()));
        assert_eq!(takes(&limiter, "192.0.2.1", AT.plus(WINDOW)), Ok(()));
        let earlier = AT.minus(Duration::from_hours(1));
        assert_eq!(takes(&limiter, "192.0.2.1", earlier), Ok(()), "the clock was set back");
    }

    #[test]
    fn what_is_given_back_does_not_count_and_only_in_its_window() {
        for address in ["192.0.2.1", "2001:db8::1"] {
            let limiter = limiter(1, 100);
            let ip: IpAddr = address.parse().unwrap();
            let first = limiter.take(ip, AT).unwrap();
            assert!(takes(&limiter, address, AT).is_err(), "counted while it is looked at");
            limiter.refund(first);
            let old = limiter.take(ip, AT).unwrap();
            assert_eq!(takes(&limiter, address, AT.plus(WINDOW)), Ok(()));
            limiter.refund(old);
            assert!(takes(&limiter, address, AT.plus(WINDOW)).is_err());
        }
    }

    #[test]
    fn neither_a_customer_nor_a_site_can_use_its_prefix_to_escape() {
        let limiter = limiter(1, 100);
        assert_eq!(takes(&limiter, "2001:db8::1", AT), Ok(()));
        assert!(takes(&limiter, "2001:db8::ffff:1", AT).is_err(), "the same /64");
        for network in 1..4 {
            assert_eq!(takes(&limiter, &format!("2001:db8:0:{network}::1"), AT), Ok(()));
        }
        assert!(takes(&limiter, "2001:db8:0:4::1", AT).is_err(), "the same /48");
        assert_eq!(takes(&limiter, "2001:db8:1::1", AT), Ok(()));
        assert_eq!(takes(&limiter, "192.0.2.7", AT), Ok(()));
        assert!(takes(&limiter, "::ffff:192.0.2.7", AT).is_err());
    }

    #[test]
    fn memory_stays_bounded_and_newcomers_are_never_locked_out() {
        let limiter = limiter(2, 50);
        for n in 0..500_u32 {
            let far = IpAddr::V4((0xC000_0200 + n).into());
            for want in [true, true, false] {
                assert_eq!(limiter.take(far, AT).is_ok(), want, "{n}");
            }
            let site = IpAddr::V6(((0x2001_0db8_u128 << 96) | (u128::from(n) << 80)).into());
            assert!(limiter.take(site, AT).is_ok());
        }
        assert_eq!(limiter.v4.held(), (50, 50));
        assert_eq!(limiter.sites.held(), (50, 50));
        assert_eq!(limiter.networks.held(), (50, 50));
        // Windows that have ended make room by themselves.
        assert_eq!(takes(&limiter, "203.0.113.1", AT.plus(WINDOW)), Ok(()));
        assert_eq!(limiter.v4.held(), (1, 1));
    }
}

//! Draws from a seeded sequence. Each patient has a sequence of its own.

use ward_core::{Rng, SeededRng};

pub(super) struct Draw(SeededRng);

impl Draw {
    pub(super) fn new(seed: u64, stream: usize) -> Self {
        let stream = u64::try_from(stream).unwrap_or(0);
        Self(SeededRng::new(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ (stream << 20)))
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn range(&self, low: i64, high: i64) -> i64 {
        let width = u64::try_from(high.saturating_sub(low)).unwrap_or(0).saturating_add(1);
        low.saturating_add(i64::try_from(self.0.next_u64() % width).unwrap_or(0))
    }

    /// True in `percent` of a hundred draws.
    pub(super) fn chance(&self, percent: i64) -> bool {
        self.range(1, 100) <= percent
    }

    /// One of the list; the default of `T` if it is empty.
    pub(super) fn pick<T: Copy + Default>(&self, list: &[T]) -> T {
        let last = i64::try_from(list.len()).unwrap_or(1) - 1;
        let index = usize::try_from(self.range(0, last.max(0))).unwrap_or(0);
        list.get(index).copied().unwrap_or_default()
    }

    /// A decimal between two whole numbers of 10^-`decimals`.
    pub(super) fn decimal(&self, low: i64, high: i64, decimals: u32) -> serde_json::Value {
        decimal(self.range(low, high), decimals)
    }
}

/// `units` of 10^-`decimals` as a JSON number: 983 with 1 decimal is 98.3.
pub(super) fn decimal(units: i64, decimals: u32) -> serde_json::Value {
    let scale = 10_i64.pow(decimals);
    if units % scale == 0 {
        return (units / scale).into();
    }
    // Through text, so that the shortest form of the number is written.
    let text = format!("{}.{:0width$}", units / scale, units % scale, width = decimals as usize);
    serde_json::from_str(&text).unwrap_or_default()
}

/// The digits with the check digit of an NPI appended: Luhn over `80840` and the digits (45 CFR 162.406).
pub(super) fn with_npi_check_digit(digits: &str) -> String {
    let sum: u32 = "80840"
        .chars()
        .chain(digits.chars())
        .rev()
        .filter_map(|character| character.to_digit(10))
        .enumerate()
        .map(|(place, digit)| match place % 2 {
            0 => digit * 2 / 10 + digit * 2 % 10,
            _ => digit,
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

//! Values with units, as people write them: `"10s"`, `"64KiB"`.
//!
//! A duration is a whole number and one of `ms s m h d`; a size is a number of bytes or a whole number
//! and one of `B KiB MiB GiB`. Refused: a duration without a unit, fractions, signs, blanks inside.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};

/// A duration with its unit in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

/// Units of a duration, in milliseconds, largest first.
const SPANS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// Units of a size, in bytes, largest first.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn show(value: u64, units: &[(&str, u64)]) -> String {
    let fitting =
        units.iter().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    match fitting.or(units.last()) {
        Some((unit, factor)) => format!("{}{unit}", value / factor),
        None => value.to_string(),
    }
}

/// Reads `"10s"`.
pub(crate) fn parse_span(text: &str) -> Option<Duration> {
    parse(text, &SPANS).map(Duration::from_millis)
}

/// Writes a duration in its largest whole unit.
pub fn show_span(span: Duration) -> String {
    show(u64::try_from(span.as_millis()).unwrap_or(u64::MAX), &SPANS)
}

/// Reads `"64KiB"`.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    parse(text, &SIZES)
}

/// Writes a size in its largest whole unit.
pub(crate) fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show_span(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        parse_span(&text)
            .map(Self)
            .ok_or_else(|| D::Error::custom("not a duration such as \"10s\""))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_demanded_and_known() {
        for (text, millis) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse_span(text), Some(Duration::from_millis(millis)), "{text}");
            assert_eq!(show_span(Duration::from_millis(millis)), text);
        }
        for (text, bytes) in
            [("512B", 512), ("64KiB", 65_536), ("16MiB", 16 << 20), ("1GiB", 1 << 30)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
            assert_eq!(show_size(bytes), text);
        }
        for bad in ["", "10", "s", "1.5s", "-1s", "10 s", "10S", "10sec", "99999999999999999999d"] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
        for bad in ["", "64", "KiB", "64kb", "64KB", "1.5MiB", "99999999999999GiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in 0_u64..1 << 45) {
            prop_assert_eq!(parse_size(&show_size(value)), Some(value));
            let span = Duration::from_millis(value);
            prop_assert_eq!(parse_span(&show_span(span)), Some(span));
        }
    }
}

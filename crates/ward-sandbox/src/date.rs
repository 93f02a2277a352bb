//! Dates of search and of resources as ranges of milliseconds (FHIR R4 §3.2.1.5.3 and §2.24.0.1): a
//! date stands for all of the time that its precision covers. No time zone means UTC.

use serde_json::Value;
use time::{Date, Month};

/// A range of milliseconds since 1970, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

const DAY: i64 = 86_400_000;

/// Parses `YYYY`, `YYYY-MM`, `YYYY-MM-DD` or a date-time with minutes, seconds or fractions.
pub(crate) fn parse(text: &str) -> Option<Span> {
    let (date, clock) =
        text.split_once('T').map_or((text, None), |(date, clock)| (date, Some(clock)));
    let parts: Vec<&str> = date.split('-').collect();
    let (year, month, day) = match (parts.as_slice(), clock) {
        ([year], None) => {
            let year = digits(year, 4)?;
            let end = midnight(year, 12, 31)? + DAY - 1;
            return Some(Span { start: midnight(year, 1, 1)?, end });
        }
        ([year, month], None) => {
            let (year, month) = (digits(year, 4)?, digits(month, 2)?);
            let last = Month::try_from(month).ok()?.length(year);
            let end = midnight(year, month, last)? + DAY - 1;
            return Some(Span { start: midnight(year, month, 1)?, end });
        }
        ([year, month, day], _) => (digits(year, 4)?, digits(month, 2)?, digits(day, 2)?),
        _ => return None,
    };
    let start = midnight(year, month, day)?;
    match clock {
        None => Some(Span { start, end: start + DAY - 1 }),
        Some(clock) => time_of_day(clock).map(|(offset, length)| Span {
            start: start + offset,
            end: start + offset + length - 1,
        }),
    }
}

/// The range of a date, dateTime, instant, Period or Timing with events.
pub(crate) fn of_element(value: &Value) -> Option<Span> {
    if let Some(text) = value.as_str() {
        return parse(text);
    }
    let object = value.as_object()?;
    if let Some(events) = object.get("event").and_then(Value::as_array) {
        let spans: Vec<Span> = events.iter().filter_map(of_element).collect();
        let start = spans.iter().map(|span| span.start).min()?;
        return Some(Span { start, end: spans.iter().map(|span| span.end).max()? });
    }
    let bound = |name| object.get(name).and_then(Value::as_str).map(parse);
    match (bound("start"), bound("end")) {
        (None, None) | (Some(None), _) | (_, Some(None)) => None,
        (start, end) => Some(Span {
            start: start.flatten().map_or(i64::MIN, |span| span.start),
            end: end.flatten().map_or(i64::MAX, |span| span.end),
        }),
    }
}

/// Offset into the day in UTC, and the length of the precision.
fn time_of_day(text: &str) -> Option<(i64, i64)> {
    let (clock, zone) = split_zone(text)?;
    let mut parts = clock.split(':');
    let hour: i64 = digits(parts.next()?, 2)?;
    let minute: i64 = digits(parts.next()?, 2)?;
    let (seconds, length) = match parts.next() {
        None => (0, 60_000),
        Some(seconds) => match seconds.split_once('.') {
            None => (digits::<i64>(seconds, 2)? * 1000, 1000),
            Some((whole, fraction)) => {
                if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
                let scale = match fraction.len() {
                    1 => 100,
                    2 => 10,
                    _ => 1,
                };
                (digits::<i64>(whole, 2)? * 1000 + digits::<i64>(&millis, 3)?, scale)
            }
        },
    };
    if parts.next().is_some() || hour > 23 || minute > 59 || seconds > 60_999 {
        return None;
    }
    Some((hour * 3_600_000 + minute * 60_000 + seconds - zone, length))
}

/// The clock part and the zone's offset in milliseconds.
fn split_zone(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix('Z') {
        return Some((clock, 0));
    }
    // A `+` that was sent unescaped in a query arrives as a space.
    let Some(at) = text.find(['+', '-', ' ']) else { return Some((text, 0)) };
    let (clock, zone) = text.split_at_checked(at)?;
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let offset = digits::<i64>(hours, 2)? * 3_600_000 + digits::<i64>(minutes, 2)? * 60_000;
    Some((clock, if zone.starts_with('-') { -offset } else { offset }))
}

fn midnight(year: i32, month: u8, day: u8) -> Option<i64> {
    let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    Some((i64::from(date.to_julian_day()) - 2_440_588) * DAY)
}

fn digits<T: std::str::FromStr>(text: &str, length: usize) -> Option<T> {
    let valid = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    if valid { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn precision_is_a_range() {
        for (text, start, end) in [
            ("1970", 0, 365 * DAY - 1),
            ("1970-02", 31 * DAY, 59 * DAY - 1),
            ("1970-01-02", DAY, 2 * DAY - 1),
            ("1970-01-01T01:00Z", 3_600_000, 3_659_999),
            ("1970-01-01T01:00:00Z", 3_600_000, 3_600_999),
            ("1970-01-01T01:00:00.5Z", 3_600_500, 3_600_599),
            ("1970-01-01T01:00:00.123Z", 3_600_123, 3_600_123),
            ("1970-01-01T01:00:00+01:00", 0, 999),
            ("1970-01-01T01:00:00 01:00", 0, 999),
            ("1969-12-31T23:00:00-01:00", 0, 999),
            ("1969-12", -31 * DAY, -1),
            ("9999", 253_370_764_800_000, 253_402_300_799_999),
            ("9999-12", 253_399_622_400_000, 253_402_300_799_999),
        ] {
            assert_eq!(parse(text), Some(Span { start, end }), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_date() {
        for text in [
            "",
            "x",
            "197",
            "1970-1",
            "1970-13",
            "1970-02-30",
            "1970-01-01T",
            "1970T01:00",
            "1970-01-01T1:00Z",
            "1970-01-01T25:00Z",
            "1970-01-01T01:00:00.Z",
            "1970-01-01-01",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn periods_may_be_open() {
        let open = of_element(&json!({"start": "1970-01-01"})).unwrap();
        assert_eq!(open, Span { start: 0, end: i64::MAX });
        assert_eq!(of_element(&json!({"code": "x"})), None);
        let events = of_element(&json!({"event": ["1970-01-01", "1970-01-03"]})).unwrap();
        assert_eq!(events, Span { start: 0, end: 3 * DAY - 1 });
    }
}

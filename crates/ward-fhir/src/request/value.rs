//! Grammar of search values by kind (R4 §3.1.1.4). Values stay as text; only their form is checked.

use crate::ParamKind;

/// Splits at commas that are not escaped. `None` if a part is empty, or a backslash escapes anything
/// but `,` `|` `$` `\` (R4 §3.1.1.3.2).
pub(crate) fn alternatives(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ',' => parts.push(String::new()),
            '\\' => {
                let escaped =
                    letters.next().filter(|next| matches!(next, ',' | '|' | '$' | '\\'))?;
                parts.last_mut()?.extend(['\\', escaped]);
            }
            other => parts.last_mut()?.push(other),
        }
    }
    parts.iter().all(|part| !part.trim().is_empty()).then_some(parts)
}

/// Whether one alternative has the form of its kind.
pub(crate) fn well_formed(kind: ParamKind, text: &str) -> bool {
    match kind {
        ParamKind::Number => is_number(unprefixed(text)),
        ParamKind::Date => is_date(unprefixed(text)),
        ParamKind::Quantity => match bars(text).as_slice() {
            [number] => is_number(unprefixed(number)),
            [number, _, unit] => is_number(unprefixed(number)) && !unit.is_empty(),
            _ => false,
        },
        ParamKind::Token => match bars(text).as_slice() {
            [code] => !code.is_empty(),
            [system, code] => !(system.is_empty() && code.is_empty()),
            _ => false,
        },
        ParamKind::Uri => !text.contains(char::is_whitespace),
        ParamKind::String => true,
        ParamKind::Reference | ParamKind::Composite | ParamKind::Special => false,
    }
}

/// Splits at bars that are not escaped.
fn bars(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(|letter| {
        let splits = letter == '|' && !escaped;
        escaped = letter == '\\' && !escaped;
        splits
    })
    .collect()
}

/// Without its comparison prefix.
fn unprefixed(text: &str) -> &str {
    const PREFIXES: [&str; 9] = ["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"];
    PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text)
}

fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A decimal: sign, at most 32 digits on each side of the point, exponent of at most three digits.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole, 1..=32)
        && fraction.is_none_or(|fraction| digits(fraction, 1..=32))
        && exponent.is_none_or(|exponent| {
            digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent), 1..=3)
        })
}

/// `YYYY`, `YYYY-MM`, `YYYY-MM-DD` or `YYYY-MM-DDThh:mm[:ss[.f…]][Z|±hh:mm]`.
fn is_date(text: &str) -> bool {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let calendar = match parts.as_slice() {
        [year] => digits(year, 4..=4),
        [year, month] => digits(year, 4..=4) && in_range(month, 1, 12),
        [year, month, day] => {
            digits(year, 4..=4) && in_range(month, 1, 12) && in_range(day, 1, last_day(year, month))
        }
        _ => false,
    };
    calendar && time.is_none_or(|time| parts.len() == 3 && is_time(time))
}

fn last_day(year: &str, month: &str) -> u8 {
    let year: u16 = year.parse().unwrap_or(0);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        "02" => 28 + u8::from(leap),
        "04" | "06" | "09" | "11" => 30,
        _ => 31,
    }
}

fn is_time(text: &str) -> bool {
    let (clock, zone) = match text.find(['Z', '+', '-']) {
        Some(at) => text.split_at(at),
        None => (text, "Z"),
    };
    let zone_fits = zone == "Z"
        || zone
            .strip_prefix(['+', '-'])
            .and_then(|zone| zone.split_once(':'))
            .is_some_and(|(hour, minute)| in_range(hour, 0, 14) && in_range(minute, 0, 59));
    let parts: Vec<&str> = clock.split(':').collect();
    let clock_fits = match parts.as_slice() {
        [hour, minute] => in_range(hour, 0, 23) && in_range(minute, 0, 59),
        [hour, minute, second] => {
            let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
            in_range(hour, 0, 23)
                && in_range(minute, 0, 59)
                && in_range(second, 0, 60)
                && digits(fraction, 1..=9)
        }
        _ => false,
    };
    clock_fits && zone_fits
}

fn in_range(text: &str, low: u8, high: u8) -> bool {
    digits(text, 2..=2) && text.parse().is_ok_and(|number: u8| (low..=high).contains(&number))
}

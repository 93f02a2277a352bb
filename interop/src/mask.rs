//! What differs from run to run, or is a secret, is shown by a word instead.

/// The text with ids, times and everything that could be a token or a key replaced.
pub fn mask(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || "-_+/=.:".contains(c) {
            word.push(c);
        } else {
            out += &masked(&word);
            word.clear();
            out.push(c);
        }
    }
    out + &masked(&word)
}

fn masked(word: &str) -> String {
    for at in 0..word.len() {
        let Some(rest) = word.get(at..) else { continue };
        for (length, shown) in [(time(rest), "TIME"), (uuid(rest), "ID"), (opaque(rest), "…")] {
            if length > 0 {
                let before = word.get(..at).unwrap_or_default();
                return format!(
                    "{before}{shown}{}",
                    masked(rest.get(length..).unwrap_or_default())
                );
            }
        }
    }
    word.to_owned()
}

/// Octets of a UUID at the front.
fn uuid(text: &str) -> usize {
    let fits = |at: usize, byte: u8| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    let front = text.bytes().take(36).enumerate().filter(|(at, byte)| fits(*at, *byte)).count();
    if front == 36 { 36 } else { 0 }
}

/// Octets of an RFC 3339 date and time at the front.
fn time(text: &str) -> usize {
    let bytes = text.as_bytes();
    let date = "0000-00-00T00:00:00";
    if bytes.len() < date.len() {
        return 0;
    }
    let fits = |(pattern, byte): (u8, &u8)| match pattern {
        b'0' => byte.is_ascii_digit(),
        other => other == *byte,
    };
    if !date.bytes().zip(bytes).all(fits) {
        return 0;
    }
    let more = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'Z' | b'+' | b':');
    date.len() + bytes.iter().skip(date.len()).take_while(|byte| more(byte)).count()
}

/// Octets of something long at the front that is no word: a token, a key, a hash.
fn opaque(text: &str) -> usize {
    let front: String =
        text.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_+=".contains(*c)).collect();
    let digits = front.bytes().filter(u8::is_ascii_digit).count();
    if front.len() >= 32 && digits >= 4 { front.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn what_differs_is_shown_by_a_word() {
        for (text, shown) in [
            ("\"id\":\"01a20160-c5c9-7b40-8db8-18d3c08b5722\"", "\"id\":\"ID\""),
            ("Patient/01a20160-c5c9-7b40-8db8-18d3c08b5722/x", "Patient/ID/x"),
            ("at 2026-11-22T03:50:20.288519292+00:00, then", "at TIME, then"),
            ("Bearer w1_Zm9vYmFyYmF6MDEyMzQ1Njc4OTAxMjM0NTY3 .", "Bearer … ."),
            (
                "--organization https://partner.example/org",
                "--organization https://partner.example/org",
            ),
            ("system/MedicationRequest.rs", "system/MedicationRequest.rs"),
            ("", ""),
        ] {
            assert_eq!(mask(text), shown);
        }
    }
}

//! Reads paths and queries as tolerantly as real FHIR servers do: everything is decoded once, dot
//! segments and empty segments are resolved, `;parameters` of segments are dropped. Nothing is refused.
//! This is on purpose *not* the grammar of Ward (see the crate's header).

/// Percent-decodes once; a stray `%` stays. Invalid UTF-8 becomes U+FFFD.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex =
            |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        rest = match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0));
                after
            }
            (b'+', _) if plus_is_space => {
                bytes.push(b' ');
                tail
            }
            (byte, _) => {
                bytes.push(*byte);
                tail
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Percent-encodes everything but unreserved characters and those that read well in a query.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/,@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 15].map(|digit| {
                char::from_digit(digit.into(), 16).unwrap_or_default().to_ascii_uppercase()
            }));
        }
    }
    out
}

/// The names and values of a query or of a form body, in order; pairs without a value are dropped, as
/// FHIR says of empty parameters (§3.2.1.2).
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .map(|(name, value)| (decode(name, true), decode(value, true)))
        .collect()
}

/// A query text of these pairs.
pub(crate) fn write(pairs: &[(String, String)]) -> String {
    let written: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    written.join("&")
}

/// The segments of a path, decoded, with `.` and `..` resolved.
pub(crate) fn segments(path: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for segment in decode(path, false).split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => {
                found.pop();
            }
            plain => found.push(plain.to_owned()),
        }
    }
    found
}

/// Splits at a separator that is not escaped by `\`; escapes stay (§3.2.1.5.7).
pub(crate) fn split(value: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for character in value.chars() {
        if character == separator && !escaped {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(character);
        }
        escaped = character == '\\' && !escaped;
    }
    parts
}

/// Removes the escapes `\,` `\|` `\$` `\\`.
pub(crate) fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => out.extend(characters.next()),
            plain => out.push(plain),
        }
    }
    out
}

/// Lower case without the accents of Latin letters: strings match so by default (§3.2.1.5.1).
pub(crate) fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars().flat_map(char::to_lowercase) {
        let plain = match character {
            'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' | 'ă' | 'ą' => 'a',
            'ç' | 'ć' | 'č' => 'c',
            'ď' | 'đ' => 'd',
            'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ę' | 'ě' => 'e',
            'ğ' => 'g',
            'ì' | 'í' | 'î' | 'ï' | 'ī' | 'ı' => 'i',
            'ł' => 'l',
            'ñ' | 'ń' | 'ň' => 'n',
            'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' | 'ō' | 'ő' => 'o',
            'ř' => 'r',
            'ś' | 'š' | 'ş' | 'ș' => 's',
            'ť' | 'ţ' | 'ț' => 't',
            'ù' | 'ú' | 'û' | 'ü' | 'ū' | 'ů' | 'ű' => 'u',
            'ý' | 'ÿ' => 'y',
            'ź' | 'ž' | 'ż' => 'z',
            // Combining accents and marks.
            '\u{300}'..='\u{36f}' => continue,
            other => other,
        };
        out.push(plain);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerant_paths() {
        for (path, expected) in [
            ("/Patient/1", vec!["Patient", "1"]),
            ("//Patient//1/", vec!["Patient", "1"]),
            ("/Observation/../Patient/1", vec!["Patient", "1"]),
            ("/Observation/..%2fPatient/1", vec!["Patient", "1"]),
            ("/Patient;v=1/1", vec!["Patient", "1"]),
            ("/../../Patient", vec!["Patient"]),
        ] {
            assert_eq!(segments(path), expected, "{path}");
        }
    }

    #[test]
    fn tolerant_queries() {
        let found = pairs("a=1&b=x%20y+z&c&=d&e=&f=%zz&a=2");
        let expected = [("a", "1"), ("b", "x y z"), ("f", "%zz"), ("a", "2")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(pairs(&write(&found)), found);
    }

    #[test]
    fn escapes() {
        assert_eq!(split(r"a\,b,c", ','), [r"a\,b", "c"]);
        assert_eq!(split(r"a\\,c", ','), [r"a\\", "c"]);
        assert_eq!(unescape(r"a\,b\|c\\"), r"a,b|c\");
        assert_eq!(fold("Müller-ŁÓDŹ e\u{301}"), "muller-lodz e");
    }
}

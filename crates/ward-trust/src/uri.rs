//! The little that trust documents need to know of URLs (RFC 3986): is this an absolute https URL, and
//! who is its host. Refuses user information, bad hosts and ports, and characters outside the grammar.

/// An absolute `https` URL, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HttpsUrl<'a> {
    /// Without brackets and port.
    pub(crate) host: &'a str,
    /// From the first `/`, without query and fragment; may be empty.
    pub(crate) path: &'a str,
    pub(crate) has_fragment: bool,
}

impl<'a> HttpsUrl<'a> {
    /// Parses; `None` for anything else, longer than 2048 included.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("https://").filter(|_| text.len() <= 2048)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let host = host(authority)?;
        if !is_uri_text(rest) {
            return None;
        }
        let (before_fragment, fragment) =
            rest.split_once('#').map_or((rest, None), |(a, b)| (a, Some(b)));
        let path = before_fragment.split('?').next().unwrap_or("");
        Some(Self { host, path, has_fragment: fragment.is_some() })
    }

    /// Whether the host is this machine by name or address.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host.to_ascii_lowercase();
        let name = host.trim_end_matches('.');
        name == "localhost"
            || name.ends_with(".localhost")
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback() || address.is_unspecified())
    }
}

fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']')?;
            inside.parse::<std::net::Ipv6Addr>().ok()?;
            (inside, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let named = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':'));
    // A colon can only have come from inside brackets, where it was checked.
    let port_sound = port.is_none_or(|port| {
        port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+')
    });
    (!host.is_empty() && named && port_sound).then_some(host)
}

/// Visible ASCII without the characters that RFC 3986 has no place for, percent signs followed by two digits.
fn is_uri_text(text: &str) -> bool {
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let sound = match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => false,
            b'%' => {
                let digit = |next: Option<u8>| next.is_some_and(|byte| byte.is_ascii_hexdigit());
                digit(rest.next()) && digit(rest.next())
            }
            other => other.is_ascii_graphic(),
        };
        if !sound {
            return false;
        }
    }
    true
}

/// An absolute URI of any scheme.
pub(crate) fn is_absolute_uri(text: &str) -> bool {
    ward_core::ClientUri::parse(text).is_ok()
}

/// A string that may be shown and logged: 1 to `max` characters, none of them a control or bidirectional
/// formatting character (P02), not blank.
pub(crate) fn is_plain_text(text: &str, max: usize) -> bool {
    !text.trim().is_empty()
        && text.chars().count() <= max
        && !text.chars().any(|c| {
            c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_urls_and_nothing_else() {
        for (text, host, path) in [
            ("https://a.example", "a.example", ""),
            ("https://a.example/x/y.png?z#f", "a.example", "/x/y.png"),
            ("https://a:8443/x", "a", "/x"),
            ("https://[::1]:1/", "::1", "/"),
        ] {
            let url = HttpsUrl::parse(text).unwrap();
            assert_eq!((url.host, url.path), (host, path), "{text}");
        }
        for bad in [
            "",
            "https:",
            "https://",
            "http://a/",
            "HTTPS://a/",
            "https://u@a/",
            "https://a:0/",
            "https://a:99999/",
            "https://a:+1/",
            "https://a b/",
            "https://a/ ",
            "https://a/%2",
            "https://[a]/",
            "https://a/\u{e9}",
            "//a/",
            "/a",
            "https://a:b:c/",
            "https://a,b/",
            "https://a\\b/",
            "https://[::1]x/",
        ] {
            assert_eq!(HttpsUrl::parse(bad), None, "{bad:?}");
        }
        for (text, loopback) in [
            ("https://localhost/", true),
            ("https://a.LocalHost./", true),
            ("https://127.9.9.9/", true),
            ("https://[::1]/", true),
            ("https://0.0.0.0/", true),
            ("https://localhost.example/", false),
        ] {
            assert_eq!(HttpsUrl::parse(text).unwrap().is_loopback(), loopback, "{text}");
        }
    }

    #[test]
    fn plain_text_shows_as_it_is() {
        assert!(is_plain_text("Klinik am Ring \u{2013} B\u{e4}r", 256));
        for bad in ["", "  ", "a\nb", "a\u{202e}b", "a\u{0}", &"x".repeat(257)] {
            assert!(!is_plain_text(bad, 256), "{bad:?}");
        }
    }
}

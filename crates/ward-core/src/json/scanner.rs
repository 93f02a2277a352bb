//! The words of a JSON text, one after another (RFC 8259 §2, §6, §7), for readers that need no tree.
//!
//! Finds where strings, numbers and literals end. What an escaped string says and whether an unusual number
//! is one is left to `serde_json`, so that there is one reading of them. Refuses control characters in
//! strings; the rest of the grammar is its readers' to demand.

use std::borrow::Cow;
use std::cell::OnceCell;

/// Where escaped strings are kept once they are unescaped: a list that only grows, so that all of a document is a slice
/// of its text or of this.
#[derive(Debug, Default)]
pub struct Unescaped(OnceCell<Box<Kept>>);

#[derive(Debug)]
struct Kept {
    text: String,
    next: Unescaped,
}

impl Unescaped {
    /// Keeps a text behind all others: where it is now, and where the next one goes.
    fn keep(&self, text: String) -> (&str, &Self) {
        let mut end = self;
        while let Some(kept) = end.0.get() {
            end = &kept.next;
        }
        let kept = end.0.get_or_init(|| Box::new(Kept { text, next: Self::default() }));
        (&kept.text, &kept.next)
    }
}

impl Drop for Unescaped {
    /// One after the other: each inside of the one before would cost stack.
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut kept) = next {
            next = kept.next.0.take();
        }
    }
}

/// Reads a text from its start to its end.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Where the next escaped string is kept.
    unescaped: &'a Unescaped,
}

impl<'a> Scanner<'a> {
    /// At the start of a text. The escaped strings of the documents in it are kept in `unescaped`.
    pub const fn new(text: &'a str, unescaped: &'a Unescaped) -> Self {
        Self { text, at: 0, unescaped }
    }

    /// Keeps what escaped strings come behind those that this one, which read the same text further on, has kept.
    pub(super) const fn keep_behind(&mut self, other: &Self) {
        self.unescaped = other.unescaped;
    }

    /// The next octet behind white space, not taken yet.
    #[inline]
    pub fn token(&mut self) -> Option<u8> {
        loop {
            match *self.text.as_bytes().get(self.at)? {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    /// Takes the octet that [`Scanner::token`] showed.
    #[inline]
    pub(super) fn step(&mut self) {
        self.at += 1;
    }

    /// Takes the next octet behind white space if it is this one.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        let there = self.token() == Some(byte);
        if there {
            self.step();
        }
        there
    }

    /// Takes the string whose quote [`Scanner::token`] showed. `None` if it is none.
    #[inline]
    pub(super) fn string(&mut self) -> Option<&'a str> {
        let inside = self.at + 1;
        let end = inside + self.special(inside);
        if self.text.as_bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            return self.text.get(inside..end);
        }
        self.escaped()
    }

    #[cold]
    fn escaped(&mut self) -> Option<&'a str> {
        let begin = self.at;
        self.end()?;
        let text = serde_json::from_str(self.since(begin)?).ok()?;
        let (text, next) = self.unescaped.keep(text);
        self.unescaped = next;
        Some(text)
    }

    /// Takes the same; what is escaped is the caller's.
    pub fn text(&mut self) -> Option<Cow<'a, str>> {
        let begin = self.at;
        if self.end()? {
            return serde_json::from_str(self.since(begin)?).ok().map(Cow::Owned);
        }
        self.text.get(begin + 1..self.at - 1).map(Cow::Borrowed)
    }

    /// Takes the same without reading it: whether anything in it is escaped. `None` if it does not end.
    fn end(&mut self) -> Option<bool> {
        let inside = self.at + 1;
        let mut end = inside + self.special(inside);
        let escaped = self.text.as_bytes().get(end) == Some(&b'\\');
        while self.text.as_bytes().get(end) == Some(&b'\\') {
            // Whatever is escaped is one octet, or begins with one and goes on with others that end nothing.
            end += 2;
            end += self.special(end);
        }
        if self.text.as_bytes().get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        Some(escaped)
    }

    /// How many octets from `at` are neither quote nor backslash nor control character.
    #[inline]
    fn special(&self, at: usize) -> usize {
        const ONES: u64 = u64::MAX / 255;
        const TOPS: u64 = ONES << 7;
        // The lowest octet whose top bit is set is zero; higher ones may be set by the borrow.
        let zero = |octets: u64| octets.wrapping_sub(ONES) & !octets;
        let mut rest = self.text.as_bytes().get(at..).unwrap_or_default();
        let mut before = 0;
        while let Some((octets, after)) = rest.split_first_chunk::<8>() {
            let octets = u64::from_le_bytes(*octets);
            let control = octets.wrapping_sub(ONES * 0x20) & !octets;
            let quote = zero(octets ^ (ONES * u64::from(b'"')));
            let backslash = zero(octets ^ (ONES * u64::from(b'\\')));
            let hits = (control | quote | backslash) & TOPS;
            if hits != 0 {
                return before + usize::try_from(hits.trailing_zeros() / 8).unwrap_or(0);
            }
            before += 8;
            rest = after;
        }
        let ends = |octet: &u8| matches!(octet, b'"' | b'\\' | 0..0x20);
        before + rest.iter().position(ends).unwrap_or(rest.len())
    }

    /// Takes the number, `true`, `false` or `null` that begins with the octet that [`Scanner::token`] showed.
    /// `None` if it is none.
    pub(super) fn plain(&mut self, first: u8) -> Option<()> {
        self.word(first, |number| serde_json::from_slice::<serde_json::Number>(number).is_ok())
    }

    /// The same; of numbers that are not plainly small, `is_one` decides.
    fn word(&mut self, first: u8, is_one: impl Fn(&[u8]) -> bool) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let length = match first {
            b't' if rest.starts_with(b"true") => 4,
            b'f' if rest.starts_with(b"false") => 5,
            b'n' if rest.starts_with(b"null") => 4,
            b'-' | b'0'..=b'9' => {
                let ends =
                    |octet: &u8| !matches!(octet, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let length = rest.iter().position(ends).unwrap_or(rest.len());
                let number = rest.get(..length).unwrap_or_default();
                // Others may be out of range, or none at all.
                let small = length < 16
                    && (first != b'0' || length == 1)
                    && number.iter().all(u8::is_ascii_digit);
                if !small && !is_one(number) {
                    return None;
                }
                length
            }
            _ => return None,
        };
        self.at += length;
        Some(())
    }

    /// Where the next token stands; `None` at the end.
    pub fn begin(&mut self) -> Option<usize> {
        self.token().map(|_| self.at)
    }

    /// What was taken since [`Scanner::begin`].
    pub fn since(&self, begin: usize) -> Option<&'a str> {
        self.text.get(begin..self.at)
    }

    /// Whether the object or array under way ends here.
    #[inline]
    pub(super) fn at_end(&mut self, object: bool) -> bool {
        self.token() == Some(if object { b'}' } else { b']' })
    }

    /// Steps over one value of any depth. `None` if it has not the form of JSON; what has, but cannot be
    /// believed (names that stand twice, numbers out of range, lone surrogates), is stepped over too.
    pub fn skip(&mut self) -> Option<()> {
        let mut open = Vec::new();
        loop {
            let byte = self.token()?;
            match byte {
                b'"' => self.skip_string()?,
                b'{' | b'[' => {
                    self.step();
                    let object = byte == b'{';
                    open.push(object);
                    if !self.at_end(object) {
                        self.skip_name(object)?;
                        continue;
                    }
                }
                _ => self.word(byte, is_form)?,
            }
            loop {
                let Some(object) = open.last().copied() else { return Some(()) };
                if self.take(b',') {
                    self.skip_name(object)?;
                    break;
                }
                if !self.at_end(object) {
                    return None;
                }
                self.step();
                open.pop();
            }
        }
    }

    fn skip_name(&mut self, object: bool) -> Option<()> {
        if !object {
            return Some(());
        }
        if self.token()? != b'"' {
            return None;
        }
        self.skip_string()?;
        self.take(b':').then_some(())
    }

    fn skip_string(&mut self) -> Option<()> {
        let begin = self.at;
        if !self.end()? {
            return Some(());
        }
        is_form(self.since(begin)?.as_bytes()).then_some(())
    }
}

/// Whether a string or number has the form of one.
fn is_form(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

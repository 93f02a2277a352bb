//! What an HTTP/1.1 request head must look like before the HTTP engine sees it (A10, RFC 9112 §2.2, §5, §6).
//!
//! hyper resolves some heads that two readers could read in two ways. Whoever stands before Ward, a load balancer
//! say, might read them in the other one, so here they are refused: a length beside a transfer coding, two lengths
//! even if equal, any coding but one `chunked`, lines that end without CR, a CR within a line, folded lines, space
//! before the colon, controls, a fragment in the target, and more than one empty line before the request.
//!
//! No request is made of a head here: hyper reads the same octets again, and a test holds the two together.

/// How the body behind a head ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After so many octets; zero if the head names no length.
    Length(u64),
    /// Chunked, and chunked alone.
    Chunked,
}

/// A head that two readers could read in two ways, or that nobody can read. The answer is 400 and the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadHead(&'static str);

/// Looks at one head as its octets arrive. Each octet is looked at once, however they arrive.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Octets looked at.
    at: usize,
    /// Where the line begins that is not yet complete.
    line: usize,
    /// Whether the one empty line was there that RFC 9112 §2.2 lets pass.
    led: bool,
    /// Whether the request line was there.
    begun: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Scanner {
    /// Looks at `bytes`: all octets since the beginning of this head, those seen before included. Once the head is
    /// complete, says how long it is and how its body ends; `None` until then.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<(usize, Framing)>, BadHead> {
        loop {
            let fresh = bytes.get(self.at..).unwrap_or_default();
            let end = fresh.iter().position(|octet| *octet == b'\n');
            let open = match end {
                Some(end) => fresh.get(..end).and_then(|line| line.strip_suffix(b"\r")),
                // A CR that came last is judged with the octet behind it.
                None => Some(fresh.strip_suffix(b"\r").unwrap_or(fresh)),
            };
            let Some(text) = open else { return Err(BadHead("a line ends without CR")) };
            if controls(text) {
                return Err(BadHead("a control character"));
            }
            let Some(end) = end else {
                self.at += text.len();
                return Ok(None);
            };
            let next = self.at + end + 1;
            let line = bytes.get(self.line..next.saturating_sub(2)).unwrap_or_default();
            (self.at, self.line) = (next, next);
            if self.take(line)? {
                let framing = if self.chunked {
                    Framing::Chunked
                } else {
                    Framing::Length(self.length.unwrap_or(0))
                };
                return Ok(Some((next, framing)));
            }
        }
    }

    /// Takes one line without its end; true if it ends the head.
    fn take(&mut self, line: &[u8]) -> Result<bool, BadHead> {
        let Some(first) = line.first() else {
            if self.begun {
                return Ok(true);
            }
            if std::mem::replace(&mut self.led, true) {
                return Err(BadHead("empty lines before the request"));
            }
            return Ok(false);
        };
        if matches!(first, b' ' | b'\t') {
            return Err(BadHead("a folded line"));
        }
        if !std::mem::replace(&mut self.begun, true) {
            // A fragment is no part of a target (RFC 9112 §3.2); hyper would drop it in silence (A7).
            return if line.contains(&b'#') { Err(BadHead("a fragment")) } else { Ok(false) };
        }
        let colon = line.iter().position(|octet| *octet == b':');
        let (name, value) = colon
            .and_then(|colon| Some((line.get(..colon)?, line.get(colon + 1..)?.trim_ascii())))
            .ok_or(BadHead("a line without a colon"))?;
        if name.is_empty() || name.iter().any(|octet| matches!(octet, b' ' | b'\t')) {
            return Err(BadHead("a field name with white space, or none"));
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() || self.chunked {
                return Err(BadHead("two words on the body's length"));
            }
            self.length = Some(length(value)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.length.is_some() || self.chunked {
                return Err(BadHead("two words on the body's length"));
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(BadHead("a transfer coding other than chunked"));
            }
            self.chunked = true;
        }
        Ok(false)
    }
}

/// Whether there is any control but a tab. All octets are looked at, which a processor does many at a time.
fn controls(text: &[u8]) -> bool {
    let control = |octet: u8| u8::from(octet < 32 && octet != b'\t') | u8::from(octet == 127);
    text.iter().fold(0, |found, octet| found | control(*octet)) != 0
}

/// Digits and nothing else (RFC 9110 §8.6).
fn length(value: &[u8]) -> Result<u64, BadHead> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().filter(|_| digits);
    number.and_then(|text| text.parse().ok()).ok_or(BadHead("a length that is no number"))
}

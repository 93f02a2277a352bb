//! The head of an HTTP/1.1 request (A10, RFC 9112): however its octets arrive, it is judged alike; and what passes,
//! hyper's own parser reads with the same end and the same body, or refuses.
//!
//! Input: an octet that says how the rest arrives, then the octets of a connection.

use ward_net::head::{BadHead, Framing, Scanner};

use crate::octet;

/// See the module.
pub fn check(mut data: &[u8]) -> bool {
    let piece = usize::from(octet(&mut data)).max(1);
    let whole = Scanner::default().scan(data);
    // Which of two faults is found first may differ.
    let judged = |result: Result<_, BadHead>| result.map_err(drop);
    assert_eq!(judged(whole), judged(in_pieces(data, piece)), "in pieces of {piece}");
    let Ok(Some((length, framing))) = whole else { return false };
    assert!(data[..length].ends_with(b"\r\n"), "the end is no end");
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(read) = request.parse(&data[..length]) else { return true };
    assert_eq!(read, httparse::Status::Complete(length), "another end");
    let named = |name: &str| -> Vec<&[u8]> {
        let those = request.headers.iter().filter(|one| one.name.eq_ignore_ascii_case(name));
        those.map(|one| one.value).collect()
    };
    let (lengths, codings) = (named("content-length"), named("transfer-encoding"));
    match framing {
        Framing::Chunked => {
            assert!(lengths.is_empty() && codings.len() == 1, "two words on the body");
            assert!(codings[0].trim_ascii().eq_ignore_ascii_case(b"chunked"));
        }
        Framing::Length(said) => {
            assert!(codings.is_empty() && lengths.len() <= 1, "two words on the body");
            let read = lengths.first().map_or(Ok("0"), |value| std::str::from_utf8(value));
            assert_eq!(read.expect("digits").trim().parse(), Ok(said));
        }
    }
    assert!(!request.path.is_some_and(|target| target.contains('#')), "a fragment");
    true
}

fn in_pieces(data: &[u8], piece: usize) -> Result<Option<(usize, Framing)>, BadHead> {
    let mut scanner = Scanner::default();
    let mut there = 0;
    loop {
        there = (there + piece).min(data.len());
        match scanner.scan(&data[..there]) {
            Ok(None) if there < data.len() => {}
            judged => return judged,
        }
    }
}

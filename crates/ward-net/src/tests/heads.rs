//! Request heads that two readers could read in two ways (A10), over sockets, in one write and octet by octet.

#![expect(clippy::disallowed_macros, reason = "tests say what they counted")]

use ward_core::Rng as _;

use super::*;
use crate::head::{Framing, Scanner};

/// Name, octets, and the statuses of the answers, in order; after the last the connection must end.
fn rows() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let close = "Connection: close\r\n";
    let long = "y".repeat(40_000);
    let rows: Vec<(&str, String, &[&str])> = vec![
        ("sound", format!("GET / HTTP/1.1\r\nHost: x\r\n{close}\r\n"), &["200"]),
        ("sound, with a length", format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n{close}\r\nab"), &["200"]),
        ("chunked ends the connection", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".into(), &["200"]),
        ("CHUNKED", "POST /echo HTTP/1.1\r\nHost: x\r\nTRANSFER-ENCODING:CHUNKED\t\r\n\r\n0\r\n\r\n".into(), &["200"]),
        ("one empty line in front", format!("\r\nGET / HTTP/1.1\r\nHost: x\r\n{close}\r\n"), &["200"]),
        ("an empty line behind a body", format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab\r\nGET / HTTP/1.1\r\nHost: x\r\n{close}\r\n"), &["200", "200"]),
        ("three in one write", format!("GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /slow HTTP/1.1\r\nHost: x\r\n{close}\r\n"), &["200", "200", "200"]),
        ("the third is bad", "GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /slow HTTP/1.1\nHost: x\r\n\r\n".into(), &["200", "200", "400"]),
        ("the second is bad, the first slow", "GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost : x\r\n\r\n".into(), &["200", "400"]),
        ("octets beyond the length are a head of their own", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nabcdef\n\r\n\r\n".into(), &["200", "400"]),
        ("a length and chunked", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), &["400"]),
        ("chunked and a length", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n".into(), &["400"]),
        ("two lengths that agree", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab".into(), &["400"]),
        ("two lengths that differ", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 1\r\n\r\nab".into(), &["400"]),
        ("two lengths in one field", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\nab".into(), &["400"]),
        ("a length with a sign", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\nab".into(), &["400"]),
        ("a length below nothing", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nab".into(), &["400"]),
        ("a length in another base", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0x2\r\n\r\nab".into(), &["400"]),
        ("a length of nothing", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\nab".into(), &["400"]),
        ("a length beyond 64 bits", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551616\r\n\r\nab".into(), &["400"]),
        ("xchunked", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".into(), &["400"]),
        ("gzip, chunked", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".into(), &["400"]),
        ("chunked twice", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), &["400"]),
        ("identity, then chunked", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), &["400"]),
        ("chunked behind a vertical tab", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n".into(), &["400"]),
        ("chunked for HTTP/1.0", "POST /echo HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), &["400"]),
        ("LF behind the request line", "GET / HTTP/1.1\nHost: x\r\n\r\n".into(), &["400"]),
        ("LF behind a field", "GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n".into(), &["400"]),
        ("LF at the end", "GET / HTTP/1.1\r\nHost: x\r\n\n".into(), &["400"]),
        ("LF alone all over", "GET / HTTP/1.1\nHost: x\n\n".into(), &["400"]),
        ("LF in front", "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".into(), &["400"]),
        ("two empty lines in front", "\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".into(), &["400"]),
        ("CR within a value", "GET / HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n".into(), &["400"]),
        ("CR CR LF", "GET / HTTP/1.1\r\nHost: x\r\r\n\r\n".into(), &["400"]),
        ("CR for a space", "GET\r/ HTTP/1.1\r\nHost: x\r\n\r\n".into(), &["400"]),
        ("NUL in a value", "GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n".into(), &["400"]),
        ("NUL in a name", "GET / HTTP/1.1\r\nHost: x\r\nX\0: b\r\n\r\n".into(), &["400"]),
        ("DEL in the target", "GET /\x7f HTTP/1.1\r\nHost: x\r\n\r\n".into(), &["400"]),
        ("a fragment (A7)", "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n".into(), &["400"]),
        ("a folded line", "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n".into(), &["400"]),
        ("a folded line with a tab", "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n\tb: c\r\n\r\n".into(), &["400"]),
        ("space before the first field", "GET / HTTP/1.1\r\n Host: x\r\n\r\n".into(), &["400"]),
        ("space before the request", " GET / HTTP/1.1\r\nHost: x\r\n\r\n".into(), &["400"]),
        ("space before the colon", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length : 2\r\n\r\nab".into(), &["400"]),
        ("tab before the colon", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n".into(), &["400"]),
        ("no name", "GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n".into(), &["400"]),
        ("no colon", "GET / HTTP/1.1\r\nHost: x\r\nX\r\n\r\n".into(), &["400"]),
        ("two spaces in the request line", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n".into(), &["400"]),
        ("a third version", "GET / HTTP/3.0\r\nHost: x\r\n\r\n".into(), &["400"]),
        ("HTTP/2 without ALPN", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), &["400"]),
        ("a head without end", format!("GET / HTTP/1.1\r\nX: {long}"), &["431"]),
        ("a head that is too long", format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n"), &["431"]),
    ];
    rows.into_iter().map(|(name, octets, statuses)| (name, octets.into_bytes(), statuses)).collect()
}

/// The statuses of all answers until the peer closes. A reset behind the last answer is an end, too.
async fn statuses(address: std::net::SocketAddr, octets: &[u8], each: usize) -> Vec<String> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut read, mut write) = stream.split();
    let sending = async {
        for piece in octets.chunks(each) {
            if write.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let mut answers = Vec::new();
    let reading = async { drop(read.read_to_end(&mut answers).await) };
    let both = async { tokio::join!(sending, reading) };
    tokio::time::timeout(Duration::from_mins(1), both).await.expect("the peer closes");
    let text = String::from_utf8_lossy(&answers).into_owned();
    text.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_can_be_read_in_two_ways_are_refused() {
    let patient = Limits {
        header_timeout: Duration::from_mins(1),
        body_timeout: Duration::from_mins(1),
        ..limits()
    };
    let server = serve(patient, None).await;
    let rows = rows();
    let mut wrong = vec![];
    for (name, octets, demanded) in &rows {
        for each in [usize::MAX, 1, 7] {
            let got = statuses(server.local_addr(), octets, each).await;
            // A reset can overtake the answer to a caller that still writes.
            let lost = octets.len() > 10_000 && got.is_empty();
            if got != *demanded && !lost {
                wrong.push(format!("{name}, {each} at a time: demanded {demanded:?}, got {got:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("heads: {} rows, each in one write, octet by octet and by sevens", rows.len());
}

/// Whatever the scanner lets pass, hyper's parser reads the same length and the same body in it; and the scanner
/// says the same however the octets arrive.
#[test]
fn the_scanner_and_the_parser_agree() {
    let rng = ward_core::SeededRng::new(10);
    let draw = |below: usize| {
        let mut octets = [0; 4];
        rng.fill(&mut octets);
        usize::try_from(u32::from_le_bytes(octets)).unwrap() % below
    };
    let pieces: &[&[u8]] = &[
        b"GET ",
        b"POST ",
        b"/",
        b" HTTP/1.1",
        b" HTTP/1.0",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"Content-Length: ",
        b"content-length:",
        b"5",
        b"12",
        b"Transfer-Encoding: ",
        b"chunked",
        b"gzip, ",
        b" ",
        b"\t",
        b":",
        b"X: y\r\n",
        b"Host: x\r\n",
        b"\0",
        b"\x7f",
        b"\xe9",
        b",",
        b"a",
    ];
    let sound: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nX: y\r\nContent-Length: 12\r\n\r\n";
    let (mut passed, mut with_body) = (0, 0);
    for _ in 0..200_000 {
        let mut octets = sound.to_vec();
        for _ in 0..draw(4) {
            let (piece, at) = (pieces[draw(pieces.len())], draw(octets.len() + 1));
            octets.splice(at..(at + draw(3)).min(octets.len()), piece.iter().copied());
        }
        let whole = Scanner::default().scan(&octets);
        let mut slow = Scanner::default();
        let by_octet =
            (1..=octets.len()).find_map(|n| slow.scan(&octets[..n]).transpose()).transpose();
        // Of two faults, either may be named.
        assert_eq!(
            by_octet.map_err(drop),
            whole.map_err(drop),
            "{:?}",
            String::from_utf8_lossy(&octets)
        );
        let Ok(Some((length, framing))) = whole else { continue };
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut parsed = httparse::Request::new(&mut fields);
        // What the parser refuses is refused.
        let Ok(read) = parsed.parse(&octets) else { continue };
        assert_eq!(
            read,
            httparse::Status::Complete(length),
            "{:?}",
            String::from_utf8_lossy(&octets)
        );
        let named = |name: &str| {
            let fields =
                parsed.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
            fields
                .map(|field| String::from_utf8_lossy(field.value).into_owned())
                .collect::<Vec<_>>()
        };
        match (&*named("content-length"), &*named("transfer-encoding"), framing) {
            ([], [], Framing::Length(0)) => {}
            ([text], [], Framing::Length(length)) => assert_eq!(text.parse(), Ok(length)),
            ([], [text], Framing::Chunked) => assert!(text.eq_ignore_ascii_case("chunked")),
            other => panic!("{other:?} of {:?}", String::from_utf8_lossy(&octets)),
        }
        passed += 1;
        with_body += usize::from(framing != Framing::Length(0));
    }
    assert!(passed > 10_000 && with_body > 5_000, "{passed} {with_body}");
    println!("heads: 200000 drawn, {passed} passed, read alike");
}

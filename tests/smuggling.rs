//! Malformed and ambiguous HTTP, from partners and from receivers: it is refused in words, or passed
//! on in exactly one reading, and never becomes another request, another response or another header.
//! RFC 9112 section 11.2, RFC 9110 section 17.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]

#[path = "smuggling/deliveries.rs"]
mod deliveries;
#[path = "smuggling/raw.rs"]
mod raw;
#[path = "smuggling/responses.rs"]
mod responses;

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
};

use as2hook_testing::{Gateway, Running, pki, wait_until};
use raw::{Recorder, SOON, Seen, exchange};

/// A second request that hides behind the first, where it can.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: hidden\r\n\r\n";

/// What becomes of a request.
enum Outcome {
    /// A response of the gateway's own; nothing whole reaches the other side.
    Refused(u16),
    /// It is passed on with this body.
    Passed(&'static [u8]),
}

use Outcome::{Passed, Refused};

/// The fields and the body of a POST, and what becomes of it.
const POSTS: &[(&str, &str, Outcome)] = &[
    ("length", "Content-Length: 3\r\n\r\nabc", Passed(b"abc")),
    ("chunked", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Passed(b"abc")),
    ("neither: no body", "X: y\r\n\r\n", Passed(b"")),
    // Two framings.
    ("CL, TE", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("TE, CL", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", Refused(400)),
    (
        "CL, TE identity",
        "Content-Length: 3\r\nTransfer-Encoding: identity\r\n\r\nabc",
        Refused(400),
    ),
    ("CL twice, differing", "Content-Length: 3\r\nContent-Length: 0\r\n\r\nabc", Refused(400)),
    ("CL twice, equal", "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", Refused(400)),
    ("CL list", "Content-Length: 3, 3\r\n\r\nabc", Refused(400)),
    ("CL list, differing", "Content-Length: 3,0\r\n\r\nabc", Refused(400)),
    // One that readers take in several ways.
    ("CL with a sign", "Content-Length: +3\r\n\r\nabc", Refused(400)),
    ("CL below nought", "Content-Length: -3\r\n\r\nabc", Refused(400)),
    ("CL with a blank inside", "Content-Length: 3 0\r\n\r\nabc", Refused(400)),
    ("CL in hex", "Content-Length: 0x3\r\n\r\nabc", Refused(400)),
    ("CL with digits of its own", "Content-Length: 3_0\r\n\r\nabc", Refused(400)),
    ("CL beyond 64 bits", "Content-Length: 18446744073709551619\r\n\r\nabc", Refused(400)),
    ("CL empty", "Content-Length:\r\n\r\nabc", Refused(400)),
    ("CL with leading noughts", "Content-Length: 003\r\n\r\nabc", Passed(b"abc")),
    ("CL with blanks around", "Content-Length: \t3 \r\n\r\nabc", Passed(b"abc")),
    ("CL spelt for CGI", "Content_Length: 3\r\n\r\n", Refused(400)),
    ("CL with a vertical tab", "Content-Length: \x0b3\r\n\r\nabc", Refused(400)),
    ("xchunked", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("chunked, identity", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", Refused(400)),
    ("identity, chunked", "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("chunked, chunked", "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("chunked quoted", "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", Refused(400)),
    ("chunked with a parameter", "Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n", Refused(400)),
    ("TE behind a comma", "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("TE empty", "Transfer-Encoding:\r\n\r\n0\r\n\r\n", Refused(400)),
    (
        "TE twice",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "TE twice, other",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    ("TE with a vertical tab", "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("TE behind a tab", "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n", Passed(b"")),
    ("TE in mixed case", "tRANSFER-eNCODING: cHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Passed(b"abc")),
    ("TE spelt for CGI", "Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    (
        "TE with a blank before the colon",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    ("TE folded", "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("TE behind a bare CR", "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("TE behind a bare LF", "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    (
        "connection-nominated CL",
        "Connection: Content-Length\r\nContent-Length: 3\r\n\r\nabc",
        Refused(400),
    ),
    (
        "connection-nominated AS2-From",
        "Connection: close, AS2-From\r\nAS2-From: a\r\n\r\n",
        Refused(400),
    ),
    ("connection-nominated Host", "Connection: Host\r\n\r\n", Refused(400)),
    // Chunks. The receiver gets no whole request of it.
    (
        "chunk size beyond 64 bits",
        "Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "chunk size of 64 bits",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "chunk size below nought",
        "Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "chunk size with 0x",
        "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        Refused(400),
    ),
    ("chunk size empty", "Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", Refused(400)),
    (
        "chunk size with a sign",
        "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
        Refused(400),
    ),
    ("chunk size, bare LF", "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", Refused(400)),
    ("chunk size, bare CR", "Transfer-Encoding: chunked\r\n\r\n3\rabc\r\n0\r\n\r\n", Refused(400)),
    ("chunk end missing", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n\r\n", Refused(400)),
    (
        "chunk end, bare LF",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n\r\n",
        Refused(400),
    ),
    (
        "chunk longer than declared",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "chunk extension",
        "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n",
        Passed(b"abc"),
    ),
    (
        "chunk extension quoted",
        "Transfer-Encoding: chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0\r\n\r\n",
        Passed(b"abc"),
    ),
    (
        "chunk extension, bare LF",
        "Transfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "chunk extension, bare CR",
        "Transfer-Encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "chunk size in capitals, with noughts",
        "Transfer-Encoding: chunked\r\n\r\n000A\r\n0123456789\r\n0\r\n\r\n",
        Passed(b"0123456789"),
    ),
    (
        "trailers",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 9\r\nAS2-From: x\r\n\r\n",
        Passed(b"abc"),
    ),
    // Headers.
    ("folded", "X: y\r\n z\r\nContent-Length: 3\r\n\r\nabc", Passed(b"abc")),
    ("folded with a tab", "X: y\r\n\tz\r\nContent-Length: 3\r\n\r\nabc", Passed(b"abc")),
    ("folded with blanks alone", "X: y\r\n \r\nContent-Length: 3\r\n\r\nabc", Passed(b"abc")),
    (
        "folds of blanks alone before a line",
        "X:\r\n \r\n\t\r\n z\r\nContent-Length: 3\r\n\r\nabc",
        Passed(b"abc"),
    ),
    (
        "folds of blanks alone as the last lines",
        "Content-Length: 3\r\nX: y\r\n \r\n \r\n\r\nabc",
        Passed(b"abc"),
    ),
    (
        "a fold like a TE",
        "X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
        Passed(b"abc"),
    ),
    (
        "a fold like a CL",
        "X: y\r\n Content-Length: 30\r\nContent-Length: 3\r\n\r\nabc",
        Passed(b"abc"),
    ),
    (
        "a fold like a Host and an AS2 identity",
        "AS2-From: a\r\n Host: b\r\n\tAS2-From: c\r\nContent-Length: 3\r\n\r\nabc",
        Passed(b"abc"),
    ),
    (
        "a fold like a request line",
        "X: y\r\n GET /hidden HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        Passed(b"abc"),
    ),
    ("CL folded", "Content-Length: 3\r\n 0\r\n\r\nabc", Refused(400)),
    ("CL folded before its value", "Content-Length:\r\n 3\r\n\r\nabc", Refused(400)),
    ("CL folded with blanks alone", "Content-Length: 3\r\n \r\n\r\nabc", Refused(400)),
    ("CL folded before its colon", "Content-Length\r\n : 3\r\n\r\nabc", Refused(400)),
    ("CL for CGI, folded", "Content_Length:\r\n 3\r\n\r\nabc", Refused(400)),
    (
        "CL within a fold of a CL",
        "Content-Length: 3\r\n Content-Length: 0\r\n\r\nabc",
        Refused(400),
    ),
    (
        "TE folded behind its value",
        "Transfer-Encoding: chunked\r\n , identity\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "TE folded with blanks alone",
        "Transfer-Encoding: chunked\r\n\t\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "connection-nominated AS2-From, folded",
        "Connection: close,\r\n AS2-From\r\nAS2-From: a\r\n\r\n",
        Refused(400),
    ),
    ("Connection folded", "Connection:\r\n close\r\n\r\n", Refused(400)),
    ("a fold with a NUL", "X: y\r\n z\0\r\nContent-Length: 3\r\n\r\nabc", Refused(400)),
    ("a fold behind a bare LF", "X: y\n z\r\nContent-Length: 3\r\n\r\nabc", Refused(400)),
    ("a fold behind a bare CR", "X: y\r z\r\nContent-Length: 3\r\n\r\nabc", Refused(400)),
    ("a fold behind two CR", "X: y\r\r\n z\r\nContent-Length: 3\r\n\r\nabc", Refused(400)),
    ("a fold that ends with a bare LF", "X: y\r\n z\nContent-Length: 3\r\n\r\nabc", Refused(400)),
    ("a fold behind no field", "X\r\n : y\r\nContent-Length: 3\r\n\r\nabc", Refused(400)),
    ("NUL in a value", "X: a\0b\r\nContent-Length: 3\r\n\r\nabc", Refused(400)),
    ("NUL in a name", "X\0: a\r\nContent-Length: 3\r\n\r\nabc", Refused(400)),
    ("a name of 8 bits", "X\u{e4}: a\r\nContent-Length: 3\r\n\r\nabc", Refused(400)),
    ("a value of 8 bits", "X: \u{e4}\r\nContent-Length: 3\r\n\r\nabc", Passed(b"abc")),
    ("a blank before the colon", "X : a\r\nContent-Length: 3\r\n\r\nabc", Refused(400)),
    ("no name", ": a\r\nContent-Length: 3\r\n\r\nabc", Refused(400)),
    ("no colon", "Xa\r\nContent-Length: 3\r\n\r\nabc", Refused(400)),
    ("Host again", "Host: b\r\nContent-Length: 3\r\n\r\nabc", Refused(400)),
    (
        "an AS2 identity twice",
        "AS2-From: a\r\nAS2-From: b\r\nContent-Length: 3\r\n\r\nabc",
        Refused(400),
    ),
    (
        "an AS2 identity for CGI",
        "AS2-From: a\r\nAS2_From: b\r\nContent-Length: 3\r\n\r\nabc",
        Passed(b"abc"),
    ),
    (
        "Expect of something",
        "Expect: the-unexpected\r\nContent-Length: 3\r\n\r\nabc",
        Passed(b"abc"),
    ),
    (
        "100-continue, body at once",
        "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        Passed(b"abc"),
    ),
    (
        "100-continue, chunked",
        "Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Passed(b"abc"),
    ),
    (
        "Upgrade",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc",
        Passed(b"abc"),
    ),
    (
        "Upgrade to HTTP/2",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\nContent-Length: 3\r\n\r\nabc",
        Passed(b"abc"),
    ),
];

/// Whole heads, and what becomes of them.
const HEADS: &[(&str, &str, Outcome)] = &[
    ("HTTP/0.9", "GET /\r\n", Refused(505)),
    ("a fold before the version", "POST /as2\r\n HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refused(505)),
    ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", Refused(505)),
    ("HTTP/1.1 with more", "GET / HTTP/1.1x\r\nHost: a\r\n\r\n", Refused(505)),
    ("a version in small letters", "GET / http/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    (
        "HTTP/1.0 chunked",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    ("two blanks", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("a tab", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("a blank in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("a NUL in the target", "GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("a CR in the target", "GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("a fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("a method of no token", "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("a blank before the method", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("a header before all", "X: y\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400)),
    ("a blank line behind the first", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", Refused(400)),
    ("a tab behind the first", "GET / HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n", Refused(400)),
    ("blanks alone behind the first", "GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n", Refused(400)),
    ("Host folded", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", Refused(400)),
    ("Host folded before its value", "GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n", Refused(400)),
    ("Host folded with blanks alone", "GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", Refused(400)),
    ("bare LF", "GET / HTTP/1.1\nHost: a\n\n", Refused(400)),
    ("bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", Refused(400)),
    ("TLS", "\x16\x03\x01\x02\0\x01", Refused(400)),
    ("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Refused(405)),
    ("userinfo in Host", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", Refused(400)),
    ("empty lines before", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Passed(b"")),
];

fn inbound(behind: &Recorder) -> Running {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver_url(&behind.url())
        .station("MY-OWN-ORG", pki::station())
        .start()
        .unwrap()
}

fn outbound(partner: &Recorder) -> Running {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver_url("http://127.0.0.1:9")
        .outbound()
        .partner_with("ACME", |acme| acme.url(&partner.url()))
        .start()
        .unwrap()
}

/// How many responses begin in these bytes, and the last one's status.
fn responses(bytes: &[u8]) -> (usize, u16) {
    let text = String::from_utf8_lossy(bytes);
    let starts: Vec<_> = text.match_indices("HTTP/1.1 ").map(|(at, _)| at).collect();
    let finals: Vec<u16> = starts
        .iter()
        .filter_map(|at| text.get(at + 9..at + 12)?.parse().ok())
        .filter(|status| *status >= 200)
        .collect();
    (finals.len(), finals.last().copied().unwrap_or_default())
}

/// Sends a request, first of its connection or behind a good one, with another hidden behind it.
fn try_one(
    to: SocketAddr,
    behind: &Recorder,
    name: &str,
    request: &str,
    outcome: &Outcome,
    first: bool,
) {
    behind.forget();
    // ISO 8859-1, so that one char is one byte.
    let mut bytes: Vec<u8> = request.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    if let Refused(_) = outcome {
        bytes.extend_from_slice(HIDDEN.as_bytes());
    }
    let mut before = 0;
    let came = if first {
        exchange(to, &bytes, |came| matches!(outcome, Passed(_)) && responses(came).0 > 0)
    } else {
        before = 1;
        second(to, &bytes, matches!(outcome, Passed(_)))
    };
    let text = String::from_utf8_lossy(&came);
    let (count, status) = responses(&came);
    assert_eq!(count, before + 1, "{name}: one response to one request, and not {text:?}");
    let wanted = match outcome {
        Refused(status) => *status,
        Passed(_) => 200,
    };
    assert_eq!(status, wanted, "{name}: {text}");
    if let Refused(405..) | Refused(400) = outcome
        && status != 405
    {
        assert!(text.contains("as2hook: "), "{name}: no word of why: {text}");
    }
    let (mut seen, rest) = behind.seen();
    seen.retain(|seen| seen.fields("x-before").is_empty());
    let hidden = |seen: &Seen| seen.line.contains("hidden");
    assert!(!seen.iter().any(hidden), "{name}: smuggled: {seen:?}");
    match outcome {
        Refused(_) => assert_eq!(seen, [], "{name}"),
        Passed(body) => {
            assert_eq!(seen.len(), 1, "{name}: {seen:?}");
            assert_eq!(seen[0].body, *body, "{name}");
            assert!(rest.is_empty(), "{name}: {rest:?}");
            for gone in ["upgrade", "http2-settings", "trailer"] {
                assert!(seen[0].fields(gone).is_empty(), "{name}: {seen:?}");
            }
        }
    }
}

/// As [`exchange`], behind a good request on the same connection.
fn second(to: SocketAddr, bytes: &[u8], passes: bool) -> Vec<u8> {
    use std::io::{Read as _, Write as _};
    let mut socket = std::net::TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let good = "POST /out/ACME HTTP/1.1\r\nHost: a\r\nX-Before: 1\r\nContent-Length: 3\r\n\r\nabc";
    socket.write_all(good.as_bytes()).unwrap();
    let (mut came, mut piece) = (Vec::new(), [0; 4096]);
    while !came.ends_with(b"ok") {
        let read = socket.read(&mut piece).unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&came));
        came.extend_from_slice(&piece[..read]);
    }
    let _ = socket.write_all(bytes);
    while !(passes && responses(&came).0 > 1) {
        match socket.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(read) => came.extend_from_slice(&piece[..read]),
        }
    }
    came
}

fn try_all(to: SocketAddr, behind: &Recorder, path: &str) {
    let mut wrong = 0;
    let mut attempt = |name: &str, request: &str, outcome: &Outcome, first: bool| {
        let one = AssertUnwindSafe(|| try_one(to, behind, name, request, outcome, first));
        // All that is wrong is reported, not the first of it alone.
        wrong += usize::from(catch_unwind(one).is_err());
    };
    for first in [true, false] {
        for (name, rest, outcome) in POSTS {
            let request = format!("POST {path} HTTP/1.1\r\nHost: a\r\n{rest}");
            attempt(name, &request, outcome, first);
        }
        for (name, head, outcome) in HEADS {
            // What passes needs a way.
            let way = format!(" {path} ");
            let head =
                if let Passed(_) = outcome { head.replace(" / ", &way) } else { (*head).into() };
            attempt(name, &head, outcome, first);
        }
    }
    assert_eq!(wrong, 0, "cases failed");
}

#[test]
fn inbound_requests_have_one_reading() {
    let receiver = Recorder::start();
    let gateway = inbound(&receiver);
    try_all(gateway.inbound().address(), &receiver, "/as2");
    assert!(!gateway.log().contains("panicked"));
}

#[test]
fn outbound_requests_have_one_reading() {
    let partner = Recorder::start();
    let gateway = outbound(&partner);
    try_all(gateway.outbound().address(), &partner, "/out/ACME");
    assert!(!gateway.log().contains("panicked"));
}

#[test]
fn every_target_form_reaches_one_host() {
    let receiver = Recorder::start();
    let gateway = inbound(&receiver);
    let to = gateway.inbound().address();
    let done = |came: &[u8]| responses(came).0 > 0;
    for (request, wanted) in [
        ("GET / HTTP/1.1\r\n\r\n", 200),
        ("GET / HTTP/1.0\r\n\r\n", 200),
        ("GET http://other/x HTTP/1.1\r\nHost: other\r\n\r\n", 200),
        ("GET http://other:80/x HTTP/1.1\r\nHost: OTHER\r\n\r\n", 200),
        ("GET http://other:80/x HTTP/1.1\r\nHost: other:81\r\n\r\n", 400),
        ("GET http://other:80:81/x HTTP/1.1\r\nHost: other:80\r\n\r\n", 400),
        ("GET http://other/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a@other/x HTTP/1.1\r\nHost: other\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    ] {
        receiver.forget();
        let came = exchange(to, request.as_bytes(), done);
        assert_eq!(
            responses(&came),
            (1, wanted),
            "{request:?}: {}",
            String::from_utf8_lossy(&came)
        );
        let whole = wait_until(SOON, || receiver.seen().0.len() == usize::from(wanted == 200));
        assert!(whole, "{request:?}");
    }
}

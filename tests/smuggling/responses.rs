//! Responses of a hostile receiver or partner: each becomes one response that can be read in one
//! way, or a 502 of the gateway's own.

use std::net::SocketAddr;

use super::*;

/// What the other side gets.
enum Gets {
    /// This status, and this whole body.
    Whole(u16, &'static str),
    /// The gateway's own 502.
    BadResponse,
    /// A response that breaks off, so that it is not taken for whole.
    Broken,
}

use Gets::{BadResponse, Broken, Whole};

const NEXT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";

const RESPONSES: &[(&str, &str, Gets)] = &[
    ("length", "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nab", Whole(201, "ab")),
    (
        "chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        Whole(200, "ab"),
    ),
    ("to its end", "HTTP/1.1 200 OK\r\n\r\nab", Whole(200, "ab")),
    (
        "CL, TE",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        Whole(200, "ab"),
    ),
    (
        "CL twice",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        BadResponse,
    ),
    (
        "CL twice, equal",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        Whole(200, "ab"),
    ),
    ("CL, a list", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab", BadResponse),
    ("CL with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab", BadResponse),
    ("CL of text", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nab", BadResponse),
    (
        "xchunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        BadResponse,
    ),
    (
        "TE twice",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        BadResponse,
    ),
    (
        "gzip, chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        BadResponse,
    ),
    (
        "a chunk of no size",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nxx\r\n",
        Broken,
    ),
    (
        "a chunk that is short",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        Broken,
    ),
    ("a body that is short", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", Broken),
    ("folded", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nab", Whole(200, "ab")),
    (
        "a fold like a CL",
        "HTTP/1.1 200 OK\r\nX: a\r\n Content-Length: 9\r\nContent-Length: 2\r\n\r\nab",
        Whole(200, "ab"),
    ),
    (
        "a fold behind the status line",
        "HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 2\r\n\r\nab",
        BadResponse,
    ),
    ("CL folded", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n 0\r\n\r\nab", BadResponse),
    (
        "a bare CR",
        "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nab",
        BadResponse,
    ),
    ("a NUL", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nab", BadResponse),
    (
        "a blank before the colon",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nab",
        Whole(200, "ab"),
    ),
    ("a reason with a CR", "HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nab", BadResponse),
    ("no HTTP", "220 mail.example ESMTP\r\n\r\n", BadResponse),
    ("HTTP/2", "HTTP/2 200\r\nContent-Length: 2\r\n\r\nab", BadResponse),
    ("status 99", "HTTP/1.1 099 X\r\nContent-Length: 2\r\n\r\nab", BadResponse),
    (
        "unasked 101",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nab",
        BadResponse,
    ),
    (
        "unasked 100",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
        Whole(200, "ab"),
    ),
    ("204 with a body", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nab", Whole(204, "")),
    ("304 with a body", "HTTP/1.1 304 Not Modified\r\n\r\nab", Whole(304, "")),
    ("another response behind", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", Whole(200, "ab")),
    (
        "another response behind chunks",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Whole(200, ""),
    ),
];

/// All final responses in these bytes, the connection being closed behind them.
fn read(name: &str, bytes: &[u8]) -> Vec<(u16, Vec<u8>, bool)> {
    let mut all = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") else {
            panic!("{name}: left over: {:?}", String::from_utf8_lossy(rest));
        };
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 4..];
        assert!(head.starts_with("HTTP/1.1 "), "{name}: {head:?}");
        let lines: Vec<_> = head.split("\r\n").collect();
        assert!(
            !lines.iter().any(|line| line.contains(|c: char| c.is_control() && c != '\t')),
            "{name}: {head:?}"
        );
        let field = |name: &str| -> Vec<String> {
            let fields = lines[1..].iter().filter_map(|line| line.split_once(':'));
            fields
                .filter(|(n, _)| n.eq_ignore_ascii_case(name))
                .map(|(_, v)| v.trim().to_owned())
                .collect()
        };
        let status: u16 = head[9..12].parse().unwrap();
        if status < 200 {
            continue;
        }
        let (lengths, codings) = (field("content-length"), field("transfer-encoding"));
        let empty = matches!(status, 204 | 304);
        let (body, whole) = match (&lengths[..], &codings[..]) {
            _ if empty => (Vec::new(), true),
            ([], []) => (std::mem::take(&mut rest).to_vec(), true),
            ([length], []) => {
                let length: usize = length.parse().unwrap();
                let there = length.min(rest.len());
                let body = rest[..there].to_vec();
                rest = &rest[there..];
                (body, there == length)
            }
            ([], [coding]) => {
                assert_eq!(coding.to_ascii_lowercase(), "chunked", "{name}");
                match raw::chunks(rest) {
                    Some((body, length)) => {
                        rest = &rest[length..];
                        (body, true)
                    }
                    None => (std::mem::take(&mut rest).to_vec(), false),
                }
            }
            two => panic!("{name}: two framings: {two:?}"),
        };
        all.push((status, body, whole));
    }
    all
}

fn try_one(
    to: SocketAddr,
    behind: &Recorder,
    (path, version): (&str, &str),
    (name, response, gets): &(&str, &str, Gets),
) {
    // What stands behind the response must never be one.
    behind.respond(
        format!(
            "{response}{}",
            if matches!(gets, Whole(..)) && *name != "to its end" { NEXT } else { "" }
        )
        .as_bytes(),
    );
    let request = format!(
        "POST {path} {version}\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab"
    );
    let came = exchange(to, request.as_bytes(), |_| false);
    let text = String::from_utf8_lossy(&came);
    let all = read(name, &came);
    assert_eq!(all.len(), 1, "{name}: {text}");
    let (status, body, whole) = &all[0];
    match gets {
        Whole(wanted, text) => {
            assert_eq!((*status, &body[..], *whole), (*wanted, text.as_bytes(), true), "{name}");
        }
        BadResponse => {
            assert_eq!(*status, 502, "{name}: {text}");
            assert!(text.contains("as2hook: "), "{name}: {text}");
        }
        // Without chunks and without a length, a close is all that HTTP/1.0 has.
        Broken if version == "HTTP/1.0" => {}
        Broken => assert!(!whole || *status == 502, "{name}: {text}"),
    }
    let is_chunked = text.to_ascii_lowercase().contains("transfer-encoding");
    assert!(version == "HTTP/1.1" || !is_chunked, "{name}: {text}");
    assert!(!text.contains("forged"), "{name}: {text}");
}

fn try_all(to: SocketAddr, behind: &Recorder, path: &str) {
    let mut wrong = 0;
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        for row in RESPONSES {
            let one = AssertUnwindSafe(|| try_one(to, behind, (path, version), row));
            wrong += usize::from(catch_unwind(one).is_err());
        }
    }
    assert_eq!(wrong, 0, "cases failed");
}

#[test]
fn responses_of_a_receiver_have_one_reading() {
    let receiver = Recorder::start();
    let gateway = inbound(&receiver);
    try_all(gateway.inbound().address(), &receiver, "/as2");
    assert!(!gateway.log().contains("panicked"));
}

#[test]
fn responses_of_a_partner_have_one_reading() {
    let partner = Recorder::start();
    let gateway = outbound(&partner);
    try_all(gateway.outbound().address(), &partner, "/out/ACME");
    assert!(!gateway.log().contains("panicked"));
}

#[test]
fn endless_head_and_endless_interim_responses_end() {
    let receiver = Recorder::start();
    let gateway = inbound(&receiver);
    let to = gateway.inbound().address();
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab";
    let before = gateway.rss_kib().unwrap();
    let endless = format!(
        "HTTP/1.1 200 OK\r\n{}",
        "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(50_000)
    );
    receiver.respond(endless.as_bytes());
    let came = exchange(to, request, |_| false);
    assert_eq!(responses(&came), (1, 502), "{}", String::from_utf8_lossy(&came));
    receiver.respond("HTTP/1.1 102 Processing\r\n\r\n".repeat(100_000).as_bytes());
    let came = exchange(to, request, |_| false);
    let (finals, status) = responses(&came);
    assert!(finals == 0 || status == 502, "{finals} {status}");
    let after = gateway.rss_kib().unwrap();
    assert!(after < before + 64 * 1024, "{before} KiB, then {after} KiB");
}

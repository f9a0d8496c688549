use super::*;

fn judged(fields: &str) -> Result<bool, HeadError> {
    let head = format!("POST /as2 HTTP/1.1\r\n{fields}\r\n\r\n");
    judge(head.as_bytes()).map(|accepted| accepted.is_chunked)
}

fn scanned(bytes: &[u8], piece: usize) -> Result<Option<std::ops::Range<usize>>, HeadError> {
    let mut scan = Scan::default();
    for end in (piece..bytes.len()).step_by(piece) {
        if let Some(range) = scan.more(&bytes[..end])? {
            return Ok(Some(range));
        }
    }
    scan.more(bytes)
}

#[test]
fn ordinary_heads_are_let_in() {
    for fields in [
        "Host: a\r\nContent-Length: 100",
        "Host: a\r\ntransfer-encoding:  Chunked ",
        "Host: [::1]:80\r\nAS2-From: \"A \\\" b\"\r\nAS2_From: c\r\nX_y: ä\tb\r\nEmpty:",
        "Connection: close, TE, X-Mine\r\nX-Mine: 1",
    ] {
        assert_eq!(judged(fields), Ok(fields.contains("Chunked")), "{fields}");
    }
    let without_host = Accepted { is_chunked: false, host: Some(&b"a"[..]) };
    assert_eq!(judge(b"GET http://a/b?c HTTP/1.0\r\n\r\n"), Ok(without_host));
}

#[test]
fn ambiguous_framing_is_refused() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: 99999999999999999999",
        "Content-Length:",
        "Content_Length: 5",
        "Transfer_Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding:",
    ] {
        assert!(
            matches!(judged(fields), Err(HeadError::Framing(_))),
            "{fields}: {:?}",
            judged(fields)
        );
    }
    let old = judge(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(matches!(old, Err(HeadError::Framing(_))));
}

/// Found by fuzzing: behind empty lines, what cannot begin a head was only seen with the next bytes.
#[test]
fn what_follows_empty_lines_is_judged_at_once() {
    for bytes in [&b"\r\n\0"[..], b"\r\n\r\n\0"] {
        for piece in 1..=bytes.len() {
            assert_eq!(scanned(bytes, piece), Err(HeadError::RequestLine), "{bytes:?} by {piece}");
        }
    }
    assert_eq!(scanned(b"\r\n\r\nGET", 1), Ok(None));
}

#[test]
fn what_no_header_can_be_is_refused() {
    for (fields, flaw) in [
        ("A: b\r\n not unfolded", HeadError::Folded),
        ("A: b\r\n\tnot unfolded", HeadError::Folded),
        ("A : b", HeadError::Name),
        (": b", HeadError::Name),
        ("no colon", HeadError::Name),
        ("Ä: b", HeadError::Name),
        ("A\0: b", HeadError::Name),
        ("A: b\0", HeadError::Value),
        ("A: b\x0bc", HeadError::Value),
        ("A: b\x7f", HeadError::Value),
        ("A: b\rc: d", HeadError::LineEnd),
        ("A: b\nc: d", HeadError::LineEnd),
        ("AS2-From: a\r\nas2-from: b", HeadError::Repeated("AS2-From")),
        ("Message-ID: a\r\nMessage-Id: a", HeadError::Repeated("Message-ID")),
        ("Host: a\r\nHost: a", HeadError::Repeated("Host")),
        ("Connection: close, as2-from", HeadError::Nominated("as2-from".to_owned())),
        ("Connection: Content-Type", HeadError::Nominated("Content-Type".to_owned())),
        ("Connection: host", HeadError::Nominated("host".to_owned())),
        ("Host: a@b", HeadError::Host),
    ] {
        assert_eq!(judged(fields), Err(flaw), "{fields:?}");
    }
    let many = "A: b\r\n".repeat(FIELDS);
    assert_eq!(judged(many.trim_end()), Ok(false));
    assert_eq!(judged(&format!("{many}A: b")), Err(HeadError::TooMany));
    // The Host that is added counts as well.
    for (lines, is_right) in [("", false), ("Host: a\r\n", true)] {
        let head = format!(
            "GET http://a/ HTTP/1.1\r\n{lines}{}\r\n",
            "A: b\r\n".repeat(FIELDS - lines.len().min(1))
        );
        assert_eq!(judge(head.as_bytes()).is_ok(), is_right, "{lines}");
    }
}

#[test]
fn name_that_connection_may_not_take_is_shown_in_short() {
    let name = format!("AS2-\"\t{}", "x".repeat(10_000));
    let shown = judged(&format!("Connection: {name}")).unwrap_err().to_string();
    let short = format!("AS2-\\\"\\t{}…", "x".repeat(34));
    assert_eq!(
        shown,
        format!("The header Connection names \"{short}\", which has to be passed on.")
    );
}

#[test]
fn request_lines_are_of_one_form() {
    for (line, flaw) in [
        ("GET /", HeadError::Version),
        ("PRI * HTTP/2.0", HeadError::Version),
        ("GET / HTTP/1.2", HeadError::Version),
        ("GET / http/1.1", HeadError::RequestLine),
        ("GET  / HTTP/1.1", HeadError::RequestLine),
        ("GET /a b HTTP/1.1", HeadError::RequestLine),
        ("GET / HTTP/1.1 ", HeadError::RequestLine),
        ("GET\t/ HTTP/1.1", HeadError::RequestLine),
        ("GET /\0 HTTP/1.1", HeadError::RequestLine),
        ("GE(T / HTTP/1.1", HeadError::RequestLine),
        (" GET / HTTP/1.1", HeadError::RequestLine),
        ("GET", HeadError::RequestLine),
    ] {
        let head = format!("{line}\r\n\r\n");
        assert_eq!(judge(head.as_bytes()), Err(flaw.clone()), "{line:?}");
        assert_eq!(scanned(head.as_bytes(), 1), Err(flaw), "{line:?}, scanned");
    }
}

#[test]
fn host_of_the_target_replaces_another_spelling_and_no_other_host() {
    for (target, host, judged) in [
        ("http://a/x", "a", Ok(None)),
        ("http://a?x=http://b", "a", Ok(None)),
        ("/x?y=http://b/", "a", Ok(None)),
        ("http://a:80/x", "a", Ok(Some("a:80"))),
        ("http://a/x", "a:8080", Ok(Some("a"))),
        ("http://a:/x", "a:80", Ok(Some("a:"))),
        ("http://A/x", "a", Ok(Some("A"))),
        ("http://[::1]:80/x", "[::1]", Ok(Some("[::1]:80"))),
        ("http://a:80/x", "a:81", Err(HeadError::Host)),
        ("http://a:80/x", "a:x", Err(HeadError::Host)),
        ("http://a:80/x", "ab", Err(HeadError::Host)),
        ("http://a:80/x", "", Err(HeadError::Host)),
        ("http://[::1]/x", "[::2]", Err(HeadError::Host)),
        ("http://b@a/x", "a", Err(HeadError::Host)),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let found = judge(head.as_bytes()).map(|accepted| accepted.host);
        assert_eq!(found, judged.map(|host| host.map(str::as_bytes)), "{head:?}");
    }
    let without_host = Accepted { is_chunked: false, host: Some(&b"a:80"[..]) };
    assert_eq!(judge(b"GET http://a:80/x HTTP/1.1\r\n\r\n"), Ok(without_host));
}

#[test]
fn fold_is_seen_however_the_bytes_come() {
    for (head, is_folded) in [
        ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nA: b\r\n \r\n\r\n", true),
        ("GET / HTTP/1.1\r\n A: b\r\n\r\n", true),
        ("\r\nGET / HTTP/1.1\r\nA: b \r\n\r\n c", false),
    ] {
        for piece in 1..=head.len() {
            let mut scan = Scan::default();
            for end in (piece..head.len()).step_by(piece).chain([head.len()]) {
                if scan.more(&head.as_bytes()[..end]).unwrap().is_some() {
                    break;
                }
            }
            assert_eq!(scan.is_folded(), is_folded, "{head:?} by {piece}");
        }
    }
}

#[test]
fn the_end_is_found_however_the_bytes_come() {
    let bytes = b"\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n";
    for piece in 1..bytes.len() + 1 {
        assert_eq!(scanned(bytes, piece), Ok(Some(4..32)), "{piece}");
    }
    assert_eq!(scanned(b"POST / HTTP/1.1\r\nHost: a\r\n\r", 3), Ok(None));
}

#[test]
fn what_cannot_become_a_head_is_known_early() {
    assert_eq!(scanned(b"\x16\x03\x01", 1), Err(HeadError::RequestLine), "a TLS hello");
    assert_eq!(scanned(b"GET / HTTP/1.1\nHost: a", 1), Err(HeadError::LineEnd));
    assert_eq!(scanned(b"POST / HTTP/1.1\r\nHost: a\n\n", 1), Err(HeadError::LineEnd));
    assert_eq!(scanned(b"GET /\r\n", 1), Err(HeadError::Version));
}

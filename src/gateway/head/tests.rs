use super::*;

fn judged(fields: &str) -> Result<bool, Flaw> {
    judge(format!("POST /as2 HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes())
}

fn scanned(bytes: &[u8], piece: usize) -> Result<Option<std::ops::Range<usize>>, Flaw> {
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
    assert_eq!(judge(b"GET http://a/b?c HTTP/1.0\r\n\r\n"), Ok(false));
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
        assert!(matches!(judged(fields), Err(Flaw::Framing(_))), "{fields}: {:?}", judged(fields));
    }
    let old = judge(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(matches!(old, Err(Flaw::Framing(_))));
}

/// Found by fuzzing: behind empty lines, what cannot begin a head was only seen with the next bytes.
#[test]
fn what_follows_empty_lines_is_judged_at_once() {
    for bytes in [&b"\r\n\0"[..], b"\r\n\r\n\0"] {
        for piece in 1..=bytes.len() {
            assert_eq!(scanned(bytes, piece), Err(Flaw::RequestLine), "{bytes:?} by {piece}");
        }
    }
    assert_eq!(scanned(b"\r\n\r\nGET", 1), Ok(None));
}

#[test]
fn what_no_header_can_be_is_refused() {
    for (fields, flaw) in [
        ("A: b\r\n folded", Flaw::Folded),
        ("A: b\r\n\tfolded", Flaw::Folded),
        ("A : b", Flaw::Name),
        (": b", Flaw::Name),
        ("no colon", Flaw::Name),
        ("Ä: b", Flaw::Name),
        ("A\0: b", Flaw::Name),
        ("A: b\0", Flaw::Value),
        ("A: b\x0bc", Flaw::Value),
        ("A: b\x7f", Flaw::Value),
        ("A: b\rc: d", Flaw::LineEnd),
        ("A: b\nc: d", Flaw::LineEnd),
        ("AS2-From: a\r\nas2-from: b", Flaw::Repeated("AS2-From")),
        ("Message-ID: a\r\nMessage-Id: a", Flaw::Repeated("Message-ID")),
        ("Host: a\r\nHost: a", Flaw::Repeated("Host")),
        ("Connection: close, as2-from", Flaw::Nominated("as2-from".to_owned())),
        ("Connection: Content-Type", Flaw::Nominated("Content-Type".to_owned())),
        ("Connection: host", Flaw::Nominated("host".to_owned())),
        ("Host: a@b", Flaw::Host),
    ] {
        assert_eq!(judged(fields), Err(flaw), "{fields:?}");
    }
    let many = "A: b\r\n".repeat(FIELDS);
    assert_eq!(judged(many.trim_end()), Ok(false));
    assert_eq!(judged(&format!("{many}A: b")), Err(Flaw::TooMany));
}

#[test]
fn a_name_that_connection_may_not_take_is_told_in_short() {
    let name = format!("AS2-\"\t{}", "x".repeat(10_000));
    let told = judged(&format!("Connection: {name}")).unwrap_err().to_string();
    let short = format!("AS2-\\\"\\t{}…", "x".repeat(34));
    assert_eq!(
        told,
        format!("The header Connection names \"{short}\", which has to be passed on.")
    );
}

#[test]
fn request_lines_are_of_one_form() {
    for (line, flaw) in [
        ("GET /", Flaw::Version),
        ("PRI * HTTP/2.0", Flaw::Version),
        ("GET / HTTP/1.2", Flaw::Version),
        ("GET / http/1.1", Flaw::RequestLine),
        ("GET  / HTTP/1.1", Flaw::RequestLine),
        ("GET /a b HTTP/1.1", Flaw::RequestLine),
        ("GET / HTTP/1.1 ", Flaw::RequestLine),
        ("GET\t/ HTTP/1.1", Flaw::RequestLine),
        ("GET /\0 HTTP/1.1", Flaw::RequestLine),
        ("GE(T / HTTP/1.1", Flaw::RequestLine),
        (" GET / HTTP/1.1", Flaw::RequestLine),
        ("GET", Flaw::RequestLine),
    ] {
        let head = format!("{line}\r\n\r\n");
        assert_eq!(judge(head.as_bytes()), Err(flaw.clone()), "{line:?}");
        assert_eq!(scanned(head.as_bytes(), 1), Err(flaw), "{line:?}, scanned");
    }
}

#[test]
fn the_host_stands_in_one_way() {
    for (target, fields, right) in [
        ("http://a/x", "Host: a\r\n", true),
        ("http://a?x=http://b", "Host: a\r\n", true),
        ("/x?y=http://b/", "Host: a\r\n", true),
        ("http://a:80/x", "Host: a\r\n", false),
        ("http://b@a/x", "", false),
        ("http://a/x", "", true),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\n{fields}\r\n");
        let wanted = if right { Ok(false) } else { Err(Flaw::Host) };
        assert_eq!(judge(head.as_bytes()), wanted, "{head:?}");
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
    assert_eq!(scanned(b"\x16\x03\x01", 1), Err(Flaw::RequestLine), "a TLS hello");
    assert_eq!(scanned(b"GET / HTTP/1.1\nHost: a", 1), Err(Flaw::LineEnd));
    assert_eq!(scanned(b"POST / HTTP/1.1\r\nHost: a\n\n", 1), Err(Flaw::LineEnd));
    assert_eq!(scanned(b"GET /\r\n", 1), Err(Flaw::Version));
}

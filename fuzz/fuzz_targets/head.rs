//! Requests as they come off the wire: where a head ends and whether it is let in, and the chunks
//! behind it. The first byte is the size of the pieces. What is let in has one reading: an unlike
//! parser (httparse) sees the same fields, and one framing.

#![no_main]

#[path = "../../src/gateway/chunks.rs"]
#[allow(dead_code, reason = "the gateway's own file")]
mod chunks;
#[path = "../../src/gateway/head.rs"]
#[allow(dead_code, reason = "the gateway's own file")]
mod head;

use chunks::{ChunkFlaw, Chunks};
use head::{Flaw, Scan, judge};
use libfuzzer_sys::fuzz_target;

fn scan(bytes: &[u8], size: usize) -> Result<Option<std::ops::Range<usize>>, Flaw> {
    let mut scan = Scan::default();
    for end in (size..bytes.len()).step_by(size) {
        if let Some(range) = scan.more(&bytes[..end])? {
            return Ok(Some(range));
        }
    }
    scan.more(bytes)
}

fuzz_target!(|input: &[u8]| {
    let [size, bytes @ ..] = input else { return };
    let size = usize::from(*size).max(1);
    let whole = scan(bytes, bytes.len().max(1));
    assert_eq!(whole, scan(bytes, size), "however it is cut");
    let Ok(Some(range)) = whole else { return };
    let Ok(chunked) = judge(&bytes[range.clone()]) else { return };
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut other = httparse::Request::new(&mut fields);
    let parsed = other.parse(&bytes[range.clone()]);
    // httparse knows fewer targets.
    if let Ok(parsed) = parsed {
        assert_eq!(parsed, httparse::Status::Complete(range.len()));
        let count = |name: &str| {
            other.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count()
        };
        assert_eq!(count("transfer-encoding"), usize::from(chunked));
        assert!(count("content-length") + count("transfer-encoding") <= 1);
        assert!(count("host") <= 1 && count("as2-from") <= 1 && count("message-id") <= 1);
        for field in &*other.headers {
            assert!(!field.value.iter().any(|b| matches!(b, b'\r' | b'\n' | b'\0')));
        }
    }
    let body = &bytes[range.end..];
    let follow = |size: usize| {
        let mut chunks = Chunks::new();
        body.chunks(size).try_fold(0, |taken, piece| Ok::<_, ChunkFlaw>(taken + chunks.push(piece)?))
    };
    assert_eq!(follow(size), follow(body.len().max(1)), "however it is cut");
});

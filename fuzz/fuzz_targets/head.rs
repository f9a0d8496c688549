//! Requests as they come off the wire: where a head ends and whether it is let in, and the chunks
//! behind it. The first byte is the size of the pieces. What is let in has one reading: an unlike
//! parser (httparse) sees the same fields, and one framing.

#![no_main]

#[path = "../weigh.rs"]
mod weigh;

#[path = "../../src/front/chunks.rs"]
#[allow(dead_code, reason = "the gateway's own file")]
mod chunks;
#[path = "../../src/front/head.rs"]
#[allow(dead_code, reason = "the gateway's own file")]
mod head;
#[path = "../../src/front/rewrite.rs"]
mod rewrite;

use chunks::{ChunkFlaw, Chunks};
use head::{Accepted, HeadError, Scan, judge};
use libfuzzer_sys::fuzz_target;

fn scan(bytes: &[u8], size: usize) -> Result<Option<std::ops::Range<usize>>, HeadError> {
    let mut scan = Scan::default();
    for end in (size..bytes.len()).step_by(size) {
        if let Some(range) = scan.more(&bytes[..end])? {
            return Ok(Some(range));
        }
    }
    scan.more(bytes)
}

fuzz_target!(|input: &[u8]| weigh::weigh(input.len(), || run(input)));

fn run(input: &[u8]) {
    let [size, bytes @ ..] = input else { return };
    let size = usize::from(*size).max(1);
    let whole = scan(bytes, bytes.len().max(1));
    assert_eq!(whole, scan(bytes, size), "however it is cut");
    let Ok(Some(range)) = whole else { return };
    let unfolded = rewrite::unfold(&bytes[range.clone()]);
    let Ok(Accepted { is_chunked, host }) = judge(&unfolded) else { return };
    let head = host.map(|host| rewrite::replace_host(&unfolded, host));
    let head = head.as_deref().unwrap_or(&unfolded);
    assert_eq!(judge(head), Ok(Accepted { is_chunked, host: None }), "it is not rewritten twice");
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut other = httparse::Request::new(&mut fields);
    let parsed = other.parse(head);
    // httparse knows fewer targets.
    if let Ok(parsed) = parsed {
        assert_eq!(parsed, httparse::Status::Complete(head.len()));
        let count = |name: &str| {
            other.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count()
        };
        assert_eq!(count("transfer-encoding"), usize::from(is_chunked));
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
}

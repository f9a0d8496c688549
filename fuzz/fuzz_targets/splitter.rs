//! The MIME splitter: any body, any boundary, any cut. The first byte is the size of the pushes, the
//! second the length of the boundary, which follows.

#![no_main]

#[path = "../weigh.rs"]
mod weigh;

use as2hook_as2::{
    Fault,
    mime::splitter::{MimeEvent, Splitter},
};
use libfuzzer_sys::fuzz_target;

/// `None`: this is no boundary.
fn split(boundary: &str, body: &[u8], size: usize) -> Option<(Result<bool, Fault>, Vec<Vec<u8>>)> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut open = false;
    let mut on = |event: MimeEvent<'_>| {
        match event {
            MimeEvent::Begin => {
                assert!(!open);
                open = true;
                parts.push(Vec::new());
            }
            MimeEvent::Data(bytes) => {
                assert!(open && !bytes.is_empty());
                parts.last_mut().unwrap().extend_from_slice(bytes);
            }
            MimeEvent::End => {
                assert!(open);
                open = false;
            }
        }
        Ok(())
    };
    let mut splitter = Splitter::new(boundary)?;
    let mut ended = Ok(());
    for piece in body.chunks(size) {
        ended = splitter.push(piece, &mut on);
        if ended.is_err() {
            break;
        }
    }
    let ended = ended.and_then(|()| splitter.finish(&mut on));
    assert!(!open || ended.is_err());
    Some((ended.map(|()| splitter.is_closed()), parts))
}

fuzz_target!(|input: &[u8]| weigh::weigh(input.len(), || run(input)));

fn run(input: &[u8]) {
    let [size, length, rest @ ..] = input else { return };
    let (boundary, body) = rest.split_at(usize::from(*length % 71).min(rest.len()));
    let boundary = String::from_utf8_lossy(boundary);
    let whole = split(&boundary, body, body.len().max(1));
    let cut = split(&boundary, body, usize::from(*size).max(1));
    assert_eq!(whole, cut);
    let Some((_, parts)) = whole else { return };
    assert!(parts.iter().map(Vec::len).sum::<usize>() <= body.len());
}

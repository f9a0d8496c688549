//! Where a decode can be held up or ended: checkpoints come often, whatever the bytes are, and what
//! stands behind one that fails is dropped.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use as2hook_as2::{ContentReceiver, Decoded, Decoder, Digest, Fault, Options};
use support::{
    Cipher, Envelope, Message, SignOptions, Signing,
    cms::{compressed_entity, smime},
    codes,
    der::Encoding,
    identity::{PARTNER, STATION, keyring},
    mime::{document, multipart},
};

/// Counts checkpoints, and ends the decode at the one of this number.
struct Budget {
    checkpoints: usize,
    last: usize,
    output: u64,
}

impl ContentReceiver for Budget {
    fn checkpoint(&mut self, output: u64) -> Result<(), Fault> {
        assert!(output >= self.output);
        self.output = output;
        self.checkpoints += 1;
        if self.checkpoints > self.last { Err(Fault::CpuTime { limit: 1000 }) } else { Ok(()) }
    }
}

/// Decodes in one push; returns the result with the checkpoints of the push and of all.
fn decode(message: &Message, last: usize) -> (Decoded, usize, Budget) {
    let mut budget = Budget { checkpoints: 0, last, output: 0 };
    let mut decoder = Decoder::new(&message.headers, Arc::new(keyring()), Options::default());
    decoder.push(&message.body, &mut budget);
    let pushed = budget.checkpoints;
    (decoder.finish(true, &mut budget), pushed, budget)
}

#[test]
fn checkpoints_come_for_each_64_kib_of_input_and_of_output_within_one_push() {
    let content = document(&vec![b'x'; 8 << 20]);
    let (_, plain, _) = decode(&Message::of(&content), usize::MAX);
    assert!(plain >= 128, "{plain}");
    let (_, deflated, budget) =
        decode(&Message::of(&compressed_entity(&content, Encoding::Der)), usize::MAX);
    assert!(deflated >= 128, "{deflated}");
    // What came since the last one is not counted yet.
    assert!(budget.output + 64 * 1024 >= content.len() as u64, "{}", budget.output);
}

#[test]
fn small_parts_and_segments_come_to_a_checkpoint_sooner_than_their_bytes_do() {
    let part = document(b"x");
    let parts = multipart("multipart/mixed", "b", &vec![part.as_slice(); 900]);
    let (_, _, budget) = decode(&Message::of(&parts), usize::MAX);
    assert!(budget.checkpoints > 20, "{}", budget.checkpoints);
    let sign = SignOptions::new(&PARTNER, Digest::Sha256);
    let content = document(&vec![b'x'; 64 * 1024]);
    let segments = sign.entity(&content, Signing::Opaque(Encoding::Ber(1)), "sha-256");
    let (_, _, budget) = decode(&Message::of(&segments), usize::MAX);
    assert!(budget.checkpoints >= segments.len() / (64 * 1024), "{}", budget.checkpoints);
}

#[test]
fn failed_checkpoint_ends_the_decode_with_one_error_and_nothing_follows() {
    let sign = SignOptions::new(&PARTNER, Digest::Sha256);
    let signed =
        sign.entity(&document(&vec![b'x'; 1 << 20]), Signing::Opaque(Encoding::Der), "sha-256");
    let sealed = Envelope::to(&STATION, Cipher::Aes256Cbc).entity(&signed);
    let message = Message::of(&compressed_entity(&sealed, Encoding::Der));
    let (decoded, _, all) = decode(&message, usize::MAX);
    assert_eq!((codes(&decoded), decoded.signature_verified), (vec![], Some(true)));
    for last in 0..all.checkpoints {
        let (decoded, _, budget) = decode(&message, last);
        assert_eq!(codes(&decoded), [1300], "{last}: {:?}", decoded.errors);
        assert_eq!(decoded.errors[0].message, "CPU time over the limit of 1000 ms");
        assert_eq!(budget.checkpoints, last + 1, "the decode went on");
        assert_ne!(decoded.signature_verified, Some(true));
        assert!(decoded.attachments.len() <= 1);
    }
}

#[test]
fn failed_checkpoint_is_the_error_even_where_the_padding_is_wrong() {
    let sign = SignOptions::new(&PARTNER, Digest::Sha256);
    let signed =
        sign.entity(&document(&vec![b'x'; 1 << 18]), Signing::Opaque(Encoding::Der), "sha-256");
    let mut cms = Envelope::to(&STATION, Cipher::Aes256Cbc).seal(&signed);
    // The padding's last byte is changed by the block in front of it.
    let at = cms.len() - 17;
    cms[at] ^= 0x80;
    let message = Message::of(&smime("enveloped-data", &cms));
    let (decoded, _, all) = decode(&message, usize::MAX);
    assert_eq!(codes(&decoded), [800]);
    for last in 0..all.checkpoints {
        let (decoded, _, budget) = decode(&message, last);
        assert_eq!(codes(&decoded), [1300], "{last}: {:?}", decoded.errors);
        assert_eq!(budget.checkpoints, last + 1, "the decode went on");
    }
}

//! Bytes that mean harm: always a clear error, never a panic, and a cost that is in proportion to the
//! bytes.
//!
//! - `structure`: structures without end, absurd lengths, truncation, changed bytes
//! - `linear`: what would make a parser read its bytes again and again
//! - `bombs`: compression within compression
//! - `public_key`: signatures and keys that are slow to compute with
//! - `forgeries`: one message made of another
//! - `lengths`: what a result keeps
//! - `padding`: what the time of a decryption shows

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and its numbers are small"
)]

mod bombs;
mod forgeries;
mod lengths;
mod linear;
mod padding;
mod public_key;
mod structure;

#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use as2hook_as2::{ContentReceiver, Decoded, Decoder, Fault, Options};
use support::{Message, identity::keyring};

/// Counts what a decode hands on.
#[derive(Default)]
struct Meter {
    /// Bytes of attachments.
    bytes: u64,
    /// Checkpoints: one for each 64 KiB of work and for each public-key operation.
    checkpoints: usize,
    /// Decompressed bytes at the last of them.
    output: u64,
}

impl ContentReceiver for Meter {
    fn data(&mut self, _: usize, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
    }

    fn checkpoint(&mut self, output: u64) -> Result<(), Fault> {
        self.checkpoints += 1;
        self.output = output;
        Ok(())
    }
}

/// Decodes without keeping attachments.
fn result(message: &Message) -> Decoded {
    measured(message).0
}

fn measured(message: &Message) -> (Decoded, Meter) {
    let mut meter = Meter::default();
    let mut decoder = Decoder::new(&message.headers, Arc::new(keyring()), Options::default());
    for piece in message.body.chunks(64 * 1024) {
        decoder.push(piece, &mut meter);
    }
    (decoder.finish(true, &mut meter), meter)
}

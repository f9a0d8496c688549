//! An AS2 sender for tests: everything that a partner may put on the wire, made with OpenSSL's
//! primitives and a DER/BER writer of its own.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shared by several tests, each of which uses a part of it and fails by panicking"
)]

pub mod attack;
pub mod cms;
#[path = "../../../../tests/support/src/coding.rs"]
pub mod coding;
pub mod cpu;
pub mod der;
pub mod identity;
pub mod mime;

use std::sync::Arc;

use as2hook_as2::{Attachment, ContentReceiver, Decoded, Decoder, Headers, Keyring, Options};

pub use cms::{Cipher, Envelope, KeyWay, Recipient, Scheme, SignOptions, Signing};
pub use identity::Identity;
pub use mime::{entity, http};

/// Keeps attachments whole.
#[derive(Default)]
pub struct Kept {
    pub names: Vec<Option<String>>,
    pub bytes: Vec<Vec<u8>>,
    pub ended: Vec<Attachment>,
}

impl ContentReceiver for Kept {
    fn begin(&mut self, index: usize, name: Option<&str>, _: &Headers) {
        assert_eq!(index, self.bytes.len());
        self.names.push(name.map(str::to_owned));
        self.bytes.push(Vec::new());
    }

    fn data(&mut self, index: usize, bytes: &[u8]) {
        self.bytes[index].extend_from_slice(bytes);
    }

    fn end(&mut self, _: usize, attachment: &Attachment) {
        self.ended.push(attachment.clone());
    }
}

/// A message as HTTP has it.
#[derive(Clone)]
pub struct Message {
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Message {
    /// An entity sent as the body: its header becomes HTTP's.
    pub fn of(entity: &[u8]) -> Self {
        http(entity, &[])
    }

    /// With one more header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value);
        self
    }
}

pub fn decode(message: &Message, keyring: &Keyring) -> (Decoded, Kept) {
    decode_cut(message, keyring, Options::default(), &[message.body.len().max(1)])
}

pub fn decode_with(message: &Message, keyring: &Keyring, options: Options) -> (Decoded, Kept) {
    decode_cut(message, keyring, options, &[message.body.len().max(1)])
}

/// Pushed in pieces of these sizes, again and again.
pub fn decode_cut(
    message: &Message,
    keyring: &Keyring,
    options: Options,
    sizes: &[usize],
) -> (Decoded, Kept) {
    let mut kept = Kept::default();
    let mut decoder = Decoder::new(&message.headers, Arc::new(keyring.clone()), options);
    let mut rest = message.body.as_slice();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*size).clamp(1, rest.len()));
        decoder.push(now, &mut kept);
        rest = later;
    }
    (decoder.finish(true, &mut kept), kept)
}

pub fn codes(decoded: &Decoded) -> Vec<u16> {
    decoded.errors.iter().map(|e| e.code.number()).collect()
}

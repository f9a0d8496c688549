//! What the decoder's tests put around it: messages of [`as2hook_messages`], and what came out.

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

pub mod cpu;
pub mod identity;

use std::sync::Arc;

use as2hook_as2::{Attachment, ContentReceiver, Decoded, Decoder, Headers, Keyring, Options};

pub use as2hook_messages::{
    Cipher, Envelope, Identity, KeyWay, Recipient, Scheme, SignOptions, Signing, cms, coding, der,
    hostile as attack,
    mime::{self, entity},
};

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

/// The entity's header becomes HTTP's, with the AS2 headers in front.
pub fn http(entity: &[u8], more: &[(&str, &str)]) -> Message {
    let mut headers = Headers::new();
    headers.push("AS2-Version", "1.2");
    headers.push("AS2-From", "PARTNER");
    headers.push("AS2-To", "STATION");
    headers.push("Message-ID", "<1@partner>");
    headers.push("Subject", "a test");
    for (name, value) in more {
        headers.push(*name, *value);
    }
    let end = memchr::memmem::find(entity, b"\r\n\r\n").expect("a header");
    for line in String::from_utf8_lossy(&entity[..end]).lines() {
        let (name, value) = line.split_once(':').expect("a field");
        headers.push(name, value.trim());
    }
    Message { headers, body: entity[end + 4..].to_vec() }
}

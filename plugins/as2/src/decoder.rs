//! The way through, from the body's bytes to the result.

use std::sync::Arc;

use crate::{Decoded, Headers, Keyring, Sink};

/// What a decode may use at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the body as it comes.
    pub body: u64,
    /// Bytes of all attachments together, decoded.
    pub decoded: u64,
    /// Ratio of a CompressedData's output to its input, looked at from 64 MiB of output on.
    pub expansion: u32,
    /// Bytes of one MIME header block.
    pub header: usize,
    /// Attachments of one message.
    pub attachments: usize,
}

/// How to decode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Bounds.
    pub limits: Limits,
    /// Open DES, RC2-40 and RC2-128 too.
    pub legacy_algorithms: bool,
}

/// Decodes one message or MDN while it passes.
pub struct Decoder {
    _todo: (),
}

// === impl Decoder ===

impl Decoder {
    /// Begins with the HTTP headers of the request or answer.
    pub fn new(headers: &Headers, keyring: Arc<Keyring>, options: Options) -> Self {
        let _ = (headers, keyring, options);
        Self { _todo: () }
    }

    /// Takes the body's next bytes, cut anywhere. After an error the rest is counted and dropped.
    pub fn push(&mut self, bytes: &[u8], sink: &mut dyn Sink) {
        let _ = (self, bytes, sink);
    }

    /// The body is complete (`whole`) or was cut off: tells what it was.
    pub fn finish(self, whole: bool, sink: &mut dyn Sink) -> Decoded {
        let _ = (self, whole, sink);
        unimplemented!()
    }
}

// === impl Limits ===

impl Default for Limits {
    /// The gateway's defaults (section 2 of the design).
    fn default() -> Self {
        Self {
            body: 4 << 30,
            decoded: 8 << 30,
            expansion: 200,
            header: 64 * 1024,
            attachments: 1000,
        }
    }
}

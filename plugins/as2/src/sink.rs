//! Where decoded attachments go while they stream.

use crate::{decoded::Attachment, headers::Headers};

/// Takes attachments as they are decoded. Until [`crate::Decoder::finish`] has spoken, what came is
/// provisional: a signature or an authentication tag may still turn out wrong.
pub trait Sink {
    /// An attachment begins; `headers` are its MIME headers, `name` its cleaned file name.
    fn begin(&mut self, index: usize, name: Option<&str>, headers: &Headers) {
        let _ = (index, name, headers);
    }

    /// The next of its decoded bytes.
    fn data(&mut self, index: usize, bytes: &[u8]) {
        let _ = (index, bytes);
    }

    /// It is complete. Never told of one that was cut off, or whose layer failed.
    fn end(&mut self, index: usize, attachment: &Attachment) {
        let _ = (index, attachment);
    }
}

/// Drops everything: for when only the facts matter.
impl Sink for () {}

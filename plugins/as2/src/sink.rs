//! Where decoded attachments go while they stream.

use crate::{decoded::Attachment, fault::Fault, headers::Headers};

/// Takes attachments as they are decoded. Until [`crate::Decoder::finish`] has spoken, what came is
/// provisional: a signature or an authentication tag may still turn out wrong.
pub trait ContentReceiver {
    /// The next bytes of the body, without its content codings.
    fn body(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }

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

    /// Called at least once for each 64 KiB of work (input read or output made by any layer) and
    /// before each public-key operation, within a push as well as in `finish`: the place to yield,
    /// or to end a decode that has used up its budget. `output`: bytes that all layers together have
    /// decompressed so far; what else a layer puts out is no larger than what it takes.
    ///
    /// # Errors
    /// The fault ends the decode: the rest of the body is counted and dropped, and no public-key
    /// operation follows.
    fn checkpoint(&mut self, output: u64) -> Result<(), Fault> {
        let _ = output;
        Ok(())
    }

    /// Called once, when the message turns out to be of the kind that may take more memory than usual
    /// ones, up to [`crate::MAX_MEMORY`]: the place to make room for it, or to end the decode.
    ///
    /// # Errors
    /// As of [`Self::checkpoint`].
    fn grow(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}

/// Drops everything: for when only the facts matter.
impl ContentReceiver for () {}

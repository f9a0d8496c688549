//! Which bytes of an exchange are kept for `raw` deliveries: the first attachment of a message, or a
//! whole MDN.

use as2hook_as2::{Headers, Kind, Sink};
use as2hook_store::{Payload, PayloadDir, PayloadWriter, StoreError};
use bytes::Bytes;

/// Takes the bytes while they stream; used on the decoder's threads, so it may block on the disk.
pub(super) struct Keeper {
    first: Option<Result<PayloadWriter, StoreError>>,
    whole: Option<Vec<u8>>,
}

// === impl Keeper ===

impl Keeper {
    /// Keeps nothing.
    pub(super) fn nothing() -> Self {
        Self { first: None, whole: None }
    }

    /// Keeps what a `raw` delivery of a message or of an MDN would send.
    pub(super) fn payloads(dir: &PayloadDir) -> Self {
        Self { first: Some(Ok(dir.writer())), whole: Some(Vec::new()) }
    }

    /// Keeps what a `raw` delivery of an MDN would send.
    pub(super) fn mdns() -> Self {
        Self { first: None, whole: Some(Vec::new()) }
    }

    /// Sees the body as it came. An MDN is small: what is larger is not kept whole.
    pub(super) fn body(&mut self, bytes: &[u8]) {
        if let Some(whole) = &mut self.whole {
            if whole.len() + bytes.len() <= Payload::INLINE_MAX {
                whole.extend_from_slice(bytes);
            } else {
                self.whole = None;
            }
        }
    }

    /// What is kept, durable when it is a file.
    pub(super) fn finish(self, kind: Kind) -> Result<Payload, StoreError> {
        match kind {
            Kind::Mdn => {
                Ok(self.whole.map_or(Payload::None, |whole| Payload::Inline(Bytes::from(whole))))
            }
            Kind::Message => self.first.map_or(Ok(Payload::None), |writer| writer?.finish()),
        }
    }
}

impl Sink for Keeper {
    fn begin(&mut self, _: usize, _: Option<&str>, _: &Headers) {}

    fn data(&mut self, index: usize, bytes: &[u8]) {
        if index != 0 {
            return;
        }
        if let Some(Ok(writer)) = &mut self.first
            && let Err(error) = writer.write(bytes)
        {
            self.first = Some(Err(error));
        }
    }
}

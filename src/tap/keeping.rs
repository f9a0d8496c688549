//! Which bytes of an exchange are kept for `raw` deliveries: the first attachment of a message, or a
//! whole MDN.

use as2hook_as2::{Decoded, Headers, Kind, Sink};
use as2hook_store::{Payload, PayloadWriter, Payloads, StoreError};
use bytes::Bytes;
use uuid::Uuid;

/// Takes the bytes while they stream; used on the decoder's threads, so it may wait for where they go.
pub(super) struct Keeper {
    payloads: Payloads,
    event: Uuid,
    first: Option<Result<PayloadWriter, StoreError>>,
    whole: Option<Vec<u8>>,
}

// === impl Keeper ===

impl Keeper {
    /// Keeps nothing of this event.
    pub(super) fn nothing(payloads: Payloads, event: Uuid) -> Self {
        Self { payloads, event, first: None, whole: None }
    }

    /// Keeps what a `raw` delivery would send if it is an MDN.
    pub(super) fn mdn(self) -> Self {
        Self { whole: Some(Vec::new()), ..self }
    }

    /// Keeps what a `raw` delivery would send if it is a message.
    pub(super) fn message(self) -> Self {
        let writer = self.payloads.writer(self.event);
        Self { first: Some(Ok(writer)), ..self }
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

    /// What is kept of it, durable when it is not in memory. Of a document that did not come to its
    /// end nothing is: it might be taken for a whole one.
    pub(super) fn finish(self, decoded: &Decoded) -> Result<Payload, StoreError> {
        match decoded.kind {
            Kind::Message if decoded.attachments.is_empty() => Ok(Payload::None),
            Kind::Mdn => match self.whole {
                Some(whole) => self.payloads.inline(self.event, Bytes::from(whole)),
                None => Ok(Payload::None),
            },
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

//! Which bytes of an exchange are kept for `raw` deliveries: the first attachment of a message, or a
//! whole MDN.

use as2hook_as2::{ContentKind, ContentReceiver, Decoded, Headers};
use as2hook_store::{Payload, PayloadWriter, Payloads, StoreError};
use bytes::Bytes;
use uuid::Uuid;

/// Takes the bytes while they stream, on the decoder's threads.
pub(crate) struct PayloadKeeper {
    payloads: Payloads,
    event: Uuid,
    first: Option<Result<PayloadWriter, StoreError>>,
    whole: Option<Vec<u8>>,
}

// === impl PayloadKeeper ===

impl PayloadKeeper {
    /// Keeps nothing of this event.
    pub(crate) fn nothing(payloads: Payloads, event: Uuid) -> Self {
        Self { payloads, event, first: None, whole: None }
    }

    /// Keeps what a `raw` delivery would send if it is an MDN.
    pub(crate) fn mdn(self) -> Self {
        Self { whole: Some(Vec::new()), ..self }
    }

    /// Keeps what a `raw` delivery would send if it is a message.
    pub(crate) fn message(self) -> Self {
        let writer = self.payloads.writer(self.event);
        Self { first: Some(Ok(writer)), ..self }
    }

    /// Whether keeping so many bytes of an attachment may have to wait for where they go.
    pub(crate) fn may_block(&self, index: usize, bytes: usize) -> bool {
        let Some(Ok(writer)) = &self.first else { return false };
        index == 0 && writer.may_block(bytes)
    }

    /// Waits until the next piece can be kept without waiting.
    pub(crate) async fn ready(&mut self) {
        if let Some(Ok(writer)) = &mut self.first {
            writer.ready().await;
        }
    }

    /// Keeps no more of the attachment: too many wait for where it goes.
    pub(crate) fn give_up(&mut self) {
        if let Some(Ok(writer)) = &mut self.first {
            writer.give_up();
        }
    }

    /// What is kept of it, durable when it is not in memory. Of a document that did not come to its
    /// end nothing is: it might be taken for a whole one.
    pub(crate) async fn finish(self, decoded: &Decoded) -> Result<Payload, StoreError> {
        match decoded.kind {
            ContentKind::Message if decoded.attachments.is_empty() => Ok(Payload::None),
            ContentKind::Mdn => match self.whole {
                Some(whole) => self.payloads.inline(self.event, Bytes::from(whole)),
                None => Ok(Payload::None),
            },
            ContentKind::Message => match self.first {
                Some(writer) => writer?.finish().await,
                None => Ok(Payload::None),
            },
        }
    }
}

impl ContentReceiver for PayloadKeeper {
    /// An MDN is small: what is larger is not kept whole.
    fn body(&mut self, bytes: &[u8]) {
        if let Some(whole) = &mut self.whole {
            if whole.len() + bytes.len() <= Payload::INLINE_MAX {
                whole.extend_from_slice(bytes);
            } else {
                self.whole = None;
            }
        }
    }

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

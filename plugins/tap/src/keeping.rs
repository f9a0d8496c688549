//! Which bytes of an exchange are kept: the first attachment of a message for `raw` deliveries, or all of them one
//! behind the other; or a whole MDN.

use as2hook_as2::{ContentKind, ContentReceiver, Decoded, Headers};
use as2hook_event::KeptAttachments;
use as2hook_store::{Payload, PayloadWriter, Payloads, StoreError};
use bytes::Bytes;
use uuid::Uuid;

/// Takes the bytes while they stream, on the decoder's threads.
pub(crate) struct PayloadKeeper {
    payloads: Payloads,
    event: Uuid,
    attachments: Option<Result<PayloadWriter, StoreError>>,
    kept: KeptAttachments,
    whole: Option<Vec<u8>>,
}

// === impl PayloadKeeper ===

impl PayloadKeeper {
    /// Keeps nothing of this event.
    pub(crate) fn nothing(payloads: Payloads, event: Uuid) -> Self {
        Self { payloads, event, attachments: None, kept: KeptAttachments::Needed, whole: None }
    }

    /// Keeps what a `raw` delivery would send if it is an MDN.
    pub(crate) fn mdn(self) -> Self {
        Self { whole: Some(Vec::new()), ..self }
    }

    /// Keeps these attachments if it is a message: what a `raw` delivery would send, or all.
    pub(crate) fn message(self, kept: KeptAttachments) -> Self {
        let writer = self.payloads.writer(self.event);
        Self { attachments: Some(Ok(writer)), kept, ..self }
    }

    fn keeps(&self, index: usize) -> bool {
        index == 0 || self.kept == KeptAttachments::All
    }

    /// Whether keeping so many bytes of an attachment may have to wait for where they go.
    pub(crate) fn may_block(&self, index: usize, bytes: usize) -> bool {
        let Some(Ok(writer)) = &self.attachments else { return false };
        self.keeps(index) && writer.may_block(bytes)
    }

    /// Waits until the next piece can be kept without waiting.
    pub(crate) async fn ready(&mut self) {
        if let Some(Ok(writer)) = &mut self.attachments {
            writer.ready().await;
        }
    }

    /// Keeps no more of the attachment: too many wait for where it goes.
    pub(crate) fn give_up(&mut self) {
        if let Some(Ok(writer)) = &mut self.attachments {
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
            ContentKind::Message => match self.attachments {
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
        if !self.keeps(index) {
            return;
        }
        if let Some(Ok(writer)) = &mut self.attachments
            && let Err(error) = writer.write(bytes)
        {
            self.attachments = Some(Err(error));
        }
    }
}

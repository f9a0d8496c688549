//! The HTTP request that a webhook receives, exactly as in `docs/webhooks.md`.
//!
//! [`render`] is a pure function of an event, one attempt, the endpoint in force and the time. A
//! payload in a file is not read here: the result is then [`Rendered::Unsigned`], which takes the
//! file's bytes in pieces, and the file is read a second time to be sent.
//!
//! # Layout
//! - `request`: the request as plain data
//! - [`headers`]: which headers are passed on, and which never are
//! - `body`: the bodies of the three payload modes
//! - `json`: the documents of `json`
//! - `disposition`: `Content-Disposition` with any file name

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use as2hook_event::{Endpoint, Event, PayloadMode};

use crate::sign::{BodySigner, Covered, SignatureHeaders, WrongLength};

mod body;
mod disposition;
pub mod headers;
mod json;
mod request;
#[cfg(test)]
mod tests;

pub use request::{Body, Field, Fields, WebhookRequest};

/// One attempt to deliver an event to a webhook.
#[derive(Clone, Debug)]
pub struct Rendering<'a> {
    /// See [`Event::webhook_id`]: the same on every attempt.
    pub webhook_id: &'a str,
    /// What the body contains. Fixed when the delivery was planned, so not the endpoint's.
    pub mode: PayloadMode,
    /// Counts from 1.
    pub attempt: u32,
    /// Whether the delivery is a replay.
    pub replay: bool,
    /// The bytes stored for [`PayloadMode::Raw`].
    pub payload: RawPayload,
    /// Keys at the beginning of a JSON body, in this order, before all others. One that the body
    /// has anyway moves here, with this value.
    pub leading: &'a [(&'a str, Value)],
}

/// The bytes stored for a `raw` delivery: the first attachment's, or the MDN's MIME entity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RawPayload {
    /// None: the event has none, it could not be decoded, or it exceeded a limit.
    #[default]
    None,
    /// In memory.
    Bytes(Bytes),
    /// In a file; the caller streams it.
    Stream {
        /// Its length in bytes.
        size: u64,
    },
}

/// A request, complete or without its signatures.
#[derive(Debug)]
pub enum Rendered {
    /// Ready to be sent.
    Ready(WebhookRequest),
    /// The payload must be read first.
    Unsigned(Unsigned),
}

/// A request whose payload is still to be signed.
#[derive(Debug)]
pub struct Unsigned {
    request: WebhookRequest,
    signer: BodySigner,
}

/// Renders one attempt.
pub fn render(
    event: &Event,
    rendering: &Rendering<'_>,
    endpoint: &Endpoint,
    now: Timestamp,
) -> Rendered {
    let content = body::content(event, rendering);
    let mut request = headers::request(event, rendering, endpoint, now, content);
    if endpoint.secrets.is_empty() {
        return Rendered::Ready(request);
    }
    let mut signer = with_covered(&request.headers, |covered| {
        BodySigner::new(&endpoint.secrets, covered, request.body.length())
    });
    match &request.body {
        Body::Payload { .. } => return Rendered::Unsigned(Unsigned { request, signer }),
        Body::Bytes(bytes) => signer.update(bytes),
        Body::Empty => {}
    }
    request.sign(&signer.signatures());
    Rendered::Ready(request)
}

/// Whether a header of this name is reserved for as2hook, so that a rule's `headers` cannot set it.
pub fn is_reserved(name: &str) -> bool {
    headers::is_reserved(name)
}

/// Whether an original header of this name is never passed on, whatever `pass_headers` says.
pub fn is_never_passed(name: &str) -> bool {
    headers::is_never_passed(name)
}

/// Reads what is signed from the very headers that are sent.
fn with_covered<T>(headers: &Fields, then: impl FnOnce(&Covered<'_>) -> T) -> T {
    let joined = |name| headers.joined(name);
    then(&Covered {
        webhook_id: &joined("webhook-id"),
        webhook_timestamp: &joined("webhook-timestamp"),
        event: &joined("X-AS2-Event"),
        partner_type: &joined("X-Partner-Type"),
        as2_from: &joined("AS2-From"),
        as2_to: &joined("AS2-To"),
        message_id: &joined("Message-ID"),
        processing_error: &joined("X-Processing-Error"),
        send_error: &joined("X-Send-Error"),
        event_id: &joined("X-AS2-Event-Id"),
        signature_status: &joined("X-AS2-Signature-Status"),
        document: &joined("X-AS2-Document"),
    })
}

// === impl Unsigned ===

impl Unsigned {
    /// Returns the request without its signatures.
    pub fn request(&self) -> &WebhookRequest {
        &self.request
    }

    /// Adds the next bytes of the payload.
    pub fn update(&mut self, bytes: &[u8]) {
        self.signer.update(bytes);
    }

    /// Returns the signed request.
    ///
    /// # Errors
    /// When the payload was not as long as announced.
    pub fn finish(self) -> Result<WebhookRequest, WrongLength> {
        let Self { mut request, signer } = self;
        request.sign(&signer.finish()?);
        Ok(request)
    }
}

// === impl WebhookRequest ===

impl WebhookRequest {
    fn sign(&mut self, signatures: &SignatureHeaders) {
        let SignatureHeaders { webhook, as2 } = signatures;
        self.headers.own("webhook-signature", webhook);
        self.headers.own("X-AS2-Signature", as2);
    }
}

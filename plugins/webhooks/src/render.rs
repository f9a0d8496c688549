//! The HTTP request that a webhook gets: `docs/webhooks.md`, to the letter.
//!
//! [`render`] is a pure function of an event, of one attempt to tell it, of the endpoint in force and
//! of the time. A payload that lies in a file is not read here: then the answer is
//! [`Rendered::Unsigned`], which takes the file's bytes in pieces, and the file is read a second time
//! to be sent.
//!
//! # Layout
//! - `request`: the request as plain data
//! - [`headers`]: which headers go along, and which never do
//! - `body`: what the three payload modes send
//! - `json`: the documents of `json`
//! - `disposition`: `Content-Disposition` with any file name

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    event::Event,
    rule::{Endpoint, PayloadMode},
    sign::{Covered, Signatures, Signer, WrongLength},
};

mod body;
mod disposition;
pub mod headers;
mod json;
mod request;
#[cfg(test)]
mod tests;

pub use request::{Body, Field, Fields, Request};

/// One attempt to tell a webhook of an event.
#[derive(Clone, Debug)]
pub struct Rendering<'a> {
    /// See [`Event::webhook_id`]: the same on every attempt.
    pub webhook_id: &'a str,
    /// What the body holds. Fixed when the delivery was written down, so not the endpoint's.
    pub mode: PayloadMode,
    /// From 1.
    pub attempt: u32,
    /// Whether somebody asked for the delivery again.
    pub replay: bool,
    /// What was kept for [`PayloadMode::Raw`].
    pub payload: Payload,
    /// Keys that a JSON body begins with, in this order, before all others. One that the body has
    /// anyway moves here, with this value.
    pub leading: &'a [(&'a str, Value)],
}

/// The bytes kept for a `raw` delivery: the first attachment's, or the MDN's MIME entity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Payload {
    /// Nothing was kept: the event has none, it could not be decoded, or it was over a limit.
    #[default]
    None,
    /// In memory.
    Bytes(Bytes),
    /// To be streamed by the caller, from a file.
    Stream {
        /// Its length in bytes.
        size: u64,
    },
}

/// A request, or all of it but its signatures.
#[derive(Debug)]
pub enum Rendered {
    /// To be sent as it is.
    Ready(Request),
    /// The payload has to be seen first.
    Unsigned(Unsigned),
}

/// A request whose payload is still to be signed.
#[derive(Debug)]
pub struct Unsigned {
    request: Request,
    signer: Signer,
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
        Signer::new(&endpoint.secrets, covered, request.body.length())
    });
    match &request.body {
        Body::Payload { .. } => return Rendered::Unsigned(Unsigned { request, signer }),
        Body::Bytes(bytes) => signer.update(bytes),
        Body::Empty => {}
    }
    request.sign(&signer.signatures());
    Rendered::Ready(request)
}

/// Whether a header of this name is as2hook's alone, so that a rule's `headers` cannot set it.
pub fn is_reserved(name: &str) -> bool {
    headers::is_reserved(name)
}

/// What is signed is read from the very headers that are sent.
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
    })
}

// === impl Unsigned ===

impl Unsigned {
    /// The request without its signatures, to look at.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Takes the next bytes of the payload.
    pub fn update(&mut self, bytes: &[u8]) {
        self.signer.update(bytes);
    }

    /// The signed request.
    ///
    /// # Errors
    /// When the payload was not as long as announced.
    pub fn finish(self) -> Result<Request, WrongLength> {
        let Self { mut request, signer } = self;
        request.sign(&signer.finish()?);
        Ok(request)
    }
}

// === impl Request ===

impl Request {
    fn sign(&mut self, signatures: &Signatures) {
        let Signatures { webhook, as2 } = signatures;
        self.headers.own("webhook-signature", webhook);
        self.headers.own("X-AS2-Signature", as2);
    }
}

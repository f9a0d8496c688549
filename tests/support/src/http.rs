//! HTTP/1.1 as it stands on the wire, read by hand so that nothing is tidied on the way.

mod body;
mod head;

use std::borrow::Cow;
use std::time::Instant;

pub use as2hook_as2::{Header, Headers};
pub(crate) use body::hex;
pub use body::{Body, Framing, read_body};
pub use head::{Head, read_head};

/// A request as an endpoint got it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which of the endpoint's connections it came on, counted from 0.
    pub connection: usize,
    /// Which request on this connection it was, counted from 0.
    pub nth: usize,
    /// The common name in the client's certificate, if it showed one.
    pub client: Option<String>,
    /// Request line and header fields.
    pub head: Head,
    /// How the body was framed.
    pub framing: Framing,
    /// What the body was.
    pub body: Body,
    /// Whether the body came to its end.
    pub complete: bool,
    /// When the head was there.
    pub began: Instant,
    /// When the body's last byte was there.
    pub ended: Instant,
}

// === impl Request ===

impl Request {
    /// The first field of this name as text, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The method.
    pub fn method(&self) -> &str {
        self.head.word(0)
    }

    /// The target, path and query.
    pub fn target(&self) -> &str {
        self.head.word(1)
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body.bytes)
    }

    /// The body as JSON. Panics, with the body, when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body.bytes)
            .unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text()))
    }
}

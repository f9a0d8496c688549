//! How header names are spelt on the wire.
//!
//! `http::HeaderName` holds lower case alone. hyper can write names in the case they were read in: the
//! head that it parsed carries the spelling as an opaque extension, and a head it writes with that
//! extension is spelt so. The type is private to hyper, extensions can be copied all the same: so one
//! head with all names that matter is read once, and its extension goes along with every request.

use http::Extensions;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;

/// The names whose title case would not be what partners' tools and Standard Webhooks write.
const NAMES: [&str; 23] = [
    "AS2-From",
    "AS2-To",
    "AS2-Version",
    "Content-ID",
    "Content-MD5",
    "Disposition-Notification-To",
    "EDIINT-Features",
    "ETag",
    "MIME-Version",
    "Message-ID",
    "Original-Message-ID",
    "Receipt-Delivery-Option",
    "X-AS2-Attempt",
    "X-AS2-Event",
    "X-AS2-Replay",
    "X-AS2-Signature",
    "X-Partner-Type",
    "X-Processing-Error",
    "X-Send-Error",
    "X-Truncated",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// Known spellings.
pub(super) struct Spelling(Extensions);

// === impl Spelling ===

impl Spelling {
    /// Lets hyper read every name once. Should it ever stop telling, names go out in title case.
    pub(super) async fn learn() -> Self {
        let mut head = String::from("POST / HTTP/1.1\r\nHost: names\r\nContent-Length: 0\r\n");
        for name in NAMES {
            head.push_str(name);
            head.push_str(": 1\r\n");
        }
        head.push_str("Connection: close\r\n\r\n");

        let (mut ours, theirs) = tokio::io::duplex(4096);
        let (tell, told) = std::sync::mpsc::channel();
        let read = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let _ = tell.send(request.extensions().clone());
            async { Ok::<_, std::convert::Infallible>(http::Response::new(String::new())) }
        });
        let served = http1::Builder::new()
            .preserve_header_case(true)
            .serve_connection(TokioIo::new(theirs), read);
        // Both ends are in this process's memory, and the answer fits the pipe: nothing here can wait.
        let (_written, _served) = tokio::join!(ours.write_all(head.as_bytes()), served);
        Self(told.try_recv().unwrap_or_default())
    }

    /// Has a request written with these spellings.
    pub(super) fn apply(&self, extensions: &mut Extensions) {
        extensions.extend(self.0.clone());
    }
}

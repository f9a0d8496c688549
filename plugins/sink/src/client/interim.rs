//! Limits interim responses (1xx, RFC 9110 section 15.2).
//!
//! hyper reads them until the final response comes, without a limit, and its caller only sees the
//! final one. An endpoint that sends them without end would keep a core busy until the timeout.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::HeaderMap;
use hyper_util::client::legacy::connect::CaptureConnection;

use super::ConnectionUsage;

/// Counts the interim responses to one request, and ends the connection above the limit.
#[derive(Debug, Default)]
pub(super) struct InterimResponses {
    seen: AtomicUsize,
    bytes: AtomicUsize,
}

// === impl InterimResponses ===

impl InterimResponses {
    /// The most interim responses to one request.
    pub(super) const MOST: usize = 16;
    /// The most bytes of all of them together.
    pub(super) const BYTES_MAX: usize = 64 * 1024;

    /// Registers the callback that counts the interim responses to `message`; `connection` is the
    /// one that the request is sent on.
    pub(super) fn of<B>(
        message: &mut http::Request<B>,
        connection: CaptureConnection,
    ) -> Arc<Self> {
        let interim = Arc::new(Self::default());
        let counted = interim.clone();
        hyper::ext::on_informational(message, move |response| {
            counted.add(response.headers());
            if counted.are_too_many()
                && let Some(connected) = connection.connection_metadata().as_ref()
                && let Some(uses) = ConnectionUsage::of(connected)
            {
                uses.end_connection();
            }
        });
        interim
    }

    /// Whether the limit is exceeded.
    pub(super) fn are_too_many(&self) -> bool {
        self.seen.load(Ordering::Relaxed) > Self::MOST
            || self.bytes.load(Ordering::Relaxed) > Self::BYTES_MAX
    }

    fn add(&self, headers: &HeaderMap) {
        // Adds colon, blank and line break; the status line is about as short.
        let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            name.as_str().len() + value.len() + 4
        };
        let bytes = headers.iter().map(line).sum::<usize>();
        self.seen.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

//! Request bodies: small ones from memory, payloads in bounded pieces.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use as2hook_store::{Payload, PayloadReader, Payloads, StoreError};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::error::DeliveryError;

/// What a request carries.
#[derive(Clone)]
pub enum RequestBody {
    /// In memory; empty for `headers` deliveries.
    Bytes(Bytes),
    /// An event's payload, which is read while it is sent.
    Payload(KeptPayload),
}

/// An event's payload and its source. It is read anew for each attempt.
#[derive(Clone, Debug)]
pub struct KeptPayload {
    /// Where payloads are stored.
    pub payloads: Payloads,
    /// The event of the payload.
    pub event: Uuid,
    /// The payload.
    pub payload: Payload,
}

/// A [`RequestBody`] that is being sent.
pub(super) struct OutgoingBody {
    source: BodySource,
    /// Read, and not yet passed to hyper.
    ready: Bytes,
    left: u64,
    sent: Arc<AtomicBool>,
}

enum BodySource {
    Memory,
    /// No read is in progress.
    Payload(Box<PayloadReader>),
    Reading(Reading),
    Over,
}

type Reading =
    Pin<Box<dyn Future<Output = (Box<PayloadReader>, Result<Option<Bytes>, StoreError>)> + Send>>;

/// The payload could not be read. [`DeliveryError::of_request`] finds it as the cause of hyper's
/// error.
#[derive(Debug)]
pub(super) struct PayloadFailed(String);

// === impl KeptPayload ===

impl KeptPayload {
    /// Opens the payload for reading.
    ///
    /// # Errors
    /// [`DeliveryError::Payload`], also when the deadline passes.
    pub async fn open(&self, deadline: Instant) -> Result<PayloadReader, DeliveryError> {
        let opened = timeout_at(deadline, self.payloads.reader(self.event, &self.payload)).await;
        match opened {
            Ok(opened) => opened.map_err(|e| DeliveryError::Payload(io::Error::other(e))),
            Err(_) => Err(DeliveryError::Payload(io::ErrorKind::TimedOut.into())),
        }
    }
}

// === impl RequestBody ===

impl RequestBody {
    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Payload(kept) => kept.payload.size(),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes in memory", bytes.len()),
            Self::Payload(kept) => write!(f, "{} bytes of a payload", kept.payload.size()),
        }
    }
}

// === impl OutgoingBody ===

impl OutgoingBody {
    /// The most that is passed to hyper at once, so that `sent` is accurate.
    const PIECE: usize = 64 * 1024;

    /// Opens a body. `sent` becomes true when its last byte has been passed to hyper.
    pub(super) async fn open(
        body: &RequestBody,
        sent: Arc<AtomicBool>,
        deadline: Instant,
    ) -> Result<Self, DeliveryError> {
        let left = body.size();
        let (source, ready) = match body {
            RequestBody::Bytes(bytes) => (BodySource::Memory, bytes.clone()),
            RequestBody::Payload(kept) => {
                let reader = kept.open(deadline).await?;
                (BodySource::Payload(Box::new(reader)), Bytes::new())
            }
        };
        sent.store(left == 0, Ordering::Relaxed);
        Ok(Self { source, ready, left, sent })
    }

    /// Reads the next piece. Fails unless the payload is read completely.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, PayloadFailed>> {
        let mut reading = match std::mem::replace(&mut self.source, BodySource::Over) {
            BodySource::Payload(mut reader) => Box::pin(async move {
                let read = reader.next().await;
                (reader, read)
            }),
            BodySource::Reading(reading) => reading,
            BodySource::Memory | BodySource::Over => {
                return Poll::Ready(Err(PayloadFailed::ended()));
            }
        };
        let Poll::Ready((reader, read)) = reading.as_mut().poll(context) else {
            self.source = BodySource::Reading(reading);
            return Poll::Pending;
        };
        self.source = BodySource::Payload(reader);
        Poll::Ready(match read {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(PayloadFailed::ended()),
            Err(error) => Err(PayloadFailed(error.to_string())),
        })
    }
}

impl hyper::body::Body for OutgoingBody {
    type Data = Bytes;
    type Error = PayloadFailed;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PayloadFailed>>> {
        let body = self.get_mut();
        if body.left == 0 {
            return Poll::Ready(None);
        }
        if body.ready.is_empty() {
            match ready!(body.poll_read(context)) {
                Ok(bytes) => body.ready = bytes,
                Err(error) => {
                    body.left = 0;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        let piece = body.ready.split_to(body.ready.len().min(Self::PIECE));
        body.left -= piece.len() as u64;
        body.sent.store(body.left == 0, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

// === impl PayloadFailed ===

impl PayloadFailed {
    fn ended() -> Self {
        Self("it is shorter than it was".to_owned())
    }

    pub(super) fn to_io(&self) -> io::Error {
        io::Error::other(self.0.clone())
    }
}

impl fmt::Display for PayloadFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PayloadFailed {}

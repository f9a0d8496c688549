//! Request bodies: small ones from memory, others in pieces that are read while they are sent.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, stream};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, timeout_at};

/// What a request carries.
#[derive(Clone)]
pub enum RequestBody {
    /// In memory; empty for `headers` deliveries.
    Bytes(Bytes),
    /// Read while it is sent.
    Streamed(Arc<dyn BodySource>),
}

/// A body of a known length that is read anew for each attempt.
#[async_trait]
pub trait BodySource: Send + Sync {
    /// Its length in bytes.
    fn size(&self) -> u64;

    /// Opens it for reading.
    async fn open(&self) -> Result<BodyStream, BodyError>;
}

/// The pieces of a [`BodySource`].
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// A [`RequestBody`] that is being sent.
pub(super) struct OutgoingBody {
    /// `None`: all of it is in `ready`.
    source: Option<BodyStream>,
    /// Read, and not yet passed to hyper.
    ready: Bytes,
    left: u64,
    sent: Arc<AtomicBool>,
}

/// The payload cannot be read: a local fault, not the destination's.
#[derive(Debug, thiserror::Error)]
#[error("the payload cannot be read: {0}")]
pub struct BodyError(#[from] pub(super) io::Error);

// === impl RequestBody ===

impl RequestBody {
    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Streamed(source) => source.size(),
        }
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// When a payload cannot be opened.
    pub async fn open(&self) -> Result<BodyStream, BodyError> {
        match self {
            Self::Bytes(bytes) => Ok(Box::pin(stream::iter([Ok(bytes.clone())]))),
            Self::Streamed(source) => source.open().await,
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes in memory", bytes.len()),
            Self::Streamed(source) => write!(f, "{} bytes of a payload", source.size()),
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
    ) -> Result<Self, BodyError> {
        let left = body.size();
        let (source, ready) = match body {
            RequestBody::Bytes(bytes) => (None, bytes.clone()),
            RequestBody::Streamed(source) => {
                let opened = timeout_at(deadline, source.open()).await;
                let opened =
                    opened.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
                (Some(opened?), Bytes::new())
            }
        };
        sent.store(left == 0, Ordering::Relaxed);
        Ok(Self { source, ready, left, sent })
    }
}

impl hyper::body::Body for OutgoingBody {
    type Data = Bytes;
    type Error = BodyError;

    /// Fails unless the source is read completely.
    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = self.get_mut();
        if body.left == 0 {
            return Poll::Ready(None);
        }
        if body.ready.is_empty() {
            let next = match &mut body.source {
                Some(source) => ready!(source.as_mut().poll_next(context)),
                None => None,
            };
            match next.unwrap_or_else(|| Err(io::Error::other("it is shorter than it was").into()))
            {
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

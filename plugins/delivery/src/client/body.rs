//! Bodies: small ones from memory, payload files in bounded pieces.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Frame, SizeHint};
use tokio::{
    fs::File,
    io::{AsyncRead, ReadBuf},
    time::{Instant, timeout_at},
};

use super::error::DeliveryError;

/// What a request carries.
#[derive(Clone)]
pub enum RequestBody {
    /// In memory; empty for `headers` deliveries.
    Bytes(Bytes),
    /// A payload file, read while it is sent.
    File {
        /// Where it is.
        path: PathBuf,
        /// How many bytes are sent; it must have as many.
        size: u64,
    },
}

/// A [`RequestBody`] on its way.
pub(super) struct Body {
    source: Source,
    left: u64,
    sent: Arc<AtomicBool>,
}

enum Source {
    Bytes(Bytes),
    File { file: File, path: Arc<Path>, piece: BytesMut },
}

/// The payload file failed while it was read: found again behind hyper's error.
#[derive(Debug)]
pub(super) struct PayloadFailed {
    path: Arc<Path>,
    kind: io::ErrorKind,
    text: String,
}

// === impl RequestBody ===

impl RequestBody {
    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes in memory", bytes.len()),
            Self::File { path, size } => write!(f, "{size} bytes of {}", path.display()),
        }
    }
}

// === impl Body ===

impl Body {
    /// The most that is handed over at once.
    const PIECE: usize = 64 * 1024;

    /// Opens it; `sent` turns true when its last byte is handed over.
    pub(super) async fn open(
        body: &RequestBody,
        sent: Arc<AtomicBool>,
        deadline: Instant,
    ) -> Result<Self, DeliveryError> {
        let left = body.size();
        let source = match body {
            RequestBody::Bytes(bytes) => Source::Bytes(bytes.clone()),
            RequestBody::File { path, .. } => {
                let opened = timeout_at(deadline, File::open(path)).await;
                let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                let named =
                    |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
                let file = opened.map_err(|e| DeliveryError::Payload(named(e)))?;
                Source::File { file, path: path.as_path().into(), piece: BytesMut::new() }
            }
        };
        sent.store(left == 0, Ordering::Relaxed);
        Ok(Self { source, left, sent })
    }
}

impl hyper::body::Body for Body {
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
        let piece = match &mut body.source {
            // In pieces too, so that `sent` tells how far it is.
            Source::Bytes(bytes) => bytes.split_to(bytes.len().min(Self::PIECE)),
            Source::File { file, path, piece } => {
                match ready!(poll_piece(file, piece, body.left, context)) {
                    Ok(piece) => piece,
                    Err(error) => {
                        body.left = 0;
                        return Poll::Ready(Some(Err(PayloadFailed::new(path.clone(), &error))));
                    }
                }
            }
        };
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

/// Reads up to one piece, never more than `left`; the end before that is an error.
fn poll_piece(
    file: &mut File,
    piece: &mut BytesMut,
    left: u64,
    context: &mut Context<'_>,
) -> Poll<io::Result<Bytes>> {
    let wanted = usize::try_from(left).unwrap_or(Body::PIECE).min(Body::PIECE);
    piece.resize(wanted, 0);
    let mut buffer = ReadBuf::new(piece);
    ready!(Pin::new(file).poll_read(context, &mut buffer))?;
    let read = buffer.filled().len();
    Poll::Ready(match read {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than it was")),
        _ => Ok(piece.split_to(read).freeze()),
    })
}

// === impl PayloadFailed ===

impl PayloadFailed {
    fn new(path: Arc<Path>, error: &io::Error) -> Self {
        Self { path, kind: error.kind(), text: error.to_string() }
    }

    pub(super) fn to_io(&self) -> io::Error {
        io::Error::new(self.kind, self.to_string())
    }
}

impl fmt::Display for PayloadFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.text)
    }
}

impl std::error::Error for PayloadFailed {}

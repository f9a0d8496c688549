//! What the partner gets, as long as it takes it: responses with the receiver's `Date`, and refusals.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::protocols::Shutdown;
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::{super::rejection::Rejection, Connection};

/// How long a response that goes out before Pingora has the connection may take, and a goodbye.
const REFUSE: Duration = Duration::from_secs(5);

/// How much of what the partner goes on sending is read away behind such a response. A close with
/// unread bytes would take the response away from it.
const REFUSE_READS: u64 = 1024 * 1024;

impl Connection {
    /// Responds to what Pingora is not to see, and closes.
    pub(crate) async fn refuse(mut self, rejection: &Rejection) {
        let response = rejection.to_bytes();
        let goodbye = async {
            self.stream.write_all(&response).await?;
            self.stream.flush().await?;
            // The partner's end of the stream is the sign that it has read the response.
            AsyncWriteExt::shutdown(&mut self.stream).await?;
            let mut rest = (&mut self.stream).take(REFUSE_READS);
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
        };
        // A partner that does not take it in time does not want it.
        let _ = timeout(REFUSE, goodbye).await;
    }

    /// Takes the head of a response over for rewriting, when that was asked for.
    fn take_head(&mut self, bytes: &[u8]) -> bool {
        if !is_final_head(bytes) {
            return false;
        }
        let Some(dates) = self.exchange.get_mut().dates.take() else { return false };
        self.head = with_dates(bytes, &dates);
        true
    }

    /// Gives the partner up when it takes nothing for too long.
    fn poll_taken<T>(
        &mut self,
        cx: &mut Context<'_>,
        taken: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if taken.is_ready() {
            self.taking.at = None;
            return taken;
        }
        if self.taking.at.is_none() {
            let piece = self.exchange.get_mut().pace.piece;
            self.taking.set(piece);
        }
        ready!(self.taking.poll(cx));
        self.torn = true;
        // A request behind a torn response could not get one.
        (self.ahead, self.of_head) = (BytesMut::new(), 0);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Writes to the partner while it is there. `gone`: what a write comes to when it is not.
    fn poll_partner<T>(
        &mut self,
        cx: &mut Context<'_>,
        gone: T,
        write: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.is_gone() {
            return Poll::Ready(Ok(gone));
        }
        let written = match self.torn {
            true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            false => write(self, cx),
        };
        match ready!(self.poll_taken(cx, written)) {
            Err(_) if self.passes_over() => Poll::Ready(Ok(gone)),
            result => Poll::Ready(result),
        }
    }

    fn poll_out(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_head(cx))?;
        if self.take_head(bytes) {
            // What is left of it goes out before the next bytes, or with the flush.
            if let Poll::Ready(Err(error)) = self.poll_head(cx) {
                return Poll::Ready(Err(error));
            }
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.head.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.head))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.head.drain(..written);
            self.taking.at = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_partner(cx, bytes.len(), |connection, cx| connection.poll_out(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_partner(cx, (), |connection, cx| {
            ready!(connection.poll_head(cx))?;
            Pin::new(&mut connection.stream).poll_flush(cx)
        })
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.poll_taken(cx, shut)
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        // A failure means that the partner is gone already.
        let _ = self.flush().await;
        let _ = timeout(REFUSE, Shutdown::shutdown(&mut *self.stream)).await;
    }
}

/// Whether these bytes are the whole head of a response that is not an interim one. Pingora hands a
/// head over in one write.
pub(crate) fn is_final_head(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.") && bytes.get(9) != Some(&b'1') && bytes.ends_with(b"\r\n\r\n")
}

pub(crate) fn with_dates(head: &[u8], dates: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut rewritten = Vec::with_capacity(head.len() + 64);
    let fields = &head[..head.len() - 2];
    for line in fields.split_inclusive(|&b| b == b'\n') {
        if !line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"date:")) {
            rewritten.extend_from_slice(line);
        }
    }
    for (name, value) in dates {
        rewritten.extend_from_slice(name);
        rewritten.extend_from_slice(b": ");
        rewritten.extend_from_slice(value);
        rewritten.extend_from_slice(b"\r\n");
    }
    rewritten.extend_from_slice(b"\r\n");
    rewritten
}

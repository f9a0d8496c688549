//! What Pingora reads: heads from memory, bodies by their limit and by the letter, and of what comes behind
//! them the partner's end alone.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use super::{
    super::{
        chunks::{ChunkFlaw, Chunks},
        in_flight::GaveWay,
    },
    Connection, NoResponse, Phase,
};

/// How much is read at once of what comes behind a complete request, and kept, or behind a flaw, and
/// dropped.
const BEHIND: usize = 4096;

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let phase = self.exchange.get_mut().phase;
        if phase != Phase::Gone {
            if let Some(flaw) = self.flaw {
                return self.poll_flaw(cx, flaw);
            }
            if phase != Phase::Response && !self.chunks.as_ref().is_some_and(Chunks::is_whole) {
                return self.poll_body(cx, buffer);
            }
            if let Poll::Ready(behind) = self.poll_behind(cx) {
                return Poll::Ready(behind);
            }
        }
        match phase {
            Phase::Head | Phase::Body => Poll::Pending,
            Phase::Response | Phase::Gone => {
                let limit = &mut self.exchange.get_mut().limit;
                limit.poll(cx).map(|()| Err(io::Error::other(NoResponse)))
            }
        }
    }
}

impl Connection {
    /// Reads at most so much of what Pingora will ask for. How much; 0 at the end.
    pub(super) fn poll_ahead<const MOST: usize>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.torn {
            return Poll::Ready(Ok(0));
        }
        // On the stack: a connection that rests costs no buffer.
        let mut piece = [const { MaybeUninit::uninit() }; MOST];
        let mut buffer = ReadBuf::uninit(&mut piece);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        self.ahead.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let is_body = self.of_head == 0;
        let exchange = self.exchange.get_mut();
        if exchange.phase == Phase::Body && is_body && exchange.limit.at.is_none() {
            exchange.limit.set(exchange.pace.body);
        }
        if !self.ahead.is_empty() {
            // A flaw of the body must not take the head away: its response hangs on that.
            let most = if self.of_head > 0 { self.of_head } else { self.ahead.len() };
            let ready = most.min(buffer.remaining());
            buffer.put_slice(&self.ahead[..ready]);
            self.ahead.advance(ready);
            if self.ahead.is_empty() {
                self.ahead = BytesMut::new();
            }
            self.came(ready);
            if self.of_head > 0 {
                self.of_head -= ready;
                return Poll::Ready(Ok(()));
            }
            return Poll::Ready(self.follow_chunks(buffer, before));
        }
        let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(cx, buffer) else {
            return self.poll_limit(cx).map(Err);
        };
        self.came(buffer.filled().len() - before);
        match result {
            Err(_) if self.passes_over() => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
            Ok(()) => Poll::Ready(self.follow_chunks(buffer, before)),
        }
    }

    /// The limit of a body grows with what has come.
    fn came(&mut self, bytes: usize) {
        let exchange = self.exchange.get_mut();
        if exchange.phase == Phase::Body {
            let earned = (bytes as u64).saturating_mul(1000) / exchange.pace.rate;
            let earned = Duration::from_millis(earned);
            exchange.limit.at = exchange.limit.at.map(|at| at + earned);
        }
    }

    /// Refuses a body that two readers could read in two ways. What was read behind its end is kept until
    /// its turn comes: Pingora would close the connection over it, and the next request would be lost.
    fn follow_chunks(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let Some(chunks) = self.chunks.as_mut() else { return Ok(()) };
        let came = &buffer.filled()[before..];
        let taken = chunks.push(came).map_err(|flaw| {
            self.flaw = Some(flaw);
            io::Error::new(io::ErrorKind::InvalidData, flaw)
        })?;
        let is_whole = chunks.is_whole();
        if taken < came.len() {
            self.ahead = BytesMut::from(&[&came[taken..], &self.ahead].concat()[..]);
            buffer.set_filled(before + taken);
        }
        if is_whole {
            // Pingora may be busy with the pieces before it learns of the end.
            self.exchange.get_mut().gives_way = None;
        }
        Ok(())
    }

    /// Drops what there is behind a flaw: a close with unread bytes would take the response away.
    fn poll_flaw(&mut self, cx: &mut Context<'_>, flaw: ChunkFlaw) -> Poll<io::Result<()>> {
        // A hostile partner may have no end of it.
        if let Poll::Ready(error) = self.poll_limit(cx) {
            return Poll::Ready(Err(error));
        }
        let mut piece = [0; BEHIND];
        let mut buffer = ReadBuf::new(&mut piece);
        if let Poll::Ready(Ok(())) = Pin::new(&mut self.stream).poll_read(cx, &mut buffer)
            && !buffer.filled().is_empty()
        {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, flaw)))
    }

    /// Behind a complete request Pingora sees the partner's end alone. What comes is the next
    /// request's: a piece of it is kept, the rest waits where it is.
    fn poll_behind(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_ahead::<BEHIND>(cx)) {
            Ok(0) => Poll::Ready(Ok(())),
            Ok(_) => Poll::Pending,
            Err(_) if self.passes_over() => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Whether what is waited for has to be given up: its time is over, or it gives way to others.
    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let exchange = self.exchange.get_mut();
        if exchange.phase == Phase::Body
            && let Some(due) = exchange.limit.at
            && let Some(gives_way) = &mut exchange.gives_way
        {
            gives_way.due(due);
            if let Poll::Ready(asked) = Pin::new(gives_way.asked()).poll(cx) {
                exchange.gives_way = None;
                // Else it was withdrawn.
                if asked.is_ok() {
                    return Poll::Ready(io::Error::other(GaveWay));
                }
            }
        }
        exchange.limit.poll(cx).map(|()| io::ErrorKind::TimedOut.into())
    }
}

//! What the partner sends: heads from memory, bodies by their limit and by the letter, and what comes
//! behind them.

use std::{
    io,
    mem::MaybeUninit,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, ReadBuf};

use super::{
    super::{
        chunks::{ChunkFlaw, Chunks},
        in_flight::GaveWay,
    },
    Connection, NoResponse, Phase,
};

/// How much is read at once while a head is waited for: a small message comes with its head, in one
/// call of the system.
const PIECE: usize = 16 * 1024;

/// How much is read at once of what comes behind a complete request, and kept, or behind a flaw, and
/// dropped.
const BEHIND: usize = 4096;

/// What became of waiting for more of a head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum More {
    Came,
    /// The partner's end, or an error.
    Over,
    /// [`Connection::patience`] is at its end.
    Late,
}

impl Connection {
    /// What was read and not yet handed on.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.ahead[self.at..]
    }

    /// Where in [`Connection::ahead`] the next request's head is; what stands before it is forgotten.
    /// Its body is read along when it is `chunked`.
    pub(crate) fn expect(&mut self, head: Range<usize>, chunked: bool) {
        self.at = self.ahead.len().min(self.at + head.start);
        self.of_head = head.len();
        self.chunks = chunked.then(Chunks::new);
        // Of the request before, when nothing was read behind it.
        self.phase = Phase::Rest;
        self.limit.clear();
    }

    /// Replaces these bytes of [`Connection::ahead`]. Where the new ones are.
    pub(crate) fn replace_ahead(&mut self, range: Range<usize>, bytes: &[u8]) -> Range<usize> {
        let place = self.at + range.start..self.at + range.end;
        self.ahead.splice(place, bytes.iter().copied());
        range.start..range.start + bytes.len()
    }

    /// Keeps nothing but what was read and not yet handed on: a connection that rests costs no buffer.
    pub(crate) fn rest(&mut self) {
        self.ahead.drain(..std::mem::take(&mut self.at));
        self.ahead.shrink_to_fit();
    }

    /// How long a head may be waited for from now on.
    pub(crate) fn patience(&mut self, time: Duration) {
        self.limit.set(time);
    }

    /// Reads more of a head.
    pub(crate) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<More> {
        match self.poll_ahead::<PIECE>(cx) {
            Poll::Ready(Ok(1..)) => Poll::Ready(More::Came),
            Poll::Ready(_) => Poll::Ready(More::Over),
            Poll::Pending => self.limit.poll(cx).map(|()| More::Late),
        }
    }

    /// Reads at most so much of what Pingora will ask for. How much; 0 at the end.
    fn poll_ahead<const MOST: usize>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.torn {
            return Poll::Ready(Ok(0));
        }
        // On the stack, see `rest`.
        let mut piece = [const { MaybeUninit::uninit() }; MOST];
        let mut buffer = ReadBuf::uninit(&mut piece);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        // One who is always a request ahead would make it grow for ever.
        self.ahead.drain(..std::mem::take(&mut self.at));
        self.ahead.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Keeps the limit of what is being read, which grows with what has come.
    fn limit(&mut self, read: u64) {
        let (phase, pace, response) = {
            let wishes = self.wishes();
            (wishes.phase, wishes.pace, wishes.response)
        };
        if self.phase != phase {
            self.phase = phase;
            self.limit.clear();
        }
        match self.phase {
            Phase::Body if !self.limit.is_set() => self.limit.set(pace.body),
            Phase::Body if read > 0 => {
                self.limit.extend(Duration::from_millis(read.saturating_mul(1000) / pace.rate));
            }
            Phase::Response => match response {
                Some(at) => self.limit.set_at(at),
                None => self.limit.clear(),
            },
            _ => {}
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
            self.ahead = [&came[taken..], self.ahead()].concat();
            self.at = 0;
            buffer.set_filled(before + taken);
        }
        if is_whole {
            // Pingora may be busy with the pieces before it learns of the end.
            self.wishes().gives_way = None;
        }
        Ok(())
    }

    /// Nothing more of the request is to come.
    fn is_whole(&self) -> bool {
        self.phase == Phase::Response || self.chunks.as_ref().is_some_and(Chunks::is_whole)
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
        if !self.ahead().is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_ahead::<BEHIND>(cx)) {
            Ok(0) => Poll::Ready(Ok(())),
            Ok(_) => Poll::Pending,
            Err(_) if self.passes_over() => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.phase == Phase::Body && self.poll_asked(cx).is_ready() {
            return Poll::Ready(io::Error::other(GaveWay));
        }
        self.limit.poll(cx).map(|()| io::ErrorKind::TimedOut.into())
    }

    /// Whether the body that is waited for has to give way to others.
    fn poll_asked(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.limit.at() else { return Poll::Pending };
        let mut wishes = self.wishes();
        let Some(gives_way) = &mut wishes.gives_way else { return Poll::Pending };
        gives_way.due(due);
        let asked = ready!(Pin::new(gives_way.asked()).poll(cx));
        wishes.gives_way = None;
        match asked {
            Ok(()) => Poll::Ready(()),
            // It was withdrawn.
            Err(_) => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_gone() {
            if let Some(flaw) = self.flaw {
                return self.poll_flaw(cx, flaw);
            }
            self.limit(0);
            if !self.is_whole() {
                return self.poll_body(cx, buffer);
            }
            if let Poll::Ready(behind) = self.poll_behind(cx) {
                return Poll::Ready(behind);
            }
        } else {
            self.limit(0);
        }
        match self.phase {
            Phase::Response => self.limit.poll(cx).map(|()| Err(io::Error::other(NoResponse))),
            Phase::Rest | Phase::Body => Poll::Pending,
        }
    }
}

impl Connection {
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.at < self.ahead.len() {
            // A flaw of the body must not take the head away: its response hangs on that.
            let most = if self.of_head > 0 { self.of_head } else { self.ahead().len() };
            let ready = most.min(buffer.remaining());
            buffer.put_slice(&self.ahead()[..ready]);
            self.at += ready;
            if self.at == self.ahead.len() {
                (self.ahead, self.at) = (Vec::new(), 0);
            }
            self.limit(ready as u64);
            if self.of_head > 0 {
                self.of_head -= ready;
                return Poll::Ready(Ok(()));
            }
            return Poll::Ready(self.follow_chunks(buffer, before));
        }
        let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(cx, buffer) else {
            return self.poll_limit(cx).map(Err);
        };
        self.limit((buffer.filled().len() - before) as u64);
        match result {
            Err(_) if self.passes_over() => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
            Ok(()) => Poll::Ready(self.follow_chunks(buffer, before)),
        }
    }
}

//! A partner's connection as Pingora sees it, with five things mended on the way.
//!
//! - Pingora 0.9.1 puts its own `Date` into every answer; the receiver's belongs there.
//! - Pingora ends an exchange when the partner hangs up; it is to be followed to its answer, or nobody
//!   would learn that the receiver took the message. From [`Connection::follow`] on, what cannot be
//!   sent to the partner any more is dropped in silence, and its going away is not noticed.
//! - Pingora's time limits count for each read, so a sender of a byte a minute is served for ever. A
//!   body has [`Pace::body`] and a second for each [`Pace::rate`] bytes.
//! - Pingora gives an exchange up at the first byte behind its request. That is the next request's, or
//!   the empty line of an old client (RFC 9112 section 2.2): it is kept until its turn comes.
//! - Pingora limits the writing of bodies alone. Whoever takes no byte for [`Pace::piece`] is given up,
//!   whatever is being written.
//!
//! A request's head is read before Pingora asks for it (see `hearing`), and handed on from memory.

use std::{
    io,
    ops::Range,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    protocols::{
        ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
        Stream, TimingDigest, UniqueID, UniqueIDType,
        raw_connect::ProxyDigest,
        tls::{SslDigest, TlsRef},
    },
    proxy::Session,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use super::{
    answer::Rejection,
    chunks::{ChunkFlaw, Chunks},
    deadline::Deadline,
};
use crate::config::Pace;

/// How much is read at once while a head is waited for.
const PIECE: usize = 4096;

/// How long an answer that goes out before Pingora has the connection may take, and a goodbye.
const REFUSE: Duration = Duration::from_secs(5);

/// How much of what the partner goes on sending is read away behind such an answer. A close with
/// unread bytes would take the answer away from it.
const REFUSE_READS: u64 = 1024 * 1024;

/// Wraps the stream that Pingora reads requests from and writes answers to.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    /// What was read before Pingora asked for it, from `at` on.
    ahead: Vec<u8>,
    at: usize,
    /// Bytes of it that are a head.
    of_head: usize,
    chunks: Option<Chunks>,
    /// What ended it.
    flaw: Option<ChunkFlaw>,
    head: Vec<u8>,
    wishes: Mutex<Wishes>,
    limit: Deadline,
    phase: Phase,
    /// For the partner to take the next byte.
    taking: Deadline,
    /// That time was over: what was being written is torn.
    torn: bool,
}

/// What is being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// What is not limited here.
    #[default]
    Rest,
    Body,
    /// Whether the partner is still there.
    Answer,
}

/// What the hooks of an exchange ask of its connection.
#[derive(Debug, Default)]
struct Wishes {
    dates: Option<Vec<(Vec<u8>, Vec<u8>)>>,
    phase: Phase,
    pace: Pace,
    following: bool,
    gone: bool,
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        let (wishes, phase) = (Mutex::default(), Phase::default());
        let (ahead, head) = (Vec::new(), Vec::new());
        Self {
            stream,
            ahead,
            at: 0,
            of_head: 0,
            chunks: None,
            flaw: None,
            head,
            wishes,
            limit: Deadline::default(),
            phase,
            taking: Deadline::default(),
            torn: false,
        }
    }

    /// What was read and not yet handed on.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.ahead[self.at..]
    }

    /// Where in [`Connection::ahead`] the next request's head is; what stands before it is forgotten.
    /// Its body is read along when it is `chunked`.
    pub(super) fn expect(&mut self, head: Range<usize>, chunked: bool) {
        self.at = self.ahead.len().min(self.at + head.start);
        self.of_head = head.len();
        self.chunks = chunked.then(Chunks::new);
        // Of the request before, when nothing was read behind it.
        self.phase = Phase::Rest;
        self.limit.clear();
    }

    /// Reads more of what Pingora will ask for. How much; 0 at the end.
    pub(super) fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.torn {
            return Poll::Ready(Ok(0));
        }
        // On the stack: a connection that rests costs no buffer.
        let mut piece = [0; PIECE];
        let mut buffer = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        // One who is always a request ahead would make it grow for ever.
        self.ahead.drain(..std::mem::take(&mut self.at));
        self.ahead.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Answers what Pingora is not to see, and closes.
    pub(super) async fn refuse(mut self, rejection: &Rejection) {
        let answer = rejection.to_bytes();
        let goodbye = async {
            self.stream.write_all(&answer).await?;
            self.stream.flush().await?;
            // The partner's end of the stream is the sign that it has read the answer.
            AsyncWriteExt::shutdown(&mut self.stream).await?;
            let mut rest = (&mut self.stream).take(REFUSE_READS);
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
        };
        // Whoever does not take it in time does not want it.
        let _ = timeout(REFUSE, goodbye).await;
    }

    /// The connection behind a session, when it is one of ours (HTTP/1).
    pub(super) fn of(session: &Session) -> Option<&Self> {
        session.as_downstream().as_http1()?.stream().as_any().downcast_ref()
    }

    /// A new request's head is complete.
    pub(super) fn begin(&self, pace: Pace) {
        *self.wishes() = Wishes { phase: Phase::Body, pace, ..Wishes::default() };
    }

    /// The request is complete: from now on the exchange goes on without the partner.
    pub(super) fn follow(&self) {
        let mut wishes = self.wishes();
        wishes.following = true;
        wishes.phase = Phase::Answer;
    }

    /// The exchange is over: whether the partner is still there matters again.
    pub(super) fn release(&self) {
        let mut wishes = self.wishes();
        wishes.following = false;
        wishes.phase = Phase::Rest;
    }

    /// The next final answer has these `Date` fields (names in their case) and no other.
    pub(super) fn keep_dates(&self, dates: Vec<(Vec<u8>, Vec<u8>)>) {
        self.wishes().dates = Some(dates);
    }

    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an error of this connection is to be passed over; then it is given up.
    fn passes_over(&self) -> bool {
        let mut wishes = self.wishes();
        wishes.gone |= wishes.following;
        wishes.following
    }

    fn is_gone(&self) -> bool {
        let wishes = self.wishes();
        wishes.gone && wishes.following
    }

    /// Keeps the limit of what is being read, which grows with what has come.
    fn limit(&mut self, read: u64) {
        let (phase, pace) = {
            let wishes = self.wishes();
            (wishes.phase, wishes.pace)
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
            _ => {}
        }
    }

    /// Refuses a body that two readers could read in two ways.
    fn follow_chunks(&mut self, bytes: &[u8]) -> io::Result<()> {
        let followed = self.chunks.as_mut().map_or(Ok(()), |chunks| chunks.push(bytes));
        followed.map_err(|flaw| {
            self.flaw = Some(flaw);
            io::Error::new(io::ErrorKind::InvalidData, flaw)
        })
    }

    /// Drops what there is behind a flaw: a close with unread bytes would take the answer away.
    fn poll_flaw(&mut self, cx: &mut Context<'_>, flaw: ChunkFlaw) -> Poll<io::Result<()>> {
        let mut piece = [0; PIECE];
        let mut buffer = ReadBuf::new(&mut piece);
        if let Poll::Ready(Ok(())) = Pin::new(&mut self.stream).poll_read(cx, &mut buffer)
            && !buffer.filled().is_empty()
        {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, flaw)))
    }

    /// Behind a complete request Pingora is told of the partner's end alone. What comes is the next
    /// request's: a piece of it is kept, the rest waits where it is.
    fn poll_behind(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ahead().is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_ahead(cx)) {
            Ok(0) => Poll::Ready(Ok(())),
            Ok(_) => Poll::Pending,
            Err(_) if self.passes_over() => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.limit.poll(cx).map(|()| io::ErrorKind::TimedOut.into())
    }

    /// Takes the head of an answer over for rewriting, when that was asked for.
    fn take_head(&mut self, bytes: &[u8]) -> bool {
        if !is_final_head(bytes) {
            return false;
        }
        let Some(dates) = self.wishes().dates.take() else { return false };
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
            self.taking.clear();
            return taken;
        }
        if !self.taking.is_set() {
            let pace = self.wishes().pace;
            self.taking.set(pace.piece);
        }
        ready!(self.taking.poll(cx));
        self.torn = true;
        // What is asked behind a torn answer could not be answered.
        (self.ahead, self.at, self.of_head) = (Vec::new(), 0, 0);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
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
            self.taking.clear();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_gone() {
            return Poll::Pending;
        }
        if let Some(flaw) = self.flaw {
            return self.poll_flaw(cx, flaw);
        }
        self.limit(0);
        if self.phase == Phase::Answer {
            return self.poll_behind(cx);
        }
        let before = buffer.filled().len();
        if self.at < self.ahead.len() {
            // A flaw of the body must not take the head away: its answer hangs on that.
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
            return Poll::Ready(self.follow_chunks(&buffer.filled()[before..]));
        }
        let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(cx, buffer) else {
            return self.poll_limit(cx).map(Err);
        };
        self.limit((buffer.filled().len() - before) as u64);
        match result {
            Err(_) if self.passes_over() => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
            Ok(()) => Poll::Ready(self.follow_chunks(&buffer.filled()[before..])),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_gone() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = match self.torn {
            true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            false => self.poll_out(cx, bytes),
        };
        match ready!(self.poll_taken(cx, written)) {
            Err(_) if self.passes_over() => Poll::Ready(Ok(bytes.len())),
            result => Poll::Ready(result),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_gone() {
            return Poll::Ready(Ok(()));
        }
        let flushed = match self.torn {
            true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            false => match self.poll_head(cx) {
                Poll::Ready(Ok(())) => Pin::new(&mut self.stream).poll_flush(cx),
                head => head,
            },
        };
        match ready!(self.poll_taken(cx, flushed)) {
            Err(_) if self.passes_over() => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
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

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for Connection {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.stream.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

#[async_trait]
impl Peek for Connection {
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        self.stream.try_peek(buffer).await
    }
}

/// Whether these bytes are the whole head of an answer that is not an interim one. Pingora hands a
/// head over in one write.
fn is_final_head(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.") && bytes.get(9) != Some(&b'1') && bytes.ends_with(b"\r\n\r\n")
}

fn with_dates(head: &[u8], dates: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nDate: now\r\nX-Dated: yes\r\n\r\n";

    /// Writes a byte every 13 seconds and tells what reading them came to after how long.
    async fn trickle(connection: &mut Connection, partner: &mut DuplexStream, bytes: usize) -> u64 {
        let began = tokio::time::Instant::now();
        for _ in 0..bytes {
            partner.write_all(b"x").await.unwrap();
            let read = connection.read_exact(&mut [0; 1]).await;
            if read.is_err() {
                break;
            }
            // The pause is the scenario; time is the test's own.
            let silence = timeout(Duration::from_secs(13), connection.read_u8()).await;
            if silence.is_ok() {
                break;
            }
        }
        began.elapsed().as_secs()
    }

    fn pair() -> (Connection, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1024);
        (Connection::new(Box::new(ours)), theirs)
    }

    #[tokio::test]
    async fn what_was_read_ahead_comes_first() {
        let (mut connection, mut partner) = pair();
        partner.write_all(b"\r\nfirst, ").await.unwrap();
        let read = std::future::poll_fn(|cx| connection.poll_ahead(cx)).await.unwrap();
        assert_eq!((read, connection.ahead()), (9, &b"\r\nfirst, "[..]));
        connection.expect(2..3, false);
        partner.write_all(b"second").await.unwrap();
        let mut all = [0; 13];
        connection.read_exact(&mut all).await.unwrap();
        assert_eq!(&all, b"first, second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_to_come_at_a_certain_rate() {
        let (mut connection, mut partner) = pair();
        connection.begin(Pace::default());
        assert_eq!(trickle(&mut connection, &mut partner, 100).await, 120);
    }

    #[tokio::test(start_paused = true)]
    async fn a_resting_or_followed_connection_has_no_limit() {
        let (mut connection, _partner) = pair();
        let hour = Duration::from_secs(3600);
        assert!(timeout(hour, connection.read_u8()).await.is_err());
        connection.begin(Pace::default());
        connection.follow();
        assert!(timeout(hour, connection.read_u8()).await.is_err());
        connection.release();
        assert!(timeout(hour, connection.read_u8()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_behind_a_request_is_kept_for_the_next() {
        let (mut connection, mut partner) = pair();
        connection.begin(Pace::default());
        connection.follow();
        let hour = Duration::from_secs(3600);
        for piece in [&b"\r\n"[..], b"next"] {
            partner.write_all(piece).await.unwrap();
            assert!(timeout(hour, connection.read_u8()).await.is_err());
        }
        connection.release();
        while connection.ahead().len() < 6 {
            std::future::poll_fn(|cx| connection.poll_ahead(cx)).await.unwrap();
        }
        assert_eq!(connection.ahead(), b"\r\nnext");
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_is_always_ahead_takes_no_more_and_more() {
        let (mut connection, mut partner) = pair();
        for _ in 0..100 {
            partner.write_all(&[b'x'; 1000]).await.unwrap();
            std::future::poll_fn(|cx| connection.poll_ahead(cx)).await.unwrap();
            connection.expect(0..999, false);
            connection.read_exact(&mut [0; 999]).await.unwrap();
            assert!(connection.ahead.len() < 3000, "{}", connection.ahead.len());
        }
    }

    /// Long enough that the pair above does not hold it.
    fn long_head() -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(2000)).into_bytes()
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up() {
        let day = Duration::from_secs(24 * 3600);
        for dated in [true, false] {
            let (mut connection, _partner) = pair();
            connection.begin(Pace::default());
            if dated {
                connection.keep_dates(Vec::new());
            }
            let began = tokio::time::Instant::now();
            let answer = async {
                connection.write_all(&long_head()).await?;
                connection.flush().await
            };
            let answered = timeout(day, answer).await.expect("it ends");
            assert_eq!(answered.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert_eq!(began.elapsed(), Pace::default().piece);
            timeout(day, Shutdown::shutdown(&mut connection)).await.expect("it ends");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_little_by_little_is_not_given_up() {
        let (mut connection, mut partner) = pair();
        connection.begin(Pace::default());
        connection.keep_dates(Vec::new());
        let taking = tokio::spawn(async move {
            let mut taken = 0;
            while taken < 2000 {
                // The pause is the scenario; time is the test's own.
                tokio::time::sleep(Pace::default().piece * 9 / 10).await;
                taken += partner.read(&mut [0; 200]).await.unwrap();
            }
        });
        connection.write_all(&long_head()).await.unwrap();
        connection.flush().await.unwrap();
        taking.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_given_up_is_followed_and_not_heard_again() {
        let (mut connection, mut partner) = pair();
        connection.begin(Pace::default());
        connection.follow();
        partner.write_all(b"next").await.unwrap();
        assert!(timeout(Duration::from_secs(1), connection.read_u8()).await.is_err());
        connection.write_all(&long_head()).await.unwrap();
        connection.release();
        assert!(connection.ahead().is_empty());
        let read = std::future::poll_fn(|cx| connection.poll_ahead(cx)).await.unwrap();
        assert_eq!(read, 0, "its answer is torn");
        assert!(connection.write_all(b"HTTP/1.1 200 OK").await.is_err());
    }

    #[tokio::test]
    async fn the_end_behind_a_request_is_noticed() {
        let (mut connection, partner) = pair();
        connection.begin(Pace::default());
        connection.follow();
        drop(partner);
        assert_eq!(connection.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[test]
    fn the_receivers_date_replaces_pingoras() {
        let dates = [(b"dAte".to_vec(), b"Mon, 01 Jun 2020 16:12:51 GMT".to_vec())];
        assert_eq!(
            with_dates(ANSWER, &dates),
            b"HTTP/1.1 200 OK\r\nX-Dated: yes\r\ndAte: Mon, 01 Jun 2020 16:12:51 GMT\r\n\r\n"
        );
    }

    #[test]
    fn a_receiver_without_a_date_gets_none() {
        assert_eq!(with_dates(ANSWER, &[]), b"HTTP/1.1 200 OK\r\nX-Dated: yes\r\n\r\n");
    }

    #[test]
    fn interim_answers_and_bodies_are_left_alone() {
        assert!(is_final_head(ANSWER));
        assert!(!is_final_head(b"HTTP/1.1 100 Continue\r\n\r\n"));
        assert!(!is_final_head(b"HTTP/1.1 in a body"));
    }
}

//! A partner's connection as Pingora sees it, with four things mended on the way.
//!
//! - Pingora 0.9.1 puts its own `Date` into every answer; the receiver's belongs there.
//! - Pingora ends an exchange when the partner hangs up; it is to be followed to its answer, or nobody
//!   would learn that the receiver took the message. From [`Connection::follow`] on, what cannot be
//!   sent to the partner any more is dropped in silence, and its going away is not noticed.
//! - Pingora's time limits count for each read, so a sender of a byte a minute is served for ever. A
//!   head has [`HEAD`] from its first byte, a body has [`SLACK`] and a second for each [`RATE`] bytes.
//! - Pingora ends idle connections at once when it stops, whatever has been sent on them; here they end
//!   when [`Close`] says so and nothing has come.

use std::{
    io,
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
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::{deadline::Deadline, ending::Close};

/// For a request's head, from its first byte on.
const HEAD: Duration = Duration::from_secs(60);

/// For a request's body, however short it is.
const SLACK: Duration = Duration::from_secs(120);

/// Bytes of a body that a sender has to manage in a second, all in all.
const RATE: u64 = 1024;

/// Wraps the stream that Pingora reads requests from and writes answers to.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    head: Vec<u8>,
    wishes: Mutex<Wishes>,
    limit: Deadline,
    phase: Phase,
    close: Close,
}

/// What is being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Nothing yet: the partner may take its time with another request, as Pingora allows.
    #[default]
    Rest,
    Head,
    Body,
    /// Whether the partner is still there.
    Answer,
}

/// What the hooks of an exchange ask of its connection.
#[derive(Debug, Default)]
struct Wishes {
    dates: Option<Vec<(Vec<u8>, Vec<u8>)>>,
    phase: Phase,
    following: bool,
    gone: bool,
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(stream: Stream, close: Close) -> Self {
        let (wishes, phase) = (Mutex::default(), Phase::default());
        Self { stream, head: Vec::new(), wishes, limit: Deadline::default(), phase, close }
    }

    /// The connection behind a session, when it is one of ours (HTTP/1).
    pub(super) fn of(session: &Session) -> Option<&Self> {
        session.as_downstream().as_http1()?.stream().as_any().downcast_ref()
    }

    /// A new request's head is complete.
    pub(super) fn begin(&self) {
        *self.wishes() = Wishes { phase: Phase::Body, ..Wishes::default() };
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
        let wished = self.wishes().phase;
        if self.phase != wished && !(self.phase == Phase::Head && wished == Phase::Rest) {
            self.phase = wished;
            self.limit.clear();
        }
        if self.phase == Phase::Rest && read > 0 {
            self.phase = Phase::Head;
            self.close.used();
        }
        match self.phase {
            Phase::Head if !self.limit.is_set() => self.limit.set(HEAD),
            Phase::Body if !self.limit.is_set() => self.limit.set(SLACK),
            Phase::Body if read > 0 => {
                self.limit.extend(Duration::from_millis(read.saturating_mul(1000) / RATE));
            }
            _ => {}
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

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.head.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.head))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.head.drain(..written);
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
        self.limit(0);
        let before = buffer.filled().len();
        let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(cx, buffer) else {
            if self.phase == Phase::Rest && self.close.poll(cx).is_ready() {
                // As if the partner had closed it.
                return Poll::Ready(Ok(()));
            }
            return self.poll_limit(cx).map(Err);
        };
        self.limit((buffer.filled().len() - before) as u64);
        match result {
            Err(_) if self.passes_over() => Poll::Pending,
            result => Poll::Ready(result),
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
        let result = match ready!(self.poll_head(cx)) {
            Err(error) => Err(error),
            Ok(()) if self.take_head(bytes) => match self.poll_head(cx) {
                Poll::Ready(Err(error)) => Err(error),
                // What is left of it goes out before the next bytes, or with the flush.
                _ => Ok(bytes.len()),
            },
            Ok(()) => ready!(Pin::new(&mut self.stream).poll_write(cx, bytes)),
        };
        match result {
            Err(_) if self.passes_over() => Poll::Ready(Ok(bytes.len())),
            result => Poll::Ready(result),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_gone() {
            return Poll::Ready(Ok(()));
        }
        let result = match ready!(self.poll_head(cx)) {
            Ok(()) => ready!(Pin::new(&mut self.stream).poll_flush(cx)),
            error => error,
        };
        match result {
            Err(_) if self.passes_over() => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        // A failure means that the partner is gone already.
        let _ = self.flush().await;
        Shutdown::shutdown(&mut *self.stream).await;
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
    use tokio::{
        io::{AsyncReadExt as _, DuplexStream},
        time::timeout,
    };

    use super::{super::ending::Ending, *};

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
        (Connection::new(Box::new(ours), Ending::new().close()), theirs)
    }

    fn ending_pair() -> (Ending, Connection, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1024);
        let ending = Ending::new();
        let connection = Connection::new(Box::new(ours), ending.close());
        (ending, connection, theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_a_minute_however_steadily_it_trickles() {
        let (mut connection, mut partner) = pair();
        assert_eq!(trickle(&mut connection, &mut partner, 100).await, HEAD.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_to_come_at_a_certain_rate() {
        let (mut connection, mut partner) = pair();
        connection.begin();
        assert_eq!(trickle(&mut connection, &mut partner, 100).await, SLACK.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_resting_or_followed_connection_has_no_limit() {
        let (mut connection, _partner) = pair();
        let hour = Duration::from_secs(3600);
        assert!(timeout(hour, connection.read_u8()).await.is_err());
        connection.begin();
        connection.follow();
        assert!(timeout(hour, connection.read_u8()).await.is_err());
        connection.release();
        assert!(timeout(hour, connection.read_u8()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_when_it_is_told_and_not_before() {
        let (ending, mut connection, mut partner) = ending_pair();
        partner.write_all(b"x").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'x');
        connection.release();
        ending.last_answers();
        let hour = Duration::from_secs(3600);
        assert!(timeout(hour, connection.read_u8()).await.is_err(), "it may send one more request");
        ending.close_idle();
        let end = timeout(Duration::from_millis(60), connection.read(&mut [0; 1])).await;
        assert_eq!(end.unwrap().unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_within_the_grace_is_read() {
        let (ending, mut connection, mut partner) = ending_pair();
        ending.close_idle();
        assert!(timeout(Duration::from_millis(20), connection.read_u8()).await.is_err());
        partner.write_all(b"x").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'x');
        // A head that has begun is read to its end.
        let limit = timeout(HEAD / 2, connection.read_u8()).await;
        assert!(limit.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_only_just_connected_has_a_second() {
        let (ending, mut connection, _partner) = ending_pair();
        ending.close_idle();
        let began = tokio::time::Instant::now();
        assert_eq!(connection.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(began.elapsed().as_secs(), 1);
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

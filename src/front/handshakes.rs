//! Limits the TLS handshakes under way: how many, from where, and for how long. A connection takes its seat
//! once a response can say that there is none, so handshakes are counted apart.
//!
//! When there are too many, the oldest gives way, of the address with most of them. A handshake at a common
//! pace is done long before its turn comes.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use as2hook_event::Direction;
use async_trait::async_trait;
use pingora::{
    ErrorType,
    http::ResponseHeader,
    listeners::{ConnectionFilter, PreTlsProcess},
    protocols::{
        GetProxyDigest as _, GetSocketDigest as _, SocketDigest, Stream,
        l4::{
            self,
            virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream},
        },
        raw_connect::ProxyDigest,
    },
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    connection_limiter::{
        ConnectionLimiter, ConnectionPermit, IdleConnection, LimitReached, counted_peer,
    },
    deadline::Deadline,
    serve::turned_away,
};
use crate::{
    log::RejectionLog,
    memory::{Memory, Share},
    observe::CountedConnection,
    proxy::listener,
    snapshot::Live,
};
use as2hook_config::{Config, Limits};

/// Handshakes under way at once, for each listener.
const AT_ONCE: usize = 1000;

/// Memory of one handshake, as measured: its TLS state and its read buffer. All of them together have an
/// eighth of `limits.memory` at the most.
const MEMORY: u64 = 64 * 1024;
const PART_OF_MEMORY: u64 = 8;

/// For a ClientHello, from the connection's beginning.
const HELLO: Duration = Duration::from_secs(5);

/// For the whole handshake.
const WHOLE: Duration = Duration::from_secs(15);

/// The handshakes of one listener.
pub(crate) struct Handshakes {
    live: Arc<Live>,
    direction: Direction,
    seats: ConnectionLimiter,
    memory: Memory,
    log: RejectionLog,
}

/// A handshake, which goes with its stream until it is over.
struct HandshakeHandle(Arc<Mutex<Option<Handshake>>>);

/// What a handshake holds while it is under way.
#[derive(Debug)]
struct Handshake {
    waiting: IdleConnection,
    _seat: ConnectionPermit,
    _memory: Option<Share>,
    _counted: CountedConnection,
    limit: Deadline,
    hello: ClientHello,
}

/// How much of the ClientHello has come: the first record (RFC 8446 section 5.1).
#[derive(Debug, Default)]
struct ClientHello {
    head: [u8; 5],
    came: usize,
    whole: bool,
}

/// A stream whose reads and writes end with its handshake's time. It costs nothing once that is over.
#[derive(Debug)]
struct HandshakeStream {
    stream: Option<l4::stream::Stream>,
    handshake: Option<Arc<Mutex<Option<Handshake>>>>,
}

/// Why a handshake was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum HandshakeError {
    #[error("the ClientHello did not come within {HELLO:?}")]
    NoHello,
    #[error("it was not over within {WHOLE:?}")]
    Slow,
    #[error("it gave way to others: too many are under way")]
    GaveWay,
}

// === impl Handshakes ===

impl Handshakes {
    pub(crate) fn new(
        live: Arc<Live>,
        direction: Direction,
        memory: Memory,
        seats: ConnectionLimiter,
    ) -> Self {
        Self { live, direction, seats, memory, log: RejectionLog::default() }
    }

    fn begin(&self, peer: Option<IpAddr>) -> Result<Handshake, LimitReached> {
        let config = &self.live.load().config;
        let address = counted_peer(config, self.direction, peer);
        let of_address = config.limits.connections_per_address;
        let seat = self.seats.enter(at_once(config), address, of_address, || false)?;
        let mut limit = Deadline::default();
        limit.set(HELLO);
        Ok(Handshake {
            waiting: seat.wait(),
            _seat: seat,
            // Counted whatever the limit says: their number is what bounds it.
            _memory: self.memory.take(MEMORY, u64::MAX),
            _counted: self.live.observer().handshake(listener(self.direction)),
            limit,
            hello: ClientHello::default(),
        })
    }
}

fn at_once(config: &Config) -> usize {
    let Limits { connections, memory, .. } = config.limits;
    let fit = memory / PART_OF_MEMORY / MEMORY;
    AT_ONCE.min(connections).min(usize::try_from(fit).unwrap_or(AT_ONCE))
}

impl std::fmt::Debug for Handshakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshakes").field("seats", &self.seats.taken()).finish_non_exhaustive()
    }
}

#[async_trait]
impl ConnectionFilter for Handshakes {
    /// Checks whether there is a seat. It is taken in the connection's task, which can give it back.
    async fn should_accept(&self, peer: Option<&SocketAddr>) -> bool {
        let peer = peer.map(SocketAddr::ip);
        let config = &self.live.load().config;
        let address = counted_peer(config, self.direction, peer);
        if !self.seats.is_full(address, config.limits.connections_per_address) {
            return true;
        }
        turned_away(&self.live, &self.log, self.direction, peer, LimitReached::Address);
        false
    }
}

#[async_trait]
impl PreTlsProcess for Handshakes {
    async fn process(&self, stream: &mut l4::stream::Stream) -> pingora::Result<()> {
        let digest = stream.get_socket_digest();
        let peer = digest.as_ref().and_then(|digest| digest.peer_addr().cloned());
        let address = peer.as_ref().and_then(|peer| peer.as_inet().map(SocketAddr::ip));
        // Another connection may have taken the seat since `should_accept` looked.
        let handshake = match self.begin(address) {
            Ok(handshake) => Arc::new(Mutex::new(Some(handshake))),
            Err(full) => {
                turned_away(&self.live, &self.log, self.direction, address, full);
                return pingora::Error::e_explain(
                    ErrorType::AcceptError,
                    "too many TLS handshakes",
                );
            }
        };
        let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
        // New, so it has none.
        let _ = digest.peer_addr.set(peer);
        let inner = std::mem::replace(stream, guarded(None, None));
        *stream = guarded(Some(inner), Some(handshake.clone()));
        stream.set_socket_digest(digest);
        // The one thing that Pingora keeps with a stream and gives back; a listener has no other use for it.
        let response = ResponseHeader::build_no_case(200, Some(0))?;
        let begun = Some(Box::new(HandshakeHandle(handshake)) as _);
        stream.set_proxy_digest(ProxyDigest::new(Box::new(response), begun));
        Ok(())
    }
}

/// The connection's handshake is over, if it had one.
pub(crate) fn done(stream: &Stream) {
    let digest = stream.get_proxy_digest();
    let begun = digest
        .as_ref()
        .and_then(|digest| digest.user_data.as_ref()?.downcast_ref::<HandshakeHandle>());
    if let Some(HandshakeHandle(handshake)) = begun {
        *handshake.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn guarded(
    stream: Option<l4::stream::Stream>,
    handshake: Option<Arc<Mutex<Option<Handshake>>>>,
) -> l4::stream::Stream {
    VirtualSocketStream::new(Box::new(HandshakeStream { stream, handshake })).into()
}

// === impl Handshake ===

impl Handshake {
    fn came(&mut self, bytes: &[u8]) {
        if self.hello.came(bytes) {
            self.limit.extend(WHOLE - HELLO);
        }
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<HandshakeError> {
        if self.waiting.poll_asked(cx).is_ready() {
            return Poll::Ready(HandshakeError::GaveWay);
        }
        self.limit
            .poll(cx)
            .map(|()| if self.hello.whole { HandshakeError::Slow } else { HandshakeError::NoHello })
    }
}

// === impl ClientHello ===

impl ClientHello {
    /// Whether it became whole by these bytes.
    fn came(&mut self, bytes: &[u8]) -> bool {
        if self.whole {
            return false;
        }
        for (of_head, byte) in self.head.iter_mut().skip(self.came).zip(bytes) {
            *of_head = *byte;
        }
        self.came += bytes.len();
        let [_, _, _, high, low] = self.head;
        let length = usize::from(u16::from_be_bytes([high, low]));
        self.whole = self.came >= self.head.len() + length;
        self.whole
    }
}

// === impl HandshakeStream ===

impl HandshakeStream {
    /// Passes on what the stream says, unless the handshake has to end while it is waited for.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(Pin<&mut l4::stream::Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let polled = poll(Pin::new(stream), cx);
        if polled.is_pending() && self.handshake.is_some() {
            let ended = ready!(self.with(|handshake| handshake.poll_ended(cx)));
            return Poll::Ready(Err(io::Error::other(ended)));
        }
        polled
    }

    /// Pending where there is no handshake any more.
    fn with<T>(&mut self, act: impl FnOnce(&mut Handshake) -> Poll<T>) -> Poll<T> {
        let Some(handshake) = &self.handshake else { return Poll::Pending };
        if let Some(handshake) = &mut *handshake.lock().unwrap_or_else(PoisonError::into_inner) {
            return act(handshake);
        }
        self.handshake = None;
        Poll::Pending
    }
}

impl AsyncRead for HandshakeStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = ready!(this.poll(cx, |stream, cx| stream.poll_read(cx, buffer)));
        if this.handshake.is_some() {
            let _ = this.with(|handshake| {
                handshake.came(&buffer.filled()[before..]);
                Poll::Ready(())
            });
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for HandshakeStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}

impl VirtualSocket for HandshakeStream {
    /// Pingora sets its options before the stream comes here.
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;

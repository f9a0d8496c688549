//! TLS of a listener: its certificates, read from the snapshot in force at every handshake so that a reload
//! renews them, and limits on the handshakes under way: how many, from where, and for how long.
//!
//! A connection takes its permit once a response can say that there is none, so handshakes are counted
//! apart. When there are too many, the oldest gives way, of the address with most of them. A handshake at a
//! common pace is done long before its turn comes.

use std::{
    net::IpAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use as2hook_event::Direction;
use async_trait::async_trait;
use openssl::{
    error::ErrorStack,
    ssl::{
        AlpnError, SslAcceptor, SslMethod, SslOptions, SslRef, SslSessionCacheMode, SslVerifyMode,
        select_next_proto,
    },
    x509::store::X509StoreBuilder,
};
use pingora::{
    listeners::TlsAccept,
    protocols::{Stream, l4, tls::server::handshake_with_callback},
};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    connection_limiter::{ConnectionLimiter, ConnectionPermit, LimitReached, counted_peer},
    listener_name,
};
use crate::{
    log::RejectionLog,
    memory::{Memory, Share},
    observe::CountedConnection,
    snapshot::Live,
};
use as2hook_config::{Config, Limits, ServerTls};

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

/// Makes the TLS sessions of one listener.
pub(crate) struct TlsHandshakes {
    acceptor: SslAcceptor,
    live: Arc<Live>,
    direction: Direction,
    limiter: ConnectionLimiter,
    memory: Memory,
    log: RejectionLog,
}

/// What a handshake holds while it is under way.
pub(crate) struct HandshakePermit {
    permit: ConnectionPermit,
    _memory: Option<Share>,
    _counted: CountedConnection,
}

/// Why there is no TLS session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error(transparent)]
    Failed(#[from] Box<pingora::Error>),
    #[error("the ClientHello did not come within {HELLO:?}")]
    NoHello,
    #[error("it was not complete within {WHOLE:?}")]
    Slow,
    #[error("it gave way to others: too many are under way")]
    GaveWay,
    #[error("the connection is not one of TCP")]
    NotTcp,
}

// === impl TlsHandshakes ===

impl TlsHandshakes {
    /// TLS 1.2 or later, HTTP/1.1 only: AS2 partners speak nothing else.
    pub(crate) fn new(
        live: Arc<Live>,
        direction: Direction,
        memory: Memory,
        limiter: ConnectionLimiter,
    ) -> Result<Self, ErrorStack> {
        let acceptor = acceptor()?;
        Ok(Self { acceptor, live, direction, limiter, memory, log: RejectionLog::default() })
    }

    /// A place among the handshakes under way.
    pub(crate) fn begin(&self, peer: Option<IpAddr>) -> Result<HandshakePermit, LimitReached> {
        let config = &self.live.load().config;
        let address = counted_peer(config, self.direction, peer);
        let of_address = config.limits.connections_per_address;
        Ok(HandshakePermit {
            permit: self.limiter.enter(at_once(config), address, of_address, || false)?,
            // Counted whatever the limit says: their number is what bounds it.
            _memory: self.memory.take(MEMORY, u64::MAX),
            _counted: self.live.observer().handshake(listener_name(self.direction)),
        })
    }

    /// Makes a TLS session on this connection.
    pub(crate) async fn accept(
        &self,
        stream: Stream,
        permit: &HandshakePermit,
    ) -> Result<Stream, HandshakeError> {
        let stream = stream.into_any().downcast::<l4::stream::Stream>();
        let stream = *stream.map_err(|_| HandshakeError::NotTcp)?;
        let hello = ClientHello {
            came: AtomicBool::new(false),
            set_certificate: |ssl: &mut SslRef| self.set_certificate(ssl),
        };
        let handshake = handshake_with_callback(&self.acceptor, stream, &hello);
        let session = within_limits(handshake, &hello.came, &permit.permit).await?;
        Ok(Box::new(session))
    }

    fn set_certificate(&self, ssl: &mut SslRef) {
        let snapshot = self.live.load();
        let listen = &snapshot.config.listen;
        let tls = match self.direction {
            Direction::Inbound => listen.inbound.tls.as_ref(),
            Direction::Outbound => listen.outbound.as_ref().and_then(|it| it.tls.as_ref()),
        };
        if let Some(tls) = tls
            && let Err(error) = set_certificate(ssl, tls)
            && let Some(suppressed) = self.log.due("certificate")
        {
            tracing::error!(%error, suppressed, "A listener's certificate cannot be used.");
        }
    }
}

/// One connection's ClientHello, until it has come whole: OpenSSL asks for a certificate then.
struct ClientHello<F> {
    came: AtomicBool,
    set_certificate: F,
}

#[async_trait]
impl<F: Fn(&mut SslRef) + Send + Sync> TlsAccept for ClientHello<F> {
    async fn certificate_callback(&self, ssl: &mut SslRef) {
        self.came.store(true, Ordering::Relaxed);
        (self.set_certificate)(ssl);
    }
}

fn acceptor() -> Result<SslAcceptor, ErrorStack> {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())?;
    acceptor.set_alpn_select_callback(|_, offered| {
        select_next_proto(b"\x08http/1.1", offered).ok_or(AlpnError::NOACK)
    });
    // A client that resumes a session is asked for no certificate, whatever `client_ca` says by now.
    acceptor.set_session_cache_mode(SslSessionCacheMode::OFF);
    acceptor.set_options(SslOptions::NO_TICKET);
    Ok(acceptor.build())
}

fn set_certificate(ssl: &mut SslRef, tls: &ServerTls) -> Result<(), ErrorStack> {
    // First: without a certificate of ours no client gets in that was not asked for one.
    if !tls.client_ca.is_empty() {
        let mut trusted = X509StoreBuilder::new()?;
        for authority in tls.client_ca.iter() {
            trusted.add_cert(authority.clone())?;
        }
        ssl.set_verify_cert_store(trusted.build())?;
        ssl.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
    let (certificate, links) = tls.chain.split_first().expect("a config's chain is never empty");
    ssl.set_certificate(certificate)?;
    ssl.set_private_key(&tls.private_key)?;
    for link in links {
        ssl.add_chain_cert(link.clone())?;
    }
    Ok(())
}

fn at_once(config: &Config) -> usize {
    let Limits { connections, memory, .. } = config.limits;
    let fit = memory / PART_OF_MEMORY / MEMORY;
    AT_ONCE.min(connections).min(usize::try_from(fit).unwrap_or(AT_ONCE))
}

/// Ends a handshake that takes too long, or has to give way to another.
async fn within_limits<T>(
    handshake: impl Future<Output = pingora::Result<T>>,
    hello: &AtomicBool,
    permit: &ConnectionPermit,
) -> Result<T, HandshakeError> {
    let (began, mut waiting) = (Instant::now(), permit.wait());
    let too_slow = async {
        sleep(HELLO).await;
        if !hello.load(Ordering::Relaxed) {
            return HandshakeError::NoHello;
        }
        sleep_until(began + WHOLE).await;
        HandshakeError::Slow
    };
    tokio::select! {
        made = pin!(handshake) => Ok(made?),
        error = too_slow => Err(error),
        () = waiting.asked() => Err(HandshakeError::GaveWay),
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, io};

    use openssl::ssl::{SslConnector, SslVerifyMode};
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn permit(limiter: &ConnectionLimiter) -> ConnectionPermit {
        limiter.enter(1, None, 1, || false).unwrap()
    }

    /// What becomes of a handshake that stands still, and after how many seconds.
    async fn still(hello: bool) -> (HandshakeError, u64) {
        let permit = permit(&ConnectionLimiter::default());
        let began = Instant::now();
        let ended = within_limits(pending::<pingora::Result<()>>(), &hello.into(), &permit).await;
        (ended.unwrap_err(), began.elapsed().as_secs())
    }

    /// What a client says first.
    fn client_hello() -> Vec<u8> {
        struct Said(Vec<u8>);
        impl io::Read for Said {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        impl io::Write for Said {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut client = SslConnector::builder(SslMethod::tls()).unwrap();
        client.set_verify(SslVerifyMode::NONE);
        let begun = client.build().connect("as2.example", Said(Vec::new()));
        let Err(openssl::ssl::HandshakeError::WouldBlock(client)) = begun else {
            panic!("it waits for the server")
        };
        client.get_ref().0.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn silent_connection_is_ended_after_the_time_for_a_hello() {
        assert!(matches!(still(false).await, (HandshakeError::NoHello, 5)));
    }

    #[tokio::test(start_paused = true)]
    async fn handshake_that_stops_behind_its_hello_is_ended_after_the_whole_time() {
        assert!(matches!(still(true).await, (HandshakeError::Slow, 15)));
    }

    #[tokio::test]
    async fn hello_has_come_when_it_is_whole_and_not_before() {
        let said = client_hello();
        for (length, has_come) in
            [(0, false), (5, false), (said.len() - 1, false), (said.len(), true)]
        {
            let (ours, mut client) = tokio::io::duplex(64 * 1024);
            let hello =
                ClientHello { came: AtomicBool::new(false), set_certificate: |_: &mut SslRef| {} };
            client.write_all(&said[..length]).await.unwrap();
            drop(client);
            let acceptor = acceptor().unwrap();
            let made = handshake_with_callback(&acceptor, ours, &hello).await;
            assert!(made.is_err(), "there is no certificate, and no client any more");
            assert_eq!(hello.came.into_inner(), has_come, "{length} of {} bytes", said.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn oldest_handshake_gives_way_to_a_newcomer() {
        let limiter = ConnectionLimiter::default();
        let permit = permit(&limiter);
        let hello = AtomicBool::new(false);
        let mut handshake = pin!(within_limits(pending::<pingora::Result<()>>(), &hello, &permit));
        assert!(tokio::time::timeout(Duration::ZERO, &mut handshake).await.is_err());
        let _newcomer = limiter.enter(1, None, 1, || false).unwrap();
        assert!(matches!(handshake.await, Err(HandshakeError::GaveWay)));
    }
}

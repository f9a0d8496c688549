//! The listener and its limits. When the limit of connections is reached, the connection that has waited
//! longest for a request, or for its client to read a response, is closed.

use std::{
    future::ready,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, Request},
    http::{HeaderValue, StatusCode, header::CONNECTION},
    middleware::{Next, from_fn, map_response},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tower_service::Service as _;

use crate::{gateway::Handles, routes::router, throttle::owner};

/// The largest body that is read.
const BODY_MAX: usize = 64 * 1024;

/// The limit of a whole request, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The limit of a request's head, from the connection's beginning or the response before it.
const HEAD: Duration = Duration::from_secs(30);

/// The read buffer of a connection, which limits the head.
const BUFFER: usize = 16 * 1024;

/// The pause in accepting when the system has no file handles left.
const REST: Duration = Duration::from_secs(1);

/// The response to a connection above the limit, as far as it fits into the socket at once.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\
    Retry-After: 30\r\nConnection: close\r\n\r\n";

/// The most connections at once: a console, a scraper and probes need few.
const CONNECTIONS: usize = 256;

/// The most of one address, as [`owner`] counts it. Behind a proxy all clients have one address.
const OF_ADDRESS: usize = 64;

/// The connections of one listener.
#[derive(Debug, Default)]
struct AdminConnections(Mutex<Vec<Weak<AdminConnection>>>);

/// One connection; dropping it releases its place.
#[derive(Debug)]
struct AdminConnection {
    address: IpAddr,
    /// The place in the order in which connections began to wait for a request, or for their
    /// response to be read. 0: it has a request, or was asked to make room.
    waits_since: AtomicU64,
    make_room: Notify,
}

/// A request of a connection, until its response's head is ready.
struct Busy(Arc<AdminConnection>);

/// Serves the API on a bound socket until another process takes over: when `handed_on` is true, no
/// connection is accepted any more, and each response is the last on its connection. Connections
/// accepted before still get their responses. Runs until it is dropped.
pub async fn serve_on(socket: TcpListener, handles: Handles, mut handed_on: watch::Receiver<bool>) {
    let is_handed_on = handed_on.clone();
    let in_time = from_fn(in_time);
    let close = map_response(move |mut response: Response| {
        if *is_handed_on.borrow() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        ready(response)
    });
    let (gateway, store) = (handles.gateway.clone(), handles.store.clone());
    let app =
        router(handles, handed_on.clone()).layer((close, in_time, DefaultBodyLimit::max(BODY_MAX)));
    let refill = async move { gateway.activity().refill(&*store).await };
    let _refill = AbortOnDrop(tokio::spawn(refill));
    let connections = AdminConnections::default();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Ok(_) = handed_on.wait_for(|handed_on| *handed_on) => break,
        };
        match accepted {
            Ok((stream, peer)) => match connections.enter(peer.ip()) {
                Some(connection) => {
                    tokio::spawn(serve(stream, peer, connection, app.clone()));
                }
                // The rest of it is not worth a wait.
                None => drop(stream.into_std().map(|mut stream| stream.write(NO_PLACE))),
            },
            // Connections that were closed before they were accepted also come as errors.
            Err(error)
                if error.raw_os_error().is_some_and(|code| OUT_OF_HANDLES.contains(&code)) =>
            {
                tracing::error!(%error, "The admin listener cannot accept connections.");
                sleep(REST).await;
            }
            Err(error) => tracing::debug!(%error, "A connection was gone before it was accepted."),
        }
    }
    drop(socket);
    std::future::pending::<()>().await;
}

/// A task that ends with what began it.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// EMFILE and ENFILE.
const OUT_OF_HANDLES: [i32; 2] = [24, 23];

async fn serve(stream: TcpStream, peer: SocketAddr, place: Arc<AdminConnection>, app: Router) {
    let connection = place.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let busy = connection.busy();
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = app.clone().call(request);
        async move {
            let response = response.await;
            // A client that does not read its response must not keep its place.
            drop(busy);
            response
        }
    });
    // Sends each write at once.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        served = connection => if let Err(error) = served {
            tracing::debug!(%error, %peer, "A connection of the admin listener ended.");
        },
        () = place.makes_room() => {}
    }
}

async fn in_time(request: Request, next: Next) -> Response {
    match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

// === impl AdminConnections ===

impl AdminConnections {
    /// Takes a place for a connection of this address. `None`: it has too many, or all are busy.
    fn enter(&self, address: IpAddr) -> Option<Arc<AdminConnection>> {
        let address = owner(address);
        let mut all = self.0.lock();
        all.retain(|connection| connection.strong_count() > 0);
        let open: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
        if open.iter().filter(|connection| connection.address == address).count() >= OF_ADDRESS {
            return None;
        }
        if open.len() >= CONNECTIONS {
            let since = |it: &Arc<AdminConnection>| it.waits_since.load(Ordering::Relaxed);
            let waiting = open.iter().filter(|connection| since(connection) > 0);
            let longest = waiting.min_by_key(|connection| since(connection))?;
            longest.waits_since.store(0, Ordering::Relaxed);
            longest.make_room.notify_one();
        }
        let waits_since = AtomicU64::new(next_wait());
        let connection =
            Arc::new(AdminConnection { address, waits_since, make_room: Notify::new() });
        all.push(Arc::downgrade(&connection));
        Some(connection)
    }
}

/// Counts the times that a connection began to wait.
fn next_wait() -> u64 {
    static WAITS: AtomicU64 = AtomicU64::new(1);
    WAITS.fetch_add(1, Ordering::Relaxed)
}

// === impl AdminConnection ===

impl AdminConnection {
    /// Waits until its place is needed.
    async fn makes_room(&self) {
        self.make_room.notified().await;
    }

    /// Marks it as busy: it is not closed until the result is dropped.
    fn busy(self: &Arc<Self>) -> Busy {
        self.waits_since.store(0, Ordering::Relaxed);
        Busy(self.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.waits_since.store(next_wait(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::Instant,
    };

    use super::*;

    #[tokio::test]
    async fn connection_that_does_not_read_its_response_makes_room_when_all_places_are_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, peer) = listener.accept().await.unwrap();
        let connections = AdminConnections::default();
        let place = connections.enter(peer.ip()).unwrap();
        // More than any socket buffer holds.
        let app = Router::new().route("/", axum::routing::get(async || "x".repeat(64 << 20)));
        let served = tokio::spawn(serve(server, peer, place, app));
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        client.read_exact(&mut [0; 15]).await.unwrap();
        let others = (1..u32::try_from(CONNECTIONS).unwrap())
            .map(|n| connections.enter(std::net::Ipv4Addr::from(n).into()).unwrap());
        let _busy: Vec<_> = others.map(|other| other.busy()).collect();
        assert!(connections.enter([192, 0, 2, 1].into()).is_some());
        served.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn connection_whose_head_does_not_come_is_closed_after_the_head_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, peer) = listener.accept().await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nX:").await.unwrap();
        let place = AdminConnections::default().enter(peer.ip()).unwrap();
        let began = Instant::now();
        serve(server, peer, place, Router::new()).await;
        assert!(began.elapsed() >= HEAD && began.elapsed() < 2 * HEAD, "{:?}", began.elapsed());
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
    }

    fn of(n: usize) -> IpAddr {
        IpAddr::from([192, 0, 2, u8::try_from(n).unwrap()])
    }

    fn full(connections: &AdminConnections) -> Vec<Arc<AdminConnection>> {
        (0..CONNECTIONS).map(|n| connections.enter(of(n / OF_ADDRESS)).unwrap()).collect()
    }

    async fn makes_room(connection: &AdminConnection) -> bool {
        timeout(Duration::from_secs(1), connection.makes_room()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_waits_longest_makes_room_when_all_places_are_taken() {
        let connections = AdminConnections::default();
        let all = full(&connections);
        drop(all[0].busy());
        let busy = all[1].busy();
        assert!(connections.enter(of(200)).is_some());
        assert!(
            makes_room(&all[2]).await && !makes_room(&all[0]).await && !makes_room(&all[1]).await
        );
        drop((busy, all));
        assert!(connections.0.lock().iter().all(|it| it.strong_count() == 0));
    }

    #[test]
    fn address_with_too_many_connections_is_refused() {
        let connections = AdminConnections::default();
        let all: Vec<_> = (0..OF_ADDRESS).map(|_| connections.enter(of(1)).unwrap()).collect();
        assert!(connections.enter(of(1)).is_none() && connections.enter(of(2)).is_some());
        drop(all);
        assert!(connections.enter(of(1)).is_some());
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_counted_together() {
        let connections = AdminConnections::default();
        let of = |n: usize| format!("2001:db8::{n:x}").parse().unwrap();
        let _all: Vec<_> = (0..OF_ADDRESS).map(|n| connections.enter(of(n)).unwrap()).collect();
        assert!(connections.enter(of(OF_ADDRESS)).is_none());
        assert!(connections.enter("2001:db8:0:1::".parse().unwrap()).is_some());
    }

    #[test]
    fn new_connection_is_refused_when_all_are_busy() {
        let connections = AdminConnections::default();
        let all = full(&connections);
        let _busy: Vec<_> = all.iter().map(AdminConnection::busy).collect();
        assert!(connections.enter(of(200)).is_none());
    }
}

//! The listener and its limits.

use std::{future::ready, io::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, Request},
    http::{HeaderValue, StatusCode, header::CONNECTION},
    middleware::{Next, from_fn, map_response},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use tower_service::Service as _;

use crate::{
    connections::{AdminConnection, AdminConnections},
    gateway::Handles,
    routes::router,
};

/// The largest body that is read.
const BODY_MAX: usize = 64 * 1024;

/// The limit of a whole request, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The limit of a request's head, from the connection's beginning or the response before it.
const HEAD: Duration = Duration::from_secs(30);

/// The read buffer of a connection, which limits the head.
const BUFFER: usize = 16 * 1024;

/// File handles that are reserved for connections.
const SPARE: usize = 4;

/// The pause in accepting when the system has no file handles left.
const REST: Duration = Duration::from_secs(1);

/// The response to a connection above the limit, as far as it fits into the socket at once.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\
    Retry-After: 30\r\nConnection: close\r\n\r\n";

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
    let app = router(handles).layer((close, in_time, DefaultBodyLimit::max(BODY_MAX)));
    let connections = AdminConnections::default();
    let mut spare = Vec::new();
    loop {
        // Reserved for the time when the process has no others left.
        while spare.len() < SPARE
            && let Ok(file) = std::fs::File::open("/dev/null")
        {
            spare.push(file);
        }
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
                if spare.is_empty() {
                    tracing::error!(%error, "The admin listener cannot accept connections.");
                    sleep(REST).await;
                }
                spare.clear();
            }
            Err(error) => tracing::debug!(%error, "A connection was gone before it was accepted."),
        }
    }
    drop(socket);
    std::future::pending::<()>().await;
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

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::Instant,
    };

    use super::*;
    use crate::connections::CONNECTIONS;

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
}

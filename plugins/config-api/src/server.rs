//! The listener and its limits.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, Request, connect_info::Connected},
    http::{HeaderValue, StatusCode, header::CONNECTION},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    serve::{IncomingStream, Listener},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use crate::{control::Control, routes::router};

/// The largest body that is read.
const BODY_MAX: usize = 64 * 1024;

/// For a whole request, its body included.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves the API until `shutdown` is done. The address is bound when this returns.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    gateway: Arc<dyn Control>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<impl Future<Output = io::Result<()>> + Send> {
    let listener = TcpListener::bind(address).await?;
    let app = app(gateway).into_make_service_with_connect_info::<SocketAddr>();
    Ok(async move { axum::serve(listener, app).with_graceful_shutdown(shutdown).await })
}

/// Serves the API on a socket that is bound already, until another process has it: when `handed_on` is
/// true no connection is accepted any more, and each answer is the last on its connection. A connection
/// that was accepted before still gets its answer. Goes on until it is dropped.
pub async fn serve_on(
    socket: TcpListener,
    gateway: Arc<dyn Control>,
    handed_on: watch::Receiver<bool>,
) -> io::Result<()> {
    let told = handed_on.clone();
    let app = app(gateway).layer(from_fn(move |mut request: Request, next: Next| {
        let last = *told.borrow();
        if let Some(ConnectInfo(Peer(peer))) = request.extensions().get().copied() {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        async move {
            let mut answer = next.run(request).await;
            if last {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        }
    }));
    let listener = Shared { socket: Some(socket), handed_on };
    axum::serve(listener, app.into_make_service_with_connect_info::<Peer>()).await
}

/// A listening socket that another process may take over.
struct Shared {
    socket: Option<TcpListener>,
    handed_on: watch::Receiver<bool>,
}

/// Who has connected to it.
#[derive(Clone, Copy, Debug)]
struct Peer(SocketAddr);

// === impl Shared ===

impl Listener for Shared {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        if let Some(socket) = &mut self.socket {
            tokio::select! {
                accepted = Listener::accept(socket) => return accepted,
                Ok(_) = self.handed_on.wait_for(|handed_on| *handed_on) => {}
            }
        }
        self.socket = None;
        std::future::pending().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket
            .as_ref()
            .map_or(Err(io::ErrorKind::NotConnected.into()), TcpListener::local_addr)
    }
}

impl Connected<IncomingStream<'_, Shared>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Shared>) -> Self {
        Self(*stream.remote_addr())
    }
}

fn app(gateway: Arc<dyn Control>) -> Router {
    router(gateway).layer(DefaultBodyLimit::max(BODY_MAX)).layer(from_fn(in_time))
}

async fn in_time(request: Request, next: Next) -> Response {
    match timeout(PATIENCE, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

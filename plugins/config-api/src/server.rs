//! The listener and its limits.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    extract::{DefaultBodyLimit, Request},
    http::StatusCode,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use tokio::{net::TcpListener, time::timeout};

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
    Ok(serve_on(TcpListener::bind(address).await?, gateway, shutdown))
}

/// As [`serve`], on a socket that is bound already.
pub async fn serve_on(
    listener: TcpListener,
    gateway: Arc<dyn Control>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let app = router(gateway).layer(DefaultBodyLimit::max(BODY_MAX)).layer(from_fn(in_time));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await
}

async fn in_time(request: Request, next: Next) -> Response {
    match timeout(PATIENCE, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

//! Gives Pingora a listening socket that is bound already: by this process before it was sure to start,
//! or by the one that it takes over from.

use std::{net::TcpListener, os::fd::IntoRawFd as _};

use async_trait::async_trait;
use pingora::{
    apps::ServerApp,
    server::{ListenFds, ShutdownWatch},
    services::{self, listening::Service},
};

/// Pingora's listening service on a socket of ours.
pub(crate) struct Listening<A> {
    service: Service<A>,
    /// What the service calls its address.
    name: String,
    socket: Option<TcpListener>,
}

// === impl Listening ===

impl<A> Listening<A> {
    pub(crate) fn new(service: Service<A>, name: String, socket: TcpListener) -> Self {
        Self { service, name, socket: Some(socket) }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> services::Service for Listening<A> {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        // As if Pingora had got it from another process: what it finds in this table it owns.
        if let (Some(fds), Some(socket)) = (&fds, self.socket.take()) {
            fds.lock().add(self.name.clone(), socket.into_raw_fd());
        }
        services::Service::start_service(&mut self.service, fds, shutdown, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        services::Service::name(&self.service)
    }

    fn threads(&self) -> Option<usize> {
        services::Service::threads(&self.service)
    }
}

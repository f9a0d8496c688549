//! Sets the two listeners up: what passes through them, and the server that they belong to.

use std::{net::TcpListener, sync::Arc, thread::available_parallelism};

use as2hook_event::Direction;
use openssl::error::ErrorStack;
use pingora::{
    apps::HttpServerOptions,
    listeners::L4BufferSettings,
    proxy::http_proxy,
    server::{RunArgs, Server, configuration::ServerConf},
};

use super::{Proxy, lookups::Lookups};
use crate::{
    front::{
        GracefulShutdown, InFlight,
        connection_limiter::ConnectionLimiter,
        listener::{Connections, ListeningService},
        listener_name,
        tls::TlsHandshakes,
    },
    handles::TrafficHandles,
    log::RejectionLog,
    snapshot::Live,
    tap::Tap,
};
use as2hook_config::{Listen, Listener};

/// A server that is set up, and not serving yet.
pub struct ProxyServer {
    server: Server,
    /// The exchanges under way.
    pub in_flight: InFlight,
    /// The way out.
    pub ending: GracefulShutdown,
}

/// Why a server could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the TLS settings of the {listener} listener cannot be used: {source}")]
pub struct SetupError {
    listener: &'static str,
    source: ErrorStack,
}

// === impl ProxyServer ===

impl ProxyServer {
    /// Sets the listeners up on sockets that are bound already; `outbound` where the config has that one.
    ///
    /// # Errors
    /// When the TLS stack does not take the listener's settings.
    pub fn new(
        listen: &Listen,
        inbound: TcpListener,
        outbound: Option<TcpListener>,
        live: &Arc<Live>,
        tap: &Tap,
    ) -> Result<Self, SetupError> {
        let threads = available_parallelism().map_or(2, usize::from);
        let conf = ServerConf {
            threads,
            // The drain decides when to leave; Pingora only stops listening.
            grace_period_seconds: Some(u64::from(u32::MAX)),
            graceful_shutdown_timeout_seconds: Some(1),
            ..ServerConf::default()
        };
        let mut server = Server::new_with_opt_and_conf(None, conf);
        let handles = TrafficHandles::of_process();
        let in_flight = InFlight::new(tap.memory(), handles.clone());
        let ending = GracefulShutdown::default();
        server.bootstrap();
        let conf = server.configuration.clone();
        let mut listeners = vec![(Direction::Inbound, &listen.inbound, inbound)];
        if let Some((listener, socket)) = listen.outbound.as_ref().zip(outbound) {
            listeners.push((Direction::Outbound, listener, socket));
        }
        for (direction, listener, socket) in listeners {
            let hooks = Proxy {
                direction,
                live: live.clone(),
                tap: tap.clone(),
                in_flight: in_flight.clone(),
                ending: ending.clone(),
                log: RejectionLog::default(),
                lookups: Lookups::default(),
                failed_addresses: Arc::default(),
            };
            server.add_service(service(hooks, &conf, listener, socket, &handles)?);
        }
        Ok(Self { server, in_flight, ending })
    }

    /// Serves. It does not return by itself: the owner of the [`GracefulShutdown`] ends the process
    /// when what is under way is done.
    pub fn run(self) {
        self.server.run(RunArgs { shutdown_signal: Box::new(self.ending.shutdown_watch()) });
    }
}

fn service(
    hooks: Proxy,
    conf: &Arc<ServerConf>,
    listener: &Listener,
    socket: TcpListener,
    handles: &TrafficHandles,
) -> Result<ListeningService<Connections<Proxy>>, SetupError> {
    let Proxy { direction, live, in_flight, ending, .. } = &hooks;
    let (direction, live) = (*direction, live.clone());
    let (in_flight, ending) = (in_flight.clone(), ending.clone());
    let (name, memory) = (listener_name(direction), hooks.tap.memory());
    let mut proxy = http_proxy(conf, hooks);
    let limiter = match direction {
        Direction::Inbound => ConnectionLimiter::new(handles.clone()),
        Direction::Outbound => {
            // Not to serve it: to refuse it with a text that helps.
            let mut options = HttpServerOptions::default();
            options.allow_connect_method_proxying = true;
            proxy.server_options = Some(options);
            // Our own server is not held up by how many handles partners have.
            ConnectionLimiter::default()
        }
    };
    let (tls, buffer) = match &listener.tls {
        // Heads and bodies are read into buffers of their own; Pingora's would be 64 KiB more.
        None => (None, L4BufferSettings::default().read(0)),
        Some(_) => {
            let handshakes = ConnectionLimiter::new(handles.clone());
            let tls = TlsHandshakes::new(live.clone(), direction, memory, handshakes);
            let tls = tls.map_err(|source| SetupError { listener: name, source })?;
            // OpenSSL's reads are small.
            (Some(tls), L4BufferSettings::default())
        }
    };
    ending.listens();
    let (proxy, log) = (Arc::new(proxy), RejectionLog::default());
    let connections = Connections { proxy, direction, live, in_flight, limiter, tls, ending, log };
    let address = format!("{name} {}", listener.address);
    Ok(ListeningService::new(&address, connections, socket, buffer))
}

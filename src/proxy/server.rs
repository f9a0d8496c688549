//! Sets the two listeners up: what passes through them, and the server that they belong to.

use std::{net::TcpListener, sync::Arc, thread::available_parallelism};

use pingora::{
    apps::HttpServerOptions,
    listeners::{L4BufferSettings, ListenerConfig},
    proxy::http_proxy,
    server::{RunArgs, Server, configuration::ServerConf},
    services::listening::Service,
};

use super::{Proxy, Side, inbound::Inbound, outbound::Outbound};
use crate::{
    front::{
        GracefulShutdown, InFlight, connection_limiter::ConnectionLimiter, handshakes::Handshakes,
        listening::Listening, serve::Connections, tls,
    },
    handles::TrafficHandles,
    memory::Memory,
    snapshot::Live,
    tap::Tap,
};
use as2hook_config::{Listen, Listener};

/// A server that is set up, and not serving yet.
pub struct Gateway {
    server: Server,
    in_flight: InFlight,
    ending: GracefulShutdown,
}

/// The listening sockets of the two listeners, bound.
#[derive(Debug)]
pub struct BoundListeners {
    /// Of the inbound listener.
    pub inbound: TcpListener,
    /// Of the outbound listener, where the config has one.
    pub outbound: Option<TcpListener>,
}

/// Why a server could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the TLS settings of the {listener} listener cannot be used: {source}")]
pub struct SetupError {
    listener: &'static str,
    source: Box<pingora::Error>,
}

// === impl Gateway ===

impl Gateway {
    /// Sets the listeners up on sockets that are bound already.
    ///
    /// # Errors
    /// When the TLS stack does not take the listener's settings.
    pub fn new(
        listen: &Listen,
        sockets: BoundListeners,
        live: Arc<Live>,
        tap: Tap,
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
        let (in_flight, ending) =
            (InFlight::new(tap.memory(), handles.clone()), GracefulShutdown::new());
        let conf = server.configuration.clone();
        let side = Proxy::new(live.clone(), tap.clone(), in_flight.clone(), ending.clone());
        let connections = Connections::<Inbound>::new(
            http_proxy(&conf, side),
            live.clone(),
            in_flight.clone(),
            ConnectionLimiter::new(handles.clone()),
            ending.clone(),
        );
        let inbound = service(
            "inbound",
            connections,
            &listen.inbound,
            sockets.inbound,
            (live.clone(), tap.memory(), handles.clone()),
            |listen| listen.inbound.tls.as_ref(),
        )?;
        let outbound = match listen.outbound.as_ref().zip(sockets.outbound) {
            None => None,
            Some((listener, socket)) => {
                let memory = tap.memory();
                let side = Proxy::new(live.clone(), tap, in_flight.clone(), ending.clone());
                let mut proxy = http_proxy(&conf, side);
                // Not to serve it: to refuse it with a text that helps.
                let mut options = HttpServerOptions::default();
                options.allow_connect_method_proxying = true;
                proxy.server_options = Some(options);
                let connections = Connections::<Outbound>::new(
                    proxy,
                    live.clone(),
                    in_flight.clone(),
                    // Our own server is not held up by how many handles partners have.
                    ConnectionLimiter::default(),
                    ending.clone(),
                );
                Some(service(
                    "outbound",
                    connections,
                    listener,
                    socket,
                    (live, memory, handles),
                    |listen| listen.outbound.as_ref()?.tls.as_ref(),
                )?)
            }
        };
        server.bootstrap();
        server.add_service(inbound);
        if let Some(outbound) = outbound {
            server.add_service(outbound);
        }
        Ok(Self { server, in_flight, ending })
    }

    /// How many exchanges are under way.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.clone()
    }

    /// The way out.
    pub fn ending(&self) -> GracefulShutdown {
        self.ending.clone()
    }

    /// Serves. It does not return by itself: the owner of the [`GracefulShutdown`] ends the process
    /// when what is under way is done.
    pub fn run(self) {
        self.server.run(RunArgs { shutdown_signal: Box::new(self.ending.shutdown_watch()) });
    }
}

fn service<S: Side>(
    name: &'static str,
    connections: Connections<S>,
    listener: &Listener,
    socket: TcpListener,
    (live, memory, handles): (Arc<Live>, Memory, TrafficHandles),
    of: tls::Of,
) -> Result<Listening<Connections<S>>, SetupError> {
    let mut service = Service::new(name.to_owned(), connections);
    let address = format!("{name} {}", listener.address);
    match &listener.tls {
        // Heads and bodies are read into buffers of their own; Pingora's would be 64 KiB more.
        None => service.add_listener(
            ListenerConfig::tcp(&address).l4_buffer(L4BufferSettings::default().read(0)),
        ),
        Some(_) => {
            let settings = tls::settings(live.clone(), of)
                .map_err(|source| SetupError { listener: name, source })?;
            service.add_tls_with_settings(&address, None, settings);
            let handshakes = Arc::new(Handshakes::new(
                live,
                S::DIRECTION,
                memory,
                ConnectionLimiter::new(handles),
            ));
            service.set_connection_filter(handshakes.clone());
            service.endpoints().set_pre_tls_callback(handshakes);
        }
    }
    Ok(Listening::new(service, address, socket))
}

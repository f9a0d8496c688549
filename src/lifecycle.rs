//! The gateway's life: start, serve, reload, hand over, drain.
//!
//! # Layout
//! - `start`: all that is needed to serve, made ready and taken over
//! - `storage`: the store and the place of payloads, opened
//! - `sockets`: the listening sockets, bound or taken over
//! - `handover`: how a new process takes them over from the one that runs
//! - `background`: what goes on beside the traffic: looks, upkeep, what a gone process left
//! - `peer_changes`: what other gateways of the store do, done here too
//! - `signals`: what ends a process, and what systemd hears of it
//! - `drain`: the end

mod background;
mod drain;
mod handover;
mod peer_changes;
mod signals;
mod sockets;
mod start;
mod storage;

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Instant};

use as2hook_store::{Payloads, StoreError};
use tokio::signal::unix;

pub use self::handover::HandoverError;
use self::{
    drain::Drain,
    handover::{OtherProcess, UpgradeSocket},
    signals::Signals,
    sockets::ListeningSockets,
};
use crate::{
    handles, partner_webhooks::PartnerWebhookLoader, proxy::SetupError, reload::Reloader,
    secret_key::SecretKeyError,
};
use as2hook_config::{ConfigDiagnostic, watch::Watch};

/// How a life begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartMode {
    /// With listening sockets of its own.
    Fresh,
    /// With those of the process that runs; with its own where none does.
    Upgrade,
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LifeError {
    /// The config or the rules.
    #[error("the config has {} mistakes", .0.len())]
    Config(Vec<ConfigDiagnostic>),
    /// The config asks for what this gateway does not have.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The event store.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] StoreError),
    /// The webhook client.
    #[error("webhooks cannot be called: {0}")]
    Client(String),
    /// Threads.
    #[error("threads cannot be started: {0}")]
    Threads(io::Error),
    /// The key of secrets at rest.
    #[error(transparent)]
    SecretKey(#[from] SecretKeyError),
    /// A listener.
    #[error(
        "{address}: {source}; is another process listening there? `as2hook run --upgrade` takes over from an as2hook of the same store"
    )]
    Bind {
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A listener's TLS.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The process that runs did not hand over.
    #[error(transparent)]
    Handover(#[from] HandoverError),
}

/// Runs the gateway of this config until a signal ends it. Ends the process itself when it has
/// drained.
///
/// # Errors
/// When it cannot start.
pub fn live(path: &Path, beginning: StartMode) -> Result<(), LifeError> {
    // Before anything else asks OpenSSL for something: it then does not tear itself down at the exit, which
    // other threads, in the middle of closing their connections, would die of.
    openssl::init();
    handles::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("core")
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(LifeError::Threads)?;
    let started = Instant::now();
    // From here on, since they kill a process that has not asked for them.
    let hangup = runtime.block_on(async { unix::signal(unix::SignalKind::hangup()) });
    let hangup = hangup.map_err(LifeError::Threads)?;
    let mut signals = runtime.block_on(async { Signals::new() }).map_err(LifeError::Threads)?;
    let begun = runtime.block_on(start::begin(path, beginning, &runtime, &mut signals))?;
    let Some((gateway, life)) = begun else {
        tracing::info!("Stopped by a signal before it served.");
        return Ok(());
    };
    life.spawn(&runtime, hangup, signals);
    tracing::info!(ms = started.elapsed().as_millis(), "Started.");
    signals::serving();
    gateway.run();
    Ok(())
}

/// What goes on beside the traffic.
struct Life {
    reloader: Arc<Reloader>,
    keeper: Arc<PartnerWebhookLoader>,
    watch: Watch,
    meeting: UpgradeSocket,
    sockets: ListeningSockets,
    predecessor: Option<OtherProcess>,
    payloads: Payloads,
    drain: Drain,
}

//! The gateway's life: start, serve, reload, hand over, drain.
//!
//! # Layout
//! - `start`: all that is needed to serve, made ready and taken over
//! - `storage`: the store and the place of payloads, opened
//! - `sockets`: the listening sockets, bound or taken over
//! - `newcomers`: nobody new is let in at the kernel's door
//! - `handover`: how a new process takes them over from the one that runs
//! - `heir`: what is done when that one is gone
//! - `beside`: what goes on beside the traffic
//! - `following`: what other gateways of the store do, done here too
//! - `upkeep`: what was told long ago is forgotten
//! - `signals`: what ends a process, and what does not
//! - `drain`: the end
//! - `supervisor`: what systemd is told

mod beside;
mod drain;
mod following;
mod handover;
mod heir;
#[cfg(target_os = "linux")]
mod newcomers;
mod signals;
mod sockets;
mod start;
mod storage;
mod supervisor;
mod upkeep;

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Instant};

use as2hook_store::{Payloads, StoreError};
use tokio::signal::unix;

pub use self::handover::HandoverError;
use self::{drain::Drain, handover::Meeting, heir::Heir, signals::Signals, sockets::Sockets};
use crate::{
    config::{Mistake, watch::Watch},
    gateway::SetupError,
    handles,
    partner_webhooks::Keeper,
    reload::Reloader,
    secret_key::SecretKeyError,
};

/// How a life begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
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
    Config(Vec<Mistake>),
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
pub fn live(path: &Path, beginning: Beginning) -> Result<(), LifeError> {
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
        tracing::info!("Told to stop before it served.");
        return Ok(());
    };
    life.spawn(&runtime, hangup, signals);
    tracing::info!(ms = started.elapsed().as_millis(), "Started.");
    supervisor::ready();
    gateway.run();
    Ok(())
}

/// What goes on beside the traffic.
struct Life {
    reloader: Arc<Reloader>,
    keeper: Arc<Keeper>,
    watch: Watch,
    meeting: Meeting,
    sockets: Sockets,
    heir: Option<Heir>,
    payloads: Payloads,
    drain: Drain,
}

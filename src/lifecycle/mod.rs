//! From start to drain: serve, reload, hand over.
//!
//! # Layout
//! - `start`: all that is needed to serve, made ready and taken over
//! - `sockets`: the listening sockets, bound, passed or taken over
//! - `supervisor`: what is reported to systemd, and the sockets that it keeps
//! - `handover`: how a new process takes them over from the one that runs
//! - `predecessor`: which one that is
//! - `background`: what goes on beside the traffic: looks, what a gone process left
//! - `peer_changes`: what other gateways of the store do, done here too
//! - `signals`: what ends a process
//! - `drain`: the end

mod background;
mod drain;
mod handover;
mod peer_changes;
mod predecessor;
mod signals;
mod sockets;
mod start;
mod supervisor;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
    process,
    time::{Duration, Instant},
};

use as2hook_config::ConfigDiagnostic;
use as2hook_store::StoreError;

use as2hook_config::Plugins;

pub use self::{handover::HandoverError, start::StartMode};
use self::{signals::Signals, sockets::ListeningSockets};
use crate::{
    handles, proxy::server::SetupError, secret_key::SecretKeyError, tap::storage::StorageError,
};

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LifecycleError {
    /// The config or the rules.
    #[error("the config has {} mistakes", .0.len())]
    Config(Vec<ConfigDiagnostic>),
    /// The store or the place of payloads.
    #[error(transparent)]
    Storage(#[from] StorageError),
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
    /// Traces cannot be exported as the environment says.
    #[cfg(feature = "otel")]
    #[error(transparent)]
    Traces(#[from] crate::traces::TracesError),
    /// The process that runs did not hand over.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// The start took too long for `as2hook upgrade`.
    #[error("the new process could not take over within {} s, and ends", .0.as_secs())]
    Slow(Duration),
}

/// What a process that replaces another one writes to stdout as soon as it serves, before its number.
pub const SERVES: &str = "serving: ";

/// Runs the gateway of this config until a signal ends it. Ends the process itself when it has
/// drained.
///
/// # Errors
/// When it cannot start.
pub fn run(path: &Path, mode: StartMode, plugins: &Plugins) -> Result<(), LifecycleError> {
    let inherited = supervisor::inherited();
    let had_sockets = !inherited.is_empty();
    // Before anything else asks OpenSSL for something: it then does not tear itself down at the exit, which
    // other threads, in the middle of closing their connections, would die of.
    openssl::init();
    handles::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("core")
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(LifecycleError::Threads)?;
    let started = Instant::now();
    // From here on, since they kill a process that has not asked for them.
    let signals = runtime.block_on(async { Signals::new() });
    let (mut signals, hangup) = signals.map_err(LifecycleError::Threads)?;
    let begun = start::begin(path, mode, inherited, plugins, &runtime, &mut signals);
    let begun = runtime.block_on(begun);
    if begun.is_err() && had_sockets {
        ListeningSockets::forget();
    }
    let Some((gateway, background)) = begun? else {
        tracing::info!("Stopped by a signal before it served.");
        return Ok(());
    };
    background.sockets.keep();
    let in_force = background.drain.live.load();
    background.spawn(&runtime, hangup, signals);
    let listen = &in_force.config.listen;
    let address = |of: &str| listen.addresses().find(|(name, _)| *name == of).map(|it| it.1);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = %path.display(),
        inbound = address("inbound").map(tracing::field::display),
        outbound = address("outbound").map(tracing::field::display),
        admin = address("admin").map(tracing::field::display),
        store = %in_force.config.store,
        ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "Started."
    );
    supervisor::serving();
    if let StartMode::Replace { .. } = mode {
        // Where the command has gone meanwhile, this process serves all the same.
        let _ = writeln!(io::stdout(), "{SERVES}{}", process::id());
    }
    gateway.run();
    Ok(())
}

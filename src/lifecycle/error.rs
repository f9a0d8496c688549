//! Why the gateway did not start.

use std::{io, net::SocketAddr};

use as2hook_config::ConfigDiagnostic;
use as2hook_store::StoreError;

use super::handover::HandoverError;
use crate::{proxy::server::SetupError, secret_key::SecretKeyError, tap::storage::StorageError};

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
    /// The process that runs did not hand over.
    #[error(transparent)]
    Handover(#[from] HandoverError),
}

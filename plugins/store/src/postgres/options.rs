//! The options of the shared store.

use std::{path::PathBuf, time::Duration};

/// The options of the shared store. The defaults suit a handful of gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    /// The schema of the tables: installations that share a database need different ones.
    pub schema: String,
    /// The most groups in progress at once; each has its own connection.
    pub writers: usize,
    /// The most reads at once, and the most pieces of large payloads in progress besides; each has
    /// its own connection.
    pub readers: usize,
    /// The most calls that wait for a writer before further calls wait for a place.
    pub queue: usize,
    /// The most calls in one commit.
    pub group: usize,
    /// The limit of a call's wait to be sent, and again of its wait for the result, before it fails with
    /// [`crate::StoreError::Slow`].
    pub wait: Duration,
    /// The part of that limit for connecting.
    pub connect: Duration,
    /// How long a gateway without a heartbeat keeps its claims and open exchanges.
    pub lease: Duration,
    /// The payload root, when payloads are files: files of removed payloads are deleted there.
    pub payload_root: Option<PathBuf>,
}

// === impl PostgresOptions ===

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            schema: "as2hook".to_owned(),
            writers: 2,
            readers: 4,
            queue: 1_024,
            group: 256,
            wait: Duration::from_secs(10),
            connect: Duration::from_secs(5),
            lease: Duration::from_secs(30),
            payload_root: None,
        }
    }
}

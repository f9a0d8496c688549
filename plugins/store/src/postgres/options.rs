//! How the shared store works.

use std::time::Duration;

/// How the shared store works. The defaults suit a handful of gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    /// The schema that the tables stand in: another for each installation that shares the database.
    pub schema: String,
    /// Groups that may be on their way at once; each has its connection.
    pub writers: usize,
    /// Calls that may read at once, and pieces of large payloads that may be on their way besides; each
    /// has its connection.
    pub readers: usize,
    /// Calls that may wait for a writer before others wait for a place.
    pub queue: usize,
    /// Calls that share one commit at most.
    pub group: usize,
    /// How long a call waits, all in all, before it fails with [`crate::StoreError::Slow`].
    pub wait: Duration,
    /// How long connecting may take, of that.
    pub connect: Duration,
    /// How long a gateway that is not heard of keeps its claims and open exchanges.
    pub lease: Duration,
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
        }
    }
}

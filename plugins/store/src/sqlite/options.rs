//! How the embedded store works.

use std::time::Duration;

/// How the embedded store works. The defaults suit one gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// Calls that may read at once.
    pub readers: usize,
    /// Calls that may wait for the writing thread before others wait for a place.
    pub queue: usize,
    /// Calls that share one commit at most.
    pub group: usize,
    /// How long a call waits, all in all, before it fails with [`crate::StoreError::Slow`].
    pub wait: Duration,
    /// How long another process's lock is waited for.
    pub busy: Duration,
    /// How often the log is written back into the file.
    pub checkpoint: Duration,
}

// === impl SqliteOptions ===

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            queue: 1_024,
            group: 256,
            wait: Duration::from_secs(30),
            busy: Duration::from_secs(10),
            checkpoint: Duration::from_millis(500),
        }
    }
}

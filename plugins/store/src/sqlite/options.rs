//! The options of the embedded store.

use std::{path::PathBuf, thread::available_parallelism, time::Duration};

/// The options of the embedded store. The defaults suit one gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// The most reads at once.
    pub readers: usize,
    /// The most calls that wait for the writing thread before further calls wait for a place.
    pub queue: usize,
    /// The most calls in one commit.
    pub group: usize,
    /// The limit of a call before it fails with [`crate::StoreError::Slow`].
    pub wait: Duration,
    /// The limit of the wait for another process's lock.
    pub busy: Duration,
    /// The interval at which the log is written back into the file.
    pub checkpoint: Duration,
    /// The payload root: files of removed payloads are deleted there.
    pub payload_root: Option<PathBuf>,
}

// === impl SqliteOptions ===

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            // Reads compute: more of them than cores take no less time, and each has a thread that stays.
            readers: available_parallelism().map_or(2, usize::from).clamp(2, 4),
            queue: 1_024,
            group: 256,
            wait: Duration::from_secs(30),
            busy: Duration::from_secs(10),
            checkpoint: Duration::from_millis(500),
            payload_root: None,
        }
    }
}

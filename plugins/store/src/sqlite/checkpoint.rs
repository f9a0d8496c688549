//! Writes the log back into the file from a thread of its own, so that no commit waits for it.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering, mpsc},
    time::Duration,
};

use rusqlite::Connection;

use super::{schema, writer::Shared};
use crate::store::StoreError;

/// Pages of the log (64 MiB) from which the writing thread has to pause for a moment, since under
/// unbroken load nobody else ever finds the log wholly written back, and it would only grow.
const LONG: i64 = 16_384;

/// Ends the thread when dropped.
pub(super) struct Checkpointer {
    _stop: mpsc::Sender<()>,
}

impl Checkpointer {
    /// Starts the thread.
    pub(super) fn start(
        path: PathBuf,
        every: Duration,
        busy: Duration,
        shared: Arc<Shared>,
    ) -> Result<Self, StoreError> {
        let (stop, stopped) = mpsc::channel::<()>();
        let connection = schema::writable(&path, busy)?;
        let work = move || {
            let mut seen = 0;
            while stopped.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout) {
                let commits = shared.commits.load(Ordering::Relaxed);
                if commits == seen {
                    continue;
                }
                match passive(&connection) {
                    Ok(pages) => {
                        seen = commits;
                        shared.long_log.store(pages >= LONG, Ordering::Relaxed);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "The store's log could not be written back.");
                    }
                }
            }
        };
        std::thread::Builder::new()
            .name("as2hook-log".to_owned())
            .spawn(work)
            .map_err(|source| StoreError::Open { path, source })?;
        Ok(Self { _stop: stop })
    }
}

/// Writes back what it can without waiting for anybody. Returns the log's length in pages.
pub(super) fn passive(connection: &Connection) -> Result<i64, StoreError> {
    let pages =
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(1))?;
    Ok(pages)
}

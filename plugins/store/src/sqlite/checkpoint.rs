//! Writes the log back into the file on a thread of its own, so that no commit waits for it.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering, mpsc},
    time::Duration,
};

use rusqlite::Connection;

use super::{schema, writer_state::WriterState};
use crate::store::StoreError;

/// The length of the log in pages (64 MiB) from which the writing thread pauses. Under continuous
/// load no other thread ever finds the log completely written back, and it would only grow.
const LONG: i64 = 16_384;

/// Ends the thread when dropped.
pub(super) struct Checkpointer {
    _stop: mpsc::Sender<()>,
}

/// The thread's side.
struct CheckpointThread {
    path: PathBuf,
    busy: Duration,
    shared: Arc<WriterState>,
    /// The connection, with the generation of its file.
    open: Option<(Connection, u64)>,
    /// Commits that are written back.
    seen: u64,
    /// Whether the last try failed, so that a failure is logged once.
    fails: bool,
}

// === impl Checkpointer ===

impl Checkpointer {
    /// Starts the thread.
    pub(super) fn start(
        path: PathBuf,
        every: Duration,
        busy: Duration,
        shared: Arc<WriterState>,
    ) -> Result<Self, StoreError> {
        let (stop, stopped) = mpsc::channel::<()>();
        let mut work = CheckpointThread {
            path: path.clone(),
            busy,
            shared,
            open: None,
            seen: 0,
            fails: false,
        };
        let run = move || {
            while stopped.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout) {
                work.turn();
            }
        };
        std::thread::Builder::new()
            .name("as2hook-log".to_owned())
            .spawn(run)
            .map_err(|source| StoreError::Open { path, source })?;
        Ok(Self { _stop: stop })
    }
}

// === impl CheckpointThread ===

impl CheckpointThread {
    fn turn(&mut self) {
        let generation = self.shared.generation.load(Ordering::Relaxed);
        if self.open.as_ref().is_some_and(|(_, of)| *of != generation) {
            self.open = None;
        }
        let commits = self.shared.commits.load(Ordering::Relaxed);
        if commits == self.seen || self.shared.away().is_err() {
            return;
        }
        let written = self.write_back(generation);
        let failed = written.is_err();
        match written {
            Ok(pages) => {
                self.seen = commits;
                self.shared.long_log.store(pages >= LONG, Ordering::Relaxed);
                if self.fails {
                    tracing::info!("The store's write-ahead log can be checkpointed again.");
                }
            }
            Err(error) => {
                self.shared.failed(&error);
                if !self.fails {
                    tracing::warn!(%error, "The store's write-ahead log cannot be checkpointed.");
                }
            }
        }
        self.fails = failed;
    }

    fn write_back(&mut self, generation: u64) -> Result<i64, StoreError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => (schema::writable(&self.path, self.busy)?, generation),
        };
        let (connection, _) = self.open.insert(open);
        passive(connection)
    }
}

/// Writes back as much as possible without waiting for others. Returns the log's length in pages.
pub(super) fn passive(connection: &Connection) -> Result<i64, StoreError> {
    let pages =
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(1))?;
    Ok(pages)
}

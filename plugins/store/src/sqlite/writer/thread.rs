//! The thread's side: groups of work, each one transaction.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::mpsc;

use super::{
    super::{
        checkpoint, database_file::DatabaseFile, transaction::make, writer_state::WriterState,
    },
    Task, ThreadMessage,
    calls::CallsTask,
};
use crate::{
    group::{ReleaseClaims, WaitingClaims},
    store::StoreError,
};

/// The thread, before it runs.
pub(in crate::sqlite) struct Thread {
    file: DatabaseFile,
    queue: mpsc::Receiver<ThreadMessage>,
    group: usize,
    shared: Arc<WriterState>,
}

/// From this number of calls in the last commit on, the next one waits for [`GATHERING`].
const BUSY: usize = 6;
/// The wait for more calls under load. What a commit costs beside its calls, two writes for each page and
/// the wait for the disk, is then shared by more of them.
const GATHERING: Duration = Duration::from_micros(750);

/// Releases the claims in [`WriterState::returned`].
struct ReleaseTask {
    ids: Vec<i64>,
    owner: i64,
    shared: Arc<WriterState>,
    done: bool,
}

/// Why a transaction was not committed.
enum TransactionError {
    /// The database refused to begin or commit it.
    Refused(rusqlite::Error),
    /// One of its tasks failed half-way, and everything was rolled back.
    RolledBack,
}

// === impl Thread ===

impl Thread {
    pub(super) fn new(
        file: DatabaseFile,
        queue: mpsc::Receiver<ThreadMessage>,
        group: usize,
        shared: Arc<WriterState>,
    ) -> Self {
        Self { file, queue, group, shared }
    }

    /// Runs until the queue is closed.
    pub(in crate::sqlite) fn run(mut self) {
        let (mut open, mut waiting) = (true, WaitingClaims::default());
        let mut last = 0;
        while open && let Some(first) = self.queue.blocking_recv() {
            if last >= BUSY && self.queue.len() < self.group {
                std::thread::sleep(GATHERING);
            }
            let mut reads: Vec<Box<dyn Task>> = Vec::new();
            let mut group: Vec<Box<dyn Task>> = Vec::new();
            let mut calls = CallsTask::new(self.file.owner.id);
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    ThreadMessage::Call(call) => calls.add_with(call, &mut waiting),
                    ThreadMessage::ClaimNext(claim) => waiting.add(claim),
                    ThreadMessage::Read(task) => reads.push(task),
                    ThreadMessage::Work(task) => group.push(task),
                    ThreadMessage::Returned => {}
                    ThreadMessage::Close => open = false,
                }
                if open && reads.len() + group.len() + calls.len() < self.group && !calls.is_full()
                {
                    next = self.queue.try_recv().ok();
                }
            }
            let ids = std::mem::take(&mut *self.shared.returned());
            if !ids.is_empty() {
                let (owner, shared) = (self.file.owner.id, Arc::clone(&self.shared));
                group.push(Box::new(ReleaseTask { ids, owner, shared, done: false }));
            }
            if calls.len() > 0 {
                last = calls.len();
                // At the end: they may claim what was released.
                group.push(Box::new(calls));
            }
            if !(reads.is_empty() && group.is_empty()) {
                match self.file.ready() {
                    Ok(()) => {
                        self.read(reads);
                        if !group.is_empty() {
                            self.carry_out(group);
                        }
                    }
                    Err(error) => {
                        let all = reads.into_iter().chain(group);
                        all.for_each(|task| task.respond(Err(error.again())));
                    }
                }
            }
            if self.shared.long_log.swap(false, Ordering::Relaxed)
                && let Some(connection) = self.file.connection()
            {
                // A failure is reported by the checkpoint thread.
                let _ = checkpoint::passive(connection);
            }
        }
        let Self { file, queue, .. } = self;
        if let Err(error) = file.leave() {
            // Its lock ends with this process, and the next process adopts what is left.
            tracing::warn!(%error, "The store could not release this process's claims; the next process takes them over.");
        }
        // Calls queued after the close fail with `Closed`.
        drop(queue);
    }

    /// Before the group's transaction: what it writes is not to be read before it is durable.
    fn read(&self, reads: Vec<Box<dyn Task>>) {
        for mut task in reads {
            if let Some(connection) = self.file.connection() {
                if !connection.is_autocommit() {
                    // Left open by a commit that failed.
                    let _ = connection.execute_batch("ROLLBACK");
                }
                // Its result says that it panicked.
                let _ = catch_unwind(AssertUnwindSafe(|| task.run(connection)));
            }
            task.respond(Ok(()));
        }
    }

    fn carry_out(&mut self, mut group: Vec<Box<dyn Task>>) {
        let error = match self.transact(&mut group) {
            Ok(()) => return group.into_iter().for_each(|task| task.respond(Ok(()))),
            Err(error) => error,
        };
        let is_busy = matches!(&error, TransactionError::Refused(error)
            if matches!(StoreError::from(error), StoreError::Busy(_)));
        if !is_busy && group.len() == 1 {
            group = group.into_iter().flat_map(Task::divide).collect();
        }
        match error {
            // A failing task must not make the others fail, and may be the reason.
            _ if group.len() > 1 && !is_busy => {
                group.into_iter().for_each(|task| self.carry_out(vec![task]));
            }
            TransactionError::RolledBack => {
                for task in group {
                    let reason = "the transaction was rolled back".to_owned();
                    task.respond(Err(StoreError::Database(reason)));
                }
            }
            TransactionError::Refused(error) => {
                let error = self.file.explain(error.into());
                group.into_iter().for_each(|task| task.respond(Err(error.again())));
            }
        }
    }

    fn transact(&mut self, group: &mut [Box<dyn Task>]) -> Result<(), TransactionError> {
        let Some(connection) = self.file.connection() else {
            return Err(TransactionError::RolledBack);
        };
        let execute = |sql: &str| -> Result<(), TransactionError> {
            let run = || connection.prepare_cached(sql)?.execute([]);
            run().map(|_| ()).map_err(TransactionError::Refused)
        };
        if !connection.is_autocommit() {
            // Left open by a commit that failed.
            execute("ROLLBACK")?;
        }
        execute("BEGIN IMMEDIATE")?;
        for task in group {
            // No savepoint for each task: under a savepoint SQLite copies every page that changes,
            // which costs several times as much as the change, and a failure is rare.
            let succeeded = catch_unwind(AssertUnwindSafe(|| task.run(connection)));
            if connection.is_autocommit() {
                return Err(TransactionError::RolledBack);
            }
            if !matches!(succeeded, Ok(true)) {
                execute("ROLLBACK")?;
                return Err(TransactionError::RolledBack);
            }
        }
        let committed = execute("COMMIT");
        if committed.is_ok() {
            self.shared.commits.fetch_add(1, Ordering::Relaxed);
        } else if !connection.is_autocommit() {
            // The first error is the one to report.
            let _ = execute("ROLLBACK");
        }
        committed
    }
}

// === impl ReleaseTask ===

impl Task for ReleaseTask {
    fn run(&mut self, connection: &Connection) -> bool {
        let ids = self.ids.clone();
        let is_released = move |delivery, _| ids.contains(&delivery);
        let claims = ReleaseClaims { owner: self.owner, is_released };
        self.done = make(connection, &claims).is_ok();
        self.done
    }

    fn divide(self: Box<Self>) -> Vec<Box<dyn Task>> {
        vec![self]
    }

    fn respond(mut self: Box<Self>, commit: Result<(), StoreError>) {
        if !self.done || commit.is_err() {
            self.shared.returned().append(&mut self.ids);
        }
    }
}

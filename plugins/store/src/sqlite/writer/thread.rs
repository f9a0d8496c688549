//! The thread's side: groups of work, each one transaction.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
};

use rusqlite::Connection;
use tokio::sync::mpsc;

use super::{
    super::{checkpoint, deliveries, home::Home},
    Message, Shared, Task,
};
use crate::store::StoreError;

/// The thread, before it runs.
pub(in crate::sqlite) struct Thread {
    home: Home,
    queue: mpsc::Receiver<Message>,
    group: usize,
    shared: Arc<Shared>,
}

/// Puts [`Shared::returned`] back into the queue of deliveries.
struct GiveBack {
    ids: Vec<i64>,
    owner: i64,
    shared: Arc<Shared>,
    done: bool,
}

/// Why a transaction came to nothing.
enum Undone {
    /// The database refused to begin or commit it.
    Refused(rusqlite::Error),
    /// One of its tasks failed half-way, and all of it was rolled back.
    RolledBack,
}

// === impl Thread ===

impl Thread {
    pub(super) fn new(
        home: Home,
        queue: mpsc::Receiver<Message>,
        group: usize,
        shared: Arc<Shared>,
    ) -> Self {
        Self { home, queue, group, shared }
    }

    /// Works until it is told to close, or until nobody is left who could.
    pub(in crate::sqlite) fn run(mut self) {
        let mut open = true;
        while open && let Some(first) = self.queue.blocking_recv() {
            let mut group: Vec<Box<dyn Task>> = Vec::new();
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    Message::Work(task) => group.push(task),
                    Message::Returned => {}
                    Message::Close => open = false,
                }
                if open && group.len() < self.group {
                    next = self.queue.try_recv().ok();
                }
            }
            let ids = std::mem::take(&mut *self.shared.returned());
            if !ids.is_empty() {
                let (owner, shared) = (self.home.owner.id, Arc::clone(&self.shared));
                group.push(Box::new(GiveBack { ids, owner, shared, done: false }));
            }
            if !group.is_empty() {
                match self.home.ready() {
                    Ok(()) => self.carry_out(group),
                    Err(error) => {
                        group.into_iter().for_each(|task| task.answer(Err(error.again())));
                    }
                }
            }
            if self.shared.long_log.swap(false, Ordering::Relaxed)
                && let Some(connection) = self.home.connection()
            {
                // One that fails is told by the thread whose work it is.
                let _ = checkpoint::passive(connection);
            }
        }
        let Self { home, queue, .. } = self;
        if let Err(error) = home.leave() {
            // Its lock goes with this process, and the next one adopts what is left.
            tracing::warn!(%error, "The store could not be left in order.");
        }
        // What was queued after the close is answered `Closed`.
        drop(queue);
    }

    fn carry_out(&mut self, mut group: Vec<Box<dyn Task>>) {
        let alone = group.len() == 1;
        match self.transact(&mut group) {
            Ok(()) => group.into_iter().for_each(|task| task.answer(Ok(()))),
            // One that fails must not take the others along, and may be the reason.
            Err(Undone::RolledBack) if !alone => self.carry_out_singly(group),
            Err(Undone::Refused(error))
                if !alone && !matches!(StoreError::from(&error), StoreError::Busy(_)) =>
            {
                self.carry_out_singly(group);
            }
            Err(Undone::RolledBack) => {
                for task in group {
                    let reason = "the transaction was rolled back".to_owned();
                    task.answer(Err(StoreError::Database(reason)));
                }
            }
            Err(Undone::Refused(error)) => {
                let error = self.home.explain(error.into());
                group.into_iter().for_each(|task| task.answer(Err(error.again())));
            }
        }
    }

    fn carry_out_singly(&mut self, group: Vec<Box<dyn Task>>) {
        for task in group {
            self.carry_out(vec![task]);
        }
    }

    fn transact(&mut self, group: &mut [Box<dyn Task>]) -> Result<(), Undone> {
        let Some(connection) = self.home.connection() else { return Err(Undone::RolledBack) };
        let execute = |sql: &str| -> Result<(), Undone> {
            let run = || connection.prepare_cached(sql)?.execute([]);
            run().map(|_| ()).map_err(Undone::Refused)
        };
        if !connection.is_autocommit() {
            // Left open by a commit that failed.
            execute("ROLLBACK")?;
        }
        execute("BEGIN IMMEDIATE")?;
        for task in group {
            // No savepoint for each: SQLite copies every page that changes under one, which costs several
            // times as much as the change. A failure is rare, and one that changed nothing is harmless.
            let changes = connection.total_changes();
            let succeeded = catch_unwind(AssertUnwindSafe(|| task.run(connection)));
            if connection.is_autocommit() {
                return Err(Undone::RolledBack);
            }
            if !matches!(succeeded, Ok(true)) && connection.total_changes() != changes {
                execute("ROLLBACK")?;
                return Err(Undone::RolledBack);
            }
        }
        let committed = execute("COMMIT");
        if committed.is_ok() {
            self.shared.commits.fetch_add(1, Ordering::Relaxed);
        } else if !connection.is_autocommit() {
            // The first error is the one to tell.
            let _ = execute("ROLLBACK");
        }
        committed
    }
}

// === impl GiveBack ===

impl Task for GiveBack {
    fn run(&mut self, connection: &Connection) -> bool {
        self.done = deliveries::give_back(connection, self.owner, &self.ids).is_ok();
        self.done
    }

    fn answer(mut self: Box<Self>, commit: Result<(), StoreError>) {
        if !self.done || commit.is_err() {
            self.shared.returned().append(&mut self.ids);
        }
    }
}

//! The writing thread: it executes queued calls in one transaction, so that many callers share one
//! fsync, and returns the results after the commit.

mod calls;
mod thread;

use std::{path::Path, sync::Arc, time::Duration};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use self::{calls::PendingCall, thread::Thread};
use super::{database_file::DatabaseFile, readers::rows, writer_state::WriterState};
use crate::{
    group::{CallOutcome, ClaimCall, ClaimedRow, StoreCall},
    model::Claimed,
    rows::FromSqlRow,
    select,
    store::StoreError,
    transaction::Statement,
};

/// Queues the calls.
pub(super) struct ThreadWriter {
    queue: mpsc::Sender<ThreadMessage>,
    wait: Duration,
    payload_root: Option<Arc<Path>>,
    shared: Arc<WriterState>,
}

/// Deliveries that are claimed but not handed over yet: dropping this releases them.
pub(super) struct SqliteClaimGuard {
    taken: Vec<ClaimedRow>,
    /// Weak: the thread has the guards of claims that wait, and ends when nothing else can queue a call.
    queue: mpsc::WeakSender<ThreadMessage>,
    shared: Arc<WriterState>,
}

enum ThreadMessage {
    Call(PendingCall),
    /// A claim for the next group with deliveries of its webhook.
    ClaimNext(PendingCall),
    Work(Box<dyn Task>),
    /// What is read before the next group.
    Read(Box<dyn Task>),
    /// [`WriterState::returned`] has entries.
    Returned,
    /// Ends the thread.
    Close,
}

/// Work in a transaction. It may run several times, each time from the same state.
trait Task: Send {
    /// Returns whether it succeeded.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Returns the result to the caller; `commit` has the error if nothing was committed.
    fn respond(self: Box<Self>, commit: Result<(), StoreError>);
    /// Divides the work of several callers, of which one may make all fail.
    fn divide(self: Box<Self>) -> Vec<Box<dyn Task>>;
}

struct QueuedTask<W, T> {
    work: W,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

// === impl ThreadWriter ===

impl ThreadWriter {
    /// Creates the queue and the thread's side of it; [`Thread::run`] is to be called on a thread.
    pub(super) fn new(
        file: DatabaseFile,
        shared: Arc<WriterState>,
        options: &super::SqliteOptions,
    ) -> (Self, Thread) {
        let (sender, receiver) = mpsc::channel(options.queue.max(1));
        let payload_root = options.payload_root.as_deref().map(Arc::from);
        let shared_too = Arc::clone(&shared);
        let writer = Self { queue: sender, wait: options.wait, payload_root, shared: shared_too };
        (writer, Thread::new(file, receiver, options.group.max(1), shared))
    }

    pub(super) fn shared(&self) -> &Arc<WriterState> {
        &self.shared
    }

    /// The folder in which files of removed payloads are deleted.
    pub(super) fn payload_root(&self) -> Option<&Path> {
        self.payload_root.as_deref()
    }

    /// Runs `work` in a transaction and returns its result once that is durable.
    pub(super) async fn run<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (task, result) = queued(work);
        self.queue(ThreadMessage::Work(task), result).await
    }

    /// Returns the rows of a statement. What was written lately is in the thread's cache, where another
    /// connection would read it from the log.
    pub(super) async fn read<T>(&self, statement: Statement) -> Result<Vec<T>, StoreError>
    where
        T: FromSqlRow + Send + 'static,
    {
        let (task, result) = queued(move |connection: &Connection| rows(connection, &statement));
        self.queue(ThreadMessage::Read(task), result).await
    }

    /// Performs a call, together with others.
    pub(super) async fn perform(&self, call: StoreCall) -> Result<CallOutcome, StoreError> {
        let (reply, result) = oneshot::channel();
        let call = PendingCall::new(call, reply, |outcome| outcome);
        self.queue(ThreadMessage::Call(call), result).await
    }

    /// Like [`Self::perform`], for claims: what does not reach the caller is released.
    pub(super) async fn take(&self, claim: ClaimCall) -> Result<SqliteClaimGuard, StoreError> {
        let (call, result) = self.claim(claim);
        self.queue(ThreadMessage::Call(call), result).await
    }

    /// Like [`Self::take`], with the next commit that makes a delivery of the webhook due.
    pub(super) async fn take_next(&self, claim: ClaimCall) -> Result<SqliteClaimGuard, StoreError> {
        let (call, result) = self.claim(claim);
        let queued = self.queue.send(ThreadMessage::ClaimNext(call)).await;
        queued.map_err(|_| StoreError::Closed)?;
        result.await.map_err(|_| StoreError::Closed)?
    }

    fn claim(
        &self,
        claim: ClaimCall,
    ) -> (PendingCall, oneshot::Receiver<Result<SqliteClaimGuard, StoreError>>) {
        let (reply, result) = oneshot::channel();
        let (queue, shared) = (self.queue.downgrade(), Arc::clone(&self.shared));
        let guard = |outcome| {
            let taken = if let CallOutcome::Claimed(taken) = outcome { taken } else { Vec::new() };
            SqliteClaimGuard { taken, queue, shared }
        };
        (PendingCall::new(StoreCall::Claim(claim), reply, guard), result)
    }

    /// Lets the thread finish what is queued before this call, and end.
    pub(super) async fn close(&self) {
        let closed = async {
            // Without a receiver the queue is closed already.
            if self.queue.send(ThreadMessage::Close).await.is_ok() {
                self.queue.closed().await;
            }
        };
        if tokio::time::timeout(self.wait, closed).await.is_err() {
            tracing::warn!("The store is still busy; queued writes may be lost.");
        }
    }

    async fn queue<T>(
        &self,
        message: ThreadMessage,
        result: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let responded = async {
            self.queue.send(message).await.map_err(|_| StoreError::Closed)?;
            result.await.map_err(|_| StoreError::Closed)?
        };
        let outcome = tokio::time::timeout(self.wait, responded).await;
        let outcome = outcome.unwrap_or(Err(StoreError::Slow(self.wait)));
        if let Err(error) = &outcome {
            self.shared.failed(error);
        }
        outcome
    }
}

// === impl SqliteClaimGuard ===

impl SqliteClaimGuard {
    /// Whether [`SqliteClaimGuard::fill`] has something to read.
    pub(super) fn is_partial(&self) -> bool {
        self.taken.iter().any(|taking| taking.is_large)
    }

    /// Reads what was too large for the writing thread.
    pub(super) fn fill(mut self, connection: &Connection) -> Result<Self, StoreError> {
        for ClaimedRow { claimed, is_large } in &mut self.taken {
            if std::mem::take(is_large) {
                let event = rows(connection, &select::event(claimed.event.id))?.pop();
                claimed.event = event.ok_or(StoreError::UnknownEvent(claimed.event.id))?;
            }
        }
        Ok(self)
    }

    /// Hands the deliveries to the caller: they are not released on drop.
    pub(super) fn keep(mut self) -> Vec<Claimed> {
        std::mem::take(&mut self.taken).into_iter().map(|taking| taking.claimed).collect()
    }
}

impl Drop for SqliteClaimGuard {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            let ids = self.taken.iter().map(|taking| taking.claimed.id);
            self.shared.returned().extend(ids);
            if let Some(queue) = self.queue.upgrade() {
                // When the queue is full, the thread handles it anyway.
                let _ = queue.try_send(ThreadMessage::Returned);
            }
        }
    }
}

// === impl QueuedTask ===

impl<W, T> Task for QueuedTask<W, T>
where
    T: Send + 'static,
    W: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
{
    fn run(&mut self, connection: &Connection) -> bool {
        // The result if the work panics.
        self.outcome = Some(Err(panicked()));
        let outcome = (self.work)(connection);
        let succeeded = outcome.is_ok();
        self.outcome = Some(outcome);
        succeeded
    }

    fn respond(self: Box<Self>, commit: Result<(), StoreError>) {
        let Self { work, outcome, reply } = *self;
        // The work's resources, such as locks, are released before the caller continues.
        drop(work);
        let outcome = match (outcome, commit) {
            // Its own error is more precise than its consequence.
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(Ok(outcome)), Ok(())) => Ok(outcome),
            (None, Ok(())) => Err(StoreError::Closed),
        };
        // A caller that is gone needs no result.
        let _ = reply.send(outcome);
    }

    fn divide(self: Box<Self>) -> Vec<Box<dyn Task>> {
        vec![self]
    }
}

fn queued<T, W>(work: W) -> (Box<dyn Task>, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    W: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
{
    let (reply, result) = oneshot::channel();
    (Box::new(QueuedTask { work, outcome: None, reply }), result)
}

fn panicked() -> StoreError {
    StoreError::Database("its thread panicked".to_owned())
}

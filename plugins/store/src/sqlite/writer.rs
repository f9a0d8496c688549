//! The one thread that writes: it takes what is queued into one transaction, so that many callers
//! share one fsync, and answers them after the commit.

mod thread;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use self::thread::Thread;
use super::{
    deliveries::{self, Taking},
    home::Home,
};
use crate::{model::Claimed, store::StoreError};

/// Where callers leave their work.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    wait: Duration,
    shared: Arc<Shared>,
}

/// What the thread and its callers both see.
#[derive(Default)]
pub(super) struct Shared {
    /// Transactions committed.
    pub(super) commits: AtomicU64,
    /// The log is long: the thread is to write back what is left of it between two groups.
    pub(super) long_log: AtomicBool,
    /// Grows with every file that is opened and closed: connections of another are of no use.
    pub(super) generation: AtomicU64,
    /// Why there is no file to work with.
    pub(super) away: Mutex<Option<StoreError>>,
    /// Somebody found the file damaged.
    pub(super) damage: Mutex<Option<String>>,
    /// Claims whose caller went away before it had them.
    returned: Mutex<Vec<i64>>,
}

/// Deliveries that are claimed and not handed over yet: dropped, they go back.
pub(super) struct Taken {
    taken: Vec<Taking>,
    writer: Writer,
}

enum Message {
    Work(Box<dyn Task>),
    /// Something was left in [`Shared::returned`].
    Returned,
    /// Ends the thread.
    Close,
}

/// One caller's work. It may be run several times, each time from the same state.
trait Task: Send {
    /// Returns whether it succeeded.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Tells the caller; `commit` is why nothing of it was kept.
    fn answer(self: Box<Self>, commit: Result<(), StoreError>);
}

struct Job<W, T, S, U> {
    work: W,
    outcome: Option<Result<T, StoreError>>,
    seal: S,
    reply: oneshot::Sender<Result<U, StoreError>>,
}

// === impl Writer ===

impl Writer {
    /// Makes the queue and the thread's side of it; [`Thread::run`] is to be called on a thread.
    pub(super) fn new(
        home: Home,
        shared: Arc<Shared>,
        options: &super::SqliteOptions,
    ) -> (Self, Thread) {
        let (sender, receiver) = mpsc::channel(options.queue.max(1));
        let writer = Self { queue: sender, wait: options.wait, shared: Arc::clone(&shared) };
        (writer, Thread::new(home, receiver, options.group.max(1), shared))
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Runs `work` in a transaction and returns what it did once that is durable.
    pub(super) async fn run<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.run_sealed(work, |outcome| outcome).await
    }

    /// As [`Self::run`], for claims: what the caller does not live to see is given back.
    pub(super) async fn take<W>(&self, work: W) -> Result<Taken, StoreError>
    where
        W: FnMut(&Connection) -> Result<Vec<Taking>, StoreError> + Send + 'static,
    {
        let writer = self.clone();
        self.run_sealed(work, |taken| Taken { taken, writer }).await
    }

    /// Has the thread finish what is queued before this call, and end.
    pub(super) async fn close(&self) {
        let closed = async {
            // A queue that nobody reads is closed already.
            if self.queue.send(Message::Close).await.is_ok() {
                self.queue.closed().await;
            }
        };
        if tokio::time::timeout(self.wait, closed).await.is_err() {
            tracing::warn!("The store is still busy; what is queued may not be written down.");
        }
    }

    async fn run_sealed<T, U, W, S>(&self, work: W, seal: S) -> Result<U, StoreError>
    where
        T: Send + 'static,
        U: Send + 'static,
        W: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
        S: FnOnce(T) -> U + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Job { work, outcome: None, seal, reply });
        let answered = async {
            self.queue.send(Message::Work(job)).await.map_err(|_| StoreError::Closed)?;
            answer.await.map_err(|_| StoreError::Closed)?
        };
        let outcome = tokio::time::timeout(self.wait, answered).await;
        let outcome = outcome.unwrap_or(Err(StoreError::Slow(self.wait)));
        if let Err(error) = &outcome {
            self.shared.failed(error);
        }
        outcome
    }
}

// === impl Taken ===

impl Taken {
    /// Whether [`Taken::fill`] has something to do.
    pub(super) fn is_partial(&self) -> bool {
        self.taken.iter().any(|taking| taking.is_large)
    }

    /// Reads what was too large to be read by the thread that writes.
    pub(super) fn fill(mut self, connection: &Connection) -> Result<Self, StoreError> {
        deliveries::fill(connection, &mut self.taken)?;
        Ok(self)
    }

    /// The caller has them: they do not go back.
    pub(super) fn keep(mut self) -> Vec<Claimed> {
        std::mem::take(&mut self.taken).into_iter().map(|taking| taking.claimed).collect()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            let ids = self.taken.iter().map(|taking| taking.claimed.id);
            self.writer.shared.returned().extend(ids);
            // A full queue means that the thread comes by anyway.
            let _ = self.writer.queue.try_send(Message::Returned);
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Why there is no file to work with, if so.
    pub(super) fn away(&self) -> Result<(), StoreError> {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.as_ref().map_or(Ok(()), |error| Err(error.again()))
    }

    /// Takes note of what an error says about the file.
    pub(super) fn failed(&self, error: &StoreError) {
        if let StoreError::Corrupt(reason) = error
            && self.away().is_ok()
        {
            let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
            *damage = Some(reason.clone());
        }
    }

    fn returned(&self) -> std::sync::MutexGuard<'_, Vec<i64>> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Job ===

impl<W, T, S, U> Task for Job<W, T, S, U>
where
    T: Send,
    U: Send,
    W: FnMut(&Connection) -> Result<T, StoreError> + Send,
    S: FnOnce(T) -> U + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        // A panic in the work leaves this.
        self.outcome = Some(Err(StoreError::Database("its thread panicked".to_owned())));
        let outcome = (self.work)(connection);
        let succeeded = outcome.is_ok();
        self.outcome = Some(outcome);
        succeeded
    }

    fn answer(self: Box<Self>, commit: Result<(), StoreError>) {
        let Self { work, outcome, seal, reply } = *self;
        // What the work holds, such as locks, is let go before the caller goes on.
        drop(work);
        let outcome = match (outcome, commit) {
            // Its own error says more than what followed from it.
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(Ok(outcome)), Ok(())) => Ok(seal(outcome)),
            (None, Ok(())) => Err(StoreError::Closed),
        };
        // A caller that went away needs no answer; what was sealed gives itself back.
        let _ = reply.send(outcome);
    }
}

//! Queues the calls in a message's path and sends them in groups: many callers share one round trip
//! and one commit.

mod sender;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, timeout_at},
};

use self::sender::Sender;
use super::{
    claims::{Claims, PgClaimGuard},
    database::Database,
    lease::ProcessLease,
};
use crate::{
    group::{AwaitedCall, CallOutcome, ClaimCall, StoreCall, WaitingClaims},
    store::StoreError,
};

/// Queues the calls.
pub(super) struct GroupWriter {
    queue: mpsc::Sender<WriterMessage>,
    waiting: Arc<Mutex<WaitingClaims<QueuedCall>>>,
    wait: Duration,
}

/// What the senders take calls from.
struct CallQueue {
    messages: tokio::sync::Mutex<mpsc::Receiver<WriterMessage>>,
    /// Claims that go with the call which makes deliveries of their webhooks due.
    waiting: Arc<Mutex<WaitingClaims<QueuedCall>>>,
}

/// What the senders of groups need.
#[derive(Clone)]
pub(super) struct SenderContext {
    pub(super) writing: Database,
    pub(super) owner: Arc<ProcessLease>,
    pub(super) claims: Claims,
    /// Groups committed.
    pub(super) commits: Arc<AtomicU64>,
    /// The most calls of one group.
    pub(super) group: usize,
    pub(super) wait: Duration,
}

/// The result of a call.
pub(super) enum CallResult {
    Done(CallOutcome),
    Claimed(PgClaimGuard),
}

enum WriterMessage {
    Call(QueuedCall),
    /// Ends the queue.
    Close,
}

struct QueuedCall {
    work: StoreCall,
    /// The latest time at which it may be sent.
    until: Instant,
    /// It is a claim that waited for another call of its group.
    has_waited: bool,
    reply: oneshot::Sender<Result<CallResult, StoreError>>,
}

// === impl GroupWriter ===

impl GroupWriter {
    /// Starts `writers` tasks, which share a queue of `queue` calls and end with it.
    pub(super) fn start(
        queue: usize,
        writers: usize,
        means: &SenderContext,
    ) -> (Self, JoinSet<()>) {
        let (sender, receiver) = mpsc::channel(queue.max(1));
        let waiting = Arc::default();
        let messages = tokio::sync::Mutex::new(receiver);
        let calls = Arc::new(CallQueue { messages, waiting: Arc::clone(&waiting) });
        let mut senders = JoinSet::new();
        for _ in 0..writers.max(1) {
            senders.spawn(Sender::new(Arc::clone(&calls), means.clone()).run());
        }
        (Self { queue: sender, waiting, wait: means.wait }, senders)
    }

    /// Performs one call, together with others.
    pub(super) async fn run(&self, work: StoreCall) -> Result<CallResult, StoreError> {
        let (reply, result) = oneshot::channel();
        let until = Instant::now() + self.wait;
        let slow = |_| StoreError::Slow(self.wait);
        let call = QueuedCall { work, until, has_waited: false, reply };
        let message = WriterMessage::Call(call);
        let queued = timeout_at(until, self.queue.send(message)).await.map_err(slow)?;
        queued.map_err(|_| StoreError::Closed)?;
        // A group has as long again from when it is sent. The caller waits for its result: otherwise a
        // call that its caller believes to have failed could be committed later.
        let outcome = timeout_at(until + 2 * self.wait, result).await.map_err(slow)?;
        outcome.map_err(|_| StoreError::Closed)?
    }

    /// Makes a claim with the next call that makes deliveries of its webhook due.
    pub(super) async fn claim_next(&self, claim: ClaimCall) -> Result<CallResult, StoreError> {
        let (reply, result) = oneshot::channel();
        let (work, until) = (StoreCall::Claim(claim), Instant::now());
        self.waiting.lock().add(QueuedCall { work, until, has_waited: true, reply });
        tokio::select! {
            outcome = result => outcome.map_err(|_| StoreError::Closed)?,
            () = self.queue.closed() => Err(StoreError::Closed),
        }
    }

    /// Ends the queue after its current entries.
    pub(super) async fn close(&self) {
        let _ = tokio::time::timeout(self.wait, self.queue.send(WriterMessage::Close)).await;
    }
}

// === impl QueuedCall ===

impl AwaitedCall for QueuedCall {
    fn call(&self) -> &StoreCall {
        &self.work
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

//! What is on the way of a message is queued, and sent in groups: many callers share one round trip
//! and one commit. Each group is one call of the function `carry_out`.

mod sender;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use serde::Deserialize;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinSet,
};
use uuid::Uuid;

use self::sender::Sender;
use super::{
    claims::{Claims, Holding, Taken},
    database::Database,
    owner::Owner,
};
use crate::{
    model::{AttemptRecord, NewDelivery, NewEvent},
    note::Write,
    store::StoreError,
};

/// Where callers leave their work.
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    wait: Duration,
}

/// What groups are sent with.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) writing: Database,
    pub(super) owner: Arc<Owner>,
    pub(super) claims: Claims,
    /// Groups that were committed.
    pub(super) commits: Arc<AtomicU64>,
    /// Calls of one group at most.
    pub(super) group: usize,
    pub(super) wait: Duration,
}

/// What a caller wants.
pub(super) enum Work {
    /// All of them or none.
    Writes(Vec<Write>),
    Discard(Uuid),
    Finish(Vec<(AttemptRecord, Holding)>),
    Claim {
        webhook: String,
        now: i64,
        limit: usize,
    },
}

/// What it gets.
pub(super) enum Answer {
    Done,
    /// What is left of what was discarded, and to be removed.
    Left(Left),
    Claimed(Taken),
}

/// Where the payload of a discarded event is.
#[derive(Deserialize)]
pub(super) struct Left {
    pub(super) file: Option<PathBuf>,
    pub(super) pieces: Option<Uuid>,
}

enum Message {
    Call(Call),
    /// Ends the queue.
    Close,
}

struct Call {
    work: Work,
    reply: oneshot::Sender<Result<Answer, StoreError>>,
}

// === impl Writer ===

impl Writer {
    /// Starts that many tasks, which share a queue of `queue` calls. They end with it.
    pub(super) fn start(queue: usize, writers: usize, means: &Means) -> (Self, JoinSet<()>) {
        let (sender, receiver) = mpsc::channel(queue.max(1));
        let receiver = Arc::new(Mutex::new(receiver));
        let mut senders = JoinSet::new();
        for _ in 0..writers.max(1) {
            senders.spawn(Sender::new(Arc::clone(&receiver), means.clone()).run());
        }
        (Self { queue: sender, wait: means.wait }, senders)
    }

    /// Has one piece of work done with others.
    pub(super) async fn run(&self, work: Work) -> Result<Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        let answered = async {
            let message = Message::Call(Call { work, reply });
            self.queue.send(message).await.map_err(|_| StoreError::Closed)?;
            answer.await.map_err(|_| StoreError::Closed)?
        };
        tokio::time::timeout(self.wait, answered).await.unwrap_or(Err(StoreError::Slow(self.wait)))
    }

    /// As [`Self::run`], for what has no answer but that it is done.
    pub(super) async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.run(Work::Writes(writes)).await.map(|_| ())
    }

    /// Ends the queue behind what is in it.
    pub(super) async fn close(&self) {
        let _ = tokio::time::timeout(self.wait, self.queue.send(Message::Close)).await;
    }
}

// === impl Work ===

impl Work {
    /// About how many bytes it sends.
    fn size(&self) -> usize {
        let of = |event: &NewEvent, told: &[NewDelivery]| {
            1_000 + event.body.len() + event.payload.in_memory() + 500 * told.len()
        };
        match self {
            Self::Writes(writes) => writes
                .iter()
                .map(|write| match write {
                    Write::Open(event, told)
                    | Write::Publish(event, told)
                    | Write::Once(_, event, told) => of(event, told),
                    Write::Settle(settlement) => {
                        500 + settlement.verdict.len() + 500 * settlement.deliveries.len()
                    }
                    Write::Note(change) => 200 + change.note.body.len(),
                })
                .sum(),
            Self::Discard(_) | Self::Claim { .. } => 100,
            Self::Finish(records) => 500 * records.len(),
        }
    }

    /// The first event that it is about.
    fn event(&self) -> Option<Uuid> {
        match self {
            Self::Writes(writes) => writes.iter().find_map(|write| match write {
                Write::Open(event, _) | Write::Publish(event, _) | Write::Once(_, event, _) => {
                    Some(event.id)
                }
                Write::Settle(settlement) => Some(settlement.event),
                Write::Note(_) => None,
            }),
            Self::Discard(event) => Some(*event),
            Self::Finish(_) | Self::Claim { .. } => None,
        }
    }
}

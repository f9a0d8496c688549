//! What is on the way of a message is queued, and sent in groups: many callers share one round trip
//! and one commit. Each group is one call of the function `carry_out`.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Deserialize;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};
use tokio_postgres::types::Json;
use uuid::Uuid;

use super::{
    claims::{Claims, Holding, Taken},
    database::{Database, TRIES},
    error::{Failure, Kind},
    group::{self, Group},
    owner::Owner,
};
use crate::{
    model::{AttemptRecord, NewDelivery, NewEvent},
    note::Write,
    store::StoreError,
};

const CARRY_OUT: &str = "SELECT call, said, what, body, verdict, payload
    FROM carry_out($1, $2 * interval '1 millisecond', $3, $4, $5, $6, $7, $8)";

/// Bytes of one group, about.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

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

/// One of the tasks that send what is queued.
struct Sender {
    queue: Arc<Mutex<mpsc::Receiver<Message>>>,
    means: Means,
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
            let sender = Sender { queue: Arc::clone(&receiver), means: means.clone() };
            senders.spawn(sender.run());
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

// === impl Sender ===

impl Sender {
    /// Works until the queue is closed and empty.
    pub(super) async fn run(self) {
        loop {
            let group = tokio::select! {
                group = self.gather() => group,
                () = self.means.claims.left() => Some(Vec::new()),
            };
            let Some(group) = group else { return };
            self.give_back().await;
            if !group.is_empty() {
                self.carry_out(group).await;
            }
        }
    }

    /// Waits for a call, and takes along what is queued behind it. `None`: there will be no more.
    async fn gather(&self) -> Option<Vec<Call>> {
        let mut queue = self.queue.lock().await;
        let mut next = queue.recv().await;
        let mut group = Vec::new();
        let mut bytes = 0;
        loop {
            match next {
                Some(Message::Call(call)) => {
                    bytes += call.work.size();
                    // A caller that has given up already wants nothing.
                    if !call.reply.is_closed() {
                        group.push(call);
                    }
                }
                Some(Message::Close) => queue.close(),
                None if group.is_empty() => return None,
                None => return Some(group),
            }
            if group.len() >= self.means.group || bytes >= GROUP_BYTES {
                return Some(group);
            }
            next = match queue.try_recv() {
                Ok(message) => Some(message),
                Err(_) if group.is_empty() => queue.recv().await,
                Err(_) => return Some(group),
            };
        }
    }

    /// Puts claims back whose caller does not have them.
    async fn give_back(&self) {
        let tickets = self.means.claims.returned();
        if tickets.is_empty() {
            return;
        }
        let sql = "SELECT free_claims($1, $2, NULL, NULL)";
        match self.means.writing.query(sql, &[&self.means.owner.id(), &tickets]).await {
            Ok(_) => {
                self.means.commits.fetch_add(1, Ordering::Relaxed);
            }
            // The heartbeat sees to it if no other call comes by.
            Err(_) => self.means.claims.put_back(tickets),
        }
    }

    async fn carry_out(&self, mut group: Vec<Call>) {
        // One event's writes come in one order, whoever else writes to it.
        group.sort_by_key(|call| call.work.event());
        let deadline = Instant::now() + self.means.wait;
        let Some(failure) = self.try_all(&mut group, deadline).await else { return };
        if group.len() == 1 || failure.kind != Kind::Database {
            for call in group {
                let _ = call.reply.send(Err(failure.clone().into()));
            }
            return;
        }
        // One that fails must not take the others along.
        for call in group {
            if call.reply.is_closed() {
                continue;
            }
            let mut alone = vec![call];
            if let Some(failure) = self.try_all(&mut alone, deadline).await {
                for call in alone {
                    let _ = call.reply.send(Err(failure.clone().into()));
                }
            }
        }
    }

    /// Carries a group out by `deadline` and answers it. Where that failed, returns why, and leaves who was not
    /// answered in the group.
    async fn try_all(&self, group: &mut Vec<Call>, deadline: Instant) -> Option<Failure> {
        let mut last = Failure::new(Kind::Conflict, "other transactions are in the way");
        for _ in 0..TRIES {
            let owner = self.means.owner.id();
            let tickets: Vec<_> = group
                .iter()
                .map(|call| {
                    matches!(call.work, Work::Claim { .. }).then(|| self.means.claims.ticket())
                })
                .collect();
            let attempt = self.attempt(owner, group, &tickets, deadline);
            let attempt = tokio::time::timeout_at(deadline, attempt).await;
            let outcome = attempt.unwrap_or_else(|_| Err(Failure::slow(self.means.wait)));
            if matches!(outcome, Ok(true)) {
                return None;
            }
            // What they took, if anything, is not known.
            tickets.iter().flatten().for_each(|ticket| self.means.claims.give_back(*ticket));
            let again = match outcome {
                Ok(_) => self.means.owner.replace(owner).await,
                Err(failure) => {
                    last = failure.clone();
                    match failure.kind {
                        Kind::Conflict | Kind::Broken => Ok(()),
                        Kind::Late => self.means.owner.ask_time().await,
                        _ => Err(failure),
                    }
                }
            };
            if let Err(failure) = again {
                return Some(failure);
            }
            self.give_back().await;
        }
        Some(last)
    }

    /// Returns whether it was carried out; if not, `owner` is not known any more.
    async fn attempt(
        &self,
        owner: i32,
        group: &mut Vec<Call>,
        tickets: &[Option<i64>],
        deadline: Instant,
    ) -> Result<bool, Failure> {
        let mut answers: Vec<_> = group.iter().map(|_| Ok(Answer::Done)).collect();
        let rows = {
            let mut sent = Group::default();
            for (number, call) in group.iter().enumerate() {
                match &call.work {
                    Work::Writes(writes) => {
                        if let Err(error) = sent.writes(number, writes) {
                            answers[number] = Err(error);
                        }
                    }
                    Work::Discard(event) => sent.discard(number, *event),
                    Work::Finish(records) => {
                        for (record, holding) in records {
                            sent.record(record, *holding);
                        }
                    }
                    Work::Claim { webhook, now, limit } => {
                        let ticket = tickets[number].unwrap_or_default();
                        sent.claim(number, webhook, *now, *limit, ticket);
                    }
                }
            }
            let lanes: Vec<i32> = sent.lanes.into_iter().collect();
            let blobs: Vec<&[u8]> = sent.blobs.iter().map(|bytes| &**bytes).collect();
            let not_after = self.means.owner.database_time(deadline);
            self.means
                .writing
                .query_once(
                    CARRY_OUT,
                    &[
                        &owner,
                        &self.means.owner.lease(),
                        &not_after,
                        &lanes,
                        &Json(&sent.calls),
                        &Json(&sent.records),
                        &Json(&sent.claims),
                        &blobs,
                    ],
                )
                .await?
        };
        self.means.commits.fetch_add(1, Ordering::Relaxed);
        let mut held = Vec::new();
        let mut claimed: Vec<_> = group.iter().map(|_| Vec::new()).collect();
        for row in rows {
            let said: String = row.try_get(1)?;
            let number = usize::try_from(row.try_get::<_, i32>(0)?).ok();
            let Some((number, call)) = number.and_then(|at| Some((at, group.get(at)?))) else {
                return Ok(false);
            };
            match (said.as_str(), &call.work) {
                ("claimed", Work::Claim { webhook, .. }) => {
                    claimed[number].push(group::claimed(&row, webhook)?);
                }
                ("left", _) => {
                    let Json(left) = row.try_get::<_, Json<Left>>(2)?;
                    answers[number] = Ok(Answer::Left(left));
                }
                ("unknown", _) => {
                    let Json(event) = row.try_get::<_, Json<Uuid>>(2)?;
                    answers[number] = Err(StoreError::UnknownEvent(event));
                }
                ("held", _) => Json(held) = row.try_get::<_, Json<Vec<i64>>>(2)?,
                _ => return Err(Failure::new(Kind::Database, "its answer makes no sense")),
            }
        }
        let told = group.drain(..).zip(answers).zip(claimed).zip(tickets);
        for (((call, mut answer), claimed), ticket) in told {
            if let Work::Finish(records) = &call.work {
                for (record, holding) in records {
                    if held.contains(&record.delivery) {
                        continue;
                    }
                    self.means.claims.finished(record.delivery, *holding);
                }
            }
            if let Some(ticket) = ticket {
                answer = Ok(Answer::Claimed(self.means.claims.took(*ticket, owner, claimed)));
            }
            // A caller that went away needs no answer; claims give themselves back.
            let _ = call.reply.send(answer);
        }
        Ok(true)
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

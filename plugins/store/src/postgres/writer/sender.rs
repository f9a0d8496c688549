//! Gathers what is queued into groups, sends each, and answers the callers.

use std::sync::{Arc, atomic::Ordering};

use tokio::{
    sync::{Mutex, mpsc},
    time::Instant,
};
use tokio_postgres::types::Json;
use uuid::Uuid;

use super::{
    super::{
        database::TRIES,
        error::{Failure, Kind},
        group::{self, Group},
    },
    Answer, Call, Left, Means, Message, Work,
};
use crate::store::StoreError;

const CARRY_OUT: &str = "SELECT call, said, what, body, verdict, payload
    FROM carry_out($1, $2 * interval '1 millisecond', $3, $4, $5, $6, $7, $8)";

/// Bytes of one group, about.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// One of the tasks that send what is queued.
pub(super) struct Sender {
    queue: Arc<Mutex<mpsc::Receiver<Message>>>,
    means: Means,
}

// === impl Sender ===

impl Sender {
    pub(super) fn new(queue: Arc<Mutex<mpsc::Receiver<Message>>>, means: Means) -> Self {
        Self { queue, means }
    }

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

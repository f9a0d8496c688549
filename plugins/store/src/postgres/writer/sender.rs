//! Gathers queued calls into groups, sends each, and returns the results to the callers.

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
        error::{DatabaseFailure, FailureKind},
        group::{self, CallGroup},
    },
    CallResult, DiscardedPayload, QueuedCall, SenderContext, StoreCall, WriterMessage,
};
use crate::store::StoreError;

const CARRY_OUT: &str = "SELECT call, said, what, body, verdict, payload
    FROM carry_out($1, $2 * interval '1 millisecond', $3, $4, $5, $6, $7, $8)";

/// The approximate limit of bytes in one group.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// One of the tasks that send groups.
pub(super) struct Sender {
    queue: Arc<Mutex<mpsc::Receiver<WriterMessage>>>,
    means: SenderContext,
}

// === impl Sender ===

impl Sender {
    pub(super) fn new(
        queue: Arc<Mutex<mpsc::Receiver<WriterMessage>>>,
        means: SenderContext,
    ) -> Self {
        Self { queue, means }
    }

    /// Runs until the queue is closed and empty.
    pub(super) async fn run(self) {
        loop {
            let group = tokio::select! {
                group = self.gather() => group,
                () = self.means.claims.until_returned() => Some(Vec::new()),
            };
            let Some(group) = group else { return };
            self.release_returned().await;
            if !group.is_empty() {
                self.carry_out(group).await;
            }
        }
    }

    /// Waits for a call, and takes the queued ones after it. `None`: the queue has ended.
    async fn gather(&self) -> Option<Vec<QueuedCall>> {
        let mut queue = self.queue.lock().await;
        let mut next = queue.recv().await;
        let mut group = Vec::new();
        let mut bytes = 0;
        loop {
            match next {
                Some(WriterMessage::Call(call)) => {
                    bytes += call.work.size();
                    // The caller of a closed reply has given up.
                    if call.until <= Instant::now() {
                        let _ = call.reply.send(Err(StoreError::Slow(self.means.wait)));
                    } else if !call.reply.is_closed() {
                        group.push(call);
                    }
                }
                Some(WriterMessage::Close) => queue.close(),
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

    /// Releases claims that never reached their caller.
    async fn release_returned(&self) {
        let tickets = self.means.claims.returned();
        if tickets.is_empty() {
            return;
        }
        let sql = "SELECT free_claims($1, $2, NULL, NULL)";
        match self.means.writing.query(sql, &[&self.means.owner.id(), &tickets]).await {
            Ok(_) => {
                self.means.commits.fetch_add(1, Ordering::Relaxed);
            }
            // The heartbeat releases them if there is no earlier call.
            Err(_) => self.means.claims.put_back(tickets),
        }
    }

    async fn carry_out(&self, mut group: Vec<QueuedCall>) {
        // Writes of one event keep their order, whichever other callers write to it.
        group.sort_by_key(|call| call.work.event());
        let deadline = Instant::now() + self.means.wait;
        let Some(failure) = self.try_all(&mut group, deadline).await else { return };
        if group.len() == 1 || failure.kind != FailureKind::Database {
            for call in group {
                let _ = call.reply.send(Err(failure.clone().into()));
            }
            return;
        }
        // A failing call must not make the others fail.
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

    /// Executes a group by `deadline` and returns the results. On failure returns the reason, and
    /// leaves the calls without a result in the group.
    async fn try_all(
        &self,
        group: &mut Vec<QueuedCall>,
        deadline: Instant,
    ) -> Option<DatabaseFailure> {
        let mut last = DatabaseFailure::new(FailureKind::Conflict, "other transactions conflict");
        for _ in 0..TRIES {
            let owner = self.means.owner.id();
            let tickets: Vec<_> = group
                .iter()
                .map(|call| {
                    matches!(call.work, StoreCall::Claim { .. }).then(|| self.means.claims.ticket())
                })
                .collect();
            let attempt = self.attempt(owner, group, &tickets, deadline);
            let attempt = tokio::time::timeout_at(deadline, attempt).await;
            let outcome = attempt.unwrap_or_else(|_| Err(DatabaseFailure::slow(self.means.wait)));
            if matches!(outcome, Ok(true)) {
                return None;
            }
            // It is unknown which deliveries they claimed, if any.
            tickets.iter().flatten().for_each(|ticket| self.means.claims.release(*ticket));
            let again = match outcome {
                Ok(_) => self.means.owner.replace(owner).await,
                Err(failure) => {
                    last = failure.clone();
                    match failure.kind {
                        FailureKind::Conflict | FailureKind::Broken => Ok(()),
                        FailureKind::Late => self.means.owner.ask_time().await,
                        _ => Err(failure),
                    }
                }
            };
            if let Err(failure) = again {
                return Some(failure);
            }
            self.release_returned().await;
        }
        Some(last)
    }

    /// Returns whether it was executed; otherwise `owner` is unknown to the database.
    async fn attempt(
        &self,
        owner: i32,
        group: &mut Vec<QueuedCall>,
        tickets: &[Option<i64>],
        deadline: Instant,
    ) -> Result<bool, DatabaseFailure> {
        let mut results: Vec<_> = group.iter().map(|_| Ok(CallResult::Done)).collect();
        let rows = {
            let mut sent = CallGroup::default();
            for (number, call) in group.iter().enumerate() {
                match &call.work {
                    StoreCall::Writes(writes) => {
                        if let Err(error) = sent.writes(number, writes) {
                            results[number] = Err(error);
                        }
                    }
                    StoreCall::Discard(event) => sent.discard(number, *event),
                    StoreCall::Finish(records) => {
                        for (record, holding) in records {
                            sent.record(record, *holding);
                        }
                    }
                    StoreCall::Claim { webhook, now, limit } => {
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
            let kind: String = row.try_get(1)?;
            let number = usize::try_from(row.try_get::<_, i32>(0)?).ok();
            let Some((number, call)) = number.and_then(|at| Some((at, group.get(at)?))) else {
                return Ok(false);
            };
            match (kind.as_str(), &call.work) {
                ("claimed", StoreCall::Claim { webhook, .. }) => {
                    claimed[number].push(group::claimed(&row, webhook)?);
                }
                ("left", _) => {
                    let Json(left) = row.try_get::<_, Json<DiscardedPayload>>(2)?;
                    results[number] = Ok(CallResult::Discarded(left));
                }
                ("unknown", _) => {
                    let Json(event) = row.try_get::<_, Json<Uuid>>(2)?;
                    results[number] = Err(StoreError::UnknownEvent(event));
                }
                ("held", _) => Json(held) = row.try_get::<_, Json<Vec<i64>>>(2)?,
                _ => {
                    return Err(DatabaseFailure::new(
                        FailureKind::Database,
                        "its result is not understood",
                    ));
                }
            }
        }
        let results = group.drain(..).zip(results).zip(claimed).zip(tickets);
        for (((call, mut result), claimed), ticket) in results {
            if let StoreCall::Finish(records) = &call.work {
                for (record, holding) in records {
                    if held.contains(&record.delivery) {
                        continue;
                    }
                    self.means.claims.finished(record.delivery, *holding);
                }
            }
            if let Some(ticket) = ticket {
                result = Ok(CallResult::Claimed(
                    self.means.claims.record_claimed(*ticket, owner, claimed),
                ));
            }
            // A caller that is gone needs no result; its claims are released on drop.
            let _ = call.reply.send(result);
        }
        Ok(true)
    }
}

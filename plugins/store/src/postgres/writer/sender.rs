//! Gathers queued calls into groups, sends each, and returns the results to the callers.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    super::{
        database::TRIES,
        error::{DatabaseFailure, FailureKind},
    },
    CallQueue, CallResult, QueuedCall, SenderContext, WriterMessage,
};
use crate::{
    clock::now,
    group::{CallGroup, CallOutcome, ClaimCall, ReleaseClaims, StoreCall},
    store::StoreError,
    transaction::Statement,
};

/// One of the tasks that send groups.
pub(super) struct Sender {
    queue: Arc<CallQueue>,
    means: SenderContext,
}

// === impl Sender ===

impl Sender {
    pub(super) fn new(queue: Arc<CallQueue>, means: SenderContext) -> Self {
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
        let mut queue = self.queue.messages.lock().await;
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
                        group.extend(self.queue.waiting.lock().take(&call.work));
                        group.push(call);
                    }
                }
                Some(WriterMessage::Close) => queue.close(),
                None if group.is_empty() => return None,
                None => return Some(group),
            }
            if group.len() >= self.means.group || bytes >= CallGroup::BYTES {
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
        let owner = self.means.owner.id().into();
        let released = tickets.clone();
        let is_released = move |_, ticket| released.contains(&ticket);
        match self.means.writing.change(&ReleaseClaims { owner, is_released }).await {
            Ok(_) => {
                self.means.commits.fetch_add(1, Ordering::Relaxed);
            }
            // The heartbeat releases them if there is no earlier call.
            Err(_) => self.means.claims.put_back(tickets),
        }
    }

    async fn carry_out(&self, mut calls: Vec<QueuedCall>) {
        // Writes of one event keep their order, whichever other callers write to it. Claims are last, as
        // in the transaction: they may take what another call of the group released.
        calls.sort_by_key(|call| (matches!(call.work, StoreCall::Claim(_)), call.work.event()));
        let deadline = Instant::now() + self.means.wait;
        let mut waited = BTreeSet::new();
        for call in &mut calls {
            if call.has_waited
                && let StoreCall::Claim(claim) = &mut call.work
            {
                // It takes what any call of the group makes due.
                claim.now = now();
                waited.insert(claim.webhook.clone());
            }
        }
        let (calls, replies): (Vec<_>, Vec<_>) =
            calls.into_iter().map(|call| (call.work, call.reply)).unzip();
        let mut group = CallGroup { calls, ..CallGroup::default() };
        let failure = match self.try_all(&mut group, deadline).await {
            Ok(results) => return respond_all(&group.calls, replies, results, waited),
            Err(failure) => failure,
        };
        let alone = group.calls.len() == 1 || failure.kind != FailureKind::Database;
        for (call, reply) in group.calls.into_iter().zip(replies) {
            // A failing call must not make the others fail.
            let result = if alone {
                Err(failure.clone())
            } else if reply.is_closed() {
                continue;
            } else {
                let mut group = CallGroup { calls: vec![call], ..CallGroup::default() };
                self.try_all(&mut group, deadline).await
            };
            let result = match result {
                Ok(mut results) => results.pop().unwrap_or(Err(StoreError::Closed)),
                Err(failure) => Err(failure.into()),
            };
            let _ = reply.send(result);
        }
    }

    /// Executes a group by `deadline`. Returns the result of each call.
    async fn try_all(
        &self,
        group: &mut CallGroup,
        deadline: Instant,
    ) -> Result<Vec<Result<CallResult, StoreError>>, DatabaseFailure> {
        let mut last = DatabaseFailure::new(FailureKind::Conflict, "other transactions conflict");
        for _ in 0..TRIES {
            let owner = self.means.owner.id();
            group.owner = owner.into();
            let late = self.means.owner.database_time(deadline);
            group.opening = vec![self.means.owner.keep()];
            group.closing = vec![Statement::postgres("SELECT not_after($1)", [late.into()])];
            for claim in claims(group) {
                claim.ticket = self.means.claims.ticket();
            }
            let attempt = self.means.writing.change_once(group);
            let attempt = tokio::time::timeout_at(deadline, attempt).await;
            let failure = match attempt
                .unwrap_or_else(|_| Err(DatabaseFailure::slow(self.means.wait)))
            {
                Ok(Ok(outcomes)) => {
                    self.means.commits.fetch_add(1, Ordering::Relaxed);
                    let all = group.calls.iter().zip(outcomes);
                    let result = |(call, outcome): (_, Result<_, _>)| {
                        Ok(self.result(group.owner, call, outcome?))
                    };
                    return Ok(all.map(result).collect());
                }
                Ok(Err(error)) => DatabaseFailure::new(FailureKind::Database, error.to_string()),
                Err(failure) => failure,
            };
            // It is unknown which deliveries they claimed, if any.
            claims(group).for_each(|claim| self.means.claims.release(claim.ticket));
            last = failure.clone();
            match failure.kind {
                FailureKind::Conflict | FailureKind::Broken => {}
                FailureKind::Late => self.means.owner.ask_time().await?,
                FailureKind::Lost => self.means.owner.replace(owner).await?,
                _ => return Err(failure),
            }
            self.release_returned().await;
        }
        Err(last)
    }

    fn result(&self, owner: i64, call: &StoreCall, outcome: CallOutcome) -> CallResult {
        let claims = &self.means.claims;
        match (call, outcome) {
            (StoreCall::Claim(claim), CallOutcome::Claimed(rows)) => {
                let claimed = rows.into_iter().map(|row| row.claimed).collect();
                CallResult::Claimed(claims.record_claimed(claim.ticket, owner, claimed))
            }
            (StoreCall::Finish(records), CallOutcome::Finished { held }) => {
                let ended = records.iter().filter(|(record, _)| !held.contains(&record.delivery));
                ended.for_each(|(record, holding)| claims.finished(record.delivery, *holding));
                CallResult::Done(CallOutcome::Finished { held })
            }
            (_, outcome) => CallResult::Done(outcome),
        }
    }
}

/// Responds to claims, which are last, first: a write that a claim waited for needs no wake-up, unless the
/// claim's caller is gone.
fn respond_all(
    calls: &[StoreCall],
    replies: Vec<oneshot::Sender<Result<CallResult, StoreError>>>,
    results: Vec<Result<CallResult, StoreError>>,
    mut waited: BTreeSet<String>,
) {
    for ((call, reply), mut result) in calls.iter().zip(replies).zip(results).rev() {
        if let Ok(CallResult::Done(outcome)) = &mut result {
            outcome.leave_out(&waited);
        }
        // A caller that is gone needs no result; its claims are released on drop.
        if reply.send(result).is_err()
            && let StoreCall::Claim(claim) = call
        {
            waited.remove(&claim.webhook);
        }
    }
}

fn claims(group: &mut CallGroup) -> impl Iterator<Item = &mut ClaimCall> {
    group.calls.iter_mut().filter_map(|call| match call {
        StoreCall::Claim(claim) => Some(claim),
        _ => None,
    })
}

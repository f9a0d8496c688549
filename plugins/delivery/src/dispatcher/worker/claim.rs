//! Claims deliveries while there are slots for them, and releases those that cannot be begun.

use std::{future::Future, pin::Pin, time::Duration};

use as2hook_store::{AttemptRecord, Claimed, DeliveryOutcome};
use tokio::{sync::oneshot, time::Instant};

use super::{
    super::{
        DispatcherPhase,
        attempt::ClaimedJob,
        concurrency::{AttemptSlot, ConcurrencyPool, Purpose},
    },
    STORE_WAIT, WebhookWorker, reached,
};
use crate::time::now;

/// A claim in progress: the jobs, and whether the store may have more.
pub(super) type Claiming = Pin<Box<dyn Future<Output = Option<(Vec<ClaimedJob>, bool)>> + Send>>;

/// The number of deliveries to claim.
#[derive(Clone, Copy)]
pub(super) struct ClaimRoom {
    /// To begin at once.
    pub(super) now: usize,
    /// To be ready when those are done, so that no attempt waits for the store.
    pub(super) ahead: usize,
}

/// The most deliveries that are claimed with a commit: they have no slots yet.
const CLAIM_NEXT_MAX: usize = 4;
/// The wait before more slots are tried, for a worker that has some.
const STARVED_WAIT: Duration = Duration::from_millis(20);

// === impl WebhookWorker ===

impl WebhookWorker {
    pub(super) fn claim(&mut self, room: ClaimRoom, probe: bool) {
        let mut slots = Vec::new();
        if !self.under_way.is_empty() || !self.ready.is_empty() {
            // Only a worker without any slot waits in the queue for slots.
            slots = more(&self.shared.slots, room.now, room.ahead);
            if slots.is_empty() {
                self.starved_until = Some(Instant::now() + STARVED_WAIT);
                return;
            }
        }
        self.starved_until = None;
        self.more = false;
        let shared = self.shared.clone();
        let webhook = self.webhook.clone();
        let mut phase = self.phase.clone();
        self.claiming = Some(Box::pin(async move {
            if slots.is_empty() {
                tokio::select! {
                    slot = shared.slots.first(probe) => slots.extend(slot),
                    () = reached(&mut phase, DispatcherPhase::Draining) => return Some((Vec::new(), true)),
                }
                if !probe {
                    slots.append(&mut more(&shared.slots, room.now.saturating_sub(1), room.ahead));
                }
            }
            let claimed = shared.store.claim(&webhook, now(), slots.len()).await;
            let claimed = shared.note(claimed)?;
            let more = claimed.len() >= slots.len();
            Some((jobs(claimed, slots), more))
        }));
    }

    /// Claims with the next commit that makes deliveries due, so that they can go at once. Dropping
    /// `waiting` ends the wait.
    pub(super) fn claim_next(&mut self, room: usize) {
        let (waiting, ended) = oneshot::channel::<()>();
        self.waiting = Some(waiting);
        let shared = self.shared.clone();
        let webhook = self.webhook.clone();
        let mut phase = self.phase.clone();
        self.claiming = Some(Box::pin(async move {
            let limit = room.min(CLAIM_NEXT_MAX);
            let claimed = tokio::select! {
                claimed = shared.store.claim_next(&webhook, limit) => claimed,
                _ = ended => return Some((Vec::new(), true)),
                () = reached(&mut phase, DispatcherPhase::Draining) => return Some((Vec::new(), true)),
            };
            let claimed = shared.note(claimed)?;
            let more = claimed.len() >= limit;
            let mut slots = shared.slots.more(claimed.len(), Purpose::Now);
            while slots.len() < claimed.len() {
                slots.push(shared.slots.first(false).await?);
            }
            Some((jobs(claimed, slots), more))
        }));
    }

    pub(super) fn add_claimed(&mut self, claimed: Option<(Vec<ClaimedJob>, bool)>) {
        (self.claiming, self.waiting) = (None, None);
        match claimed {
            Some((jobs, more)) => {
                self.ready.extend(jobs);
                self.ready_since = Instant::now();
                self.more |= more;
            }
            None => {
                self.more = true;
                self.not_before = Instant::now() + STORE_WAIT;
            }
        }
    }

    /// Releases what is claimed and not begun.
    pub(super) async fn release_claims(&mut self) {
        while let Some(job) = self.ready.pop_front() {
            self.release(job.claimed.id, now()).await;
            self.more = true;
        }
    }

    pub(super) async fn release(&mut self, delivery: i64, due: i64) {
        let record =
            AttemptRecord { delivery, attempt: None, outcome: DeliveryOutcome::Released(due) };
        self.shared.completions.add(record, Some(self.webhook.clone())).await;
    }
}

pub(super) async fn claimed(claiming: &mut Option<Claiming>) -> Option<(Vec<ClaimedJob>, bool)> {
    match claiming {
        Some(claiming) => claiming.await,
        None => std::future::pending().await,
    }
}

fn more(slots: &ConcurrencyPool, now: usize, ahead: usize) -> Vec<AttemptSlot> {
    let mut taken = slots.more(now, Purpose::Now);
    if taken.len() == now {
        taken.append(&mut slots.more(ahead, Purpose::Ahead));
    }
    taken
}

fn jobs(claimed: Vec<Claimed>, slots: Vec<AttemptSlot>) -> Vec<ClaimedJob> {
    // Slots without a delivery are dropped, which frees them.
    claimed.into_iter().zip(slots).map(|(claimed, slot)| ClaimedJob { claimed, slot }).collect()
}

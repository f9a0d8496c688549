//! Claims deliveries while there are slots for them, and releases those that cannot be begun.

use std::{future::Future, pin::Pin, time::Duration};

use as2hook_store::{AttemptRecord, Claimed, DeliveryOutcome};
use futures_util::FutureExt;
use tokio::time::Instant;

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

/// A claim that waits: the deliveries, and whether the store may have more.
pub(super) type ClaimingNext = Pin<Box<dyn Future<Output = Option<(Vec<Claimed>, bool)>> + Send>>;

/// The number of deliveries to claim.
#[derive(Clone, Copy)]
pub(super) struct ClaimRoom {
    /// To begin at once.
    pub(super) now: usize,
    /// To be ready when those are done, so that no attempt waits for the store.
    pub(super) ahead: usize,
}

/// The most deliveries that are claimed with a commit.
const CLAIM_NEXT_MAX: usize = 16;
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

    /// Claims with the next commit that makes deliveries due, so that they can go at once. No slot is held
    /// meanwhile.
    pub(super) fn claim_next(&mut self, room: usize) {
        let (shared, webhook) = (self.shared.clone(), self.webhook.clone());
        let limit = room.min(CLAIM_NEXT_MAX);
        self.claiming_next = Some(Box::pin(async move {
            // Nothing is awaited behind it: what is claimed is the worker's at once.
            let claimed = shared.note(shared.store.claim_next(&webhook, limit).await)?;
            let more = claimed.len() >= limit;
            Some((claimed, more))
        }));
    }

    /// Adds what was claimed with a commit, and releases those for which no slot is free: a worker that
    /// held some while it waits for others could block all workers.
    pub(super) async fn add_next(&mut self, claimed: Option<(Vec<Claimed>, bool)>) {
        self.claiming_next = None;
        let Some((mut claimed, more)) = claimed else {
            self.more = true;
            self.not_before = Instant::now() + STORE_WAIT;
            return;
        };
        let slots = self.shared.slots.more(claimed.len(), Purpose::Now);
        let without_slot = claimed.split_off(slots.len());
        self.more |= more || !without_slot.is_empty();
        self.ready.extend(jobs(claimed, slots));
        self.ready_since = Instant::now();
        for claimed in without_slot {
            self.release(claimed.id, now()).await;
        }
    }

    /// Ends the claim that waits, and adds what it has taken.
    pub(super) async fn end_claim_next(&mut self) {
        let Some(claiming) = self.claiming_next.take() else { return };
        match claiming.now_or_never() {
            Some(claimed) => self.add_next(claimed).await,
            // It may be reading what it has taken, which it releases then.
            None => self.more = true,
        }
    }

    pub(super) fn add_claimed(&mut self, claimed: Option<(Vec<ClaimedJob>, bool)>) {
        self.claiming = None;
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

/// Waits for a claim; forever if there is none.
pub(super) async fn claimed<T>(
    claiming: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>,
) -> T {
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

//! Deliveries are claimed as far as there are slots for them, and given back when they cannot be begun.

use std::{future::Future, pin::Pin, time::Duration};

use as2hook_store::{AttemptRecord, Claimed, Fate};
use tokio::time::Instant;

use super::{
    super::{
        Phase,
        attempt::Job,
        slots::{Purpose, Slot, Slots},
    },
    Lane, STORE_WAIT, reached,
};
use crate::time::now;

/// A claim on its way: what was taken, and whether there may be more.
pub(super) type Claiming = Pin<Box<dyn Future<Output = Option<(Vec<Job>, bool)>> + Send>>;

/// How many deliveries there is room for.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// To begin at once.
    pub(super) now: usize,
    /// To be there when those are done, so that nobody waits for the store.
    pub(super) ahead: usize,
}

/// The wait for more slots beside those that the lane has.
const STARVED_WAIT: Duration = Duration::from_millis(20);

// === impl Lane ===

impl Lane {
    pub(super) fn claim(&mut self, room: Room, probe: bool) {
        let mut slots = Vec::new();
        if !self.under_way.is_empty() || !self.ready.is_empty() {
            // Only who has nothing waits in the queue for slots.
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
                    () = reached(&mut phase, Phase::Draining) => return Some((Vec::new(), true)),
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

    pub(super) fn took(&mut self, claimed: Option<(Vec<Job>, bool)>) {
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

    /// Gives back what is claimed and not begun.
    pub(super) async fn give_back(&mut self) {
        while let Some(job) = self.ready.pop_front() {
            self.release(job.claimed.id, now()).await;
            self.more = true;
        }
    }

    pub(super) async fn release(&mut self, delivery: i64, due: i64) {
        let record = AttemptRecord { delivery, attempt: None, fate: Fate::Released(due) };
        self.shared.ledger.enter(record, Some(self.webhook.clone())).await;
    }
}

pub(super) async fn claimed(claiming: &mut Option<Claiming>) -> Option<(Vec<Job>, bool)> {
    match claiming {
        Some(claiming) => claiming.await,
        None => std::future::pending().await,
    }
}

fn more(slots: &Slots, now: usize, ahead: usize) -> Vec<Slot> {
    let mut taken = slots.more(now, Purpose::Now);
    if taken.len() == now {
        taken.append(&mut slots.more(ahead, Purpose::Ahead));
    }
    taken
}

fn jobs(claimed: Vec<Claimed>, slots: Vec<Slot>) -> Vec<Job> {
    // Slots that found no delivery are free again.
    claimed.into_iter().zip(slots).map(|(claimed, slot)| Job { claimed, slot }).collect()
}

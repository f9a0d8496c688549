//! What the lanes share, and how one is woken.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use as2hook_store::{Store, StoreError, WebhookState};
use dashmap::{DashMap, mapref::entry::Entry};
use tokio::sync::{Notify, oneshot, watch};

use super::{Bells, DispatcherOptions, Vitals, lane, ledger::Ledger, pace::Pace, slots::Slots};
use crate::{
    client::Client,
    directory::{Directory, Notices},
};

/// What the lanes share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) client: Arc<Client>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) notices: Option<Arc<dyn Notices>>,
    pub(super) bells: Bells,
    pub(super) options: DispatcherOptions,
    pub(super) slots: Slots,
    pub(super) vitals: DashMap<String, Vitals>,
    pub(super) lanes: DashMap<String, Arc<LaneBell>>,
    /// Of webhooks whose rule has a rate.
    pub(super) paces: DashMap<String, Pace>,
    /// Webhooks whose remembered state is not the one here: their lanes look which it is.
    pub(super) retold: DashMap<String, ()>,
    /// Webhooks that are to be put back into service, with who waits for it.
    pub(super) asked_back: DashMap<String, oneshot::Sender<Result<u64, StoreError>>>,
    /// The rules changed: deliveries of webhooks that are gone are looked for.
    pub(super) look_at_all: AtomicBool,
    pub(super) ledger: Ledger,
    pub(super) phase: watch::Receiver<Phase>,
    /// Lanes that still run, for the shutdown.
    pub(super) running: AtomicUsize,
    pub(super) left: Notify,
    /// The store says nothing of what is due; gives no deliveries.
    pub(super) unreadable: AtomicBool,
    pub(super) store_fails: AtomicBool,
}

/// Wakes one lane.
#[derive(Default)]
pub(super) struct LaneBell {
    rung: AtomicBool,
    notify: Notify,
}

/// The dispatcher's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Running,
    /// Nothing is claimed any more.
    Draining,
    /// What is still under way is given up.
    Over,
}

// === impl Shared ===

impl Shared {
    /// Takes note of how the webhooks did before.
    pub(super) fn remember(&self, states: Vec<WebhookState>) {
        for state in states {
            let name = state.webhook.clone();
            self.bells.ring(&name);
            self.vitals.insert(name, Vitals::remembered(state));
        }
    }

    /// Wakes a webhook's lane, or begins one.
    pub(super) fn ring(self: &Arc<Self>, webhook: &str) {
        if let Some(bell) = self.lanes.get(webhook) {
            bell.ring();
            return;
        }
        if self.phase() > Phase::Running {
            return;
        }
        match self.lanes.entry(webhook.to_owned()) {
            Entry::Occupied(bell) => bell.get().ring(),
            Entry::Vacant(place) => {
                let bell = Arc::new(LaneBell::default());
                place.insert(bell.clone());
                self.running.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(lane::run(self.clone(), webhook.to_owned(), bell));
            }
        }
    }

    pub(super) async fn all_left(&self) {
        loop {
            let left = self.left.notified();
            if self.running.load(Ordering::Relaxed) == 0 {
                return;
            }
            left.await;
        }
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Says once that the store fails, and once that it is back.
    pub(super) fn note<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        self.note_of(&self.store_fails, result)
    }

    /// As [`Self::note`] for what only reads: a full disk may well be read.
    pub(super) fn note_read<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        self.note_of(&self.unreadable, result)
    }

    fn note_of<T>(&self, fails: &AtomicBool, result: Result<T, StoreError>) -> Option<T> {
        let failed = result.is_err();
        let changed = fails.swap(failed, Ordering::Relaxed) != failed;
        match result {
            Ok(value) => {
                if changed {
                    tracing::info!("The store gives deliveries again.");
                }
                Some(value)
            }
            Err(error) => {
                if changed {
                    tracing::error!(%error, "The store gives no deliveries; they wait in it.");
                }
                None
            }
        }
    }
}

// === impl LaneBell ===

impl LaneBell {
    pub(super) fn ring(&self) {
        self.rung.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }

    pub(super) async fn heard(&self) {
        self.notify.notified().await;
        self.rung.store(false, Ordering::Relaxed);
    }

    /// Ends its lane, unless it was rung meanwhile. The bell of a lane that began since stays: without
    /// it nobody could wake that lane, and a second would begin beside it.
    pub(super) fn leave(
        self: &Arc<Self>,
        lanes: &DashMap<String, Arc<Self>>,
        webhook: &str,
    ) -> bool {
        // The map's lock keeps a ring from falling between the look and the removal.
        let may_go =
            |bell: &Arc<Self>| Arc::ptr_eq(bell, self) && !bell.rung.load(Ordering::Relaxed);
        lanes.remove_if(webhook, |_, bell| may_go(bell)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_leaves_once_and_not_when_it_is_rung() {
        let lanes = DashMap::new();
        let (first, next) = (Arc::new(LaneBell::default()), Arc::new(LaneBell::default()));
        lanes.insert("erp".to_owned(), first.clone());
        assert!(first.leave(&lanes, "erp"));
        lanes.insert("erp".to_owned(), next.clone());
        assert!(!first.leave(&lanes, "erp"), "it is another's by now");
        next.ring();
        assert!(!next.leave(&lanes, "erp"), "there is something to do");
        assert!(lanes.contains_key("erp"));
    }
}

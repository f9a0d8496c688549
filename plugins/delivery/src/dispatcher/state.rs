//! State that the workers share, and how a worker is woken.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use as2hook_event::Rule;
use as2hook_sink::Sinks;
use as2hook_store::{DeliveryQueue, StoreError, WebhookState};
use dashmap::{DashMap, mapref::entry::Entry};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use super::{
    DispatcherOptions, EndpointHealth, Wakeups, completion::CompletionBatcher,
    concurrency::ConcurrencyPool, notices::UnreportedDead, rate_limiter::RateLimiter, worker,
};
use crate::directory::{Directory, Notices};

/// State that the workers share.
pub(super) struct DispatcherState {
    pub(super) store: Arc<dyn DeliveryQueue>,
    pub(super) sinks: Sinks,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) notices: Option<Arc<dyn Notices>>,
    pub(super) wakeups: Wakeups,
    pub(super) options: DispatcherOptions,
    pub(super) slots: ConcurrencyPool,
    pub(super) health: DashMap<String, EndpointHealth>,
    pub(super) workers: DashMap<String, Arc<WorkerWakeup>>,
    /// Of webhooks whose rule has a rate.
    pub(super) rate_limiters: DashMap<String, RateLimiter>,
    /// Webhooks whose stored state differs from the one here: their workers check it.
    pub(super) changed_elsewhere: DashMap<String, ()>,
    /// Webhooks with held or orphaned deliveries that their rules do not explain: their workers
    /// check them.
    pub(super) wrongly_set_aside: DashMap<String, ()>,
    /// Webhooks in that condition at the last check.
    pub(super) set_aside_before: Mutex<BTreeSet<String>>,
    /// Webhooks to put back into service, with the sender for the caller that waits.
    pub(super) enable_requests: DashMap<String, oneshot::Sender<Result<u64, StoreError>>>,
    /// Of webhooks with a dead delivery within the last minute; apart whether they are about webhooks.
    pub(super) unreported_dead: DashMap<(String, bool), UnreportedDead>,
    /// The rules changed: deliveries of webhooks without a rule are looked for.
    pub(super) check_all: AtomicBool,
    pub(super) completions: CompletionBatcher,
    pub(super) phase: watch::Receiver<DispatcherPhase>,
    /// Running workers, for the shutdown.
    pub(super) running: watch::Sender<usize>,
    /// The store cannot return due deliveries.
    pub(super) unreadable: AtomicBool,
    pub(super) store_fails: AtomicBool,
}

/// Wakes one worker.
#[derive(Default)]
pub(super) struct WorkerWakeup {
    rung: AtomicBool,
    notify: Notify,
}

/// The phases of the dispatcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DispatcherPhase {
    Running,
    /// Nothing is claimed any more.
    Draining,
    /// Attempts in progress are cut off.
    Stopped,
}

// === impl DispatcherState ===

impl DispatcherState {
    /// Restores the states of the webhooks from the store.
    pub(super) fn remember(&self, states: Vec<WebhookState>) {
        for state in states {
            let name = state.webhook.clone();
            self.wakeups.ring(&name);
            self.health.insert(name, EndpointHealth::remembered(state));
        }
    }

    /// Wakes a webhook's worker, or starts one.
    pub(super) fn ring(self: &Arc<Self>, webhook: &str) {
        if let Some(wakeup) = self.workers.get(webhook) {
            wakeup.ring();
            return;
        }
        if self.phase() > DispatcherPhase::Running {
            return;
        }
        match self.workers.entry(webhook.to_owned()) {
            Entry::Occupied(wakeup) => wakeup.get().ring(),
            Entry::Vacant(place) => {
                let wakeup = Arc::new(WorkerWakeup::default());
                place.insert(wakeup.clone());
                self.running.send_modify(|running| *running += 1);
                tokio::spawn(worker::run(self.clone(), webhook.to_owned(), wakeup));
            }
        }
    }

    /// Whether an attempt under this rule used the target of the rule in force.
    pub(super) fn is_target_of(&self, rule: &Arc<Rule>) -> bool {
        self.directory.endpoint(&rule.name).is_some_and(|now| {
            Arc::ptr_eq(&now, rule) || now.endpoint.has_target_of(&rule.endpoint)
        })
    }

    /// Wakes the workers of webhooks with held or orphaned deliveries that have no reason, at the
    /// second check in a row: while a webhook is being disabled, its deliveries may be visible
    /// before the reason.
    pub(super) fn check_set_aside(&self, mut aside: BTreeSet<String>) {
        aside.retain(|webhook| self.is_wrongly_set_aside(webhook));
        let mut seen = self.set_aside_before.lock();
        for webhook in aside.intersection(&seen) {
            self.wrongly_set_aside.insert(webhook.clone(), ());
            self.wakeups.ring(webhook);
        }
        *seen = aside;
    }

    /// Whether neither the rule in force nor the known state of the webhook explains deliveries
    /// that are held or orphaned.
    fn is_wrongly_set_aside(&self, webhook: &str) -> bool {
        let Some(rule) = self.directory.endpoint(webhook) else { return false };
        let disabled_by = self
            .health
            .get(webhook)
            .and_then(|health| health.is_disabled().then(|| health.fingerprint.clone()));
        rule.enabled && disabled_by.is_none_or(|fingerprint| fingerprint != rule.fingerprint())
    }

    pub(super) async fn all_workers_ended(&self) {
        // The sender is here.
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
    }

    pub(super) fn phase(&self) -> DispatcherPhase {
        *self.phase.borrow()
    }

    /// Logs once when the store fails, and once when it works again.
    pub(super) fn note<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        self.note_of(&self.store_fails, result)
    }

    /// Like [`Self::note`], for reads: they may work while writes fail, as with a full disk.
    pub(super) fn note_read<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        self.note_of(&self.unreadable, result)
    }

    fn note_of<T>(&self, fails: &AtomicBool, result: Result<T, StoreError>) -> Option<T> {
        let failed = result.is_err();
        let changed = fails.swap(failed, Ordering::Relaxed) != failed;
        match result {
            Ok(value) => {
                if changed {
                    tracing::info!("The store returns deliveries again.");
                }
                Some(value)
            }
            Err(error) => {
                if changed {
                    tracing::error!(
                        %error,
                        "The store cannot return due deliveries; they stay in it and are delivered \
                         when it works again."
                    );
                }
                None
            }
        }
    }
}

// === impl WorkerWakeup ===

impl WorkerWakeup {
    pub(super) fn ring(&self) {
        self.rung.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }

    pub(super) async fn woken(&self) {
        self.notify.notified().await;
        self.rung.store(false, Ordering::Relaxed);
    }

    /// Ends its worker, unless it was woken meanwhile. A successor's entry stays: without it that
    /// worker could not be woken, and a second one would start.
    pub(super) fn leave(
        self: &Arc<Self>,
        workers: &DashMap<String, Arc<Self>>,
        webhook: &str,
    ) -> bool {
        // The map's lock excludes a wake-up between the check and the removal.
        let may_go =
            |wakeup: &Arc<Self>| Arc::ptr_eq(wakeup, self) && !wakeup.rung.load(Ordering::Relaxed);
        workers.remove_if(webhook, |_, wakeup| may_go(wakeup)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_is_removed_once_and_not_while_it_is_woken() {
        let workers = DashMap::new();
        let (first, next) = (Arc::new(WorkerWakeup::default()), Arc::new(WorkerWakeup::default()));
        workers.insert("erp".to_owned(), first.clone());
        assert!(first.leave(&workers, "erp"));
        workers.insert("erp".to_owned(), next.clone());
        assert!(!first.leave(&workers, "erp"), "the entry belongs to another worker");
        next.ring();
        assert!(!next.leave(&workers, "erp"), "the worker has work");
        assert!(workers.contains_key("erp"));
    }
}

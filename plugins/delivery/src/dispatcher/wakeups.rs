//! Wakes the workers of webhooks with due deliveries: the outbox rings after a commit, and a poll of
//! the store finds the rest.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::sleep};

use super::DispatcherState;
use crate::time::{now, until};

/// Wakes the dispatcher for webhooks with due deliveries. Clones wake the same dispatcher.
///
/// Ringing never blocks. It is allowed before the dispatcher runs and after it stopped.
#[derive(Clone, Debug, Default)]
pub struct Wakeups {
    shared: Arc<WakeupQueue>,
}

#[derive(Debug, Default)]
struct WakeupQueue {
    /// At most as many names as there are webhooks.
    rung: Mutex<HashSet<String>>,
    anyone: Notify,
}

// === impl Wakeups ===

impl Wakeups {
    /// Creates wakeups that have not been rung.
    pub fn new() -> Self {
        Self::default()
    }

    /// Signals that this webhook has a due delivery.
    pub fn ring(&self, webhook: &str) {
        {
            let mut rung = self.shared.rung.lock();
            if !rung.contains(webhook) {
                rung.insert(webhook.to_owned());
            }
        }
        self.shared.anyone.notify_one();
    }

    /// Waits for a signal, and returns the webhooks signalled since the last call.
    pub(crate) async fn woken(&self) -> HashSet<String> {
        loop {
            let rung = std::mem::take(&mut *self.shared.rung.lock());
            if !rung.is_empty() {
                return rung;
            }
            self.shared.anyone.notified().await;
        }
    }
}

/// Serves the webhooks after their former states are known: a webhook out of service must not be
/// called.
pub(super) async fn serve(shared: Arc<DispatcherState>, known: bool) {
    let mut known = known;
    while !known {
        sleep(shared.options.poll).await;
        if let Some(states) = shared.note_read(shared.store.webhook_states().await) {
            shared.remember(states);
            known = true;
        }
    }
    tokio::join!(receive_wakeups(shared.clone()), poll(shared));
}

/// The fast path: the outbox rings, and the worker runs.
async fn receive_wakeups(shared: Arc<DispatcherState>) {
    loop {
        for webhook in shared.wakeups.woken().await {
            shared.ring(&webhook);
        }
    }
}

/// The slow path: deliveries of other and terminated processes, retries of workers that ended, and
/// deliveries whose rule is gone or disabled.
async fn poll(shared: Arc<DispatcherState>) {
    loop {
        let mut next = shared.options.poll;
        let all = shared.check_all.swap(false, Ordering::Relaxed);
        let due = shared.note_read(shared.store.due().await);
        if due.is_none() && all {
            shared.check_all.store(true, Ordering::Relaxed);
        }
        for due in due.unwrap_or_default() {
            let is_due = due.due <= now();
            let rule = || shared.directory.endpoint(&due.webhook);
            if is_due || all && rule().is_none_or(|rule| !rule.enabled) {
                shared.ring(&due.webhook);
            }
            if !is_due {
                next = next.min(until(due.due));
                if !all {
                    // Sorted by time: all others are later.
                    break;
                }
            }
        }
        sleep(next.max(Duration::from_millis(10))).await;
    }
}

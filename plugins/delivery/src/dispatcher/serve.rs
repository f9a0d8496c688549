//! Wakes the workers of webhooks with due deliveries.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::sleep;

use super::DispatcherState;
use crate::time::{now, until};

/// Serves the webhooks after their former states are known: a webhook out of service must not be
/// called.
pub(super) async fn run(shared: Arc<DispatcherState>, known: bool) {
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

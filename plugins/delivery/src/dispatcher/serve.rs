//! Hears which webhooks have something due, and wakes their lanes.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::sleep;

use super::Shared;
use crate::time::{now, until};

/// Serves the webhooks, once it is known how they did before: one that is out of service must not be
/// called.
pub(super) async fn run(shared: Arc<Shared>, known: bool) {
    let mut known = known;
    while !known {
        sleep(shared.options.poll).await;
        if let Some(states) = shared.note_read(shared.store.webhook_states().await) {
            shared.remember(states);
            known = true;
        }
    }
    tokio::join!(hear(shared.clone()), poll(shared));
}

/// The fast path: the outbox rings, the lane runs.
async fn hear(shared: Arc<Shared>) {
    loop {
        for webhook in shared.bells.heard().await {
            shared.ring(&webhook);
        }
    }
}

/// The net: what another process left, what a dead process left, retries of lanes that ended, and
/// deliveries whose rule is gone.
async fn poll(shared: Arc<Shared>) {
    loop {
        let mut next = shared.options.poll;
        let all = shared.look_at_all.swap(false, Ordering::Relaxed);
        let due = shared.note_read(shared.store.due().await);
        if due.is_none() && all {
            shared.look_at_all.store(true, Ordering::Relaxed);
        }
        for due in due.unwrap_or_default() {
            let is_due = due.due <= now();
            if is_due || all && shared.directory.endpoint(&due.webhook).is_none() {
                shared.ring(&due.webhook);
            }
            if !is_due {
                next = next.min(until(due.due));
                if !all {
                    // Soonest first: all others are later.
                    break;
                }
            }
        }
        sleep(next.max(Duration::from_millis(10))).await;
    }
}

//! Wakes the dispatcher for webhooks with due deliveries: the outbox rings after a commit.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

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
            let mut rung = self.shared.rung.lock().unwrap_or_else(PoisonError::into_inner);
            if !rung.contains(webhook) {
                rung.insert(webhook.to_owned());
            }
        }
        self.shared.anyone.notify_one();
    }

    /// Waits for a signal, and returns the webhooks signalled since the last call.
    pub(crate) async fn woken(&self) -> HashSet<String> {
        loop {
            let rung = std::mem::take(
                &mut *self.shared.rung.lock().unwrap_or_else(PoisonError::into_inner),
            );
            if !rung.is_empty() {
                return rung;
            }
            self.shared.anyone.notified().await;
        }
    }
}

//! Who has something to do: rung by the outbox after a commit, heard by the dispatcher.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

/// Wakes the dispatcher for webhooks that have something due. Clones ring the same dispatcher.
///
/// Ringing never waits; it is safe before the dispatcher runs and after it stopped.
#[derive(Clone, Debug, Default)]
pub struct Bells {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// At most as many names as there are webhooks.
    rung: Mutex<HashSet<String>>,
    anyone: Notify,
}

// === impl Bells ===

impl Bells {
    /// Bells that nobody has rung.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells that this webhook has something due.
    pub fn ring(&self, webhook: &str) {
        {
            let mut rung = self.shared.rung.lock().unwrap_or_else(PoisonError::into_inner);
            if !rung.contains(webhook) {
                rung.insert(webhook.to_owned());
            }
        }
        self.shared.anyone.notify_one();
    }

    /// The webhooks that were rung since the last call; waits for the first.
    pub(crate) async fn heard(&self) -> HashSet<String> {
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

//! Retries records that the store rejects while it accepts others.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use as2hook_store::DeliveryQueue;
use tokio::time::{Instant, sleep_until};

use super::{PendingRecord, finish};
use crate::dispatcher::Wakeups;

/// Rejected records. They are retried without end, so that no delivery stays claimed. They are few
/// and small.
#[derive(Default)]
pub(super) struct RejectedRecords {
    entries: VecDeque<PendingRecord>,
    /// When they are retried next. `None`: at once.
    next: Option<Instant>,
}

/// The wait after one of them failed again.
const WAIT: Duration = Duration::from_secs(5);

// === impl RejectedRecords ===

impl RejectedRecords {
    pub(super) fn extend(&mut self, entries: Vec<PendingRecord>) {
        for mut entry in entries {
            let delivery = entry.record.delivery;
            tracing::error!(
                delivery,
                "The store rejects an attempt; it is left out of the delivery log, and its \
                 outcome is retried."
            );
            // The outcome matters more than the entry in the delivery log, which has all the fields
            // that a store may reject.
            entry.record.attempt = None;
            self.entries.push_back(entry);
            self.next = None;
        }
    }

    /// Waits until a retry is due; forever when there is no record.
    pub(super) async fn due(&self) {
        match (self.entries.is_empty(), self.next) {
            (true, _) => std::future::pending().await,
            (false, Some(next)) => sleep_until(next).await,
            (false, None) => {}
        }
    }

    /// Retries them up to the first failure, which becomes the last in the queue: an unavailable
    /// store does not block the caller for long.
    pub(super) async fn try_again(&mut self, store: &Arc<dyn DeliveryQueue>, wakeups: &Wakeups) {
        while let Some(entry) = self.entries.pop_front() {
            let mut single = vec![entry];
            if let Err(error) = finish(store, wakeups, &mut single).await {
                tracing::debug!(%error, "The store still rejects an outcome.");
                self.entries.extend(single);
                self.next = Some(Instant::now() + WAIT);
                return;
            }
        }
    }
}

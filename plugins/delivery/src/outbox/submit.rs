//! Passes one operation to the store now, or holds it in memory until the store works again.

use as2hook_store::StoreError;

use super::{
    Outbox, OutboxError, Recorded,
    backlog::Running,
    operation::{Operation, OperationOutcome},
};

impl Outbox {
    /// Performs it now, or holds it.
    pub(super) async fn submit(&self, operation: Operation) -> Recorded {
        let event = operation.event();
        let (behind, lost) = {
            let mut backlog = self.backlog();
            (backlog.is_before(&operation), operation.is_last() && backlog.forget_lost(event))
        };
        if lost {
            return Recorded::Dropped;
        }
        // Held operations go first, and only the background task tries a failing store: traffic does not
        // wait for it.
        if behind || self.shared.monitor.is_failing() {
            return self.hold(operation, None);
        }
        match self.attempt(operation).await {
            OperationOutcome::Done => Recorded::Durable,
            OperationOutcome::Failed(_, StoreError::UnknownEvent(event)) => {
                tracing::error!(%event, "Dropped the verdict of an event that is not in the store.");
                Recorded::Dropped
            }
            OperationOutcome::Failed(operation, _) => self.hold(operation, None),
            OperationOutcome::Slow(operation, running) => self.hold(operation, Some(running)),
        }
    }

    /// Performs it now, and records the store's health.
    pub(super) async fn attempt(&self, operation: Operation) -> OperationOutcome {
        let webhooks = operation.webhooks();
        let outcome = operation.perform(&self.shared.store, self.shared.options.patience).await;
        match &outcome {
            OperationOutcome::Done => {
                self.shared.monitor.took();
                self.ring(&webhooks);
            }
            // The store works; the event does not exist.
            OperationOutcome::Failed(_, StoreError::UnknownEvent(_)) => self.shared.monitor.took(),
            OperationOutcome::Failed(_, error) => self.shared.monitor.failed(&error.to_string()),
            OperationOutcome::Slow(..) => {
                let error = OutboxError::Slow(self.shared.options.patience);
                self.shared.monitor.failed(&error.to_string());
            }
        }
        outcome
    }

    pub(super) fn hold(&self, operation: Operation, running: Option<Running>) -> Recorded {
        let event = operation.event();
        let taken = self.backlog().push(operation, running);
        self.shared.changed.notify_waiters();
        let Some(truncation) = taken else {
            self.shared.monitor.lost(event, 1);
            return Recorded::Dropped;
        };
        if truncation.any {
            tracing::debug!(%event, "Truncated a verdict: the memory for events is full.");
        }
        if truncation.events > 0 {
            self.shared.monitor.lost(event, truncation.events);
        }
        Recorded::Held
    }

    pub(super) fn ring(&self, webhooks: &[String]) {
        for webhook in webhooks {
            self.shared.wakeups.ring(webhook);
        }
    }
}

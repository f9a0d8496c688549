//! The way of one operation: into the store now, or into memory until the store is back.

use as2hook_store::StoreError;

use super::{
    Outbox, OutboxError, Recorded,
    backlog::Running,
    operation::{Operation, Outcome},
};

impl Outbox {
    /// Does it now, or holds it.
    pub(super) async fn submit(&self, operation: Operation) -> Recorded {
        let event = operation.event();
        let (behind, lost) = {
            let mut backlog = self.backlog();
            (backlog.holds(event), operation.is_last() && backlog.forget_lost(event))
        };
        if lost {
            return Recorded::Dropped;
        }
        // Whatever is held goes first, and a store that fails is tried by the keeper alone: nobody
        // else has to wait for it.
        if behind || self.shared.gauge.is_failing() {
            return self.hold(operation, None);
        }
        match self.attempt(operation).await {
            Outcome::Done => Recorded::Durable,
            Outcome::Failed(_, StoreError::UnknownEvent(event)) => {
                tracing::error!(%event, "Dropped the verdict of an event that the store does not have.");
                Recorded::Dropped
            }
            Outcome::Failed(operation, _) => self.hold(operation, None),
            Outcome::Slow(operation, running) => self.hold(operation, Some(running)),
        }
    }

    /// Does it now, and takes note of how the store does.
    pub(super) async fn attempt(&self, operation: Operation) -> Outcome {
        let webhooks = operation.webhooks();
        let outcome = operation.perform(&self.shared.store, self.shared.options.patience).await;
        match &outcome {
            Outcome::Done => {
                self.shared.gauge.took();
                self.ring(&webhooks);
            }
            // The store is well: it knows what it has not.
            Outcome::Failed(_, StoreError::UnknownEvent(_)) => self.shared.gauge.took(),
            Outcome::Failed(_, error) => self.shared.gauge.failed(&error.to_string()),
            Outcome::Slow(..) => {
                let error = OutboxError::Slow(self.shared.options.patience);
                self.shared.gauge.failed(&error.to_string());
            }
        }
        outcome
    }

    pub(super) fn hold(&self, operation: Operation, running: Option<Running>) -> Recorded {
        let event = operation.event();
        let taken = self.backlog().push(operation, running);
        self.shared.changed.notify_waiters();
        let Some(shed) = taken else {
            self.shared.gauge.lost(event, 1);
            return Recorded::Dropped;
        };
        if shed.any {
            tracing::debug!(%event, "Left out what of a verdict found no room in memory.");
        }
        if shed.events > 0 {
            self.shared.gauge.lost(event, shed.events);
        }
        Recorded::Held
    }

    pub(super) fn ring(&self, webhooks: &[String]) {
        for webhook in webhooks {
            self.shared.bells.ring(webhook);
        }
    }
}

//! One write to the store.

use std::{sync::Arc, time::Duration};

use as2hook_store::{NewDelivery, NewEvent, Payload, Settlement, Store, StoreError};
use tokio::time::timeout;
use uuid::Uuid;

use super::backlog::Running;

/// Something to be written, which can be done again.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Open(NewEvent, Vec<NewDelivery>),
    Publish(NewEvent, Vec<NewDelivery>),
    Settle(Settlement),
    Discard(Uuid),
}

/// What became of it.
pub(super) enum Outcome {
    Done,
    Failed(Operation, StoreError),
    /// Not known yet: it goes on.
    Slow(Operation, Running),
}

// === impl Operation ===

impl Operation {
    /// The event that it is about.
    pub(super) fn event(&self) -> Uuid {
        match self {
            Self::Open(event, _) | Self::Publish(event, _) => event.id,
            Self::Settle(settlement) => settlement.event,
            Self::Discard(event) => *event,
        }
    }

    /// Whether it ends an exchange.
    pub(super) fn is_last(&self) -> bool {
        matches!(self, Self::Settle(_) | Self::Discard(_))
    }

    /// The webhooks that have something due once it is done.
    pub(super) fn webhooks(&self) -> Vec<String> {
        let deliveries = match self {
            Self::Publish(_, deliveries) => deliveries,
            Self::Settle(settlement) => &settlement.deliveries,
            Self::Open(..) | Self::Discard(_) => return Vec::new(),
        };
        deliveries.iter().map(|delivery| delivery.webhook.clone()).collect()
    }

    /// The memory it takes, about.
    pub(super) fn bytes(&self) -> usize {
        const ROW: usize = 512;
        match self {
            Self::Open(event, deliveries) | Self::Publish(event, deliveries) => {
                let payload = match &event.payload {
                    Payload::Inline(bytes) => bytes.len(),
                    Payload::None | Payload::File { .. } => 0,
                };
                ROW * (1 + deliveries.len()) + event.body.len() + payload
            }
            Self::Settle(settlement) => {
                ROW * (1 + settlement.deliveries.len()) + settlement.verdict.len()
            }
            Self::Discard(_) => ROW,
        }
    }

    /// Does it. A write that is begun is never cancelled: it may be half way to the disk, and doing
    /// it again beside itself would tell nobody which of the two counted.
    pub(super) async fn perform(self, store: &Arc<dyn Store>, patience: Duration) -> Outcome {
        let mut call = Box::pin(self.clone().call(store.clone()));
        match timeout(patience, &mut call).await {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(error)) => Outcome::Failed(self, error),
            Err(_) => Outcome::Slow(self, tokio::spawn(call)),
        }
    }

    pub(super) async fn call(self, store: Arc<dyn Store>) -> Result<(), StoreError> {
        match self {
            Self::Open(event, deliveries) => store.open(event, deliveries).await,
            Self::Publish(event, deliveries) => store.publish(event, deliveries).await,
            Self::Settle(settlement) => store.settle(settlement).await,
            Self::Discard(event) => store.discard(event).await,
        }
    }
}

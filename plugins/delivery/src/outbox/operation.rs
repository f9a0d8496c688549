//! One write to the store.

use std::{sync::Arc, time::Duration};

use as2hook_store::{NewDelivery, NewEvent, NoteChange, Settlement, Store, StoreError, Write};
use tokio::time::timeout;
use uuid::Uuid;

use super::backlog::Running;

/// The memory that a row takes beside what it holds, about.
const ROW: usize = 512;

/// Something to be written, which can be done again.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Open(NewEvent, Vec<NewDelivery>, Vec<NoteChange>),
    Publish(NewEvent, Vec<NewDelivery>),
    /// A verdict, and what else comes of the exchange.
    Settle(Settlement, Vec<Write>),
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
            Self::Open(event, ..) | Self::Publish(event, _) => event.id,
            Self::Settle(settlement, _) => settlement.event,
            Self::Discard(event) => *event,
        }
    }

    /// Whether it ends an exchange.
    pub(super) fn is_last(&self) -> bool {
        matches!(self, Self::Settle(..) | Self::Discard(_))
    }

    /// The webhooks that have something due once it is done.
    pub(super) fn webhooks(&self) -> Vec<String> {
        let (deliveries, further): (_, &[Write]) = match self {
            Self::Publish(_, deliveries) => (deliveries, &[]),
            Self::Settle(settlement, further) => (&settlement.deliveries, further),
            Self::Open(..) | Self::Discard(_) => return Vec::new(),
        };
        let further = further.iter().flat_map(|write| match write {
            Write::Publish(_, deliveries) | Write::Once(_, _, deliveries) => deliveries.as_slice(),
            Write::Open(..) | Write::Settle(_) | Write::Note(_) => &[],
        });
        deliveries.iter().chain(further).map(|delivery| delivery.webhook.clone()).collect()
    }

    /// The memory it takes, about.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Open(event, deliveries, notes) => {
                row(event, deliveries) + notes.iter().map(changed).sum::<usize>()
            }
            Self::Publish(event, deliveries) => row(event, deliveries),
            Self::Settle(verdict, further) => {
                settlement(verdict) + further.iter().map(write).sum::<usize>()
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
            Self::Open(event, deliveries, notes) if notes.is_empty() => {
                store.open(event, deliveries).await
            }
            Self::Open(event, deliveries, notes) => {
                let open = Write::Open(event, deliveries);
                let notes = notes.into_iter().map(Write::Note);
                store.apply(std::iter::once(open).chain(notes).collect()).await
            }
            Self::Publish(event, deliveries) => store.publish(event, deliveries).await,
            Self::Settle(settlement, further) if further.is_empty() => {
                store.settle(settlement).await
            }
            Self::Settle(settlement, mut further) => {
                further.insert(0, Write::Settle(settlement));
                store.apply(further).await
            }
            Self::Discard(event) => store.discard(event).await,
        }
    }
}

/// The memory of a settlement, about.
pub(super) fn settlement(settlement: &Settlement) -> usize {
    ROW * (1 + settlement.deliveries.len()) + settlement.verdict.len()
}

/// The memory of what comes with one, about.
pub(super) fn write(write: &Write) -> usize {
    match write {
        Write::Open(event, deliveries) | Write::Publish(event, deliveries) => {
            row(event, deliveries)
        }
        Write::Settle(verdict) => settlement(verdict),
        Write::Once(change, event, deliveries) => changed(change) + row(event, deliveries),
        Write::Note(change) => changed(change),
    }
}

fn changed(change: &NoteChange) -> usize {
    ROW + change.note.key.len() + change.note.body.len()
}

fn row(event: &NewEvent, deliveries: &[NewDelivery]) -> usize {
    ROW * (1 + deliveries.len()) + event.body.len() + event.payload.in_memory()
}

//! One write to the store.

use std::{sync::Arc, time::Duration};

use as2hook_store::{
    EventStore, NewDelivery, NewEvent, RecordChange, Settlement, StoreError, Write,
};
use tokio::time::timeout;
use uuid::Uuid;

use super::backlog::Running;

/// The approximate memory of a row beside its contents.
const ROW: usize = 512;

/// A write that can be repeated.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// An exchange, with places in orders and notes.
    Open(NewEvent, Vec<NewDelivery>, Vec<Write>),
    Publish(NewEvent, Vec<NewDelivery>),
    /// A verdict, and the further writes of the exchange.
    Settle(Settlement, Vec<Write>),
    /// An exchange is forgotten, with the notes that it was recorded with.
    Discard(Uuid, Vec<Write>),
}

/// The result of an operation.
pub(super) enum OperationOutcome {
    Done,
    Failed(Operation, StoreError),
    /// Not known yet: the call continues.
    Slow(Operation, Running),
}

// === impl Operation ===

impl Operation {
    /// Returns its event.
    pub(super) fn event(&self) -> Uuid {
        match self {
            Self::Open(event, ..) | Self::Publish(event, _) => event.id,
            Self::Settle(settlement, _) => settlement.event,
            Self::Discard(event, _) => *event,
        }
    }

    /// Whether it ends an exchange.
    pub(super) fn is_last(&self) -> bool {
        matches!(self, Self::Settle(..) | Self::Discard(..))
    }

    /// Returns the webhooks that have due deliveries once it is done.
    pub(super) fn webhooks(&self) -> Vec<String> {
        let (deliveries, further): (_, &[Write]) = match self {
            Self::Publish(_, deliveries) => (deliveries, &[]),
            Self::Settle(settlement, further) => (&settlement.deliveries, further),
            Self::Open(..) | Self::Discard(..) => return Vec::new(),
        };
        let further = further.iter().flat_map(|write| match write {
            Write::Publish(_, deliveries) | Write::Once(_, _, deliveries) => deliveries.as_slice(),
            Write::Open(..)
            | Write::Reserve(..)
            | Write::Discard(_)
            | Write::Replace(_)
            | Write::Settle(_)
            | Write::Record(_) => &[],
        });
        deliveries.iter().chain(further).map(|delivery| delivery.webhook.clone()).collect()
    }

    /// Returns the orders in which it gives an event a place: a webhook and an order key each.
    /// Later writes of the same order must follow it.
    pub(super) fn orders(&self) -> Vec<(String, String)> {
        let (deliveries, further): (&[NewDelivery], &[Write]) = match self {
            Self::Open(_, _, with) => (&[], with),
            Self::Publish(_, deliveries) => (deliveries, &[]),
            // Its own event has its place already.
            Self::Settle(_, further) => (&[], further),
            Self::Discard(..) => (&[], &[]),
        };
        let mut orders = Vec::new();
        let mut add = |deliveries: &[NewDelivery]| {
            for delivery in deliveries {
                let key = delivery.order_key.clone();
                orders.extend(key.map(|key| (delivery.webhook.clone(), key)));
            }
        };
        add(deliveries);
        for write in further {
            if let Write::Publish(_, deliveries) | Write::Once(_, _, deliveries) = write {
                add(deliveries);
            }
        }
        let places = further.iter().filter_map(|write| match write {
            Write::Reserve(_, places) => Some(places),
            _ => None,
        });
        let places = places.flatten().map(|it| (it.webhook.clone(), it.order_key.clone()));
        orders.extend(places);
        orders.sort_unstable();
        orders.dedup();
        orders
    }

    /// Returns its approximate memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Open(event, deliveries, with) => {
                row(event, deliveries) + with.iter().map(write).sum::<usize>()
            }
            Self::Publish(event, deliveries) => row(event, deliveries),
            Self::Settle(verdict, further) => {
                settlement(verdict) + further.iter().map(write).sum::<usize>()
            }
            Self::Discard(_, notes) => ROW + notes.iter().map(write).sum::<usize>(),
        }
    }

    /// Performs it. A write in progress is never cancelled: it may be on its way to the disk, and
    /// with a second one beside it the result would be ambiguous.
    pub(super) async fn perform(
        self,
        store: &Arc<dyn EventStore>,
        limit: Duration,
    ) -> OperationOutcome {
        let mut call = Box::pin(self.clone().call(store.clone()));
        match timeout(limit, &mut call).await {
            Ok(Ok(())) => OperationOutcome::Done,
            Ok(Err(error)) => OperationOutcome::Failed(self, error),
            Err(_) => OperationOutcome::Slow(self, tokio::spawn(call)),
        }
    }

    pub(super) async fn call(self, store: Arc<dyn EventStore>) -> Result<(), StoreError> {
        store.commit(self.into_writes()).await
    }

    fn into_writes(self) -> Vec<Write> {
        match self {
            Self::Open(event, deliveries, mut with) => {
                with.insert(0, Write::Open(event, deliveries));
                with
            }
            Self::Publish(event, deliveries) => vec![Write::Publish(event, deliveries)],
            Self::Settle(settlement, mut further) => {
                // A late content first: a settled event cannot be changed any more.
                let late =
                    further.iter().take_while(|write| matches!(write, Write::Replace(_))).count();
                further.insert(late, Write::Settle(settlement));
                further
            }
            Self::Discard(event, mut notes) => {
                notes.insert(0, Write::Discard(event));
                notes
            }
        }
    }
}

/// Returns the approximate memory of a settlement.
pub(super) fn settlement(settlement: &Settlement) -> usize {
    ROW * (1 + settlement.deliveries.len()) + settlement.verdict.len()
}

/// Returns the approximate memory of a further write.
pub(super) fn write(write: &Write) -> usize {
    match write {
        Write::Open(event, deliveries) | Write::Publish(event, deliveries) => {
            row(event, deliveries)
        }
        Write::Replace(event) => row(event, &[]),
        Write::Settle(verdict) => settlement(verdict),
        Write::Once(change, event, deliveries) => changed(change) + row(event, deliveries),
        Write::Record(change) => changed(change),
        Write::Reserve(_, places) => ROW * places.len(),
        Write::Discard(_) => ROW,
    }
}

fn changed(change: &RecordChange) -> usize {
    ROW + change.note.key.len() + change.note.body.len()
}

/// Returns the approximate memory of an event with its deliveries.
pub(super) fn row(event: &NewEvent, deliveries: &[NewDelivery]) -> usize {
    ROW * (1 + deliveries.len()) + event.body.len() + event.payload.in_memory()
}

//! The contents of a store in memory.

use std::collections::{BTreeSet, HashMap};

use as2hook_store::{
    AttemptRecord, DeliveryState, NewDelivery, NewEvent, StoreError, WebhookState, Write,
};
use uuid::Uuid;

#[derive(Default)]
pub struct Rows {
    pub events: HashMap<Uuid, Event>,
    pub deliveries: Vec<Delivery>,
    pub states: HashMap<String, WebhookState>,
    pub attempts: Vec<AttemptRecord>,
    /// Ids of pending deliveries by webhook, so that a long backlog is not searched.
    pub pending: HashMap<String, BTreeSet<(i64, i64)>>,
    pub claimed: usize,
}

#[derive(Clone)]
pub struct Event {
    pub row: NewEvent,
    pub verdict: Option<Vec<u8>>,
    pub open: Option<Vec<NewDelivery>>,
    /// Its process has terminated.
    pub left: bool,
}

#[derive(Clone, Debug)]
pub struct Delivery {
    pub id: i64,
    pub event: Uuid,
    pub new: NewDelivery,
    pub state: DeliveryState,
    pub attempts: u32,
    pub tries: u32,
    pub asked: bool,
}

// === impl Rows ===

impl Rows {
    pub fn write(&mut self, write: Write) -> Result<(), StoreError> {
        match write {
            Write::Open(row, if_unknown) => {
                let event = Event { row, verdict: None, open: Some(if_unknown), left: false };
                self.events.insert(event.row.id, event);
            }
            Write::Settle(settlement) => {
                let id = settlement.event;
                let event = self.events.get_mut(&id).ok_or(StoreError::UnknownEvent(id))?;
                if event.open.take().is_some() {
                    event.verdict = Some(settlement.verdict);
                    event.row.kind = settlement.kind;
                    settlement.deliveries.into_iter().for_each(|new| self.add(id, new));
                }
            }
            Write::Discard(event) => {
                self.events.remove(&event);
            }
            Write::Publish(row, new) | Write::Once(_, row, new) => {
                let id = row.id;
                self.events.insert(id, Event { row, verdict: None, open: None, left: false });
                new.into_iter().for_each(|new| self.add(id, new));
            }
            Write::Replace(row) => {
                let event = self.events.get_mut(&row.id).filter(|event| event.open.is_some());
                if let Some(event) = event {
                    event.row = row;
                }
            }
            Write::Record(_) | Write::Reserve(..) => {}
        }
        Ok(())
    }

    pub fn add(&mut self, event: Uuid, new: NewDelivery) {
        if self.deliveries.len() < 10_000
            && self.deliveries.iter().any(|known| known.new.webhook_id == new.webhook_id)
        {
            return;
        }
        let id = i64::try_from(self.deliveries.len()).unwrap();
        self.pending.entry(new.webhook.clone()).or_default().insert((new.due, id));
        let state = DeliveryState::Pending;
        self.deliveries.push(Delivery {
            id,
            event,
            new,
            state,
            attempts: 0,
            tries: 0,
            asked: false,
        });
    }

    pub fn set(&mut self, index: usize, state: DeliveryState, due: i64) {
        let delivery = &mut self.deliveries[index];
        let pending = self.pending.entry(delivery.new.webhook.clone()).or_default();
        pending.remove(&(delivery.new.due, delivery.id));
        self.claimed -= usize::from(delivery.state == DeliveryState::Claimed);
        delivery.state = state;
        delivery.new.due = due;
        if state == DeliveryState::Pending {
            pending.insert((due, delivery.id));
        }
        self.claimed += usize::from(state == DeliveryState::Claimed);
    }

    pub fn blocked(&self, index: usize) -> bool {
        let this = &self.deliveries[index];
        let Some(key) = &this.new.order_key else { return false };
        self.deliveries[..index].iter().any(|other| {
            other.new.webhook == this.new.webhook
                && other.new.order_key.as_ref() == Some(key)
                && matches!(other.state, DeliveryState::Pending | DeliveryState::Claimed)
        })
    }
}

//! Plans the deliveries of an event, and the rows for the store.

use as2hook_event::{Event, Order, PayloadMode, Rule, event::webhook_id};
use as2hook_store::{NewDelivery, NewEvent, Payload, RecordChange, Write};
use uuid::Uuid;

use crate::time::now;

/// One webhook that an event is planned for, by the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub webhook: String,
    /// What the body contains.
    pub mode: PayloadMode,
    /// Deliveries with the same key are made one after the other.
    pub order_key: Option<String>,
}

/// A write of an exchange beside its own event, in the same commit.
#[derive(Clone, Debug)]
pub enum Further {
    /// A note to store.
    Record(RecordChange),
    /// The exchange's own event as a late decode found it, before the verdict. Stands first.
    Content(Event, Payload),
    /// One more event, with its targets.
    Event(Event, Payload, Vec<Target>),
    /// One more event, unless the note says that it was published already.
    Once(RecordChange, Event, Vec<Target>),
}

// === impl Target ===

impl Target {
    /// Plans the delivery of an event by a rule.
    pub fn of(rule: &Rule, event: &Event) -> Self {
        Self::for_parties(rule, event.partner.as_deref(), event.station.as_deref())
    }

    /// Like [`Self::of`]. Deliveries that are not proven to be the partner's have an order of their
    /// own, so that they cannot block the partner's.
    pub fn in_order(rule: &Rule, event: &Event, is_unverified: bool) -> Self {
        let mut target = Self::of(rule, event);
        if is_unverified && target.order_key.is_some() {
            let key = serde_json::json!([event.partner, event.station, "unverified"]);
            target.order_key = Some(key.to_string());
        }
        target
    }

    /// Plans the delivery of an event with these AS2 ids: the remote side's and ours.
    pub fn for_parties(rule: &Rule, partner: Option<&str>, station: Option<&str>) -> Self {
        let order_key = match rule.endpoint.order {
            Order::None => None,
            // A JSON array keeps the two ids apart, whatever they contain.
            Order::Partner => Some(serde_json::json!([partner, station]).to_string()),
        };
        Self { webhook: rule.name.clone(), mode: rule.endpoint.payload, order_key }
    }

    /// Returns the delivery of an event, due now.
    pub fn delivery(&self, event: Uuid) -> NewDelivery {
        NewDelivery {
            webhook_id: webhook_id(event, &self.webhook),
            webhook: self.webhook.clone(),
            mode: self.mode.as_str().to_owned(),
            order_key: self.order_key.clone(),
            due: now(),
        }
    }
}

// === impl Further ===

impl Further {
    pub(super) fn into_write(self) -> Result<Write, serde_json::Error> {
        Ok(match self {
            Self::Record(change) => Write::Record(change),
            Self::Content(event, payload) => Write::Replace(row(&event, payload)?),
            Self::Event(event, payload, targets) => {
                Write::Publish(row(&event, payload)?, deliveries(event.id, &targets))
            }
            Self::Once(change, event, targets) => {
                let planned = deliveries(event.id, &targets);
                Write::Once(change, row(&event, Payload::None)?, planned)
            }
        })
    }
}

/// Returns the event as the store keeps it, within the store's bounds.
pub(super) fn row(event: &Event, payload: Payload) -> Result<NewEvent, serde_json::Error> {
    let (event, body) = event.bounded()?;
    let message_id = event.headers.text("Message-ID").map(|id| id.trim().to_owned());
    let decoded = event.decoded.as_ref().and_then(|decoded| decoded.as2_message_id.clone());
    Ok(NewEvent {
        id: event.id,
        kind: event.kind.as_str().to_owned(),
        site: event.site.clone(),
        partner: event.partner.clone(),
        station: event.station.clone(),
        message_id: decoded.or(message_id),
        occurred_at: event.occurred_at.as_millisecond(),
        body,
        payload,
    })
}

/// Returns the deliveries of an event, due now.
pub(super) fn deliveries(event: Uuid, targets: &[Target]) -> Vec<NewDelivery> {
    targets.iter().map(|target| target.delivery(event)).collect()
}

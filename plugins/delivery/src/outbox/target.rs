//! Who is told of what, and the rows that say so in the store.

use as2hook_store::{NewDelivery, NewEvent, NoteChange, Payload, Write};
use as2hook_webhooks::{Event, Order, PayloadMode, Rule, event::webhook_id};
use uuid::Uuid;

use crate::time::now;

/// One webhook that an event is planned for, as the rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub webhook: String,
    /// What the body will hold.
    pub mode: PayloadMode,
    /// Deliveries with the same key are made one after the other.
    pub order_key: Option<String>,
}

/// What comes of an exchange beside its own event, written down in the same commit.
#[derive(Clone, Debug)]
pub enum Further {
    /// Something to be remembered.
    Note(NoteChange),
    /// One more event, with those who are told.
    Event(Event, Payload, Vec<Target>),
    /// One more event, unless the note says that it was told already.
    Once(NoteChange, Event, Vec<Target>),
}

// === impl Target ===

impl Target {
    /// What a rule plans for an event.
    pub fn of(rule: &Rule, event: &Event) -> Self {
        Self::for_parties(rule, event.partner.as_deref(), event.station.as_deref())
    }

    /// What a rule plans for an event of these AS2 ids: the remote side's and ours.
    pub fn for_parties(rule: &Rule, partner: Option<&str>, station: Option<&str>) -> Self {
        let order_key = match rule.endpoint.order {
            Order::None => None,
            // JSON keeps the two apart whatever they hold.
            Order::Partner => Some(serde_json::json!([partner, station]).to_string()),
        };
        Self { webhook: rule.name.clone(), mode: rule.endpoint.payload, order_key }
    }

    /// The delivery of an event, due now.
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
            Self::Note(change) => Write::Note(change),
            Self::Event(event, payload, targets) => {
                Write::Publish(row(&event, payload)?, deliveries(event.id, &targets))
            }
            Self::Once(change, event, targets) => {
                let told = deliveries(event.id, &targets);
                Write::Once(change, row(&event, Payload::None)?, told)
            }
        })
    }
}

/// The event as the store keeps it.
pub(super) fn row(event: &Event, payload: Payload) -> Result<NewEvent, serde_json::Error> {
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
        body: serde_json::to_vec(event)?,
        payload,
    })
}

/// The deliveries of an event, due now.
pub(super) fn deliveries(event: Uuid, targets: &[Target]) -> Vec<NewDelivery> {
    targets.iter().map(|target| target.delivery(event)).collect()
}

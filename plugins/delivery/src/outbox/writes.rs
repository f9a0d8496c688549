//! Turns events and verdicts with their targets into writes for the store, and back.

use as2hook_event::{Event, Order, PayloadMode, Rule, Verdict, event::webhook_id};
use as2hook_store::{
    EventTerms, NewDelivery, NewEvent, Payload, RecordChange, Settlement, StoredEvent, Write,
};
use serde_json::Error;
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

/// Stores an exchange whose outcome is not known yet, with the webhooks to notify if it never is.
///
/// # Errors
/// When the event has no JSON form, like all of these.
pub fn open(event: &Event, payload: Payload, if_unknown: &[Target]) -> Result<Write, Error> {
    Ok(Write::Open(row(event, payload)?, deliveries(event.id, if_unknown)))
}

/// Like [`open`], of an event that is within its bounds, with the JSON form that [`Event::bound`] returned.
pub fn open_bounded(
    event: &Event,
    body: Vec<u8>,
    payload: Payload,
    if_unknown: &[Target],
) -> Write {
    Write::Open(row_of(event, body, payload), deliveries(event.id, if_unknown))
}

/// Records the outcome of an exchange, and plans deliveries to its targets.
///
/// # Errors
/// When the verdict has no JSON form.
pub fn settle(event: Uuid, verdict: &Verdict, targets: &[Target]) -> Result<Write, Error> {
    settle_planned(event, verdict, deliveries(event, targets))
}

pub(super) fn settle_planned(
    event: Uuid,
    verdict: &Verdict,
    deliveries: Vec<NewDelivery>,
) -> Result<Write, Error> {
    let kind = verdict.kind.as_str().to_owned();
    let errors = codes(verdict.errors.iter().map(|error| error.code.number()));
    let verdict = serde_json::to_vec(verdict)?;
    Ok(Write::Settle(Settlement { event, kind, verdict, errors, deliveries }))
}

/// Replaces the content of an open exchange by what a late decode found.
///
/// # Errors
/// Like [`open`].
pub fn replace(event: &Event, payload: Payload) -> Result<Write, Error> {
    Ok(Write::Replace(row(event, payload)?))
}

/// Stores an event without a pending outcome, and plans its deliveries.
///
/// # Errors
/// Like [`open`].
pub fn publish(event: &Event, payload: Payload, targets: &[Target]) -> Result<Write, Error> {
    Ok(Write::Publish(row(event, payload)?, deliveries(event.id, targets)))
}

/// Writes the record, and publishes the event unless another call has written the record before.
/// Without targets there is no event.
///
/// # Errors
/// Like [`open`].
pub fn once(change: RecordChange, event: &Event, targets: &[Target]) -> Result<Write, Error> {
    if targets.is_empty() {
        return Ok(Write::Record(change));
    }
    Ok(Write::Once(change, row(event, Payload::None)?, deliveries(event.id, targets)))
}

/// Returns an event as it was stored, with its verdict.
///
/// # Errors
/// When another version wrote it in a form that this one cannot read.
pub fn read(stored: &StoredEvent) -> Result<Event, Error> {
    let mut event: Event = serde_json::from_slice(&stored.body)?;
    if let Some(verdict) = &stored.verdict {
        event.settle(serde_json::from_slice(verdict)?);
    }
    Ok(event)
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
            mode: self.mode.name.to_owned(),
            order_key: self.order_key.clone(),
            due: now(),
        }
    }
}

/// Returns the event as the store keeps it, within the store's bounds.
fn row(event: &Event, payload: Payload) -> Result<NewEvent, Error> {
    let (event, body) = event.bounded()?;
    Ok(row_of(&event, body, payload))
}

fn row_of(event: &Event, body: Vec<u8>, payload: Payload) -> NewEvent {
    let message_id = event.headers.text("Message-ID").map(|id| id.trim().to_owned());
    let mdn = event.decoded.as_ref().and_then(|decoded| decoded.mdn.as_ref());
    let decoded = event.decoded.as_ref().and_then(|decoded| decoded.as2_message_id.clone());
    let attachments = event.decoded.iter().flat_map(|decoded| &decoded.attachments);
    let file_name = attachments.filter_map(|attachment| attachment.name.clone()).next();
    NewEvent {
        id: event.id,
        kind: event.kind.as_str().to_owned(),
        site: event.site.clone(),
        partner: event.partner.clone(),
        station: event.station.clone(),
        message_id: decoded.or(message_id),
        about: mdn.and_then(|mdn| mdn.original_message_id.clone()),
        terms: EventTerms {
            file_name,
            errors: codes(event.processing_errors().map(|error| error.code.number())),
        },
        occurred_at: event.occurred_at.as_millisecond(),
        body,
        payload,
    }
}

/// Returns each of these codes once.
fn codes(errors: impl Iterator<Item = u16>) -> Vec<u16> {
    let mut codes: Vec<_> = errors.collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// Returns the deliveries of an event, due now.
fn deliveries(event: Uuid, targets: &[Target]) -> Vec<NewDelivery> {
    targets.iter().map(|target| target.delivery(event)).collect()
}

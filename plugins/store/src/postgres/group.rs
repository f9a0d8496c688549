//! Encodes many calls as the parameters of one statement, and decodes its rows as their results.

use std::{borrow::Cow, collections::BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio_postgres::Row;
use uuid::Uuid;

use super::claims::ClaimHolding;
use crate::{
    clock,
    columns::{PayloadColumns, length, number},
    model::{Attempt, AttemptRecord, Claimed, NewDelivery, NewEvent, Payload, StoredEvent},
    record::{Before, RecordChange},
    store::{StoreError, replay_share},
    write::{OrderPlace, Write},
};

/// The number of locks shared by all order keys, so that all gateways together stay within the few
/// thousand locks of a server with default settings.
const ORDER_LANES: i32 = 128;
/// The number of locks shared by the keys of notes, for the same reason.
const NOTE_LANES: i32 = 128;

/// The most bytes that always fit into an index.
const KEY: usize = 1_000;

/// The parameters of `carry_out`.
#[derive(Default)]
pub(super) struct CallGroup<'a> {
    pub(super) calls: Vec<Value>,
    pub(super) records: Vec<Value>,
    pub(super) claims: Vec<Value>,
    pub(super) lanes: BTreeSet<i32>,
    pub(super) blobs: Vec<Cow<'a, [u8]>>,
}

/// A claimed delivery as the database returns it, without its bytes.
#[derive(Deserialize)]
struct ClaimedRecord {
    id: i64,
    webhook_id: String,
    mode: String,
    attempts: u32,
    tries: u32,
    replay: bool,
    lane: Option<i32>,
    event: Uuid,
    path: Option<String>,
    size: Option<i64>,
    pieces: Option<Uuid>,
    sealed: Option<i64>,
    spent: bool,
}

// === impl CallGroup ===

impl<'a> CallGroup<'a> {
    /// Adds a call of several writes, all of them or none.
    pub(super) fn writes(&mut self, call: usize, writes: &'a [Write]) -> Result<(), StoreError> {
        let mut all = Vec::with_capacity(writes.len());
        for write in writes {
            all.push(match write {
                Write::Open(event, planned) => {
                    let planned = serde_json::to_vec(planned)
                        .map_err(|error| StoreError::Database(error.to_string()))?;
                    let mut event = self.event(event)?;
                    event["planned"] = self.blob(Cow::Owned(planned));
                    json!({"do": "open", "event": event})
                }
                // It is a call of its own: see [`Self::discard`].
                Write::Discard(_) => continue,
                Write::Settle(settlement) => json!({
                    "do": "settle",
                    "event": settlement.event,
                    "kind": text(&settlement.kind),
                    "verdict": self.blob(Cow::Borrowed(&settlement.verdict)),
                    "deliveries": self.deliveries(&settlement.deliveries),
                }),
                Write::Reserve(event, places) => json!({
                    "do": "reserve",
                    "event": event,
                    "places": self.places(places),
                    "until": clock::now().saturating_add(OrderPlace::KEPT_MS),
                }),
                Write::Replace(event) => json!({"do": "replace", "event": self.event(event)?}),
                Write::Publish(event, planned) => json!({
                    "do": "publish",
                    "event": self.event(event)?,
                    "deliveries": self.deliveries(planned),
                }),
                Write::Record(change) => json!({"do": "note", "note": self.note(change)}),
                Write::Once(change, event, planned) => json!({
                    "do": "once",
                    "note": self.note(change),
                    "event": self.event(event)?,
                    "deliveries": self.deliveries(planned),
                }),
            });
        }
        self.calls.push(json!({"call": call, "writes": all}));
        Ok(())
    }

    pub(super) fn discard(&mut self, call: usize, event: Uuid) {
        self.calls.push(json!({"call": call, "discard": event}));
    }

    pub(super) fn record(&mut self, record: &AttemptRecord, holding: ClaimHolding) {
        let (state, due) = record.outcome.leads_to();
        let mut value = record.attempt.as_ref().map_or_else(|| json!({}), attempt);
        value["delivery"] = record.delivery.into();
        value["owner"] = holding.owner.into();
        value["ticket"] = holding.ticket.into();
        value["state"] = state.as_str().into();
        value["due"] = due.into();
        self.lanes.extend(holding.lane);
        self.records.push(value);
    }

    pub(super) fn claim(
        &mut self,
        call: usize,
        webhook: &str,
        now: i64,
        limit: usize,
        ticket: i64,
    ) {
        self.claims.push(json!({
            "call": call, "webhook": text(webhook), "now": now, "limit": length(limit),
            "share": length(replay_share(limit)), "ticket": ticket,
        }));
    }

    /// Encodes an event without its deliveries.
    pub(super) fn event(&mut self, event: &'a NewEvent) -> Result<Value, StoreError> {
        let columns = PayloadColumns::of(&event.payload)?;
        let payload = columns.inline.map(|bytes| self.blob(Cow::Borrowed(bytes)));
        Ok(json!({
            "id": event.id,
            "kind": text(&event.kind),
            "site": text(&event.site),
            "partner": event.partner.as_deref().map(text),
            "station": event.station.as_deref().map(text),
            "message_id": event.message_id.as_deref().map(text),
            "occurred_at": event.occurred_at,
            "body": self.blob(Cow::Borrowed(&event.body)),
            "payload": payload,
            "payload_path": columns.path,
            "payload_size": columns.size,
            "payload_pieces": columns.pieces,
            "payload_sealed": columns.sealed,
        }))
    }

    pub(super) fn deliveries(&mut self, planned: &[NewDelivery]) -> Value {
        let all = planned.iter().map(|delivery| {
            let order_key = delivery.order_key.as_deref().map(key);
            let lane = order_key.as_deref().map(|key| order_lane(&delivery.webhook, key));
            self.lanes.extend(lane);
            json!({
                "webhook_id": key(&delivery.webhook_id),
                "webhook": text(&delivery.webhook),
                "mode": text(&delivery.mode),
                "order_key": order_key,
                "lane": lane,
                "due": delivery.due,
            })
        });
        Value::Array(all.collect())
    }

    fn places(&mut self, places: &[OrderPlace]) -> Value {
        let all = places.iter().map(|place| {
            let order_key = key(&place.order_key);
            let lane = order_lane(&place.webhook, &order_key);
            self.lanes.insert(lane);
            json!({"webhook": text(&place.webhook), "order_key": order_key, "lane": lane})
        });
        Value::Array(all.collect())
    }

    fn note(&mut self, change: &'a RecordChange) -> Value {
        let note = &change.record;
        self.lanes.insert(ORDER_LANES + hashed(&key(&note.key), "", NOTE_LANES));
        let (before, expected) = match &change.before {
            Before::Any => ("any", None),
            Before::Absent => ("absent", None),
            Before::Body(body) => ("body", Some(self.blob(Cow::Borrowed(body)))),
        };
        json!({
            "key": key(&note.key),
            "body": self.blob(Cow::Borrowed(&note.body)),
            "due": note.due,
            "expires": note.expires,
            "now": clock::now(),
            "before": before,
            "expected": expected,
        })
    }

    /// Adds bytes and returns their index as SQL counts: from 1.
    pub(super) fn blob(&mut self, bytes: Cow<'a, [u8]>) -> Value {
        self.blobs.push(bytes);
        self.blobs.len().into()
    }
}

/// Encodes an attempt.
pub(super) fn attempt(attempt: &Attempt) -> Value {
    json!({
        "number": attempt.number,
        "at": attempt.at,
        "url": text(&attempt.url),
        "http_code": attempt.http_code,
        "error": attempt.error.as_deref().map(text),
        "duration_ms": number(attempt.duration_ms),
    })
}

/// Decodes one claimed delivery, and the lock of its order key.
pub(super) fn claimed(
    row: &Row,
    webhook: &str,
) -> Result<(Claimed, Option<i32>), tokio_postgres::Error> {
    let tokio_postgres::types::Json(record) =
        row.try_get::<_, tokio_postgres::types::Json<ClaimedRecord>>(2)?;
    let claimed = Claimed {
        id: record.id,
        webhook_id: record.webhook_id,
        webhook: webhook.to_owned(),
        mode: record.mode,
        attempts: record.attempts,
        tries: record.tries,
        replay: record.replay,
        event: StoredEvent {
            id: record.event,
            body: row.try_get(3)?,
            verdict: row.try_get(4)?,
            payload: if record.spent {
                Payload::Purged
            } else {
                let ClaimedRecord { path, size, pieces, sealed, .. } = record;
                PayloadColumns { inline: row.try_get(5)?, path, pieces, size, sealed }.payload()
            },
        },
    };
    Ok((claimed, record.lane))
}

/// Removes NUL, which PostgreSQL text cannot contain.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{FFFD}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Shortens text for an index: a long one is cut and ends in a hash that distinguishes it.
pub(super) fn key(whole: &str) -> Cow<'_, str> {
    if whole.len() <= KEY {
        return text(whole);
    }
    let rest = Uuid::new_v5(&Uuid::NAMESPACE_OID, whole.as_bytes());
    let first: String = whole.chars().take(KEY / 8).collect();
    text(&format!("{first}...{rest}")).into_owned().into()
}

/// Returns the lock for changes of the order of a webhook's deliveries with this key. Every version
/// of every gateway must compute the same.
fn order_lane(webhook: &str, key: &str) -> i32 {
    hashed(webhook, key, ORDER_LANES)
}

fn hashed(first: &str, second: &str, lanes: i32) -> i32 {
    let name = [first.as_bytes(), &[0], second.as_bytes()].concat();
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, &name).into_bytes();
    i32::from(u16::from_be_bytes([hash[0], hash[1]])) % lanes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    #[test]
    fn group_uses_a_bounded_number_of_locks() {
        let note = |n: i32| {
            let key = format!("key {n}");
            let note = Record { key, body: Vec::new(), due: None, expires: 0 };
            Write::Record(RecordChange { record: note, before: Before::Any })
        };
        let writes: Vec<_> = (0..2_000).map(note).collect();
        let deliveries: Vec<_> = (0..2_000)
            .map(|n| NewDelivery {
                webhook_id: n.to_string(),
                webhook: "erp".to_owned(),
                mode: "json".to_owned(),
                order_key: Some(n.to_string()),
                due: 0,
            })
            .collect();
        let mut group = CallGroup::default();
        group.writes(0, &writes).unwrap();
        group.deliveries(&deliveries);
        assert_eq!(group.lanes.into_iter().collect::<Vec<_>>(), (0..256).collect::<Vec<_>>());
    }
}

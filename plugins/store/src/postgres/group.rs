//! Many calls as one statement's parameters, and its rows as their answers.

use std::{borrow::Cow, collections::BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio_postgres::Row;
use uuid::Uuid;

use super::claims::Holding;
use crate::{
    columns::{PayloadColumns, length, number},
    model::{Attempt, AttemptRecord, Claimed, NewDelivery, NewEvent, Payload, StoredEvent},
    note::{Before, NoteChange, Write},
    store::StoreError,
};

/// Order keys share this many locks, so that all gateways together stay within the few thousand that a
/// server of default settings has.
const ORDER_LANES: i32 = 128;
/// And so do the keys of notes.
const NOTE_LANES: i32 = 128;

/// Bytes that an index takes for certain.
const KEY: usize = 1_000;

/// The parameters of `carry_out`.
#[derive(Default)]
pub(super) struct Group<'a> {
    pub(super) calls: Vec<Value>,
    pub(super) records: Vec<Value>,
    pub(super) claims: Vec<Value>,
    pub(super) lanes: BTreeSet<i32>,
    pub(super) blobs: Vec<Cow<'a, [u8]>>,
}

/// A claimed delivery as the database tells it, without its bytes.
#[derive(Deserialize)]
struct Told {
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

// === impl Group ===

impl<'a> Group<'a> {
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
                Write::Settle(settlement) => json!({
                    "do": "settle",
                    "event": settlement.event,
                    "kind": text(&settlement.kind),
                    "verdict": self.blob(Cow::Borrowed(&settlement.verdict)),
                    "deliveries": self.deliveries(&settlement.deliveries),
                }),
                Write::Publish(event, told) => json!({
                    "do": "publish",
                    "event": self.event(event)?,
                    "deliveries": self.deliveries(told),
                }),
                Write::Note(change) => json!({"do": "note", "note": self.note(change)}),
                Write::Once(change, event, told) => json!({
                    "do": "once",
                    "note": self.note(change),
                    "event": self.event(event)?,
                    "deliveries": self.deliveries(told),
                }),
            });
        }
        self.calls.push(json!({"call": call, "writes": all}));
        Ok(())
    }

    pub(super) fn discard(&mut self, call: usize, event: Uuid) {
        self.calls.push(json!({"call": call, "discard": event}));
    }

    pub(super) fn record(&mut self, record: &AttemptRecord, holding: Holding) {
        let (state, due) = record.fate.leads_to();
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
            "call": call, "webhook": text(webhook), "now": now, "limit": length(limit), "ticket": ticket,
        }));
    }

    /// An event, without what is planned for it.
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

    pub(super) fn deliveries(&mut self, told: &[NewDelivery]) -> Value {
        let all = told.iter().map(|delivery| {
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

    fn note(&mut self, change: &'a NoteChange) -> Value {
        let note = &change.note;
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
            "before": before,
            "expected": expected,
        })
    }

    /// The place of some bytes, as SQL counts: from 1.
    pub(super) fn blob(&mut self, bytes: Cow<'a, [u8]>) -> Value {
        self.blobs.push(bytes);
        self.blobs.len().into()
    }
}

/// An attempt.
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

/// One claimed delivery, and the lock of its order key.
pub(super) fn claimed(
    row: &Row,
    webhook: &str,
) -> Result<(Claimed, Option<i32>), tokio_postgres::Error> {
    let tokio_postgres::types::Json(told) =
        row.try_get::<_, tokio_postgres::types::Json<Told>>(2)?;
    let claimed = Claimed {
        id: told.id,
        webhook_id: told.webhook_id,
        webhook: webhook.to_owned(),
        mode: told.mode,
        attempts: told.attempts,
        tries: told.tries,
        replay: told.replay,
        event: StoredEvent {
            id: told.event,
            body: row.try_get(3)?,
            verdict: row.try_get(4)?,
            payload: if told.spent {
                Payload::Spent
            } else {
                let Told { path, size, pieces, sealed, .. } = told;
                PayloadColumns { inline: row.try_get(5)?, path, pieces, size, sealed }.payload()
            },
        },
    };
    Ok((claimed, told.lane))
}

/// Text as PostgreSQL takes it: it knows no NUL.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{FFFD}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Text that an index has to take whole: the longest are cut, and end in what tells them apart.
pub(super) fn key(whole: &str) -> Cow<'_, str> {
    if whole.len() <= KEY {
        return text(whole);
    }
    let rest = Uuid::new_v5(&Uuid::NAMESPACE_OID, whole.as_bytes());
    let first: String = whole.chars().take(KEY / 8).collect();
    text(&format!("{first}...{rest}")).into_owned().into()
}

/// The lock under which the deliveries of a webhook with this key change their order. Every version of
/// every gateway has to come to the same.
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
    use crate::note::Note;

    #[test]
    fn no_group_holds_many_locks() {
        let note = |n: i32| {
            let key = format!("key {n}");
            let note = Note { key, body: Vec::new(), due: None, expires: 0 };
            Write::Note(NoteChange { note, before: Before::Any })
        };
        let writes: Vec<_> = (0..2_000).map(note).collect();
        let told: Vec<_> = (0..2_000)
            .map(|n| NewDelivery {
                webhook_id: n.to_string(),
                webhook: "erp".to_owned(),
                mode: "json".to_owned(),
                order_key: Some(n.to_string()),
                due: 0,
            })
            .collect();
        let mut group = Group::default();
        group.writes(0, &writes).unwrap();
        group.deliveries(&told);
        assert_eq!(group.lanes.into_iter().collect::<Vec<_>>(), (0..256).collect::<Vec<_>>());
    }
}

//! Values and rows as both databases have them, and the plain types that are read from them.

use uuid::Uuid;

use crate::{
    columns::{PayloadColumns, error_codes},
    error::StoreError,
    gateways::GatewayReport,
    model::{
        Attempt, AuditEntry, DeliveryState, DueWebhook, NewDelivery, Payload, SetAside,
        StoredEvent, WebhookState,
    },
    partner_webhook::PartnerWebhook,
    query::{AttemptRow, DeliveryRow, DeliveryTally, EventRow, EventTally, Numbered},
    record::Record,
};

/// A value of a parameter or column. A boolean is a number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SqlValue {
    Null,
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
    Id(Uuid),
    /// A list, as a parameter only.
    Numbers(Vec<i64>),
    Texts(Vec<String>),
    Ids(Vec<Uuid>),
}

/// The values of a row, which are read from left to right.
pub(crate) struct SqlRow(std::vec::IntoIter<SqlValue>);

/// JSON, which some columns have as text and some as bytes.
struct JsonBytes(Vec<u8>);

/// A type that a column is read as.
pub(crate) trait FromSqlValue: Sized {
    /// Returns `None` for a value of another type.
    fn from_value(value: SqlValue) -> Option<Self>;
}

/// A type that a row, or a part of it, is read as.
pub(crate) trait FromSqlRow: Sized {
    /// Its columns, where a statement names them by it.
    const COLUMNS: &'static str = "";

    fn read(row: &mut SqlRow) -> Result<Self, StoreError>;
}

// === impl SqlRow ===

impl SqlRow {
    /// Returns the next value.
    pub(crate) fn get<T: FromSqlValue>(&mut self) -> Result<T, StoreError> {
        let value = self.0.next().and_then(T::from_value);
        value.ok_or_else(|| unreadable(&"a column is missing or has an unexpected value"))
    }

    /// Returns the next value, which is JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, StoreError> {
        serde_json::from_slice(&self.get::<JsonBytes>()?.0).map_err(|error| unreadable(&error))
    }
}

impl From<Vec<SqlValue>> for SqlRow {
    fn from(values: Vec<SqlValue>) -> Self {
        Self(values.into_iter())
    }
}

fn unreadable(reason: &impl ToString) -> StoreError {
    StoreError::Database(reason.to_string())
}

// === impl SqlValue ===

impl From<i64> for SqlValue {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for SqlValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl<T: Into<SqlValue>> From<Option<T>> for SqlValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, T::into)
    }
}

// === impl FromSqlValue ===

impl FromSqlValue for i64 {
    fn from_value(value: SqlValue) -> Option<Self> {
        if let SqlValue::Number(number) = value { Some(number) } else { None }
    }
}

macro_rules! unsigned {
    ($($number:ty),*) => { $(
        impl FromSqlValue for $number {
            fn from_value(value: SqlValue) -> Option<Self> {
                i64::from_value(value)?.max(0).try_into().ok()
            }
        }
    )* };
}
unsigned!(u16, u32, u64);

impl FromSqlValue for bool {
    fn from_value(value: SqlValue) -> Option<Self> {
        i64::from_value(value).map(|number| number != 0)
    }
}

impl FromSqlValue for String {
    fn from_value(value: SqlValue) -> Option<Self> {
        if let SqlValue::Text(text) = value { Some(text) } else { None }
    }
}

impl FromSqlValue for Vec<u8> {
    fn from_value(value: SqlValue) -> Option<Self> {
        if let SqlValue::Bytes(bytes) = value { Some(bytes) } else { None }
    }
}

impl FromSqlValue for JsonBytes {
    fn from_value(value: SqlValue) -> Option<Self> {
        match value {
            SqlValue::Bytes(bytes) => Some(Self(bytes)),
            SqlValue::Text(text) => Some(Self(text.into_bytes())),
            _ => None,
        }
    }
}

impl FromSqlValue for Uuid {
    fn from_value(value: SqlValue) -> Option<Self> {
        match value {
            SqlValue::Id(id) => Some(id),
            SqlValue::Bytes(bytes) => Self::from_slice(&bytes).ok(),
            _ => None,
        }
    }
}

impl FromSqlValue for DeliveryState {
    fn from_value(value: SqlValue) -> Option<Self> {
        Self::named(&String::from_value(value)?)
    }
}

impl<T: FromSqlValue> FromSqlValue for Option<T> {
    fn from_value(value: SqlValue) -> Option<Self> {
        if value == SqlValue::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}

// === impl FromSqlRow ===

macro_rules! columns {
    ($($column:ident),+) => {
        impl<$($column: FromSqlValue),+> FromSqlRow for ($($column,)+) {
            fn read(row: &mut SqlRow) -> Result<Self, StoreError> {
                Ok(($(row.get::<$column>()?,)+))
            }
        }
    };
}
columns!(A);
columns!(A, B);
columns!(A, B, C);
columns!(A, B, C, D);
columns!(A, B, C, D, E);

impl<T: FromSqlRow> FromSqlRow for Numbered<T> {
    fn read(row: &mut SqlRow) -> Result<Self, StoreError> {
        Ok(Self(row.get()?, T::read(row)?))
    }
}

/// Reads each field from a column of its own.
macro_rules! read_in_order {
    ($type:ty, $columns:literal: $($field:ident),*) => {
        impl FromSqlRow for $type {
            const COLUMNS: &'static str = $columns;

            fn read(row: &mut SqlRow) -> Result<Self, StoreError> {
                Ok(Self { $($field: row.get()?),* })
            }
        }
    };
}

read_in_order!(Attempt, "a.number, a.at, a.url, a.http_code, a.error, a.duration_ms":
    number, at, url, http_code, error, duration_ms);
read_in_order!(Record, "key, body, due, expires": key, body, due, expires);
read_in_order!(AuditEntry, "at, token, site, action, target, result":
    at, token, site, action, target, result);
read_in_order!(DueWebhook, "": webhook, due);
read_in_order!(SetAside, "": webhook, state);
read_in_order!(DeliveryTally, "": webhook, state, count);
read_in_order!(EventTally, "": event, state, count);
read_in_order!(WebhookState, "name, disabled, failing_since, fingerprint":
    webhook, disabled, failing_since, fingerprint);
read_in_order!(GatewayReport,
    "uuid, host, process, version, started_at, seen_at, rules, generation":
    id, host, process, version, started_at, seen_at, rules, generation);

impl FromSqlRow for EventRow {
    const COLUMNS: &'static str = "e.uuid, e.kind, e.site, e.partner, e.station, e.message_id,
        e.file_name, e.errors, e.occurred_at, e.owner IS NOT NULL";

    fn read(row: &mut SqlRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get()?,
            kind: row.get()?,
            site: row.get()?,
            partner: row.get()?,
            station: row.get()?,
            message_id: row.get()?,
            file_name: row.get()?,
            errors: error_codes(row.get()?),
            occurred_at: row.get()?,
            open: row.get()?,
        })
    }
}

impl FromSqlRow for DeliveryRow {
    /// Those of [`EventRow`] follow.
    const COLUMNS: &'static str = "d.id, d.webhook_id, w.name, d.mode, d.order_key,
        CASE WHEN d.owner IS NULL THEN d.state ELSE 'claimed' END, d.blocked, d.due, d.attempts,
        d.tries, d.replay, a.http_code, a.error";

    fn read(row: &mut SqlRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get()?,
            webhook_id: row.get()?,
            webhook: row.get()?,
            mode: row.get()?,
            order_key: row.get()?,
            state: row.get()?,
            blocked: row.get()?,
            due: row.get()?,
            attempts: row.get()?,
            tries: row.get()?,
            replay: row.get()?,
            last_http_code: row.get()?,
            last_error: row.get()?,
            event: EventRow::read(row)?,
        })
    }
}

impl FromSqlRow for AttemptRow {
    /// Those of [`Attempt`] and [`EventRow`] follow.
    const COLUMNS: &'static str = "a.id, a.delivery, d.webhook_id, w.name, a.state, a.next_at";

    fn read(row: &mut SqlRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get()?,
            delivery: row.get()?,
            webhook_id: row.get()?,
            webhook: row.get()?,
            state: row.get()?,
            next_at: row.get()?,
            attempt: Attempt::read(row)?,
            event: EventRow::read(row)?,
        })
    }
}

impl FromSqlRow for Payload {
    const COLUMNS: &'static str = "e.payload_spent_at, c.payload, e.payload_path,
        e.payload_size, e.payload_pieces, e.payload_sealed";

    fn read(row: &mut SqlRow) -> Result<Self, StoreError> {
        let purged_at: Option<i64> = row.get()?;
        let columns = PayloadColumns {
            inline: row.get()?,
            path: row.get()?,
            size: row.get()?,
            pieces: row.get()?,
            sealed: row.get()?,
        };
        Ok(match purged_at {
            Some(at) => Self::Purged { at },
            None => columns.payload(),
        })
    }
}

impl FromSqlRow for StoredEvent {
    /// Those of [`Payload`] follow.
    const COLUMNS: &'static str = "e.uuid, c.body, e.verdict";

    fn read(row: &mut SqlRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get()?,
            body: row.get()?,
            verdict: row.get()?,
            payload: Payload::read(row)?,
        })
    }
}

/// An open event that was taken over, with its planned deliveries.
impl FromSqlRow for (StoredEvent, Vec<NewDelivery>) {
    const COLUMNS: &'static str = "e.uuid, c.body, coalesce(e.planned, '[]')";

    fn read(row: &mut SqlRow) -> Result<Self, StoreError> {
        let (id, body) = (row.get()?, row.get()?);
        let event = StoredEvent { id, body, verdict: None, payload: Payload::None };
        Ok((event, row.json()?))
    }
}

impl FromSqlRow for PartnerWebhook {
    const COLUMNS: &'static str = "site, partner, url, secret, enabled, events, changed_at";

    fn read(row: &mut SqlRow) -> Result<Self, StoreError> {
        Ok(Self {
            site: row.get()?,
            partner: row.get()?,
            url: row.get()?,
            sealed_secret: row.get()?,
            enabled: row.get()?,
            events: row.json()?,
            changed_at: row.get()?,
        })
    }
}

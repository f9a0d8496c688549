//! Rows as they are written, in a group and outside of one.

use crate::{
    columns::{PayloadColumns, key, number},
    model::{Attempt, DeliveryState, NewDelivery, NewEvent},
    rows::SqlValue,
    store::StoreError,
    transaction::Statement,
};

/// The columns of a new event that its outcome decides.
#[derive(Clone, Copy, Default)]
pub(crate) struct IdleTimes {
    /// Since when no delivery has work left.
    pub(crate) idle_since: Option<i64>,
    /// Since when no delivery needs the payload.
    pub(crate) payload_idle_since: Option<i64>,
}

/// The columns of a new delivery beside its plan.
pub(crate) struct DeliveryColumns {
    pub(crate) event: i64,
    pub(crate) occurred_at: i64,
    pub(crate) webhook: i64,
    pub(crate) state: DeliveryState,
    pub(crate) attempts: u32,
    pub(crate) tries: u32,
    pub(crate) replay: bool,
    pub(crate) blocked: bool,
}

/// Stores an event under a number. `open` has its owner and its planned deliveries while its outcome is
/// not known.
pub(crate) fn insert_event(
    number: i64,
    event: &NewEvent,
    open: Option<(i64, Vec<u8>)>,
    times: IdleTimes,
) -> Result<[Statement; 2], StoreError> {
    let payload = PayloadColumns::of(&event.payload)?;
    let (owner, planned) = open.unzip();
    let sql = "INSERT INTO event (id, uuid, kind, site, partner, station, message_id, occurred_at,
            owner, planned, idle_since, payload_idle_since, payload_path, payload_size,
            payload_pieces, payload_sealed, about, file_name, errors)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)";
    let columns = [
        number.into(),
        SqlValue::Id(event.id),
        event.kind.as_str().into(),
        event.site.as_str().into(),
        event.partner.as_deref().into(),
        event.station.as_deref().into(),
        event.message_id.as_deref().into(),
        event.occurred_at.into(),
        owner.into(),
        planned.map(SqlValue::Bytes).into(),
        times.idle_since.into(),
        times.payload_idle_since.into(),
        payload.path.into(),
        payload.size.into(),
        payload.pieces.map(SqlValue::Id).into(),
        payload.sealed.into(),
        event.about.as_deref().into(),
        event.terms.file_name.as_deref().into(),
        codes(&event.terms.errors).as_deref().into(),
    ];
    let content = "INSERT INTO content (event, body, payload) VALUES ($1, $2, $3)";
    let bytes = content_values(number, event, payload.inline);
    Ok([Statement::new(sql, columns), Statement::new(content, bytes)])
}

/// Returns codes of errors as they are found: each between commas. `None`: there are none.
pub(crate) fn codes(errors: &[u16]) -> Option<String> {
    let codes = errors.iter().map(|code| format!("{code},"));
    (!errors.is_empty()).then(|| std::iter::once(",".to_owned()).chain(codes).collect())
}

/// Replaces the content of an open event.
pub(crate) fn replace_event(number: i64, event: &NewEvent) -> Result<[Statement; 2], StoreError> {
    let payload = PayloadColumns::of(&event.payload)?;
    let sql = "UPDATE event SET kind = $2, message_id = $3, payload_path = $4, payload_size = $5,
            payload_pieces = $6, payload_sealed = $7, about = $8, file_name = $9, errors = $10
        WHERE id = $1";
    let columns = [
        number.into(),
        event.kind.as_str().into(),
        event.message_id.as_deref().into(),
        payload.path.into(),
        payload.size.into(),
        payload.pieces.map(SqlValue::Id).into(),
        payload.sealed.into(),
        event.about.as_deref().into(),
        event.terms.file_name.as_deref().into(),
        codes(&event.terms.errors).as_deref().into(),
    ];
    let content = "UPDATE content SET body = $2, payload = $3 WHERE event = $1";
    let bytes = content_values(number, event, payload.inline);
    Ok([Statement::new(sql, columns), Statement::new(content, bytes)])
}

/// Stores a delivery.
pub(crate) fn insert_delivery(delivery: &NewDelivery, columns: &DeliveryColumns) -> Statement {
    let sql = "INSERT INTO delivery (webhook_id, event, webhook, mode, order_key, state, due,
            attempts, tries, replay, occurred_at, blocked)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    Statement::new(
        sql,
        [
            SqlValue::Text(key(&delivery.webhook_id).into_owned()),
            columns.event.into(),
            columns.webhook.into(),
            delivery.mode.as_str().into(),
            delivery
                .order_key
                .as_deref()
                .map(|order| SqlValue::Text(key(order).into_owned()))
                .into(),
            columns.state.as_str().into(),
            delivery.due.into(),
            i64::from(columns.attempts).into(),
            i64::from(columns.tries).into(),
            i64::from(columns.replay).into(),
            columns.occurred_at.into(),
            i64::from(columns.blocked).into(),
        ],
    )
}

/// Logs an attempt, with its outcome for the delivery.
pub(crate) fn log_attempt(
    delivery: i64,
    webhook: i64,
    attempt: &Attempt,
    state: DeliveryState,
    next_at: Option<i64>,
) -> Statement {
    let sql = "INSERT INTO attempt (delivery, webhook, number, at, url, http_code, error,
            duration_ms, state, next_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    Statement::new(
        sql,
        [
            delivery.into(),
            webhook.into(),
            i64::from(attempt.number).into(),
            attempt.at.into(),
            attempt.url.as_str().into(),
            attempt.http_code.map(i64::from).into(),
            attempt.error.as_deref().into(),
            number(attempt.duration_ms).into(),
            state.as_str().into(),
            next_at.into(),
        ],
    )
}

/// Like [`log_attempt`], of the delivery with this webhook id.
pub(crate) fn log_attempt_of(
    webhook_id: &str,
    webhook: i64,
    attempt: &Attempt,
    state: DeliveryState,
    next_at: Option<i64>,
) -> Statement {
    let mut logged = log_attempt(0, webhook, attempt, state, next_at);
    let number = "VALUES ((SELECT id FROM delivery WHERE webhook_id = $1)";
    logged.sql = logged.sql.replace("VALUES ($1", number).into();
    logged.values[0] = SqlValue::Text(key(webhook_id).into_owned());
    logged
}

fn content_values(number: i64, event: &NewEvent, payload: Option<&[u8]>) -> [SqlValue; 3] {
    let bytes = payload.map(|bytes| SqlValue::Bytes(bytes.to_vec()));
    [number.into(), SqlValue::Bytes(event.body.clone()), bytes.into()]
}

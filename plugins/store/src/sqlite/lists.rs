//! Lists for the admin API.

use rusqlite::{Connection, Row, ToSql, params, params_from_iter, types::Type};

use super::events;
use crate::{
    columns::length,
    model::{Attempt, DeliveryState},
    query::{AttemptRow, DeliveryCondition, DeliveryRow, EventCondition, EventRow, Filter, Page},
    store::StoreError,
};

const EVENT: &str = "e.uuid, e.kind, e.site, e.partner, e.station, e.message_id, e.occurred_at,
    e.owner IS NOT NULL";

const DELIVERY: &str =
    "d.id, d.webhook_id, w.name, d.mode, d.order_key, iif(d.owner IS NULL, d.state, 'claimed'),
    d.blocked, d.due, d.attempts, d.tries, d.replay";

const ATTEMPT: &str = "a.id, a.delivery, d.webhook_id, w.name, a.number, a.at, a.url, a.http_code,
    a.error, a.duration_ms, a.state, a.next_at";

/// Conditions with the values of their question marks, in the same order.
#[derive(Default)]
struct SqliteListQuery {
    conditions: Vec<&'static str>,
    values: Vec<Box<dyn ToSql>>,
}

pub(super) fn events(
    connection: &Connection,
    filter: &Filter,
    cursor: Option<i64>,
    limit: usize,
) -> Result<Page<EventRow>, StoreError> {
    let mut query = SqliteListQuery::default();
    query.of_event(filter);
    let mut inner = SqliteListQuery::default();
    inner.of_delivery(filter);
    let with_delivery = if inner.conditions.is_empty() {
        String::new()
    } else {
        inner.conditions.push("d.event = e.id");
        format!("AND EXISTS (SELECT 1 FROM delivery d WHERE {})", inner.text())
    };
    query.before("e.id < ?", cursor);
    let sql = format!(
        "SELECT {EVENT}, e.id FROM event e WHERE {} {with_delivery} ORDER BY e.id DESC LIMIT ?",
        query.text()
    );
    query.values.append(&mut inner.values);
    page(connection, &sql, query, limit, |row| Ok((row.get(8)?, event_row(row, 0)?)))
}

pub(super) fn deliveries(
    connection: &Connection,
    filter: &Filter,
    cursor: Option<i64>,
    limit: usize,
) -> Result<Page<DeliveryRow>, StoreError> {
    let mut query = SqliteListQuery::default();
    query.of_event(filter);
    query.of_delivery(filter);
    query.before("d.id < ?", cursor);
    let sql = format!(
        "SELECT {DELIVERY}, {EVENT} FROM delivery d JOIN event e ON e.id = d.event
            JOIN webhook w ON w.id = d.webhook
        WHERE {} ORDER BY d.id DESC LIMIT ?",
        query.text()
    );
    page(connection, &sql, query, limit, |row| {
        let delivery = DeliveryRow {
            id: row.get(0)?,
            webhook_id: row.get(1)?,
            webhook: row.get(2)?,
            mode: row.get(3)?,
            order_key: row.get(4)?,
            state: state(row, 5)?,
            blocked: row.get(6)?,
            due: row.get(7)?,
            attempts: row.get(8)?,
            tries: row.get(9)?,
            replay: row.get(10)?,
            event: event_row(row, 11)?,
        };
        Ok((delivery.id, delivery))
    })
}

pub(super) fn attempts(
    connection: &Connection,
    filter: &Filter,
    cursor: Option<i64>,
    limit: usize,
) -> Result<Page<AttemptRow>, StoreError> {
    let mut query = SqliteListQuery::default();
    query.of_event(filter);
    query.of_delivery(filter);
    if let Some(webhook) = &filter.webhook {
        // Also by its own column: its index has them newest first.
        query.and("a.webhook = (SELECT id FROM webhook WHERE name = ?)", webhook.clone());
    }
    query.before("a.id < ?", cursor);
    let sql = format!(
        "SELECT {ATTEMPT}, {EVENT} FROM attempt a JOIN delivery d ON d.id = a.delivery
            JOIN event e ON e.id = d.event JOIN webhook w ON w.id = d.webhook
        WHERE {} ORDER BY a.id DESC LIMIT ?",
        query.text()
    );
    page(connection, &sql, query, limit, |row| {
        let attempt = attempt_row(row)?;
        Ok((attempt.id, attempt))
    })
}

/// Returns the attempts of one webhook after the first `offset`, newest first.
pub(super) fn attempts_from(
    connection: &Connection,
    webhook: i64,
    offset: i64,
    limit: usize,
) -> Result<Vec<AttemptRow>, StoreError> {
    // Skipped rows are only read in the index.
    let sql = format!(
        "SELECT {ATTEMPT}, {EVENT} FROM
            (SELECT id FROM attempt WHERE webhook = ?1 ORDER BY id DESC LIMIT ?2 OFFSET ?3) chosen
            JOIN attempt a ON a.id = chosen.id JOIN delivery d ON d.id = a.delivery
            JOIN event e ON e.id = d.event JOIN webhook w ON w.id = d.webhook
        ORDER BY a.id DESC"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![webhook, length(limit), offset], attempt_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns the replayable deliveries that match, after `after`, up to `limit`, oldest first.
pub(super) fn replayable(
    connection: &Connection,
    filter: &Filter,
    after: i64,
    limit: usize,
) -> Result<Vec<i64>, StoreError> {
    let mut query = SqliteListQuery::default();
    query.of_event(filter);
    query.of_delivery(filter);
    query.conditions.push("d.state IN ('delivered', 'dead', 'orphaned')");
    query.and("d.id > ?", after);
    query.values.push(Box::new(length(limit)));
    let sql = format!(
        "SELECT d.id FROM delivery d JOIN event e ON e.id = d.event WHERE {}
        ORDER BY d.id LIMIT ?",
        query.text()
    );
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map(params_from_iter(query.values), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

// === impl SqliteListQuery ===

impl SqliteListQuery {
    fn and(&mut self, condition: &'static str, value: impl ToSql + 'static) {
        self.conditions.push(condition);
        self.values.push(Box::new(value));
    }

    fn before(&mut self, condition: &'static str, cursor: Option<i64>) {
        if let Some(cursor) = cursor {
            self.and(condition, cursor);
        }
    }

    fn of_event(&mut self, filter: &Filter) {
        for asked in filter.event_conditions() {
            match asked {
                EventCondition::Id(event) => self.and("e.uuid = ?", event.into_bytes()),
                EventCondition::Site(site) => self.and("e.site = ?", site.to_owned()),
                EventCondition::Kind(kind) => self.and("e.kind = ?", kind.to_owned()),
                EventCondition::Partner(partner) => self.and("e.partner = ?", partner.to_owned()),
                EventCondition::Station(station) => self.and("e.station = ?", station.to_owned()),
                EventCondition::MessageId(message_id) => {
                    self.and("e.message_id = ?", message_id.to_owned());
                    // Exactly the expression of the index, which only has the beginning.
                    let start: String = message_id.chars().take(200).collect();
                    self.and("substr(e.message_id, 1, 200) = ?", start);
                }
                EventCondition::From(from) => self.and("e.occurred_at >= ?", from),
                EventCondition::Until(until) => self.and("e.occurred_at < ?", until),
            }
        }
    }

    fn of_delivery(&mut self, filter: &Filter) {
        for asked in filter.delivery_conditions() {
            match asked {
                DeliveryCondition::Number(number) => self.and("d.id = ?", number),
                DeliveryCondition::Webhook(name) => {
                    let condition = "d.webhook = (SELECT id FROM webhook WHERE name = ?)";
                    self.and(condition, name.to_owned());
                }
                DeliveryCondition::State(state) => self.conditions.push(in_state(state)),
            }
        }
    }

    fn text(&self) -> String {
        if self.conditions.is_empty() { "TRUE".to_owned() } else { self.conditions.join(" AND ") }
    }
}

/// Returns the condition for a state, in the expression of its index.
const fn in_state(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Pending => "d.state = 'pending' AND d.owner IS NULL",
        DeliveryState::Claimed => "d.owner IS NOT NULL",
        DeliveryState::Delivered => "d.state = 'delivered'",
        DeliveryState::Dead => "d.state IN ('held', 'orphaned', 'dead') AND d.state = 'dead'",
        DeliveryState::Held => "d.state IN ('held', 'orphaned', 'dead') AND d.state = 'held'",
        DeliveryState::Orphaned => {
            "d.state IN ('held', 'orphaned', 'dead') AND d.state = 'orphaned'"
        }
    }
}

fn page<T>(
    connection: &Connection,
    sql: &str,
    mut query: SqliteListQuery,
    limit: usize,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<(i64, T)>,
) -> Result<Page<T>, StoreError> {
    query.values.push(Box::new(Page::<T>::reads(limit)));
    let mut statement = connection.prepare(sql)?;
    let found = statement.query_map(params_from_iter(query.values), read)?;
    Ok(Page::of(limit, found)?)
}

/// Reads the columns of [`ATTEMPT`] and [`EVENT`].
fn attempt_row(row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    let attempt = Attempt {
        number: row.get(4)?,
        at: row.get(5)?,
        url: row.get(6)?,
        http_code: row.get(7)?,
        error: row.get(8)?,
        duration_ms: row.get::<_, i64>(9)?.unsigned_abs(),
    };
    Ok(AttemptRow {
        id: row.get(0)?,
        delivery: row.get(1)?,
        webhook_id: row.get(2)?,
        webhook: row.get(3)?,
        attempt,
        state: state(row, 10)?,
        next_at: row.get(11)?,
        event: event_row(row, 12)?,
    })
}

fn event_row(row: &Row<'_>, first: usize) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        id: events::uuid(row, first)?,
        kind: row.get(first + 1)?,
        site: row.get(first + 2)?,
        partner: row.get(first + 3)?,
        station: row.get(first + 4)?,
        message_id: row.get(first + 5)?,
        occurred_at: row.get(first + 6)?,
        open: row.get(first + 7)?,
    })
}

/// Reads a state column.
pub(super) fn state(row: &Row<'_>, index: usize) -> rusqlite::Result<DeliveryState> {
    let word: String = row.get(index)?;
    DeliveryState::named(&word).ok_or_else(|| {
        let reason = format!("{word} is no state of a delivery");
        rusqlite::Error::FromSqlConversionFailure(index, Type::Text, reason.into())
    })
}

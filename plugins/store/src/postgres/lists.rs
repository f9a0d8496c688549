//! Lists for the admin API.

use tokio_postgres::{Row, types::ToSql};

use super::{
    database::Database,
    error::DatabaseFailure,
    group::text,
    rows::{self, ATTEMPT, DELIVERY, EVENT},
};
use crate::{
    columns::length,
    model::DeliveryState,
    query::{AttemptRow, DeliveryCondition, DeliveryRow, EventCondition, EventRow, Filter, Page},
};

/// Conditions with the values of their parameters.
#[derive(Default)]
struct PgListQuery {
    conditions: Vec<String>,
    values: Vec<Box<dyn ToSql + Send + Sync>>,
}

pub(super) async fn events(
    reading: &Database,
    filter: &Filter,
    cursor: Option<i64>,
    limit: usize,
) -> Result<Page<EventRow>, DatabaseFailure> {
    let mut query = PgListQuery::default();
    query.of_event(filter);
    query.before("e.id <", cursor);
    let outer = query.conditions.len();
    query.of_delivery(filter);
    let inner = query.conditions.split_off(outer);
    if !inner.is_empty() {
        let inner = inner.join(" AND ");
        query
            .conditions
            .push(format!("EXISTS (SELECT 1 FROM delivery d WHERE d.event = e.id AND {inner})"));
    }
    let sql = format!("SELECT {EVENT}, e.id FROM event e WHERE {}", query.text());
    page(reading, sql, "e.id", query, limit, |row| Ok((row.try_get(8)?, rows::event_row(row, 0)?)))
        .await
}

pub(super) async fn deliveries(
    reading: &Database,
    filter: &Filter,
    cursor: Option<i64>,
    limit: usize,
) -> Result<Page<DeliveryRow>, DatabaseFailure> {
    let mut query = PgListQuery::default();
    query.of_event(filter);
    query.of_delivery(filter);
    query.before("d.id <", cursor);
    let sql = format!(
        "SELECT {DELIVERY}, {EVENT} FROM delivery d JOIN event e ON e.id = d.event
            JOIN webhook w ON w.id = d.webhook WHERE {}",
        query.text()
    );
    page(reading, sql, "d.id", query, limit, |row| {
        rows::delivery_row(row).map(|delivery| (delivery.id, delivery))
    })
    .await
}

pub(super) async fn attempts(
    reading: &Database,
    filter: &Filter,
    cursor: Option<i64>,
    limit: usize,
) -> Result<Page<AttemptRow>, DatabaseFailure> {
    let mut query = PgListQuery::default();
    query.of_event(filter);
    query.of_delivery(filter);
    if let Some(webhook) = &filter.webhook {
        // Also by its own column: its index has them newest first.
        query.and_webhook("a.webhook", webhook);
    }
    query.before("a.id <", cursor);
    let sql = format!(
        "SELECT {ATTEMPT}, {EVENT} FROM attempt a JOIN delivery d ON d.id = a.delivery
            JOIN event e ON e.id = d.event JOIN webhook w ON w.id = d.webhook WHERE {}",
        query.text()
    );
    page(reading, sql, "a.id", query, limit, |row| {
        rows::attempt_row(row).map(|attempt| (attempt.id, attempt))
    })
    .await
}

/// Returns a webhook's attempts after the first `offset`, newest first.
pub(super) async fn attempts_from(
    reading: &Database,
    webhook: &str,
    offset: i64,
    limit: usize,
) -> Result<Vec<AttemptRow>, DatabaseFailure> {
    // Skipped rows are only read in the index.
    let sql = format!(
        "SELECT {ATTEMPT}, {EVENT} FROM
            (SELECT id FROM attempt WHERE webhook = (SELECT id FROM webhook WHERE name = $1)
                ORDER BY id DESC LIMIT $2 OFFSET $3) chosen
            JOIN attempt a ON a.id = chosen.id JOIN delivery d ON d.id = a.delivery
            JOIN event e ON e.id = d.event JOIN webhook w ON w.id = d.webhook
        ORDER BY a.id DESC"
    );
    let rows = reading.query(&sql, &[&text(webhook), &length(limit), &offset]).await?;
    rows.iter().map(rows::attempt_row).collect()
}

/// Returns the replayable deliveries that match, after `after`, up to `limit`, oldest first.
pub(super) async fn replayable(
    reading: &Database,
    filter: &Filter,
    after: i64,
    limit: usize,
) -> Result<Vec<i64>, DatabaseFailure> {
    let mut query = PgListQuery::default();
    query.of_event(filter);
    query.of_delivery(filter);
    query.conditions.push("d.state IN ('delivered', 'dead', 'orphaned')".to_owned());
    query.and("d.id >", after);
    let limit = query.value(length(limit));
    let sql = format!(
        "SELECT d.id FROM delivery d JOIN event e ON e.id = d.event WHERE {}
        ORDER BY d.id LIMIT {limit}",
        query.text()
    );
    let rows = reading.query(&sql, &query.parameters()).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

// === impl PgListQuery ===

impl PgListQuery {
    /// Adds a value, and returns its placeholder.
    fn value(&mut self, value: impl ToSql + Send + Sync + 'static) -> String {
        self.values.push(Box::new(value));
        format!("${}", self.values.len())
    }

    fn and(&mut self, condition: &str, value: impl ToSql + Send + Sync + 'static) {
        let value = self.value(value);
        self.conditions.push(format!("{condition} {value}"));
    }

    fn and_text(&mut self, condition: &str, value: &str) {
        self.and(condition, text(value).into_owned());
    }

    fn and_webhook(&mut self, column: &str, name: &str) {
        let name = self.value(text(name).into_owned());
        self.conditions.push(format!("{column} = (SELECT id FROM webhook WHERE name = {name})"));
    }

    /// Adds a condition on a column whose index only has its beginning.
    fn and_long(&mut self, column: &str, value: &str) {
        // Exactly the expression of the index.
        let value = self.value(text(value).into_owned());
        self.conditions
            .push(format!("left({column}, 200) = left({value}, 200) AND {column} = {value}"));
    }

    fn before(&mut self, condition: &str, cursor: Option<i64>) {
        if let Some(cursor) = cursor {
            self.and(condition, cursor);
        }
    }

    fn of_event(&mut self, filter: &Filter) {
        for asked in filter.event_conditions() {
            match asked {
                EventCondition::Id(event) => self.and("e.uuid =", event),
                EventCondition::Site(site) => self.and_text("e.site =", site),
                EventCondition::Kind(kind) => self.and_text("e.kind =", kind),
                EventCondition::Partner(partner) => self.and_long("e.partner", partner),
                EventCondition::Station(station) => self.and_text("e.station =", station),
                EventCondition::MessageId(message_id) => self.and_long("e.message_id", message_id),
                EventCondition::From(from) => self.and("e.occurred_at >=", from),
                EventCondition::Until(until) => self.and("e.occurred_at <", until),
            }
        }
    }

    fn of_delivery(&mut self, filter: &Filter) {
        for asked in filter.delivery_conditions() {
            match asked {
                DeliveryCondition::Number(number) => self.and("d.id =", number),
                DeliveryCondition::Webhook(name) => self.and_webhook("d.webhook", name),
                DeliveryCondition::State(state) => self.conditions.push(in_state(state)),
            }
        }
    }

    fn text(&self) -> String {
        if self.conditions.is_empty() { "TRUE".to_owned() } else { self.conditions.join(" AND ") }
    }

    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }
}

/// Returns the condition for a state, in the expression of its index.
fn in_state(state: DeliveryState) -> String {
    let word = state.as_str();
    match state {
        DeliveryState::Pending | DeliveryState::Delivered => format!("d.state = '{word}'"),
        DeliveryState::Claimed => format!("d.owner IS NOT NULL AND d.state = '{word}'"),
        DeliveryState::Dead | DeliveryState::Held | DeliveryState::Orphaned => {
            format!("d.state IN ('held', 'orphaned', 'dead') AND d.state = '{word}'")
        }
    }
}

async fn page<T>(
    reading: &Database,
    sql: String,
    number: &str,
    mut query: PgListQuery,
    limit: usize,
    read: impl Fn(&Row) -> Result<(i64, T), DatabaseFailure>,
) -> Result<Page<T>, DatabaseFailure> {
    let more = query.value(Page::<T>::reads(limit));
    let sql = format!("{sql} ORDER BY {number} DESC LIMIT {more}");
    let found = reading.query(&sql, &query.parameters()).await?;
    Page::of(limit, found.iter().map(read))
}

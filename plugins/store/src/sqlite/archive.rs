//! Exports the embedded store as plain rows.

use std::path::PathBuf;

use async_trait::async_trait;
use rusqlite::{Connection, Row, params, types::Type};

use super::{
    SqliteStore, events, identity, lists, notes, partner_webhooks,
    process_lock::{ProcessLocks, TerminatedOwner},
    queries,
};
use crate::{
    archive::{ArchivedAttempt, ArchivedDelivery, ArchivedEvent, ArchivedRest, Export},
    columns::length,
    model::{Attempt, DeliveryState, NewDelivery, NewEvent},
    private_files::folder_of,
    record::Record,
    store::StoreError,
};

const EVENTS: &str = "SELECT e.id, e.uuid, e.kind, e.site, e.partner, e.station, e.message_id,
        e.occurred_at, c.body, e.verdict, e.idle_since, e.owner IS NOT NULL, e.planned,
        c.payload, e.payload_path, e.payload_size, e.payload_pieces, e.payload_sealed,
        e.payload_spent_at
    FROM event e JOIN content c ON c.event = e.id
    WHERE e.id > ?1 ORDER BY e.id LIMIT ?2";

const DELIVERIES: &str = "SELECT d.id, e.uuid, d.webhook_id, w.name, d.mode, d.order_key, d.due,
        d.state, d.attempts, d.tries, d.replay
    FROM delivery d JOIN event e ON e.id = d.event JOIN webhook w ON w.id = d.webhook
    WHERE d.id > ?1 ORDER BY d.id LIMIT ?2";

const ATTEMPTS: &str = "SELECT number, at, url, http_code, error, duration_ms, state, next_at
    FROM attempt WHERE delivery = ?1 ORDER BY number";

const NOTES: &str = "SELECT key, body, due, expires FROM note WHERE key > ?1 ORDER BY key LIMIT ?2";

#[async_trait]
impl Export for SqliteStore {
    async fn in_use(&self) -> Result<bool, StoreError> {
        let (owners, own) = (self.owners.clone(), self.owner);
        self.readers.run(move |connection| in_use(&owners, connection, own)).await
    }

    async fn payload_roots(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut roots = self.readers.run(identity::roots).await?;
        // The store may have been moved, with its payloads, since it was last used.
        roots.push(folder_of(&self.path).join("payloads"));
        Ok(roots)
    }

    async fn export_events(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<ArchivedEvent>, StoreError> {
        self.readers
            .run(move |connection| {
                let mut statement = connection.prepare_cached(EVENTS)?;
                let rows = statement.query_map(params![after, length(limit)], event)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    async fn export_deliveries(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<ArchivedDelivery>, StoreError> {
        self.readers
            .run(move |connection| {
                let mut statement = connection.prepare_cached(DELIVERIES)?;
                let rows = statement.query_map(params![after, length(limit)], delivery)?;
                let mut deliveries = rows.collect::<Result<Vec<_>, _>>()?;
                let mut statement = connection.prepare_cached(ATTEMPTS)?;
                for delivery in &mut deliveries {
                    let rows = statement.query_map([delivery.number], attempt)?;
                    delivery.log = rows.collect::<Result<_, _>>()?;
                }
                Ok(deliveries)
            })
            .await
    }

    async fn export_notes(&self, after: &str, limit: usize) -> Result<Vec<Record>, StoreError> {
        let after = after.to_owned();
        self.readers
            .run(move |connection| {
                let mut statement = connection.prepare_cached(NOTES)?;
                let rows = statement.query_map(params![after, length(limit)], notes::note)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    async fn export_rest(&self) -> Result<ArchivedRest, StoreError> {
        self.readers
            .run(|connection| {
                Ok(ArchivedRest {
                    webhook_states: queries::webhook_states(connection)?,
                    partner_webhooks: partner_webhooks::all(connection)?,
                })
            })
            .await
    }
}

/// Whether an owner other than `own` is alive. Those that terminated keep their rows.
fn in_use(owners: &ProcessLocks, connection: &Connection, own: i64) -> Result<bool, StoreError> {
    let others: i64 =
        connection
            .query_row("SELECT count(*) FROM owner WHERE id <> ?1", [own], |row| row.get(0))?;
    let dead = owners.find_dead(connection, own)?;
    let all_dead = dead.len() as u64 == others.unsigned_abs();
    dead.into_iter().for_each(TerminatedOwner::leave);
    Ok(!all_dead)
}

fn event(row: &Row<'_>) -> rusqlite::Result<ArchivedEvent> {
    let open: bool = row.get(11)?;
    let planned: Option<String> = row.get(12)?;
    Ok(ArchivedEvent {
        number: row.get(0)?,
        event: NewEvent {
            id: events::uuid(row, 1)?,
            kind: row.get(2)?,
            site: row.get(3)?,
            partner: row.get(4)?,
            station: row.get(5)?,
            message_id: row.get(6)?,
            occurred_at: row.get(7)?,
            body: row.get(8)?,
            payload: events::payload(row, 13)?,
        },
        verdict: row.get(9)?,
        open: match planned.filter(|_| open) {
            Some(planned) => Some(serde_json::from_str(&planned).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(12, Type::Text, error.into())
            })?),
            None => open.then(Vec::new),
        },
        idle_since: row.get(10)?,
    })
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<ArchivedDelivery> {
    let state = match lists::state(row, 7)? {
        DeliveryState::Claimed => DeliveryState::Pending,
        state => state,
    };
    Ok(ArchivedDelivery {
        number: row.get(0)?,
        event: events::uuid(row, 1)?,
        delivery: NewDelivery {
            webhook_id: row.get(2)?,
            webhook: row.get(3)?,
            mode: row.get(4)?,
            order_key: row.get(5)?,
            due: row.get(6)?,
        },
        state,
        attempts: row.get(8)?,
        tries: row.get(9)?,
        replay: row.get(10)?,
        log: Vec::new(),
    })
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<ArchivedAttempt> {
    Ok(ArchivedAttempt {
        attempt: Attempt {
            number: row.get(0)?,
            at: row.get(1)?,
            url: row.get(2)?,
            http_code: row.get(3)?,
            error: row.get(4)?,
            duration_ms: row.get::<_, i64>(5)?.unsigned_abs(),
        },
        state: lists::state(row, 6)?,
        next_at: row.get(7)?,
    })
}

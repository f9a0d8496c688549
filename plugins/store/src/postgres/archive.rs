//! Imports a site that moves to this store.

use std::collections::BTreeSet;

use super::PostgresStore;
use crate::{
    archive::{ArchivedDelivery, ArchivedEvent},
    backend::StoreBackend as _,
    columns::{key, length, number},
    group::statements::{
        DeliveryColumns, IdleTimes, insert_delivery, insert_event, log_attempt_of,
    },
    model::{DeliveryState, NewDelivery, Payload, WebhookState},
    moves,
    order::{Locks, reorder},
    partner_webhook::PartnerWebhook,
    record::Record,
    rows::SqlValue,
    store::StoreError,
    transaction::{Moves, Statement, StoreChange, Transaction},
};

/// The most events of one statement.
const STEP: usize = 500;

/// Writes events whose outcome is known. Returns how many are new.
struct ImportEvents(Vec<ArchivedEvent>);

/// Writes deliveries with their attempts. Returns how many are new.
struct ImportDeliveries(Vec<ArchivedDelivery>);

/// Records for some events after this number since when their payloads are not needed, now that all
/// their deliveries exist. Returns the number of the last one.
struct ImportDone(i64);

/// Writes rows that depend on no others.
struct Import(Vec<Statement>);

/// What `archive::migrate` writes. Existing rows stay as they are, so that an interrupted move can be
/// repeated; each call is one commit.
impl PostgresStore {
    /// Writes events whose outcome is known, in their order. Returns how many were new.
    pub async fn import_events(&self, events: Vec<ArchivedEvent>) -> Result<u64, StoreError> {
        self.change(ImportEvents(events)).await
    }

    /// Writes deliveries, in their order. Returns how many were new.
    pub async fn import_deliveries(
        &self,
        deliveries: Vec<ArchivedDelivery>,
    ) -> Result<u64, StoreError> {
        self.change(ImportDeliveries(deliveries)).await
    }

    /// Records that all events and deliveries are written: from now on payloads that none of them
    /// needs may be removed.
    pub async fn import_done(&self) -> Result<(), StoreError> {
        let mut last = Some(0);
        while let Some(after) = last {
            last = self.change(ImportDone(after)).await?;
        }
        Ok(())
    }

    /// Writes notes.
    pub async fn import_notes(&self, notes: Vec<Record>) -> Result<(), StoreError> {
        let notes = notes.into_iter().map(|note| {
            let sql = "INSERT INTO note (key, body, due, expires) VALUES ($1, $2, $3, $4)
                ON CONFLICT (key) DO NOTHING";
            let name = SqlValue::Text(key(&note.key).into_owned());
            let body = SqlValue::Bytes(note.body);
            Statement::new(sql, [name, body, note.due.into(), note.expires.into()])
        });
        self.change(Import(notes.collect())).await
    }

    /// Writes the health of webhooks whose health is not stored.
    pub async fn import_states(&self, states: &[WebhookState]) -> Result<(), StoreError> {
        let mut statements = Vec::new();
        for state in states {
            let sql = "INSERT INTO webhook (name, disabled, failing_since, fingerprint)
                VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO UPDATE SET disabled = $2,
                    failing_since = $3, fingerprint = $4 WHERE webhook.fingerprint IS NULL";
            statements.push(Statement::new(
                sql,
                [
                    state.webhook.as_str().into(),
                    state.disabled.as_deref().into(),
                    state.failing_since.into(),
                    state.fingerprint.as_str().into(),
                ],
            ));
        }
        self.change(Import(statements)).await
    }

    /// Writes webhooks of the config API for partners that have none.
    pub async fn import_partner_webhooks(
        &self,
        webhooks: Vec<PartnerWebhook>,
    ) -> Result<(), StoreError> {
        let mut statements = Vec::new();
        for webhook in webhooks {
            let events = serde_json::to_string(&webhook.events)
                .map_err(|error| StoreError::Database(error.to_string()))?;
            let sql = "INSERT INTO partner_webhook
                    (site, partner, url, secret, enabled, events, changed_at)
                VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (site, partner) DO NOTHING";
            statements.push(Statement::new(
                sql,
                [
                    webhook.site.as_str().into(),
                    number(webhook.partner).into(),
                    webhook.url.as_str().into(),
                    SqlValue::Bytes(webhook.sealed_secret),
                    i64::from(webhook.enabled).into(),
                    events.as_str().into(),
                    webhook.changed_at.into(),
                ],
            ));
        }
        self.change(Import(statements)).await
    }
}

impl StoreChange for ImportEvents {
    type Outcome = u64;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<u64, StoreError> {
        let known = self.0.iter().map(|archived| {
            let id = SqlValue::Id(archived.event.id);
            Statement::new("SELECT 1 FROM event WHERE uuid = $1", [id])
        });
        let known = transaction.send(known.collect()).await?;
        let new = self.0.iter().zip(known).filter(|(_, known)| known.rows.is_empty());
        let new: Vec<_> = new.map(|(archived, _)| archived).collect();
        let sql = "SELECT nextval('event_id_seq') FROM generate_series(1, $1::bigint)";
        let numbers: Vec<(i64,)> = transaction.rows(sql, vec![length(new.len()).into()]).await?;
        let mut statements = Vec::new();
        for (archived, (id,)) in new.iter().zip(numbers) {
            let times = IdleTimes { idle_since: archived.idle_since, payload_idle_since: None };
            statements.extend(insert_event(id, &archived.event, None, times)?);
            let sql = "UPDATE event SET verdict = $2,
                payload_spent_at = $3 WHERE id = $1";
            let verdict = archived.verdict.clone().map(SqlValue::Bytes).into();
            let purged_at = match archived.event.payload {
                Payload::Purged { at } => Some(at),
                _ => None,
            };
            statements.push(Statement::new(sql, [id.into(), verdict, purged_at.into()]));
        }
        transaction.end(statements).await?;
        Ok(new.len() as u64)
    }
}

impl StoreChange for ImportDeliveries {
    type Outcome = u64;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<u64, StoreError> {
        let locks = Locks {
            orders: self
                .0
                .iter()
                .filter_map(|archived| archived.delivery.order_key.as_deref())
                .map(|order| key(order).into_owned())
                .collect(),
            ..Locks::default()
        };
        let mut statements = Vec::from_iter(locks.statement());
        let first = statements.len();
        for archived in &self.0 {
            let NewDelivery { webhook_id, webhook, .. } = &archived.delivery;
            let sql = "INSERT INTO webhook (name) SELECT $1
                WHERE NOT EXISTS (SELECT 1 FROM webhook WHERE name = $1)
                ON CONFLICT (name) DO NOTHING";
            statements.push(Statement::new(sql, [webhook.as_str().into()]));
            let sql = "SELECT e.id, e.occurred_at, w.id FROM event e
                JOIN webhook w ON w.name = $2 WHERE e.uuid = $1
                    AND NOT EXISTS (SELECT 1 FROM delivery WHERE webhook_id = $3)";
            let webhook_id = SqlValue::Text(key(webhook_id).into_owned());
            let event = SqlValue::Id(archived.event);
            statements.push(Statement::new(sql, [event, webhook.as_str().into(), webhook_id]));
        }
        let found = transaction.send(statements).await?.into_iter().skip(first + 1).step_by(2);
        let (mut statements, mut orders) = (Vec::new(), BTreeSet::new());
        let (mut moves, mut dead, mut added) = (Moves::default(), BTreeSet::new(), 0);
        for (archived, reply) in self.0.iter().zip(found) {
            let Some((event, occurred_at, webhook)) = reply.read()?.pop() else { continue };
            let ArchivedDelivery { state, delivery, attempts, tries, replay, .. } = archived;
            let waits = matches!(state, DeliveryState::Pending | DeliveryState::Held);
            let order = delivery.order_key.as_deref().filter(|_| waits);
            orders.extend(order.map(|order| (webhook, key(order).into_owned())));
            let columns = DeliveryColumns {
                event,
                occurred_at,
                webhook,
                state: *state,
                attempts: *attempts,
                tries: *tries,
                replay: *replay,
                blocked: order.is_some(),
            };
            statements.push(insert_delivery(delivery, &columns));
            statements.extend(archived.log.iter().map(|log| {
                log_attempt_of(&delivery.webhook_id, webhook, &log.attempt, log.state, log.next_at)
            }));
            moves.added(*state, 1);
            dead.extend((*state == DeliveryState::Dead).then_some(event));
            added += 1;
        }
        statements.extend(reorder(orders));
        let sql = "UPDATE event SET has_dead = true WHERE id = ANY ($1)";
        statements.push(Statement::new(sql, [SqlValue::Numbers(dead.into_iter().collect())]));
        statements.extend(moves.statements());
        transaction.end(statements).await?;
        Ok(added)
    }
}

impl StoreChange for ImportDone {
    type Outcome = Option<i64>;

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<Option<i64>, StoreError> {
        // A gateway may add deliveries meanwhile.
        let sql = "SELECT id FROM event WHERE id > $1 ORDER BY id LIMIT $2 FOR NO KEY UPDATE";
        let values = vec![self.0.into(), length(STEP).into()];
        let events: Vec<(i64,)> = transaction.rows(sql, values).await?;
        let events = events.into_iter().map(|(id,)| id);
        let last = events.clone().next_back();
        transaction.end(Vec::from_iter(moves::mark_payloads(events.collect()))).await?;
        Ok(last)
    }
}

impl StoreChange for Import {
    type Outcome = ();

    async fn make<T: Transaction>(&self, transaction: &mut T) -> Result<(), StoreError> {
        transaction.end(self.0.clone()).await.map(drop)
    }
}

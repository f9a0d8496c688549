//! Imports a site that moves to this store.

use std::borrow::Cow;

use serde_json::{Value, json};
use tokio_postgres::types::Json;

use super::{
    PostgresStore, first,
    group::{self, CallGroup, key, text},
};
use crate::{
    archive::{ArchivedAttempt, ArchivedDelivery, ArchivedEvent},
    columns::number,
    model::{Payload, WebhookState},
    partner_webhook::PartnerWebhook,
    record::Record,
    store::StoreError,
};

/// The most events of one statement.
const STEP: i64 = 500;

/// What `archive::migrate` writes. Existing rows stay as they are, so that an interrupted move can be
/// repeated; each call is one commit.
impl PostgresStore {
    /// Writes events whose outcome is known, in their order. Returns how many were new.
    pub async fn import_events(&self, events: Vec<ArchivedEvent>) -> Result<u64, StoreError> {
        let mut sent = CallGroup::default();
        let mut all = Vec::with_capacity(events.len());
        for archived in &events {
            let mut event = sent.event(&archived.event)?;
            event["verdict"] = match &archived.verdict {
                Some(verdict) => sent.blob(Cow::Borrowed(verdict)),
                None => Value::Null,
            };
            event["idle_since"] = archived.idle_since.into();
            event["spent"] = matches!(archived.event.payload, Payload::Purged).into();
            all.push(event);
        }
        let sql = "SELECT import_events($1, $2)";
        let rows = self.writing.query(sql, &[&Json(all), &blobs(&sent)]).await?;
        Ok(first::<i64>(&rows)?.unsigned_abs())
    }

    /// Writes deliveries, in their order. Returns how many were new.
    pub async fn import_deliveries(
        &self,
        deliveries: Vec<ArchivedDelivery>,
    ) -> Result<u64, StoreError> {
        let mut sent = CallGroup::default();
        let all: Vec<_> = deliveries.iter().map(|archived| delivery(archived, &mut sent)).collect();
        let rows = self.writing.query("SELECT import_deliveries($1)", &[&Json(all)]).await?;
        Ok(first::<i64>(&rows)?.unsigned_abs())
    }

    /// Records that all events and deliveries are written: from now on payloads that none of them
    /// needs may be removed.
    pub async fn import_done(&self) -> Result<(), StoreError> {
        let mut last = Some(0_i64);
        while let Some(after) = last {
            let sql = "SELECT import_done($1, $2)";
            last = first(&self.writing.query(sql, &[&after, &STEP]).await?)?;
        }
        Ok(())
    }

    /// Writes notes.
    pub async fn import_notes(&self, notes: Vec<Record>) -> Result<(), StoreError> {
        let mut sent = CallGroup::default();
        let note = |note: &'_ Record, body: Value| json!({"key": key(&note.key), "body": body, "due": note.due, "expires": note.expires});
        let mut all = Vec::with_capacity(notes.len());
        for kept in &notes {
            let body = sent.blob(Cow::Borrowed(&kept.body));
            all.push(note(kept, body));
        }
        self.writing.query("SELECT import_notes($1, $2)", &[&Json(all), &blobs(&sent)]).await?;
        Ok(())
    }

    /// Writes the health of webhooks.
    pub async fn import_states(&self, states: &[WebhookState]) -> Result<(), StoreError> {
        let state = |state: &WebhookState| {
            json!({
                "webhook": text(&state.webhook),
                "disabled": state.disabled.as_deref().map(text),
                "failing_since": state.failing_since,
                "fingerprint": text(&state.fingerprint),
            })
        };
        let states: Vec<_> = states.iter().map(state).collect();
        self.writing.query("SELECT import_states($1)", &[&Json(states)]).await?;
        Ok(())
    }

    /// Writes webhooks of the config API.
    pub async fn import_partner_webhooks(
        &self,
        webhooks: &[PartnerWebhook],
    ) -> Result<(), StoreError> {
        let mut sent = CallGroup::default();
        let mut all = Vec::with_capacity(webhooks.len());
        for webhook in webhooks {
            let secret = sent.blob(Cow::Borrowed(&webhook.sealed_secret));
            let events = serde_json::to_string(&webhook.events)
                .map_err(|error| StoreError::Database(error.to_string()))?;
            all.push(json!({
                "site": text(&webhook.site),
                "partner": number(webhook.partner),
                "url": text(&webhook.url),
                "secret": secret,
                "enabled": webhook.enabled,
                "events": events,
                "changed_at": webhook.changed_at,
            }));
        }
        let sql = "SELECT import_partner_webhooks($1, $2)";
        self.writing.query(sql, &[&Json(all), &blobs(&sent)]).await?;
        Ok(())
    }
}

fn delivery(archived: &ArchivedDelivery, sent: &mut CallGroup<'_>) -> Value {
    let mut all = sent.deliveries(std::slice::from_ref(&archived.delivery));
    let mut delivery = all[0].take();
    delivery["event"] = json!(archived.event);
    delivery["state"] = archived.state.as_str().into();
    delivery["attempts"] = archived.attempts.into();
    delivery["tries"] = archived.tries.into();
    delivery["replay"] = archived.replay.into();
    delivery["log"] = archived.log.iter().map(attempt).collect();
    delivery
}

fn attempt(archived: &ArchivedAttempt) -> Value {
    let mut attempt = group::attempt(&archived.attempt);
    attempt["state"] = archived.state.as_str().into();
    attempt["next_at"] = archived.next_at.into();
    attempt
}

fn blobs<'a>(sent: &'a CallGroup<'_>) -> Vec<&'a [u8]> {
    sent.blobs.iter().map(|bytes| &**bytes).collect()
}

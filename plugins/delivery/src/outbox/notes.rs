//! Notes: small records beside events. They are not held in memory; callers retry.

use as2hook_event::Event;
use as2hook_store::{Before, EventRow, Filter, Record, RecordChange, StoreError, Write};
use tokio::time::timeout;
use uuid::Uuid;

use super::{Further, Outbox, OutboxError, Target};
use crate::time::now;

/// The error for lookups while events wait in memory.
const BEHIND: &str = "events wait in memory for the store";

impl Outbox {
    /// Returns the note of a key.
    ///
    /// # Errors
    /// When the store does not respond in time.
    pub async fn note(&self, key: &str) -> Result<Option<Record>, OutboxError> {
        self.within_timeout(self.shared.store.record(key)).await
    }

    /// Like [`Self::note`], for callers for which `None` must mean that nothing was recorded.
    ///
    /// # Errors
    /// Like [`Self::note`], and while recorded events may wait in memory.
    pub async fn recorded_note(&self, key: &str) -> Result<Option<Record>, OutboxError> {
        if self.is_behind() {
            let trouble = self.shared.monitor.trouble();
            return Err(OutboxError::Failing(trouble.unwrap_or_else(|| BEHIND.to_owned())));
        }
        self.note(key).await
    }

    /// Returns an event as it was recorded, without its verdict.
    ///
    /// # Errors
    /// When the store does not respond in time.
    pub async fn event(&self, id: Uuid) -> Result<Option<Event>, OutboxError> {
        let stored = self.within_timeout(self.shared.store.event(id)).await?;
        Ok(stored.and_then(|stored| serde_json::from_slice(&stored.body).ok()))
    }

    /// Returns the events that match, newest first, up to `limit`.
    ///
    /// # Errors
    /// When the store does not respond in time.
    pub async fn events(
        &self,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<EventRow>, OutboxError> {
        let page = self.within_timeout(self.shared.store.events(filter, None, limit)).await?;
        Ok(page.rows)
    }

    async fn within_timeout<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, OutboxError> {
        let limit = self.shared.options.patience;
        Ok(timeout(limit, call).await.map_err(|_| OutboxError::Slow(limit))??)
    }

    /// Returns the notes that are due now, up to `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn due_records(&self, limit: usize) -> Result<Vec<Record>, StoreError> {
        let due = self.shared.store.due_records(now(), limit).await;
        if let Err(error) = &due {
            self.shared.monitor.failed(&error.to_string());
        }
        due
    }

    /// Commits these now: nothing is held, and the caller retries after an error.
    ///
    /// # Errors
    /// When the store does not accept them.
    pub async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let due = writes.iter().flat_map(Write::deliveries);
        let webhooks: Vec<_> = due.map(|delivery| delivery.webhook.clone()).collect();
        self.shared.store.commit(writes).await?;
        self.ring(&webhooks);
        Ok(())
    }

    /// Writes the note, and publishes the event unless another call has written the note before.
    /// The caller retries after an error.
    ///
    /// # Errors
    /// When the store does not accept it, or the event has no JSON form.
    pub async fn tell_once(
        &self,
        change: RecordChange,
        event: &Event,
        targets: Vec<Target>,
    ) -> Result<(), OutboxError> {
        let write = if targets.is_empty() {
            Write::Record(change)
        } else {
            Further::Once(change, event.clone(), targets).into_write()?
        };
        Ok(self.commit(vec![write]).await?)
    }
}

/// Returns the write that removes a note again, unless it was changed since.
pub(super) fn withdrawn(change: &RecordChange) -> Write {
    let before = Before::Body(change.note.body.clone());
    Write::Record(RecordChange {
        note: Record { due: None, expires: 0, ..change.note.clone() },
        before,
    })
}

//! Notes: small records beside events. They are not held in memory; callers retry.

use std::time::Duration;

use as2hook_event::Event;
use as2hook_store::{Before, EventRow, Filter, Record, RecordChange, StoreError, Write};
use tokio::time::timeout;
use uuid::Uuid;

use super::{Further, Outbox, OutboxError, Target};
use crate::time::{after, now};

/// The error for lookups while events wait in memory.
const BEHIND: &str = "events wait in memory for the store";

impl Outbox {
    /// Returns the note of a key.
    ///
    /// # Errors
    /// When the store does not respond in time.
    pub async fn note(&self, key: &str) -> Result<Option<Record>, OutboxError> {
        self.within_timeout(self.shared.store.note(key)).await
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

    /// Postpones a note by `wait`, unless it was changed meanwhile: it cannot be handled now, and
    /// others wait after it.
    ///
    /// # Errors
    /// When the store does not accept it.
    pub async fn put_off(&self, note: Record, wait: Duration) -> Result<(), StoreError> {
        let before = Before::Body(note.body.clone());
        let note = Record { due: Some(after(now(), wait)), ..note };
        self.shared.store.apply(vec![Write::Record(RecordChange { note, before })]).await
    }

    /// Removes up to `limit` expired notes. Returns how many.
    ///
    /// # Errors
    /// When the store does not accept it.
    pub async fn remove_expired_records(&self, limit: usize) -> Result<u64, StoreError> {
        self.shared.store.remove_expired_records(now(), limit).await
    }

    /// Removes up to `limit` notes of groups that have more than `keep`; see
    /// [`as2hook_store::Store::trim_records`].
    ///
    /// # Errors
    /// When the store does not accept it.
    pub async fn trim_records(&self, keep: u64, limit: usize) -> Result<u64, StoreError> {
        self.shared.store.trim_records(keep, limit).await
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
        let webhooks: Vec<_> = targets.iter().map(|target| target.webhook.clone()).collect();
        let write = if targets.is_empty() {
            Write::Record(change)
        } else {
            Further::Once(change, event.clone(), targets).into_write()?
        };
        self.shared.store.apply(vec![write]).await?;
        self.ring(&webhooks);
        Ok(())
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

//! What is looked up in the store, and verdicts that wait until it can be read.
//!
//! A failed lookup does not mean that nothing is stored: an MDN whose message could not be looked
//! up must not be reported as one for an unknown message. The verdict therefore waits, in order,
//! until the store works again and has all that was held in memory. Waiting verdicts count towards
//! the bounds of the outbox's memory.

use std::time::Duration;

use as2hook_event::Event;
use as2hook_store::{EventRow, Filter, Record, StoreError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::{Outbox, OutboxError};
use crate::time::now;

/// The most lookups at once when the store works again.
pub(super) const AT_ONCE: usize = 16;

/// The pause between two lookups, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The most tries of a lookup while the store accepts events: at least a minute.
const MOST_TRIES: u32 = 60;

/// How long a store that failed must work before a missing record counts as missing: another
/// gateway may still be writing what it held.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

/// The error for lookups while events wait in memory.
const BEHIND: &str = "events wait in memory for the store";

/// A verdict that waits for the store. Dropped once it is written.
pub struct StoreWait {
    outbox: Outbox,
    event: Uuid,
    bytes: usize,
    turn: Option<OwnedSemaphorePermit>,
    pause: Duration,
    /// Tries since the store was last behind.
    tries: u32,
}

// === impl Outbox ===

impl Outbox {
    /// Returns the record of a key.
    ///
    /// # Errors
    /// When the store does not respond in time.
    pub async fn record(&self, key: &str) -> Result<Option<Record>, OutboxError> {
        self.within_timeout(self.shared.store.record(key)).await
    }

    /// Returns the record of each key.
    ///
    /// # Errors
    /// When the store does not respond in time.
    pub async fn records(&self, keys: &[String]) -> Result<Vec<Option<Record>>, OutboxError> {
        self.within_timeout(self.shared.store.records(keys)).await
    }

    /// Like [`Self::records`], for callers for which `None` must mean that nothing was recorded.
    ///
    /// # Errors
    /// Like [`Self::records`], and while recorded events may wait in memory.
    pub async fn current_records(
        &self,
        keys: &[String],
    ) -> Result<Vec<Option<Record>>, OutboxError> {
        if self.is_behind() {
            let trouble = self.shared.monitor.trouble();
            return Err(OutboxError::Failing(trouble.unwrap_or_else(|| BEHIND.to_owned())));
        }
        self.records(keys).await
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

    /// Returns the records that are due now, up to `limit`.
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

    /// Lets the verdict of this event wait for the store; `bytes` is its memory. `None`: there is
    /// no room for it, so what it had to look up is lost, which is counted.
    pub fn wait_for_store(&self, event: Uuid, bytes: usize) -> Option<StoreWait> {
        if !self.backlog().wait(event, bytes) {
            self.shared.monitor.lost(event, 1);
            return None;
        }
        let outbox = self.clone();
        Some(StoreWait { outbox, event, bytes, turn: None, pause: FIRST_PAUSE, tries: 0 })
    }

    /// Whether recorded events may be missing in the store.
    fn is_behind(&self) -> bool {
        self.shared.monitor.is_failing() || self.backlog().events() > 0
    }

    /// Whether a record that is not in the store does not exist: nothing waits in memory, and the
    /// store has worked for 10 s, so that other gateways have written what they held.
    pub fn is_settled(&self) -> bool {
        self.shared.monitor.is_well_since(SETTLED_AFTER) && self.backlog().len() == 0
    }
}

// === impl StoreWait ===

impl StoreWait {
    /// Waits until the store accepts events, has all that was held for it, and it is this verdict's
    /// turn. False: the store has worked for long, and still cannot be asked for this record.
    pub async fn store_is_back(&mut self) -> bool {
        if self.turn.is_none() {
            // It is never closed.
            self.turn = Semaphore::acquire_owned(self.outbox.shared.lookups.clone()).await.ok();
        }
        loop {
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            if !self.outbox.is_behind() {
                self.tries += 1;
                return self.tries <= MOST_TRIES;
            }
            self.tries = 0;
        }
    }
}

impl Drop for StoreWait {
    fn drop(&mut self) {
        self.outbox.backlog().end_wait(self.event, self.bytes);
        self.outbox.shared.changed.notify_waiters();
    }
}

//! Small things remembered beside events. None of them waits in memory: who asks for one tries again.

use as2hook_store::{Note, NoteChange, StoreError, Write};
use as2hook_webhooks::Event;
use tokio::time::timeout;

use super::{Further, Outbox, OutboxError, Target};
use crate::time::now;

impl Outbox {
    /// What is remembered under a key. `None` too when the store cannot say in time.
    pub async fn note(&self, key: &str) -> Option<Note> {
        match timeout(self.shared.options.patience, self.shared.store.note(key)).await {
            Ok(Ok(note)) => note,
            Ok(Err(error)) => {
                tracing::debug!(%error, "The store could not be asked for a note.");
                None
            }
            Err(_) => None,
        }
    }

    /// The notes that are due now, up to `limit`.
    ///
    /// # Errors
    /// When the store cannot say.
    pub async fn due_notes(&self, limit: usize) -> Result<Vec<Note>, StoreError> {
        self.shared.store.due_notes(now(), limit).await
    }

    /// Forgets up to `limit` notes whose time is over. Returns how many.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn forget_notes(&self, limit: usize) -> Result<u64, StoreError> {
        self.shared.store.forget_notes(now(), limit).await
    }

    /// Writes the note, and has the event told if the note was not written by another before. What is
    /// not taken now is to be tried again by the caller.
    ///
    /// # Errors
    /// When the store does not take it, or the event has no JSON form.
    pub async fn tell_once(
        &self,
        change: NoteChange,
        event: &Event,
        targets: Vec<Target>,
    ) -> Result<(), OutboxError> {
        let webhooks: Vec<_> = targets.iter().map(|target| target.webhook.clone()).collect();
        let write = if targets.is_empty() {
            Write::Note(change)
        } else {
            Further::Once(change, event.clone(), targets).into_write()?
        };
        self.shared.store.apply(vec![write]).await?;
        self.ring(&webhooks);
        Ok(())
    }
}

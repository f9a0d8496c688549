//! What the writing thread, its callers and the readers know of the file.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64},
};

use crate::store::StoreError;

/// State that the thread and its callers share.
#[derive(Default)]
pub(super) struct WriterState {
    /// Transactions committed.
    pub(super) commits: AtomicU64,
    /// The log is long: the thread is to write the rest of it back between two groups.
    pub(super) long_log: AtomicBool,
    /// Increases with every file that is opened or closed: connections to an earlier one are
    /// useless.
    pub(super) generation: AtomicU64,
    /// Why there is no usable file.
    pub(super) away: Mutex<Option<StoreError>>,
    /// A reader or writer found the file damaged.
    pub(super) damage: Mutex<Option<String>>,
    /// Claims whose caller was gone before it got them.
    returned: Mutex<Vec<i64>>,
}

// === impl WriterState ===

impl WriterState {
    /// Returns why there is no usable file, if so.
    pub(super) fn away(&self) -> Result<(), StoreError> {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.as_ref().map_or(Ok(()), |error| Err(error.again()))
    }

    /// Records what an error says about the file.
    pub(super) fn failed(&self, error: &StoreError) {
        if let StoreError::Corrupt(reason) = error
            && self.away().is_ok()
        {
            let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
            *damage = Some(reason.clone());
        }
    }

    pub(super) fn returned(&self) -> std::sync::MutexGuard<'_, Vec<i64>> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

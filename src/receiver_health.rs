//! Whether the AS2 server behind the gateway can be reached, as its exchanges find out.

use std::sync::atomic::{AtomicBool, Ordering};

use as2hook_event::clock;
use parking_lot::Mutex;

/// What the last exchanges say of the AS2 server.
#[derive(Debug, Default)]
pub(crate) struct ReceiverHealth {
    /// So that an exchange that reaches it takes no lock.
    fails: AtomicBool,
    /// Whether any exchange has reached it.
    was_reached: AtomicBool,
    failure: Mutex<Option<ReceiverFailure>>,
}

/// Exchanges that did not reach it.
#[derive(Clone, Debug)]
struct ReceiverFailure {
    /// In milliseconds since 1970.
    since: i64,
    exchanges: u64,
    error: String,
}

// === impl ReceiverHealth ===

impl ReceiverHealth {
    /// An exchange got its response.
    pub(crate) fn reached(&self) {
        // A write each time would have all cores wait for this line of memory.
        if !self.was_reached.load(Ordering::Relaxed) {
            self.was_reached.store(true, Ordering::Relaxed);
        }
        if !self.fails.load(Ordering::Relaxed) {
            return;
        }
        self.fails.store(false, Ordering::Relaxed);
        if let Some(ReceiverFailure { since, exchanges, .. }) = self.failure.lock().take() {
            let seconds = clock::now().saturating_sub(since) / 1_000;
            tracing::info!(exchanges, seconds, "The AS2 server can be reached again.");
        }
    }

    /// Whether an exchange got a response since the start.
    pub(crate) fn was_reached(&self) -> bool {
        self.was_reached.load(Ordering::Relaxed)
    }

    /// An exchange did not reach it.
    pub(crate) fn failed(&self, error: &str) {
        let mut failure = self.failure.lock();
        self.fails.store(true, Ordering::Relaxed);
        if let Some(failure) = &mut *failure {
            failure.exchanges += 1;
            error.clone_into(&mut failure.error);
            return;
        }
        *failure =
            Some(ReceiverFailure { since: clock::now(), exchanges: 1, error: error.to_owned() });
        tracing::error!(
            error,
            "The AS2 server cannot be reached: partners are refused until it is. Look at receiver.url and \
             at the server."
        );
    }

    /// A sentence about it for `/readyz`, while it cannot be reached.
    pub(crate) fn remark(&self) -> Option<String> {
        let ReceiverFailure { since, exchanges, error } = self.failure.lock().clone()?;
        let since = clock::timestamp(since);
        Some(format!(
            "The AS2 server cannot be reached since {since}: {exchanges} exchanges were refused ({error})."
        ))
    }
}

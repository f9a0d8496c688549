//! How the store does.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use uuid::Uuid;

use crate::time::now;

/// How the store does, for `/readyz` and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// Since when it takes nothing, in milliseconds since 1970. `None`: it does.
    pub failing_since: Option<i64>,
    /// What it said last.
    pub last_error: Option<String>,
    /// Events in memory that wait for it.
    pub held: usize,
    /// The memory they take, in bytes.
    pub held_bytes: usize,
    /// Events that found no room in memory, since the start: notifications lost.
    pub dropped: u64,
}

/// Takes note of every call to the store; says so when that changes, once.
pub(super) struct Gauge {
    refuses: bool,
    failing: AtomicBool,
    successes: AtomicU64,
    trouble: Mutex<Trouble>,
}

#[derive(Default)]
struct Trouble {
    since: Option<i64>,
    last_error: Option<String>,
    /// Events that found no room since it began.
    lost: u64,
}

// === impl StoreHealth ===

impl StoreHealth {
    /// Whether events reach the disk.
    pub fn is_healthy(&self) -> bool {
        self.failing_since.is_none() && self.held == 0
    }
}

// === impl Gauge ===

impl Gauge {
    /// `refuses`: traffic does not go on without the store.
    pub(super) fn new(refuses: bool) -> Self {
        let (failing, successes, trouble) = Default::default();
        Self { refuses, failing, successes, trouble }
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// What the store said last, while it fails.
    pub(super) fn trouble(&self) -> Option<String> {
        if !self.is_failing() {
            return None;
        }
        let trouble = self.lock();
        trouble.since.and(trouble.last_error.clone())
    }

    /// How many calls went well in all.
    pub(super) fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    /// A call went well, however long it took.
    pub(super) fn took(&self) {
        self.successes.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls go well again; `held` events still wait for theirs.
    pub(super) fn succeeded(&self, held: usize) {
        if !self.is_failing() {
            return;
        }
        let mut trouble = self.lock();
        if let Some(since) = trouble.since.take() {
            self.failing.store(false, Ordering::Relaxed);
            let failed_ms = now().saturating_sub(since);
            match std::mem::take(&mut trouble.lost) {
                0 => tracing::info!(failed_ms, held, "The store takes events again."),
                lost => tracing::error!(
                    failed_ms,
                    held,
                    lost,
                    "The store takes events again; those for which there was no memory are lost."
                ),
            }
        }
    }

    pub(super) fn failed(&self, error: &str) {
        let mut trouble = self.lock();
        trouble.last_error = Some(error.to_owned());
        if trouble.since.is_none() {
            trouble.since = Some(now());
            self.failing.store(true, Ordering::Relaxed);
            let what = match self.refuses {
                true => "messages are refused with 503",
                false => "traffic goes on, and events wait in memory",
            };
            tracing::error!(error, "The store does not take events: {what} until it does.");
        }
    }

    /// An event, or so many that came with its verdict, found no room in memory.
    pub(super) fn lost(&self, event: Uuid, count: u64) {
        let mut trouble = self.lock();
        if trouble.lost == 0 {
            tracing::error!("The memory for events is full: from now on notifications are lost.");
        }
        trouble.lost += count;
        tracing::debug!(%event, count, "Dropped events.");
    }

    pub(super) fn snapshot(&self, held: usize, held_bytes: usize, dropped: u64) -> StoreHealth {
        let trouble = self.lock();
        StoreHealth {
            failing_since: trouble.since,
            last_error: trouble.last_error.clone(),
            held,
            held_bytes,
            dropped,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

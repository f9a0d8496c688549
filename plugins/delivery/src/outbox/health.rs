//! The health of the store.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

use crate::time::now;

/// The health of the store, for `/readyz` and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// Since when it accepts nothing, in milliseconds since 1970. `None`: it works.
    pub failing_since: Option<i64>,
    /// Its last error.
    pub last_error: Option<String>,
    /// Events in memory that wait for the store.
    pub held: usize,
    /// Their memory in bytes.
    pub held_bytes: usize,
    /// Events that found no room in memory, since the start: lost notifications.
    pub dropped: u64,
}

/// Records the result of every call to the store, and logs each change once.
pub(super) struct StoreMonitor {
    refuses: bool,
    failing: AtomicBool,
    successes: AtomicU64,
    trouble: Mutex<Outage>,
}

#[derive(Default)]
struct Outage {
    since: Option<i64>,
    /// When it last ended.
    over: Option<Instant>,
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

// === impl StoreMonitor ===

impl StoreMonitor {
    /// `refuses`: traffic stops without the store.
    pub(super) fn new(refuses: bool) -> Self {
        let (failing, successes, trouble) = Default::default();
        Self { refuses, failing, successes, trouble }
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Returns the store's last error while it fails.
    pub(super) fn trouble(&self) -> Option<String> {
        if !self.is_failing() {
            return None;
        }
        let trouble = self.lock();
        trouble.since.and(trouble.last_error.clone())
    }

    /// Whether it has not failed for so long.
    pub(super) fn is_well_since(&self, time: Duration) -> bool {
        let trouble = self.lock();
        trouble.since.is_none() && trouble.over.is_none_or(|over| over.elapsed() >= time)
    }

    /// Returns the number of successful calls.
    pub(super) fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    /// Counts a successful call, however long it took.
    pub(super) fn took(&self) {
        self.successes.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that calls succeed again; `held` events still wait.
    pub(super) fn succeeded(&self, held: usize) {
        if !self.is_failing() {
            return;
        }
        let mut trouble = self.lock();
        if let Some(since) = trouble.since.take() {
            trouble.over = Some(Instant::now());
            self.failing.store(false, Ordering::Relaxed);
            let failed_ms = now().saturating_sub(since);
            match std::mem::take(&mut trouble.lost) {
                0 => tracing::info!(failed_ms, held, "The store accepts events again."),
                lost => tracing::error!(
                    failed_ms,
                    held,
                    lost,
                    "The store accepts events again; those that found no room in memory are lost."
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
            tracing::error!(error, "The store does not accept events: {what} until it does.");
        }
    }

    /// Counts an event, or `count` events that came with its verdict, that found no room in memory.
    pub(super) fn lost(&self, event: Uuid, count: u64) {
        let mut trouble = self.lock();
        if trouble.lost == 0 {
            tracing::error!(
                "The memory for events is full: notifications are lost until the store works again."
            );
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

    fn lock(&self) -> MutexGuard<'_, Outage> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! How the store does.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

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
#[derive(Default)]
pub(super) struct Gauge {
    failing: AtomicBool,
    successes: AtomicU64,
    trouble: Mutex<Trouble>,
}

#[derive(Default)]
struct Trouble {
    since: Option<i64>,
    last_error: Option<String>,
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
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// How many calls went well in all.
    pub(super) fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    pub(super) fn succeeded(&self) {
        self.successes.fetch_add(1, Ordering::Relaxed);
        if !self.is_failing() {
            return;
        }
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = trouble.since.take() {
            self.failing.store(false, Ordering::Relaxed);
            let failed_ms = now().saturating_sub(since);
            tracing::info!(failed_ms, "The store takes events again.");
        }
    }

    pub(super) fn failed(&self, error: &str) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.last_error = Some(error.to_owned());
        if trouble.since.is_none() {
            trouble.since = Some(now());
            self.failing.store(true, Ordering::Relaxed);
            tracing::error!(error, "The store does not take events; they wait in memory.");
        }
    }

    pub(super) fn snapshot(&self, held: usize, held_bytes: usize, dropped: u64) -> StoreHealth {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        StoreHealth {
            failing_since: trouble.since,
            last_error: trouble.last_error.clone(),
            held,
            held_bytes,
            dropped,
        }
    }
}

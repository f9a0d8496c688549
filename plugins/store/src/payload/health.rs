//! Whether large payloads can be kept.

use std::{
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use crate::store::StoreError;

/// Whether large payloads can be kept, for `/readyz` and the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PayloadHealth {
    /// Since when they cannot, in milliseconds since 1970. `None`: the last one could.
    pub failing_since: Option<i64>,
    /// Why the last one that failed did.
    pub last_error: Option<String>,
}

/// Takes note of each large payload; says so when that changes, once.
#[derive(Default)]
pub(super) struct Gauge(Mutex<PayloadHealth>);

// === impl Gauge ===

impl Gauge {
    pub(super) fn succeeded(&self) {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = health.failing_since.take() {
            let failed_ms = now().saturating_sub(since);
            tracing::info!(failed_ms, "Large payloads can be kept again.");
        }
    }

    pub(super) fn failed(&self, error: &StoreError) {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        health.last_error = Some(error.to_string());
        if health.failing_since.is_none() {
            health.failing_since = Some(now());
            tracing::error!(%error, "Large payloads cannot be kept.");
        }
    }

    pub(super) fn look(&self) -> PayloadHealth {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

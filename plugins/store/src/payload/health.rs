//! Whether large payloads can be stored.

use std::path::Path;

use parking_lot::Mutex;

use super::volume;
use crate::{clock::now, error::StoreError};

/// Whether large payloads can be stored, for `/readyz` and the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PayloadHealth {
    /// Since when they cannot, in milliseconds since 1970. `None`: the last one was stored.
    pub failing_since: Option<i64>,
    /// The error of the last one that failed.
    pub last_error: Option<String>,
}

/// Records the result of each large payload, and logs each change once.
#[derive(Debug, Default)]
pub(super) struct PayloadHealthMonitor(Mutex<PayloadHealth>);

// === impl PayloadHealth ===

impl PayloadHealth {
    /// Returns the health of a folder whose disk has not completed a write for long.
    pub(super) fn slow(folder: &Path) -> Option<Self> {
        let (time, error) = volume::slow(folder)?;
        let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Some(Self {
            failing_since: Some(now().saturating_sub(time)),
            last_error: Some(error.to_string()),
        })
    }
}

// === impl PayloadHealthMonitor ===

impl PayloadHealthMonitor {
    pub(super) fn succeeded(&self) {
        let mut health = self.0.lock();
        if let Some(since) = health.failing_since.take() {
            let failed_ms = now().saturating_sub(since);
            tracing::info!(failed_ms, "Large payloads can be kept again.");
        }
    }

    pub(super) fn failed(&self, error: &StoreError) {
        let mut health = self.0.lock();
        health.last_error = Some(error.to_string());
        if health.failing_since.is_none() {
            health.failing_since = Some(now());
            tracing::error!(%error, "Large payloads cannot be kept.");
        }
    }

    pub(super) fn look(&self) -> PayloadHealth {
        self.0.lock().clone()
    }
}

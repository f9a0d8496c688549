//! Time as the store keeps it.

use std::time::Duration;

pub(crate) use as2hook_store::clock::now;

/// Returns the time `wait` after `from`; the end of time where it does not fit.
pub(crate) fn after(from: i64, wait: Duration) -> i64 {
    from.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}

/// Returns how long it is until `due`; zero when it is past.
pub(crate) fn until(due: i64) -> Duration {
    Duration::from_millis(u64::try_from(due.saturating_sub(now())).unwrap_or(0))
}

//! Wall-clock time as the store keeps it.

use std::time::Duration;

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// The time `wait` behind `from`; the end of time where it does not fit.
pub(crate) fn after(from: i64, wait: Duration) -> i64 {
    from.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}

/// How long it is until `due`; nothing when it is past.
pub(crate) fn until(due: i64) -> Duration {
    Duration::from_millis(u64::try_from(due.saturating_sub(now())).unwrap_or(0))
}

//! How plain values stand in columns, in whatever database: none has a number without a sign.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time, in milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A number without a sign.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How many rows, at most.
pub(crate) fn length(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

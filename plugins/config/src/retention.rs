//! `retention`: how long what was delivered is kept, and how much of it.

use std::time::Duration;

use super::read::Value;

/// Bounds of what is kept when there is nothing left to do about it. What waits for its delivery is
/// kept however long that takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events with their deliveries, from the time when the last of these was delivered or dead.
    /// Default 30 days.
    pub events: Duration,
    /// Attempts in the log, from their beginning. Default 30 days.
    pub attempts: Duration,
    /// Reported events, all together: of more the oldest go, whatever their age. Those with a
    /// dead delivery do not count. Default 1,000,000.
    pub count: u64,
    /// Bytes that the store and its payloads take all together: of more the oldest events go that were
    /// delivered, as for `count`. Default 10 GiB.
    pub bytes: u64,
    /// Raw payloads whose deliveries are all delivered. Default 7 days.
    pub payloads: Duration,
}

// === impl Retention ===

impl Retention {
    pub(super) fn read(value: &Value<'_>) -> Option<Self> {
        const MOST: u64 = 1_000_000_000;
        let table = value.table(&["events", "attempts", "count", "bytes", "payloads"])?;
        let default = Self::default();
        let duration = |key, default| table.read_or(key, default, Value::duration);
        Some(Self {
            events: duration("events", default.events),
            attempts: duration("attempts", default.attempts),
            count: table.read_or("count", default.count, |value| value.whole(1, MOST)),
            bytes: table.read_or("bytes", default.bytes, Value::size),
            payloads: duration("payloads", default.payloads),
        })
    }
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            events: 30 * DAY,
            attempts: 30 * DAY,
            count: 1_000_000,
            bytes: 10 << 30,
            payloads: 7 * DAY,
        }
    }
}

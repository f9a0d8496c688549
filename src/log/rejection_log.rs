//! Throttles log lines that any client can cause, each kind by itself.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lines of one kind in each [`WINDOW`].
const LINES: u32 = 10;

const WINDOW: Duration = Duration::from_secs(10);

/// Counts the lines of each kind.
#[derive(Debug, Default)]
pub(crate) struct RejectionLog(Mutex<HashMap<LineKind, Window>>);

/// Where in the code, or why. There are as many as the code has.
type LineKind = (&'static str, u32);

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    suppressed: u64,
}

// === impl RejectionLog ===

impl RejectionLog {
    /// Whether a line of this kind is to be written now; with the number of those that were not since the
    /// last one.
    pub(crate) fn due(&self, kind: &'static str) -> Option<u64> {
        self.due_at((kind, 0))
    }

    /// As [`Self::due`], of a place in the code.
    pub(crate) fn due_at(&self, kind: LineKind) -> Option<u64> {
        let mut kinds = self.0.lock();
        let now = Instant::now();
        let new = || Window { began: now, lines: 0, suppressed: 0 };
        let window = kinds.entry(kind).or_insert_with(new);
        if now.duration_since(window.began) >= WINDOW {
            (window.began, window.lines) = (now, 0);
        }
        if window.lines >= LINES {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_beyond_the_rate_are_counted_and_reported_with_the_next() {
        let log = RejectionLog::default();
        let all: Vec<_> = (0..100).filter_map(|_| log.due("malformed")).collect();
        assert_eq!(all, [0; LINES as usize]);
        assert_eq!(log.due("slow"), Some(0), "another kind");
        tokio::time::advance(WINDOW).await;
        assert_eq!(log.due("malformed"), Some(100 - u64::from(LINES)));
        assert_eq!(log.due("malformed"), Some(0));
    }
}

//! Distinguishes a decode that stands still from one that waits for its slot.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::timeout;

/// How often one decode began or ended to wait for a slot: odd while it waits. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct DecodeProgress(Arc<AtomicU64>);

// === impl DecodeProgress ===

impl DecodeProgress {
    /// The decode begins to wait for a slot, or has it.
    pub(super) fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for `done`. `None`: the decode stood still for so long. Other decodes that go first do not
    /// count, so that none is given up because the machine is busy.
    pub(super) async fn wait<T>(
        &self,
        still: Duration,
        done: impl Future<Output = T>,
    ) -> Option<T> {
        let mut done = pin!(done);
        loop {
            let before = self.0.load(Ordering::Relaxed);
            if let Ok(done) = timeout(still, &mut done).await {
                return Some(done);
            }
            if before.is_multiple_of(2) && before == self.0.load(Ordering::Relaxed) {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const STILL: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn decode_that_stands_still_is_given_up() {
        assert_eq!(DecodeProgress::default().wait(STILL, pending::<()>()).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn decode_that_waits_for_a_slot_is_waited_for_until_it_stands_still() {
        let progress = DecodeProgress::default();
        progress.step();
        let mut waiting = pin!(progress.wait(STILL, pending::<()>()));
        assert!(timeout(STILL * 100, &mut waiting).await.is_err());
        progress.step();
        assert_eq!(timeout(STILL * 3, waiting).await, Ok(None));
    }
}

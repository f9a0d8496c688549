//! How many attempts there may be at once, shared by all lanes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Slots for attempts. A lane without any waits its turn for the first; more than one are given only
/// while there are plenty, so that the last quarter is there for lanes that have none.
pub(super) struct Slots {
    regular: Pool,
    probes: Pool,
}

struct Pool {
    free: Arc<Semaphore>,
    size: usize,
}

/// Leave for one attempt.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
}

// === impl Slots ===

impl Slots {
    pub(super) fn new(regular: usize, probes: usize) -> Self {
        Self { regular: Pool::new(regular), probes: Pool::new(probes) }
    }

    /// Waits for a slot; `probe` for a webhook that keeps failing.
    pub(super) async fn first(&self, probe: bool) -> Option<Slot> {
        let pool = if probe { &self.probes } else { &self.regular };
        let permit = pool.free.clone().acquire_owned().await.ok()?;
        Some(Slot { _permit: permit })
    }

    /// Up to `wanted` regular slots without waiting.
    pub(super) fn more(&self, wanted: usize) -> Vec<Slot> {
        let pool = &self.regular;
        let plenty = pool.free.available_permits().saturating_sub(pool.size / 4);
        let count = wanted.min(plenty);
        (0..count)
            .map_while(|_| pool.free.clone().try_acquire_owned().ok())
            .map(|permit| Slot { _permit: permit })
            .collect()
    }

    /// How many are in use.
    pub(super) fn taken(&self) -> usize {
        self.regular.taken() + self.probes.taken()
    }
}

// === impl Pool ===

impl Pool {
    fn new(size: usize) -> Self {
        let size = size.clamp(1, Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(size)), size }
    }

    fn taken(&self) -> usize {
        self.size.saturating_sub(self.free.available_permits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_quarter_is_for_lanes_that_have_none() {
        let slots = Slots::new(8, 2);
        let greedy = slots.more(100);
        assert_eq!(greedy.len(), 6);
        assert!(slots.more(1).is_empty());
        let modest = (slots.first(false).await, slots.first(false).await);
        assert_eq!(slots.taken(), 8);
        drop(greedy);
        drop(modest);
        assert_eq!(slots.taken(), 0);
    }

    #[tokio::test]
    async fn probes_do_not_use_regular_slots() {
        let slots = Slots::new(4, 1);
        let _probe = slots.first(true).await;
        assert_eq!(slots.more(100).len(), 3);
    }
}

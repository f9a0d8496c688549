//! How many attempts there may be at once, shared by all lanes.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Slots for attempts, in three pools.
///
/// A lane without any waits its turn for a first regular one; more are given only while there are
/// plenty, so that some are there for lanes that have none. An attempt that takes long moves to the
/// slow pool, where it is in nobody's way. Webhooks that keep failing have the probes.
pub(super) struct Slots {
    regular: Pool,
    slow: Pool,
    probes: Pool,
}

struct Pool {
    free: Arc<Semaphore>,
    size: usize,
}

/// Leave for one attempt.
#[derive(Debug)]
pub(super) struct Slot {
    permit: OwnedSemaphorePermit,
}

/// What a lane wants more slots for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Attempts that begin now: a quarter of the slots is left.
    Now,
    /// Deliveries claimed ahead: half of the slots is left.
    Ahead,
}

// === impl Slots ===

impl Slots {
    /// An attempt is slow when it takes longer.
    pub(super) const SLOW_AFTER: Duration = Duration::from_secs(1);

    pub(super) fn new(regular: usize, slow: usize, probes: usize) -> Self {
        let (regular, slow) = (Pool::new(regular.max(1)), Pool::new(slow));
        Self { regular, slow, probes: Pool::new(probes.max(1)) }
    }

    /// Waits for a slot; `probe` for a webhook that keeps failing.
    pub(super) async fn first(&self, probe: bool) -> Option<Slot> {
        let pool = if probe { &self.probes } else { &self.regular };
        let permit = pool.free.clone().acquire_owned().await.ok()?;
        Some(Slot { permit })
    }

    /// Up to `wanted` regular slots without waiting.
    pub(super) fn more(&self, wanted: usize, purpose: Purpose) -> Vec<Slot> {
        let pool = &self.regular;
        let left = match purpose {
            Purpose::Now => pool.size / 4,
            Purpose::Ahead => pool.size / 2,
        };
        let count = wanted.min(pool.free.available_permits().saturating_sub(left));
        (0..count).map_while(|_| pool.take()).collect()
    }

    /// Moves a slow attempt out of the way, where there is room.
    pub(super) fn slow_down(&self, slot: &mut Slot) {
        if let Some(slow) = self.slow.take() {
            *slot = slow;
        }
    }

    /// How many are in use.
    pub(super) fn taken(&self) -> usize {
        self.regular.taken() + self.slow.taken() + self.probes.taken()
    }
}

// === impl Pool ===

impl Pool {
    fn new(size: usize) -> Self {
        let size = size.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(size)), size }
    }

    fn take(&self) -> Option<Slot> {
        let permit = self.free.clone().try_acquire_owned().ok()?;
        Some(Slot { permit })
    }

    fn taken(&self) -> usize {
        self.size.saturating_sub(self.free.available_permits())
    }
}

// === impl Slot ===

impl Slot {
    /// Gives it back.
    pub(super) fn free(self) {
        drop(self.permit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_quarter_is_for_lanes_that_have_none() {
        let slots = Slots::new(8, 0, 2);
        let greedy = slots.more(100, Purpose::Now);
        assert_eq!(greedy.len(), 6);
        assert!(slots.more(1, Purpose::Now).is_empty());
        let modest = (slots.first(false).await, slots.first(false).await);
        assert_eq!(slots.taken(), 8);
        drop(greedy);
        drop(modest);
        assert_eq!(slots.taken(), 0);
    }

    #[tokio::test]
    async fn claiming_ahead_leaves_half() {
        assert_eq!(Slots::new(8, 0, 2).more(100, Purpose::Ahead).len(), 4);
    }

    #[tokio::test]
    async fn probes_do_not_use_regular_slots() {
        let slots = Slots::new(4, 0, 1);
        let _probe = slots.first(true).await;
        assert_eq!(slots.more(100, Purpose::Now).len(), 3);
    }

    #[tokio::test]
    async fn slow_attempts_make_room_while_there_is_some() {
        let slots = Slots::new(1, 1, 1);
        let mut first = slots.first(false).await.unwrap();
        slots.slow_down(&mut first);
        let mut second = slots.first(false).await.unwrap();
        slots.slow_down(&mut second);
        assert!(slots.regular.take().is_none(), "the slow pool is full");
        first.free();
        slots.slow_down(&mut second);
        assert!(slots.regular.take().is_some());
    }
}

//! Limits concurrent attempts; all workers share the slots.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Slots for attempts, in three pools.
///
/// A worker without a slot waits for a regular one in first-come order. More slots are given to a
/// worker only while many are free, so that others get some. A slow attempt moves to the slow pool.
/// Webhooks that keep failing use the probe pool.
pub(super) struct ConcurrencyPool {
    regular: SlotPool,
    slow: SlotPool,
    probes: SlotPool,
}

struct SlotPool {
    free: Arc<Semaphore>,
    size: usize,
}

/// The permit for one attempt; it returns to its pool when it is dropped.
pub(super) type AttemptSlot = OwnedSemaphorePermit;

/// What a worker uses additional slots for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For attempts that begin now: a quarter of the slots stays free.
    Now,
    /// For deliveries claimed ahead: half of the slots stays free.
    Ahead,
}

// === impl ConcurrencyPool ===

impl ConcurrencyPool {
    /// An attempt that takes longer than this is slow.
    pub(super) const SLOW_AFTER: Duration = Duration::from_secs(1);

    pub(super) fn new(regular: usize, slow: usize, probes: usize) -> Self {
        let (regular, slow) = (SlotPool::new(regular.max(1)), SlotPool::new(slow));
        Self { regular, slow, probes: SlotPool::new(probes.max(1)) }
    }

    /// Waits for a slot; `probe` for a webhook that keeps failing.
    pub(super) async fn first(&self, probe: bool) -> Option<AttemptSlot> {
        let pool = if probe { &self.probes } else { &self.regular };
        pool.free.clone().acquire_owned().await.ok()
    }

    /// Takes up to `wanted` regular slots without waiting.
    pub(super) fn more(&self, wanted: usize, purpose: Purpose) -> Vec<AttemptSlot> {
        let pool = &self.regular;
        let left = match purpose {
            Purpose::Now => pool.size / 4,
            Purpose::Ahead => pool.size / 2,
        };
        let count = wanted.min(pool.free.available_permits().saturating_sub(left));
        (0..count).map_while(|_| pool.take()).collect()
    }

    /// Moves a slow attempt to the slow pool, if that has room.
    pub(super) fn slow_down(&self, slot: &mut AttemptSlot) {
        if let Some(slow) = self.slow.take() {
            *slot = slow;
        }
    }

    /// Returns how many are in use.
    pub(super) fn taken(&self) -> usize {
        self.regular.taken() + self.slow.taken() + self.probes.taken()
    }
}

// === impl SlotPool ===

impl SlotPool {
    fn new(size: usize) -> Self {
        let size = size.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(size)), size }
    }

    fn take(&self) -> Option<AttemptSlot> {
        self.free.clone().try_acquire_owned().ok()
    }

    fn taken(&self) -> usize {
        self.size.saturating_sub(self.free.available_permits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn last_quarter_of_slots_is_for_workers_without_one() {
        let slots = ConcurrencyPool::new(8, 0, 2);
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
    async fn claiming_ahead_leaves_half_of_the_slots() {
        assert_eq!(ConcurrencyPool::new(8, 0, 2).more(100, Purpose::Ahead).len(), 4);
    }

    #[tokio::test]
    async fn probes_do_not_use_regular_slots() {
        let slots = ConcurrencyPool::new(4, 0, 1);
        let _probe = slots.first(true).await;
        assert_eq!(slots.more(100, Purpose::Now).len(), 3);
    }

    #[tokio::test]
    async fn slow_attempts_move_to_the_slow_pool_while_it_has_room() {
        let slots = ConcurrencyPool::new(1, 1, 1);
        let mut first = slots.first(false).await.unwrap();
        slots.slow_down(&mut first);
        let mut second = slots.first(false).await.unwrap();
        slots.slow_down(&mut second);
        assert!(slots.regular.take().is_none(), "the slow pool is full");
        drop(first);
        slots.slow_down(&mut second);
        assert!(slots.regular.take().is_some());
    }
}

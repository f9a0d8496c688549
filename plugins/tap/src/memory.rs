//! The memory of what is under way, counted by those who take it, so that it has a ceiling
//! (`limits.memory`) whatever partners do.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Bytes that are in use. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<AtomicU64>);

/// A part of them; it is given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    memory: Memory,
    bytes: u64,
}

// === impl Memory ===

impl Memory {
    /// How many bytes are in use.
    pub fn used(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, unless more than `limit` would be in use then.
    pub fn take(&self, bytes: u64, limit: u64) -> Option<Share> {
        let room = |used: u64| used.checked_add(bytes).filter(|used| *used <= limit);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Share { memory: self.clone(), bytes })
    }
}

// === impl Share ===

impl Share {
    /// Takes `bytes` more, unless more than `limit` would be in use then.
    #[must_use]
    pub fn grow(&mut self, bytes: u64, limit: u64) -> bool {
        self.memory.take(bytes, limit).map(|more| self.merge(more)).is_some()
    }

    /// Counts another share with this one.
    pub fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_given_back() {
        let memory = Memory::default();
        let mut first = memory.take(60, 100).unwrap();
        assert!(memory.take(41, 100).is_none());
        assert!(first.grow(40, 100));
        assert!(!first.grow(1, 100));
        assert_eq!(memory.used(), 100);
        drop(first);
        assert_eq!(memory.used(), 0);
        let all = memory.take(u64::MAX, u64::MAX);
        assert!(all.is_some() && memory.take(1, u64::MAX).is_none());
    }
}

//! How many exchanges are under way, and no more than that.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// How many exchanges are under way. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<AtomicUsize>);

/// One of them; it leaves when it is dropped.
pub(super) struct Place(InFlight);

// === impl InFlight ===

impl InFlight {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// A place among `limit`, if one is free.
    pub(super) fn enter(&self, limit: usize) -> Option<Place> {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.clone());
        (before < limit).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

//! When exchanges were answered whose first deliveries are still to be timed.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use uuid::Uuid;

/// So many at most; beyond it the oldest are not timed.
const MOST: usize = 16_384;
/// After so long a first attempt says more about the endpoint's queue than about us.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// The last ones, oldest first. What adding one costs does not depend on how many there are.
#[derive(Debug, Default)]
pub(super) struct Answered {
    at: HashMap<Uuid, Instant>,
    line: VecDeque<Uuid>,
}

// === impl Answered ===

impl Answered {
    pub(super) fn insert(&mut self, event: Uuid, now: Instant) {
        while let Some(oldest) = self.line.front()
            && (self.line.len() >= MOST || self.is_over(oldest, now))
        {
            self.at.remove(oldest);
            self.line.pop_front();
        }
        if self.at.insert(event, now).is_none() {
            self.line.push_back(event);
        }
    }

    pub(super) fn get(&self, event: Uuid) -> Option<Instant> {
        self.at.get(&event).copied()
    }

    fn is_over(&self, event: &Uuid, now: Instant) -> bool {
        self.at.get(event).is_none_or(|at| now.saturating_duration_since(*at) >= KEPT_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room() {
        let (mut answered, start) = (Answered::default(), Instant::now());
        let events: Vec<_> = (0..=MOST as u128).map(Uuid::from_u128).collect();
        for event in &events {
            answered.insert(*event, start);
        }
        assert_eq!((answered.get(events[0]), answered.get(events[1])), (None, Some(start)));
        assert_eq!((answered.at.len(), answered.line.len()), (MOST, MOST));
        let later = start + KEPT_FOR;
        answered.insert(events[0], later);
        answered.insert(events[0], later);
        assert_eq!((answered.get(events[0]), answered.get(events[1])), (Some(later), None));
        assert_eq!((answered.at.len(), answered.line.len()), (1, 1));
    }
}

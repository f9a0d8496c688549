//! When exchanges were answered whose first deliveries are still to be timed.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use uuid::Uuid;

/// So many at most; beyond it the oldest are not timed.
const MOST: usize = 16_384;
/// After so long a first attempt says more about the endpoint's queue than about us.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// The last ones, oldest first. What adding one costs does not depend on how many there are.
#[derive(Debug, Default)]
pub(super) struct Answered(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    at: HashMap<Uuid, Instant>,
    order: VecDeque<Uuid>,
}

// === impl Answered ===

impl Answered {
    /// The answer of this event's exchange has ended now.
    pub(super) fn note(&self, event: Uuid, now: Instant) {
        self.line().add(event, now);
    }

    /// When it was, where that is known.
    pub(super) fn of(&self, event: Uuid) -> Option<Instant> {
        self.line().at.get(&event).copied()
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Line ===

impl Line {
    fn add(&mut self, event: Uuid, now: Instant) {
        while let Some(oldest) = self.order.front()
            && (self.order.len() >= MOST || self.is_over(oldest, now))
        {
            self.at.remove(oldest);
            self.order.pop_front();
        }
        if self.at.insert(event, now).is_none() {
            self.order.push_back(event);
        }
    }

    fn is_over(&self, event: &Uuid, now: Instant) -> bool {
        self.at.get(event).is_none_or(|at| now.saturating_duration_since(*at) >= KEPT_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(answered: &Answered) -> (usize, usize) {
        let line = answered.line();
        (line.at.len(), line.order.len())
    }

    #[test]
    fn the_oldest_make_room() {
        let (answered, start) = (Answered::default(), Instant::now());
        let events: Vec<_> = (0..=MOST as u128).map(Uuid::from_u128).collect();
        for event in &events {
            answered.note(*event, start);
        }
        assert_eq!((answered.of(events[0]), answered.of(events[1])), (None, Some(start)));
        assert_eq!(lengths(&answered), (MOST, MOST));
        let later = start + KEPT_FOR;
        answered.note(events[0], later);
        answered.note(events[0], later);
        assert_eq!((answered.of(events[0]), answered.of(events[1])), (Some(later), None));
        assert_eq!(lengths(&answered), (1, 1));
    }
}

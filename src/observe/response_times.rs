//! When the responses ended of exchanges whose first deliveries are still to be timed.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use uuid::Uuid;

/// So many at most; beyond it the oldest are not timed.
const MOST: usize = 16_384;
/// After so long a first attempt says more about the endpoint's queue than about us.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// The last ones, oldest first. What adding one costs does not depend on how many there are.
#[derive(Debug, Default)]
pub(super) struct ResponseTimes(Mutex<EventTimes>);

#[derive(Debug, Default)]
struct EventTimes {
    at: HashMap<Uuid, Instant>,
    order: VecDeque<Uuid>,
}

// === impl ResponseTimes ===

impl ResponseTimes {
    /// The response of this event's exchange has ended now.
    pub(super) fn note(&self, event: Uuid, now: Instant) {
        self.0.lock().add(event, now);
    }

    /// When it was, where that is known.
    pub(super) fn of(&self, event: Uuid) -> Option<Instant> {
        self.0.lock().at.get(&event).copied()
    }
}

// === impl EventTimes ===

impl EventTimes {
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

    fn lengths(times: &ResponseTimes) -> (usize, usize) {
        let line = times.0.lock();
        (line.at.len(), line.order.len())
    }

    #[test]
    fn the_oldest_make_room() {
        let (times, start) = (ResponseTimes::default(), Instant::now());
        let events: Vec<_> = (0..=MOST as u128).map(Uuid::from_u128).collect();
        for event in &events {
            times.note(*event, start);
        }
        assert_eq!((times.of(events[0]), times.of(events[1])), (None, Some(start)));
        assert_eq!(lengths(&times), (MOST, MOST));
        let later = start + KEPT_FOR;
        times.note(events[0], later);
        times.note(events[0], later);
        assert_eq!((times.of(events[0]), times.of(events[1])), (Some(later), None));
        assert_eq!(lengths(&times), (1, 1));
    }
}

//! When the answers of exchanges ended whose first deliveries are not made yet.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use dashmap::DashMap;
use uuid::Uuid;

/// Exchanges whose deliveries are waited for at most; beyond it some are not timed.
const MOST: usize = 16_384;

/// After so long a first attempt says more about the endpoint's queue than about us.
const KEPT: Duration = Duration::from_secs(60);

/// How often those kept for too long are looked for when there is no room. It means a look at all of
/// them, which is too much for every event of a busy gateway.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// By event.
#[derive(Debug, Default)]
pub(super) struct Answered {
    at: DashMap<Uuid, Instant>,
    tidied: Mutex<Option<Instant>>,
}

// === impl Answered ===

impl Answered {
    /// The answer of this event's exchange has ended now.
    pub(super) fn note(&self, event: Uuid, now: Instant) {
        if self.at.len() >= MOST && self.is_untidy(now) {
            self.at.retain(|_, answered| now.saturating_duration_since(*answered) < KEPT);
        }
        if self.at.len() < MOST {
            self.at.insert(event, now);
        }
    }

    /// When it was, where that is known.
    pub(super) fn of(&self, event: Uuid) -> Option<Instant> {
        self.at.get(&event).map(|answered| *answered)
    }

    /// Says so once for each time of [`TIDY_EVERY`].
    fn is_untidy(&self, now: Instant) -> bool {
        let mut tidied = self.tidied.lock().unwrap_or_else(PoisonError::into_inner);
        let due = tidied.is_none_or(|last| now.saturating_duration_since(last) >= TIDY_EVERY);
        if due {
            *tidied = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_kept_for_too_long_makes_room_and_is_not_looked_for_at_every_event() {
        let (answered, began) = (Answered::default(), Instant::now());
        for _ in 0..MOST {
            answered.note(Uuid::now_v7(), began);
        }
        let noted = |after: Duration| {
            let event = Uuid::now_v7();
            answered.note(event, began + after);
            answered.of(event).is_some()
        };
        assert!(!noted(KEPT - TIDY_EVERY / 2), "nobody is kept for too long");
        assert!(!noted(KEPT), "it was looked half a second ago");
        assert!(noted(KEPT + TIDY_EVERY));
        assert_eq!(answered.at.len(), 1);
    }
}

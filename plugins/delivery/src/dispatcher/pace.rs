//! How fast a webhook may be called: the rule's `rate`.
//!
//! A lane has to know how many deliveries it may begin before it claims them, or it would hold claims
//! and slots while it waits; and what it claims may be fewer. `governor` tells what is left only by
//! taking it, and takes nothing back, so this is our own: the same algorithm (GCRA), in one number.

use std::time::Duration;

use as2hook_webhooks::Rate;
use tokio::time::Instant;

/// One webhook's place on its schedule. It outlives the webhook's lane, which ends when it is idle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    rate: Rate,
    /// When the next attempt would begin if all were evenly spread.
    next: Instant,
}

// === impl Pace ===

impl Pace {
    /// Rested.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, next: now }
    }

    /// Another rate may be in force: nobody waits out the old one's time.
    pub(super) fn under(&mut self, rate: Rate, now: Instant) {
        if self.rate != rate {
            self.rate = rate;
            self.next = self.next.min(now + rate.interval());
        }
    }

    /// How many attempts may begin now.
    pub(super) fn allowed(self, now: Instant) -> usize {
        let (interval, burst) = (self.rate.interval(), self.rate.burst());
        // Behind its schedule by so much, it may catch up with a burst and no more.
        let ahead = self.next.saturating_duration_since(now);
        let room = (interval * burst).saturating_sub(ahead);
        usize::try_from(room.as_nanos() / interval.as_nanos().max(1)).unwrap_or(usize::MAX)
    }

    /// When one more may begin, if none may now.
    pub(super) fn next(self) -> Instant {
        let ahead: Duration = self.rate.interval() * (self.rate.burst() - 1);
        self.next.checked_sub(ahead).unwrap_or(self.next)
    }

    /// One begins.
    pub(super) fn began(&mut self, now: Instant) {
        self.next = self.next.max(now) + self.rate.interval();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_after_the_other() {
        let rate: Rate = "50/s".parse().unwrap();
        let start = Instant::now();
        let mut pace = Pace::new(rate, start);
        assert_eq!(pace.allowed(start), 5);
        for _ in 0..5 {
            pace.began(start);
        }
        assert_eq!(pace.allowed(start), 0);
        assert_eq!(pace.next(), start + Duration::from_millis(20));
        assert_eq!(pace.allowed(start + Duration::from_millis(19)), 0);
        assert_eq!(pace.allowed(start + Duration::from_millis(20)), 1);
        // A rest is not saved up.
        assert_eq!(pace.allowed(start + Duration::from_secs(60)), 5);
    }

    #[test]
    fn no_second_sees_more_than_the_rate_and_a_tenth() {
        for text in ["1/s", "7/s", "100/s", "1000/s", "600/min"] {
            let rate: Rate = text.parse().unwrap();
            let start = Instant::now();
            let (mut pace, mut began) = (Pace::new(rate, start), Vec::new());
            for ms in 0..5_000 {
                let now = start + Duration::from_millis(ms);
                for _ in 0..pace.allowed(now) {
                    pace.began(now);
                    began.push(ms);
                }
            }
            let most = 1.0 / rate.interval().as_secs_f64();
            let in_second =
                |from: u64| began.iter().filter(|at| (from..from + 1_000).contains(at)).count();
            for from in 0..4_000 {
                let seen = u32::try_from(in_second(from)).unwrap();
                assert!(f64::from(seen) <= most + f64::from(rate.burst()) + 1e-6, "{text}: {seen}");
            }
            let all = f64::from(u32::try_from(began.len()).unwrap());
            assert!(all >= most * 5.0 - 1.0, "{text}: {all} in five seconds");
        }
    }

    #[test]
    fn another_rate_is_in_force_at_once() {
        let (slow, fast): (Rate, Rate) = ("1/h".parse().unwrap(), "1000/s".parse().unwrap());
        let start = Instant::now();
        let mut pace = Pace::new(slow, start);
        pace.began(start);
        let minute = start + Duration::from_secs(60);
        assert_eq!(pace.allowed(minute), 0);
        pace.under(fast, minute);
        assert_eq!(pace.allowed(minute), 99);
        pace.under(slow, minute);
        assert_eq!(pace.allowed(minute + Duration::from_millis(1)), 1);
    }
}

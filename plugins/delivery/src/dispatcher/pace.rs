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
    /// When the next attempt would begin if all were evenly spread.
    next: Instant,
}

// === impl Pace ===

impl Pace {
    /// Rested.
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now }
    }

    /// How many attempts may begin now.
    pub(super) fn allowed(self, rate: Rate, now: Instant) -> usize {
        let (interval, burst) = (rate.interval(), rate.burst());
        // Behind its schedule by so much, it may catch up with a burst and no more.
        let ahead = self.next.saturating_duration_since(now);
        let room = (interval * burst).saturating_sub(ahead);
        usize::try_from(room.as_nanos() / interval.as_nanos().max(1)).unwrap_or(usize::MAX)
    }

    /// When one more may begin, if none may now.
    pub(super) fn next(self, rate: Rate) -> Instant {
        let ahead: Duration = rate.interval() * (rate.burst() - 1);
        self.next.checked_sub(ahead).unwrap_or(self.next)
    }

    /// One begins.
    pub(super) fn began(&mut self, rate: Rate, now: Instant) {
        self.next = self.next.max(now) + rate.interval();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_after_the_other() {
        let rate: Rate = "50/s".parse().unwrap();
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.allowed(rate, start), 5);
        for _ in 0..5 {
            pace.began(rate, start);
        }
        assert_eq!(pace.allowed(rate, start), 0);
        assert_eq!(pace.next(rate), start + Duration::from_millis(20));
        assert_eq!(pace.allowed(rate, start + Duration::from_millis(19)), 0);
        assert_eq!(pace.allowed(rate, start + Duration::from_millis(20)), 1);
        // A rest is not saved up.
        assert_eq!(pace.allowed(rate, start + Duration::from_secs(60)), 5);
    }

    #[test]
    fn no_second_sees_more_than_the_rate_and_a_tenth() {
        for text in ["1/s", "7/s", "100/s", "1000/s", "600/min"] {
            let rate: Rate = text.parse().unwrap();
            let start = Instant::now();
            let (mut pace, mut began) = (Pace::new(start), Vec::new());
            for ms in 0..5_000 {
                let now = start + Duration::from_millis(ms);
                for _ in 0..pace.allowed(rate, now) {
                    pace.began(rate, now);
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
    fn another_rate_goes_on_from_where_it_was() {
        let (slow, fast): (Rate, Rate) = ("1/min".parse().unwrap(), "1000/s".parse().unwrap());
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.began(slow, start);
        assert_eq!(pace.allowed(slow, start + Duration::from_secs(59)), 0);
        assert_eq!(pace.allowed(slow, start + Duration::from_secs(60)), 1);
        assert_eq!(pace.allowed(fast, start + Duration::from_secs(60)), 100);
    }
}

//! Limits the rate of a webhook's attempts: the rule's `rate`.
//!
//! A worker must know how many deliveries it may begin before it claims them; otherwise it would
//! hold claims and slots while it waits, and a claim may return fewer. `governor` only shows the
//! remaining capacity by consuming it, and cannot return it. This is the same algorithm (GCRA), in
//! one number.

use std::time::Duration;

use as2hook_event::Rate;
use tokio::time::Instant;

/// The rate limit of one webhook. It outlives the webhook's worker, which ends when it is idle.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateLimiter {
    rate: Rate,
    /// When the next attempt would begin if all were evenly spread.
    next: Instant,
}

// === impl RateLimiter ===

impl RateLimiter {
    /// Creates a limiter without past attempts.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, next: now }
    }

    /// Applies a changed rate without the wait of the old one.
    pub(super) fn apply_rate(&mut self, rate: Rate, now: Instant) {
        if self.rate != rate {
            self.rate = rate;
            self.next = self.next.min(now + rate.interval());
        }
    }

    /// Returns how many attempts may begin now.
    pub(super) fn allowed(self, now: Instant) -> usize {
        let (interval, burst) = (self.rate.interval(), self.rate.burst());
        // A late schedule allows one burst and no more.
        let ahead = self.next.saturating_duration_since(now);
        let room = (interval * burst).saturating_sub(ahead);
        usize::try_from(room.as_nanos() / interval.as_nanos().max(1)).unwrap_or(usize::MAX)
    }

    /// Returns when the next attempt may begin, if none may now.
    pub(super) fn next(self) -> Instant {
        let ahead: Duration = self.rate.interval() * (self.rate.burst() - 1);
        self.next.checked_sub(ahead).unwrap_or(self.next)
    }

    /// Counts an attempt that begins.
    pub(super) fn began(&mut self, now: Instant) {
        self.next = self.next.max(now) + self.rate.interval();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_is_allowed_then_one_attempt_per_interval() {
        let rate: Rate = "50/s".parse().unwrap();
        let start = Instant::now();
        let mut limiter = RateLimiter::new(rate, start);
        assert_eq!(limiter.allowed(start), 5);
        for _ in 0..5 {
            limiter.began(start);
        }
        assert_eq!(limiter.allowed(start), 0);
        assert_eq!(limiter.next(), start + Duration::from_millis(20));
        assert_eq!(limiter.allowed(start + Duration::from_millis(19)), 0);
        assert_eq!(limiter.allowed(start + Duration::from_millis(20)), 1);
        // Idle time beyond a burst is not saved.
        assert_eq!(limiter.allowed(start + Duration::from_secs(60)), 5);
    }

    #[test]
    fn attempts_in_any_second_exceed_the_rate_by_at_most_a_tenth() {
        for text in ["1/s", "7/s", "100/s", "1000/s", "600/min"] {
            let rate: Rate = text.parse().unwrap();
            let start = Instant::now();
            let (mut limiter, mut began) = (RateLimiter::new(rate, start), Vec::new());
            for ms in 0..5_000 {
                let now = start + Duration::from_millis(ms);
                for _ in 0..limiter.allowed(now) {
                    limiter.began(now);
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
    fn changed_rate_applies_at_once() {
        let (slow, fast): (Rate, Rate) = ("1/h".parse().unwrap(), "1000/s".parse().unwrap());
        let start = Instant::now();
        let mut limiter = RateLimiter::new(slow, start);
        limiter.began(start);
        let minute = start + Duration::from_secs(60);
        assert_eq!(limiter.allowed(minute), 0);
        limiter.apply_rate(fast, minute);
        assert_eq!(limiter.allowed(minute), 99);
        limiter.apply_rate(slow, minute);
        assert_eq!(limiter.allowed(minute + Duration::from_millis(1)), 1);
    }
}

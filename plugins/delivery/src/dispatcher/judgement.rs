//! Decides what an attempt's result means for its delivery.

use std::time::Duration;

use as2hook_sink::{Delivered, SinkError, SinkErrorKind};
use as2hook_store::DeliveryOutcome;

use crate::time::after;

/// What an attempt means for its delivery and webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AttemptJudgement {
    /// The outcome for the delivery.
    pub(super) outcome: DeliveryOutcome,
    /// The webhook is gone permanently: 410 (Standard Webhooks). `worker/attempt_end.rs` disables it.
    pub(super) gone: bool,
    /// How long the endpoint asked for a pause.
    pub(super) pause: Option<Duration>,
}

/// Judges an attempt. `retry` has the waits between attempts; `tries` counts earlier attempts on
/// this schedule; `jitter` is between 0 and 1.
pub(super) fn judge(
    sent: &Result<Delivered, SinkError>,
    retry: &[Duration],
    tries: u32,
    now: i64,
    jitter: f64,
) -> AttemptJudgement {
    let certain = |outcome, gone| AttemptJudgement { outcome, gone, pause: None };
    let pause = match sent {
        Ok(_) => return certain(DeliveryOutcome::Delivered, false),
        Err(error) => match error.kind() {
            SinkErrorKind::Gone => return certain(DeliveryOutcome::Held, true),
            SinkErrorKind::Impossible => return certain(DeliveryOutcome::Dead, false),
            _ => error.retry_after(),
        },
    };
    let step = usize::try_from(tries).unwrap_or(usize::MAX);
    let outcome = match retry.get(step) {
        // Never earlier than the endpoint asked for, and never earlier than planned: an endpoint
        // that always asks for one second would use up its retries in as many seconds.
        Some(wait) => {
            let wait = wait.mul_f64(0.9 + 0.2 * jitter).max(pause.unwrap_or_default());
            DeliveryOutcome::Retry(after(now, wait))
        }
        None => DeliveryOutcome::Dead,
    };
    AttemptJudgement { outcome, gone: false, pause: pause.filter(|pause| !pause.is_zero()) }
}

// === impl AttemptJudgement ===

impl AttemptJudgement {
    /// Adjusts the judgement of a failed attempt to the rule in force by now. When that rule has
    /// another target, the failure does not count, and the delivery goes there at once. Only the
    /// newest rules hold a delivery back.
    pub(super) fn in_force(self, same_target: bool, is_newest: bool, now: i64) -> Self {
        let outcome = match self.outcome {
            _ if !same_target => DeliveryOutcome::Retry(now),
            DeliveryOutcome::Held if !is_newest => DeliveryOutcome::Retry(now),
            outcome => outcome,
        };
        Self { outcome, pause: self.pause.filter(|_| same_target), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(100)];

    fn failed(kind: SinkErrorKind, retry_after: Option<u64>) -> Result<Delivered, SinkError> {
        let error = SinkError::new(kind, "no");
        Err(match retry_after {
            Some(seconds) => error.with_retry_after(Duration::from_secs(seconds)),
            None => error,
        })
    }

    fn outcome(sent: &Result<Delivered, SinkError>, tries: u32, jitter: f64) -> DeliveryOutcome {
        judge(sent, &RETRY, tries, 1_000_000, jitter).outcome
    }

    #[test]
    fn failures_are_retried_unless_no_attempt_can_succeed() {
        assert_eq!(outcome(&Ok(Delivered::default()), 0, 0.5), DeliveryOutcome::Delivered);
        for kind in [SinkErrorKind::Failed, SinkErrorKind::Refused, SinkErrorKind::Local] {
            assert_eq!(outcome(&failed(kind, None), 0, 0.5), DeliveryOutcome::Retry(1_005_000));
        }
        let impossible = failed(SinkErrorKind::Impossible, None);
        assert_eq!(outcome(&impossible, 0, 0.5), DeliveryOutcome::Dead);
    }

    #[test]
    fn retries_follow_the_schedule_with_a_tenth_of_jitter() {
        let failed = failed(SinkErrorKind::Failed, None);
        assert_eq!(outcome(&failed, 0, 0.0), DeliveryOutcome::Retry(1_004_500));
        assert_eq!(outcome(&failed, 0, 1.0), DeliveryOutcome::Retry(1_005_500));
        assert_eq!(outcome(&failed, 1, 0.0), DeliveryOutcome::Retry(1_090_000));
        assert_eq!(outcome(&failed, 1, 1.0), DeliveryOutcome::Retry(1_110_000));
        assert_eq!(outcome(&failed, 2, 0.5), DeliveryOutcome::Dead);
        assert_eq!(outcome(&failed, u32::MAX, 0.5), DeliveryOutcome::Dead);
    }

    #[test]
    fn retry_after_puts_a_retry_off_but_never_brings_it_forward() {
        let asking = |seconds| failed(SinkErrorKind::Failed, Some(seconds));
        assert_eq!(outcome(&asking(60), 0, 0.5), DeliveryOutcome::Retry(1_060_000));
        assert_eq!(outcome(&asking(1), 0, 0.5), DeliveryOutcome::Retry(1_005_000));
        assert_eq!(outcome(&asking(60), 2, 0.5), DeliveryOutcome::Dead);
    }

    #[test]
    fn status_410_holds_the_delivery() {
        let judged = judge(&failed(SinkErrorKind::Gone, None), &[], 7, 0, 0.5);
        assert_eq!((judged.outcome, judged.gone), (DeliveryOutcome::Held, true));
    }

    #[test]
    fn failure_of_another_target_costs_its_delivery_no_time() {
        let gone = judge(&failed(SinkErrorKind::Gone, None), &[], 0, 5, 0.5);
        assert_eq!(gone.in_force(true, true, 5).outcome, DeliveryOutcome::Held);
        assert_eq!(gone.in_force(true, false, 5).outcome, DeliveryOutcome::Retry(5));
        assert_eq!(gone.in_force(false, true, 5).outcome, DeliveryOutcome::Retry(5));
        let busy = judge(&failed(SinkErrorKind::Failed, Some(3600)), &RETRY, 0, 5, 0.5);
        assert_eq!(busy.in_force(true, true, 5), busy);
        let elsewhere = busy.in_force(false, true, 5);
        assert_eq!((elsewhere.outcome, elsewhere.pause), (DeliveryOutcome::Retry(5), None));
    }
}

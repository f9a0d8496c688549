//! Decides what an attempt's result means for its delivery.

use std::time::Duration;

use as2hook_event::Endpoint;
use as2hook_sink::{DeliveryError, EndpointResponse};
use as2hook_store::DeliveryOutcome;

use crate::time::after;

/// What an attempt means for its delivery and webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AttemptJudgement {
    /// The outcome for the delivery.
    pub(super) outcome: DeliveryOutcome,
    /// 410: the webhook is gone permanently (Standard Webhooks).
    pub(super) gone: bool,
    /// How long the endpoint asked for a pause.
    pub(super) pause: Option<Duration>,
}

/// Judges an attempt. `tries` counts earlier attempts on this schedule; `jitter` is between 0 and
/// 1.
pub(super) fn judge(
    outcome: &Result<EndpointResponse, DeliveryError>,
    endpoint: &Endpoint,
    tries: u32,
    now: i64,
    jitter: f64,
) -> AttemptJudgement {
    let pause = match outcome {
        Ok(response) if response.is_success() => {
            return AttemptJudgement {
                outcome: DeliveryOutcome::Delivered,
                gone: false,
                pause: None,
            };
        }
        Ok(response) if response.status == 410 => {
            return AttemptJudgement { outcome: DeliveryOutcome::Held, gone: true, pause: None };
        }
        Ok(response) if matches!(response.status, 429 | 503) => response.retry_after,
        _ => None,
    };
    let step = usize::try_from(tries).unwrap_or(usize::MAX);
    let outcome = match endpoint.retry.get(step) {
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

/// Returns why an attempt failed, for the log. `None`: it succeeded.
pub(super) fn failure(outcome: &Result<EndpointResponse, DeliveryError>) -> Option<String> {
    match outcome {
        Ok(response) if response.is_success() => None,
        Ok(response) => Some(refusal(response)),
        Err(error) => Some(error.to_string()),
    }
}

fn refusal(response: &EndpointResponse) -> String {
    let status = response.status;
    let reason = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
    let mut text = match reason {
        Some(reason) => format!("the endpoint answered {status} {reason}"),
        None => format!("the endpoint answered {status}"),
    };
    if (300..400).contains(&status) {
        text.push_str(": redirects are not followed");
    }
    let body_text = String::from_utf8_lossy(&response.body_start);
    let body_text = body_text.split(|c: char| c.is_whitespace() || c.is_control());
    let body_text = body_text.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if !body_text.is_empty() {
        text.push_str(": ");
        text.push_str(&body_text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn endpoint(retry: &[u64]) -> Endpoint {
        let mut endpoint = Endpoint::new("http://erp.example/".parse().unwrap());
        endpoint.retry = retry.iter().map(|s| Duration::from_secs(*s)).collect();
        endpoint
    }

    fn response(status: u16, retry_after: Option<u64>) -> Result<EndpointResponse, DeliveryError> {
        Ok(EndpointResponse {
            status,
            retry_after: retry_after.map(Duration::from_secs),
            body_start: Bytes::new(),
            duration: Duration::ZERO,
        })
    }

    fn outcome(
        outcome: &Result<EndpointResponse, DeliveryError>,
        tries: u32,
        jitter: f64,
    ) -> DeliveryOutcome {
        judge(outcome, &endpoint(&[5, 100]), tries, 1_000_000, jitter).outcome
    }

    #[test]
    fn any_2xx_is_success_and_nothing_else() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(
                outcome(&response(status, None), 0, 0.5),
                DeliveryOutcome::Delivered,
                "{status}"
            );
        }
        for status in [301, 302, 304, 307, 400, 404, 429, 500, 503, 600] {
            assert_eq!(
                outcome(&response(status, None), 0, 0.5),
                DeliveryOutcome::Retry(1_005_000),
                "{status}"
            );
        }
        assert_eq!(
            outcome(&Err(DeliveryError::NoAnswer), 0, 0.5),
            DeliveryOutcome::Retry(1_005_000)
        );
    }

    #[test]
    fn retries_follow_the_schedule_with_a_tenth_of_jitter() {
        let failed = response(500, None);
        assert_eq!(outcome(&failed, 0, 0.0), DeliveryOutcome::Retry(1_004_500));
        assert_eq!(outcome(&failed, 0, 1.0), DeliveryOutcome::Retry(1_005_500));
        assert_eq!(outcome(&failed, 1, 0.0), DeliveryOutcome::Retry(1_090_000));
        assert_eq!(outcome(&failed, 1, 1.0), DeliveryOutcome::Retry(1_110_000));
        assert_eq!(outcome(&failed, 2, 0.5), DeliveryOutcome::Dead);
        assert_eq!(outcome(&failed, u32::MAX, 0.5), DeliveryOutcome::Dead);
    }

    #[test]
    fn retry_after_puts_a_retry_off_but_never_brings_it_forward() {
        assert_eq!(outcome(&response(429, Some(60)), 0, 0.5), DeliveryOutcome::Retry(1_060_000));
        assert_eq!(outcome(&response(503, Some(60)), 0, 0.5), DeliveryOutcome::Retry(1_060_000));
        assert_eq!(outcome(&response(503, Some(1)), 0, 0.5), DeliveryOutcome::Retry(1_005_000));
        // With other statuses, Retry-After is ignored and does not lengthen the schedule.
        assert_eq!(outcome(&response(500, Some(60)), 0, 0.5), DeliveryOutcome::Retry(1_005_000));
        assert_eq!(outcome(&response(429, Some(60)), 2, 0.5), DeliveryOutcome::Dead);
    }

    #[test]
    fn status_410_holds_the_delivery() {
        let judged = judge(&response(410, None), &endpoint(&[]), 7, 0, 0.5);
        assert_eq!((judged.outcome, judged.gone), (DeliveryOutcome::Held, true));
    }

    #[test]
    fn failure_of_another_target_costs_its_delivery_no_time() {
        let gone = judge(&response(410, None), &endpoint(&[]), 0, 5, 0.5);
        assert_eq!(gone.in_force(true, true, 5).outcome, DeliveryOutcome::Held);
        assert_eq!(gone.in_force(true, false, 5).outcome, DeliveryOutcome::Retry(5));
        assert_eq!(gone.in_force(false, true, 5).outcome, DeliveryOutcome::Retry(5));
        let busy = judge(&response(429, Some(3600)), &endpoint(&[5]), 0, 5, 0.5);
        assert_eq!(busy.in_force(true, true, 5), busy);
        let elsewhere = busy.in_force(false, true, 5);
        assert_eq!((elsewhere.outcome, elsewhere.pause), (DeliveryOutcome::Retry(5), None));
    }

    #[test]
    fn refusal_is_logged_as_one_line_without_control_characters() {
        let outcome = Ok(EndpointResponse {
            status: 500,
            retry_after: None,
            body_start: Bytes::from_static(b"<b>out\r\n\tof\x1b[31m\xff paper</b>\n"),
            duration: Duration::ZERO,
        });
        let text = failure(&outcome).unwrap();
        assert_eq!(
            text,
            "the endpoint answered 500 Internal Server Error: <b>out of [31m\u{fffd} paper</b>"
        );
        assert_eq!(
            failure(&response(302, None)).unwrap(),
            "the endpoint answered 302 Found: redirects are not followed"
        );
        assert_eq!(failure(&response(204, None)), None);
    }
}

//! What an attempt's outcome means for its delivery.

use std::time::Duration;

use as2hook_store::Fate;
use as2hook_webhooks::Endpoint;

use crate::{
    client::{Answer, DeliveryError},
    time::after,
};

/// What an attempt says about delivery and webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    /// What becomes of the delivery.
    pub(super) fate: Fate,
    /// 410: the webhook is gone for good (Standard Webhooks).
    pub(super) gone: bool,
    /// The endpoint asked us to stay away for so long.
    pub(super) pause: Option<Duration>,
}

/// Judges an attempt. `tries` counts those made before on this schedule; `jitter` is between 0 and 1.
pub(super) fn judge(
    outcome: &Result<Answer, DeliveryError>,
    endpoint: &Endpoint,
    tries: u32,
    now: i64,
    jitter: f64,
) -> Judgement {
    let pause = match outcome {
        Ok(answer) if answer.is_success() => {
            return Judgement { fate: Fate::Delivered, gone: false, pause: None };
        }
        Ok(answer) if answer.status == 410 => {
            return Judgement { fate: Fate::Held, gone: true, pause: None };
        }
        Ok(answer) if matches!(answer.status, 429 | 503) => answer.retry_after,
        _ => None,
    };
    let step = usize::try_from(tries).unwrap_or(usize::MAX);
    let fate = match endpoint.retry.get(step) {
        // Never sooner than asked; never sooner than planned either, for an endpoint that always says
        // "in a second" would have used up its retries in as many seconds.
        Some(wait) => {
            let wait = wait.mul_f64(0.9 + 0.2 * jitter).max(pause.unwrap_or_default());
            Fate::Retry(after(now, wait))
        }
        None => Fate::Dead,
    };
    Judgement { fate, gone: false, pause: pause.filter(|pause| !pause.is_zero()) }
}

/// Why an attempt failed, for the log. `None`: it did not.
pub(super) fn failure(outcome: &Result<Answer, DeliveryError>) -> Option<String> {
    match outcome {
        Ok(answer) if answer.is_success() => None,
        Ok(answer) => Some(refusal(answer)),
        Err(error) => Some(error.to_string()),
    }
}

fn refusal(answer: &Answer) -> String {
    let status = answer.status;
    let reason = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
    let mut text = match reason {
        Some(reason) => format!("the endpoint answered {status} {reason}"),
        None => format!("the endpoint answered {status}"),
    };
    if (300..400).contains(&status) {
        text.push_str(": redirects are not followed");
    }
    let said = String::from_utf8_lossy(&answer.body_start);
    let said = said.split(|c: char| c.is_whitespace() || c.is_control());
    let said = said.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if !said.is_empty() {
        text.push_str(": ");
        text.push_str(&said);
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

    fn answer(status: u16, retry_after: Option<u64>) -> Result<Answer, DeliveryError> {
        Ok(Answer {
            status,
            retry_after: retry_after.map(Duration::from_secs),
            body_start: Bytes::new(),
            duration: Duration::ZERO,
        })
    }

    fn fate(outcome: &Result<Answer, DeliveryError>, tries: u32, jitter: f64) -> Fate {
        judge(outcome, &endpoint(&[5, 100]), tries, 1_000_000, jitter).fate
    }

    #[test]
    fn any_2xx_is_success_and_nothing_else() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(fate(&answer(status, None), 0, 0.5), Fate::Delivered, "{status}");
        }
        for status in [301, 302, 304, 307, 400, 404, 429, 500, 503, 600] {
            assert_eq!(fate(&answer(status, None), 0, 0.5), Fate::Retry(1_005_000), "{status}");
        }
        assert_eq!(fate(&Err(DeliveryError::NoAnswer), 0, 0.5), Fate::Retry(1_005_000));
    }

    #[test]
    fn retries_follow_the_schedule_with_a_tenth_of_jitter() {
        let failed = answer(500, None);
        assert_eq!(fate(&failed, 0, 0.0), Fate::Retry(1_004_500));
        assert_eq!(fate(&failed, 0, 1.0), Fate::Retry(1_005_500));
        assert_eq!(fate(&failed, 1, 0.0), Fate::Retry(1_090_000));
        assert_eq!(fate(&failed, 1, 1.0), Fate::Retry(1_110_000));
        assert_eq!(fate(&failed, 2, 0.5), Fate::Dead);
        assert_eq!(fate(&failed, u32::MAX, 0.5), Fate::Dead);
    }

    #[test]
    fn retry_after_puts_a_retry_off_but_never_brings_it_forward() {
        assert_eq!(fate(&answer(429, Some(60)), 0, 0.5), Fate::Retry(1_060_000));
        assert_eq!(fate(&answer(503, Some(60)), 0, 0.5), Fate::Retry(1_060_000));
        assert_eq!(fate(&answer(503, Some(1)), 0, 0.5), Fate::Retry(1_005_000));
        // It says nothing with other statuses, and does not lengthen the schedule.
        assert_eq!(fate(&answer(500, Some(60)), 0, 0.5), Fate::Retry(1_005_000));
        assert_eq!(fate(&answer(429, Some(60)), 2, 0.5), Fate::Dead);
    }

    #[test]
    fn gone_holds_the_delivery() {
        let judged = judge(&answer(410, None), &endpoint(&[]), 7, 0, 0.5);
        assert_eq!((judged.fate, judged.gone), (Fate::Held, true));
    }

    #[test]
    fn a_refusal_is_one_clean_line() {
        let outcome = Ok(Answer {
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
            failure(&answer(302, None)).unwrap(),
            "the endpoint answered 302 Found: redirects are not followed"
        );
        assert_eq!(failure(&answer(204, None)), None);
    }
}

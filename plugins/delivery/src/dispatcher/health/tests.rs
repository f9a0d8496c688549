//! Failures, pauses and recoveries of a webhook.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn failed() -> AttemptResult {
    let error = Some("the endpoint responded with 500".to_owned());
    AttemptResult {
        http_code: Some(500),
        error,
        is_ignored: false,
        dead: false,
        is_about_webhooks: false,
        pause: None,
    }
}

fn failing_for(days: i64) -> EndpointHealth {
    let failing_since = Some(now() - days * 24 * 3_600_000);
    EndpointHealth::remembered(WebhookState {
        failing_since,
        ..EndpointHealth::in_service("erp", "fingerprint")
    })
}

fn seen_for(health: &mut EndpointHealth, time: Duration) {
    health.seen_failing = Instant::now().checked_sub(time);
}

#[test]
fn time_without_attempts_does_not_disable() {
    let mut health = failing_for(6);
    health.ended(failed());
    assert!(!health.fails_for(5 * DAY), "the gateway was off, or its system clock changed");
    seen_for(&mut health, HOUR);
    health.ended(failed());
    assert!(health.fails_for(5 * DAY));
    assert!(!health.fails_for(7 * DAY));
    health.clear_failures();
    assert!(!health.fails_for(Duration::ZERO));
}

fn succeeded() -> AttemptResult {
    AttemptResult { http_code: Some(200), error: None, ..failed() }
}

#[test]
fn success_of_an_attempt_that_began_earlier_does_not_end_a_pause() {
    let mut health = EndpointHealth::default();
    for _ in 0..EndpointHealth::BREAKER {
        health.ended(AttemptResult { pause: Some(HOUR), ..failed() });
    }
    let change = health.ended(succeeded());
    assert!(matches!(change, Some((WebhookChange::Recovered { failures: 10, .. }, true))));
    assert!(health.paused_until().is_some());
}

#[test]
fn failure_is_reported_once_and_not_of_what_is_about_webhooks() {
    let mut health = EndpointHealth::default();
    for _ in 1..EndpointHealth::BREAKER {
        assert_eq!(health.ended(failed()), None);
    }
    let about = AttemptResult { is_about_webhooks: true, ..failed() };
    assert_eq!(health.ended(about), None);
    let change = health.ended(failed());
    let Some((WebhookChange::Failing { failures, error, .. }, true)) = change else { panic!() };
    assert_eq!((failures, error.as_str()), (11, "the endpoint responded with 500"));
    assert_eq!(health.ended(failed()), None);
}

#[test]
fn recovery_is_an_event_where_the_failure_was_one() {
    let mut health = EndpointHealth::default();
    for _ in 0..EndpointHealth::BREAKER {
        let about = AttemptResult { is_about_webhooks: true, ..failed() };
        assert_eq!(health.ended(about), None);
    }
    let change = health.ended(succeeded());
    assert!(matches!(change, Some((WebhookChange::Recovered { .. }, false))));
}

#[test]
fn short_limit_needs_no_longer_observation() {
    let mut health = failing_for(1);
    health.ended(failed());
    assert!(!health.fails_for(Duration::from_secs(60)));
    seen_for(&mut health, Duration::from_secs(60));
    assert!(health.fails_for(Duration::from_secs(60)));
}

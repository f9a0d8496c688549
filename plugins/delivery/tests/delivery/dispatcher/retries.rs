//! Retries until delivered: after which failures, and when.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use as2hook_delivery::HealthState;
use as2hook_store::{Attempt, DeliveryOutcome, DeliveryState};

use crate::support::{
    AMPLE, delivered, event, failing,
    gateway::Gateway,
    rule,
    sink::{Reply, Sink, closed_port},
    until,
};

#[tokio::test]
async fn every_kind_of_failure_is_retried() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec();
    let replies = [
        Reply::Status(500),
        Reply::With(302, "Location: /elsewhere".into()),
        Reply::Status(404),
        Reply::Raw(half),
        Reply::Close,
    ];
    for reply in replies {
        let sink = failing(2, reply.clone()).await;
        let gateway = Gateway::start([rule("a", &sink.url())]).await;
        let event = event();
        gateway.exchange(&event, &["a"]).await;
        delivered(&gateway, 1).await;
        let requests = sink.requests();
        let attempts: Vec<_> = requests.iter().map(|r| r.header("X-AS2-Attempt")).collect();
        assert_eq!(attempts, [Some("1"), Some("2"), Some("3")], "{reply:?}");
        let id = event.webhook_id("a");
        assert!(requests.iter().all(|r| r.header("webhook-id") == Some(id.as_str())));
        assert!(requests.iter().all(|r| r.head.starts_with("POST /hook ")), "{reply:?}");
        let log = gateway.store.attempts();
        assert_eq!(log.len(), 3);
        assert!(log[0].attempt.as_ref().unwrap().error.is_some(), "{reply:?}");
        assert!(matches!(log[0].outcome, DeliveryOutcome::Retry(_)));
    }
}

#[tokio::test]
async fn webhook_that_is_down_is_retried_until_it_is_up() {
    let reserved = closed_port();
    let address = reserved.local_addr().unwrap();
    let mut down = rule("a", &format!("http://{address}/"));
    down.endpoint.retry = vec![Duration::from_millis(20); 1000];
    let gateway = Gateway::start([down]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("failures", || gateway.store.attempts().len() > 2).await;
    let health_state = || gateway.dispatcher.health("a").unwrap().health_state;
    until("that to be noted", || health_state() == HealthState::Retrying).await;
    let error = gateway.store.attempts()[0].attempt.clone().unwrap().error.unwrap();
    assert!(error.starts_with("could not connect to 127.0.0.1 port "), "{error}");

    Sink::on(reserved.listen(16).unwrap(), Arc::new(|_: &_| Reply::Status(204)), None);
    delivered(&gateway, 1).await;
    until("that to be noted", || health_state() == HealthState::Healthy).await;
}

#[tokio::test]
async fn delivery_out_of_retries_is_dead_and_kept() {
    let sink = Sink::answering(500).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("it to be dead", || gateway.store.count(DeliveryState::Dead) == 1).await;
    assert_eq!(sink.count(), 4);
    until("that to be noted", || gateway.dispatcher.health("a").unwrap().dead == 1).await;
}

#[tokio::test]
async fn a_hanging_endpoint_uses_up_its_own_time_only() {
    let sink = failing(1, Reply::Hang).await;
    let mut hanging = rule("a", &sink.url());
    hanging.endpoint.timeout = Duration::from_millis(100);
    // On a machine that stalls, some attempts do not reach the endpoint.
    hanging.endpoint.retry = vec![Duration::from_millis(10); 1000];
    let gateway = Gateway::start([hanging.clone()]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("it to hang", || sink.count() > 0).await;
    // The next attempt has enough time.
    hanging.endpoint.timeout = AMPLE;
    gateway.rules.set(hanging);
    delivered(&gateway, 1).await;
    let attempts = gateway.store.attempts().into_iter().filter_map(|record| record.attempt);
    let of_answer = |attempt: &Attempt| {
        attempt.error.as_ref().is_some_and(|e| e.ends_with(" while waiting for the response"))
    };
    let hung = attempts.into_iter().find(of_answer).unwrap();
    assert!(hung.error.unwrap().starts_with("timed out after "));
    assert!((100..30_000).contains(&hung.duration_ms), "{}", hung.duration_ms);
}

#[tokio::test]
async fn retry_after_holds_back_the_whole_webhook() {
    for status in [429, 503] {
        let sink = failing(1, Reply::With(status, "Retry-After: 1".into())).await;
        let gateway = Gateway::start([rule("a", &sink.url())]).await;
        gateway.exchange(&event(), &["a"]).await;
        until("the first attempt to be noted", || {
            gateway.dispatcher.health("a").is_some_and(|health| health.failed == 1)
        })
        .await;
        gateway.exchange(&event(), &["a"]).await;
        delivered(&gateway, 2).await;
        let requests = sink.requests();
        let waits = requests[1..].iter().map(|r| r.at.duration_since(requests[0].at));
        for wait in waits {
            assert!(wait >= Duration::from_millis(990), "{status}: {wait:?}");
        }
    }
}

#[tokio::test]
async fn a_store_that_fails_uses_up_no_retries() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    for _ in 0..5 {
        gateway.exchange(&event(), &["a"]).await;
    }
    delivered(&gateway, 5).await;
    gateway.store.fail(true);
    for _ in 0..5 {
        gateway.exchange(&event(), &["a"]).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(sink.count(), 5);
    gateway.store.fail(false);
    delivered(&gateway, 10).await;
    assert_eq!(sink.count(), 10);
    assert!(gateway.store.attempts().iter().all(|r| r.attempt.as_ref().unwrap().number == 1));
}

#[tokio::test]
async fn retry_after_as_a_date_delays_the_next_attempt() {
    let (begun, clock) = (Instant::now(), SystemTime::now());
    // HTTP dates have no fractions of a second.
    let date = httpdate::fmt_http_date(clock + Duration::from_secs(2));
    let free = httpdate::parse_http_date(&date).unwrap();
    let sink = failing(1, Reply::With(503, format!("Retry-After: {date}"))).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    delivered(&gateway, 1).await;
    let again = clock + sink.requests()[1].at.duration_since(begun);
    // The store keeps milliseconds, and the two clocks were not read at once.
    assert!(again + Duration::from_millis(5) >= free, "{again:?} is before {free:?}");
}

#[tokio::test]
async fn retries_are_spread_over_a_tenth_of_the_schedule() {
    const WAIT: i64 = 100_000_000;
    let sink = Sink::answering(500).await;
    let mut slow = rule("a", &sink.url());
    slow.endpoint.retry = vec![Duration::from_millis(WAIT.unsigned_abs())];
    let gateway = Gateway::start([slow]).await;
    for _ in 0..30 {
        gateway.exchange(&event(), &["a"]).await;
    }
    until("all to have failed once", || gateway.store.attempts().len() == 30).await;
    let waits: Vec<i64> = gateway
        .store
        .attempts()
        .iter()
        .map(|record| {
            let DeliveryOutcome::Retry(due) = record.outcome else {
                panic!("{:?}", record.outcome)
            };
            due - record.attempt.as_ref().unwrap().at
        })
        .collect();
    let (least, most) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
    // An attempt's time is its beginning, and the wait counts from its end.
    const ATTEMPT: i64 = 60_000;
    assert!(least >= WAIT * 9 / 10 && most <= WAIT * 11 / 10 + ATTEMPT, "{least} to {most}");
    assert!(most - least > WAIT / 100, "thirty at nearly the same time: {least} to {most}");
}

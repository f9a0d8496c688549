//! Start, shutdown, restart.

use std::{sync::atomic::Ordering, time::Duration};

use as2hook_delivery::Target;
use as2hook_store::{DeliveryState, Payload};
use tokio::time::Instant;

use crate::support::{
    AMPLE, delivered, event, failing,
    gateway::Gateway,
    opened, published, rule,
    sink::{Gate, Reply, Sink},
    store::MemoryStore,
    until,
};

/// Shuts down with a paused clock that only advances for timers. Returns how many attempts were cut
/// off, and the time waited.
async fn timed_shutdown(gateway: &Gateway, drain: Duration) -> (usize, Duration) {
    tokio::time::pause();
    let begun = Instant::now();
    let cut = gateway.dispatcher.shutdown(drain).await;
    let waited = begun.elapsed();
    tokio::time::resume();
    (cut, waited)
}

#[tokio::test]
async fn shutdown_is_at_once_when_idle() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    delivered(&gateway, 1).await;
    let (cut, waited) = timed_shutdown(&gateway, Duration::from_secs(20)).await;
    assert_eq!(cut, 0);
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

#[tokio::test]
async fn shutdown_lets_attempts_finish_and_releases_other_claims() {
    let gate = Gate::default();
    let behind = gate.clone();
    let sink = Sink::start(move |_| Reply::Behind(behind.clone(), 200)).await;
    let mut few = rule("a", &sink.url());
    few.endpoint.concurrency = 2;
    let gateway = Gateway::start([few]).await;
    for _ in 0..10 {
        gateway.exchange(&event(), &["a"]).await;
    }
    until("attempts under way", || sink.count() == 2).await;
    // The shutdown begins before the responses come.
    let (cut, ()) = tokio::join!(gateway.stop(), async { gate.open() });
    assert_eq!(cut, 0);
    assert_eq!(sink.count(), 2, "nothing more was begun");
    assert_eq!(gateway.store.count(DeliveryState::Delivered), 2);
    assert_eq!(gateway.store.count(DeliveryState::Pending), 8);
    assert_eq!(gateway.store.count(DeliveryState::Claimed), 0);
    assert_eq!(gateway.store.attempts().len(), 2, "a released claim counts as no attempt");
}

#[tokio::test]
async fn shutdown_cuts_off_attempts_that_exceed_the_drain_time() {
    let sink = failing(1, Reply::Hang).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("the attempt", || sink.count() == 1).await;
    let (cut, waited) = timed_shutdown(&gateway, Duration::from_millis(100)).await;
    assert_eq!(cut, 1);
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    assert_eq!(gateway.store.count(DeliveryState::Pending), 1);

    // Another process continues.
    let store = gateway.store.clone();
    let gateway = Gateway::over(store, [rule("a", &sink.url())], Default::default()).await;
    delivered(&gateway, 1).await;
    let requests = sink.requests();
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
}

#[test]
fn restart_continues_with_schedule_and_backlog() {
    let world = tokio::runtime::Runtime::new().unwrap();
    let broken = world.block_on(Sink::answering(500));
    let fine = world.block_on(Sink::answering(200));
    let store = MemoryStore::new();
    let mut slow = rule("a", &broken.url());
    slow.endpoint.retry = vec![Duration::from_secs(3600)];
    let open = event();

    let killed = tokio::runtime::Runtime::new().unwrap();
    killed.block_on(async {
        let gateway = Gateway::over(store.clone(), [slow.clone()], Default::default()).await;
        gateway.exchange(&event(), &["a"]).await;
        until("the first attempt", || gateway.store.attempts().len() == 1).await;
        let targets = [Target::of(&slow, &open)];
        gateway.outbox.open(opened(&open, Payload::None, &targets)).await.unwrap();
        // Neither the outbox nor the dispatcher runs any more code.
        std::mem::forget(gateway);
    });
    killed.shutdown_timeout(AMPLE);
    store.orphan_everything();
    let failed = store.attempts().remove(0).attempt.unwrap();
    let scheduled = store.deliveries().remove(0).new.due;
    // At least an hour less a tenth.
    assert!(scheduled - failed.at >= 3_600_000 * 9 / 10, "{scheduled} after {}", failed.at);

    slow.endpoint.url = fine.url().parse().unwrap();
    world.block_on(async {
        let gateway = Gateway::over(store.clone(), [slow], Default::default()).await;
        gateway.outbox.recover().await.unwrap();
        delivered(&gateway, 1).await;
        let waiting = store.deliveries().remove(0);
        assert_eq!(waiting.state, DeliveryState::Pending);
        assert_eq!(waiting.new.due, scheduled, "the schedule outlives the process");
        store.bring_forward();
        gateway.dispatcher.ring("a");
        delivered(&gateway, 2).await;
    });
    let requests = fine.requests();
    let id = open.webhook_id("a");
    let unknown = requests.iter().find(|r| r.header("webhook-id") == Some(&id)).unwrap();
    let error = unknown.header("X-Processing-Error").unwrap();
    assert!(error.starts_with("1500: "), "{error}");
    let attempts: Vec<_> = requests.iter().map(|r| r.header("X-AS2-Attempt")).collect();
    assert_eq!(attempts, [Some("1"), Some("2")], "the retry comes second, and as one");
}

#[tokio::test]
async fn dropped_dispatcher_makes_no_more_attempts() {
    let sink = Sink::answering(200).await;
    let Gateway { store, outbox, dispatcher, rules } =
        Gateway::start([rule("a", &sink.url())]).await;
    drop(dispatcher);
    let event = event();
    let targets = [Target::of(&rules.get("a"), &event)];
    outbox.write(published(&event, Payload::None, &targets)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((sink.count(), store.count(DeliveryState::Pending)), (0, 1));
}

#[tokio::test]
async fn worker_that_panics_is_replaced_by_another() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.rules.breaks_worker.store(true, Ordering::SeqCst);
    gateway.exchange(&event(), &["a"]).await;
    delivered(&gateway, 1).await;
    assert!(!gateway.rules.breaks_worker.load(Ordering::SeqCst));
    let (_, waited) = timed_shutdown(&gateway, AMPLE).await;
    assert!(waited < Duration::from_secs(1), "no wait for the worker that panicked: {waited:?}");
}

#[tokio::test]
async fn worker_that_panics_releases_its_claims() {
    let sink = Sink::start(|_| Reply::Hang).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("the first attempt", || sink.count() == 1).await;
    gateway.rules.breaks_worker.store(true, Ordering::SeqCst);
    gateway.exchange(&event(), &["a"]).await;
    until("it to be put off", || is_put_off(&gateway)).await;
    // What the worker had claimed when it panicked is put off, too; its webhook continues.
    gateway.exchange(&event(), &["a"]).await;
    until("the third's attempt", || sink.count() == 2).await;
    assert_eq!(gateway.dispatcher.health("a").unwrap().in_flight, 1);
}

#[tokio::test]
async fn an_attempt_that_panics_is_not_made_again_at_once() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.rules.breaks_attempt.store(true, Ordering::SeqCst);
    gateway.exchange(&event(), &["a"]).await;
    until("it to be put off", || is_put_off(&gateway)).await;
    // Its webhook continues.
    gateway.exchange(&event(), &["a"]).await;
    delivered(&gateway, 1).await;
    assert_eq!(sink.count(), 1);
}

/// Whether the first delivery is postponed for long.
fn is_put_off(gateway: &Gateway) -> bool {
    let first = gateway.store.deliveries().remove(0);
    let soon = jiff::Timestamp::now().as_millisecond() + 10_000;
    first.state == DeliveryState::Pending && first.new.due > soon
}

//! Start, shutdown, restart.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use as2hook_delivery::Target;
use as2hook_store::{DeliveryState, Payload};

use crate::support::{
    delivered, event, failing,
    gateway::Gateway,
    rule,
    sink::{Reply, Sink},
    store::MemoryStore,
    until,
};

#[tokio::test]
async fn shutdown_is_at_once_when_idle() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    delivered(&gateway, 1).await;
    let begun = Instant::now();
    assert_eq!(gateway.dispatcher.shutdown(Duration::from_secs(20)).await, 0);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn shutdown_lets_attempts_finish_and_gives_back_the_rest() {
    let sink = Sink::start(|_| Reply::After(Duration::from_millis(300), 200)).await;
    let mut few = rule("a", &sink.url());
    few.endpoint.concurrency = 2;
    let gateway = Gateway::start([few]).await;
    for _ in 0..10 {
        gateway.exchange(&event(), &["a"]).await;
    }
    until("attempts under way", || sink.count() == 2).await;
    assert_eq!(gateway.stop().await, 0);
    assert_eq!(sink.count(), 2, "nothing more was begun");
    assert_eq!(gateway.store.count(DeliveryState::Delivered), 2);
    assert_eq!(gateway.store.count(DeliveryState::Pending), 8);
    assert_eq!(gateway.store.count(DeliveryState::Claimed), 0);
    assert_eq!(gateway.store.attempts().len(), 2, "what was given back counts as no attempt");
}

#[tokio::test]
async fn shutdown_cuts_off_what_takes_too_long() {
    let sink = failing(1, Reply::Hang).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("the attempt", || sink.count() == 1).await;
    let begun = Instant::now();
    assert_eq!(gateway.dispatcher.shutdown(Duration::from_millis(100)).await, 1);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(gateway.store.count(DeliveryState::Pending), 1);

    // Another process goes on.
    let store = gateway.store.clone();
    let gateway = Gateway::over(store, [rule("a", &sink.url())], Default::default()).await;
    delivered(&gateway, 1).await;
    let requests = sink.requests();
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
}

#[test]
fn a_restart_goes_on_with_schedule_and_backlog() {
    let world = tokio::runtime::Runtime::new().unwrap();
    let broken = world.block_on(Sink::answering(500));
    let fine = world.block_on(Sink::answering(200));
    let store = MemoryStore::new();
    let mut slow = rule("a", &broken.url());
    slow.endpoint.retry = vec![Duration::from_millis(700)];
    let open = event();

    let killed = tokio::runtime::Runtime::new().unwrap();
    let first = killed.block_on(async {
        let gateway = Gateway::over(store.clone(), [slow.clone()], Default::default()).await;
        gateway.exchange(&event(), &["a"]).await;
        until("the first attempt", || gateway.store.attempts().len() == 1).await;
        let targets = [Target::of(&slow, &open)];
        gateway.outbox.open(&open, Payload::None, &targets).await.unwrap();
        // Neither the outbox nor the dispatcher gets to say another word.
        std::mem::forget(gateway);
        Instant::now()
    });
    killed.shutdown_background();
    store.orphan_everything();

    slow.endpoint.url = fine.url().parse().unwrap();
    world.block_on(async {
        let gateway = Gateway::over(store, [slow], Default::default()).await;
        gateway.outbox.recover().await.unwrap();
        delivered(&gateway, 2).await;
    });
    let told = fine.requests();
    let id = open.webhook_id("a");
    let unknown = told.iter().find(|r| r.header("webhook-id") == Some(&id)).unwrap();
    let error = unknown.header("X-Processing-Error").unwrap();
    assert!(error.starts_with("1500: "), "{error}");
    let retried = told.iter().find(|r| r.header("X-AS2-Attempt") == Some("2")).unwrap();
    let wait = retried.at.duration_since(first);
    assert!(wait >= Duration::from_millis(500), "the schedule outlives the process: {wait:?}");
}

#[tokio::test]
async fn a_dispatcher_that_is_dropped_makes_nothing_more() {
    let sink = Sink::answering(200).await;
    let Gateway { store, outbox, dispatcher, rules } =
        Gateway::start([rule("a", &sink.url())]).await;
    drop(dispatcher);
    let event = event();
    let targets = [Target::of(&rules.get("a"), &event)];
    outbox.publish(&event, Payload::None, &targets).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((sink.count(), store.count(DeliveryState::Pending)), (0, 1));
}

#[tokio::test]
async fn a_lane_that_panics_makes_room_for_another() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.rules.breaks_lane.store(true, Ordering::SeqCst);
    gateway.exchange(&event(), &["a"]).await;
    delivered(&gateway, 1).await;
    assert!(!gateway.rules.breaks_lane.load(Ordering::SeqCst));
    let begun = Instant::now();
    gateway.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "nobody waits for the one that is gone");
}

#[tokio::test]
async fn a_lane_that_panics_gives_back_what_it_claimed() {
    let sink = Sink::start(|_| Reply::Hang).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("the first attempt", || sink.count() == 1).await;
    gateway.rules.breaks_lane.store(true, Ordering::SeqCst);
    gateway.exchange(&event(), &["a"]).await;
    until("it to be put off", || is_put_off(&gateway)).await;
    until("the second's attempt", || sink.count() == 2).await;
    assert_eq!(gateway.dispatcher.health("a").unwrap().in_flight, 1);
}

#[tokio::test]
async fn an_attempt_that_panics_is_not_made_again_at_once() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    gateway.rules.breaks_attempt.store(true, Ordering::SeqCst);
    gateway.exchange(&event(), &["a"]).await;
    until("it to be put off", || is_put_off(&gateway)).await;
    // Its webhook goes on.
    gateway.exchange(&event(), &["a"]).await;
    delivered(&gateway, 1).await;
    assert_eq!(sink.count(), 1);
}

/// Whether the first delivery waits, and not for a moment only.
fn is_put_off(gateway: &Gateway) -> bool {
    let first = gateway.store.deliveries().remove(0);
    let soon = jiff::Timestamp::now().as_millisecond() + 10_000;
    first.state == DeliveryState::Pending && first.new.due > soon
}

//! A rule's rate is kept, and other webhooks do not wait for it.

use std::time::{Duration, Instant};

use as2hook_delivery::DispatcherOptions;
use as2hook_event::Rule;
use as2hook_store::DeliveryState;

use crate::support::{event, gateway::Gateway, rule, sink::Sink, store::MemoryStore, until};

fn rated(name: &str, url: &str, rate: &str) -> Rule {
    let mut rule = rule(name, url);
    rule.endpoint.rate = Some(rate.parse().unwrap());
    rule
}

#[tokio::test]
async fn rate_is_neither_exceeded_nor_left_unused() {
    let sink = Sink::answering(200).await;
    // Without a poll, its worker wakes by itself when the rate allows more.
    let unasked = DispatcherOptions { poll: Duration::from_secs(3600), ..Default::default() };
    let rules = [rated("a", &sink.url(), "100/s")];
    let gateway = Gateway::over(MemoryStore::new(), rules, unasked).await;
    let began = Instant::now();
    for _ in 0..60 {
        gateway.exchange(&event(), &["a"]).await;
    }
    until("all of them", || gateway.store.count(DeliveryState::Delivered) == 60).await;
    // Ten at once, then one each 10 ms.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?}");
    assert!(took < Duration::from_secs(20), "one a second would take fifty: {took:?}");
}

#[tokio::test]
async fn retries_count_towards_the_rate() {
    let sink = Sink::answering(500).await;
    let mut failing = rated("a", &sink.url(), "20/s");
    failing.endpoint.retry = vec![Duration::from_millis(1); 5];
    let gateway = Gateway::start([failing]).await;
    let began = Instant::now();
    gateway.exchange(&event(), &["a"]).await;
    until("its end", || gateway.store.count(DeliveryState::Dead) == 1).await;
    // Two at once, then four 50 ms apart.
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
}

#[tokio::test]
async fn webhook_that_waits_for_its_rate_holds_no_slot_and_no_claim() {
    let (slow, fast) = (Sink::answering(200).await, Sink::answering(200).await);
    let rules = [rated("slow", &slow.url(), "1/h"), rule("fast", &fast.url())];
    let options = DispatcherOptions { slots: 1, ..Default::default() };
    let gateway = Gateway::over(MemoryStore::new(), rules, options).await;
    for _ in 0..20 {
        gateway.exchange(&event(), &["slow", "fast"]).await;
    }
    until("the others", || fast.count() == 20 && slow.count() == 1).await;
    until("nothing under way", || gateway.dispatcher.in_flight() == 0).await;
    // A slot is free a moment before the outcome is stored. A claim that waited for the rate would
    // stay for an hour.
    until("no claim", || gateway.store.count(DeliveryState::Claimed) == 0).await;
    assert_eq!(gateway.store.count(DeliveryState::Pending), 19);

    // A changed rate applies at once, not in an hour.
    gateway.rules.set(rated("slow", &slow.url(), "1000/s"));
    gateway.dispatcher.rules_changed();
    until("the rest", || slow.count() == 20).await;
}

#[tokio::test]
async fn rate_outlives_the_worker() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rated("a", &sink.url(), "1/h")]).await;
    gateway.exchange(&event(), &["a"]).await;
    until("the first", || sink.count() == 1).await;
    until("it to be written down", || gateway.store.count(DeliveryState::Delivered) == 1).await;
    // Its idle worker ends after a while; the next one knows of the first attempt.
    for _ in 0..3 {
        gateway.exchange(&event(), &["a"]).await;
        gateway.dispatcher.ring("a");
    }
    let other = Sink::answering(200).await;
    gateway.rules.set(rule("b", &other.url()));
    gateway.exchange(&event(), &["b"]).await;
    until("another webhook", || other.count() == 1).await;
    assert_eq!((sink.count(), gateway.store.count(DeliveryState::Pending)), (1, 3));
}

//! Two processes on one store: each takes over the other's changes of a webhook.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use as2hook_delivery::{DispatcherOptions, HealthState};
use as2hook_store::{DeliveryQueue as _, DeliveryState, Payload, WebhookState};

use crate::support::{
    event,
    gateway::{Gateway, Rules},
    published, rule,
    sink::{Reply, Sink},
    store::MemoryStore,
    until,
};

/// Two gateways with the same rule, the first over the store of the second.
async fn two(sink: &Sink) -> (Gateway, Gateway) {
    let store = MemoryStore::new();
    store.is_shared.store(true, Ordering::SeqCst);
    let one = Gateway::over(store.clone(), [rule("a", &sink.url())], DispatcherOptions::default());
    let other = Gateway::over(store, [rule("a", &sink.url())], DispatcherOptions::default());
    (one.await, other.await)
}

fn health_state(gateway: &Gateway) -> Option<HealthState> {
    gateway.dispatcher.health("a").map(|health| health.health_state)
}

fn is_disabled(gateway: &Gateway) -> bool {
    matches!(health_state(gateway), Some(HealthState::Disabled { .. }))
}

#[tokio::test]
async fn webhook_disabled_or_enabled_by_one_process_is_so_in_the_other() {
    let status = Arc::new(AtomicU16::new(410));
    let answer = status.clone();
    let sink = Sink::start(move |_| Reply::Status(answer.load(Ordering::SeqCst))).await;
    let (one, other) = two(&sink).await;
    one.exchange(&event(), &["a"]).await;
    until("one to see the 410", || is_disabled(&one) || is_disabled(&other)).await;
    let (first, second) = if is_disabled(&one) { (&one, &other) } else { (&other, &one) };
    until("it to be written down", || {
        first.store.state("a").is_some_and(|state| state.disabled.is_some())
    })
    .await;
    second.dispatcher.take_over().await.unwrap();
    until("the other to follow", || is_disabled(second)).await;
    assert_eq!(health_state(first), health_state(second));
    let reported = |gateway: &Gateway| gateway.rules.disabled().len();
    until("the notice", || reported(first) == 1).await;
    assert_eq!(reported(second), 0, "only one reports it");
    let calls = sink.count();
    second.exchange(&event(), &["a"]).await;
    until("both to be held", || second.store.count(DeliveryState::Held) == 2).await;
    assert_eq!(sink.count(), calls);

    status.store(200, Ordering::SeqCst);
    first.dispatcher.enable("a").await.unwrap();
    second.dispatcher.take_over().await.unwrap();
    until("the other to follow", || health_state(second) == Some(HealthState::Healthy)).await;
    until("both", || second.store.count(DeliveryState::Delivered) == 2).await;
}

#[tokio::test]
async fn state_under_another_rule_of_the_same_name_is_ignored() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    let state = WebhookState {
        webhook: "a".into(),
        disabled: Some("the endpoint responded with 410 Gone".into()),
        failing_since: None,
        fingerprint: rule("a", "http://elsewhere.example/").fingerprint(),
    };
    gateway.store.set_webhook_state(state).await.unwrap();
    gateway.dispatcher.take_over().await.unwrap();
    gateway.exchange(&event(), &["a"]).await;
    until("it", || gateway.store.count(DeliveryState::Delivered) == 1).await;
}

#[tokio::test]
async fn gateways_with_different_rules_do_not_orphan_deliveries_of_unknown_webhooks() {
    let sink = Sink::answering(200).await;
    let (store, rules) = (MemoryStore::new(), Arc::new(Rules::default()));
    rules.at_odds.store(true, Ordering::SeqCst);
    let old = Gateway::with(store.clone(), rules.clone(), DispatcherOptions::default()).await;
    let targets = [as2hook_delivery::Target::of(&Arc::new(rule("a", &sink.url())), &event())];
    old.outbox.write(published(&event(), Payload::None, &targets)).await;
    old.dispatcher.rules_changed();
    // The gateway that has the rule delivers it.
    let new = Gateway::over(store, [rule("a", &sink.url())], DispatcherOptions::default()).await;
    until("it", || new.store.count(DeliveryState::Delivered) == 1).await;

    rules.at_odds.store(false, Ordering::SeqCst);
    new.stop().await;
    old.outbox.write(published(&event(), Payload::None, &targets)).await;
    until("it to be orphaned", || old.store.count(DeliveryState::Orphaned) == 1).await;
}

#[tokio::test]
async fn orphaned_deliveries_become_pending_on_a_gateway_with_the_rule() {
    let sink = Sink::answering(200).await;
    let store = MemoryStore::new();
    store.is_shared.store(true, Ordering::SeqCst);
    // Polls so rarely that the other one is certainly first.
    let seldom = DispatcherOptions { poll: Duration::from_secs(3600), ..Default::default() };
    let new = Gateway::over(store.clone(), [rule("a", &sink.url())], seldom).await;
    new.exchange(&event(), &["a"]).await;
    until("its first look to be over", || store.count(DeliveryState::Delivered) == 1).await;
    let old = Gateway::over(store.clone(), [], DispatcherOptions::default()).await;
    let targets = [as2hook_delivery::Target::of(&Arc::new(rule("a", &sink.url())), &event())];
    old.outbox.write(published(&event(), Payload::None, &targets)).await;
    until("it to be orphaned", || store.count(DeliveryState::Orphaned) == 1).await;
    until("that to be written down", || store.state("a").is_some()).await;
    old.rules.at_odds.store(true, Ordering::SeqCst);
    new.dispatcher.take_over().await.unwrap();
    until("it", || store.count(DeliveryState::Delivered) == 2).await;
}

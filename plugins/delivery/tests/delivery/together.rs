//! Two processes on one store: each takes over what the other did with a webhook.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use as2hook_delivery::{DispatcherOptions, Standing};
use as2hook_store::{DeliveryState, Payload, Store, WebhookState};

use crate::support::{
    event,
    gateway::{Gateway, Rules},
    rule,
    sink::{Reply, Sink},
    store::MemoryStore,
    until,
};

/// Two gateways with the same one rule, the first over the store of the second.
async fn two(sink: &Sink) -> (Gateway, Gateway) {
    let store = MemoryStore::new();
    let one = Gateway::over(store.clone(), [rule("a", &sink.url())], DispatcherOptions::default());
    let other = Gateway::over(store, [rule("a", &sink.url())], DispatcherOptions::default());
    (one.await, other.await)
}

fn standing(gateway: &Gateway) -> Option<Standing> {
    gateway.dispatcher.health("a").map(|health| health.standing)
}

fn is_disabled(gateway: &Gateway) -> bool {
    matches!(standing(gateway), Some(Standing::Disabled { .. }))
}

#[tokio::test]
async fn what_one_disables_and_enables_the_other_does_too() {
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
    assert_eq!(standing(first), standing(second));
    let told = |gateway: &Gateway| gateway.rules.disabled.lock().unwrap().len();
    until("the notice", || told(first) == 1).await;
    assert_eq!(told(second), 0, "one tells, not both");
    let calls = sink.count();
    second.exchange(&event(), &["a"]).await;
    until("both to be held", || second.store.count(DeliveryState::Held) == 2).await;
    assert_eq!(sink.count(), calls);

    status.store(200, Ordering::SeqCst);
    first.dispatcher.enable("a").await.unwrap();
    second.dispatcher.take_over().await.unwrap();
    until("the other to follow", || standing(second) == Some(Standing::Healthy)).await;
    until("both", || second.store.count(DeliveryState::Delivered) == 2).await;
}

#[tokio::test]
async fn another_rule_of_that_name_is_none_of_our_business() {
    let sink = Sink::answering(200).await;
    let gateway = Gateway::start([rule("a", &sink.url())]).await;
    let state = WebhookState {
        webhook: "a".into(),
        disabled: Some("the endpoint answered 410 Gone".into()),
        failing_since: None,
        fingerprint: rule("a", "http://elsewhere.example/").fingerprint(),
    };
    gateway.store.set_webhook_state(state).await.unwrap();
    gateway.dispatcher.take_over().await.unwrap();
    gateway.exchange(&event(), &["a"]).await;
    until("it", || gateway.store.count(DeliveryState::Delivered) == 1).await;
}

#[tokio::test]
async fn while_gateways_are_at_odds_none_puts_aside_what_it_does_not_know() {
    let sink = Sink::answering(200).await;
    let (store, rules) = (MemoryStore::new(), Arc::new(Rules::default()));
    rules.at_odds.store(true, Ordering::SeqCst);
    let old = Gateway::with(store.clone(), rules.clone(), DispatcherOptions::default()).await;
    let told = [as2hook_delivery::Target::of(&Arc::new(rule("a", &sink.url())), &event())];
    old.outbox.publish(&event(), Payload::None, &told).await.unwrap();
    old.dispatcher.rules_changed();
    // The gateway that has the rule delivers it.
    let new = Gateway::over(store, [rule("a", &sink.url())], DispatcherOptions::default()).await;
    until("it", || new.store.count(DeliveryState::Delivered) == 1).await;

    rules.at_odds.store(false, Ordering::SeqCst);
    new.stop().await;
    old.outbox.publish(&event(), Payload::None, &told).await.unwrap();
    until("it to be orphaned", || old.store.count(DeliveryState::Orphaned) == 1).await;
}

#[tokio::test]
async fn what_was_put_aside_for_want_of_a_rule_comes_back_where_there_is_one() {
    let sink = Sink::answering(200).await;
    let store = MemoryStore::new();
    // It looks for itself so seldom that the other one is sure to be first.
    let seldom = DispatcherOptions { poll: Duration::from_secs(3600), ..Default::default() };
    let new = Gateway::over(store.clone(), [rule("a", &sink.url())], seldom).await;
    new.exchange(&event(), &["a"]).await;
    until("its first look to be over", || store.count(DeliveryState::Delivered) == 1).await;
    let old = Gateway::over(store.clone(), [], DispatcherOptions::default()).await;
    let told = [as2hook_delivery::Target::of(&Arc::new(rule("a", &sink.url())), &event())];
    old.outbox.publish(&event(), Payload::None, &told).await.unwrap();
    until("it to be orphaned", || store.count(DeliveryState::Orphaned) == 1).await;
    until("that to be written down", || store.state("a").is_some()).await;
    old.rules.at_odds.store(true, Ordering::SeqCst);
    new.dispatcher.take_over().await.unwrap();
    until("it", || store.count(DeliveryState::Delivered) == 2).await;
}
